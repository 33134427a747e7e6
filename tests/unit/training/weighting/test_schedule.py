"""The schedule of weights: its average in closed form, signals, checkpoints; and as a weighting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import of_tables, uneven

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.files import read_arrays, write_arrays
from landbridge.core.rng import generator
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import DAY, Interactions
from landbridge.training.loop import run_phase
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.weighting.base import Uniform, Weighting
from landbridge.training.weighting.schedule import DynamicSparsity, WeightSchedule
from landbridge.training.weighting.sparsity import MAPS, METRICS, DomainCounts, SparsityScore, WeightMap

SPREAD = {"large": (40, 55), "middle": (25, 25), "small": (12, 6)}


def counts_of(shape: Any = None, seed: int = 0) -> DomainCounts:
    return DomainCounts.of(uneven(shape or SPREAD, seed=seed))


def after(schedule: WeightSchedule, state: Any, epochs: int, measured: Any = None) -> Any:
    for epoch in range(1, epochs + 1):
        state = schedule.at_epoch(state, epoch, measured)
    return state


# --- the average -----------------------------------------------------------------------------------------


@given(st.sampled_from(MAPS), st.booleans(), st.floats(0, 0.99), st.integers(0, 30), st.booleans())
def test_static_weights_are_the_closed_form_within_bounds(
    kind: str, renorm: bool, momentum: float, updates: int, computed: bool
) -> None:
    counts, start = counts_of(), "computed" if computed else "ones"
    schedule = WeightSchedule(
        weight_map=WeightMap(kind), renorm=renorm, momentum=momentum, update_every=1, initial_weights=start
    )
    target_D = schedule.weight_map.weights(SparsityScore().score(counts), counts.share_D if renorm else None)
    state = schedule.begin(counts)
    first_D = schedule.weights(state)
    np.testing.assert_array_equal(first_D, target_D if computed else np.ones(3))
    found_D = schedule.weights(after(schedule, state, updates))
    np.testing.assert_allclose(found_D, target_D + momentum**updates * (first_D - target_D), rtol=1e-12)
    for weight_D in (target_D, found_D):
        assert weight_D.min() >= 0.2 - 1e-12
        assert weight_D.max() <= 5 + 1e-12
        if renorm:
            assert counts.share_D @ weight_D == pytest.approx(1, abs=1e-12)


def test_five_updates_go_less_than_half_of_the_way() -> None:
    """The published average over ten epochs, from 1 towards 3.2."""
    counts = DomainCounts.of(uneven({"a": (40, 60), "b": (40, 60)}))
    counts = replace(counts, events_D=np.array([3.2, 1.0]), n_events=3.2)
    schedule = WeightSchedule(METRICS["frequency"], WeightMap(kappa=1.0), renorm=False)
    state = after(schedule, schedule.begin(counts), 10)
    assert state["updates_1"].tolist() == [5]
    assert schedule.weights(state) == pytest.approx([1.0, 1.90], abs=0.005)
    full = replace(schedule, bias_correction=True)
    assert full.weights(after(full, full.begin(counts), 2)) == pytest.approx([1.0, 3.2])


def test_bias_correction_divides_the_average_from_zero() -> None:
    many = [counts_of(seed=seed) for seed in range(6)]
    schedule = WeightSchedule(update_every=1, bias_correction=True)
    state = schedule.begin(many[0])
    average_D = np.zeros(3)
    for number, counts in enumerate(many, start=1):
        state = schedule.at_epoch(state, number, counts)
        target_D = schedule.weight_map.weights(SparsityScore().score(counts), many[0].share_D)
        average_D = 0.9 * average_D + 0.1 * target_D
        np.testing.assert_allclose(schedule.weights(state), average_D / (1 - 0.9**number), rtol=1e-12)
        assert many[0].share_D @ schedule.weights(state) == pytest.approx(1, abs=1e-12)


def test_only_epochs_after_a_whole_period_change_weights() -> None:
    schedule, counts = WeightSchedule(update_every=3), counts_of()
    states = [schedule.begin(counts)]
    for epoch in range(8):
        states.append(schedule.at_epoch(states[-1], epoch))
    assert [int(state["updates_1"][0]) for state in states] == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert np.diff([schedule.weights(state)[2] for state in states]).nonzero()[0].tolist() == [3, 6]


@pytest.mark.parametrize("correction", [False, True])
@pytest.mark.parametrize("kind", MAPS)
def test_balanced_domains_stay_at_1_exactly(kind: str, correction: bool) -> None:
    table = uneven({"a": (40, 55)})["a"]
    for names in ("a", "abc"):
        counts = DomainCounts.of(of_tables(dict.fromkeys(names, table)))
        schedule = WeightSchedule(weight_map=WeightMap(kind), update_every=1, bias_correction=correction)
        assert schedule.weights(after(schedule, schedule.begin(counts), 20)).tolist() == [1.0] * len(names)


def test_a_domain_without_events_stays_at_1() -> None:
    counts = counts_of({"a": (40, 55), "none": (5, 0), "b": (20, 10)})
    schedule = WeightSchedule(initial_weights="computed")
    state = after(schedule, schedule.begin(counts), 4)
    assert schedule.weights(state)[1] == 1.0
    without = counts_of({"a": (40, 55), "b": (20, 10)})
    assert schedule.weights(state)[[0, 2]] == pytest.approx(
        schedule.weights(schedule.begin(without)), rel=0.4
    )
    assert set(schedule.log_values(state, counts.names)["sparsity"]) == {"a", "b"}


def test_the_state_is_left_alone_and_comes_back_from_a_file(tmp_path: Path) -> None:
    schedule, counts = WeightSchedule(signal="loss", update_every=1), counts_of()
    losses = [np.array([0.5, 0.4, np.nan]), np.array([0.4, 0.4, 0.6]), np.array([0.3, 0.4, 0.1])]
    states = [schedule.begin(counts)]
    for epoch, loss_D in enumerate(losses, start=1):
        before = {name: array.copy() for name, array in states[-1].items()}
        states.append(schedule.at_epoch(states[-1], epoch, loss_D))
        assert all(np.array_equal(before[name], array) for name, array in states[-2].items())
    write_arrays(tmp_path / "state.safetensors", states[2], {})
    resumed = schedule.at_epoch(read_arrays(tmp_path / "state.safetensors")[0], 3, losses[2])
    assert all(np.array_equal(resumed[name], array) for name, array in states[3].items())


# --- signals ---------------------------------------------------------------------------------------------


def timed(times: dict[str, list[int]]) -> MultiDomain:
    """An event per time and domain, in days, each of another user with another item."""
    users = sum(map(len, times.values()))
    tables = {
        name: Interactions.from_events(
            range(len(days)), range(len(days)), users, len(days), time=np.array(days, np.int64) * DAY
        )
        for name, days in times.items()
    }
    return of_tables(tables)


def test_windows_end_at_the_quantiles_of_time() -> None:
    data = timed({"a": [1, 2, 3, 4, 30, 31], "b": [5, 6], "c": [100, 101, 102, 103]})
    schedule = WeightSchedule(signal="window", window_days=4, update_every=2)
    first, second, third = schedule.windows(data, 8)  # updates at 2, 4, 6 of 8: 4, 8 and 12 events have been
    assert first.events_D.tolist() == [4, 0, 0]
    assert second.events_D.tolist() == [2, 0, 0]
    assert third.events_D.tolist() == [0, 0, 4]
    assert schedule.windows(data, 2) == ()
    assert WeightSchedule().windows(data, 8) == ()
    with pytest.raises(DataError, match="domain 'a' have none"):
        schedule.windows(of_tables({"a": Interactions.from_events([0], [0], 1, 1)}), 8)


def test_a_domain_without_events_in_the_window_keeps_its_score() -> None:
    data = timed({"a": [1, 2, 3, 4, 30, 31], "b": [5, 6], "c": [100, 101, 102, 103]})
    schedule = WeightSchedule(
        METRICS["frequency"], signal="window", window_days=4, momentum=0, update_every=1
    )
    state = schedule.begin(DomainCounts.of(data))
    window = DomainCounts.of(data, 28 * DAY, 31 * DAY)
    state = schedule.at_epoch(state, 1, window)
    assert state["score_D"] == pytest.approx([0, np.log(6), np.log(3)])
    assert state["share_D"] @ schedule.weights(state) == pytest.approx(1)
    with pytest.raises(SettingsError, match="needs the counts of the window"):
        schedule.at_epoch(state, 2)


def test_who_learns_slowly_gets_more_under_the_signal_of_losses() -> None:
    schedule = WeightSchedule(signal="loss", update_every=2, momentum=0)
    counts = counts_of()
    state = schedule.begin(counts)
    for epoch, loss_D in enumerate([[1, 2, np.nan], [3, 2, np.nan], [1, 1, 4], [1, 1.5, 8]], start=1):
        state = schedule.at_epoch(state, epoch, loss_D)
        if epoch == 2:  # the first update measures what others are told against
            assert schedule.weights(state).tolist() == [1, 1, 1]
    slow_D = np.array([0.5, 0.625, 1.0])
    assert state["score_D"] == pytest.approx(np.log(slow_D))
    np.testing.assert_allclose(schedule.weights(state), slow_D**0.5 / (counts.share_D @ slow_D**0.5))
    kept = schedule.updated(state)  # nothing was seen since
    np.testing.assert_array_equal(kept["score_D"], state["score_D"])


def test_new_counts_are_taken_up_under_static_too() -> None:
    schedule = WeightSchedule(update_every=1, momentum=0)
    one, other = counts_of(seed=0), counts_of(seed=5)
    state = schedule.at_epoch(schedule.begin(one), 1, other)
    np.testing.assert_array_equal(state["score_D"], SparsityScore().score(other))


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: WeightSchedule(initial_weights="one"), "did you mean 'ones'"),
        (lambda: WeightSchedule(signal="losses"), "did you mean 'loss'"),
        (lambda: WeightSchedule(momentum=1), "momentum must be a number, 0 or more and below 1"),
        (lambda: WeightSchedule(update_every=0), "update_every must be a whole number, 1 or more"),
        (lambda: WeightSchedule(signal="window"), "belong together"),
        (lambda: WeightSchedule(window_days=3), "belong together"),
        (lambda: WeightSchedule(signal="window", window_days=0), "window_days must be a number, above 0"),
        (lambda: WeightSchedule(signal="gradient").begin(counts_of()), "gradnorm.GradNorm"),
        (lambda: DynamicSparsity(WeightSchedule(signal="gradient"), counts_of(), 1), "gradnorm.GradNorm"),
        (lambda: DynamicSparsity(WeightSchedule(), counts_of(), 0), "steps_per_epoch must be 1 or more"),
    ],
)
def test_impossible_settings_are_reported(made: Any, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        made()


# --- as a weighting of a network -------------------------------------------------------------------------

torch = pytest.importorskip("torch")


def network(weighting: Weighting, epochs: int = 5, names: str = "ab") -> Phase:
    """Domains that read a shared layer 6 x 3, eight batches an epoch; b is missing in every third."""
    draw = generator(0, "network")
    shapes = {"shared": (6, 3), **{f"head {name}": (3, 1) for name in names}}
    parameters = {
        name: torch.tensor(draw.normal(0, 0.3, shape), dtype=torch.float32, requires_grad=True)
        for name, shape in shapes.items()
    }

    def drawn(epoch: int) -> list[Any]:
        rng = generator(0, "batches", str(epoch))
        return [(k, torch.tensor(rng.standard_normal((16, 6)), dtype=torch.float32)) for k in range(8)]

    def losses(batch: Any) -> dict[str, Any]:
        number, x_N6 = batch
        return {
            name: (x_N6 @ parameters["shared"] @ parameters[f"head {name}"] - x_N6[:, [place]])
            .square()
            .mean()
            for place, name in enumerate(names)
            if name != "b" or number % 3
        }

    return Phase("network", epochs, drawn, losses, parameters, weighting, optimizer=Optimizer("adam", 0.02))


def trained(weighting: Weighting, folder: Path | None = None, **settings: Any) -> tuple[list[Any], Any]:
    phase = network(weighting, **settings)
    log = run_phase(phase, FitOptions(threads=1, work_dir=folder), {"settings": 1})
    return [tensor.detach().numpy() for tensor in phase.parameters.values()], log


def equal(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("names", ["a", "ab"])
def test_balanced_domains_train_bit_for_bit_as_without_weights(names: str) -> None:
    counts = DomainCounts.of(of_tables(dict.fromkeys(names, uneven({"a": (40, 55)})["a"])))
    weighting = DynamicSparsity(WeightSchedule(update_every=1), counts, 8)
    plain, log = trained(Uniform(), names=names)
    weighted, told = trained(weighting, names=names)
    assert equal(plain, weighted)
    assert [record["loss:a"] for record in log] == [record["loss:a"] for record in told]
    assert told[-1]["weight"] == dict.fromkeys(names, 1.0)
    assert told[-1]["updates"] == 4


def test_updates_come_after_whole_periods_and_weights_of_losses_sum_to_their_number() -> None:
    counts = counts_of({"a": (40, 55), "b": (20, 10)})
    weighting = DynamicSparsity(WeightSchedule(update_every=2), counts, 8)
    first = dict(zip("ab", (2 * counts.share_D).tolist(), strict=True))
    plain, _ = trained(Uniform(), epochs=6)
    weighted, log = trained(weighting, epochs=6)
    assert not equal(plain, weighted)
    assert [record["updates"] for record in log] == [0, 0, 1, 1, 2, 2]
    assert log[0]["sample_weight"] == {"a": 1.0, "b": 1.0}
    assert log[0]["weight"] == pytest.approx(first)
    told = log[-1]["sample_weight"]
    assert told["a"] < log[2]["sample_weight"]["a"] < 1 < log[2]["sample_weight"]["b"] < told["b"]
    assert log[-1]["weight"] == pytest.approx({name: first[name] * told[name] for name in "ab"})
    assert all(sum(record["weight"].values()) == pytest.approx(2) for record in log)
    assert log[0]["sparsity"] == dict(zip("ab", SparsityScore().score(counts).tolist(), strict=True))


@pytest.mark.parametrize("signal", ["static", "loss", "window"])
def test_a_resumed_fit_goes_on_bit_for_bit(tmp_path: Path, signal: str) -> None:
    data = timed({"a": [1, 2, 3, 4, 30, 31, 33, 35], "b": [5, 6, 32, 34]})
    schedule = WeightSchedule(signal=signal, window_days=10 if signal == "window" else None, update_every=1)
    weighting = DynamicSparsity.of(schedule, data, 8, 5)
    whole, log = trained(weighting)
    trained(weighting, tmp_path, epochs=3)
    resumed, told = trained(weighting, tmp_path)
    assert equal(whole, resumed)
    assert log == told
    assert len({record["weight"]["b"] for record in log}) > (3 if signal != "loss" else 2)


def test_mean_losses_are_weights_of_the_inverse_frequency_already() -> None:
    """Samples weighed by 1/f are domains weighed alike, which is what a sum of means does."""
    counts = counts_of({"a": (40, 55), "b": (20, 10), "none": (4, 0)})
    inverse = WeightSchedule(
        METRICS["frequency"],
        WeightMap(min_weight=1e-3, max_weight=1e3, kappa=1.0),
        initial_weights="computed",
    )
    weights, state = DynamicSparsity(inverse, counts, 8).weights(
        {"a": torch.ones(()), "b": torch.ones(())}, {}, {}
    )
    assert weights == pytest.approx({"a": 1.0, "b": 1.0})
    ratio = DynamicSparsity(inverse, counts, 8).log_values(state)["sample_weight"]
    assert ratio["b"] / ratio["a"] == pytest.approx(counts.events_D[0] / counts.events_D[1])
    assert ratio["none"] == 1.0


def test_weighted_means_are_the_mean_of_weighted_samples() -> None:
    """Eq. (5) on one batch with all events, against their own losses times their own weights."""
    data = uneven({"a": (40, 55), "b": (20, 10)})
    weighting = DynamicSparsity.of(WeightSchedule(initial_weights="computed"), data, 8, 5)
    rng = np.random.default_rng(0)
    each = {name: torch.tensor(rng.random(len(events))) for name, events in data.domains.items()}
    weights, state = weighting.weights({name: loss_N.mean() for name, loss_N in each.items()}, {}, {})
    sample = weighting.log_values(state)["sample_weight"]
    summed = sum(float((sample[name] * loss_N).sum()) for name, loss_N in each.items())
    total = sum(weights[name] * float(loss_N.mean()) for name, loss_N in each.items())
    assert total == pytest.approx(2 * summed / data.n_events)


def test_samples_of_its_own_domain_alone_are_counted_where_items_belong_to_several() -> None:
    data = uneven({"a": (40, 55), "b": (20, 10)})
    several = replace(data, memberships={"a": np.ones((40, 2), bool)})
    weighting = DynamicSparsity.of(WeightSchedule(initial_weights="computed"), several, 8, 5)
    weights, _ = weighting.weights({"a": torch.ones(()), "b": torch.ones(())}, {}, {})
    assert sum(weights.values()) == pytest.approx(2)
    own_D = np.array([len(data["a"]), len(data["b"])]) / data.n_events
    want_D = WeightMap().weights(SparsityScore().score(DomainCounts.of(several)), own_D)
    assert [*weights.values()] == pytest.approx(2 * own_D * want_D)


def test_every_update_has_the_window_of_its_time() -> None:
    """Of twelve events four are b's, one early and three late."""
    data = timed({"a": [1, 2, 3, 4, 5, 30, 31, 32], "b": [6, 33, 34, 35]})
    schedule = WeightSchedule(
        METRICS["frequency"], signal="window", window_days=7, update_every=1, momentum=0
    )
    weighting, state, told = DynamicSparsity.of(schedule, data, 2, 3), {}, []
    for _ in range(9):  # three epochs of two steps, and longer than planned
        _, state = weighting.weights({"a": torch.ones(()), "b": torch.ones(())}, {}, state)
        score = weighting.log_values(state)["sparsity"]
        told.append(score["b"] - score["a"])
    assert told == pytest.approx(np.log([2] * 2 + [5] * 2 + [1] * 5))


def test_a_domain_that_was_not_counted_is_an_error() -> None:
    weighting = DynamicSparsity(WeightSchedule(), counts_of(), 8)
    with pytest.raises(SettingsError, match="Unknown domain in the counts 'smal': did you mean 'small'"):
        weighting.weights({"smal": torch.tensor(1.0)}, {}, {})
    assert weighting.log_values({}) == {}
