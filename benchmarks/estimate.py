"""Predicted against measured seconds and memory of fits, one thread, each fit in a process of its own.

    python -m benchmarks.estimate            measures every case that docs/results/estimate.jsonl lacks
    python -m benchmarks.estimate --render   writes docs/results/estimate.md from it

Seconds are those of the processor, so that other work on the machine counts less. The first fit of a process,
on a small table, compiles and is not counted. The constants of the machine are measured first, in this run.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.kept import Lines
from landbridge.core.types import Record
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.datasets import catalog
from landbridge.models import registry
from landbridge.models.base import Method
from landbridge.models.cost import Work
from landbridge.planning import calibration
from landbridge.planning.estimate import data_bytes
from landbridge.planning.machine import Machine, as_record, from_record
from landbridge.training.options import FitOptions

RESULTS = Path(__file__).parents[1] / "docs" / "results"
LINES, PAGE = Lines(RESULTS / "estimate.jsonl"), RESULTS / "estimate.md"
ONE_THREAD = {**os.environ} | dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
ALL = ("movielens-1m", "ciao", "sport-cloth", "gowalla")
CASES: tuple[tuple[str, Record, tuple[str, ...]], ...] = (
    ("ials", {"factors": 64, "epochs": 4}, ALL),
    ("ials", {"factors": 128, "epochs": 2}, ALL),
    ("ials", {"factors": 64, "epochs": 4, "sharing": "joined", "solver": "auto"}, ALL),
    ("cdimf", {"factors": 32, "epochs": 3}, ALL),
    ("cdimf", {"factors": 64, "epochs": 2}, ALL),
    ("ease", {}, ALL),
    ("ease", {"neighbours": 50}, ALL),
    ("ease", {"neighbours": 200, "sharing": "separate"}, ALL),
    ("itemknn", {}, ALL),
    ("bprmf", {"factors": 64, "epochs": 2}, ALL),
    ("lightgcn", {"factors": 64, "epochs": 1}, ALL),
    (
        "sasrec",
        {"epochs": 1, "loss.kind": "sampled", "loss.sampled_negatives": 512, "batch_size": 32},
        ALL[:2],  # with times
    ),
    ("ease", {"form": "exact"}, ALL[:1]),
    ("bprmf", {"factors": 32, "epochs": 2, "sharing": "joined"}, ALL),
    ("itemknn", {"neighbours": 50, "sharing": "separate"}, ALL),
    ("sasrec", {"epochs": 1}, ALL[:1]),
    ("lightgcn", {"factors": 32, "layers": 2, "epochs": 1}, ALL),
)


def _data(name: str) -> MultiDomain:
    data = catalog.load(name)
    return data if isinstance(data, MultiDomain) else data.test.history


def read_apart(name: str) -> MultiDomain:
    """The data, read in another process: what readers leave behind would count as this one's own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_data, (name,))


def _cases() -> list[Record]:
    return [
        {"data": data, "method": name, "settings": given} for name, given, every in CASES for data in every
    ]


def _small() -> MultiDomain:
    rng = np.random.default_rng(0)

    def table(items: int) -> Interactions:
        users, chosen = np.nonzero(rng.random((200, items)) < 0.5)
        return Interactions.from_events(users, chosen, 200, items, time=rng.permutation(len(users)))

    domains = {"a": table(60), "b": table(50)}
    items = {name: Vocabulary.of(range(events.n_items)) for name, events in domains.items()}
    return MultiDomain(Vocabulary.of(range(200)), items, domains)


def children(name: str, cases: list[Record]) -> None:
    """Fits on one data set, which is read once; each in a process that is forked for it."""
    data = read_apart(name)
    gc.collect()
    for case in cases:
        process = multiprocessing.get_context("fork").Process(target=child, args=(data, case))
        process.start()
        process.join()


def child(data: MultiDomain, case: Record) -> None:
    """One fit: its seconds of the processor, and the bytes of the process before it and at its peak."""
    options = FitOptions(threads=1)
    method = registry.method(case["method"]).from_settings(case["settings"])
    method.with_settings({"epochs": 2} if method.has_epochs else {}).fit(_small(), options)
    gc.collect()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    began = time.process_time()
    method.fit(data, options)
    seconds = time.process_time() - began
    counts = Counts.of(data)
    joined = counts.joined
    totals = (int(joined.n_users), int(joined.n_items), int(joined.events), len(counts.domains))
    row = {**case, "seconds": seconds, "before": before, "peak": _status("VmHWM"), "load": os.getloadavg()[0]}
    row |= predicted(method, counts, Counts.of_totals(*totals))
    print(json.dumps(row), flush=True)


