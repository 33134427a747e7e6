"""``landbridge fit``: known data sets, cuts in time, cold users and sampled candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import answered, event_files, run, stored

from landbridge import store
from landbridge.data.splitting.holdout import Holdout
from landbridge.evaluation.evaluate import Evaluation

COUNTING = ("--users", "shared", "--model", "popularity", "--seed", 3, "--no-deploy")


def kept(folder: Path) -> tuple[Holdout, Evaluation]:
    """The test part and the evaluation in a run folder."""
    history = store.load(folder).history
    return store.load_holdout(folder, history), Evaluation.read(stored(folder, "evaluation"))


def test_a_cut_in_time_holds_out_what_is_latest(tmp_path: Path) -> None:
    sources = event_files(tmp_path)
    run("fit", *sources, *COUNTING, "--split", "temporal", "--out", tmp_path / "run")
    holdout, evaluation = kept(tmp_path / "run")
    first = min(times(holdout, path).min() for path in sources)
    for path in sources:
        history = holdout.history[path.stem].time
        assert history is not None
        assert history.max() < first
    assert len(evaluation.rows) == sum(len(targets) for targets in holdout.targets.values()) > 50


def times(holdout: Holdout, path: Path) -> np.ndarray:
    """When the targets of a domain happened: the latest event of each pair counts."""
    targets, vocabularies = holdout.targets[path.stem], holdout.history
    users = np.asarray(vocabularies.users.ids)[targets.user_idx]
    items = np.asarray(vocabularies.items[path.stem].ids)[targets.item_idx]
    pairs = pl.DataFrame({"user": users.astype(np.int64), "item": items.astype(np.int64)})
    latest = pl.read_csv(path).group_by("user", "item").agg(pl.col("time").max())
    found = pairs.join(latest, on=["user", "item"], how="left")["time"]
    assert found.null_count() == 0
    return found.to_numpy()


def test_the_latest_of_all_is_ranked_in_one_list(tmp_path: Path) -> None:
    sources = event_files(tmp_path)
    run("fit", *sources, *COUNTING, "--split", "latest", "--across", "--out", tmp_path / "run")
    holdout, evaluation = kept(tmp_path / "run")
    assert holdout.protocol == evaluation.protocol == "across"
    users = np.concatenate([targets.user_idx for targets in holdout.targets.values()])
    assert len(users) == len(np.unique(users)) == len(evaluation.rows)
    for path in sources:
        held, user_idx = times(holdout, path), holdout.targets[path.stem].user_idx
        for table in holdout.history.domains.values():
            latest_U = np.zeros(table.n_users, np.int64)
            np.maximum.at(latest_U, table.user_idx, table.time)
            assert (held >= latest_U[user_idx]).all()
    unseen_U = sum(table.n_items - table.user_counts for table in holdout.history.domains.values())
    assert (evaluation.rows["candidates"].to_numpy() == unseen_U[evaluation.rows["user"]] - 1).all()
    run("evaluate", tmp_path / "run", "--by", "event_share")
    run("compare", tmp_path / "run", tmp_path / "run", "--by", "event_share")


def test_one_list_over_all_domains_takes_no_candidates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*event_files(tmp_path), *COUNTING, "--across", "--candidates", 5, "--out", tmp_path / "run")
    status, _, err = answered(capsys, "fit", *words)
    assert status == 2
    assert "takes no sampled candidates: leave out candidates or across" in err


def test_cold_users_have_nothing_left_in_their_target_domain(tmp_path: Path) -> None:
    words = ("--split", "cold", "--out", tmp_path / "run")
    run("fit", *event_files(tmp_path), *COUNTING, *words)
    holdout, evaluation = kept(tmp_path / "run")
    history = holdout.history
    for column, name in enumerate(history.domain_names):
        cold = np.unique(holdout.targets[name].user_idx)
        assert len(cold) > 0
        assert (history.activity_UD[cold, column] == 0).all()
        assert (history.activity_UD[cold, 1 - column] > 0).all()
    assert (evaluation.rows["activity"] == 0).all()
    assert (evaluation.rows["other_domain_events"] > 0).all()


def test_the_future_is_cut_or_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*event_files(tmp_path), *COUNTING, "--split", "last", "--out")
    _, _, cut = answered(capsys, "fit", *words, tmp_path / "cut")
    _, _, keep = answered(capsys, "fit", *words, tmp_path / "keep", "--future", "keep")
    assert "later than a held-out one of the same user are left out" in cut
    assert "left out" not in keep
    (holdout, evaluation), (whole, kept_evaluation) = kept(tmp_path / "cut"), kept(tmp_path / "keep")
    assert holdout.left_out is not None
    assert holdout.left_out.events > 0
    assert holdout.history.n_events < whole.history.n_events
    assert not evaluation.rows["later_in_other_domains"].any()
    assert kept_evaluation.rows["later_in_other_domains"].any()


def test_only_the_last_events_take_a_future(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--split", "latest", "--future", "keep", "--out", tmp_path / "run")
    status, _, err = answered(capsys, "fit", *event_files(tmp_path), *COUNTING, *words)
    assert status == 2
    assert "'latest' takes no future" in err


@pytest.mark.parametrize("split", ["last", "temporal", "cold"])
def test_candidates_are_drawn_once_and_kept(split: str, tmp_path: Path) -> None:
    words = ("--split", split, "--candidates", 20, "--out", tmp_path / "run")
    run("fit", *event_files(tmp_path, items=120), *COUNTING, *words)
    holdout, evaluation = kept(tmp_path / "run")
    assert evaluation.sampled
    assert evaluation.protocol == holdout.protocol == "1+20"
    assert evaluation.rows["candidates"].to_list() == [20] * len(evaluation.rows)
    for name, targets in holdout.targets.items():
        assert targets.candidates_TC is not None
        drawn_T20 = np.asarray(targets.candidates_TC)
        assert drawn_T20.shape == (len(targets), 20)
        assert (np.diff(np.sort(drawn_T20, axis=1)) > 0).all()
        assert not (drawn_T20 == targets.item_idx[:, None]).any()
        assert (holdout.history[name].item_counts[drawn_T20] > 0).all()


def test_a_known_data_set_with_its_own_split_and_candidates(real_data: Path, tmp_path: Path) -> None:
    run("fit", "sport-phone", "--dataset", "--model", "popularity", "--no-deploy", "--out", tmp_path / "run")
    holdout, evaluation = kept(tmp_path / "run")
    assert evaluation.protocol == "1+99"
    assert sum(len(events) for events in holdout.history.domains.values()) > 50_000
    assert evaluation.means("hr@10")[holdout.history.domain_names[0]] > 0.15  # chance is 0.1


def test_a_known_data_set_to_be_split(real_data: Path, tmp_path: Path) -> None:
    words = ("--model", "ials", "--set", "factors=8", "--set", "epochs=2", "--out", tmp_path / "run")
    run("fit", "food-kitchen", "--dataset", "--split", "temporal", "--no-deploy", *words)
    holdout, evaluation = kept(tmp_path / "run")
    assert evaluation.protocol == "full"
    n_events = holdout.history.n_events + sum(len(targets) for targets in holdout.targets.values())
    assert 150_000 < n_events <= 173_548
