"""Seconds and peak memory of reading synthetic events, in memory and memory-mapped.

    python -m benchmarks.scale --events 1000000 10000000     measures what is missing, writes the page
    python -m benchmarks.scale --render                      writes docs/results/scale.md from them

Events follow a Zipf–Mandelbrot law, P(rank r) ∝ (r + q V)^-s of V users or items:

    users   s = 0.76, q = 0.003    means of least-squares fits of log counts: Gowalla (0.66), Ciao (0.86)
    items   s = 0.71, q = 0.001    of Gowalla (0.59), Ciao (0.70) and Food–Kitchen (0.84)

with 34 events per user and 25 per item, as in Gowalla, in three domains. 30 % of the users are in all
domains, the others in one: no data set says this, as published ones were selected for their shared users. Ids
are text of 14 and 10 characters, as Amazon's. Times rise, as in a log.
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

RESULTS = Path(__file__).parents[1] / "docs" / "results"
LINES, PAGE = RESULTS / "scale.jsonl", RESULTS / "scale.md"
BLOCK = 1_000_000  # events that are drawn at once
USERS, ITEMS = (0.76, 0.003), (0.71, 0.001)  # s and q
PER_USER, PER_ITEM = 34, 25
DOMAINS, SHARED = ("books", "films", "music"), 0.3
START, SPAN = 1_500_000_000, 200_000_000  # seconds
IN_MEMORY = "in memory"
CASES = ((IN_MEMORY,), ("mapped", "mapped, built before"))  # the second of a case needs what the first left
CHILD = """
import json, sys, threading, time
import landbridge as lb
from landbridge.core.system import peak_bytes, reset_peak

path, memory = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
own = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
anonymous, over = [own()], threading.Event()
def watch():
    while not over.wait(0.02):
        anonymous.append(own())
thread = threading.Thread(target=watch)
thread.start()
start = time.perf_counter()
data = lb.read(path, memory=memory)
seconds = time.perf_counter() - start
reading = peak_bytes(), max(anonymous)
over.set()
thread.join()
reset_peak()
start = time.perf_counter()
rows = [len(events.by_item.columns) for events in data.domains.values()]
print(json.dumps(dict(seconds=seconds, peak=reading[0], anonymous=1024 * reading[1], left=1024 * own(),
                      by_item=time.perf_counter() - start, kept=data.n_events, users=data.n_users,
                      items=sum(map(len, data.items.values())), fingerprint=data.fingerprint)))
"""


def blocks(n_events: int, seed: int = 0) -> Iterator[pl.DataFrame]:
    """The events, block by block."""
    rng = np.random.default_rng(seed)
    users = _Zipf(n_events // PER_USER, *USERS)
    items = _Zipf(n_events // PER_ITEM // len(DOMAINS), *ITEMS)
    for start in range(0, n_events, BLOCK):
        size = min(BLOCK, n_events - start)
        user_B = users.draw(rng, size)
        # the home of a user, and whether the user is elsewhere, too, depend on the number alone
        mixed_B = (user_B * 2_654_435_761) % 2**32
        shared_B = mixed_B < SHARED * 2**32
        domain_B = np.where(shared_B, rng.integers(0, len(DOMAINS), size), mixed_B % len(DOMAINS))
        time_B = START + (np.arange(start, start + size) * SPAN) // n_events
        yield pl.DataFrame(
            {
                "user": mixed_B,
                "item": items.draw(rng, size),
                "domain": np.array(DOMAINS)[domain_B],
                "timestamp": time_B,
            }
        ).with_columns(
            user=pl.format("A{}", pl.col("user") + 10**12), item=pl.format("B{}", pl.col("item") + 10**8)
        )


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


def measure(n_events: int, memory: str, cases: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
    """A record of each way of reading."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "events"
        folder.mkdir()
        write_events(folder, n_events)
        environment = {**os.environ, "XDG_CACHE_HOME": str(Path(scratch) / "cache")}
        for how in (how for case in cases for how in case):
            load, words = os.getloadavg()[0], [] if how == IN_MEMORY else [memory]
            command = [sys.executable, "-c", CHILD, str(folder), *words]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            facts = {
                "events": n_events,
                "how": how,
                "memory": memory,
                "load": load,
                "date": str(date.today()),
            }
            yield facts | json.loads(done.stdout)


def render(records: list[dict[str, Any]]) -> str:
    """The page; of a case measured twice, the later record."""
    last = list({(each["events"], _named(each)): each for each in records}.values())
    loads, days = [each["load"] for each in last], sorted({each["date"] for each in last})
    rows = "\n".join(
        f"| {each['events']:,} | {_named(each)} | {each['seconds']:.1f} | {each['peak'] / 2**20:,.0f} "
        f"| {each['anonymous'] / 2**20:,.0f} | {each['left'] / 2**20:,.0f} |"
        for each in sorted(last, key=lambda each: each["events"])
    )
    shapes = "\n".join(
        f"- {each['events']:,} events: {each['kept']:,} pairs, {each['users']:,} users, "
        f"{each['items']:,} items"
        for each in last
        if each["how"] == IN_MEMORY
    )
    same = all(
        len({each["fingerprint"] for each in last if each["events"] == size}) == 1
        for size in {each["events"] for each in last}
    )
    return f"""# Events out of core

Measured {" to ".join(days)} by `python -m benchmarks.scale` on {os.cpu_count()} cores
beside other work (load average {min(loads):.1f} to {max(loads):.1f}), one run each: the seconds say little,
the memory does. Only reading is measured, and no more events than these: larger tables, splits, fits and
other programs are not on this page yet.

Events of three domains, drawn from Zipf–Mandelbrot laws fitted to Gowalla, Ciao and Food–Kitchen
(`benchmarks/scale.py` says how), as a folder of Parquet files with ids of text:

{shapes}

Every reader is a process of its own. MiB: the peak of its resident memory, in which pages of mapped files
count while they are in the system's cache; the peak of its own (anonymous) memory, sampled every 20 ms; and
what is left of this when the data are read. Fingerprints of the data:
{"equal for every size" if same else "DIFFERENT"}.

The bound holds for blocks, not for polars, which reads row groups of Parquet ahead while rows are copied.
In a second run of 10 million events with 256 MiB that copy took up to 458 MB, all that follows up to 233 MB.

| events | read | seconds | peak resident | peak of its own | left |
|---|---|---|---|---|---|
{rows}
"""


def main() -> None:
    """Measure, keep, render."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--render", action="store_true")
    chosen = parser.parse_args()
    for n_events in () if chosen.render else chosen.events:
        done = {(each["events"], _named(each)) for each in _records()}
        wanted = {
            how: (n_events, _named({"how": how, "memory": chosen.memory})) for case in CASES for how in case
        }
        missing = [case for case in CASES if any(wanted[how] not in done for how in case)]
        for record in measure(n_events, chosen.memory, missing):
            with LINES.open("a") as file:
                file.write(json.dumps(record) + "\n")
    PAGE.write_text(render(_records()))


def _named(record: dict[str, Any]) -> str:
    return record["how"] if record["how"] == IN_MEMORY else f"{record['how']}, {record['memory']}"


def _records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []


if __name__ == "__main__":
    main()