def predicted(method: Method, counts: Counts, assumed: Counts) -> Record:
    """Amounts of work of exact counts and of totals alone, the bytes that the process holds beside the
    libraries, and whether torch's are among these."""
    cost, rough = method.cost(counts), method.cost(assumed)
    return {
        "work": {kind: amount for kind, amount in asdict(cost.work).items() if amount},
        "assumed_work": {kind: amount for kind, amount in asdict(rough.work).items() if amount},
        "bytes": data_bytes(counts) + cost.peak,
        "torch": cost.torch,
    }


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        children(chosen.child[0], json.loads(chosen.child[1]))
    elif chosen.render:
        PAGE.write_text(render(LINES.read()))
    else:
        _measure()


def _measure() -> None:
    if not any("unit" in row for row in LINES.read()):
        LINES.append(as_record(calibration.measured()))
    known = [
        {key: row[key] for key in ("data", "method", "settings")} for row in LINES.read() if "method" in row
    ]
    for name in ALL:
        missing = [case for case in _cases() if case["data"] == name and case not in known]
        LINES.append_from("benchmarks.estimate", ["--child", name, json.dumps(missing)], ONE_THREAD)


HEAD = """# Predicted and measured costs of fits

Made by `python -m benchmarks.estimate`: each fit in a process of its own, on one thread, and what
`landbridge estimate` says of it. Seconds are those of the processor (load average {least:.1f} to {most:.1f}
on {cores} cores); the constants of the machine were measured in the same hour. Most fits are of few epochs,
and short.

What counts cannot give (steps of conjugate gradients, neighbours that meet, passes of SASRec) was set on
these data sets. So the page says how well the equations describe them, not how well they forecast others.
The aim is 25 %; the shares that reach it are below.

"From files" knows how many events each user and item has; "from totals" knows users, items, events and
domains alone, and takes domains to be alike, with all users in each. Memory is the peak of the process, with
libraries and data; the libraries' part was measured in an empty process.

"""
BOUND = 0.25


def render(lines: list[Record]) -> str:
    """The page."""
    machine = next(from_record(row) for row in lines if "unit" in row)
    rows = [_compared(row, machine) for row in lines if "method" in row]
    order = {name: place for place, (name, _, _) in enumerate(CASES)}
    rows.sort(key=lambda row: (order[row["method"]], row["settings"], ALL.index(row["data"])))
    cells = [
        "method",
        "settings",
        "data",
        "measured s",
        "from files",
        "from totals",
        "measured MiB",
        "predicted",
    ]
    table = [" | ".join(cells), " | ".join(["---"] * 3 + ["---:"] * 5)]
    for row in rows:
        share = f"{row['files']:.2f} (×{row['files'] / row['seconds']:.2f})"
        rough = f"×{row['totals'] / row['seconds']:.2f}"
        memory = f"{row['memory'] / 2**20:.0f} (×{row['memory'] / row['peak']:.2f})"
        what = f"{row['method']} | {row['settings']} | {row['data']} | {row['seconds']:.2f}"
        table.append(f"{what} | {share} | {rough} | {row['peak'] / 2**20:.0f} | {memory}")
    parts = [_shares(rows), "\n".join(f"| {line} |" for line in table), _constants(machine.unit)]
    loads = [row["load"] for row in rows]
    head = HEAD.format(least=min(loads), most=max(loads), cores=os.cpu_count())
    return head + "\n\n".join(parts) + "\n"


def _compared(row: Record, machine: Machine) -> Record:
    settings = ", ".join(f"{key}={value}" for key, value in row["settings"].items()) or "defaults"
    libraries = machine.process.bytes + (machine.process.torch_bytes if row["torch"] else 0)
    return {
        **row,
        "settings": settings,
        "files": Work(**row["work"]).seconds(machine.unit),
        "totals": Work(**row["assumed_work"]).seconds(machine.unit),
        "memory": libraries + row["bytes"],
    }


def _shares(rows: list[Record]) -> str:
    """The share of predictions within the bound, by method and of all."""
    lines = ["| method | fits | time, from files | time, from totals | memory |", "|---|---:|---:|---:|---:|"]
    for name in [*dict.fromkeys(row["method"] for row in rows), "all"]:
        some = [row for row in rows if name in (row["method"], "all")]
        pairs = (("files", "seconds"), ("totals", "seconds"), ("memory", "peak"))
        within = [sum(abs(row[a] / row[b] - 1) <= BOUND for row in some) for a, b in pairs]
        lines.append(
            f"| {name} | {len(some)} | " + " | ".join(f"{100 * n / len(some):.0f} %" for n in within) + " |"
        )
    return f"Share of predictions within {100 * BOUND:.0f} % of what was measured:\n\n" + "\n".join(lines)


def _constants(unit: Work) -> str:
    each = [f"{kind} {1e9 * seconds:.3g}" for kind, seconds in asdict(unit).items()]
    return f"Constants, nanoseconds of one operation: {', '.join(each)}."


if __name__ == "__main__":
    main()
