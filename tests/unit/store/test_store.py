"""Run folders: what comes back, what is refused, and what survives a kill."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landbridge import store
from landbridge.core import files, mapped
from landbridge.core.errors import StoreError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout, LeftOut, Targets
from landbridge.data.vocabulary import Vocabulary
from landbridge.inference import recommend_all
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted, Method, Queries
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.mixture import Mixture
from landbridge.models.pairwise.bprmf import BPRMF
from landbridge.models.popularity import Popularity
from landbridge.store import attach, attached, load, load_holdout, save, save_holdout
from landbridge.store.serialization import holdout_arrays, holdout_from, settings_from, settings_toml
from landbridge.training.options import FitOptions


def world(seed: int = 0) -> MultiDomain:
    rng = np.random.default_rng(seed)
    users = Vocabulary.of([f"person {n}" for n in range(12)])
    domains = {
        name: Interactions.from_events(rng.integers(0, 12, 40), rng.integers(0, size, 40), 12, size)
        for name, size in (("books", 9), ("films/tv", 7))
    }
    items = {"books": Vocabulary.of(range(9)), "films/tv": Vocabulary.of("abcdefg")}
    return MultiDomain(users, items, domains)


@pytest.fixture
def fitted() -> Fitted:
    return Popularity().fit(world())


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def test_a_model_comes_back_with_equal_scores_settings_and_data(tmp_path: Path) -> None:
    model = IALS(factors=4, epochs=2).fit(world(), FitOptions(threads=1))
    save(model, tmp_path / "run")
    back = load(tmp_path / "run")
    assert back.method == model.method
    assert back.log == model.log
    assert back.history.fingerprint == model.history.fingerprint
    users = Queries.of_users(np.arange(12))
    for name in model.history.domain_names:
        np.testing.assert_array_equal(back.score(name, users), model.score(name, users))


@pytest.mark.parametrize(
    "method",
    [IALS(factors=4, epochs=2), ItemKNN(neighbours=3), BPRMF(factors=4, epochs=2)],
    ids=lambda method: method.name,
)
def test_a_big_run_is_mapped(method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With equal scores and lists; it may be replaced, and folded in, while it is."""
    model = method.fit(world(), FitOptions(threads=1))
    save(model, tmp_path / "run")
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    back = load(tmp_path / "run")
    assert all(map(is_mapped, back.state()[0].values()))
    assert is_mapped(back.history["books"].item_idx)
    users = Queries.of_users(np.arange(12))
    row = Queries(np.array([-1], np.int32), {"books": Ragged.from_rows([[1, 4]])})
    for queries in (users, row):
        np.testing.assert_array_equal(back.score("books", queries), model.score("books", queries))
    lists = []
    for each in (model, back):
        recommend_all(each, "books", tmp_path / f"lists of {len(lists)}")
        lists.append(read_lists(tmp_path / f"lists of {len(lists)}"))
    assert lists[0].equals(lists[1])
    names = sorted(file.name for file in (tmp_path / "run").iterdir())
    monkeypatch.setattr(tempfile, "TemporaryFile", None)  # what is made of a run's events is in memory
    assert len(back.history["books"].by_item.columns) == len(back.history["books"])
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == names
    save(Popularity().fit(world(seed=1)), tmp_path / "run")
    np.testing.assert_array_equal(back.score("books", users), model.score("books", users))


def test_a_start_leaves_the_checksums_of_mapped_files_alone(
    tmp_path: Path, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(fitted, tmp_path)
    store.verify(tmp_path)
    (arrays,) = tmp_path.glob("arrays-*")
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreError, match="its checksum differs"):
        store.load_unverified(tmp_path)  # a small file is read as a whole
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    assert store.load_unverified(tmp_path).history.fingerprint == fitted.history.fingerprint
    for check in (load, store.verify):
        with pytest.raises(StoreError, match="its checksum differs"):
            check(tmp_path)
    arrays.write_bytes(whole[:-8])
    with pytest.raises(StoreError, match="is damaged"):
        store.load_unverified(tmp_path)


def is_mapped(array: np.ndarray) -> bool:
    base: object = array
    while type(base) is np.ndarray:
        base = base.base
    return isinstance(base, np.memmap)


def read_lists(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted(folder.glob("*.parquet")))


def test_saving_again_replaces_the_run_and_keeps_no_old_file(tmp_path: Path, fitted: Fitted) -> None:
    save(fitted, tmp_path)
    attach(tmp_path, "evaluation", "txt", lambda file: file.write_text("old figures"))
    (tmp_path / "notes.md").write_text("mine")
    save(Popularity().fit(world(seed=1)), tmp_path)
    assert load(tmp_path).history.fingerprint == world(seed=1).fingerprint
    stems = sorted(file.name.split("-")[0] for file in tmp_path.iterdir())
    assert stems == ["arrays", "data", "log", "manifest.json", "notes.md", "settings"]
    with pytest.raises(StoreError, match="holds no evaluation"):
        attached(tmp_path, "evaluation")


