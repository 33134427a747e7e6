"""The ablation of weights: its cells, which of them are one run, its parts, and what its verdict says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from worlds import of_tables

from landbridge.core.errors import DataError, LandbridgeError, MissingExtraError, StoreError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.evaluation.evaluate import Evaluation
from landbridge.evaluation.significance import compare, holm
from landbridge.models.sequential.dwl import DWL
from landbridge.models.sequential.item_weights import SparsityWeights as Learning
from landbridge.reports import pictures
from landbridge.studies.ablation.weight_tables import WeightBenchmark, clause, group_by_sparsity, heat_map
from landbridge.studies.ablation.weight_trajectories import WeightInputs, runs_with_equal_weights, trajectory
from landbridge.studies.ablation.weights import GRID, VARIED, WeightAblation, ablate_weights
from landbridge.studies.benchmark.jobs import EvaluationJob
from landbridge.studies.benchmark.spec import benchmark_spec

torch = pytest.importorskip("torch")
QUICK = {
    "encoder.factors": 4,
    "encoder.blocks": 1,
    "encoder.heads": 1,
    "encoder.hidden": 8,
    "encoder.max_length": 8,
    "epochs": 2,
    "batch_size": 64,
    "lr": 0.01,
}
SIZES = {"large": 40, "middle": 20, "other": 20, "small": 6}
FEW = {"large": 12, "small": 4}
DATA = {"name": "walks", "source": ["large.csv", "small.csv"]}
METHOD = DWL(epochs=7)


def walks(sizes: dict[str, int] = SIZES, steps: int = 6) -> MultiDomain:
    """All users goes along a chain of ten items of one domain, ``sizes`` users of each."""
    home_U = np.repeat(np.arange(len(sizes)), list(sizes.values()))
    item_US = (np.arange(len(home_U))[:, None] + np.arange(steps)) % 10
    user_US, time_US = np.indices(item_US.shape)
    tables = {}
    for number, name in enumerate(sizes):
        user, item, time = (each[home_U == number].ravel() for each in (user_US, item_US, time_US))
        tables[name] = Interactions.from_events(user, item, len(home_U), 10, time=86_400 * time)
    return of_tables(tables)


def files(folder: Path, data: MultiDomain) -> list[str]:
    """The same events as tables."""
    for name, events in data.domains.items():
        columns = {"user": events.user_idx, "item": events.item_idx, "time": events.time}
        pl.DataFrame(columns).write_csv(folder / f"{name}.csv")
    return [str(folder / f"{name}.csv") for name in data.domain_names]


def plan(folder: Path, sizes: dict[str, int] = SIZES, **changes: Any) -> WeightAblation:
    """One part of DWL in a few epochs, one seed."""
    data = {"name": "walks", "source": files(folder, walks(sizes)), "users": "shared"}
    return WeightAblation(data, **{"settings": QUICK, "vary": ("bounds",), "seeds": 1} | changes)


def crosslisted(data: MultiDomain) -> MultiDomain:
    """Some items of every domain belong to the next one as well."""
    belongs = {}
    for number, name in enumerate(data.domain_names):
        belongs[name] = np.zeros((10, len(data.domain_names)), bool)
        belongs[name][:, number] = belongs[name][:4, (number + 1) % len(data.domain_names)] = True
    return MultiDomain(data.users, data.items, data.domains, memberships=belongs)


GROUND = WeightInputs.of(walks())
EVEN = WeightInputs.of(walks({"one": 20, "other": 20}))


def test_all_cells_are_there_under_their_names() -> None:
    found = WeightAblation(DATA, vary=VARIED).cells(("small",))
    assert list(found)[:3] == ["generic", "fixed", "base"]
    counts = {factor: sum(label.startswith(f"{factor} ") for label in found) for factor in VARIED}
    assert counts == {
        "metric": 4,
        "spread": 4,
        "map": 5,
        "bounds": 3,
        "period": 3,
        "momentum": 4,
        "signal": 4,
        "grid": 27,
    }
    assert found["generic"] == {"domain_weighting": "none", "schedule.signal": "static"}
    assert found["fixed"] == {
        "domain_weighting": "fixed",
        "weights": {"small": 2.0},
        "schedule.signal": "static",
    }
    assert found["base"] == {}
    assert found["metric frequency"] == {
        "schedule.sparsity.alpha": 1,
        "schedule.sparsity.beta": 0,
        "schedule.sparsity.gamma": 0,
    }
    assert found["metric hybrid"] == {key: DWL().flat()[key] for key in GRID}
    assert found["bounds 0.1 to 3"] == {
        "schedule.weight_map.min_weight": 0.1,
        "schedule.weight_map.max_weight": 3,
    }
    assert found["period 4"] == {"schedule.update_every": 4, "schedule.initial_weights": "ones"}
    assert found["momentum 0.99"] == {"schedule.momentum": 0.99, "schedule.initial_weights": "ones"}
    assert found["spread frequency"] == found["metric frequency"] | {
        "schedule.weight_map.kind": "exponential",
        "schedule.weight_map.kappa": 0.5,
    }
    assert found["signal window"] == {"schedule.signal": "window", "schedule.window_days": 30}
    assert found["signal loss"] == {"schedule.signal": "loss"}
    assert found["grid 1.5 0.3 0.2"] == {
        "schedule.sparsity.alpha": 1.5,
        "schedule.sparsity.beta": 0.3,
        "schedule.sparsity.gamma": 0.2,
    }


def test_a_cell_is_the_base_with_one_thing_changed() -> None:
    settings = {
        "schedule.signal": "window",
        "schedule.window_days": 5.0,
        "epochs": 4,
        "schedule.weight_map.kappa": 1.0,
    }
    asked = WeightAblation(DATA, settings, vary=("signal", "map"), window_days=9.0)
    found = asked.cells(("small",))
    assert found["base"] == settings
    assert found["map affine"] == settings | {"schedule.weight_map.kind": "affine"}
    assert found["signal static"] == {
        "schedule.signal": "static",
        "epochs": 4,
        "schedule.weight_map.kappa": 1.0,
    }
    assert found["signal window"]["schedule.window_days"] == 9
    assert list(found)[3:] == [
        f"map {each}" for each in ("exponential", "literal", "affine", "geometric", "softmax")
    ] + [f"signal {each}" for each in ("static", "window", "loss", "gradient")]


def test_the_benchmark_evaluates_across_domains_with_the_latest_held_out() -> None:
    asked = WeightAblation(DATA, seeds=3)
    spec = benchmark_spec(asked.tables({"generic": {"domain_weighting": "none"}, "base": {}}))
    assert "signal" not in asked.vary
    assert (spec.seeds, spec.metrics, spec.reference) == ((1, 2, 3), ("ndcg@10", "recall@10"), "generic")
    assert (spec.data[0].across, spec.data[0].split.kind) == (True, "latest")
    assert WeightAblation({**DATA, "split": {"kind": "temporal"}}).source.split.kind == "temporal"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vary": ("metrics",)}, "Unknown vary 'metrics': did you mean 'metric'"),
        ({"vary": ()}, "vary needs one or more of metric, spread, map, bounds"),
        ({"seeds": 0}, "seeds must be 1 or more"),
        ({"settings": {"domain_weighting": "none"}}, "domain_weighting is what the controls change"),
        ({"settings": {"weights": {"small": 2}}}, "weights is what the controls change"),
        ({"settings": {"factor": 4}}, "Unknown setting of dwl 'factor': did you mean 'encoder.factors'"),
        ({"settings": {"schedule.update_every": 0}}, "update_every must be a whole number, 1 or more"),
        ({"vary": ("signal",), "window_days": 0.0}, "window_days must be a number, above 0"),
        ({"vary": ("signal",), "settings": {"encoder.blocks": 0}}, "set encoder.blocks to 1 or more"),
        ({"data": {"name": "d"}}, "Data 'd' needs either source or dataset"),
        ({"data": DATA | {"split": {"kind": "none"}}}, "data 1, split, kind"),
    ],
    ids=str,
)
def test_mistakes_are_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(LandbridgeError) as caught:
        WeightAblation(**{"data": DATA} | changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"schedule.initial_weights": "ones", "schedule.update_every": 1},
        {"schedule.initial_weights": "ones", "schedule.update_every": 3, "schedule.bias_correction": True},
        {
            "schedule.weight_map.kind": "affine",
            "schedule.weight_map.min_weight": 0.5,
            "schedule.weight_map.max_weight": 3.0,
        },
        {"combine": "mean", "schedule.weight_map.kind": "softmax"},
        {"combine": "product", "schedule.renorm": False},
        {
            "schedule.signal": "window",
            "schedule.window_days": 2.0,
            "schedule.update_every": 1,
            "schedule.momentum": 0.3,
        },
        {"schedule.signal": "window", "schedule.window_days": 2.0, "schedule.update_every": 9},
        {"domain_weighting": "fixed", "weights": {"small": 2.0}},
        {"domain_weighting": "none"},
    ],
    ids=str,
)
@pytest.mark.parametrize("data", [walks(), crosslisted(walks())], ids=["apart", "crosslisted"])
def test_trajectories_are_what_a_fit_weighs_with(settings: dict[str, Any], data: MultiDomain) -> None:
    method, ground = METHOD.with_settings(settings), WeightInputs.of(data)
    found_EP = trajectory(method, ground)
    assert found_EP is not None
    assert found_EP.shape == (7, len(ground.events_P))
    learning = method.target_weights(data, {"item": torch.zeros(1)}, 1)
    belongs_ID = np.concatenate([data.memberships.get(name, owned(data, name)) for name in data.domain_names])
    kind_I = (belongs_ID[:, None] == ground.belongs_PD[None]).all(axis=2).argmax(axis=1)
    for epoch, weight_P in enumerate(found_EP):
        learning.begin(epoch)
        weight_I = learning.item_weights() if isinstance(learning, Learning) else np.ones(len(kind_I))
        np.testing.assert_allclose(weight_P[kind_I], weight_I, rtol=1e-12)


def owned(data: MultiDomain, name: str) -> np.ndarray:
    return np.tile(np.array(data.domain_names) == name, (10, 1))


def test_what_only_training_measures_is_one_run_with_itself_alone() -> None:
    for signal in ("loss", "gradient"):
        method = METHOD.with_settings({"schedule.signal": signal})
        assert trajectory(method, GROUND) is None
        near = method.with_settings({"schedule.weight_map.kappa": 0.5001})
        assert runs_with_equal_weights({"one": method, "near": near, "same": replace(method)}, GROUND) == {
            "one": "one",
            "near": "near",
            "same": "one",
        }
    assert (
        trajectory(METHOD.with_settings({"domain_weighting": "none", "schedule.signal": "gradient"}), GROUND)
        is not None
    )


def test_from_computed_weights_the_period_is_nothing_and_from_ones_it_is() -> None:
    periods = {f"{period}": METHOD.with_settings({"schedule.update_every": period}) for period in (1, 2, 4)}
    assert set(runs_with_equal_weights(periods, GROUND).values()) == {"1"}
    asked = WeightAblation(DATA, settings={"epochs": 7}, vary=("period",)).cells(("small",))
    found = runs_with_equal_weights(
        {label: DWL.from_settings({**each}) for label, each in asked.items()}, GROUND
    )
    assert all(found[label] == label for label in found)


def test_cells_of_the_same_weights_point_to_the_first_of_them() -> None:
    """The middle of the grid is the base, and so is it with bounds that no weight reaches."""
    asked = WeightAblation(DATA, {"epochs": 2}, vary=("metric", "bounds", "grid"))
    found = runs_with_equal_weights(
        {label: DWL.from_settings({**each}) for label, each in asked.cells(("small",)).items()}, GROUND
    )
    assert {found[label] for label in found if label.startswith("bounds")} == {"base"}
    assert found["metric hybrid"] == found["grid 1 0.6 0.2"] == "base"
    assert found["metric frequency"] == "metric frequency"
    assert found["metric users"] == "metric frequency"  # everybody has as many events
    steep = replace(asked, settings={"epochs": 2, "schedule.weight_map.kappa": 2.0}, vary=("bounds",)).cells(
        ("small",)
    )
    found = runs_with_equal_weights(
        {label: DWL.from_settings({**each}) for label, each in steep.items()}, GROUND
    )
    assert [label for label, run in found.items() if label != run] == ["bounds 0.2 to 5"]


def test_even_domains_are_generic_for_every_setting() -> None:
    every = tuple(name for name in VARIED if name != "signal")
    asked = WeightAblation(DATA, {"epochs": 2}, vary=every).cells(("one",))
    found = runs_with_equal_weights(
        {label: DWL.from_settings({**each}) for label, each in asked.items()}, EVEN
    )
    assert found.pop("fixed") == "fixed"
    assert set(found.values()) == {"generic"}


@given(st.floats(0.1, 3.0), st.floats(-0.05, 0.05))
@example(1.0, 0.01005)
@example(1.0, -0.00995)
def test_one_per_cent_of_any_weight_in_any_epoch_is_the_limit(weight: float, change: float) -> None:
    one = DWL(domain_weighting="fixed", weights={"small": weight}, epochs=2)
    other = replace(one, weights={"small": weight * (1 + change)})
    far = max(abs(change), abs(change) / (1 + change))
    if abs(far - 0.01) > 1e-9:
        assert (runs_with_equal_weights({"one": one, "other": other}, GROUND)["other"] == "one") == (
            far < 0.01
        )


def test_a_later_epoch_decides_too() -> None:
    slow, still = (
        METHOD.with_settings({"schedule.initial_weights": "ones", "schedule.update_every": 6}),
        METHOD.with_settings({"schedule.initial_weights": "ones", "schedule.update_every": 7}),
    )
    assert runs_with_equal_weights({"slow": slow, "still": still}, GROUND)["still"] == "still"
    short = {label: replace(each, epochs=6) for label, each in {"slow": slow, "still": still}.items()}
    assert runs_with_equal_weights(short, GROUND)["still"] == "slow"


def test_the_sparsest_quartile() -> None:
    assert GROUND.by_events == ("small", "middle", "other", "large")  # equal ones as they come
    assert GROUND.sparsest == ("small",)
    assert WeightInputs.of(walks({**SIZES, "tiny": 2})).sparsest == ("tiny", "small")
    assert WeightInputs.of(walks({"large": 30, "none": 0, "small": 9})).by_events == ("small", "large")


ROWS = ("domain", "user", "item", "above", "ties", "candidates", "seed")


def evaluation(rows: list[tuple[Any, ...]]) -> Evaluation:
    return Evaluation(pl.DataFrame(rows, schema=ROWS, orient="row"), "dwl", "across")


def test_parts_by_hand() -> None:
    """Item 3 of two domains is two items, and a user's rows of a part are one list."""
    found = group_by_sparsity(
        evaluation(
            [
                ("small", 0, 3, 0, 0, 9, 1),
                ("large", 1, 3, 1, 0, 9, 1),
                ("middle", 1, 3, 20, 0, 9, 1),
                ("large", 2, 5, 20, 0, 9, 1),
            ]
        ),
        ("small",),
    )
    best = 1 / np.log2(3) / (1 + 1 / np.log2(3))
    assert found.means("ndcg@10") == pytest.approx(
        {"sparsest quartile": 1.0, "other domains": best / 2, "overall": (1 + best) / 3}
    )
    assert found.rows.select("domain", "item", "user").is_unique().all()


