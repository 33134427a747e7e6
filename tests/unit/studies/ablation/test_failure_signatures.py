"""The four signs by which dynamic weights fail, each in a planted world, and none where weights help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from worlds import of_tables

from landbridge.core.executors import executor_of
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.synthetic import planted_walks
from landbridge.models.sequential.dwl import DWL
from landbridge.studies.ablation import failure_signatures
from landbridge.studies.ablation.equal_spread import kappas_of_equal_spread, spread
from landbridge.studies.ablation.weight_tables import WeightBenchmark
from landbridge.studies.ablation.weight_trajectories import WeightInputs
from landbridge.studies.ablation.weights import WeightAblation
from landbridge.studies.benchmark import jobs
from landbridge.studies.benchmark.runner import benchmark
from landbridge.studies.benchmark.spec import benchmark_spec
from landbridge.training.weighting.schedule import WeightSchedule
from landbridge.training.weighting.sparsity import METRICS, WeightMap

torch = pytest.importorskip("torch")
SMALL = {
    "encoder.factors": 8,
    "encoder.blocks": 1,
    "encoder.heads": 1,
    "encoder.hidden": 16,
    "encoder.max_length": 8,
    "encoder.dropout": 0.0,
    "loss.kind": "softmax",
    "batch_size": 16,
    "lr": 0.003,
    "epochs": 12,
    "schedule.weight_map.kappa": 1.0,
    "schedule.weight_map.max_weight": 20.0,
}
EXTREME = {
    "literal": True,  # else a batch without the sparse domain counts as much as one with it
    "schedule.weight_map.kappa": 6.0,
    "schedule.weight_map.min_weight": 1e-6,
    "schedule.weight_map.max_weight": 1e3,
}


def walks(sizes: dict[str, int]) -> MultiDomain:
    """So many users of each domain go along its circle of 15 items."""
    tables, first, users = {}, 0, sum(sizes.values())
    for name, size in sizes.items():
        item_US = (np.arange(size)[:, None] + np.arange(9)) % 15
        user_US, step_US = np.indices(item_US.shape)
        columns = user_US.ravel() + first, item_US.ravel()
        tables[name] = Interactions.from_events(*columns, users, 15, time=86_400 * step_US.ravel())
        first += size
    return of_tables(tables)


def failures(folder: Path, data: MultiDomain, **settings: Any) -> list[str]:
    """Of DWL with these settings against no weights, one seed."""
    for name, events in data.domains.items():
        columns = {"user": events.user_idx, "item": events.item_idx, "time": events.time}
        pl.DataFrame(columns).write_csv(folder / f"{name}.csv")
    sources = [str(folder / f"{name}.csv") for name in data.domain_names]
    source = {"name": "walks", "source": sources, "users": "shared"}
    plan = WeightAblation(source, SMALL | settings, seeds=1)
    ground = WeightInputs.of(jobs.prepared_split(plan.source).test.history)
    cells = plan.cells(ground.sparsest)
    spec = benchmark_spec(plan.tables({label: cells[label] for label in ("generic", "base")}))
    benchmark(spec, folder / "bench", executor_of(1))
    runs = {label: label for label in ("generic", "base")}
    return WeightBenchmark(spec, folder / "bench", runs, ground.by_events, ground.sparsest).failures()


def kinds(signs: list[str]) -> list[str]:
    return [sign.partition(":")[0] for sign in signs]


def test_weights_that_find_a_niche_show_no_sign_of_failure(tmp_path: Path) -> None:
    assert failures(tmp_path, planted_walks()) == []


def test_noise_in_the_sparse_domain_is_no_gain(tmp_path: Path) -> None:
    """The first break condition: what is amplified cannot be learned."""
    signs = failures(tmp_path, planted_walks(noise=1.0))
    assert "No gain in sparse domains" in kinds(signs)
    assert "amplify noise" in signs[0]


def test_extreme_weights_harm_dense_domains_and_collapse_the_lists(tmp_path: Path) -> None:
    data = walks({"one": 80, "two": 80, "three": 80, "small": 24})
    signs = failures(tmp_path, data, **EXTREME)
    assert kinds(signs) == ["Harm in dense domains", "Collapse to popular items"]
    assert all(name in signs[0] for name in ("one (-", "two (-", "three (-"))


def test_a_loss_that_swings_is_an_oscillation(tmp_path: Path) -> None:
    # where such a fit goes depends on the rounding of the processor: one of the rates swings anywhere
    def swings(lr: float) -> bool:
        folder = tmp_path / f"{lr:g}"
        folder.mkdir()
        return "Oscillation" in kinds(failures(folder, planted_walks(), lr=lr, clip=None))

    assert any(map(swings, (0.3, 3.0, 10.0, 30.0)))


def test_the_same_weights_are_no_gain(tmp_path: Path) -> None:
    weighed = WeightBenchmark(
        benchmark_spec(
            {"data": [{"name": "d", "source": "d.csv"}], "methods": [{"label": "generic", "name": "dwl"}]}
        ),
        tmp_path,
        {"generic": "generic", "base": "generic"},
        ("a", "b"),
        ("a",),
    )
    assert kinds(weighed.failures()) == ["No gain in sparse domains"]


@pytest.mark.parametrize(
    ("losses", "share"),
    [
        ([5.0, 4.0, 3.0, 2.5], None),  # falls
        ([5.0, 2.0, 2.01, 2.0, 2.01, 2.0], None),  # has settled
        ([5.0, 3.0, 5.0, 3.0, 5.0], 0.5),  # swings
        ([1.0, 2.0, 4.0], 1.0),  # diverges
        ([2.0], None),
        ([2.0, 2.0], None),
    ],
)
def test_which_losses_oscillate(losses: list[float], share: float | None) -> None:
    assert failure_signatures.oscillating_share(losses) == share


def test_the_worst_domain_of_the_worst_fit_is_named() -> None:
    calm = [{"loss_of": {"a": 2.0 - n / 10, "b": 1.0}} for n in range(5)]
    wild = [{"loss_of": {"a": 2.0 + n % 2, "b": 1.0 + n}} for n in range(5)]
    assert failure_signatures.oscillation([calm]) is None
    assert failure_signatures.oscillation([[]]) is None
    said = failure_signatures.oscillation([calm, wild])
    assert said is not None
    assert said.startswith("Oscillation: 100 % of the movement of the training loss of b is upwards")


def test_lists_collapse_below_half_of_the_catalogue_without_weights() -> None:
    assert failure_signatures.collapse(0.1, 0.2) is None
    said = failure_signatures.collapse(0.05, 0.2)
    assert said is not None
    assert "5.0 % of the catalogue fills 90 % of the places, without weights 20.0 %" in said


# --- the hybrid against one term at equal spread ------------------------------------------------------------


def target_weights(name: str, kappa: float, schedule: WeightSchedule, ground: WeightInputs) -> Any:
    """The weights of the cell "spread NAME", as DWL has them."""
    cells = WeightAblation({"name": "d", "source": "d.csv"}, vary=("spread",)).cells(("x",), {name: kappa})
    method = DWL.from_settings(cells[f"spread {name}"] | {"schedule.initial_weights": "computed"})
    assert method.schedule.weight_map == WeightMap("exponential", kappa=kappa)
    return method.schedule.begin(ground.counts)["weight_D"]


def test_every_metric_gets_the_spread_of_the_hybrid() -> None:
    ground = WeightInputs.of(walks({"large": 60, "middle": 25, "other": 30, "small": 10}))
    schedule = WeightSchedule()
    kappas = kappas_of_equal_spread(schedule, ground.counts)
    assert kappas["hybrid"] == schedule.weight_map.kappa
    assert kappas["frequency"] > kappas["hybrid"]  # one term spans less than three
    wanted = spread(target_weights("hybrid", kappas["hybrid"], schedule, ground))
    assert wanted > 0.1
    for name in kappas:
        assert spread(target_weights(name, kappas[name], schedule, ground)) == pytest.approx(wanted, rel=1e-6)
    unequal = spread(target_weights("frequency", kappas["hybrid"], schedule, ground))
    assert unequal < 0.9 * wanted  # as in the cells "metric hybrid" and "metric frequency"


def test_a_metric_that_cannot_differ_so_much_is_left_out() -> None:
    """All items of every domain have equally many events: their entropy distinguishes nothing."""
    ground = WeightInputs.of(walks({"large": 60, "small": 15}))
    kappas = kappas_of_equal_spread(WeightSchedule(), ground.counts)
    assert set(kappas) == set(METRICS) - {"entropy"}
    cells = WeightAblation({"name": "d", "source": "d.csv"}, vary=("spread",)).cells(("small",), kappas)
    assert [label for label in cells if label.startswith("spread")] == [f"spread {name}" for name in kappas]
