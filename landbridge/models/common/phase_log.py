"""The log of a fit with several phases: epochs counted across phases, and the best epoch of each phase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from landbridge.core.types import Record, Values

Log = Sequence[Values]


def phase_records(phase: str, log: Log, start: int) -> Iterator[Record]:
    """A phase's records: epochs counted from ``start``, values other than "valid" prefixed with the phase."""
    for record in log:
        named = {f"{phase} {key}": value for key, value in record.items() if key not in ("epoch", "valid")}
        # unprefixed: plots and early stopping look for this name in every phase
        valid = {"valid": record["valid"]} if "valid" in record else {}
        yield {"phase": phase, "epoch": start + record.get("epoch", 0), **named, **valid}


def best_epochs(log: Log, optional: str | tuple[str, ...] = ()) -> dict[str, int]:
    """Phase -> its best number of epochs, for the phases that were validated.

    It is 0 for a phase whose name begins with ``optional`` and that never improved on the phases before it.
    """
    phases: dict[str, list[float]] = {}
    for record in log:
        if "phase" in record:
            phases.setdefault(record["phase"], []).append(float(record.get("valid", -np.inf)))
    best, before = {}, -np.inf
    for phase, values in phases.items():
        if (top := max(values)) == -np.inf:
            continue
        better = top > before or not phase.startswith(optional)
        best[phase] = int(np.argmax(values)) + 1 if better else 0
        before = top if better else before
    return best


def best_by_domain(best: Mapping[str, int], phase: str) -> dict[str, int]:
    """Domain -> its best number of epochs, of the phases that are named ``phase`` and then the domain."""
    return {name.removeprefix(phase): epochs for name, epochs in best.items() if name.startswith(phase)}
