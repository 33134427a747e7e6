"""How time and memory of an epoch of SASRec grow with the items of the catalogue and the length of windows.

    python -m benchmarks.sequence_growth           measures what is missing and writes the page

One thing changes at a time. Every case is a process of its own with one thread and the same number of events
in a batch. Processor seconds of the last epoch are measured, because this machine does other work, and how
far the process's own memory rises above what it was with the data.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import landbridge as lb
from benchmarks.epoch_ends import EpochEnds
from benchmarks.kept import Lines
from benchmarks.own_memory import Watch, least_bytes, own_bytes
from benchmarks.scale import MIB, RESULTS
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary

LINES, PAGE = Lines(RESULTS / "sequence-growth.jsonl"), RESULTS / "sequence-growth.md"
USERS, EVENTS_OF_USER, PER_BATCH, EPOCHS = 100, 500, 6400, 2
LOSSES: Mapping[str, Mapping[str, Any]] = {
    "softmax": {"loss.kind": "softmax"},
    "sampled, 512 drawn": {"loss.kind": "sampled", "loss.sampled_negatives": 512},
    "uniform, 256 drawn": {"loss.kind": "uniform", "loss.sampled_negatives": 256},
    "gBCE, 256 drawn": {"loss.kind": "gbce", "loss.sampled_negatives": 256},
}
SERIES: Mapping[str, Sequence[int]] = {
    "items": (1_000, 10_000, 100_000),
    "length": (25, 50, 100, 200, 400),
}
USUAL = {"items": 10_000, "length": 50}


@dataclass(frozen=True)
class Case:
    """A loss, the items of the catalogue, and the longest window."""

    loss: str
    items: int
    length: int


def cases() -> list[Case]:
    """Every point of every curve, each once."""
    found = {
        Case(loss, **{**USUAL, along: value})
        for loss in LOSSES
        for along, values in SERIES.items()
        for value in values
    }
    return sorted(found, key=lambda case: (list(LOSSES).index(case.loss), case.items, case.length))


def events(n_items: int) -> MultiDomain:
    """Users with equally many events on items drawn uniformly: what is seen does not change the work."""
    n_events = USERS * EVENTS_OF_USER
    item_N = np.random.default_rng(0).integers(0, n_items, n_events)
    user_N = np.repeat(np.arange(USERS), EVENTS_OF_USER)
    table = Interactions.from_events(user_N, item_N, USERS, n_items, time=np.arange(n_events))
    users, items = (Vocabulary.of(np.arange(size)) for size in (USERS, n_items))
    return MultiDomain(users, {"all": items}, {"all": table})


def measured(case: Case) -> dict[str, float]:
    """Processor seconds and bytes of a case, in this process."""
    settings = {"encoder.max_length": case.length, "batch_size": PER_BATCH // case.length}
    method = lb.SASRec.from_settings({**LOSSES[case.loss], **settings, "epochs": EPOCHS})
    # loads libraries and compiled code, which take time and memory
    method.with_settings({"epochs": 1}).fit(events(100), lb.FitOptions(threads=1))
    data = events(case.items)
    before, watch = least_bytes(), Watch()
    progress = EpochEnds(time.process_time)
    method.fit(data, lb.FitOptions(threads=1, progress=progress))
    seconds = progress.ends[EPOCHS - 1] - progress.ends[EPOCHS - 2]
    return {"processor": seconds, "memory": max(watch.most, own_bytes()) - before}


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """A row per curve: its points, and the exponent between the last two."""
    rows = []
    for loss in LOSSES:
        for along, values in SERIES.items():
            fixed = {name: value for name, value in USUAL.items() if name != along} | {"loss": loss}
            own = [each for each in records if all(each[name] == fixed[name] for name in fixed)]
            points = sorted((each for each in own if each[along] in values), key=lambda each: each[along])
            if len(points) == len(values):
                rows.append(_row(loss, along, points))
    loads = [each["load"] for each in records]
    names = ("loss", "grows with", "at", "processor s", "last exponent", "own memory, MiB", "last exponent")
    listed = "\n".join([f"| {' | '.join(names)} |", "|---" * len(names) + "|", *rows])
    return f"""# How SASRec grows

Made by `python -m benchmarks.sequence_growth`, one process and one thread each (load average {min(loads):.1f}
to {max(loads):.1f}), {max(each["date"] for each in records)}. An epoch of {USERS * EVENTS_OF_USER:,} events
of {USERS} users, about {PER_BATCH:,} events in a batch, 64 factors, two blocks; one thing changes, the other
stays at {USUAL["items"]:,} items and windows of {USUAL["length"]} events. Exponents b of y = c x^b, between
the last two points. Memory is how far the fit raises the process's own above that with the data.

{listed}
"""


def _row(loss: str, along: str, points: Sequence[Mapping[str, Any]]) -> str:
    at = "; ".join(f"{point[along]:,}" for point in points)
    seconds = "; ".join(f"{point['processor']:.1f}" for point in points)
    memory = "; ".join(f"{point['memory'] / MIB:,.0f}" for point in points)
    slopes = [_exponent(points, along, name) for name in ("processor", "memory")]
    return f"| {loss} | {along} | {at} | {seconds} | {slopes[0]:.2f} | {memory} | {slopes[1]:.2f} |"


def _exponent(points: Sequence[Mapping[str, Any]], along: str, name: str) -> float:
    before, after = points[-2:]
    return float(np.log(after[name] / before[name]) / np.log(after[along] / before[along]))


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case is not None:
        print(json.dumps(measured(Case(chosen.case[0], *map(int, chosen.case[1:])))))
        return
    LINES.measure_missing("benchmarks.sequence_growth", cases())
    PAGE.write_text(page(LINES.read()))


if __name__ == "__main__":
    main()