def finished(
    out: Path, above: dict[str, dict[str, int]], runs: dict[str, str], users: int = 40
) -> WeightBenchmark:
    """Cells as if they had been fitted. ``above``: run -> domain -> how many items most targets are below; in
    each seed every fourth target is one place lower."""
    asked = WeightAblation({"name": "walks", "source": [f"{name}.csv" for name in SIZES]}, seeds=2)
    spec = benchmark_spec(asked.tables({run: {"lr": 1 / (9 + n)} for n, run in enumerate(above)}))
    for entry in spec.methods:
        for seed in spec.seeds:
            rows = [
                (domain, users * number + user, 1, place + (user % 4 == seed), 0, 9, seed)
                for number, (domain, place) in enumerate(above[entry.label].items())
                for user in range(users)
            ]
            cell = EvaluationJob(out, spec.data[0], entry, seed)
            alone = Evaluation(evaluation(rows).rows.drop("seed"), "dwl", "across")
            alone.write(cell.folder / "evaluation-across.parquet")
            (cell.folder / "cell.json").write_text(json.dumps({"protocols": ["across"]}))
    return WeightBenchmark(spec, out, runs, GROUND.by_events, GROUND.sparsest)


FLAT = {"large": 2, "middle": 2, "other": 2, "small": 5}
ABOVE = {
    "generic": FLAT,
    "fixed": FLAT,
    "base": {"large": 2, "middle": 3, "other": 1, "small": 1},
    "metric frequency": {**FLAT, "small": 3},
    "period 1": {**FLAT, "small": 1, "large": 1},
    "period 2": {**FLAT, "small": 3, "large": 0},
}
RUNS = {label: label for label in ABOVE} | {
    "metric hybrid": "base",
    "metric entropy": "base",
    "map literal": "generic",
}


