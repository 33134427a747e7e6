"""What a server reads before its first list: a run of the synthetic events of :mod:`benchmarks.scale`.

    python -m benchmarks.scale_start --events 100000 1000000 10000000 30000000
                         measures what is missing; `python -m benchmarks.scale --render` writes the page

A run of iALS with 64 factors, one sweep, joined domains and ids of text. Every start is a process of its own,
which opens the run, checks it and makes its first lists. Before it, the run's files are dropped from the
system's cache, so that what is read is read from the disk. Starts take turns; of three the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.kept import Lines
from benchmarks.scale import DOMAINS, MIB, RESULTS, numbers

LINES = Lines(RESULTS / "scale-start.jsonl")
STARTS = {"all checksums first": True, "checksums of mapped files afterwards": False}
FACTORS, ROUNDS = 64, 3


def save_run(n_events: int, folder: Path) -> None:
    """A run folder."""
    import landbridge as lb
    from landbridge.data.dataset import MultiDomain
    from landbridge.data.interactions import Interactions
    from landbridge.data.vocabulary import Vocabulary

    user_N, item_N, domain_N, time_N = map(np.concatenate, zip(*numbers(n_events), strict=True))
    users, user_N = np.unique(user_N, return_inverse=True)
    items, events = {}, {}
    for number, name in enumerate(DOMAINS):
        own_N = domain_N == number
        own, item_E = np.unique(item_N[own_N], return_inverse=True)
        items[name] = Vocabulary(_texts("B", own + 10**8))
        sizes = len(users), len(own)
        events[name] = Interactions.from_events(user_N[own_N], item_E, *sizes, time=time_N[own_N])
    data = MultiDomain(Vocabulary(_texts("A", users + 10**12)), items, events)
    method = lb.IALS(factors=FACTORS, epochs=1, sharing="joined", solver="auto")
    lb.save(method.fit(data), folder)


def _texts(letter: str, number_V: Any) -> Any:
    return np.array([f"{letter}{number}" for number in number_V.tolist()], np.dtypes.StringDType())


def measure(n_events: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """A record of each start."""
    run = scratch / f"run{n_events}"
    if not run.exists():
        save_run(n_events, run)
    for _ in range(ROUNDS):
        for how, verified in STARTS.items():
            for file in run.iterdir():
                _drop(file)
            command = [sys.executable, "-m", "benchmarks.scale_start", "--open", str(run)]
            words = [*command, *(["--verified"] if verified else [])]
            child = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            size = sum(file.stat().st_size for file in run.iterdir())
            facts = {"events": n_events, "how": how, "bytes": size, "load": os.getloadavg()[0]}
            yield facts | {"date": str(date.today())} | json.loads(child.stdout)


def _drop(file: Path) -> None:
    """Out of the system's cache."""
    handle = os.open(file, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def start(run: Path, *, verified: bool) -> dict[str, float]:
    """Open a run and make its first lists, in this process; processor seconds count from its begin."""
    from landbridge.serving.engine.service import Service

    seconds, read = time.perf_counter(), _read_bytes()
    Service.open(run, verified=verified).check()
    return {
        "processor": time.process_time(),
        "seconds": time.perf_counter() - seconds,
        "read": _read_bytes() - read,
    }


def _read_bytes() -> int:
    """Of this process, from the disk."""
    (found,) = re.findall(r"^read_bytes: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)
    return int(found)


def section(records: Sequence[dict[str, Any]]) -> str:
    """A part of the page of :mod:`benchmarks.scale`."""
    if not records:
        return ""
    loads = [each["load"] for each in records]
    rows = ["| events | a run, MiB | start | read, MiB | processor s | seconds |", "|---" * 6 + "|"]
    for n_events in sorted({each["events"] for each in records}):
        for how in STARTS:
            own = [each for each in records if (each["events"], each["how"]) == (n_events, how)]
            middle = {name: median(each[name] for each in own) for name in ("read", "processor", "seconds")}
            rows.append(
                f"| {n_events:,} | {own[0]['bytes'] / MIB:,.0f} | {how} | {middle['read'] / MIB:,.0f} "
                f"| {middle['processor']:.1f} | {middle['seconds']:.1f} |"
            )
    table = "\n".join(rows)
    return f"""
## Start of a server

Made by `python -m benchmarks.scale_start`: a process opens a run of iALS with {FACTORS} factors and makes its
first lists, with nothing of the run in the system's cache; medians of {ROUNDS} (load average
{min(loads):.1f} to {max(loads):.1f}). Of the processor seconds those of the smallest run are the
libraries'. Files of 64 MiB or more are mapped. Every start goes over all events and factors once: no index
may lead out of an array, and every factor must be a number. What is left for afterwards is the checksums,
which the server compares while it answers.

{table}
"""


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--scratch", type=Path, help="a folder where the runs stay")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--verified", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.open is not None:
        print(json.dumps(start(chosen.open, verified=chosen.verified)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        for n_events in chosen.events:
            if n_events not in {each["events"] for each in LINES.read()}:
                for record in measure(n_events, chosen.scratch or Path(temporary)):
                    LINES.append(record)


if __name__ == "__main__":
    main()
