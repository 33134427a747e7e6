"""Seconds per epoch, memory and quality of BPRMF and LightGCN, beside cornac and RecBole in the same run.

    python -m benchmarks.engine --recbole-python PATH --cornac-python PATH --out docs/results/engine.md

The pace of the networks over 40 epochs is a part of its own, :mod:`benchmarks.engine_pace`: ``--only pace``
measures nothing else, in some ten minutes. What was not measured stays on the page as it is.

Each program of a case has a process of its own and they take turns of some epochs, so that a busy machine
slows them alike; the first turn, in which kernels are loaded, is not counted. A measured case is a line in
the folder ``--kept`` and is not measured again: a run that was cut off goes on. The peers are optional,
each with the Python that has it: pip install cornac==3.0.1; pip install recbole==1.2.1 in an environment
with torch, numpy 1.26, pandas 2.2, scipy 1.11, ray 2.6 and setuptools below 81.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import engine_pace
from benchmarks.engine_page import page
from benchmarks.evaluation import Dot
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.sampling.pairwise import Pairwise
from landbridge.data.splitting.holdout import Holdout
from landbridge.data.splitting.splits import leave_one_out
from landbridge.data.vocabulary import Vocabulary
from landbridge.evaluation.evaluate import evaluate

ROOT = Path(__file__).parents[1]
THREADS = 2
Record = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """One side of a case: the module that runs it and its settings."""

    label: str
    module: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """Programs that learn the same for as many epochs: ``turns`` of ``epochs`` each."""

    name: str
    table: str
    programs: tuple[Program, ...]
    turns: int = 4
    epochs: int = 5


BPR = {"batch_size": 2048, "init_std": 0.02, "lr": 1e-3, "reg": 1e-5, "optimizer": "adam"}
SGD = BPR | {"optimizer": "sgd", "lr": 0.05, "reg": 0.01}
ADAGRAD = SGD | {"optimizer": "adagrad"}
GCN = BPR | {"layers": 3, "factors": 64}


def ours(label: str, settings: Mapping[str, Any], **more: Any) -> Program:
    return Program(label, "ours", {**settings, **more})


def recbole(label: str, model: str, settings: Mapping[str, Any], **more: Any) -> Program:
    return Program(label, "recbole", {**settings, "model": model, **more})


def _adam(table: str, factors: int, **peers: Any) -> Case:
    """RecBole's steps are so short that its threads may cost more than they bring: with one thread, too."""
    sides = (
        ours("ours", BPR, factors=factors),
        recbole("RecBole", "BPR", BPR, factors=factors, **peers),
        recbole("RecBole, 1 thread", "BPR", BPR, factors=factors, threads=1, **peers),
    )
    return Case(f"BPR, Adam, {factors} factors", table, sides)


def _sgd(table: str, factors: int) -> Case:
    sides = (
        ours("ours", SGD, factors=factors),
        ours("ours, Adagrad", ADAGRAD, factors=factors),
        Program("cornac", "cornac", SGD | {"factors": factors}),
    )
    return Case(f"BPR, SGD, {factors} factors", table, sides)


