"""Planned against measured seconds and memory of an epoch, one thread, and ten billion events on paper.

    python -m benchmarks.plan --machine FILE    measures what docs/results/plan.jsonl lacks
    python -m benchmarks.plan --render          writes docs/results/plan.md from it

An epoch is measured as a quarter of the difference of fits of 5 and 1 epochs, in seconds of the processor,
each the least of ``REPEATS``, since other work on the machine only adds. EASE and item-kNN have no epochs:
the whole fit. FILE holds the constants of this machine (landbridge plan --calibrate --machine FILE), which go
into the lines.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import time
from pathlib import Path

from benchmarks.estimate import ONE_THREAD, _small, _status, read_apart
from benchmarks.kept import Lines
from landbridge.core.types import Record
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.models import registry
from landbridge.models.base import Method
from landbridge.planning.machine import Machine, as_record, from_record, of_this_machine
from landbridge.planning.plan import Cluster, Plan, plans
from landbridge.training.options import FitOptions

RESULTS = Path(__file__).parents[1] / "docs" / "results"
LINES, PAGE = Lines(RESULTS / "plan.jsonl"), RESULTS / "plan.md"
SETS = ("food-kitchen", "ciao", "movielens-1m", "sport-cloth")
CASES: tuple[tuple[str, Record, tuple[str, ...]], ...] = (
    ("ials", {"factors": 64}, SETS),
    ("itemknn", {}, SETS),
    ("cdimf", {"factors": 32}, (SETS[0], SETS[3])),
    ("ease", {"form": "local", "neighbours": 50}, SETS),
)
EPOCHS, REPEATS, BOUND = (1, 5), 5, 0.25
NODES = (1, 8, 64)
HUGE = (
    294_000_000,
    400_000_000,
    10_000_000_000,
    3,
)  # 34 events per user, 25 per item, as in benchmarks.scale


def children(name: str, cases: list[Record], machine: Machine) -> None:
    """Fits on one data set, which is read once; each in a process that is forked for it."""
    data = read_apart(name)
    gc.collect()
    for case in cases:
        process = multiprocessing.get_context("fork").Process(target=child, args=(data, case, machine))
        process.start()
        process.join()


def child(data: MultiDomain, case: Record, machine: Machine) -> None:
    """Measure and plan one epoch; the plan is that of counts alone."""
    method = registry.method(case["method"]).from_settings(case["settings"])
    method.with_settings({"epochs": 1} if method.has_epochs else {}).fit(_small(), FitOptions(threads=1))
    gc.collect()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    seconds = _epoch(method, data)
    (planned,) = plans([method], Counts.of(data), machine, [1], Cluster())
    epoch = planned.epoch if planned.epochs else planned.fit
    libraries = machine.process.bytes
    row = {**case, "seconds": seconds, "planned": epoch, "before": before, "peak": _status("VmHWM")}
    print(json.dumps(row | {"libraries": libraries, "bytes": planned.first}), flush=True)


def _epoch(method: Method, data: MultiDomain) -> float:
    """Of two minima: the minimum of differences would be too small."""
    if not method.has_epochs:
        return min(_seconds(method, data) for _ in range(REPEATS))
    few, many = (
        min(_seconds(method.with_settings({"epochs": each}), data) for _ in range(REPEATS)) for each in EPOCHS
    )
    return (many - few) / (EPOCHS[1] - EPOCHS[0])


def _seconds(method: Method, data: MultiDomain) -> float:
    began = time.process_time()
    method.fit(data, FitOptions(threads=1))
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--machine", type=Path)
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        children(chosen.child[0], json.loads(chosen.child[1]), of_this_machine(chosen.machine))
    elif chosen.render:
        PAGE.write_text(render(LINES.read()))
    else:
        _measure(chosen.machine)


def _measure(file: Path) -> None:
    lines = LINES.read()
    if not any("unit" in row for row in lines):
        LINES.append(as_record(of_this_machine(file)))
    known = [{key: row[key] for key in ("data", "method", "settings")} for row in lines if "method" in row]
    for name in SETS:
        cases = [
            {"data": name, "method": method, "settings": given} for method, given, on in CASES if name in on
        ]
        missing = [case for case in cases if case not in known]
        words = ["--machine", str(file), "--child", name, json.dumps(missing)]
        LINES.append_from("benchmarks.plan", words, ONE_THREAD)


HEAD = """# Planned and measured

