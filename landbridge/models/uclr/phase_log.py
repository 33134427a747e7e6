"""The log of a fit in several phases: epochs counted through, and how many of each phase were best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from landbridge.training.epochs import Record

Log = Sequence[Mapping[str, Any]]


def phase_records(phase: str, log: Log, start: int) -> Iterator[Record]:
    """A phase's records: epochs counted on from ``start``, figures but "valid" named after the phase."""
    for record in log:
        named = {f"{phase} {key}": value for key, value in record.items() if key not in ("epoch", "valid")}
        valid = {"valid": record["valid"]} if "valid" in record else {}
        yield {"phase": phase, "epoch": start + record.get("epoch", 0), **named, **valid}


def best_epochs(log: Log, optional: str) -> dict[str, int]:
    """Phase -> its best number of epochs, for the phases that were validated.

    Of a phase whose name begins with ``optional`` it is 0 where none was better than what was before it.
    """
    phases: dict[str, list[float]] = {}
    for record in log:
        if "phase" in record:
            phases.setdefault(record["phase"], []).append(float(record.get("valid", -np.inf)))
    found, before = {}, -np.inf
    for phase, figures in phases.items():
        if (top := max(figures)) == -np.inf:
            continue
        better = top > before or not phase.startswith(optional)
        found[phase] = int(np.argmax(figures)) + 1 if better else 0
        before = top if better else before
    return found
