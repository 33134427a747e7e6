"""``fit --versioned``, ``refit``, ``versions`` and ``rollback``: a folder that commands take as a run."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commands import answered, event_files, refused, run
from planted import FIT, add_bots, add_good_events, planted_files

from landbridge import store
from landbridge.serving.engine.messages import Event
from landbridge.serving.events.store import EventStore

QUICK = ("--users", "shared", "--model", "ials", "--set", "factors=4", "--set", "epochs=2", "--threads", 1)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A versions folder with one version; nothing writes to it."""
    work = tmp_path_factory.mktemp("versions")
    run("fit", *event_files(work), *QUICK, "--out", work / "shop", "--versioned")
    return work / "shop"


@pytest.fixture
def shop(fitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted, tmp_path / "shop"))


@pytest.fixture
def events(tmp_path: Path) -> str:
    """A store in which a new user had two books."""
    with closing(EventStore.open(str(tmp_path / "events.sqlite"))) as opened:
        opened.append(7000, [Event("books", 3), Event("books", 4)])
    return str(tmp_path / "events.sqlite")


def listed(capsys: pytest.CaptureFixture[str], folder: Path) -> list[dict[str, Any]]:
    capsys.readouterr()  # what earlier commands printed
    status, out, _ = answered(capsys, "versions", folder, "--json")
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


def test_commands_take_the_folder_as_they_take_its_current_version(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = store.run_folder(fitted)
    user, item = store.load(version).history.users.ids[0], store.load(version).history.items["books"].ids[0]
    verbs: list[list[Any]] = [
        ["recommend", "--domain", "books", "--user", user, "--json"],
        ["fold-in", "--domain", "books", "--item", f"books={item}", "--json"],
        ["explain", "--domain", "books", "--user", user, "--item", item, "--json"],
        ["evaluate", "--json"],
    ]
    for verb, *words in verbs:
        (status, out, _), other = (answered(capsys, verb, path, *words) for path in (fitted, version))
        assert (status, out) == other[:2]
        assert out
    status, out, _ = answered(capsys, "compare", fitted, version)
    assert status == 0
    assert "+0.0000" in out
    words = [
        "fit",
        *event_files(tmp_path),
        "--users",
        "shared",
        "--settings-of",
        fitted,
        "--out",
        tmp_path / "again",
    ]
    run(*words, "--split", "none")
    assert store.load(tmp_path / "again").method == store.load(version).method


def test_a_fit_into_the_folder_is_a_new_version(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = store.run_folder(shop)
    status, _, err = answered(capsys, "fit", *event_files(tmp_path), *QUICK, "--out", shop, "--seed", 3)
    assert status == 0
    assert f"Saved in {store.run_folder(shop)}" in err
    assert [version["version"] for version in listed(capsys, shop)] == [
        first.name,
        store.run_folder(shop).name,
    ]
    assert store.version_of(store.run_folder(shop)) != first.name
    assert [path.name for path in tmp_path.iterdir() if "checkpoint" in path.name] == []
    refused(
        answered(capsys, "fit", *event_files(tmp_path), *QUICK, "--out", first), "is a version, and versions"
    )


def test_versions_are_listed_in_80_columns_and_rolled_back(
    shop: Path, events: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = store.run_folder(shop)
    status, _, err = answered(capsys, "refit", shop, "--events", events, "--epochs", 1, "--threads", 1)
    second = store.run_folder(shop)
    assert status == 0
    assert "The gate was skipped: known users have 0 new pairs" in err
    assert f"Saved in {second}" in err
    status, out, _ = answered(capsys, "versions", shop)
    assert status == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert [(row[0], row[-2], row[-1]) for row in rows] == [
        (first.name, "", ""),
        (second.name, "skipped", "*"),
    ]
    one, two = listed(capsys, shop)
    assert two["events"] == one["events"] + 2 == store.load(second).history.n_events
    assert (one["gate"], two["gate"]["decision"], two["gate"]["pairs"]) == (None, "skipped", 0)
    status, _, err = answered(capsys, "rollback", shop)
    assert (status, err) == (0, f"{first.name} is the current version of {shop}\n")
    assert [version["current"] for version in listed(capsys, shop)] == [True, False]
    assert answered(capsys, "rollback", shop, second.name)[0] == 0
    assert store.run_folder(shop) == second


def test_only_the_latest_versions_are_kept(
    shop: Path, events: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("refit", shop, "--events", events, "--epochs", 1, "--no-gate", "--threads", 1)
    made = [store.run_folder(shop).name]
    for _ in range(3):
        run(*words, "--keep", 2)
        made.append(store.run_folder(shop).name)
    assert [version["version"] for version in listed(capsys, shop)] == made[-2:]
    assert listed(capsys, shop)[-1]["gate"] is None
    assert answered(capsys, *words, "--keep", 1)[0] == 2


def test_mistakes_are_one_sentence(
    shop: Path, events: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(answered(capsys, "rollback", shop), "No version of")
    refused(answered(capsys, "rollback", shop, "20200101"), "Unknown version of")
    refused(answered(capsys, "versions", tmp_path), "is no versions folder")
    refused(
        answered(capsys, "refit", store.run_folder(shop), "--events", events), "versions stay as they are"
    )
    (tmp_path / "run").mkdir()
    shutil.copytree(store.run_folder(shop), tmp_path / "run", dirs_exist_ok=True)
    words = ("fit", *event_files(tmp_path), *QUICK, "--out", tmp_path / "run", "--versioned")
    refused(answered(capsys, *words), "is no versions folder; give a new folder with --versioned")


def test_a_failed_fit_begins_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", tmp_path / "nowhere.csv", *QUICK, "--out", tmp_path / "shop", "--versioned")
    assert answered(capsys, *words)[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_good_events_pass_the_gate_and_bots_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bots whose noise hides the tastes of the users: the figures say so, and the present model stays."""
    events, shop = str(tmp_path / "events.sqlite"), tmp_path / "shop"
    run("fit", *planted_files(tmp_path), *FIT, "--out", shop, "--versioned")
    words = ("refit", shop, "--events", events, "--threads", 1)
    add_good_events(events)
    status, out, err = answered(capsys, *words)
    assert (status, "The gate was passed: on 320 new pairs" in err) == (0, True)
    assert "popularity" in out
    present = store.run_folder(shop)
    (gate,) = [version["gate"] for version in listed(capsys, shop) if version["current"]]
    assert [each["pairs"] for each in gate["domains"]] == [160, 160]
    assert all(each["candidate"] > 2 * each["popularity"] for each in gate["domains"])
    store.rollback(shop)
    add_bots(events)
    status, _, err = answered(capsys, *words)
    assert status == 1
    assert "The gate refused the refitted model, and the present one stays (" in err
    assert len(listed(capsys, shop)) == 2
    assert store.run_folder(shop) != present
    _, _, err = answered(capsys, "versions", shop)
    assert "The gate refused the refitted model" in err
    run(*words, "--no-gate")
    assert len(listed(capsys, shop)) == 3
    assert "refused" not in answered(capsys, "versions", shop)[2]
