"""Seconds per epoch, memory and quality of SASRec beside RecBole, and what DWL's weights cost.

    python -m benchmarks.sequence --recbole-python PATH --out docs/results/sequence-speed.md

Each program of a case has a process of its own and they take turns, so that a busy machine slows them alike.
RecBole makes a sample of every prefix, so that an epoch of its is far longer than one of ours: its turn is
some batches, scaled to an epoch, until it has gone through whole epochs; ours goes on until it recommends as
well. A measured case is a line in the folder ``--kept`` and is not measured again: a run that was cut off
goes on. RecBole is optional; :mod:`benchmarks.engine` says how a Python that has it is made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import engine
from benchmarks.engine import ROOT, THREADS, Record
from benchmarks.evaluation import Dot
from benchmarks.sequence_floor import floor
from benchmarks.sequence_ours import holdout
from benchmarks.sequence_page import OURS, PEER, SHORT, reached, render
from landbridge.data.sampling import sequences
from landbridge.data.splitting.holdout import Holdout
from landbridge.datasets.movielens import GENRES_100K
from landbridge.evaluation.evaluate import evaluate
from landbridge.models.sequential.sasrec import SASRec

PEER_BATCH, PEER_BATCHES, PEER_EPOCHS = 2048, 4, 3  # its own size; batches of a turn; epochs in all
MOST_EPOCHS = 200  # that ours has to become as good
ROUNDS = 10  # turns of each way to weigh
WEIGHINGS = {
    "none": {"domain_weighting": "none"},
    "sparsity": {"domain_weighting": "sparsity"},
    "sparsity, by loss": {"domain_weighting": "sparsity", "schedule.signal": "loss"},
    "sparsity, by gradient": {"domain_weighting": "sparsity", "schedule.signal": "gradient"},
}


@dataclass(frozen=True)
class Side:
    """A program of a case: the Python and the module that run it, and its settings."""

    python: str
    module: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """Programs by label. ``data``: its name and its reader's settings. ``rounds``: turns of each. ``about``:
    what else is measured."""

    name: str
    data: Mapping[str, Any]
    sides: Mapping[str, Side]
    rounds: int
    holdout: Holdout | None = None
    about: Callable[[], Record] = dict

    @property
    def key(self) -> str:
        """What is measured, where."""
        return f"{self.data['name']}: {self.name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recbole-python", help="a Python that has RecBole; without it ours runs alone")
    parser.add_argument(
        "--kept", type=Path, default=Path(".cache") / "sequence", help="folder of measured cases"
    )
    parser.add_argument("--only", default="", help="measure cases whose 'data: name' contains this")
    parser.add_argument("--out", type=Path, help="write the page here")
    chosen = parser.parse_args()
    chosen.kept.mkdir(parents=True, exist_ok=True)
    lines = chosen.kept / "cases.jsonl"
    for case in (_sasrec("movielens-100k", chosen.kept, chosen.recbole_python), *_dwl()):
        if chosen.only in case.key and not _kept(lines, case):
            record = {"key": case.key, **measure(case)}
            with lines.open("a") as file:
                file.write(json.dumps(record) + "\n")
    if chosen.out:
        chosen.out.write_text(render(_records(lines), THREADS))


def _sasrec(name: str, kept: Path, python: str | None) -> Case:
    """SASRec's defaults are RecBole's sizes."""
    test, method = holdout(name), SASRec()
    sizes = ("factors", "blocks", "heads", "hidden", "max_length", "dropout")
    plan = {size: getattr(method.encoder, size) for size in sizes}
    settings = {**{f"encoder.{size}": value for size, value in plan.items()}, "lr": method.lr}
    own = {"program": "sasrec", "data": {"name": name}, "method": settings}
    short = own | {"method": settings | {"precision": "bfloat16"}}
    sides = {OURS: Side(sys.executable, "ours", own), SHORT: Side(sys.executable, "ours", short)}
    if python:
        events = _written(test, kept.resolve() / f"{name}.npz")
        peer = {
            "method": plan | {"lr": method.lr, "batch_size": PEER_BATCH},
            "batches": PEER_BATCHES,
            "events": str(events),
        }
        sides[PEER] = Side(python, "recbole", peer)
    batches = -(-(len(test.history["all"]) - test.history.n_users) // PEER_BATCH)
    return Case(
        "SASRec",
        {"name": name},
        sides,
        PEER_EPOCHS * -(-batches // PEER_BATCHES),
        test,
        lambda: {"operations": floor(test.history, method.encoder, method.batch_size, THREADS)},
    )


def _dwl() -> list[Case]:
    """Of MovieLens-1M's long epochs some batches; nothing is hidden there, as in the experiments."""
    genres = {"name": "movielens-1m", "domains": GENRES_100K[1:], "min_rating": 0}
    tables: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
        (genres, {"loss.mask_history": False, "steps": 20}),
        ({"name": "food-kitchen"}, {}), ({"name": "ciao"}, {})
    ]  # fmt: skip
    found = []
    for data, settings in tables:
        programs = {"program": "dwl", "data": data}
        methods = {label: {**settings, **weighing} for label, weighing in WEIGHINGS.items()}
        sides = {
            label: Side(sys.executable, "ours", programs | {"method": method})
            for label, method in methods.items()
        }
        found.append(Case("DWL", data, sides, ROUNDS))
    return found


