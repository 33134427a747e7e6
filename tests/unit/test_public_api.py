"""The public surface, name by name, and what importing it must not load."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import landbridge as lb

NAMES = [
    "ADC",
    "BPRMF",
    "CATART",
    "CDIMF",
    "CMF",
    "DWL",
    "EASE",
    "EMCDR",
    "GAMTCDR",
    "IALS",
    "MVDNN",
    "UCLR",
    "BiTGCF",
    "Boost",
    "Budget",
    "CoNet",
    "Comparison",
    "DataError",
    "DisenCDR",
    "DivergenceError",
    "Evaluation",
    "FederationError",
    "FitOptions",
    "Fitted",
    "HeroGRAPH",
    "Holdout",
    "Interactions",
    "ItemKNN",
    "LandbridgeError",
    "LightGCN",
    "ListRules",
    "Method",
    "MissingExtraError",
    "Mixture",
    "MultiDomain",
    "NeuMF",
    "PEPNet",
    "PageList",
    "Pin",
    "Popularity",
    "Queries",
    "RecSysDAN",
    "SASRec",
    "SettingsError",
    "Split",
    "StoreError",
    "Targets",
    "TuningResult",
    "UniCDR",
    "Validator",
    "Vocabulary",
    "auto",
    "cold_users",
    "compare",
    "compare_over_domains",
    "diagnose",
    "evaluate",
    "explain",
    "explain_features",
    "external",
    "fold_in",
    "guard",
    "leave_last_out",
    "leave_latest_out",
    "leave_one_out",
    "load",
    "over_seeds",
    "propose_links",
    "read",
    "read_published",
    "recommend",
    "recommend_all",
    "recommend_page",
    "save",
    "temporal",
    "transfer_matrix",
    "transferability",
    "tune",
    "with_candidates",
    "with_text_vectors",
]


def test_the_surface_is_pinned() -> None:
    assert lb.__all__ == NAMES
    assert set(lb._MODULE) == set(NAMES)
    assert set(NAMES) <= set(dir(lb))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(lb, name)
    assert callable(value)
    assert value.__doc__
    assert getattr(lb, name) is value


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'recomend'"):
        _ = lb.recomend


@pytest.mark.parametrize(
    ("old", "name"),
    [("landbridge.serving.schemas", "RecommendBody"), ("landbridge.serving.settings", "ServeSettings")],
)
def test_a_former_module_has_its_names_and_says_where_they_are_now(old: str, name: str) -> None:
    former = import_module(old)
    with pytest.warns(DeprecationWarning, match=f"{old}.{name} is now landbridge.serving"):
        value = getattr(former, name)
    assert value.__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        _ = former.Other


@pytest.mark.parametrize(
    ("old", "new"), [("compat", "transferability"), ("examine", "diagnose"), ("search", "tune")]
)
def test_a_former_name_still_works_and_says_what_it_is_called_now(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"landbridge.{old} is now landbridge.{new}; .* 0.4"):
        value = getattr(lb, old)
    assert value is getattr(lb, new)


@pytest.mark.parametrize(
    ("function", "old"),
    [(lb.FitOptions, "checkpoint"), (lb.tune, "storage"), (lb.auto, "work"), (lb.transfer_matrix, "work")],
)
def test_a_former_argument_still_works_and_says_what_it_is_called_now(function: Any, old: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"'{old}' is now 'work_dir'"), suppress(TypeError):
        assert function(**{old: Path("kept")}).work_dir == Path("kept")


def test_a_submodule_never_hides_a_public_name() -> None:
    from landbridge import inference

    assert lb.recommend is inference.recommend
