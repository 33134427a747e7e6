"""How time and memory grow with events, factors and domains, of the events of :mod:`benchmarks.scale`.

    python -m benchmarks.scale_growth
                         measures what is missing; `python -m benchmarks.scale --render` writes the page

One thing changes at a time, the others stay at a million events, 64 factors and three domains. Every case
is a process of its own with one thread: it reads events from Parquet within 1 GB, or fits three epochs to
data in memory. Processor seconds of the last epoch are measured, because this machine does other work, and
how far the process's own memory rises above what it was with the data.

A curve is y = c x^b: b is the slope of a least-squares line through the logarithms.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import landbridge as lb
from benchmarks.epoch_ends import EpochEnds
from benchmarks.kept import Lines
from benchmarks.own_memory import Watch, least_bytes, own_bytes
from benchmarks.scale import MIB, RESULTS, numbers, write_events
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary

LINES = Lines(RESULTS / "scale-growth.jsonl")
PICTURE = "../pictures/scale-growth.svg"
READ, IALS, CDIMF = WORKS = "reading", "iALS", "CDIMF"
EPOCHS, MEMORY = 3, "1GB"
WARM = 20_000  # events of a fit before the one that is measured
SIZES = (300_000, 1_000_000, 3_000_000, 10_000_000)
SERIES: Mapping[str, Sequence[int]] = {
    "events": SIZES,
    "factors": (16, 32, 64, 128),
    "domains": (1, 2, 4, 8),
}
METHODS: Mapping[str, lb.Method] = {
    IALS: lb.IALS(epochs=EPOCHS, sharing="joined", solver="auto"),
    CDIMF: lb.CDIMF(epochs=EPOCHS),
}
LONG = {(CDIMF, SIZES[-1]), (CDIMF, 128)}  # left out, as they take very long here
USUAL = {"events": 1_000_000, "factors": 64, "domains": 3}
MEASURES = {"processor": "processor seconds of an epoch", "memory": "own memory, MiB"}


@dataclass(frozen=True)
class Case:
    """What is done to how many events."""

    work: str
    events: int
    factors: int
    domains: int


def cases() -> list[Case]:
    """Every point of every curve, each once: the quick works first, and of each the small ones."""
    found = {
        Case(work, **{**USUAL, along: value})
        for work in WORKS
        for along, values in SERIES.items()
        for value in values
        if (work != READ or along == "events") and (work, value) not in LONG
    }
    return sorted(found, key=lambda case: (WORKS.index(case.work), case.events * case.factors, case.domains))


def table(n_events: int, n_domains: int) -> MultiDomain:
    """The pairs, with numbers as ids."""
    user_N, item_N, domain_N, _ = map(np.concatenate, zip(*numbers(n_events, 0, n_domains), strict=True))
    users, user_N = np.unique(user_N, return_inverse=True)
    items, events = {}, {}
    for number in range(n_domains):
        own_N = domain_N == number
        own, item_E = np.unique(item_N[own_N], return_inverse=True)
        name = f"domain {number}"
        items[name] = Vocabulary.of(own)
        events[name] = Interactions.from_events(user_N[own_N], item_E, len(users), len(own))
    return MultiDomain(Vocabulary.of(users), items, events)


def measured(case: Case, scratch: Path) -> dict[str, float]:
    """Processor seconds and bytes of a case, in this process."""
    work = _reading(case, scratch) if case.work == READ else _fitting(case)
    before = least_bytes()
    watch = Watch()
    seconds = work()
    return {"processor": seconds, "memory": max(watch.most, own_bytes()) - before}


def _reading(case: Case, scratch: Path) -> Callable[[], float]:
    folder = scratch / "events"
    folder.mkdir()
    write_events(folder, case.events)

    def read() -> float:
        began = time.process_time()
        lb.read(folder, memory=MEMORY)
        return time.process_time() - began

    return read


def _fitting(case: Case) -> Callable[[], float]:
    method = METHODS[case.work].with_settings({"factors": case.factors})
    # loads compiled code, which takes tens of MiB
    method.fit(table(WARM, case.domains), lb.FitOptions(threads=1))
    data = table(case.events, case.domains)

    def fit() -> float:
        progress = EpochEnds(time.process_time)
        method.fit(data, lb.FitOptions(threads=1, progress=progress))
        return progress.ends[EPOCHS - 1] - progress.ends[EPOCHS - 2]

    return fit


def curves(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each work along each thing that changes: its points, and the exponent of each measure."""
    found = []
    for along, values in SERIES.items():
        for work in WORKS:
            points = [
                each
                for value in values
                for each in records
                if each["work"] == work
                and all(each[name] == (value if name == along else USUAL[name]) for name in USUAL)
            ]
            if len(points) > 2:
                found.append({"along": along, "work": work, "points": points} | _exponents(points, along))
    return found


