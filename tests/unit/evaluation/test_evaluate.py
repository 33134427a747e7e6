from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.evaluation.evaluate import (
    Evaluation,
    Validator,
    best_by_domain,
    evaluate,
    over_seeds,
    recommended_share,
)
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.protocols import BLOCK_BYTES, blocks
from landbridge.evaluation.segments import LABELS
from landbridge.evaluation.significance import compare

from .worlds import held_out, many, model


def small() -> Holdout:
    history = many(
        3,
        {"books": 5, "films": 3},
        {"books": [(0, 0), (0, 1), (1, 0), (2, 0)], "films": [(0, 0), (2, 1), (2, 2)]},
    )
    return Holdout(history, {"books": held_out([(0, 2), (0, 3), (1, 4)]), "films": held_out([(1, 1)])})


SCORES = {"books": [[9, 9, 3, 2, 2], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], "films": np.zeros((3, 3))}


def test_the_rows_by_hand() -> None:
    holdout = small()
    rows = evaluate(model(holdout.history, SCORES), holdout).rows
    expected = pl.DataFrame(
        {
            "domain": ["books", "books", "books", "films"],
            "user": [0, 0, 1, 1],
            "item": [2, 3, 4, 1],
            "above": [0, 1, 0, 0],
            "ties": [0, 1, 3, 2],
            "candidates": [2, 2, 3, 2],
            "activity": [2, 2, 1, 0],
            "other_domain_events": [1, 1, 0, 1],
            "popularity": [0, 0, 0, 1],
            "head": [False, False, False, True],
            "is_duplicate": [False] * 4,
            "later_in_other_domains": [False] * 4,
        }
    )
    assert rows.cast({"user": pl.Int64, "item": pl.Int64}).equals(expected)


def test_several_targets_of_a_user_make_one_list() -> None:
    holdout = small()
    judged = evaluate(model(holdout.history, SCORES), holdout)
    assert judged.means("recall@1") == pytest.approx({"books": (1 / 2 + 1 / 4) / 2, "films": 1 / 3})
    assert judged.means("hr@1")["books"] == pytest.approx((1 + 1 / 4) / 2)


def test_sampled_pairs_are_evaluated_one_at_a_time() -> None:
    holdout = small()
    candidates = [[1, 4, -1], [2, 4, -1], [1, 2, 0]]
    sampled = Holdout(holdout.history, {"books": held_out([(0, 2), (0, 3), (1, 4)], candidates)})
    judged = evaluate(model(holdout.history, SCORES), sampled)
    assert (judged.protocol, judged.sampled) == ("1+3", True)
    assert judged.rows.select("above", "ties", "candidates").rows() == [(0, 0, 1), (1, 1, 2), (0, 2, 2)]
    assert judged.means("hr@1") == pytest.approx({"books": (1 + 0 + 1 / 3) / 3})
    summary = judged.summary(["hr@1"])
    assert summary.select("users", "rows", "protocol").rows() == [(2, 3, "sampled 1+3")]


def test_a_target_that_is_also_known_competes_with_the_unseen() -> None:
    """Published splits hold such rows: the pair itself is then no item taken off its rivals."""
    history = many(1, {"all": 5}, {"all": [(0, 1), (0, 2)]})
    judged = evaluate(
        model(history, {"all": np.zeros((1, 5))}), Holdout(history, {"all": held_out([(0, 2)])})
    )
    assert judged.rows.select("ties", "candidates").rows() == [(3, 3)]


def test_a_constant_model_gets_the_random_figure() -> None:
    """1 + 99 candidates: HR@10 .10, NDCG@10 .0454, MRR@10 .0293, wherever the target is placed."""
    n_users = 20
    history = many(n_users, {"all": 200}, {"all": [(user, 199) for user in range(n_users)]})
    pool = np.stack([np.random.default_rng(user).permutation(199)[:100] for user in range(n_users)])
    targets = held_out([(user, int(pool[user, 0])) for user in range(n_users)], pool[:, 1:])
    judged = evaluate(model(history, {"all": np.zeros((n_users, 200))}), Holdout(history, {"all": targets}))
    figures = [judged.means(name)["all"] for name in ("hr@10", "ndcg@10", "mrr@10")]
    assert figures == pytest.approx([0.10, 0.0454, 0.0293], abs=5e-5)


