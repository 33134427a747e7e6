"""The process that :mod:`benchmarks.scale_peers` measures; of what is imported at the top, all is in every
interpreter.

    python -m benchmarks.scale_peers_child PROGRAM FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.own_memory import Watch, own_bytes

FACTORS, SWEEPS, THREADS = 64, 3, 2
REG, ALPHA = 0.02, 51.0  # of implicit and buffalo, as iALS with α₀ = 0.02
Fit = Callable[
    [Callable[[], None]], int
]  # calls its argument when a sweep ends; returns the bytes of the factors


def ours(in_memory: bool) -> Callable[[Path], tuple[str, Callable[[], Fit]]]:
    """iALS of landbridge."""

    def program(folder: Path) -> tuple[str, Callable[[], Fit]]:
        from dataclasses import replace

        import landbridge as lb
        from benchmarks.epoch_ends import EpochEnds
        from landbridge.data.io.event_cache import open_mapped
        from landbridge.version import __version__

        def prepare() -> Fit:
            data = open_mapped(folder)
            if in_memory:
                events = data["all"]
                copied = {name: np.array(column) for name, column in events.columns.items()}
                data = data.with_events({"all": replace(events, **copied)})

            def fit(end: Callable[[], None]) -> int:
                options = lb.FitOptions(threads=THREADS, progress=EpochEnds(end))
                model = lb.IALS(factors=FACTORS, epochs=SWEEPS, solver="auto").fit(data, options)
                return sum(array.nbytes for array in model.state()[0].values())

            return fit

        return __version__, prepare

    return program


def implicit(use_cg: bool) -> Callable[[Path], tuple[str, Callable[[], Fit]]]:
    """ALS of implicit."""

    def program(folder: Path) -> tuple[str, Callable[[], Fit]]:
        import scipy.sparse as sp
        from implicit import __version__
        from implicit.cpu.als import AlternatingLeastSquares

        def prepare() -> Fit:
            user_N, item_N = (np.load(folder / f"{name}_idx.npy", mmap_mode="r") for name in ("user", "item"))
            offsets = np.append(0, np.cumsum(np.bincount(user_N))).astype(np.int32)
            matrix = sp.csr_matrix((np.ones(len(item_N), np.float32), np.array(item_N), offsets))

            def fit(end: Callable[[], None]) -> int:
                model = AlternatingLeastSquares(
                    FACTORS, regularization=REG, alpha=ALPHA, use_cg=use_cg, iterations=SWEEPS,
                    num_threads=THREADS, random_state=0,
                )  # fmt: skip
                model.fit_callback = lambda *_: end()
                model.fit(matrix, show_progress=False)
                return int(model.user_factors.nbytes + model.item_factors.nbytes)

            return fit

        return __version__, prepare

    return program


def buffalo(folder: Path) -> tuple[str, Callable[[], Fit]]:
    """ALS of buffalo."""
    from importlib.metadata import version

    from buffalo import ALS, ALSOption, MatrixMarketOptions

    def prepare() -> Fit:
        given = MatrixMarketOptions().get_default_option()
        given.input.main, given.data.path = str(folder / "pairs.mtx"), str(folder / "pairs.h5")
        given.data.tmp_dir, given.data.validation = str(folder), {}
        if not (folder / "pairs.mtx").exists():
            _write_market(folder)
        options = ALSOption().get_default_option()
        options.update(
            d=FACTORS, num_iters=SWEEPS, num_workers=THREADS, reg_u=REG, reg_i=REG, alpha=ALPHA,
            compute_loss_on_training=False, evaluation_on_learning=False, random_seed=0, validation={},
        )  # fmt: skip
        model = ALS(options, data_opt=given)
        model.initialize()

        def fit(end: Callable[[], None]) -> int:
            iterate = model._iterate

            def half(buffer: Any, group: str = "rowwise") -> Any:
                result = iterate(buffer, group=group)
                if group == "colwise":
                    end()
                return result

            model._iterate = half
            model.train()
            return int(model.P.nbytes + model.Q.nbytes)

        return fit

    return version("buffalo"), prepare


def _write_market(folder: Path) -> None:
    user_N, item_N = (np.load(folder / f"{name}_idx.npy", mmap_mode="r") for name in ("user", "item"))
    with (folder / "pairs.mtx").open("w") as file:
        file.write("%%MatrixMarket matrix coordinate integer general\n%\n")
        file.write(f"{user_N.max() + 1} {item_N.max() + 1} {len(user_N)}\n")
        for start in range(0, len(user_N), 1 << 20):
            some = slice(start, start + (1 << 20))
            pairs = np.stack([user_N[some] + 1, item_N[some] + 1], axis=1)
            file.write("\n".join(f"{user} {item} 1" for user, item in pairs.tolist()) + "\n")


PROGRAMS: Mapping[str, Callable[[Path], tuple[str, Callable[[], Fit]]]] = {
    "landbridge, mapped": ours(False),
    "landbridge, in memory": ours(True),
    "implicit, CG": implicit(True),
    "implicit, exact": implicit(False),
    "buffalo, CG": buffalo,
}


def main() -> None:
    """Print what is measured."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    version, prepare = PROGRAMS[name](folder)
    watch = Watch()
    fit = prepare()
    marks = [(time.process_time(), time.perf_counter())]
    model = fit(lambda: marks.append((time.process_time(), time.perf_counter())))
    cpu, clock = np.diff(marks, axis=0)[1:].min(axis=0).tolist()  # the first has compilation in it
    facts = {"version": version, "sweep": cpu, "clock": clock, "model": model}
    print(json.dumps({**facts, "most": max(watch.most, own_bytes())}), flush=True)


if __name__ == "__main__":
    main()
