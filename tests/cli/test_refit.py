"""``landbridge refit``: from a run and its event store to a run that serves the new."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from commands import answered, event_files, run

from landbridge import store
from landbridge.serving.engine.messages import Event
from landbridge.serving.events.store import EventStore


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    """A run of two domains with whole numbers as ids."""
    words = ["fit", *event_files(tmp_path), "--users", "shared", "--model", "ials", "--split", "none"]
    run(*words, "--set", "factors=4", "--set", "epochs=5", "--threads", 1, "--out", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def events(tmp_path: Path) -> str:
    """A store in which a user new read two books, and a number was mistaken for a name."""
    with closing(EventStore.open(str(tmp_path / "events.sqlite"))) as opened:
        opened.append("7000", [Event("books", 3), Event("books", 900)])
        opened.append("guest", [Event("books", 3)])
    return str(tmp_path / "events.sqlite")


def test_a_new_user_has_a_list_after_a_refit(
    fitted: Path, events: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recommend", tmp_path / "new", "--domain", "movies", "--user", 7000, "-k", 3, "--json"]
    before = (fitted / "manifest.json").read_bytes()
    refit = ["refit", fitted, "--events", events, "--out", tmp_path / "new", "--epochs", 2, "--threads", 1]
    status, out, _ = answered(capsys, *refit)
    assert status == 0
    cells = [cell.strip() for cell in out.splitlines()[3].strip("│┃").split("│")]
    assert cells == ["2", "1", "1", "0", "1", "0"]
    assert (fitted / "manifest.json").read_bytes() == before
    status, out, _ = answered(capsys, *words)
    assert status == 0
    assert [json.loads(line)["user"] for line in out.splitlines()] == [7000] * 3


def test_in_place_with_the_store_named_in_the_environment(
    fitted: Path, events: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDBRIDGE_EVENTS", events)
    run("refit", fitted)
    assert store.load(fitted).history.users.index([7000]).tolist() != [-1]


def test_a_mistyped_store_is_no_empty_one(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, said = answered(capsys, "refit", fitted, "--events", tmp_path / "evnets.sqlite")
    assert status == 2
    assert said.startswith("landbridge: There is no event store")
    assert not (tmp_path / "evnets.sqlite").exists()