def test_each_user_is_scored_once_and_blocks_change_nothing(random_world) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    whole, parts = model(holdout.history, scores), model(holdout.history, scores)
    assert evaluate(whole, holdout).rows.equals(evaluate(parts, holdout, block=7, threads=1).rows)
    assert whole.asked == [40, 40]
    assert parts.asked == [7, 7, 7, 7, 7, 5] * 2


def test_against_a_naive_evaluation(random_world) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    judged = evaluate(model(holdout.history, scores), holdout)
    for domain, targets in holdout.targets.items():
        history, per_user = holdout.history[domain], []
        for user in np.unique(targets.user_idx):
            mine = targets.item_idx[targets.user_idx == user]
            left = np.setdiff1d(np.arange(history.n_items), history.item_idx[history.user_idx == user])
            row = scores[domain][user]
            above = [(row[left] > row[item]).sum() for item in mine]
            ties = [(row[left] == row[item]).sum() - 1 for item in mine]
            per_user.append(
                Metric("ndcg", 10).per_unit(np.zeros(len(mine), int), *map(np.array, (above, ties)))[0]
            )
        assert judged.means("ndcg@10")[domain] == pytest.approx(np.mean(per_user))


def test_targets_in_any_order(random_world) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    order = np.random.default_rng(0).permutation(len(holdout.targets["books"]))
    books = holdout.targets["books"]
    mixed = Holdout(holdout.history, {"books": Targets(books.user_idx[order], books.item_idx[order])})
    sorted_rows = evaluate(model(holdout.history, scores), holdout).rows.filter(pl.col("domain") == "books")
    rows = evaluate(model(holdout.history, scores), mixed, block=3).rows
    assert rows.equals(sorted_rows[order])


def test_blocks_are_bounded_and_lose_no_user() -> None:
    users = np.repeat(np.arange(1000, dtype=np.int32), 2)
    targets = Targets(users, np.zeros(2000, np.int32))
    parts = list(blocks(targets, 100_000))
    assert max(len(part.users_B) for part in parts) * 100_000 * 4 <= BLOCK_BYTES
    assert np.concatenate([part.users_B for part in parts]).tolist() == list(range(1000))
    assert np.concatenate([part.users_B[part.row_T] for part in parts]).tolist() == users.tolist()


def test_intervals_hold_the_mean_and_are_repeatable(random_world) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    judged = evaluate(model(holdout.history, scores), holdout)
    first, again = judged.summary(by="activity"), judged.summary(by="activity")
    assert first.equals(again)
    assert not first.equals(judged.summary(by="activity", seed=1))
    assert first.select(((pl.col("low") <= pl.col("mean")) & (pl.col("mean") <= pl.col("high"))).all()).item()


def test_segments_share_out_the_rows(random_world) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    judged = evaluate(model(holdout.history, scores), holdout)
    total = len(judged.rows)
    for by in LABELS:
        assert judged.summary(["hr@10"], by=by)["rows"].sum() == total