def measure(case: Case) -> Record:
    """Every turn of every program: seconds, MiB, part of an epoch and after whole epochs NDCG@10."""
    before = os.getloadavg()[0]
    with ExitStack() as stack:
        programs = {label: stack.enter_context(Child(side)) for label, side in case.sides.items()}
        turns: dict[str, list[Record]] = {label: [] for label in programs}
        for _ in range(case.rounds):
            for label, child in programs.items():
                turns[label].append(child.turn(case.holdout))
        for label in (OURS, SHORT) if PEER in turns else ():
            while reached(turns, label) is None and len(turns[label]) < MOST_EPOCHS:
                turns[label].append(programs[label].turn(case.holdout))
    return {
        "turns": turns,
        "load": [before, os.getloadavg()[0]],
        "date": time.strftime("%Y-%m-%d"),
        **case.about(),
    }


class Child(engine.Child):
    """A program in a process of its own, working in a folder that is removed in the end."""

    def __init__(self, side: Side) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.rows, self.epochs = Path(self.folder.name) / "rows.npz", 0.0
        settings = {**side.settings, "rows": str(self.rows), "threads": THREADS}
        self.process = subprocess.Popen(
            [side.python, "-W", "ignore", "-m", f"benchmarks.sequence_{side.module}", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(THREADS)},
        )

    def __enter__(self) -> Child:
        return self

    def turn(self, holdout: Holdout | None) -> Record:
        """One turn; evaluated on the holdout where it ended an epoch."""
        reported = self.ask("turn")
        self.epochs += reported["part"]
        if holdout is None or abs(self.epochs - round(self.epochs)) > 1e-6:
            return reported
        self.ask("rows")
        rows = np.load(self.rows)
        model = Dot(holdout.history, rows["user"].astype(np.float32), rows["item"].astype(np.float32))
        return reported | {"ndcg": evaluate(model, holdout, threads=THREADS).means("ndcg@10")["all"]}


def _written(test: Holdout, file: Path) -> Path:
    """All known events, users after users, each user's in time."""
    rows, table = sequences.user_histories(test.history), test.history["all"]
    users = np.repeat(np.arange(table.n_users), np.diff(rows.offsets))
    np.savez(file, user=users, item=rows.columns, n_users=table.n_users, n_items=table.n_items)
    return file


def _records(lines: Path) -> list[Record]:
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def _kept(lines: Path, case: Case) -> bool:
    records = _records(lines)
    return any(case.key == record["key"] and set(case.sides) <= set(record["turns"]) for record in records)


if __name__ == "__main__":
    main()
