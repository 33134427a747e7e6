"""Seconds and peak memory of synthetic events, in memory and memory-mapped: reading, splits, fits, the store.

    python -m benchmarks.scale --events 1000000 10000000     measures what is missing, writes the page
    python -m benchmarks.scale --render                      writes docs/results/scale.md from them

Events follow a Zipf–Mandelbrot law, P(rank r) ∝ (r + q V)^-s of V users or items:

    users   s = 0.76, q = 0.003    Gowalla 0.66, 0.0024; Ciao 0.86, 0.0044
    items   s = 0.71, q = 0.001    Gowalla 0.59, 0.0001; Ciao 0.70, 0.0001; Food–Kitchen 0.84, 0.0020

from least-squares fits of log counts. The exponents s are their means. The offset q of users is about the
mean, that of items is above the mean of 0.0007, so that the first few items have fewer events here than in
Gowalla and Ciao. There are 34 events per user and 25 per item, as in Gowalla, in three domains. 30 % of the
users are in all domains, the others in one: no data set says this, as published ones were selected for their
shared users. Ids are text of 14 and 10 characters, as Amazon's. Times rise, as in a log.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.kept import Lines

RESULTS = Path(__file__).parents[1] / "docs" / "results"
LINES, PAGE = Lines(RESULTS / "scale.jsonl"), RESULTS / "scale.md"
BLOCK = 1_000_000  # events that are drawn at once
USERS, ITEMS = (0.76, 0.003), (0.71, 0.001)  # s and q
PER_USER, PER_ITEM = 34, 25
FACTORS = 64
DOMAINS, SHARED = ("books", "films", "music"), 0.3
START, SPAN = 1_500_000_000, 200_000_000  # seconds
MIB = 2**20
IN_MEMORY, READ, SPLIT = "in memory", "read", "leave_last_out"
MAPPED, ALL = "mapped", ", all steps"
STEPS, STEPS_IN_MEMORY = MAPPED + ALL, IN_MEMORY + ALL
READERS = (IN_MEMORY, MAPPED, "mapped, built before")
# the second of a case needs what the first left
CASES = (READERS[:1], READERS[1:], (STEPS,), (STEPS_IN_MEMORY,))


def blocks(n_events: int, seed: int = 0) -> Iterator[pl.DataFrame]:
    """The events with their ids, block by block."""
    for user_B, item_B, domain_B, time_B in numbers(n_events, seed):
        yield pl.DataFrame(
            {"user": user_B, "item": item_B, "domain": np.array(DOMAINS)[domain_B], "timestamp": time_B}
        ).with_columns(
            user=pl.format("A{}", pl.col("user") + 10**12), item=pl.format("B{}", pl.col("item") + 10**8)
        )


def numbers(
    n_events: int, seed: int = 0, n_domains: int = len(DOMAINS)
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Numbers of users, items and domains, and times, block by block."""
    rng = np.random.default_rng(seed)
    users = _Zipf(n_events // PER_USER, *USERS)
    items = _Zipf(n_events // PER_ITEM // n_domains, *ITEMS)
    for start in range(0, n_events, BLOCK):
        size = min(BLOCK, n_events - start)
        user_B = users.draw(rng, size)
        # the home of a user, and whether the user is elsewhere, too, depend on the number alone
        mixed_B = (user_B * 2_654_435_761) % 2**32
        shared_B = mixed_B < SHARED * 2**32
        domain_B = np.where(shared_B, rng.integers(0, n_domains, size), mixed_B % n_domains)
        time_B = START + (np.arange(start, start + size) * SPAN) // n_events
        yield mixed_B, items.draw(rng, size), domain_B, time_B


class _Zipf:
    """Ranks below V with a chance of (r + q V)^-s."""

    def __init__(self, size: int, s: float, q: float) -> None:
        self.ends_V = np.cumsum((np.arange(1, size + 1) + q * size) ** -s)

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        """Ranks from 0 on."""
        return np.searchsorted(self.ends_V, rng.random(size) * self.ends_V[-1])


def write_events(folder: Path, n_events: int) -> None:
    """A folder of Parquet files of a million events each, as big tables come."""
    for number, block in enumerate(blocks(n_events)):
        block.write_parquet(folder / f"part-{number:04}.parquet")


def measure(
    n_events: int, memory: str, cases: Sequence[Sequence[str]], scratch: Path, without: Sequence[str]
) -> Iterator[Any]:
    """A record of each way of reading, and of each step but those that are left out."""
    folder = scratch / f"ev{n_events}"
    if not folder.exists():
        folder.mkdir()
        write_events(folder, n_events)
    environment = {**os.environ, "XDG_CACHE_HOME": str(scratch / "cache")}
    for how in (how for case in cases for how in case):
        facts = {"events": n_events, "how": how, "memory": memory, "load": os.getloadavg()[0]}
        words = [memory] if how.startswith(MAPPED) else []
        only = ["--without", *without] if how in (STEPS, STEPS_IN_MEMORY) else ["--read-only"]
        command = [sys.executable, "-m", "benchmarks.scale_steps", str(folder), *words, *only]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
            for line in child.stdout or ():
                yield facts | {"date": str(date.today())} | json.loads(line)


def render(records: list[dict[str, Any]], beside: str) -> str:
    """The page; of a step measured twice, the later record. ``beside``: its last parts."""
    last = list({(each["events"], _named(each), each.get("step", READ)): each for each in records}.values())
    last.sort(key=lambda each: each["events"])
    loads, days = [each["load"] for each in last], sorted({each["date"] for each in last})
    readers = [each for each in last if each["how"] in READERS and each.get("step", READ) == READ]
    rows = "\n".join(
        f"| {each['events']:,} | {_named(each)} | {each['seconds']:.1f} | {each['peak'] / MIB:,.0f} "
        f"| {each['anonymous'] / MIB:,.0f} | {each['left'] / MIB:,.0f} |"
        for each in readers
    )
    sizes = {each["events"]: each for each in readers if each["how"] == MAPPED}
    shapes = "\n".join(
        f"- {size:,} events: {each['kept']:,} pairs, {each['users']:,} users, {each['items']:,} items"
        for size, each in sizes.items()
    )
    same = all(
        len(
            {
                each["fingerprint"]
                for each in last
                if each["events"] == size and each.get("step", READ) == step
            }
        )
        <= 1
        for size in {each["events"] for each in last}
        for step in (READ, SPLIT)
    )
    return f"""# Events out of core

Measured {" to ".join(days)} by `python -m benchmarks.scale` on {os.cpu_count()} cores
without other work (load average {min(loads):.1f} to {max(loads):.1f}), one run each.

Events of three domains, drawn from Zipf–Mandelbrot laws fitted to Gowalla, Ciao and Food–Kitchen
(`benchmarks/scale.py` says how), as a folder of Parquet files with ids of text:

{shapes}

Fingerprints of the data and of the split, in memory and mapped, are {"equal" if same else "DIFFERENT"}.

## Reading

Every reader is a process of its own. MiB: the peak of its resident memory, in which pages of mapped files
count while they are in the system's cache; the peak of its own (anonymous) memory, sampled every 20 ms; and
what is left of this when the data are read.

The bound holds for blocks, not for polars, which reads row groups of Parquet ahead while rows are copied.
In a second run of 10 million events with 256 MiB that copy took up to 458 MB, all that follows up to 233 MB.

| events | read | seconds | peak resident | peak of its own | left |
|---|---|---|---|---|---|
{rows}

## What follows

One process does all steps, each on what the last one left. MiB of its own memory: how far a step raises it
at most above what it was before, how much of that the result keeps, and the arrays of the fitted model alone.
Fits are of 64 factors, three sweeps, on the history of the test part of `leave_last_out`; neighbours are 50,
of the own domain; 1,000 pairs of each domain are evaluated. "By item" is the transposed form of the events.
A step that fits into what an earlier one has freed raises nothing.

Beside mapped events a fit holds its embeddings in files: "raised by" is without them, as they are pages that
the system keeps in its cache as far as there is room. "CDIMF, active" ties users where they have events; with
all users in all domains its state would have {_state(last)} GB at the most events.

{_steps(last)}

## The floor of a sweep

Of iALS, with exact rows of users and items: the operations of n events and F factors are n²F + n³/3 or, where
that is less, nF² + F³/3, and every event names one embedding that is read. A fit with `solver="auto"`, as
measured, takes conjugate gradients for long rows and is below these operations, not below the bytes.

{_floors(last)}
{beside}"""


def _state(records: Sequence[dict[str, Any]]) -> str:
    """Gigabytes of CDIMF's x and t of all users in all domains, z and its sum, and the items."""
    most = max(records, key=lambda each: each.get("users", 0))
    rows = (2 * len(DOMAINS) + 2) * most["users"] + most["items"]
    return f"{rows * FACTORS * 4 / 1e9:.0f}"


def _steps(records: Sequence[dict[str, Any]]) -> str:
    """A row for each step after reading."""
    steps = [each for each in records if each["how"] in (STEPS, STEPS_IN_MEMORY) and each["step"] != READ]
    rows = [
        f"| {each['events']:,} | {each['how'].removesuffix(ALL)} | {each['step']} | {each['seconds']:.1f} "
        f"| {_optional(each, 'sweep', 1, '.1f')} | {(each['anonymous'] - each['before']) / MIB:,.0f} "
        f"| {(each['left'] - each['before']) / MIB:,.0f} | {_optional(each, 'model', MIB, ',.0f')} |"
        for each in steps
    ]
    names = ("events", "data", "step", "seconds", "a sweep", "raised by", "kept", "model")
    return "\n".join([f"| {' | '.join(names)} |", "|---" * len(names) + "|", *rows])


def _optional(record: dict[str, Any], name: str, unit: float, form: str) -> str:
    return format(record[name] / unit, form) if name in record else ""


def _floors(records: Sequence[dict[str, Any]]) -> str:
    """A row for each number of events: the least work of a sweep beside its seconds."""
    rows = ["| events | operations, 10⁹ | bytes, 10⁹ | seconds of a sweep |", "|---|---|---|---|"]
    for each in records:
        if "operations" in each:
            (sweep,) = (
                own["sweep"]
                for own in records
                if own["events"] == each["events"] and own["how"] == each["how"] and own["step"] == "iALS"
            )
            rows.append(
                f"| {each['events']:,}, {each['how'].removesuffix(ALL)} "
                f"| {each['operations'] / 1e9:.1f} | {each['bytes'] / 1e9:.1f} | {sweep:.1f} |"
            )
    return "\n".join(rows)


def main() -> None:
    """Measure, keep, render."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--scratch", type=Path, help="a folder where events and their map stay")
    firsts = [case[0] for case in CASES]
    parser.add_argument("--cases", nargs="*", default=firsts, choices=firsts, help="by the first of each")
    parser.add_argument("--without", nargs="*", default=[], help="steps that are left out")
    parser.add_argument("--render", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for n_events in () if chosen.render else chosen.events:
            done = {(each["events"], _named(each)) for each in LINES.read()}
            missing = [
                case
                for case in CASES
                if case[0] in chosen.cases
                and any((n_events, _named({"how": how, "memory": chosen.memory})) not in done for how in case)
            ]
            scratch = chosen.scratch or Path(temporary)
            for record in measure(n_events, chosen.memory, missing, scratch, chosen.without):
                LINES.append(record)
    from benchmarks import scale_blocks, scale_growth, scale_peers, scale_start  # which draw the same events

    parts = (scale_peers, scale_growth, scale_blocks, scale_start)
    beside = "".join(part.section(part.LINES.read()) for part in parts)
    PAGE.write_text(render(LINES.read(), beside))


def _named(record: dict[str, Any]) -> str:
    return f"{record['how']}, {record['memory']}" if record["how"].startswith(MAPPED) else record["how"]


if __name__ == "__main__":
    main()
