"""Milliseconds and memory of one ALS sweep (both sides), beside implicit and NumPy in the same run.

    python -m benchmarks.solver            measures every case that docs/results/solver-speed.jsonl lacks
    python -m benchmarks.solver --render   writes docs/results/solver-speed.md from it

Every solver runs in a process of its own, so that its peak memory is its own; the solvers take turns
over several rounds, so that a busy machine slows them alike. The first sweep of a process is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # what implicit asks for; ours does its own threading

import numpy as np
import numpy.typing as npt

from benchmarks.kept import Lines
from landbridge.core.threads import thread_limit
from landbridge.core.types import Float32
from landbridge.data.counts import RowLengths
from landbridge.data.interactions import Interactions
from landbridge.models.als import solver as als

RESULTS = Path(__file__).parents[1] / "docs" / "results"
LINES, PAGE = Lines(RESULTS / "solver-speed.jsonl"), RESULTS / "solver-speed.md"
TABLES = ("sport-cloth", "gowalla", "movielens-1m", "kuairand")
FACTORS = (64, 128, 192)
ALPHA0, REG, EXPONENT = 0.03, 0.03, 0.5
THREADS = 2
ROUNDS, SWEEPS = 3, 3  # counted sweeps per process
PATIENCE = 20.0  # seconds of one process after which it starts no further sweep
STAGES = ("items' basis", "users", "users' basis", "items")
SAMPLE = 200  # rows of each side that NumPy solves

Stages = dict[str, float]


@dataclass(frozen=True)
class Run:
    """Seconds of each counted sweep, the stages of the quickest, and on request the distance of one more
    half step of the users from the exact one of the same program, ‖X - X*‖ / ‖X*‖."""

    seconds: list[float]
    stages: Stages
    error: Callable[[], float]


def _distance(approximate_UF: Float32, exact_UF: Float32) -> float:
    return float(np.linalg.norm(approximate_UF - exact_UF) / np.linalg.norm(exact_UF))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--factors", nargs="+", type=int, default=FACTORS)
    parser.add_argument("--child", nargs=3, metavar=("FILE", "SOLVER", "FACTORS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(child(Path(chosen.child[0]), chosen.child[1], int(chosen.child[2]))))
    elif chosen.render:
        PAGE.write_text(render(LINES.read()))
    else:
        done = {(case["table"], case["factors"]) for case in LINES.read()}
        for name in chosen.tables:
            for factors in chosen.factors:
                if (name, factors) not in done:
                    LINES.append(measure(name, factors))


def measure(name: str, factors: int) -> dict[str, Any]:
    """All solvers in turns on one table: sweeps in ms, peak MiB, this machine's speed and load."""
    file = _prepared(name)
    load, ms, stages = [os.getloadavg()[0]], {s: [] for s in SOLVERS}, []  # type: ignore[var-annotated]
    peak, error = dict.fromkeys(SOLVERS, 0.0), dict.fromkeys(SOLVERS, 0.0)
    for _ in range(ROUNDS):
        for solver in SOLVERS:
            if ms[solver] and max(ms[solver]) > 1000 * PATIENCE:
                continue
            reported = _in_child(file, solver, factors)
            ms[solver] += reported["ms"]
            peak[solver] = max(peak[solver], reported["peak_mib"])
            error[solver] = reported["error"]
            stages += [reported["stages"]] if solver == "ours exact" else []
        load.append(os.getloadavg()[0])
    table = _table(file)
    return {
        "table": name,
        "factors": factors,
        "size": [table.n_users, table.n_items, len(table)],
        "ms": ms,
        "peak_mib": peak,
        "error": error,
        "stages": {key: min(stage[key] for stage in stages) for key in stages[0]},
        "gflop": operations(table, factors) / 1e9,
        "gflops": sgemm_gflops(),
        "load": load,
        "date": time.strftime("%Y-%m-%d"),
    }


def child(file: Path, solver: str, factors: int) -> dict[str, Any]:
    """One process: sweeps in ms without the first, peak memory, stages of the quickest sweep, error."""
    table = _table(file)
    run = SOLVERS[solver](table, factors)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "ms": [1000 * s for s in run.seconds],
        "peak_mib": peak,
        "stages": run.stages,
        "error": run.error(),
    }