def test_written_and_read_again(random_world, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    judged = replace(evaluate(model(holdout.history, scores), holdout), name="mine", protocol="1+9")
    judged.write(tmp_path / "judged.parquet")
    again = Evaluation.read(tmp_path / "judged.parquet")
    assert (again.name, again.protocol) == ("mine", "1+9")
    assert again.rows.equals(judged.rows)


def test_a_foreign_file_is_no_evaluation(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    for name in ("other.parquet", "text.parquet", "missing.parquet"):
        with pytest.raises(DataError, match=f"{name} is not a written evaluation"):
            Evaluation.read(tmp_path / name)


def test_the_validator_is_the_mean_over_domains(random_world) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    fitted = model(holdout.history, scores)
    means = evaluate(fitted, holdout).means("recall@20")
    assert Validator(holdout, "recall@20")(fitted) == pytest.approx(np.mean(list(means.values())))


def test_a_validator_refuses_an_unknown_metric_at_once() -> None:
    with pytest.raises(SettingsError, match="Unknown metric 'accuracy'"):
        Validator(small(), "accuracy")


def test_coverage_and_gini_by_hand() -> None:
    """User 0 is shown 2 then 3, user 1 (all alike) 1 then 2; only 0 and 1 have events, so 1 of 2 is used."""
    holdout = small()
    share = recommended_share(model(holdout.history, SCORES), holdout, k=2)
    assert share.rows()[0] == ("books", 1, 2, 0.5, 0.5, "full")


def test_coverage_of_candidates_shows_the_best_of_each_pool() -> None:
    history = many(2, {"all": 5}, {"all": [(0, 0), (0, 1), (0, 2), (0, 3), (1, 4)]})
    targets = held_out([(1, 0), (1, 3)], [[1, 2, 4], [2, 2, -1]])
    scores = {"all": [[0] * 5, [0, 5, 1, 0, 9]]}
    share = recommended_share(model(history, scores), Holdout(history, {"all": targets}), k=2)
    assert share.select("items", "catalogue", "coverage").rows() == [(3, 5, 0.6)]  # lists 1, 2 and 2, 3
    assert share["gini"][0] == pytest.approx(0.5)


def test_a_model_fitted_on_the_held_out_is_refused() -> None:
    holdout = small()
    cheat = many(3, {"books": 5, "films": 3}, {"books": [(0, 2), (1, 0)], "films": []})
    with pytest.raises(DataError, match="fitted on 1 of the pairs held out in 'books'"):
        evaluate(model(cheat, SCORES), holdout)


def test_a_model_of_other_data_is_refused() -> None:
    holdout = small()
    other = many(4, {"books": 5, "films": 3}, {"books": [(0, 0)], "films": []})
    with pytest.raises(DataError, match="differently"):
        evaluate(model(other, SCORES), holdout)


def test_scores_of_the_wrong_shape_are_refused() -> None:
    holdout = small()
    with pytest.raises(DataError, match=r"shape \(2, 4\) in domain 'books', but \(2, 5\)"):
        evaluate(model(holdout.history, {**SCORES, "books": np.zeros((3, 4))}), holdout)


def test_nothing_held_out_is_refused() -> None:
    holdout = Holdout(small().history, {"books": held_out([])})
    with pytest.raises(DataError, match="no held-out pair"):
        evaluate(model(holdout.history, SCORES), holdout)


@pytest.mark.parametrize("setting", ["threads", "block"])
def test_there_is_at_least_one_thread_and_one_user(setting: str) -> None:
    holdout = small()
    with pytest.raises(SettingsError, match=setting):
        evaluate(model(holdout.history, SCORES), holdout, **{setting: 0})


def test_seeds_are_averaged_per_user() -> None:
    holdout = small()
    good = {"books": [[0, 0, 9, 8, 0], [0, 0, 0, 0, 9], [0] * 5], "films": [[0, 0, 0], [0, 9, 0], [0, 0, 0]]}
    runs = {seed: evaluate(model(holdout.history, s), holdout) for seed, s in ((1, SCORES), (2, good))}
    both = over_seeds(runs)
    for metric in ("ndcg@2", "recall@1"):
        one, two = (run.means(metric) for run in runs.values())
        assert both.means(metric) == pytest.approx({name: (one[name] + two[name]) / 2 for name in one})
    verdict = compare(both, over_seeds(dict.fromkeys((1, 2), runs[1])), "ndcg@2")
    assert verdict.rows["users"].to_list() == [2, 1]
    assert (verdict.rows["difference"] > 0).all()
    with pytest.raises(DataError, match="same held-out pairs"):
        compare(both, runs[1])


def test_the_best_model_of_each_domain(random_world, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    first, *_, last = holdout.targets
    names = {"one": first, "other": last}
    evaluations = []
    for name, good in names.items():
        own = {domain: table.copy() for domain, table in scores.items()}
        targets = holdout.targets[good]
        own[good][targets.user_idx, targets.item_idx] += 9
        evaluations.append(replace(evaluate(model(holdout.history, own), holdout), name=name))
    best = best_by_domain(evaluations)
    assert (best.models[first], best.models[last]) == ("one", "other")
    for domain in holdout.targets:
        assert best.means("ndcg@10")[domain] == max(each.means("ndcg@10")[domain] for each in evaluations)
    assert compare(best, evaluations[0]).rows["difference"].to_list()[0] == 0
    best.write(tmp_path / "best.parquet")
    again = Evaluation.read(tmp_path / "best.parquet")
    assert (again.models, again.name) == (best.models, "one, other")
    assert again.rows.equals(best.rows)
    with pytest.raises(DataError, match="different protocols"):
        best_by_domain([evaluations[0], replace(evaluations[1], protocol="1+99")])
