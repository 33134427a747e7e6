"""Sweeps of ALS beside implicit and buffalo (kakao) on the synthetic events of :mod:`benchmarks.scale`.

    python -m benchmarks.scale_peers --events 1000000 10000000 --scratch FOLDER --python PYTHON
                         measures what is missing; `python -m benchmarks.scale --render` writes the page

``PYTHON``: an interpreter with implicit and buffalo, as buffalo needs another NumPy. Every measurement is a
process of its own. Its data are one table of all domains, as index columns on disk: landbridge maps them or
copies them into memory, the others make a sparse matrix of them. Processor seconds of all threads are
measured, which other work changes little: the least sweep after the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kept import Lines
from benchmarks.scale import DOMAINS, RESULTS, numbers

LINES = Lines(RESULTS / "scale-peers.jsonl")
OURS = ("landbridge, mapped", "landbridge, in memory")
PEERS = ("implicit, CG", "implicit, exact", "buffalo, CG")
COLUMNS = ("user_idx", "item_idx")


def prepared(n_events: int, scratch: Path) -> Path:
    """A folder with the pairs as mapped columns, sorted by user and item."""
    folder = scratch / f"pairs{n_events}"
    if folder.exists():
        return folder
    from landbridge.data.dataset import MultiDomain
    from landbridge.data.interactions import Interactions
    from landbridge.data.io.event_cache import write_mapped
    from landbridge.data.vocabulary import Vocabulary

    columns = [np.concatenate(part) for part in zip(*numbers(n_events), strict=True)]
    user_N, item_N, domain_N, _ = columns
    user_idx = np.unique(user_N, return_inverse=True)[1]
    item_idx = np.unique(item_N * len(DOMAINS) + domain_N, return_inverse=True)[1]
    users, items = int(user_idx.max()) + 1, int(item_idx.max()) + 1
    events = Interactions.from_events(user_idx, item_idx, users, items)
    folder.mkdir(parents=True)
    write_mapped(
        MultiDomain(
            Vocabulary.of(np.arange(users)), {"all": Vocabulary.of(np.arange(items))}, {"all": events}
        ),
        folder,
    )
    for name in COLUMNS:  # for programs that do not read ours
        np.save(folder / f"{name}.npy", getattr(events, name))
    return folder


def measure(n_events: int, programs: list[str], chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A record of each program."""
    folder = prepared(n_events, chosen.scratch)
    for program in programs:
        python = sys.executable if program in OURS else chosen.python
        command = [python, "-m", "benchmarks.scale_peers_child", program, str(folder)]
        load = os.getloadavg()[0]
        # as implicit asks for: it has threads of its own
        blas = {} if program in OURS else {"OPENBLAS_NUM_THREADS": "1"}
        child = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **blas}
        )
        facts = json.loads(child.stdout.splitlines()[-1])
        yield {"events": n_events, "program": program, "load": load, "date": str(date.today()), **facts}


def section(records: list[dict[str, Any]]) -> str:
    """A part of the page of :mod:`benchmarks.scale`."""
    if not records:
        return ""
    rows = [
        f"| {each['events']:,} | {each['program']} {each['version']} | {each['sweep']:.1f} "
        f"| {each['most'] / 2**20:,.0f} | {each['model'] / 2**20:,.0f} |"
        for each in sorted(records, key=lambda each: each["events"])
    ]
    loads = [each["load"] for each in records]
    names = (
        "events",
        "program",
        "a sweep, processor s",
        "own memory at most",
        "factors",
    )
    table = "\n".join([f"| {' | '.join(names)} |", "|---" * len(names) + "|", *rows])
    return f"""
## Beside other programs

Made by `python -m benchmarks.scale_peers`: ALS with 64 factors and two threads on one table of all domains.
A sweep is one half step of each side: processor seconds of all threads, the least of those after the first
(load average {min(loads):.1f} to {max(loads):.1f}).
MiB of the process's own memory while data are prepared and fitted, libraries included. landbridge solves with
`solver="auto"`; CG of implicit and buffalo takes three steps for every row. Buffalo keeps its data in a file
(HDF5) and computes no loss here.

{table}
"""


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--programs", nargs="*", default=[*OURS, *PEERS], choices=[*OURS, *PEERS])
    parser.add_argument("--scratch", type=Path, required=True, help="a folder where the pairs stay")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with implicit and buffalo")
    chosen = parser.parse_args()
    for n_events in chosen.events:
        done = {each["program"] for each in LINES.read() if each["events"] == n_events}
        for record in measure(n_events, [each for each in chosen.programs if each not in done], chosen):
            LINES.append(record)


if __name__ == "__main__":
    main()