def _ours(name: str) -> Callable[[Interactions, int], Run]:
    def run(table: Interactions, factors: int) -> Run:
        solver = als.solver_named(
            name, (RowLengths.of(table.user_counts), RowLengths.of(table.item_counts)), factors
        )
        item_IF = als.initial(np.random.default_rng(0), table.n_items, factors)
        ridges = [
            als.FrequencyRidge(ALPHA0, REG, EXPONENT).of(table.user_counts, table.n_items),
            als.FrequencyRidge(ALPHA0, REG, EXPONENT).of(table.item_counts, table.n_users),
        ]
        times: list[float] = []
        kept: list[Stages] = []
        previous: tuple[Float32, Float32] | None = None
        with thread_limit(THREADS):
            while len(times) <= SWEEPS and (len(times) < 2 or sum(times) < PATIENCE):
                marks = [time.perf_counter()]
                items = als.basis(item_IF, THREADS)
                start_UF = _turned(previous, items, solver)
                marks.append(time.perf_counter())
                user_UF = als.solve(
                    table.by_user, items, ALPHA0, ridges[0], None, als.SolveOptions(solver, start_UF)
                )
                marks.append(time.perf_counter())
                users = als.basis(user_UF, THREADS)
                start_IF = None
                if solver.steps_from is not None:
                    start_IF = als.rotate(items.rotated_IF, users.rotation_FF, THREADS, items.rotated_IF)
                previous = user_UF, users.rotation_FF
                marks.append(time.perf_counter())
                room_IF = items.rotated_IF
                item_IF = als.solve(
                    table.by_item, users, ALPHA0, ridges[1], None, als.SolveOptions(solver, start_IF, room_IF)
                )
                marks.append(time.perf_counter())
                times.append(marks[-1] - marks[0])
                kept.append(dict(zip(STAGES, np.diff(marks), strict=True)))
        quickest = kept[int(np.argmin(times[1:])) + 1]
        stages = {key: 1000 * float(value) for key, value in quickest.items()}

        def error() -> float:
            with thread_limit(THREADS):
                items = als.basis(item_IF, THREADS)
                start_UF = _turned(previous, items, solver)
                rows_UF = als.solve(
                    table.by_user, items, ALPHA0, ridges[0], None, als.SolveOptions(solver, start_UF)
                )
                return _distance(rows_UF, als.solve(table.by_user, items, ALPHA0, ridges[0]))

        return Run(times[1:], stages, error)

    return run


def _turned(previous: tuple[Float32, Float32] | None, items: als.Basis, solver: als.Solver) -> Float32 | None:
    """Where the users' conjugate gradients start: their last rows in the new basis."""
    if previous is None or solver.steps_from is None:
        return None
    user_UF, turn_FF = previous
    return als.rotate(user_UF, np.ascontiguousarray(turn_FF @ items.rotation_FF), THREADS)


class _EnoughError(Exception):
    pass


def _implicit(use_cg: bool) -> Callable[[Interactions, int], Run]:
    def run(table: Interactions, factors: int) -> Run:
        import scipy.sparse as sp
        from implicit.cpu import _als
        from implicit.cpu.als import AlternatingLeastSquares

        ones_N = np.ones(len(table), np.float32)
        shape = (table.n_users, table.n_items)
        matrix = sp.csr_matrix((ones_N, (table.user_idx, table.item_idx)), shape=shape)
        times: list[float] = []

        def keep(iteration: int, seconds: float, loss: object) -> None:
            times.append(seconds)
            if len(times) >= 2 and sum(times) > PATIENCE:
                raise _EnoughError

        model = AlternatingLeastSquares(
            factors,
            regularization=REG,
            alpha=1 + 1 / ALPHA0,  # α₀ in implicit's scale, where unobserved pairs weigh one
            use_cg=use_cg,
            iterations=SWEEPS + 1,
            num_threads=THREADS,
            random_state=0,
        )
        model.fit_callback = keep
        with contextlib.suppress(_EnoughError):
            model.fit(matrix, show_progress=False)

        def error() -> float:
            if not use_cg:
                return 0.0
            weights = matrix * np.float32(1 + 1 / ALPHA0)
            steps_UF, exact_UF = model.user_factors.copy(), model.user_factors.copy()
            _als.least_squares_cg(weights, steps_UF, model.item_factors, REG, THREADS)
            _als.least_squares(weights, exact_UF, model.item_factors, REG, THREADS)
            return _distance(steps_UF, exact_UF)

        return Run(times[1:], {}, error)

    return run


