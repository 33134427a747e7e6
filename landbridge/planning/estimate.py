"""Time, memory and disk of a fit before it starts, from counts, settings and constants of the machine.

    one fit        t = Σ_k amount_k · unit_k                  (:mod:`landbridge.models.cost`)             (1)
    the command    start + 2 t                                a fit for the test, one on all events       (2)
    auto           start + s + 2 min(s, Σ t)                  s: the budget of its search                 (3)
    memory         process + events + what the fit adds                                                   (4)
    disk           fitted arrays + events and ids                                                         (5)

(3) sums over the candidates that say their cost, and no fit is longer than the trial that it repeats. Times
are those of one thread. Reading the tables and evaluating the test part come on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from landbridge.core.errors import SettingsError
from landbridge.core.sizes import size
from landbridge.core.types import Record
from landbridge.data.counts import Counts
from landbridge.models import registry
from landbridge.models.base import Method
from landbridge.models.cost import Cost
from landbridge.models.overview import in_auto
from landbridge.planning.machine import Machine
from landbridge.selection.auto import budget_of

EVENT_BYTES = 20  # user, item, time and weight, each once
ID_BYTES = 40  # of a text in memory
STORED_EVENT, STORED_ID = 16, 16  # bytes in a run folder
LONG = 60.0  # seconds of a fit that are worth a line
FITS = 2  # for the test, and on all events


@dataclass(frozen=True)
class Estimate:
    """What a fit will take. ``fit`` and ``epoch`` are seconds of one thread, ``search`` those of a search
    before it, ``total`` those of ``landbridge fit``; ``memory`` and ``disk`` are bytes. ``assumed``: whether
    the lengths of rows were assumed; ``measured``: whether the constants are of this machine."""

    method: str
    epochs: int
    epoch: float
    fit: float
    search: float
    total: float
    memory: float
    disk: float
    assumed: bool
    measured: bool

    def record(self) -> Record:
        """As a JSON object: seconds and bytes."""
        return {
            "method": self.method,
            "epochs": self.epochs,
            "epoch_seconds": self.epoch,
            "fit_seconds": self.fit,
            "search_seconds": self.search,
            "total_seconds": self.total,
            "memory_bytes": round(self.memory),
            "disk_bytes": round(self.disk),
            "assumed_rows": self.assumed,
            "measured_machine": self.measured,
        }

    def rows(self) -> list[dict[str, str]]:
        """The same for reading."""
        each = [("one epoch", self.epoch), (f"one fit of {self.epochs} epochs", self.fit)]
        parts = each if self.epochs else [("one fit", self.fit)]
        if self.search:
            parts = [("search, at most", self.search), ("then a fit of every candidate, about", self.fit)]
        times = [*parts, ("landbridge fit: for the test, and on all events", self.total)]
        sizes = [("memory at its peak", self.memory), ("disk of the run folder", self.disk)]
        return [
            *({"what": what, "estimate": duration(seconds)} for what, seconds in times),
            *({"what": what, "estimate": size(number)} for what, number in sizes),
        ]


def estimate(method: Method, counts: Counts, machine: Machine) -> Estimate:
    """Eqs. (1), (2), (4) and (5); SettingsError for a method that does not say its cost."""
    cost = cost_of(method, counts)
    fit = cost.work.seconds(machine.unit)
    size_of_process, start = process_of(cost, machine)
    return Estimate(
        method.name,
        cost.epochs,
        cost.epoch.seconds(machine.unit),
        fit,
        0.0,
        start + FITS * fit,
        size_of_process + data_bytes(counts) + cost.peak,  # Eq. (4)
        cost.model + stored_bytes(counts),
        counts.assumed,
        machine.measured,
    )


def estimate_auto(counts: Counts, machine: Machine) -> Estimate:
    """Eq. (3), with the default settings of the candidates' methods; the search may find larger ones."""
    kinds = registry.methods()[0].values()
    each = [estimate(kind(), counts, machine) for kind in kinds if in_auto(kind) and says_cost(kind)]
    search = budget_of(counts.events).seconds or 0.0
    fits = min(search, sum(found.fit for found in each))
    stored = stored_bytes(counts)
    return Estimate(
        "auto",
        0,
        0.0,
        fits,
        search,
        machine.process.seconds + machine.process.torch_seconds + search + FITS * fits,
        max(found.memory for found in each),
        stored + sum(found.disk - stored for found in each),
        counts.assumed,
        machine.measured,
    )


def says_cost(kind: type[Method]) -> bool:
    """Whether a method says its cost."""
    return kind.cost is not Method.cost


def warnings(method: Method, counts: Counts, machine: Machine, free: float | None) -> Sequence[str]:
    """A sentence where a fit will take above a minute, or more than the ``free`` bytes of memory."""
    if not says_cost(type(method)):
        return ()
    found = estimate(method, counts, machine)
    if found.fit <= LONG and (free is None or found.memory <= free):
        return ()
    room = "" if free is None else f" of {size(free)} free"
    return (
        f"{method.name}: about {duration(found.fit)} for one fit on one thread, "
        f"{size(found.memory)}{room} memory (landbridge estimate).",
    )


def beyond(method: Method, counts: Counts, machine: Machine, bound: float) -> Sequence[str]:
    """A sentence where a fit will take more memory than the ``bound`` within which its events were read."""
    if not says_cost(type(method)):
        return (f"--memory bounds the reading of events; what a fit of {method.name} takes is not known.",)
    found = estimate(method, counts, machine)
    if found.memory <= bound:
        return ()
    model = size(cost_of(method, counts).model)
    return (
        f"{method.name}: a fit takes about {size(found.memory)}, above the {size(bound)} of --memory, which "
        f"bounds the reading of events, not the model, {model}, and what is computed beside it.",
    )


def free_memory() -> float | None:
    """Bytes that a process may still take without swapping; None where the system does not say."""
    file = Path("/proc/meminfo")
    lines = file.read_text().splitlines() if file.exists() else []
    found = [line for line in lines if line.startswith("MemAvailable:")]
    return float(found[0].split()[1]) * 1024 if found else None


def duration(seconds: float) -> str:
    """Seconds in words: "0.4 s", "3 min", "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def cost_of(method: Method, counts: Counts) -> Cost:
    """What the method says; SettingsError where it says nothing."""
    cost = method.cost(counts)
    if cost is None:
        known = ", ".join(name for name, kind in registry.methods()[0].items() if says_cost(kind))
        raise SettingsError(f"{method.name} does not say what a fit costs; {known} do.")
    return cost


def process_of(cost: Cost, machine: Machine) -> tuple[float, float]:
    """Bytes and seconds of the process before the fit."""
    process = machine.process
    if not cost.torch:
        return process.bytes, process.seconds
    return process.bytes + process.torch_bytes, process.seconds + process.torch_seconds


def data_bytes(counts: Counts) -> float:
    """Bytes of events, unless they are mapped, and ids in memory."""
    return (0 if counts.mapped else EVENT_BYTES * counts.events) + ID_BYTES * _ids(counts)


def stored_bytes(counts: Counts) -> float:
    """Bytes of events and ids in a run folder."""
    return STORED_EVENT * counts.events + STORED_ID * _ids(counts)


def _ids(counts: Counts) -> float:
    return counts.joined.n_users + sum(table.n_items for table in counts.domains.values())