def test_the_table_has_every_cell_and_corrects_over_all_gains(tmp_path: Path) -> None:
    weighed = finished(tmp_path, ABOVE, RUNS)
    title, shown = weighed.table("ndcg@10")
    assert title == "walks: ndcg@10, one list over all domains, against generic"
    assert shown.columns == ["label", "sparsest quartile", "other domains", "overall"]
    same = ["metric hybrid = base", "metric entropy = base", "map literal = generic"]
    assert shown["label"].to_list() == [*ABOVE, *same]
    lines = {line[0]: line[1:] for line in shown.rows()}
    assert lines["metric hybrid = base"] == lines["base"]
    assert lines["map literal = generic"] == lines["generic"]

    parts = {label: group_by_sparsity(weighed.evaluation(label), ("small",)) for label in ABOVE}
    tables = {label: compare(parts[label], parts["generic"]).rows for label in ABOVE if label != "generic"}
    p_holm = iter(holm(np.concatenate([table["p"] for table in tables.values()])))
    for label, table in tables.items():
        stars = {part: "*" if next(p_holm) < 0.05 else "" for part in table["domain"]}
        by_part = {row["domain"]: row for row in table.rows(named=True)}
        expected = [
            f"{by_part[part]['a']:.4f} {by_part[part]['gain_percent']:+.1f} %{stars[part]}"
            for part in shown.columns[1:]
        ]
        assert list(lines[label]) == expected
    assert lines["fixed"][0] == f"{parts['generic'].means('ndcg@10')['sparsest quartile']:.4f} +0.0 %"
    assert lines["base"][0].endswith("*")


