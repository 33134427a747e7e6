"""One list over all domains: against going through every user, and what must not change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.splitting.holdout import Holdout
from landbridge.data.vocabulary import Vocabulary
from landbridge.evaluation import protocols
from landbridge.evaluation.evaluate import Evaluation, Validator, evaluate, recommended_share
from landbridge.evaluation.metrics import gini
from landbridge.evaluation.protocols import ranking_tasks, recommended_items
from landbridge.evaluation.significance import compare

from .worlds import held_out, many, model

SCORES = {
    "books": [[9, 9, 3, 2, 2], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
    "films": [[2, 1, 0], [0, 5, 0], [1, 1, 1]],
}


def small() -> Holdout:
    history = many(
        3,
        {"books": 5, "films": 3},
        {"books": [(0, 0), (0, 1), (1, 0), (2, 0)], "films": [(0, 0), (2, 1), (2, 2)]},
    )
    targets = {"books": held_out([(0, 2), (0, 3), (1, 4)]), "films": held_out([(1, 1)])}
    return Holdout(history, targets, across=True)


@pytest.fixture
def wide(random_world):  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    return replace(holdout, across=True), scores


def side_by_side(holdout: Holdout, scores, user: int):  # type: ignore[no-untyped-def]
    """(domain, item) and score of everything the user does not know."""
    return {
        (name, item): scores[name][user][item]
        for name in holdout.history.domain_names
        for item in range(holdout.history[name].n_items)
        if not holdout.history[name].contains([user], [item])[0]
    }


def test_the_rows_by_hand() -> None:
    """User 0's unseen scores are 3 2 2 in books and 1 0 in films, user 1's 0 0 0 0 and 0 5 0."""
    holdout = small()
    rows = evaluate(model(holdout.history, SCORES), holdout).rows
    assert rows.select("domain", "user", "item", "above", "ties", "candidates").rows() == [
        ("books", 0, 2, 0, 0, 4),
        ("books", 0, 3, 1, 1, 4),
        ("books", 1, 4, 1, 5, 6),
        ("films", 1, 1, 0, 0, 6),
    ]


def test_against_going_through_all_users(wide) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    rows = evaluate(model(holdout.history, scores), holdout).rows
    assert len(rows) == sum(map(len, holdout.targets.values()))
    for domain, user, item, above, ties, candidates in rows.select(
        "domain", "user", "item", "above", "ties", "candidates"
    ).rows():
        unseen = side_by_side(holdout, scores, user)
        mark = unseen.pop((domain, item))
        values = np.array(list(unseen.values()))
        assert (above, ties, candidates) == ((values > mark).sum(), (values == mark).sum(), len(values))


def test_only_the_standing_differs_from_full_ranking(wide) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    fitted = model(holdout.history, scores)
    across, full = evaluate(fitted, holdout), evaluate(fitted, replace(holdout, across=False))
    standing = ("above", "ties", "candidates")
    assert across.rows.drop(standing).equals(full.rows.drop(standing))
    for column in standing[:2]:
        assert (across.rows[column] >= full.rows[column]).all()
    assert (across.rows["candidates"] > full.rows["candidates"]).all()
    assert (across.protocol, across.sampled) == ("across", False)


@given(seed=st.integers(0, 999), domains=st.integers(2, 4))
def test_places_within_the_domains_add_up(seed: int, domains: int) -> None:
    """Who is above in one list is above in a domain, so a target's place is the sum of its places there."""
    rng = np.random.default_rng(seed)
    names, users = "abcd"[:domains], 6
    sizes = {name: int(rng.integers(2, 9)) for name in names}
    history = many(
        users,
        sizes,
        {n: [tuple(p) for p in np.argwhere(rng.random((users, s)) < 0.3)] for n, s in sizes.items()},
    )
    scores = {name: rng.integers(0, 4, (users, size)).astype(np.float32) for name, size in sizes.items()}
    targets = {name: held_out([(int(rng.integers(users)), int(rng.integers(sizes[name])))]) for name in names}
    rows = evaluate(model(history, scores), Holdout(history, targets, across=True)).rows
    for domain, user, item, above, ties in rows.select("domain", "user", "item", "above", "ties").rows():
        mark, places, equal = scores[domain][user, item], 0, -1
        for name, size in sizes.items():
            own = ~history[name].contains(np.full(size, user), np.arange(size))
            own |= (name == domain) & (np.arange(size) == item)
            places += int((scores[name][user][own] > mark).sum())
            equal += int((scores[name][user][own] == mark).sum())
        assert (above, ties) == (places, equal)


def test_one_domain_across_is_full_ranking(wide) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    books = holdout.select(["books"])
    fitted = model(books.history, scores)
    rows = evaluate(fitted, books).rows
    assert rows.equals(evaluate(fitted, replace(books, across=False)).rows)


def test_a_domain_is_scored_once_per_block_and_blocks_change_nothing(wide) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    whole, parts = model(holdout.history, scores), model(holdout.history, scores)
    assert evaluate(whole, holdout).rows.equals(evaluate(parts, holdout, block=7, threads=1).rows)
    assert whole.asked == [40, 40]
    assert parts.asked == [7] * 10 + [5, 5]


