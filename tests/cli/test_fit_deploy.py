"""``landbridge fit`` serves what it decided: the model on all events, with the report of the one before."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import answered, event_files, run

from landbridge import store
from landbridge.evaluation.evaluate import Evaluation, evaluate

QUICK = ("--users", "shared", "--model", "ials", "--set", "factors=4", "--set", "epochs=2", "--threads", 1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    work = tmp_path_factory.mktemp("deploy")
    sources = event_files(work)
    for name, words in {"deployed": (), "kept": ("--no-deploy",), "all": ("--split", "none")}.items():
        run("fit", *sources, *QUICK, *words, "--out", work / name)
    return {name: work / name for name in ("deployed", "kept", "all")} | {"sources": work}


def test_the_saved_model_is_the_one_fitted_on_all_events(folders: dict[str, Path]) -> None:
    deployed, whole, kept = (store.load(folders[name]) for name in ("deployed", "all", "kept"))
    assert deployed.history.fingerprint == whole.history.fingerprint
    assert kept.history.n_events < whole.history.n_events
    ours, theirs = (model.state()[0] for model in (deployed, whole))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_the_report_is_that_of_the_model_before(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = store.load(folders["kept"])
    honest = evaluate(kept, store.load_holdout(folders["kept"], kept.history), threads=1)
    reported = Evaluation.read(store.attached(folders["deployed"], "evaluation"))
    assert reported.rows["above"].equals(honest.rows["above"])
    run("evaluate", folders["deployed"])
    shown = capsys.readouterr().out
    assert f"{honest.means('ndcg@10')['books']:.4f}" in shown
    assert store.deployed(folders["deployed"])
    assert not store.deployed(folders["kept"])


def test_who_does_not_know_the_test_events_is_told(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, warned in (("kept", True), ("deployed", False), ("all", False)):
        assert store.lacks_test_events(folders[name]) == warned
        _, _, err = answered(capsys, "refit", folders[name], "--events", tmp_path / "none.sqlite")
        assert ("without its test events" in err) == warned


def test_settings_and_weights_of_a_run_serve_for_other_events(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [folders["sources"] / f"{name}.csv" for name in ("books", "movies")]
    words = ("--users", "shared", "--trials", 0, "--families", "popularity,ease", "--threads", 1)
    run("fit", *sources, *words, "--out", tmp_path / "auto")
    again = ("--users", "shared", "--split", "none", "--settings-of", tmp_path / "auto", "--threads", 1)
    run("fit", *sources, *again, "--out", tmp_path / "new")
    old, new = store.load(tmp_path / "auto"), store.load(tmp_path / "new")
    assert new.method == old.method
    assert new.decisions == old.decisions
    assert new.history.fingerprint == old.history.fingerprint
    status, _, err = answered(capsys, "fit", *sources, *again, "--model", "ials", "--out", tmp_path / "wrong")
    assert status == 2
    assert "settings_of brings method and settings" in err


def test_coverage_and_diversity_can_be_named_as_metrics(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--metric", "coverage", "--metric", "ndcg@5", "--metric", "mrr")
    status, said, err = answered(capsys, "evaluate", folders["kept"], *words)
    assert status == 0, err
    assert "coverage" in said
    assert "ndcg@5" in said
    assert "mrr" in said
    status, _, err = answered(capsys, "evaluate", folders["deployed"], "--metric", "coverage")
    assert status == 2
    assert "--no-deploy" in err