@pytest.mark.parametrize(
    ("role", "suffix"), [("a_b", "txt"), ("../x", "txt"), ("", "txt"), ("x", "tar.gz"), ("X1", "txt")]
)
def test_a_file_that_would_make_the_run_unreadable_is_not_attached(
    tmp_path: Path, fitted: Fitted, role: str, suffix: str
) -> None:
    save(fitted, tmp_path)
    with pytest.raises(StoreError, match="words of a to z"):
        attach(tmp_path, role, suffix, lambda file: file.write_text("one"))
    load(tmp_path)


def test_an_attached_file_is_found_and_its_checksum_compared(tmp_path: Path, fitted: Fitted) -> None:
    save(fitted, tmp_path)
    attach(tmp_path, "evaluation", "txt", lambda file: file.write_text("one"))
    attach(tmp_path, "evaluation", "txt", lambda file: file.write_text("two"))
    path = attached(tmp_path, "evaluation")
    assert path.read_text() == "two"
    assert only(tmp_path, "evaluation-*") == path
    path.write_text("six")
    with pytest.raises(StoreError, match="damaged"):
        attached(tmp_path, "evaluation")


@pytest.mark.parametrize("candidates", [None, 3])
def test_a_holdout_comes_back(tmp_path: Path, fitted: Fitted, candidates: int | None) -> None:
    drawn = None if candidates is None else np.arange(2 * candidates, dtype=np.int32).reshape(2, candidates)
    targets = Targets(np.array([1, 4], np.int32), np.array([0, 3], np.int32), drawn)
    save(fitted, tmp_path)
    save_holdout(tmp_path, Holdout(fitted.history, {"films/tv": targets}))
    back = load_holdout(tmp_path, load(tmp_path).history)
    assert back.protocol == ("full" if candidates is None else "1+3")
    assert list(back.targets) == ["films/tv"]
    for name in ("user_idx", "item_idx", "candidates_TC"):
        np.testing.assert_array_equal(getattr(back.targets["films/tv"], name), getattr(targets, name))
    with pytest.raises(StoreError, match="other data"):
        load_holdout(tmp_path, world(seed=5))


def test_times_and_what_was_left_out_come_back(tmp_path: Path, fitted: Fitted) -> None:
    pair = np.array([1], np.int32)
    targets = Targets(pair, pair, time=np.array([1_700_000_000]))
    save(fitted, tmp_path)
    save_holdout(tmp_path, Holdout(fitted.history, {"books": targets}, left_out=LeftOut(7, 2)))
    back = load_holdout(tmp_path, fitted.history)
    assert back.left_out == LeftOut(7, 2)
    assert back.targets["books"].time is not None
    assert back.targets["books"].time.tolist() == [1_700_000_000]


def test_settings_without_a_value_come_back_from_within_a_mixture() -> None:
    """SASRec has a temperature of None, which TOML cannot say, and so has a mixture with SASRec."""
    weights = {"0": {"next": 1.0}}
    own = {"loss.temperature": None, "epochs": 3}
    mixture = Mixture({"next": {"method": "sasrec", "settings": own}}, {"books": weights})
    name, settings = settings_from(settings_toml(mixture))
    assert name == "mixture"
    assert Mixture.from_settings(settings) == mixture
    assert settings["members"]["next"]["settings"] == own


def test_settings_of_version_0_1_without_a_value() -> None:
    toml = b'method = "sasrec"\nnone = ["loss.temperature"]\n[settings]\nepochs = 3\n'
    assert settings_from(toml) == ("sasrec", {"epochs": 3, "loss.temperature": None})


@pytest.mark.parametrize("across", [False, True])
def test_how_a_holdout_is_ranked_comes_back(tmp_path: Path, fitted: Fitted, across: bool) -> None:
    targets = Targets(np.array([1, 4], np.int32), np.array([0, 3], np.int32))
    none = Targets(np.empty(0, np.int32), np.empty(0, np.int32))
    save(fitted, tmp_path)
    save_holdout(tmp_path, Holdout(fitted.history, {"books": none, "films/tv": targets}, across))
    back = load_holdout(tmp_path, fitted.history)
    assert back.protocol == ("across" if across else "full")
    assert [len(part) for part in back.targets.values()] == [0, 2]


def test_a_holdout_kept_before_there_were_lists_over_all_domains(fitted: Fitted) -> None:
    targets = Targets(np.array([1], np.int32), np.array([0], np.int32))
    arrays, about = holdout_arrays(Holdout(fitted.history, {"books": targets}))
    del about["across"]
    assert not holdout_from(arrays, about, fitted.history).across


def test_a_run_without_a_test_part_says_so(tmp_path: Path, fitted: Fitted) -> None:
    save(fitted, tmp_path)
    with pytest.raises(StoreError, match="without a test part"):
        load_holdout(tmp_path, fitted.history)


