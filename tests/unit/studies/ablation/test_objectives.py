"""The sweep over objectives: its points, the figures of each, the front, the verdict, and the picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import event_files

from landbridge.core.errors import DataError, LandbridgeError, StoreError
from landbridge.evaluation.evaluate import Evaluation
from landbridge.models.sequential.dwl import DWL
from landbridge.reports import pictures
from landbridge.reports.looks import LIGHT
from landbridge.studies.ablation.objectives import ObjectiveAblation, ablate_objectives
from landbridge.studies.ablation.pareto import ObjectiveSweep, picture
from landbridge.studies.ablation.weight_tables import WeightBenchmark
from landbridge.studies.benchmark.jobs import EvaluationJob
from landbridge.studies.benchmark.spec import benchmark_spec

torch = pytest.importorskip("torch")
QUICK = {
    "encoder.factors": 4,
    "encoder.blocks": 1,
    "encoder.heads": 1,
    "encoder.hidden": 8,
    "encoder.max_length": 8,
    "epochs": 3,
    "batch_size": 64,
}
DATA = {"name": "shops", "source": ["a.csv", "b.csv"]}


def test_points_are_the_grid_of_all_objectives_and_generic() -> None:
    plan = ObjectiveAblation(DATA, {"epochs": 4}, steps=2)
    points = plan.points()
    assert list(points) == [
        "generic",
        "sparsity",
        "0.5 sparsity + 0.5 worst_group",
        "0.5 sparsity + 0.5 exposure",
        "worst_group",
        "0.5 worst_group + 0.5 exposure",
        "exposure",
    ]
    assert points["0.5 sparsity + 0.5 exposure"] == {"sparsity": 0.5, "worst_group": 0, "exposure": 0.5}
    assert all(sum(point.values()) == 1 for point in list(points.values())[1:])
    cells = plan.cells()
    assert cells["generic"] == {"epochs": 4, "domain_weighting": "none"}
    assert cells["exposure"] == {"epochs": 4, "domain_weighting": "several", "objectives": points["exposure"]}
    assert [DWL.from_settings({**cell}).epochs for cell in cells.values()] == [4] * 7


def test_some_objectives_alone() -> None:
    plan = ObjectiveAblation(DATA, of=("worst_group", "sparsity"), steps=4)
    assert plan.of == ("sparsity", "worst_group")
    assert len(plan.points()) == 6
    assert all("exposure" not in point for point in plan.points().values())
    assert len(ObjectiveAblation(DATA).points()) == 16
    assert len(ObjectiveAblation(DATA, steps=30).points()) == 1 + 31 * 32 // 2  # labels tell them apart


def test_the_benchmark_evaluates_across_domains_with_the_latest_held_out() -> None:
    spec = benchmark_spec(ObjectiveAblation(DATA, steps=1, seeds=3).tables())
    assert (spec.seeds, spec.metrics, spec.reference) == ((1, 2, 3), ("ndcg@10",), "generic")
    assert (spec.data[0].across, spec.data[0].split.kind) == (True, "latest")
    assert [entry.label for entry in spec.methods] == ["generic", "sparsity", "worst_group", "exposure"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"of": ("sparse",)}, "Unknown of 'sparse': did you mean 'sparsity'"),
        ({"of": ()}, "of needs one or more of sparsity, worst_group, exposure"),
        ({"steps": 0}, "steps and seeds must be 1 or more"),
        ({"seeds": 0}, "steps and seeds must be 1 or more"),
        ({"settings": {"objectives": {"exposure": 1}}}, "objectives is what the points change"),
        ({"settings": {"domain_weighting": "none"}}, "domain_weighting is what the points change"),
        ({"settings": {"schedule.signal": "gradient"}}, "needs schedule.renorm and a schedule.signal"),
        ({"settings": {"factor": 4}}, "Unknown setting of dwl 'factor': did you mean 'encoder.factors'"),
        ({"data": {"name": "d"}}, "Data 'd' needs either source or dataset"),
    ],
    ids=str,
)
def test_mistakes_are_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(LandbridgeError) as caught:
        ObjectiveAblation(**{"data": DATA} | changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# label -> domain -> how many items each of eight users's targets are below
ABOVE = {
    "generic": {"large": 1, "middle": 2, "other": 3, "small": 5},
    "sparsity": {"large": 1, "middle": 3, "other": 4, "small": 1},
    "worst_group": {"large": 2, "middle": 2, "other": 3, "small": 3},
    "exposure": {"large": 2, "middle": 3, "other": 4, "small": 6},
}


def finished(out: Path, above: dict[str, dict[str, int]] = ABOVE) -> ObjectiveSweep:
    """Cells as if they had been fitted; in the second seed every target is one place lower."""
    plan = ObjectiveAblation(
        {"name": "shops", "source": [f"{name}.csv" for name in ABOVE["generic"]]}, steps=1
    )
    spec = benchmark_spec(plan.tables())
    columns = ("domain", "user", "item", "above", "ties", "candidates")
    for entry in spec.methods:
        for seed in spec.seeds:
            rows = [
                (domain, 8 * number + user, 1, place + seed - 1, 0, 9)
                for number, (domain, place) in enumerate(above[entry.label].items())
                for user in range(8)
            ]
            cell = EvaluationJob(out, spec.data[0], entry, seed)
            judged = Evaluation(pl.DataFrame(rows, schema=columns, orient="row"), "dwl", "across")
            judged.write(cell.folder / "evaluation-across.parquet")
            known = above[entry.label]["small"] + seed / 2
            variety = [{"domain": "all", "entropy": known, "least_share": known / 8}]
            (cell.folder / "cell.json").write_text(json.dumps({"variety": variety}))
    runs = {label: label for label in above}
    return ObjectiveSweep(
        WeightBenchmark(spec, out, runs, ("small", "middle", "other", "large"), ("small",)), plan.points()
    )


def ndcg(above: float) -> float:
    """The mean of both seeds of a target that so many items are above in the first."""
    return float(np.mean(1 / np.log2(2 + above + np.arange(2))))


def test_values_by_hand(tmp_path: Path) -> None:
    rows = {row["label"]: row for row in finished(tmp_path).metrics().rows(named=True)}
    assert list(rows) == list(ABOVE)
    for label, row in rows.items():
        found = {domain: ndcg(place) for domain, place in ABOVE[label].items()}
        others = [found[name] for name in ("large", "middle", "other")]
        assert row["sparsest"] == pytest.approx(found["small"])
        assert row["other"] == pytest.approx(np.mean(others))
        assert row["overall"] == pytest.approx(np.mean([*others, found["small"]]))
        assert row["worst"] == pytest.approx(min(found.values()))
        assert row["worst_domain"] == min(found, key=found.__getitem__)
        assert row["entropy"] == ABOVE[label]["small"] + 0.75
        assert row["least_share"] == row["entropy"] / 8
    assert [row["sparsity"] for row in rows.values()] == [0, 1, 0, 0]
    assert [row["front"] for row in rows.values()] == [True, True, True, False]


def test_the_table_says_who_is_significantly_better_and_who_is_on_the_front(tmp_path: Path) -> None:
    swept = finished(tmp_path)
    title, shown = swept.table(swept.metrics())
    assert title == "shops: ndcg@10, one list over all domains, against generic"
    parts = ["sparsest quartile", "other domains", "overall"]
    assert shown.columns == ["label", *parts, "worst domain", "front"]
    line = shown.row(1, named=True)
    gain = 100 * (ndcg(1) / ndcg(5) - 1)
    assert line["sparsest quartile"] == f"{ndcg(1):.4f} {gain:+.1f} %*"
    assert line["worst domain"] == f"{ndcg(4):.4f} other"
    assert shown["front"].to_list() == ["yes", "yes", "yes", ""]


def test_the_verdict_says_what_is_gained_and_given_up(tmp_path: Path) -> None:
    swept = finished(tmp_path)
    said = swept.verdict(swept.metrics())
    assert "\n" not in said
    assert said.startswith(
        "The sparsest quartile of the domains: small. NDCG@10, one list over all domains, mean of 2 seeds: "
        "2 of 3 points are on the front, where no other one is at least as good"
    )
    assert "; generic is on it, too. Against generic: sparsity: +" in said

    def change(label: str, *domains: str) -> str:
        one, base = (np.mean([ndcg(ABOVE[cell][name]) for name in domains]) for cell in (label, "generic"))
        return f"{100 * (one / base - 1):+.1f} %"

    small, others = change("sparsity", "small"), change("sparsity", "large", "middle", "other")
    worst = f"{100 * (ndcg(4) / ndcg(5) - 1):+.1f} %"
    assert (
        f"sparsity: {small} in the sparsest quartile and {worst} in the worst domain, giving up "
        f"{others[1:]} in the other domains; worst_group: +" in said
    )
    assert "exposure:" not in said


def test_a_sweep_that_finds_nothing_says_so(tmp_path: Path) -> None:
    worse = dict.fromkeys(ABOVE, ABOVE["exposure"]) | {"generic": ABOVE["generic"]}
    swept = finished(tmp_path, worse)
    said = swept.verdict(swept.metrics())
    assert "0 of 3 points are on the front" in said
    assert said.endswith("generic is on it, too. Every point is beaten by generic.")
    better = dict.fromkeys(ABOVE, ABOVE["generic"]) | {"generic": ABOVE["exposure"]}
    swept = finished(tmp_path / "better", better)
    said = swept.verdict(swept.metrics())
    assert "3 of 3 points are on the front" in said
    assert "; generic is not. Against generic: " in said
    assert said.count("giving up nothing") == 3


def test_the_picture_has_every_point_and_names_the_front(tmp_path: Path) -> None:
    points = finished(tmp_path).metrics()
    drawn = picture(points, ("sparsity", "worst_group", "exposure"))
    rows, titles, note = drawn.chart.args  # type: ignore[attr-defined]
    assert [row["text"] for row in rows] == ["generic", "1 / 0 / 0", "0 / 1 / 0", "0 / 0 / 1"]
    assert [row["control"] for row in rows] == [True, False, False, False]
    assert [(row["x"], row["y"]) for row in rows] == points["other", "sparsest"].rows()
    assert [row["front"] for row in rows] == [True, True, True, False]
    assert [row["joined"] for row in rows] == [True, True, False, False]  # one is beaten but for its worst
    assert titles == ("NDCG@10 in the other domains", "NDCG@10 in the sparsest quartile")
    assert note == "λ of sparsity / worst group / exposure"
    assert drawn.alt.endswith("On the front: generic, sparsity, worst_group.")
    shown = pictures.svg(drawn, LIGHT)
    assert shown.startswith("<svg")
    assert all(text in shown for text in ("generic", "1 / 0 / 0", "0 / 1 / 0", note, *titles))
    assert "0 / 0 / 1" not in shown


def test_a_whole_sweep_and_one_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = [str(path) for path in event_files(tmp_path, events=200)]
    data = {"name": "shops", "source": source, "users": "shared"}
    plan = ObjectiveAblation(data, QUICK, steps=1, seeds=1)
    out = tmp_path / "out"
    found = ablate_objectives(plan, out)
    assert (out / "verdict.txt").read_text() == found.verdict + "\n"
    points = pl.read_csv(out / "pareto.csv")
    assert points["label"].to_list() == ["generic", "sparsity", "worst_group", "exposure"]
    assert points["front"].any()
    assert points["entropy"].is_between(0, np.log(2)).all()
    assert points["least_share"].is_between(0, 0.5).all()
    assert (out / "pareto.svg").read_text().startswith("<svg")
    assert found.tables[next(iter(found.tables))]["label"].to_list() == points["label"].to_list()

    before = (out / "pareto.csv").read_bytes()
    (out / "pareto.csv").unlink()
    next((out / "bench" / "cells" / "shops").glob("exposure-*/1/cell.json")).unlink()  # as if killed
    run, ran = EvaluationJob.run, []
    monkeypatch.setattr(EvaluationJob, "run", lambda cell: (ran.append(str(cell)), run(cell)))
    assert ablate_objectives(plan, out).verdict == found.verdict
    assert ran == ["shops / exposure / seed 1"]
    assert (out / "pareto.csv").read_bytes() == before
    with pytest.raises(StoreError, match="was begun with other steps; choose another folder"):
        ablate_objectives(replace(plan, steps=2), out)


def test_domains_that_cannot_be_distinguished_are_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    books, movies = event_files(tmp_path, events=200)
    alone = ObjectiveAblation({"name": "shops", "source": str(books), "users": "shared"}, QUICK, steps=1)
    with pytest.raises(DataError, match="one domain with events"):
        ablate_objectives(alone, tmp_path / "alone")
    table = pl.read_csv(movies)
    table.filter(pl.int_range(pl.len()) < 9).with_columns(pl.col("time") // 10**6).write_csv(movies)
    plan = ObjectiveAblation(
        {"name": "shops", "source": [str(books), str(movies)], "users": "shared"}, QUICK, steps=1
    )
    with pytest.raises(DataError, match="No user has a held-out event in movies"):
        ablate_objectives(plan, tmp_path / "out")