def test_a_star_is_for_what_is_sure_among_all_gains(tmp_path: Path) -> None:
    """Of eight users all are better off: p is 2 / 2^8, enough among three gains and not among fifteen."""
    weighed = finished(tmp_path, {**ABOVE, "base": {**FLAT, "small": 1}}, RUNS, users=8)
    assert dict(weighed.table("ndcg@10")[1].select("label", "sparsest quartile").rows())["base"].endswith(
        " %"
    )
    few = replace(weighed, runs={each: each for each in ("generic", "base")})
    few = replace(few, spec=few.spec.model_copy(update={"methods": few.spec.methods[::2][:2]}))
    assert dict(few.table("ndcg@10")[1].select("label", "sparsest quartile").rows())["base"].endswith("*")


def test_the_verdict_answers_the_planned_questions(tmp_path: Path) -> None:
    weighed = finished(tmp_path, ABOVE, RUNS)
    first, second, third = weighed.verdict().splitlines()
    assert first == "The sparsest quartile of the domains: small."
    assert second.startswith(
        "NDCG@10, one list over all domains, Holm's correction: base against generic: better in the sparsest "
        "quartile (+"
    )
    assert ", a significant drop of more than 1 % in 1 of these 3; " in second
    assert "metric hybrid against metric frequency: better in the sparsest quartile (+" in second
    assert "metric hybrid and metric entropy have the same weights; " in second
    assert "period 2 against period 1: worse in the sparsest quartile (-" in second
    assert third.startswith("RECALL@10, one list over all domains")
    means = {
        label: group_by_sparsity(weighed.evaluation(label), ("small",)).means("ndcg@10")
        for label in ("base", "generic")
    }
    for part, words in {
        "sparsest quartile": "in the sparsest quartile",
        "other domains": "in the other domains",
    }.items():
        gain = 100 * (means["base"][part] / means["generic"][part] - 1)
        assert f"{words} ({gain:+.1f} %)" in second


