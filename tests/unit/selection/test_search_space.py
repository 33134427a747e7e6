"""Spaces: ranges that are none, TOML tables, and what Optuna is asked."""

from __future__ import annotations

import math
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.errors import SettingsError
from landbridge.core.settings import schema
from landbridge.models import registry
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.linear.method import LinearMethod
from landbridge.models.popularity import Popularity
from landbridge.models.search_space import Choice, Real, Whole
from landbridge.selection.search_space import distributions, points, read_space, starts, validate_space
from landbridge.testing.worlds import of_tables, uneven, untimed

from .hills import Hill

IALS, CDIMF = registry.method("ials"), registry.method("cdimf")


def table(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


@pytest.mark.parametrize(
    "made",
    [
        lambda: Real(1.0, 1.0),
        lambda: Real(2.0, 1.0),
        lambda: Real(0.0, 1.0, log=True),
        lambda: Real(0.0, math.inf),
        lambda: Real(math.nan, 1.0),
        lambda: Whole(0, 8, log=True),
        lambda: Whole(1.5, 8),
        lambda: Choice(()),
        lambda: Choice((1, 1)),
    ],
)
def test_invalid_ranges_are_refused(made: Any) -> None:
    with pytest.raises(SettingsError, match=r"range|choice|bounds|below"):
        made()


@pytest.mark.parametrize("name", registry.names())
def test_every_method_begins_in_a_space_of_its_own_settings(name: str) -> None:
    method = registry.method(name)
    own = method().flat()
    assert validate_space(method.space, method) is method.space
    first, *others = starts(method.space, method())
    assert first == {key: own[key] for key in method.space}
    for settings in others:
        method().with_settings(settings)
        assert settings.keys() == method.space.keys()


@pytest.mark.parametrize("name", registry.names())
def test_settings_of_times_are_searched_where_there_are_times(name: str) -> None:
    kind = registry.method(name)
    of_times = {key for key in kind.space if schema(kind)[key].of_times}
    assert of_times == kind.space.keys() & {"half_life_days", "rank_exponent"}
    assert of_times <= kind().space_on(uneven()).keys()
    assert not of_times & kind().space_on(untimed(uneven())).keys()


@pytest.mark.parametrize(("kind", "across"), [(EASE, "cross_ratio"), (ItemKNN, "cross_weight")])
def test_the_weight_of_other_domains_is_searched_where_it_counts(
    kind: type[LinearMethod], across: str
) -> None:
    data = uneven()
    one = of_tables({"alone": next(iter(data.domains.values()))})
    assert across in kind().space_on(data)
    assert across not in kind().space_on(one)
    assert across not in {**kind(sharing="joined").space_on(data), **kind(sharing="separate").space_on(data)}


def test_a_method_with_nothing_to_search_on_such_data() -> None:
    assert Popularity().space_on(untimed(uneven())) == {}
    assert read_space(Popularity, {}, own={}) == {}
    assert points({}) == 1


def test_a_table_changes_the_ranges_it_names() -> None:
    lines = (
        "reg = {low = 1, high = 30, log = true}",
        "popularity_weight = {options = [0, 1, 3]}",
        "factors = {low = 8, high = 64}",
    )
    assert read_space(CDIMF, table("\n".join(lines))) == CDIMF.space | {
        "reg": Real(1.0, 30.0, log=True),
        "popularity_weight": Choice((0.0, 1.0, 3.0)),
        "factors": Whole(8, 64),
    }


def test_fixed_settings_leave_the_space_unless_the_table_names_them() -> None:
    fixed = {"reg": 1.0, "alpha0": 0.1}
    left = {"factors", "admm.rho", "half_life_days", "popularity_weight"}
    assert set(read_space(CDIMF, {}, fixed)) == left
    assert set(read_space(CDIMF, table("reg = {low = 1, high = 2}"), fixed)) == left | {"reg"}


def test_tables_of_parts_are_settings_by_dotted_names() -> None:
    assert set(read_space(CDIMF, {}, {"admm": {"rho": 1.0}})) == {
        "factors",
        "alpha0",
        "reg",
        "half_life_days",
        "popularity_weight",
    }
    for name in ("admm.rho", '"admm.rho"', "rho"):
        assert read_space(CDIMF, table(f"{name} = {{low = 1, high = 2}}"))["admm.rho"] == Real(1.0, 2.0)


def test_a_former_name_of_a_setting_that_is_now_a_part() -> None:
    losses = {"options": ["bce", "softmax"]}
    for space in ({"loss": losses}, {"loss": {"kind": losses}}, {"loss.kind": losses}):
        assert read_space(registry.method("sasrec"), space)["loss.kind"] == Choice(("bce", "softmax"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("regg = {low = 1, high = 2}", "Unknown setting of cdimf 'regg': did you mean 'reg'"),
        ("reg = 3", r"\[space\] reg must be a table such as"),
        ("reg = {low = 1}", r"\[space\] reg must be a table such as .*'high'"),
        ("reg = {low = 1, hihg = 2}", r"Unknown key of \[space\] reg 'hihg': did you mean 'high'"),
        ("reg = {low = 1, options = [2]}", r"Unknown key of \[space\] reg 'low'"),
        ("reg = {low = 3, high = 2}", r"\[space\] reg: low must be below high"),
        ("reg = {low = 'a', high = 2}", r"\[space\] reg must be a table"),
        ("reg = {low = 1, high = 2, log = 'yes'}", r"\[space\] reg .*neither true nor false"),
        ("reg = {options = 3}", r"\[space\] reg must be a table"),
        ("reg = {options = []}", r"\[space\] reg: A choice needs at least one option"),
        ("factors = {low = 8.5, high = 9.5}", r"\[space\] factors: The bounds of a whole number"),
        ("factors = {options = [8.5]}", r"\[space\] factors must be a table"),
        ("admm.variant = {low = 1, high = 2}", r"\[space\] admm.variant: this setting is not a number"),
    ],
)
def test_mistakes_name_the_key_and_the_remedy(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read_space(CDIMF, table(text))


numbers = st.floats(1e-6, 1e6)


@given(low=numbers, high=numbers, log=st.booleans(), own=st.floats(-1e7, 1e7))
def test_for_all_bounds_the_start_is_one_that_optuna_accepts(
    low: float, high: float, log: bool, own: float
) -> None:
    entry = {"place": {"low": low, "high": high, "log": log}}
    if not low < high:
        with pytest.raises(SettingsError, match="low must be below high"):
            read_space(Hill, entry)
        return
    space = {"place": read_space(Hill, entry)["place"]}
    begins = starts(space, Hill(place=own))[0]["place"]
    asked = distributions(space)["place"]
    assert asked._contains(asked.to_internal_repr(begins))
    assert begins == own or not low <= own <= high


def test_questions_do_not_depend_on_the_order_of_a_file() -> None:
    space = {"spread": Whole(1, 9), "place": Real(0.1, 1.0)}
    assert (
        list(distributions(space))
        == list(distributions(dict(reversed(space.items()))))
        == ["place", "spread"]
    )


def test_entries_of_a_table_of_numbers_are_searched() -> None:
    """A weight or a learning rate for each domain."""
    adc = registry.method("adc")
    text = "lr = {low = 0.001, high = 0.01}\n[balance.weights]\nbooks = {low = 0.1, high = 10, log = true}"
    space = read_space(adc, table(text))
    assert space["balance.weights.books"] == Real(0.1, 10.0, log=True)
    assert validate_space(space, adc) is space
    given = adc.from_settings({"balance.kind": "fixed", "balance.weights": {"books": 20.0}})
    first, *_ = starts(space, given)
    assert first["balance.weights.books"] == 10.0  # clipped to the space
    assert "balance.weights.books" not in starts(space, adc())[0]
    tried = given.with_settings({"balance.weights.books": 0.5})
    assert tried.flat()["balance.weights"] == {"books": 0.5}
    dots = read_space(adc, {"balance": {"weights": {"books.old": {"low": 0.1, "high": 1.0}}}})
    assert validate_space(dots, adc)["balance.weights.books.old"] == Real(0.1, 1.0)
    assert given.with_settings({"balance.weights.books.old": 2}).flat()["balance.weights"]["books.old"] == 2
    with pytest.raises(SettingsError, match=r"balance\.weights\.books"):
        read_space(adc, {"balance": {"weights": {"books": {"low": 1.0, "high": 0.5}}}})
