"""Versions folders: what is current, what a rollback does, what is removed, and what survives a kill."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from landbridge import store
from landbridge.core.errors import StoreError
from landbridge.core.files import locked
from landbridge.data.synthetic import checkerboard
from landbridge.models.popularity import Popularity

POINTER = "current.json"


def data(seed: int) -> str:
    """The fingerprint of the data that a version of this seed holds."""
    return checkerboard(seed=seed).split.train.fingerprint


def publish(
    folder: Path, seed: int, *, versioned: bool = False, then: Callable[[], object] = lambda: None
) -> str:
    """A new version of the folder, current afterwards; its name. ``then``: what happens while it is made."""
    with store.new_run(folder, versioned=versioned) as target:
        store.save(Popularity().fit(checkerboard(seed=seed).split.train), target)
        then()
    return store.run_folder(folder).name


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with one version, of seed 0."""
    publish(tmp_path / "shop", 0, versioned=True)
    return tmp_path / "shop"


def names(folder: Path) -> list[str]:
    return [version["version"] for version in store.versions(folder)]


def current(folder: Path) -> str:
    return store.load(folder).history.fingerprint


def dated(folder: Path, days: list[str]) -> None:
    """Versions that look as if they were made on these days; the first keeps the name it has."""
    for seed, day in enumerate(days, start=1):
        name = publish(folder, seed)
        (folder / name).rename(folder / f"{day}-000000-aaaa")
        pointer = json.loads((folder / POINTER).read_text())
        (folder / POINTER).write_text(json.dumps(pointer).replace(name, f"{day}-000000-aaaa"))


def test_the_folder_stands_for_its_current_version(shop: Path) -> None:
    first = store.run_folder(shop)
    assert first.parent == shop
    assert store.version_of(first) == first.name
    assert store.version_of(shop) is None
    second = publish(shop, 1)
    assert (current(shop), store.load(first).history.fingerprint) == (data(1), data(0))
    assert names(shop) == [first.name, second]
    assert [version["current"] for version in store.versions(shop)] == [False, True]
    store.attach(shop, "notes", "txt", lambda file: file.write_text("mine"))
    assert store.attached(shop, "notes").parent == shop / second


def test_a_version_that_is_not_completed_leaves_the_old_one(shop: Path, tmp_path: Path) -> None:
    before = sorted(shop.iterdir())
    for folder, versioned in ((shop, False), (tmp_path / "new", True)):
        with pytest.raises(ZeroDivisionError):
            publish(folder, 1, versioned=versioned, then=lambda: 1 / 0)
        with store.new_run(folder, versioned=versioned):
            pass  # refused by a gate: nothing is saved
    assert sorted(shop.iterdir()) == before
    assert not list((tmp_path / "new").iterdir())
    assert publish(tmp_path / "new", 1, versioned=True)


def test_each_rollback_goes_one_further_back(shop: Path) -> None:
    first, second, third = names(shop)[0], publish(shop, 1), publish(shop, 2)
    assert (store.rollback(shop), current(shop)) == (second, data(1))
    assert (store.rollback(shop), current(shop)) == (first, data(0))
    with pytest.raises(StoreError, match=f"No version of .* before {first}; name one of .*{third}"):
        store.rollback(shop)
    assert (store.rollback(shop, third), current(shop)) == (third, data(2))
    assert store.rollback(shop) == first


def test_what_was_rolled_back_is_not_where_the_next_rollback_goes(shop: Path) -> None:
    first = names(shop)[0]
    publish(shop, 1)
    store.rollback(shop)
    publish(shop, 2)
    assert store.rollback(shop) == first


def test_a_rollback_during_a_fit_is_not_undone_by_it(shop: Path) -> None:
    first = names(shop)[0]
    publish(shop, 1)
    with pytest.raises(StoreError, match="was changed meanwhile and stays; the new one is kept as"):
        publish(shop, 2, then=lambda: store.rollback(shop))
    assert (store.run_folder(shop).name, len(names(shop))) == (first, 3)
    (new,) = [name for name in names(shop) if store.load(shop / name).history.fingerprint == data(2)]
    assert store.rollback(shop, new) == new


@pytest.mark.parametrize("name", ["nowhere", "../shop", "", POINTER])
def test_a_rollback_to_what_is_no_version_is_refused(shop: Path, name: str) -> None:
    with pytest.raises(StoreError, match=f"Unknown version of {shop}"):
        store.rollback(shop, name)
    assert current(shop) == data(0)


def test_a_rollback_to_a_damaged_version_is_refused(shop: Path) -> None:
    first = names(shop)[0]
    publish(shop, 1)
    (arrays,) = (shop / first).glob("arrays-*")
    arrays.write_bytes(b"x" * arrays.stat().st_size)
    with pytest.raises(StoreError, match="damaged"):
        store.rollback(shop)
    assert current(shop) == data(1)


def test_a_folder_of_runs_becomes_a_versions_folder_by_naming_one(tmp_path: Path) -> None:
    store.save(Popularity().fit(checkerboard().split.train), tmp_path / "shop" / "first")
    with pytest.raises(StoreError, match=r"no versions folder: it has no current\.json"):
        store.rollback(tmp_path / "shop")
    with pytest.raises(StoreError, match="There is no folder"):
        store.rollback(tmp_path / "nowhere", "first")
    assert store.rollback(tmp_path / "shop", "first") == "first"
    assert current(tmp_path / "shop") == data(0)
    publish(tmp_path / "shop", 1)
    assert store.rollback(tmp_path / "shop") == "first"


