"""Every setting of every method, given what people give: a sentence, or a method that can be used.

The cases come from the schema, so a new method and a new setting are covered without a word here.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner
from worlds import uneven

from landbridge.cli.main import app
from landbridge.core.errors import DivergenceError, SettingsError
from landbridge.core.settings import schema
from landbridge.models import overview, registry
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM, Consensus
from landbridge.models.base import Queries
from landbridge.training.options import FitOptions

ODD: tuple[Any, ...] = (0, -1, 2.5, float("nan"), float("inf"), "text", ".01", "1e1", [1, 2])
CASES = [(name, key) for name in registry.names() for key in schema(registry.method(name))]
CHEAP = ("ials", "cdimf", "popularity")  # a fit is milliseconds


def tried(name: str, key: str, value: Any) -> Any:
    """The method with one odd setting, or None where that is refused in one sentence."""
    message, method = ".", None
    try:
        method = registry.method(name).from_settings({key: value})
    except SettingsError as error:
        message = str(error)
    assert message.endswith(".")
    assert "\n" not in message
    return method


@pytest.mark.parametrize(("name", "key"), CASES)
def test_an_odd_value_is_refused_or_converted(name: str, key: str) -> None:
    entry = schema(registry.method(name))[key]
    for value in ODD:
        method = tried(name, key, value)
        if method is not None:
            kept = method.flat()[key]
            assert not isinstance(kept, list)
            assert not (isinstance(kept, str) and isinstance(entry.default, int | float))
            assert not (isinstance(kept, float) and not np.isfinite(kept))
            assert registry.method(name).from_settings(method.flat()) == method


@pytest.mark.parametrize("name", CHEAP)
def test_what_is_accepted_makes_a_sensible_model(name: str) -> None:
    data = uneven({"a": (20, 12), "b": (15, 10)})
    few = {"factors": 3, "epochs": 2}
    for key in schema(registry.method(name)):
        for value in ODD:
            if tried(name, key, value) is None:
                continue
            kind = registry.method(name)
            method = kind.from_settings({**{k: v for k, v in few.items() if k in schema(kind)}, key: value})
            try:
                fitted = method.fit(data, FitOptions(threads=1))
            except DivergenceError:
                continue
            assert np.isfinite(fitted.score("a", Queries.of_users(np.arange(data.n_users)))).all()


@pytest.mark.parametrize(
    "name",
    [
        "adc",
        "bitgcf",
        "bprmf",
        "cmf",
        "conet",
        "disencdr",
        "gamtcdr",
        "herograph",
        "lightgcn",
        "mvdnn",
        "neumf",
        "pepnet",
        "recsysdan",
        "unicdr",
    ],
)
def test_a_penalty_whose_square_does_not_fit_is_refused(name: str) -> None:
    """The steps of a fit, and those for new users, square gradients in float32."""
    assert registry.method(name).from_settings({"reg": 1e12}).flat()["reg"] == 1e12
    with pytest.raises(SettingsError, match=rf"{name}\.reg must be a number, from 0 to 1e\+12, not 1e\+30"):
        registry.method(name).from_settings({"reg": 1e30})


def test_numbers_may_be_text() -> None:
    method = registry.method("ials").from_settings({"reg": ".01", "factors": "1e1", "epochs": 3.0})
    assert method.changed() == {"reg": 0.01, "factors": 10, "epochs": 3}


@pytest.mark.parametrize("given", [{"encoder": {"factors": 8}}, {"encoder.factors": "8"}])
def test_parts_are_tables_or_dotted_names(given: dict[str, Any]) -> None:
    assert registry.method("dwl").from_settings(given).changed() == {"encoder.factors": 8}


def test_a_name_of_the_last_version_works_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="ials.cold_weight is now popularity_weight"):
        assert registry.method("ials").from_settings({"cold_weight": 1}).changed() == {"popularity_weight": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.method("ials").from_settings({"popularity_weight": 1})


def test_a_constructor_takes_names_of_the_last_version() -> None:
    kept = CDIMF(admm=ADMM(rho=0.3, tolerance=0.1), consensus=Consensus("active"), popularity_weight=1)
    former: dict[str, Any] = {"rho": 0.3, "parties": "active", "cold_weight": 1}
    former["admm"] = ADMM(tolerance=0.1)
    with pytest.warns(DeprecationWarning, match=r"cdimf\.\w+ is now "):
        made = CDIMF(**former)
    assert made == kept
    with (
        pytest.warns(DeprecationWarning, match=r"cdimf.rho is now admm.rho"),
        pytest.raises(SettingsError, match=r"admm\.rho must be a number"),
    ):
        CDIMF(rho=-1)
    with pytest.raises(TypeError, match="rhoo"):
        CDIMF(rhoo=1)


@pytest.mark.parametrize("name", registry.names())
def test_old_names_lead_to_settings(name: str) -> None:
    kind = registry.method(name)
    taken = {*schema(kind)}
    assert set(kind.renamed.values()) <= taken or not taken & set(kind.renamed.values())


@pytest.mark.parametrize("verb", ["fit", "tune"])
@pytest.mark.parametrize("setting", ["reg=nan", "reg=-1", "reg=0,01", "factors=0", "factors=2.5", "regg=1"])
def test_the_command_line_refuses_before_it_reads(verb: str, setting: str, tmp_path: Path) -> None:
    """The events do not exist: a setting is looked at before them."""
    out = tmp_path / "out.toml"
    words = [verb, "none.csv", "--model", "ials", "--set", setting, "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, SettingsError)
    assert setting.partition("=")[0] in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_the_page_of_settings_is_up_to_date() -> None:
    """After a change: landbridge models --markdown > docs/settings.md"""
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text() == overview.markdown()


@pytest.mark.parametrize(("name", "key"), CASES)
def test_every_setting_says_what_it_means(name: str, key: str) -> None:
    entry = schema(registry.method(name))[key]
    assert entry.doc.endswith(".")
    assert entry.values


def test_the_table_of_methods_has_years_families_and_costs() -> None:
    rows = {row["method"]: row for row in overview.methods()}
    assert rows.keys() == {*registry.names()}
    for row in rows.values():
        assert row["year"].isdecimal() == bool(row["paper"])
        assert not row["paper"] or row["year"] in row["paper"]
        assert row["cost"] in overview.COST_CLASSES
    assert (rows["gamtcdr"]["year"], rows["conet"]["family"]) == ("2020", "towers")
    costs = [rows[name]["cost"] for name in ("popularity", "cdimf", "recsysdan", "sasrec")]
    assert costs == ["low", "medium", "high", "very high"]
