"""The search: what it tries, what it may see, what it finds, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from landbridge.core.errors import DivergenceError, SettingsError
from landbridge.core.progress import Silent
from landbridge.data.synthetic import planted_transfer
from landbridge.evaluation.evaluate import Validator
from landbridge.models import registry
from landbridge.models.search_space import Choice, Real
from landbridge.selection.search import Budget, tune
from landbridge.training.options import FitOptions

from .hills import ITEMS, SUMMIT, Fixed, Height, Hill, Once, find, line


def test_the_first_trial_is_the_methods_own_settings() -> None:
    own = Hill(place=0.2, spread=7, shape="round")
    assert find(own, trials=1).trials.select("place", "spread", "shape").rows() == [(0.2, 7, "round")]
    assert find(own, trials=4, seed=9).trials.row(0)[:4] == (0, 0.2, 7, "round")


def test_own_settings_outside_the_space_are_moved_into_it() -> None:
    space = {"place": Real(0.3, 0.9), "shape": Choice(("round",))}
    assert find(space=space, trials=1).trials.select("place", "shape").rows() == [(0.3, "round")]


def test_it_finds_the_hill_and_says_where() -> None:
    found = find(trials=40)
    own, best = found.trials["value"][0], found.trials["value"].max()
    assert own < 0.8 < 0.99 < found.value == best
    assert isinstance(found.method, Hill)
    assert found.method._reached(found.method.epochs - 1) == pytest.approx(SUMMIT / ITEMS, abs=0.01)


def test_refitting_the_returned_method_gives_the_figure_it_was_chosen_for() -> None:
    found = find(Hill(place=0.8), trials=6)
    assert isinstance(found.method, Hill)
    assert 1 < found.method.epochs < 6  # the summit is passed before the end
    assert Height(line().valid, "")(found.method.fit(line().train)) == found.value


def test_settings_outside_the_space_stay_as_they_are() -> None:
    found = find(Hill(spread=8, epochs=4), space={"place": Real(0.1, 1.0)})
    assert isinstance(found.method, Hill)
    assert (found.method.spread, found.trials.columns[:3]) == (8, ["trial", "place", "value"])
    assert found.method.epochs <= 4


def test_nothing_reaches_the_test_part() -> None:
    split: Any = SimpleNamespace(valid=line().valid, train=line().train)
    assert not hasattr(split, "test")
    assert find(split=split, trials=3).value > 0


def test_a_hopeless_trial_is_pruned_early_and_never_chosen() -> None:
    calls: list[str] = []

    class Counted(Hill):
        name = "counted"

        def _reached(self, epoch: int) -> float:
            calls.append(self.shape)
            return super()._reached(epoch)

    found = find(Counted(place=0.5), trials=25)
    states = found.trials["state"].value_counts()
    pruned = dict(states.rows())["pruned"]
    assert set(states["state"]) == {"complete", "pruned"}
    assert 2 * pruned <= 25 * 6 - len(calls) <= 3 * pruned  # most of them after the third epoch of six
    assert found.trials["state"][:4].to_list() == ["complete"] * 4
    best = found.trials.filter(state="complete")["value"].max()
    assert found.value == best == found.trials["value"].max()


def test_the_epochs_of_a_pruned_trial_are_those_up_to_its_best_validation() -> None:
    found = find(Hill(place=0.5, epochs=60), trials=25)
    epochs = found.trials.filter(state="pruned")["epochs"]
    assert len(epochs) > 0
    assert set(epochs) <= {10, 20, 30, 40, 50, 60}  # six validations of a trial


def test_a_method_without_epochs_is_evaluated_once() -> None:
    found = find(Once(), trials=14)
    assert (found.method, found.trials["epochs"].null_count()) == (Once(0.6), 4)  # all that there are
    assert found.value == 1


def test_few_settings_are_each_tried_once() -> None:
    found = find(Once(), trials=14)
    assert sorted(found.trials["place"]) == sorted(Once.space["place"].options)
    assert len(find(Once(), trials=3).trials) == 3


def test_a_diverged_trial_is_an_answer_and_not_the_end() -> None:
    found = find(Once(), trials=14)
    diverged = found.trials.filter(state="diverged")
    assert len(found.trials) == 4
    assert set(diverged["place"]) == {2.0}
    assert diverged["value"].null_count() == len(diverged) > 0


def test_nothing_but_diverged_trials_is_an_error() -> None:
    with pytest.raises(DivergenceError, match="Every trial of once diverged, 1 in all"):
        find(Once(2.0), trials=3, space={"place": Choice((2.0,))})


def test_an_empty_space_is_one_trial() -> None:
    found = find(Fixed(), trials=9)
    assert (len(found.trials), found.method) == (1, Fixed(epochs=1))  # judged once: no epoch reported


def test_equal_values_leave_the_own_settings() -> None:
    space = {"place": Choice((0.5, 0.7))}  # as far from the summit
    found = find(Once(0.7), space=space, trials=6)
    assert set(found.trials["place"]) == {0.5, 0.7}
    assert found.method == Once(0.7)


def test_seeds_make_the_trials() -> None:
    first, again, other = (find(seed=seed).trials.drop("seconds") for seed in (3, 3, 4))
    assert first.equals(again)
    assert not first.equals(other)


def test_no_trial_begins_after_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("landbridge.selection.search.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    found = find(Once(), trials=20, seconds=5.5)
    spent = found.trials["seconds"].cum_sum().to_list()
    assert spent[-2] < 5.5 <= spent[-1]
    assert len(spent) < 20


def test_telling_optuna_is_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("landbridge.selection.search.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    found = find(Hill(epochs=6), trials=1)
    assert found.trials["seconds"].to_list() == [13]  # 19 ticks, of which 6 were telling


@pytest.mark.parametrize(("trials", "seconds"), [(0, None), (-1, None), (1, 0.0), (1, float("nan"))])
def test_impossible_budgets(trials: int, seconds: float | None) -> None:
    with pytest.raises(SettingsError, match="A search needs"):
        Budget(trials, seconds)


def test_an_unknown_setting_and_a_wrong_kind_of_range() -> None:
    with pytest.raises(SettingsError, match="did you mean 'place'"):
        find(space={"plac": Real(0, 1)})
    with pytest.raises(SettingsError, match="'spread' must be Whole or Choice, not Real"):
        find(space={"spread": Real(1, 9)})
    with pytest.raises(SettingsError, match="Unknown metric"):
        tune(Hill(), line(), Budget(1), FitOptions(), "ndgc@10")


def test_the_time_of_a_call_is_its_trials_and_its_overhead() -> None:
    found = find(trials=5)
    assert found.seconds == pytest.approx(found.trials["seconds"].sum() + found.overhead_seconds)
    assert 0 < found.overhead_seconds < found.seconds


def test_progress_is_reported_and_checkpoints_of_the_caller_are_left_alone(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []

    class Noting(Silent):
        @contextmanager
        def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Any]:
            assert (title, total) == ("tuning ials", 3)
            yield SimpleNamespace(step=lambda done, facts: told.append((done, facts["best"])))

    options = FitOptions(threads=1, work_dir=tmp_path, progress=Noting())
    method = registry.method("ials").from_settings({"factors": 4, "epochs": 2})
    found = tune(method, planted_transfer().split, Budget(3), options)
    assert told == list(enumerate(pl.Series(found.trials["value"]).cum_max(), start=1))
    assert not list(tmp_path.iterdir())


def test_what_ends_by_the_clock_says_which_seconds_are_left(tmp_path: Path) -> None:
    said: list[Any] = []

    class Noting(Silent):
        @contextmanager
        def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Any]:
            said.append((title, total, seconds))
            yield SimpleNamespace(step=lambda done, facts: said.append(done))

    method = registry.method("ials").from_settings({"factors": 4, "epochs": 2})
    split, options = planted_transfer().split, FitOptions(threads=1, progress=Noting())
    found = tune(method, split, Budget(4, 1e6), options, work_dir=tmp_path)
    assert said == [("tuning ials", 4, 1e6), 1, 2, 3, 4]
    said.clear()
    tune(method, split, Budget(5, 1e6), options, work_dir=tmp_path)  # goes on
    assert said == [("tuning ials", 5, 1e6 - found.trials["seconds"].sum()), 5]


def test_nothing_is_said_and_optuna_is_left_as_it_was() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import hills; hills.find(trials=2)"
    command = [sys.executable, "-W", "error", "-c", program, str(Path(__file__).parent)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("", "")
    from optuna import logging

    before = logging.get_verbosity()
    find(trials=1)
    assert logging.get_verbosity() == before


@pytest.mark.parametrize("name", ["ials", "cdimf"])
def test_a_planted_world_is_never_left_worse_than_it_began(name: str) -> None:
    method = registry.method(name).from_settings({"factors": 8, "epochs": 3})
    bad = replace(method, alpha0=1.0, reg=10.0)
    found = tune(bad, planted_transfer().split, Budget(8), FitOptions(threads=1))
    assert found.value > found.trials["value"][0]
    fitted = found.method.fit(planted_transfer().split.train, FitOptions(threads=1))
    assert Validator(planted_transfer().split.valid)(fitted) == pytest.approx(found.value, rel=0.05)


def test_a_trial_under_way_ends_with_what_it_has_reached_when_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("landbridge.selection.search.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    result = find(Hill(epochs=60), trials=20, seconds=3.0)
    assert result.trials.height == 1
    assert result.trials["state"].to_list() == ["complete"]
    assert 0 < result.method.flat()["epochs"] < 60
    assert result.fitted is not None


def test_the_best_trials_model_is_kept_where_it_is_exact() -> None:
    result = find(Once(), trials=6)
    assert result.fitted is not None
    assert result.fitted.method == result.method


def test_known_starting_points_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Once, "starts", ({"place": 0.6}, {"place": 0.4}))
    assert find(Once(), trials=4).trials["place"].to_list()[1:3] == [0.6, 0.4]