def test_blocks_are_sized_by_the_whole_catalogue(wide, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    monkeypatch.setattr(protocols, "BLOCK_BYTES", 4 * 95 * 10)
    fitted = model(holdout.history, scores)
    evaluate(fitted, holdout)
    assert fitted.asked == [10] * 8


def test_a_domain_without_targets_competes_and_has_no_rows(wide) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    whole = evaluate(model(holdout.history, scores), holdout).rows.filter(domain="books")
    for films in ({}, {"films": held_out([])}):
        alone = replace(holdout, targets={**films, "books": holdout.targets["books"]})
        fitted = model(holdout.history, scores)
        assert evaluate(fitted, alone).rows.equals(whole)
        assert recommended_share(fitted, alone)["domain"].to_list() == ["all"]
        assert Validator(alone)(fitted) == evaluate(fitted, alone).means("ndcg@10")["books"]


def test_a_domain_without_targets_has_no_coverage(wide) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    alone = Holdout(holdout.history, {"films": held_out([]), "books": holdout.targets["books"]})
    assert recommended_share(model(holdout.history, scores), alone)["domain"].to_list() == ["books"]


def test_nothing_held_out_is_refused() -> None:
    holdout = replace(small(), targets={"books": held_out([]), "films": held_out([])})
    with pytest.raises(DataError, match="no held-out pair"):
        evaluate(model(holdout.history, SCORES), holdout)
    assert len(recommended_share(model(holdout.history, SCORES), holdout)) == 0


def test_the_validator_is_the_mean_over_domains(wide) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    fitted = model(holdout.history, scores)
    means = evaluate(fitted, holdout).means("recall@20")
    assert Validator(holdout, "recall@20")(fitted) == pytest.approx(np.mean(list(means.values())))
    assert Validator(replace(holdout, across=False), "recall@20")(fitted) > Validator(holdout, "recall@20")(
        fitted
    )


def test_lists_and_coverage_are_those_of_the_joint_catalogue(wide) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    fitted = model(holdout.history, scores)
    starts, lists = {"books": 0, "films": 60}, []
    for user in range(40):
        unseen = side_by_side(holdout, scores, user)
        best = sorted(unseen, key=lambda each: (-unseen[each], starts[each[0]] + each[1]))[:10]
        lists.append([starts[name] + item for name, item in best])
    found = np.concatenate(list(recommended_items(fitted, ranking_tasks(holdout)["all"], 10, block=9)))
    assert found.tolist() == lists
    counted = np.concatenate([holdout.history[name].item_counts > 0 for name in starts])
    shown = np.bincount(np.ravel(lists), minlength=95)[counted]
    (row,) = recommended_share(fitted, holdout, 10).rows()
    items, size = int((shown > 0).sum()), int(counted.sum())
    assert row == ("all", items, size, items / size, gini(shown), "across")


def test_a_model_of_other_items_in_any_domain_is_refused() -> None:
    """Also in one without targets, since its items compete."""
    holdout = replace(small(), targets={"books": held_out([(0, 2)])})
    other = replace(
        holdout.history, items={**holdout.history.items, "films": Vocabulary.of(np.arange(3) + 1)}
    )
    with pytest.raises(DataError, match="'films' differently"):
        evaluate(model(other, SCORES), holdout)
    with pytest.raises(DataError, match="Unknown domain 'films'"):
        evaluate(model(holdout.history.select(["books"]), SCORES), holdout)


def test_a_model_fitted_on_the_held_out_is_refused() -> None:
    holdout = small()
    cheat = many(3, {"books": 5, "films": 3}, {"books": [(0, 0)], "films": [(1, 1)]})
    with pytest.raises(DataError, match="fitted on 1 of the pairs held out in 'films'"):
        evaluate(model(cheat, SCORES), holdout)


def test_candidates_are_refused() -> None:
    with pytest.raises(SettingsError, match="takes no sampled candidates"):
        replace(small(), targets={"books": held_out([(0, 2)], [[1, 3]])})


def test_it_is_reported_and_kept(wide, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    judged = evaluate(model(holdout.history, scores), holdout)
    assert set(judged.summary()["protocol"]) == {"across"}
    assert str(compare(judged, judged)).startswith("ndcg@10, one list over all domains: given against given")
    judged.write(tmp_path / "judged.parquet")
    assert Evaluation.read(tmp_path / "judged.parquet").protocol == "across"
    with pytest.raises(DataError, match="not evaluated on the same held-out pairs"):
        compare(judged, evaluate(model(holdout.history, scores), replace(holdout, across=False)))


def test_a_user_s_targets_of_a_domain_are_one_list(wide) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = wide
    judged = evaluate(model(holdout.history, scores), holdout)
    films = judged.rows.filter(domain="films")
    hits = films.group_by("user").agg((pl.col("above") + pl.col("ties") < 20).mean().alias("hit"))
    sure = films.with_columns(ties=pl.lit(0), above=pl.col("above") + pl.col("ties"))
    assert Evaluation(sure, "sure", "across").means("recall@20")["films"] == pytest.approx(hits["hit"].mean())