def _numpy(table: Interactions, factors: int) -> Run:
    """A loop over rows with the dense solve of every textbook, a sample of each side scaled to all."""
    rng = np.random.default_rng(0)
    fixed = {side: rng.standard_normal((size, factors), np.float32) * 0.1
             for side, size in (("users", table.n_items), ("items", table.n_users))}  # fmt: skip
    times = []
    for _ in range(SWEEPS):
        total = 0.0
        for rows, y_RF in ((table.by_user, fixed["users"]), (table.by_item, fixed["items"])):
            n_rows = len(rows.offsets) - 1
            sample = rng.choice(n_rows, min(SAMPLE, n_rows), replace=False)
            start = time.perf_counter()
            base_FF = ALPHA0 * y_RF.T @ y_RF + REG * np.eye(factors, dtype=np.float32)
            dense = time.perf_counter()
            for row in sample:
                y_NF = y_RF[rows.columns[rows.offsets[row] : rows.offsets[row + 1]]]
                np.linalg.solve(base_FF + y_NF.T @ y_NF, y_NF.sum(axis=0))
            total += dense - start + (time.perf_counter() - dense) * n_rows / len(sample)
        times.append(total)
    return Run(times, {}, float)


SOLVERS: Mapping[str, Callable[[Interactions, int], Run]] = {
    "ours exact": _ours("exact"),
    "ours auto": _ours("auto"),
    "implicit CG": _implicit(True),
    "implicit exact": _implicit(False),
    "numpy": _numpy,
}


def operations(table: Interactions, factors: int) -> float:
    """Floating-point operations of one exact sweep, symmetric products counted once."""
    total = 0.0
    for counts_R in (table.user_counts, table.item_counts):
        n_R = counts_R.astype(np.float64)
        short_R = n_R**2 * factors + n_R**3 / 3 + 6 * n_R * factors
        long_R = n_R * factors**2 + factors**3 / 3 + 4 * n_R * factors
        total += float(np.where(n_R < factors / 2, short_R, long_R).sum())
        total += len(n_R) * 3.0 * factors**2 + 9 * factors**3  # Gramian, rotation, eigenvectors
    return total


def sgemm_gflops() -> float:
    """What this machine's BLAS reaches in float32 on all of our threads."""
    from threadpoolctl import threadpool_limits

    a, b = np.ones((2, 1536, 1536), np.float32)
    times = []
    with threadpool_limits(THREADS):
        for _ in range(8):
            start = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - start)
    return 2 * 1536**3 / min(times) / 1e9


def render(cases: list[dict[str, Any]]) -> str:
    """The page: speed, memory and floor of every case."""
    cases = sorted(cases, key=lambda case: (TABLES.index(case["table"]), case["factors"]))
    dates = sorted({case["date"] for case in cases})
    loads = [load for case in cases for load in case["load"]]
    return f"""# Speed of the ALS solver

Measured {", ".join(dates)} by `python -m benchmarks.solver` on {THREADS} threads; load average while
measuring {min(loads):.1f} to {max(loads):.1f}, of which the program itself makes about {THREADS}.
Where dates differ machines do, too: compare within a row.
A sweep is one half step of each side. Figures are median (minimum) in milliseconds over up to
{ROUNDS * SWEEPS} sweeps in {ROUNDS} processes per solver, taken in turns; a process stops after
{PATIENCE:.0f} s. `implicit` 0.7 runs with {THREADS} threads and BLAS on one, its CG with three steps.
NumPy solves {SAMPLE} rows of each side, scaled to all, on one thread.

"exact" solves every row directly. "auto" solves rows of {als.AUTO.steps_from} entries or more by
warm-started, preconditioned conjugate gradients to a relative residual of {als.AUTO.tolerance:g}; a
fitted model's user rows are exact either way. "error" is how far one more half step of the users lies
from the exact one of the same program, ‖X - X*‖ / ‖X*‖: implicit's three steps stop where they are.

{_speeds(cases)}

How many times faster, by medians:

{_ratios(cases)}

Error of a half step:

{_errors(cases)}

Peak memory of the whole process in MiB, with the data loaded:

{_memory(cases)}

## The floor

Operations of one exact sweep over this machine's matrix-product speed in the same case, and where the
quickest sweep's time goes (ms). What lies above the floor is gathering rows of factors from memory, small
Cholesky factorisations and substitutions, which no matrix product does, and other load on the machine.

{_floors(cases)}
"""