CASES = (
    _adam("movielens-1m", 64),
    _adam("movielens-1m", 128),
    _sgd("movielens-1m", 64),
    _sgd("movielens-1m", 128),
    Case(
        "LightGCN, 64 factors", "movielens-1m", (ours("ours", GCN), recbole("RecBole", "LightGCN", GCN)), 3, 1
    ),
    replace(_adam("kuairand", 64, steps=12), turns=3, epochs=1),
    replace(_sgd("kuairand", 64), turns=4, epochs=2),
    Case(
        "LightGCN, 64 factors",
        "kuairand",
        (ours("ours", GCN, steps=12), recbole("RecBole", "LightGCN", GCN, steps=4)),
        3,
        1,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recbole-python", default=sys.executable, help="a Python that has RecBole")
    parser.add_argument("--cornac-python", default=sys.executable, help="a Python that has cornac")
    parser.add_argument(
        "--kept", type=Path, default=Path(".cache") / "engine", help="folder of measured cases"
    )
    parser.add_argument(
        "--only",
        default="",
        help="measure cases whose 'table: name', or fits whose 'pace: name', contains this",
    )
    parser.add_argument("--out", type=Path, help="write the page here")
    chosen = parser.parse_args()
    pythons = {"ours": sys.executable, "recbole": chosen.recbole_python, "cornac": chosen.cornac_python}
    lines = chosen.kept / "cases.jsonl"
    for case in _present(pythons):
        if chosen.only in f"{case.table}: {case.name}" and not _kept(lines, case):
            _keep(lines, measure(case, pythons, chosen.kept))
    paces = chosen.kept / "pace.jsonl"
    for fits in engine_pace.all_fits():
        if chosen.only in fits.name and all(record["name"] != fits.name for record in _records(paces)):
            _keep(paces, engine_pace.measure(fits, engine_pace.EPOCHS))
    if chosen.out:
        before = chosen.out.read_text() if chosen.out.exists() else ""
        chosen.out.write_text(page(before, _records(lines), _records(paces), THREADS))


def _present(pythons: Mapping[str, str]) -> list[Case]:
    """The cases without the programs that are not installed, named on stderr."""
    missing = [name for name in ("recbole", "cornac") if not _has(pythons[name], name)]
    for name in missing:
        print(f"{name} is not installed in {pythons[name]}: not in this run.", file=sys.stderr)
    sides = [tuple(side for side in case.programs if side.module not in missing) for case in CASES]
    return [replace(case, programs=programs) for case, programs in zip(CASES, sides, strict=True)]


def _has(python: str, name: str) -> bool:
    find = f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is None)"
    return subprocess.run([python, "-c", find], check=False).returncode == 0


def measure(case: Case, pythons: Mapping[str, str], kept: Path) -> Record:
    """Seconds per epoch of every counted turn, memory in MiB and NDCG@10 of every program."""
    holdout = _holdout(case.table)
    events = _written(holdout, kept.resolve() / f"{case.table}.npz")
    before, seconds = os.getloadavg()[0], {side.label: [] for side in case.programs}  # type: ignore[var-annotated]
    with ExitStack() as stack:
        children = {
            side.label: stack.enter_context(Child(pythons[side.module], side, case, events))
            for side in case.programs
        }
        for _ in range(case.turns):
            for label, child in children.items():
                seconds[label].append(child.ask("turn")["seconds"])
        found = {
            label: {"seconds": seconds[label][1:], **child.ask("stop"), "ndcg": child.quality(holdout)}
            for label, child in children.items()
        }
    return {
        "case": case.name,
        "table": case.table,
        "size": [holdout.history.n_users, holdout.history["all"].n_items, len(holdout.history["all"])],
        "epochs": case.turns * case.epochs,
        "programs": found,
        "traffic_gb": traffic(holdout.history["all"], case.programs[0].settings) / 1e9,
        "reading_gbs": reading_gbs(),
        "load": [before, os.getloadavg()[0]],
        "date": time.strftime("%Y-%m-%d"),
    }


class Child:
    """A program in a process of its own, working in a folder that is removed in the end."""

    def __init__(self, python: str, side: Program, case: Case, events: Path) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.rows = Path(self.folder.name) / "rows.npz"
        self.partial = "steps" in side.settings
        paths = {"events": str(events), "rows": str(self.rows)}
        settings = {"threads": THREADS, **side.settings, **paths, "epochs": case.epochs}
        self.process = subprocess.Popen(
            [python, "-W", "ignore", "-m", f"benchmarks.engine_{side.module}", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder.name,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(settings["threads"])},
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

    def ask(self, word: str) -> Record:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"A program ended before its time: {' '.join(map(str, self.process.args))}")
        return json.loads(answer)

    def quality(self, holdout: Holdout) -> float | None:
        """NDCG@10 of the written rows over the whole catalogue; nothing after a part of an epoch."""
        if self.partial:
            return None
        rows = np.load(self.rows)
        model = Dot(holdout.history, rows["user"].astype(np.float32), rows["item"].astype(np.float32))
        return evaluate(model, holdout, threads=THREADS).means("ndcg@10")["all"]


def _holdout(name: str) -> Holdout:
    """All domains as one table, a random event of every user held out."""
    from landbridge.datasets import catalog

    if name == "movielens-1m":
        import polars as pl

        ratings = pl.read_parquet(catalog.get(name) / "ratings.parquet")
        columns = [ratings[side].to_numpy() for side in ("user", "item")]
    else:
        table, _ = catalog.load(name).joined()
        columns = [table.user_idx, table.item_idx]
    users, items = (np.unique(column, return_inverse=True) for column in columns)
    events = Interactions.from_events(users[1], items[1], len(users[0]), len(items[0]))
    ids = [Vocabulary.of(np.arange(len(side[0]))) for side in (users, items)]
    return leave_one_out(MultiDomain(ids[0], {"all": ids[1]}, {"all": events})).test


def _written(holdout: Holdout, file: Path) -> Path:
    table = holdout.history["all"]
    file.parent.mkdir(parents=True, exist_ok=True)
    sizes = {"n_users": table.n_users, "n_items": table.n_items}
    np.savez(file, user=table.user_idx, item=table.item_idx, **sizes)
    return file


def traffic(table: Interactions, settings: Mapping[str, Any]) -> float:
    """Bytes of rows that an epoch of ours must at least read and write.

    A pair reads its three rows for the scores and the user's twice for the items' gradients; an update
    reads g, x and writes x, and what the optimiser keeps too. With K layers a batch makes 2K products, each
    a row per neighbour.
    """
    size, row = settings["batch_size"], 4 * settings["factors"]
    n_rows, layers = table.n_users + table.n_items, settings.get("layers", 0)
    pairs = Pairwise(table, {"all": slice(0, table.n_items)}).epoch(0)
    starts = range(0, len(table), size)
    index = (pairs.user_N, pairs.positive_N + table.n_users, pairs.negative_N + table.n_users)
    touched = sum(len(np.unique([column[start : start + size] for column in index])) for start in starts)
    updated = n_rows * len(starts) if layers else touched
    products = 2 * layers * len(starts) * 2 * len(table)
    moved = {"sgd": 3, "adagrad": 5, "adam": 7}[settings["optimizer"]] * updated
    return float(row) * (5 * len(table) + moved + products)


def reading_gbs() -> float:
    """What this machine's threads read when the data are a table of MovieLens-1M, by BLAS's dot product."""
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    a_N, b_N = np.ones((2, 300_000), np.float32)
    rounds, times = 200, []

    def read(_: int) -> None:
        for _ in range(rounds):
            a_N @ b_N

    with threadpool_limits(1), ThreadPoolExecutor(THREADS) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(read, range(THREADS)))
            times.append(time.perf_counter() - start)
    return THREADS * rounds * 2 * a_N.nbytes / min(times) / 1e9


def _records(lines: Path) -> list[Record]:
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def _kept(lines: Path, case: Case) -> bool:
    wanted = {side.label for side in case.programs}
    return any(
        (record["case"], record["table"]) == (case.name, case.table) and wanted <= set(record["programs"])
        for record in _records(lines)
    )


def _keep(lines: Path, record: Record) -> None:
    print(json.dumps(record), flush=True)
    lines.parent.mkdir(parents=True, exist_ok=True)
    with lines.open("a") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
