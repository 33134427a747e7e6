"""The page of :mod:`benchmarks.engine`, from its records."""

from __future__ import annotations

import platform
import statistics
from pathlib import Path
from typing import Any

from benchmarks.engine_pace import WALKS

Record = dict[str, Any]
PACE = "\n## The pace over many epochs\n"
ENDS = 5  # epochs at the beginning and at the end that are compared
WORDS = ("data", "case", "program", "network")  # columns that are not figures


def page(before: str, cases: list[Record], paces: list[Record], threads: int) -> str:
    """The whole page; a part without records stays as it was ``before``."""
    speed, _, pace = before.partition(PACE)
    speed = render(cases, threads) if cases else speed
    pace = _paces(paces) if paces else pace
    return speed + PACE + pace if pace else speed


def render(records: list[Record], threads: int) -> str:
    """Speed, memory and quality of every case; of a case measured twice, the later record."""
    last = {(record["table"], record["case"]): record for record in records}
    cases = list(last.values())
    loads = [load for record in cases for load in record["load"]]
    days = [record["date"] for record in cases]
    dates = sorted({min(days), max(days)})
    return f"""# Speed of the pairwise engine

Measured {" to ".join(dates)} by `python -m benchmarks.engine` with {threads} threads per program
on {_machine()}. Load average before and after the cases {min(loads):.1f} to {max(loads):.1f}, of which the
program whose turn it is makes about {threads}.

Programs take turns of some epochs; seconds per epoch are the median (least) of the turns after the first.
"ratio" is a program's median over ours, so above 1 it is slower than ours. Memory is MiB above the process
with its libraries and the events loaded. NDCG@10 is computed by landbridge's full ranking for every
program, from its rows, on one random event of every user that was held out, after the given epochs; a dash
stands where an epoch would take too long and its first batches, scaled to an epoch, were measured.

Settings: batches of 2048, three layers of LightGCN, rows that start with a deviation of 0.02 (about what
RecBole draws; cornac has its own). lr is 0.001 with Adam for both, 0.05 with SGD and Adagrad. In BPR
RecBole's Adam moves every row at every step and ours only those of the batch: that is much of the difference
in speed on large catalogues, and after equally few epochs ours has gone less far. cornac draws pairs with
replacement, has item biases and no batches, and its threads write to the same rows without locks; ours gives
the same rows for any number of threads.

{_markdown(["data", "case", "program", "s / epoch", "ratio", "memory", "NDCG@10", "epochs"], _rows(cases))}

## The floor

Bytes of rows that an epoch must read and write at least, over what this machine's threads read from tables
of this size (which fit its caches). An epoch's time also holds drawing negatives, arithmetic and indices.
LightGCN comes out above 100 %: a row is counted once per neighbour, and most neighbours' rows are still in
the first-level cache, from which more is read in a second than this measures.

{_markdown(["data", "case", "GB", "GB/s", "floor, s", "reached, s", "share"], _floors(cases))}
"""


def _paces(records: list[Record]) -> str:
    """The first epochs of every fit against the last; of fits measured twice, the later record."""
    last = {record["name"]: record for record in records}
    seconds = {
        (network, record["threads"], record["others"]): of_epochs
        for record in last.values()
        for network, of_epochs in record["seconds"].items()
    }
    loads = [load for record in last.values() for load in record["load"]]
    days = sorted(record["date"] for record in last.values())
    head = ["network", "threads", "alone: first", "last", "ratio", "after other fits: first", "last", "ratio"]
    rows = [
        [
            network,
            str(threads),
            *_ends(seconds, network, threads, False),
            *_ends(seconds, network, threads, True),
        ]
        for network, threads in dict.fromkeys(key[:2] for key in seconds)
    ]
    return f"""
Measured {" to ".join(dict.fromkeys([days[0], days[-1]]))} by `python -m benchmarks.engine --only pace`
on {_machine()}. Load average before and after the fits {min(loads):.1f} to {max(loads):.1f}.

Every network is fitted for {max(map(len, seconds.values()))} epochs to planted walks of
{WALKS["users"] + WALKS["fans"]:,} users: alone in a process of its own, and in one process after a
factorisation with validations and the networks above it. Medians of the first and of the last {ENDS} epochs,
in seconds; "ratio" is the last over the first, so above 1 a fit loses its pace.

{_markdown(head, rows)}
"""


def _ends(
    seconds: dict[tuple[str, int, bool], list[float]], network: str, threads: int, others: bool
) -> list[str]:
    of_epochs = seconds.get((network, threads, others))
    if of_epochs is None:
        return ["–"] * 3
    first, last = statistics.median(of_epochs[:ENDS]), statistics.median(of_epochs[-ENDS:])
    return [f"{first:.3g}", f"{last:.3g}", f"{last / first:.2f}"]


def _rows(cases: list[Record]) -> list[list[str]]:
    rows = []
    for record in cases:
        middle = statistics.median(record["programs"]["ours"]["seconds"])
        for label, found in record["programs"].items():
            seconds = statistics.median(found["seconds"])
            ndcg = "–" if found["ndcg"] is None else f"{found['ndcg']:.4f}"
            speed = f"{seconds:.3g} ({min(found['seconds']):.3g})"
            memory = f"{found['peak_mib'] - found['base_mib']:,.0f}"
            ratio = f"{seconds / middle:.2f}"
            rows.append([*_label(record), label, speed, ratio, memory, ndcg, str(record["epochs"])])
    return rows


def _floors(cases: list[Record]) -> list[list[str]]:
    rows = []
    for record in cases:
        if record["table"] == "movielens-1m":
            floor = record["traffic_gb"] / record["reading_gbs"]
            reached = min(record["programs"]["ours"]["seconds"])
            figures = [record["traffic_gb"], record["reading_gbs"], floor, reached]
            rows.append([*_label(record), *(f"{x:.3g}" for x in figures), f"{floor / reached:.0%}"])
    return rows


def _label(record: Record) -> list[str]:
    users, items, events = record["size"]
    return [f"{record['table']} ({users:,} × {items:,}, {events:,})", record["case"]]


def _machine() -> str:
    """Processor and cores, as the system reports them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return f"{len(models)} cores of {models[0]}, {memory:.0f} GiB, Python {platform.python_version()}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---" if name in WORDS else "--:" for name in head], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