def test_a_sentence_is_about_the_factors_that_were_varied(tmp_path: Path) -> None:
    runs = {"generic": "generic", "base": "generic", "fixed": "fixed", "metric frequency": "metric frequency"}
    weighed = finished(tmp_path, {key: ABOVE[key] for key in ("generic", "fixed", "metric frequency")}, runs)
    sentence = weighed.verdict().splitlines()[1]
    assert sentence.endswith("Holm's correction: base and generic have the same weights.")


def test_the_verdicts_correction_is_over_its_own_comparisons(tmp_path: Path) -> None:
    """Of six users all are better off: p is 2 / 2^6, below .05 alone and above it as one of two."""
    above = {label: ABOVE[label] for label in ("generic", "fixed", "base")}
    weighed = finished(tmp_path, above, {label: label for label in above}, users=6)
    first, second = (
        group_by_sparsity(weighed.evaluation(label), ("small",)) for label in ("base", "generic")
    )
    found = {row["domain"]: row["p"] for row in compare(first, second).rows.rows(named=True)}
    assert found["sparsest quartile"] == 2 / 2**6 < found["other domains"]
    assert "undecided in the sparsest quartile" in weighed.verdict().splitlines()[1]


def row(**changes: Any) -> dict[str, Any]:
    told = {
        "domain": "overall",
        "p_holm": 0.01,
        "low": 0.1,
        "high": 0.2,
        "gain_percent": 3.21,
        "difference": 0.15,
    }
    return told | changes