def _exponents(points: Sequence[Mapping[str, Any]], along: str) -> dict[str, float]:
    x = np.log([each[along] for each in points])
    return {name: float(np.polyfit(x, np.log([each[name] for each in points]), 1)[0]) for name in MEASURES}


def section(records: Sequence[Mapping[str, Any]]) -> str:
    """A part of the page of :mod:`benchmarks.scale`, and its picture."""
    if not records:
        return ""
    found, loads = curves(records), [each["load"] for each in records]
    _draw(found)
    rows = [
        " | ".join(
            (
                f"| {each['work']} | {each['along']}",
                _listed(each, each["along"], 1, ","),
                _listed(each, "processor", 1, ".2f"),
                f"{each['processor']:.2f}",
                _listed(each, "memory", MIB, ",.0f"),
                f"{each['memory']:.2f} |",
            )
        )
        for each in found
    ]
    names = ("what", "grows with", "at", "processor s", "exponent", "own memory, MiB", "exponent")
    listed = "\n".join([f"| {' | '.join(names)} |", "|---" * len(names) + "|", *rows])
    return f"""
## Growth

![Processor seconds and memory against events, factors and domains]({PICTURE})

Made by `python -m benchmarks.scale_growth`, one process and one thread each (load average {min(loads):.1f}
to {max(loads):.1f}). One thing changes, the others stay at 1,000,000 events, 64 factors and 3 domains; users
and items grow with the events. Exponents b of y = c x^b, by least squares of the logarithms. Of a fit: the
processor seconds of the last of {EPOCHS} epochs, and how far the fit raises the process's own memory above
that with the data, which are in memory. Of reading: all of it, mapped, within {MEMORY}; below about four
million rows one block has all of them.

{listed}
"""


def _listed(curve: Mapping[str, Any], name: str, unit: int, form: str) -> str:
    return "; ".join(
        format(point[name] / unit if unit > 1 else point[name], form) for point in curve["points"]
    )


def _draw(found: Sequence[Mapping[str, Any]]) -> None:
    import altair as alt

    points = [
        {
            "along": f"{each['along']}",
            "what": each["work"],
            "x": point[each["along"]],
            "measure": label,
            "y": y,
        }
        for each in found
        for point in each["points"]
        for name, label in MEASURES.items()
        if (y := point[name] / (MIB if name == "memory" else 1)) > 0
    ]
    logs = alt.Scale(type="log")
    chart = (
        alt.Chart(alt.InlineData(points), width=220, height=170)
        .mark_line(point=True)
        .encode(
            alt.X("x:Q", title=None, scale=logs, axis=alt.Axis(format="~s", tickCount=4)),
            alt.Y("y:Q", title=None, scale=logs, axis=alt.Axis(format="~g", tickCount=4)),
            alt.Color("what:N", title=None, sort=None),
        )
        .facet(
            column=alt.Column("along:N", title=None, sort=list(SERIES)),
            row=alt.Row("measure:N", title=None, sort=list(MEASURES.values())),
        )
        .resolve_scale(x="independent", y="independent")
    )
    chart.save(RESULTS / PICTURE)


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case is not None:
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["XDG_CACHE_HOME"] = scratch
            case = Case(chosen.case[0], *map(int, chosen.case[1:]))
            print(json.dumps(measured(case, Path(scratch))))
        return
    LINES.measure_missing("benchmarks.scale_growth", cases())


if __name__ == "__main__":
    main()