Made by `python -m benchmarks.plan`: an epoch of ALS and CDIMF, a whole fit of EASE and item-kNN, on one
thread, each in a process of its own, and what `landbridge plan` says of it from counts. Seconds are those of
the processor, the least of five measurements. Constants were measured once, before. Food–Kitchen, on which no
constant of an equation was set but one of local EASE, is a forecast; the other sets are those of the
[estimates](estimate.md). Memory is the peak of the process. Times on several nodes were not measured: there
is one machine.

"""
PAPER = """
## Ten billion events, on paper

{events:,} events of {users:,} users and {items:,} items in 3 domains, 64 factors, nodes of 16 threads and
256 GB, 10 Gbit/s, from the constants above. Nothing of this size was run.

{table}

What breaks first, in this order:

1. **The memory of the first node.** It reads the data, gives out the blocks and keeps the model:
   {first:.0f} GB for joined iALS. Nodes do not help; mapped events would (the factors take {model:.0f} GB).
2. **The network.** Joined iALS moves {moved:.0f} GB to every node in an epoch and back, {crossing:.0f} s at
   10 Gbit/s, as long as its arithmetic takes on {even:.1f} nodes: more are of little use then.
3. **The fixed side of a half step**, which every node holds whole: {whole:.0f} GB, for any number of nodes.
4. **CDIMF's parts are domains**: three domains use three nodes.
"""


def render(lines: list[Record]) -> str:
    """The page."""
    machine = next(from_record(row) for row in lines if "unit" in row)
    rows = sorted((row for row in lines if "method" in row), key=_place)
    within = sum(abs(row["planned"] / row["seconds"] - 1) <= BOUND for row in rows)
    fitting = sum(abs(row["bytes"] / row["peak"] - 1) <= BOUND for row in rows)
    table = [
        "| method | settings | data | measured s | planned | measured MiB | planned |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        settings = ", ".join(f"{key}={value}" for key, value in row["settings"].items())
        time_ = f"{row['planned']:.3f} (×{row['planned'] / row['seconds']:.2f})"
        memory = f"{row['bytes'] / 2**20:.0f} (×{row['bytes'] / row['peak']:.2f})"
        table.append(
            f"| {row['method']} | {settings} | {row['data']} | {row['seconds']:.3f} | {time_} "
            f"| {row['peak'] / 2**20:.0f} | {memory} |"
        )
    share = f"Within {100 * BOUND:.0f} %: time {within} of {len(rows)}, memory {fitting} of {len(rows)}."
    return HEAD + share + "\n\n" + "\n".join(table) + "\n" + _paper(machine)


def _place(row: Record) -> tuple[str, str, int]:
    return row["method"], str(row["settings"]), SETS.index(row["data"])


def _paper(machine: Machine) -> str:
    users, items, events, domains = HUGE
    counts = Counts.of_totals(users, items, events, domains)
    methods = [
        registry.method("ials")(),
        registry.method("ials")(sharing="joined"),
        registry.method("cdimf")(),
    ]
    cluster = Cluster(16, 1.25e9, 256e9)
    found = plans(methods, counts, machine, NODES, cluster)
    names = ["ials", "ials, joined", "cdimf"]
    joined = found[len(NODES) + 1]
    crossing = 2 * joined.moved / cluster.network
    whole = 4 * 64 * max(users, items)
    return PAPER.format(
        users=users,
        items=items,
        events=events,
        table=_huge([(names[n // len(NODES)], plan) for n, plan in enumerate(found)]),
        first=joined.first / 1e9,
        model=4 * 64 * (users + items) / 1e9,
        moved=joined.moved / 1e9,
        crossing=crossing,
        even=found[len(NODES)].epoch / crossing,
        whole=whole / 1e9,
    )


def _huge(found: list[tuple[str, Plan]]) -> str:
    lines = [
        "| method | nodes | epoch, min | GB of a node | GB of the first | GB moved | memory is enough |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, plan in found:
        lines.append(
            f"| {name} | {plan.nodes} | {plan.epoch / 60:.1f} | {plan.node / 1e9:.0f} "
            f"| {plan.first / 1e9:.0f} | {plan.moved / 1e9:.0f} | {'yes' if plan.fits else 'no'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
