"""What a Ray cluster of two nodes with one processor each costs and gains, by the size of a block of rows.

    python -m benchmarks.scale_blocks
                         measures what is missing; `python -m benchmarks.scale --render` writes the page

Three epochs of joined iALS with 64 factors, the first of which warms up, on ten million of the events of
:mod:`benchmarks.scale`. This machine does other work, so that seconds of the clock say nothing: measured are
the processor seconds of this process and of each worker from the end of the first epoch to the end of the
third. Two nodes of their own would need at least what this process and the busier worker take one after the
other; that, over the seconds of one process without Ray, bounds the speed-up.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import landbridge as lb
from benchmarks.epoch_ends import EpochEnds
from benchmarks.kept import Lines
from benchmarks.placements import nodes
from benchmarks.scale import RESULTS
from benchmarks.scale_growth import table
from landbridge.core.parallel import Executor
from landbridge.core.ray_executor import Ray
from landbridge.models.als import sharded, solver

LINES = Lines(RESULTS / "scale-blocks.jsonl")
EVENTS, DOMAINS = 10_000_000, 3
BLOCKS = (4, 8, 16, 32, 64, 128)  # of the least rows
METHOD = lb.IALS(factors=64, epochs=3, sharing="joined", solver="auto")
TICKS = os.sysconf("SC_CLK_TCK")


def spent() -> tuple[float, dict[int, float]]:
    """Processor seconds of this process and of each Ray worker until now."""
    return time.process_time(), workers()


def workers() -> dict[int, float]:
    """Processor seconds of each worker of this process's cluster, by its number."""
    parents, found = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            # a name may hold blanks and parentheses
            words = place.joinpath("stat").read_text().rpartition(")")[2].split()
            command = place.joinpath("cmdline").read_text()
        except OSError:
            continue
        parents[int(place.name)] = int(words[1])
        if re.match(r"ray::", command):
            found[int(place.name)] = (int(words[11]) + int(words[12])) / TICKS
    return {number: spent for number, spent in found.items() if os.getpid() in _above(number, parents)}


def _above(number: int, parents: Mapping[int, int]) -> Iterator[int]:
    while number in parents:
        number = parents[number]
        yield number


def measured(data: lb.MultiDomain, executor: Executor | None, blocks: int) -> dict[str, Any]:
    """Seconds of this process and of the workers, and the factors' SHA-256."""
    sharded.ROWS = blocks * solver.BLOCK_ROWS
    progress = EpochEnds(spent)
    model = METHOD.fit(data, lb.FitOptions(threads=1, executor=executor, progress=progress))
    (begin, before), *_, (end, after) = progress.ends
    own, of_workers = end - begin, [after[each] - before.get(each, 0.0) for each in after]
    digest = hashlib.sha256(b"".join(model.item_IF[name].tobytes() for name in data.domain_names)).hexdigest()
    return {"own": own, "workers": sorted(of_workers, reverse=True), "sha256": digest}


def section(records: Sequence[dict[str, Any]]) -> str:
    """A part of the page of :mod:`benchmarks.scale`."""
    if not records:
        return ""
    (alone,), parts = (
        [each for each in records if not each["rows"]],
        [each for each in records if each["rows"]],
    )
    loads = [each["load"] for each in records]
    same = len({each["sha256"] for each in records}) == 1
    names = ("rows of a block", "this process", "workers", "together", "overhead", "speed-up, at most")
    rows = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    rows.append(f"| no Ray | {alone['own']:.1f} |  | {alone['own']:.1f} |  |  |")
    for each in sorted(parts, key=lambda each: each["rows"]):
        of_workers = [worker for worker in each["workers"] if worker > 0]
        together, longest = each["own"] + sum(of_workers), each["own"] + max(of_workers)
        listed = ", ".join(f"{worker:.1f}" for worker in of_workers)
        rows.append(
            f"| {each['rows']:,} | {each['own']:.1f} | {listed} | {together:.1f} "
            f"| {together / alone['own'] - 1:+.0%} | {alone['own'] / longest:.2f} |"
        )
    lines = "\n".join(rows)
    return f"""
## Two nodes of Ray

Made by `python -m benchmarks.scale_blocks`: two epochs, after a first one, of joined iALS with
{METHOD.factors} factors and {EVENTS:,} events on a cluster of two nodes with one processor each, on this
machine. Processor seconds, beside other work (load average {min(loads):.1f} to {max(loads):.1f}). "Speed-up,
at most": of two nodes of their own, if this process and the busier worker never work at the same time, and
the network costs nothing; below 1 the two are slower than one process alone. The factors of all rows are
{"the same to the bit" if same else "DIFFERENT"}.

{lines}
"""


def main() -> None:
    """Measure what is missing."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    done = {each["rows"] for each in LINES.read()}
    data = table(EVENTS, DOMAINS)

    def keep(rows: int, facts: Mapping[str, Any]) -> None:
        LINES.append({"rows": rows, "load": os.getloadavg()[0], "date": str(date.today()), **facts})

    if 0 not in done:
        keep(0, measured(data, None, BLOCKS[-1]))
    if missing := [blocks for blocks in BLOCKS if blocks * solver.BLOCK_ROWS not in done]:
        with nodes() as address:
            for blocks in missing:
                keep(blocks * solver.BLOCK_ROWS, measured(data, Ray(2, 1, address), blocks))


if __name__ == "__main__":
    main()