def test_the_oldest_go_and_the_current_one_never(shop: Path) -> None:
    (shop / names(shop)[0]).rename(shop / "20200101-000000-aaaa")
    (shop / POINTER).unlink()
    store.rollback(shop, "20200101-000000-aaaa")
    dated(shop, ["20200102", "20200103", "20200104"])
    store.rollback(shop, "20200101-000000-aaaa")
    assert store.prune(shop, 2) == ["20200102-000000-aaaa"]
    assert names(shop) == [f"2020010{day}-000000-aaaa" for day in (1, 3, 4)]
    assert current(shop) == data(0)
    assert store.prune(shop, 2) == []


def test_versions_that_are_named_served_or_read_stay(shop: Path) -> None:
    store.save(Popularity().fit(checkerboard(seed=9).split.train), shop / "christmas")
    first = names(shop)[0]
    dated(shop, ["20200101", "20200102", "20200103", "20200104"])
    served, read = shop / "20200101-000000-aaaa", shop / "20200102-000000-aaaa"
    with store.in_use(served), locked(read, shared=True):
        assert store.prune(shop, 2) == [first]
    assert {served.name, read.name, "christmas"} < set(names(shop))
    with store.in_use(shop):  # of the folder nothing is held: a server on it goes on to the next version
        assert store.prune(shop, 2) == [served.name, read.name]
    assert store.prune(shop / "christmas", 2) == []


def test_a_version_in_use_can_be_evaluated(shop: Path) -> None:
    """What writes into the folder waits for readers, not for the server."""
    version = store.run_folder(shop)
    with store.in_use(version):
        store.attach(version, "evaluation", "txt", lambda file: file.write_text("figures"))
        dated(shop, ["20200101", "20200102", "20200103"])
        assert store.prune(shop, 2) == ["20200101-000000-aaaa"]
    assert store.prune(shop, 2) == [version.name]


def test_versions_stay_as_they_are(shop: Path, tmp_path: Path) -> None:
    first = names(shop)[0]
    with pytest.raises(StoreError, match="is a version, and versions stay as they are"):
        publish(shop / first, 1)
    with pytest.raises(StoreError, match="is a versions folder; save to"):
        store.save(Popularity().fit(checkerboard().split.train), shop)
    publish(shop / "mine", 1)
    assert (names(shop), current(shop)) == ([first, "mine"], data(0))


def test_other_folders_do_not_become_versions_folders(tmp_path: Path) -> None:
    store.save(Popularity().fit(checkerboard().split.train), tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    for folder, inside in ((tmp_path / "run", "arrays-"), (tmp_path, "file")):
        with pytest.raises(StoreError, match=f"holds {inside}.* and is no versions folder"):
            publish(folder, 0, versioned=True)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"format": "landbridge-versions", "version": 1, "current": "../shop", "before": []}'],
)
def test_a_damaged_or_forged_pointer_is_refused_in_a_sentence(shop: Path, content: str) -> None:
    (shop / POINTER).write_text(content)
    for use in (store.load, store.rollback, store.versions, store.deployed):
        with pytest.raises(StoreError, match=r"current\.json is damaged; delete it and choose with"):
            use(shop)
    (shop / POINTER).unlink()
    store.rollback(shop, names_without_pointer(shop)[0])
    assert current(shop) == data(0)


def names_without_pointer(folder: Path) -> list[str]:
    return [run.parent.name for run in folder.glob("*/manifest.json")]


def test_a_refusal_is_noted_until_the_next_version(shop: Path, tmp_path: Path) -> None:
    assert store.last_refusal(shop) is None
    store.keep_refusal(shop, {"why": "worse"})
    refused = store.last_refusal(shop)
    assert refused is not None
    assert (refused["why"], refused["at"][:2]) == ("worse", "20")
    publish(shop, 1)
    assert store.last_refusal(shop) is None
    store.save(Popularity().fit(checkerboard().split.train), tmp_path / "run")
    store.keep_refusal(tmp_path / "run", {"why": "worse"})
    assert not (tmp_path / "run" / POINTER).exists()


PUBLISHER = """
import sys
from pathlib import Path
from landbridge import store
from landbridge.data.synthetic import checkerboard
from landbridge.models.popularity import Popularity
models = [Popularity().fit(checkerboard(seed=seed).split.train) for seed in range(2)]
print("ready", flush=True)
while True:
    for model in models:
        with store.new_run(Path(sys.argv[1])) as target:
            store.save(model, target)
        store.prune(sys.argv[1], 2)
"""


def test_a_kill_at_any_moment_leaves_a_whole_current_version(shop: Path) -> None:
    """Whole: every file of it; and what the killed process left is gone after the next version."""
    moments = random.Random(7)
    for _ in range(6):
        kill_while_publishing(shop, moments.uniform(0, 0.3))
        assert current(shop) in {data(0), data(1)}
        assert all(store.load(shop / name) for name in names(shop))
    publish(shop, 0)
    store.prune(shop, 2)
    assert sorted(path.name for path in shop.iterdir()) == [*sorted(names(shop)), POINTER]
    assert len(names(shop)) == 2


def kill_while_publishing(folder: Path, after: float) -> None:
    command = [sys.executable, "-c", PUBLISHER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
