"""`fit --guard` and `fit --model auto`: what is written, what it can do, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from commands import event_files, run

from landbridge import read, store
from landbridge.cli.main import main
from landbridge.core.files import read_json
from landbridge.data.activity import ACTIVITY
from landbridge.selection.auto import candidates

SMALL = ("--set", "factors=4", "--set", "epochs=2", "--split", "last", "--seed", 3)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["landbridge", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guarded")
    sources, out = event_files(folder), folder / "run"
    run("fit", *sources, "--users", "shared", "--model", "cdimf", "--guard", *SMALL, "--out", out)
    return out


def test_the_decisions_are_in_the_manifest(guarded: Path) -> None:
    manifest = read_json(guarded / "manifest.json")
    assert manifest["kind"] == "mixture"
    told = {(decision["domain"], decision["group"]) for decision in manifest["decisions"]}
    assert told == {(domain, group) for domain in ("books", "movies") for group in ACTIVITY}
    assert all(abs(sum(decision["weights"].values()) - 1) < 1e-4 for decision in manifest["decisions"])
    assert not guarded.with_name("run.checkpoint").exists()


def test_a_guarded_run_is_used_like_any_other(guarded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user = int(store.load(guarded).history.users.ids[5])
    run("evaluate", guarded)
    run("recommend", guarded, "--domain", "books", "--user", user, "-k", 3)
    run("fold-in", guarded, "--domain", "books", "--item", "movies=3")
    run("explain", guarded, "--domain", "books", "--user", user, "--item", 7)
    assert "mixture" in capsys.readouterr().out


def test_auto_chooses_within_its_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources, out = event_files(tmp_path), tmp_path / "run"
    words = ("--users", "shared", "--model", "auto", "--trials", 1, "--split", "last", "--out", out)
    run("fit", *sources, *words)
    assert "served by" in capsys.readouterr().out
    members = store.load(out).method.members  # type: ignore[attr-defined]
    assert set(members) <= set(candidates(store.load(out).history))


@pytest.mark.parametrize(
    "words",
    [("--guard", "--model", "cdimf", *SMALL[:4]), ("--trials", 0, "--families", "popularity,itemknn")],
)
def test_without_a_test_the_choice_is_made_on_the_latest_events(
    words: tuple[object, ...], tmp_path: Path
) -> None:
    sources, out = event_files(tmp_path), tmp_path / "run"
    run("fit", *sources, "--users", "shared", *words, "--split", "none", "--out", out)
    fitted = store.load(out)
    assert fitted.history.fingerprint == read(list(sources), users="shared").fingerprint
    assert fitted.decisions
    assert not store.lacks_test_events(out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "factors=4"), "auto chooses the settings itself"),
        (("--guard", "--patience", 2), "Give only one of them"),
    ],
)
def test_what_cannot_be_is_refused(
    words: tuple[object, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = event_files(tmp_path)
    assert message in refused(capsys, "fit", *sources, "--users", "shared", *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "run.checkpoint").exists()
