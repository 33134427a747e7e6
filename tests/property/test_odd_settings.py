"""Settings of every method: refused by their name, or a fit whose scores are finite numbers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import is_sentence, outcome
from strategies import setting_values
from worlds import own_events, uneven

from landbridge.core.errors import DivergenceError, SettingsError
from landbridge.core.settings import schema
from landbridge.data.dataset import MultiDomain
from landbridge.models import registry
from landbridge.models.base import Method, Queries
from landbridge.training.options import FitOptions

DATA = uneven({"a": (8, 14), "b": (6, 10)}, users=16)
FEW = {"factors": 2, "encoder.factors": 2, "encoder.max_length": 4, "epochs": 1, "batch_size": 8}
ALS = {"method": "ials", "settings": {"factors": 2, "epochs": 1}}
MIXED = {"members": {"popular": {"method": "popularity"}, "als": ALS}}
SLOW = [name for name in registry.names() if "neural" in registry.method(name).needs]
QUICK = [name for name in registry.names() if name not in SLOW]


def made(name: str, given: dict[str, Any]) -> Method | None:
    """The method, or None where a setting was refused by its name."""
    kind = registry.method(name)
    few = {key: value for key, value in {**FEW, **MIXED}.items() if key in schema(kind)}
    method, sentence = outcome(lambda: kind.from_settings({**few, **given}), SettingsError)
    assert method is not None or is_sentence(sentence)
    named = names_in({**given, **schema(kind)})  # an error may name the setting that another one asks for
    assert method is not None or any(name in sentence for name in named), sentence
    return method


def names_in(given: dict[str, Any]) -> set[str]:
    """The settings, and those of members and parts."""
    inner = [value for value in given.values() if isinstance(value, dict)]
    return {str(key).rpartition(".")[2] for key in given}.union(*map(names_in, inner))


def fits_or_refuses(name: str, given: dict[str, Any]) -> None:
    method = made(name, given)
    if method is None:
        return
    fit_and_score(method, DATA)


def fit_and_score(method: Method, data: MultiDomain) -> None:
    """A fit that ends with finite scores, for known, anonymous and new users, or is refused as diverged."""
    fitted, sentence = outcome(
        lambda: method.fit(data, FitOptions(threads=1)), DivergenceError, SettingsError
    )
    if fitted is None:
        assert is_sentence(sentence)
        return
    known, new = (
        Queries.of_users(np.arange(-1, DATA.n_users)),
        Queries(np.full(DATA.n_users, -1), own_events(DATA)),
    )
    for domain in DATA.domain_names:
        for queries in (known, new):
            scores_BI, sentence = outcome(partial(fitted.score, domain, queries), DivergenceError)
            assert scores_BI is None or np.isfinite(scores_BI).all(), method.changed()
            assert scores_BI is not None or is_sentence(sentence)


def some_settings(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """One to three settings of a method."""
    entries = schema(registry.method(name))
    if not entries:
        return st.just({})
    return st.lists(st.sampled_from([*entries]), min_size=1, max_size=3, unique=True).flatmap(
        lambda keys: st.fixed_dictionaries({key: setting_values(entries[key]) for key in keys})
    )


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=15)
@given(data=st.data())
def test_settings_are_refused_or_make_a_sensible_model(name: str, data: st.DataObject) -> None:
    fits_or_refuses(name, data.draw(some_settings(name)))


@pytest.mark.parametrize("name", SLOW)
@settings(max_examples=4)
@given(data=st.data())
def test_settings_of_networks_are_refused_or_make_a_sensible_model(name: str, data: st.DataObject) -> None:
    fits_or_refuses(name, data.draw(some_settings(name)))


@pytest.mark.parametrize("name", [name for name in QUICK if not registry.method(name).uses_order])
@settings(max_examples=4)
@given(exponents=st.lists(st.floats(-30, 30), min_size=2, max_size=6))
def test_weights_of_any_size_make_a_sensible_model_or_none(name: str, exponents: list[float]) -> None:
    """Amounts of money, milliseconds: squares and sums fit, too, or the fit says that it diverged."""
    tables = {
        name: replace(table, weight=np.resize(np.power(10, exponents).astype(np.float32), len(table)))
        for name, table in DATA.domains.items()
    }
    method = made(name, {})
    assert method is not None
    fit_and_score(method, DATA.with_events(tables))
