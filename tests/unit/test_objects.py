"""How data, splits, models and results behave: printed, copied, pickled, and given to the wrong function."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import polars as pl
import pytest
from worlds import shelves, uneven

import landbridge as lb
from landbridge.core.text import html_table
from landbridge.models.base import Queries

ONE = lb.FitOptions(threads=1)
METHODS = (
    lb.Popularity(),
    lb.EASE(),
    lb.ItemKNN(),
    lb.IALS(factors=4, epochs=2),
    lb.CDIMF(factors=4, epochs=2),
    lb.BPRMF(factors=4, epochs=2),
    lb.Mixture({"a": {"method": "popularity", "settings": {}}, "b": {"method": "ease", "settings": {}}}),
)


@pytest.fixture(scope="module")
def split() -> lb.Split:
    return lb.leave_one_out(uneven(), seed=1)


@pytest.fixture(scope="module")
def evaluation(split: lb.Split) -> lb.Evaluation:
    return lb.evaluate(lb.EASE().fit(split.test.history, ONE), split.test)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_of_a_model_score_alike(method: Any, copied: Any) -> None:
    fitted = method.fit(shelves(), ONE)
    again = copied(fitted)
    queries = Queries.of_users(np.arange(-1, 60))
    assert np.array_equal(again.score("food", queries), fitted.score("food", queries))
    assert again.history.fingerprint == fitted.history.fingerprint
    assert again.method == fitted.method
    with pytest.raises(TypeError):
        again.history.domains["more"] = 1  # read-only, as before


def test_a_model_goes_to_another_process(tmp_path: Any) -> None:
    fitted = METHODS[3].fit(uneven(), ONE)
    (tmp_path / "model").write_bytes(pickle.dumps(fitted))
    program = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')))"
    words = [sys.executable, "-c", program, str(tmp_path / "model")]
    run = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert run.stdout.strip() == repr(fitted)


def test_what_is_no_data_is_refused_with_what_to_do(split: lb.Split) -> None:
    frame = pl.DataFrame({"user": [1], "item": [2]})
    for wrong, sentence in (
        (split, "of this Split give split.test.history"),
        (split.test, "of this Holdout give holdout.history"),
        (frame, "read this DataFrame first: lb.read"),
    ):
        for method in METHODS:
            with pytest.raises(lb.DataError, match=sentence):
                method.fit(wrong)


def test_what_is_printed_is_short(split: lb.Split, evaluation: lb.Evaluation) -> None:
    fitted = METHODS[1].fit(split.test.history, ONE)
    compared = lb.compare(evaluation, evaluation)
    assert repr(fitted).startswith("ItemItemModel(ease; 60 users; a: ")
    assert repr(split).startswith("Split(full ranking; held out ")
    assert repr(evaluation).startswith("Evaluation(ease, full ranking; ndcg@10: a ")
    assert repr(compared) == str(compared)
    for value in (fitted, split, split.test, evaluation, split.test.history):
        assert len(repr(value)) < 250
    for value in (fitted, split, split.test, evaluation, compared, split.test.history):
        html = value._repr_html_()
        assert html.count("<tr>") >= 4  # a head, and a row per domain
        assert len(html) < 3000


def test_names_are_escaped_in_tables() -> None:
    html = html_table("<b>", [{"<i>": "a & b", "n": 1234, "mean": 0.5}])
    for text in ("&lt;b&gt;", "&lt;i&gt;", "a &amp; b", "1,234", "0.5000"):
        assert text in html