def change(folder: Path, **entries: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_what_cannot_be_loaded_is_said_in_a_sentence(tmp_path: Path, fitted: Fitted) -> None:
    with pytest.raises(StoreError, match="There is no run folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        load(tmp_path)
    save(fitted, tmp_path)
    change(tmp_path, version=2)
    with pytest.raises(StoreError, match="format version 2, but this landbridge reads 1"):
        load(tmp_path)
    change(tmp_path, version=1, format="other")
    with pytest.raises(StoreError, match="something else"):
        load(tmp_path)
    change(tmp_path, format="landbridge-run", kind="oracle")
    with pytest.raises(StoreError, match="another version of landbridge or a plug-in: Unknown kind"):
        load(tmp_path)
    change(tmp_path, files={"data": {"name": "../data", "sha256": "", "bytes": 0}})
    with pytest.raises(StoreError, match=r"names a file '\.\./data'"):
        load(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="not JSON"):
        load(tmp_path)


@pytest.mark.parametrize("role", ["settings", "data", "arrays"])
def test_one_changed_bit_is_noticed(tmp_path: Path, fitted: Fitted, role: str) -> None:
    save(fitted, tmp_path)
    path = only(tmp_path, f"{role}-*")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="checksum"):
        load(tmp_path)
    path.unlink()
    with pytest.raises(StoreError, match="lacks its file"):
        load(tmp_path)


def test_other_folders_are_never_touched(tmp_path: Path, fitted: Fitted) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"holds other files \(thesis.tex\)"):
        save(fitted, tmp_path)
    with pytest.raises(StoreError, match="is a file"):
        save(fitted, tmp_path / "thesis.tex")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


ids = st.one_of(
    st.sets(st.integers(-(2**62), 2**62), min_size=1, max_size=6),
    st.sets(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), min_size=1, max_size=6),
)


@st.composite
def multidomains(draw: st.DrawFn) -> MultiDomain:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    users = Vocabulary.of(list(draw(ids)))
    names = draw(
        st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=4, unique=True)
    )
    items = {name: Vocabulary.of(list(draw(ids))) for name in names}
    domains = {}
    for name in names:
        n = draw(st.integers(0, 8))
        domains[name] = Interactions.from_events(
            rng.integers(0, len(users), n),
            rng.integers(0, len(items[name]), n),
            len(users),
            len(items[name]),
            rng.random(n) + 0.1 if draw(st.booleans()) else None,
            rng.integers(0, 99, n) if draw(st.booleans()) else None,
        )
    titled = [name for name in names if draw(st.booleans())]
    texts = {
        name: st.lists(st.text(max_size=4), min_size=len(items[name]), max_size=len(items[name]))
        for name in titled
    }
    titles = {name: np.array(draw(texts[name]), np.dtypes.StringDType()) for name in titled}
    members = {name: rng.random((len(items[name]), len(names))) < 0.5 for name in titled}
    return MultiDomain(users, items, domains, titles, members)


@settings(max_examples=40)
@given(multidomains())
def test_any_data_come_back_equal(tmp_path_factory: pytest.TempPathFactory, data: MultiDomain) -> None:
    folder = tmp_path_factory.mktemp("run")
    save(Popularity().fit(data), folder)
    back = load(folder).history
    assert back.fingerprint == data.fingerprint
    assert back.domain_names == data.domain_names
    for kind in ("titles", "memberships"):
        before, after = getattr(data, kind), getattr(back, kind)
        assert before.keys() == after.keys()
        for name in before:
            np.testing.assert_array_equal(after[name], before[name])


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


@pytest.mark.parametrize("call", ["replace", "fsync", "unlink"])
@pytest.mark.parametrize("nth", range(9))
def test_a_kill_at_every_step_leaves_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    save(Popularity().fit(world(0)), tmp_path)
    real, calls = getattr(os, call), itertools.count()

    def last_call(*arguments: Any, **named: Any) -> Any:
        if next(calls) == nth:
            raise Killed
        return real(*arguments, **named)

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(os, call, last_call)
        save(Popularity().fit(world(1)), tmp_path)
    assert load(tmp_path).history.fingerprint in {world(0).fingerprint, world(1).fingerprint}


SAVER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_store import world
from landbridge.models.popularity import Popularity
from landbridge.store import save
models = [Popularity().fit(world(seed)) for seed in range(2)]
print("ready", flush=True)
while True:
    for model in models:
        save(model, sys.argv[1])
"""


def test_a_kill_at_any_moment_leaves_a_whole_run(tmp_path: Path) -> None:
    save(Popularity().fit(world(0)), tmp_path / "run")
    valid = {world(seed).fingerprint for seed in range(2)}
    moments = random.Random(7)
    for _ in range(6):
        kill_while_saving(tmp_path / "run", moments.uniform(0, 0.1))
        assert load(tmp_path / "run").history.fingerprint in valid
    save(Popularity().fit(world(0)), tmp_path / "run")
    assert len(list((tmp_path / "run").iterdir())) == 5  # leftovers of the kills are gone


def test_a_first_save_that_was_killed_can_be_repeated(tmp_path: Path, fitted: Fitted) -> None:
    save(fitted, tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / ".manifest.json.0123abcd.tmp").write_text("{")
    save(fitted, tmp_path)
    assert load(tmp_path).history.fingerprint == fitted.history.fingerprint
    assert len(list(tmp_path.iterdir())) == 5


def kill_while_saving(folder: Path, after: float) -> None:
    command = [sys.executable, "-c", SAVER, str(folder), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