def test_clauses_say_what_is_sure() -> None:
    assert clause("period 2", "period 1", [row()]) == "period 2 against period 1: better overall (+3.2 %)"
    told = [
        row(domain="sparsest quartile", p_holm=0.05),
        row(domain="other domains", low=-0.2, high=-0.1, gain_percent=-1.0),
        row(low=0.0, gain_percent=None),
    ]
    assert clause("a", "b", told) == (
        "a against b: undecided in the sparsest quartile (+3.2 %), worse in the other domains (-1.0 %), "
        "undecided overall (+0.1500)"
    )


def test_a_whole_ablation_and_one_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, asked = tmp_path / "out", plan(tmp_path, vary=("bounds",))
    found = ablate_weights(asked, out)
    assert (out / "verdict.txt").read_text() == found.verdict + "\n"
    assert found.verdict.startswith(
        "The sparsest quartile of the domains: small.\nNDCG@10, one list over all"
    )
    assert list(found.tables) == [
        f"walks: {metric}, one list over all domains, against generic" for metric in ("ndcg@10", "recall@10")
    ]
    labels = next(iter(found.tables.values()))["label"].to_list()
    assert labels == ["generic", "fixed", "base"] + [
        f"bounds {bounds} = base" for bounds in ("0.1 to 3", "0.2 to 5", "0.5 to 10")
    ]
    (cell,) = (out / "bench" / "cells" / "walks").glob("fixed-*/1/cell.json")
    assert json.loads(cell.read_text())["settings"]["weights"] == {"small": 2.0}
    assert len(list((out / "bench" / "cells" / "walks").iterdir())) == 3
    drawn = (out / "gains.svg").read_text()
    assert drawn.startswith("<svg")
    assert all(word in drawn for word in ("fixed", "base", *SIZES))

    (out / "verdict.txt").unlink()
    lost = next((out / "bench" / "cells" / "walks").glob("base-*/1/cell.json"))
    lost.unlink()  # as if it had been killed in the middle
    run, ran = EvaluationJob.run, []
    monkeypatch.setattr(EvaluationJob, "run", lambda cell: (ran.append(str(cell)), run(cell)))
    again = ablate_weights(asked, out)
    assert ran == ["walks / base / seed 1"]
    assert again.verdict == found.verdict
    assert all(again.tables[title].equals(table) for title, table in found.tables.items())
    with pytest.raises(StoreError, match="was begun with other vary; choose another folder"):
        ablate_weights(replace(asked, vary=("map",)), out)


