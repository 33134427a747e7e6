"""Estimates: sums of a method's work and a machine's constants, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from landbridge.core.errors import SettingsError
from landbridge.core.sizes import size
from landbridge.data.counts import Counts
from landbridge.models import registry
from landbridge.models.cost import Work
from landbridge.planning import estimate as planning
from landbridge.planning.machine import Machine, Process
from landbridge.selection.auto import DEFAULT

COUNTS = Counts.of_totals(1000, 500, 20_000, 2)
MACHINE = Machine(Work(product=1e-9, tile=2e-9, vector=1e-9), Process(3.0, 1e8, 2.0, 5e7), True)


def test_seconds_are_work_times_constants() -> None:
    method = registry.method("ials")(epochs=4)
    cost, found = method.cost(COUNTS), planning.estimate(method, COUNTS, MACHINE)
    assert cost is not None
    work = cost.once + cost.epoch * 4
    assert found.fit == pytest.approx(1e-9 * work.product + 2e-9 * work.tile + 1e-9 * work.vector)
    assert found.total == pytest.approx(3.0 + 2 * found.fit)
    assert found.epoch * 4 <= found.fit
    assert found.memory > cost.peak + MACHINE.process.bytes
    assert found.disk > cost.model
    assert (found.assumed, found.measured) == (True, True)


def test_torch_takes_seconds_and_memory_of_its_own() -> None:
    method = registry.method("sasrec")()
    without = replace(MACHINE, process=replace(MACHINE.process, torch_seconds=0.0, torch_bytes=0.0))
    found, less = (planning.estimate(method, COUNTS, each) for each in (MACHINE, without))
    assert found.total - less.total == pytest.approx(2.0)
    assert found.memory - less.memory == pytest.approx(5e7)


def test_auto_is_its_search_and_fits_no_longer_than_it() -> None:
    large = planning.estimate_auto(Counts.of_totals(10_000, 2000, 200_000), MACHINE)
    assert large.search == DEFAULT.seconds
    quick = planning.estimate_auto(COUNTS, Machine(Work(), Process()))
    assert quick.search < DEFAULT.seconds
    assert quick.fit == 0
    slow = planning.estimate_auto(COUNTS, Machine(Work(product=1.0), Process()))
    assert slow.fit == slow.search


def test_a_long_fit_or_a_large_one_is_said() -> None:
    method = registry.method("ials")()
    found = planning.estimate(method, COUNTS, MACHINE)
    assert planning.warnings(method, COUNTS, MACHINE, found.memory * 2) == ()
    assert planning.warnings(method, COUNTS, MACHINE, None) == ()
    (short_of,) = planning.warnings(method, COUNTS, MACHINE, found.memory / 2)
    assert "free memory" in short_of
    slow = replace(MACHINE, unit=MACHINE.unit * (100 / found.fit))
    (long,) = planning.warnings(method, COUNTS, slow, None)
    assert long.startswith("ials: about 2 min for one fit on one thread")
    assert planning.warnings(registry.method("neumf")(), COUNTS, slow, 1.0) == ()


def test_a_fit_beyond_the_bound_of_its_reading_is_said() -> None:
    method, mapped = registry.method("ials")(), replace(COUNTS, mapped=True)
    found = planning.estimate(method, mapped, MACHINE)
    in_memory = planning.estimate(method, COUNTS, MACHINE)
    assert in_memory.memory - found.memory == pytest.approx(planning.EVENT_BYTES * COUNTS.events)
    assert planning.beyond(method, mapped, MACHINE, found.memory) == ()
    (sentence,) = planning.beyond(method, mapped, MACHINE, found.memory - 1)
    assert f"about {size(found.memory)}, above" in sentence
    (unknown,) = planning.beyond(registry.method("neumf")(), mapped, MACHINE, 1e12)
    assert "neumf takes is not known" in unknown


def test_a_method_that_says_nothing_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"neumf does not say what a fit costs; .*ials") as error:
        planning.estimate(registry.method("neumf")(), COUNTS, MACHINE)
    assert "uclr" not in str(error.value)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.042, "0.042 s"), (12.3, "12 s"), (99.9, "1e+02 s"), (240, "4 min"), (9000, "2.5 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert planning.duration(seconds) == words


def test_sizes() -> None:
    assert size(2**20 * 3) == "3 MiB"
    assert size(2**30 * 2.5) == "2.5 GiB"


def test_free_memory_is_a_number_or_unknown() -> None:
    free = planning.free_memory()
    assert free is None or free > 0