def _speeds(cases: list[dict[str, Any]]) -> str:
    rows = [
        [*_label(case), *(f"{statistics.median(t):,.0f} ({min(t):,.0f})" for t in case["ms"].values())]
        for case in cases
    ]
    return _markdown(["data", "factors", *SOLVERS], rows)


def _ratios(cases: list[dict[str, Any]]) -> str:
    pairs = [
        ("ours exact", "implicit CG"),
        ("ours auto", "implicit CG"),
        ("ours exact", "implicit exact"),
        ("ours exact", "numpy"),
    ]
    rows = []
    for case in cases:
        middle = {solver: statistics.median(times) for solver, times in case["ms"].items()}
        rows.append([*_label(case), *(f"{middle[peer] / middle[own]:.1f}" for own, peer in pairs)])
    return _markdown(["data", "factors", *(f"{own} : {peer}" for own, peer in pairs)], rows)


def _errors(cases: list[dict[str, Any]]) -> str:
    inexact = ("ours auto", "implicit CG")
    rows = [[*_label(case), *(f"{case['error'][solver]:.1e}" for solver in inexact)] for case in cases]
    return _markdown(["data", "factors", *inexact], rows)


def _memory(cases: list[dict[str, Any]]) -> str:
    rows = [[*_label(case), *(f"{peak:,.0f}" for peak in case["peak_mib"].values())] for case in cases]
    return _markdown(["data", "factors", *SOLVERS], rows)


def _floors(cases: list[dict[str, Any]]) -> str:
    rows = [
        [
            *_label(case),
            f"{case['gflop']:.2f}",
            f"{case['gflops']:.0f}",
            f"{1000 * case['gflop'] / case['gflops']:.0f}",
            f"{min(case['ms']['ours exact']):.0f}",
            *(f"{ms:.0f}" for ms in case["stages"].values()),
        ]
        for case in cases
    ]
    stages = cases[0]["stages"]
    return _markdown(["data", "factors", "GFLOP", "GFLOP/s", "floor", "quickest", *stages], rows)


def _label(case: dict[str, Any]) -> list[str]:
    users, items, events = case["size"]
    return [f"{case['table']} ({users:,} × {items:,}, {events:,})", str(case["factors"])]


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _prepared(name: str) -> Path:
    """The table as one file of arrays that the processes load quickly."""
    file = Path(".cache") / "solver" / f"{name}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        users_N, items_N = _events(name)
        user_idx, item_idx = (np.unique(ids, return_inverse=True)[1] for ids in (users_N, items_N))
        np.savez(file, user_idx=user_idx, item_idx=item_idx)
    return file


def _events(name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    from landbridge.data.splitting.holdout import Split
    from landbridge.datasets import catalog

    if name == "movielens-1m":
        import polars as pl

        ratings = pl.read_parquet(catalog.get(name) / "ratings.parquet")
        return ratings["user"].to_numpy(), ratings["item"].to_numpy()
    data = catalog.load(name)
    table, _ = (data.test.history if isinstance(data, Split) else data).joined()
    return table.user_idx, table.item_idx


def _table(file: Path) -> Interactions:
    arrays = np.load(file)
    users_N, items_N = arrays["user_idx"], arrays["item_idx"]
    return Interactions.from_events(users_N, items_N, int(users_N.max()) + 1, int(items_N.max()) + 1)


def _in_child(file: Path, solver: str, factors: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.solver", "--child", str(file), solver, str(factors)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main()