def test_the_picture_is_of_all_runs_and_domains_the_sparsest_first(tmp_path: Path) -> None:
    weighed = finished(tmp_path, ABOVE, RUNS)
    rows = [
        row(gain_percent=None if domain == "other" else 4.4 * number, p_holm=0.5)
        | {"label": label, "domain": domain, "by": by, "metric": metric, "protocol": protocol}
        for number, label in enumerate(list(ABOVE)[1:])
        for domain in FLAT
        for by, metric, protocol in (
            ("domain", "ndcg@10", "across"), ("event_share", "ndcg@10", "across"),
            ("domain", "recall@10", "across"), ("domain", "ndcg@10", "full"),
        )
    ]  # fmt: skip
    found = heat_map(weighed, pl.DataFrame(rows, infer_schema_length=None))
    tiles, xs, ys, _, span = found.chart.args  # type: ignore[attr-defined]
    assert xs == ["small", "middle", "large"]
    assert ys == list(ABOVE)[1:]
    assert span == (-10, 10)
    assert [tile.text for tile in tiles if tile.x == "small"] == ["+0", "+4", "+9", "+13", "+18"]
    assert all(tile.faint for tile in tiles)
    assert len(tiles) == 15


def test_without_the_extra_there_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*told: object) -> str:
        raise MissingExtraError("Pictures need altair.")

    monkeypatch.setattr(pictures, "svg", missing)
    ablate_weights(plan(tmp_path, FEW), tmp_path / "out")
    assert (tmp_path / "out" / "verdict.txt").is_file()
    assert not (tmp_path / "out" / "gains.svg").exists()


def test_signals_that_only_training_measures_are_fitted(tmp_path: Path) -> None:
    asked = plan(
        tmp_path, FEW, vary=("signal",), settings={**QUICK, "schedule.update_every": 1}, window_days=1.0
    )
    found = ablate_weights(asked, tmp_path / "out")
    labels = next(iter(found.tables.values()))["label"].to_list()
    assert labels[3] == "signal static = base"
    assert labels[5:] == ["signal loss", "signal gradient"]


def test_data_that_cannot_be_weighed_leave_no_trace(tmp_path: Path) -> None:
    asked = plan(tmp_path, {"large": 20})
    with pytest.raises(DataError, match="one domain with events"):
        ablate_weights(asked, tmp_path / "out")
    untimed = pl.read_csv(tmp_path / "large.csv").drop("time")
    untimed.write_csv(tmp_path / "small.csv")
    lost = replace(
        asked, data={**asked.data, "source": [str(tmp_path / f"{name}.csv") for name in ("large", "small")]}
    )
    with pytest.raises(LandbridgeError, match="time"):
        ablate_weights(lost, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(StoreError, match=r"holds other files \(large.csv\) and no ablation"):
        ablate_weights(plan(tmp_path), tmp_path)
