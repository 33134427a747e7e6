"""Scores and lists from elsewhere get the figures of the model that they were made by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import code_blocks
from worlds import uneven

import landbridge as lb
from landbridge.core.errors import DataError
from landbridge.data.vocabulary import Vocabulary
from landbridge.evaluation.evaluate import Evaluation
from landbridge.evaluation.external import external, levels_of
from landbridge.models.base import Queries

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"


@pytest.fixture(scope="module")
def split() -> lb.Split:
    data = uneven()
    names = np.array([f"u{user:02}" for user in range(60)], np.dtypes.StringDType())
    return lb.leave_one_out(replace(data, users=Vocabulary.of(names)), seed=1)


@pytest.fixture(scope="module")
def fitted(split: lb.Split) -> lb.Fitted:
    return lb.EASE(reg=5.0).fit(split.test.history, lb.FitOptions(threads=1))


def scores_of(fitted: lb.Fitted) -> dict[str, np.ndarray]:
    users = Queries.of_users(np.arange(fitted.history.n_users))
    return {name: fitted.score(name, users) for name in fitted.history.domain_names}


def as_frame(fitted: lb.Fitted, scores: dict[str, np.ndarray]) -> pl.DataFrame:
    history, parts = fitted.history, []
    for name, scores_UI in scores.items():
        user_N, item_N = np.indices(scores_UI.shape).reshape(2, -1)
        ids = history.users.ids[user_N].tolist(), history.items[name].ids[item_N]
        parts.append(
            pl.DataFrame({"user": ids[0], "item": ids[1], "domain": name, "score": scores_UI.ravel()})
        )
    return pl.concat(parts).sample(fraction=1.0, shuffle=True, seed=0)


def same(one: Evaluation, other: Evaluation) -> bool:
    return one.rows.equals(other.rows)


def test_all_scores_get_the_figures_of_the_model(split: lb.Split, fitted: lb.Fitted) -> None:
    ours = lb.evaluate(fitted, split.test)
    assert same(lb.evaluate(external(scores_of(fitted), split.test), split.test), ours)
    assert same(lb.evaluate(external(as_frame(fitted, scores_of(fitted)), split.test), split.test), ours)
    theirs = lb.evaluate(external(as_frame(fitted, scores_of(fitted)), split.test, name="theirs"), split.test)
    assert theirs.name == "theirs"
    assert lb.compare(theirs, ours, "ndcg@10").rows["difference"].abs().max() == 0


def test_one_list_over_all_domains(split: lb.Split, fitted: lb.Fitted) -> None:
    across = split.across().test
    ours = lb.evaluate(fitted, across)
    users = Queries.of_users(np.arange(fitted.history.n_users))
    scores = {name: fitted.list_scores(name, users) for name in fitted.history.domain_names}
    assert same(lb.evaluate(external(as_frame(fitted, scores), across), across), ours)


def test_lists_of_ranks_are_enough_for_their_length(
    split: lb.Split, fitted: lb.Fitted, tmp_path: Path
) -> None:
    users = split.test.history.users.ids.tolist()
    lists = [
        lb.recommend(fitted, name, users, k=10).with_columns(domain=pl.lit(name))
        for name in split.test.history.domain_names
    ]
    pl.concat(lists).select("user", "item", "domain", "rank").write_csv(tmp_path / "lists.csv")
    theirs = lb.evaluate(external(tmp_path / "lists.csv", split.test), split.test)
    ours = lb.evaluate(fitted, split.test)
    first_N = (ours.rows["above"] + ours.rows["ties"]) < 10  # whose place the lists decide
    assert first_N.sum() > 20
    columns = ["domain", "user", "item", "above", "ties"]
    listed = (evaluation.rows.filter(first_N & (ours.rows["ties"] == 0)) for evaluation in (theirs, ours))
    one, other = (rows.select(columns) for rows in listed)
    assert one.equals(other)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1e300, -1.0, 0.0, 1e-300, 2.0])), max_size=30))
def test_levels_keep_the_order_within_a_user(rows: list[tuple[int, float]]) -> None:
    user_N = np.array([user for user, _ in rows], np.int32)
    value_N = np.array([value for _, value in rows], np.float64)
    slow = [len({v for u, v in rows if u == user and v <= value}) for user, value in rows]
    assert levels_of(user_N, value_N).tolist() == slow


ROW: dict[str, list[Any]] = {"user": ["u01"], "item": [0], "domain": ["a"], "score": [1.0]}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"user": ["nobody"]}, "'user' .* is unknown in row 1"),
        ({"item": [999]}, "'item' .* is unknown in its domain in row 1"),
        ({"domain": ["aa"]}, "Unknown domain 'aa'"),
        ({"score": [float("nan")]}, "is no finite number in row 1"),
        ({"rank": [1]}, "either a column score or a column rank"),
        ({name: 2 * column for name, column in ROW.items()}, "is given twice to one user in row 2"),
    ],
)
def test_wrong_tables_are_one_sentence(split: lb.Split, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        external(pl.DataFrame({**ROW, **changed}), split.test)


def test_wrong_arrays_are_one_sentence(split: lb.Split, fitted: lb.Fitted) -> None:
    arrays = scores_of(fitted)
    for wrong, sentence in (
        ({"a": arrays["a"]}, "each of the domains a, b, c"),
        ({**arrays, "b": arrays["b"][1:]}, r"'b' must be numbers of shape \(60, 25\)"),
        ({**arrays, "b": arrays["b"] * np.inf}, "'b' are not all finite"),
    ):
        with pytest.raises(DataError, match=sentence):
            external(wrong, split.test)


def test_the_example_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [block for block in code_blocks(PAGE) if "lb.external" in block]
    exec(compile(example, "evaluation.md", "exec"), {})
    assert "fixed list" in capsys.readouterr().out
