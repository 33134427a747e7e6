"""One SHA-256 of the factors of a fit over many placements; seconds of each.

    python -m benchmarks.placements    writes docs/results/placements.md

Joined iALS with the automatic solver on synthetic events with skewed items, so that rows are solved in every
way. Every placement is the same fit. Ray starts once; its first fit includes that.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

import landbridge as lb
from landbridge.core.parallel import Executor, Processes, Serial, Threads, environment
from landbridge.core.ray_executor import Ray, variables
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.als import sharded, solver
from landbridge.models.als.fitted import ALSModel

PAGE = Path(__file__).parents[1] / "docs" / "results" / "placements.md"
USERS, ITEMS, EACH = 12_000, 600, 10
METHOD = lb.IALS(factors=32, epochs=3, sharing="joined", solver="auto")


class StoppedError(Exception):
    """The fit is stopped on purpose."""


def data() -> lb.MultiDomain:
    """Two domains with all users in both."""
    rng = np.random.default_rng(0)

    def events() -> Interactions:
        item_N = (ITEMS * rng.random(USERS * EACH) ** 2).astype(np.int64)
        return Interactions.from_events(np.repeat(np.arange(USERS), EACH), item_N, USERS, ITEMS)

    items = {name: Vocabulary.of(range(ITEMS)) for name in ("books", "films")}
    return lb.MultiDomain(Vocabulary.of(range(USERS)), items, {name: events() for name in items})


def sha256(model: ALSModel) -> str:
    """Of all factors."""
    digest = hashlib.sha256()
    for name in sorted(model.item_IF):
        digest.update(model.item_IF[name].tobytes() + model.user_UF[name].tobytes())
    return digest.hexdigest()


@contextmanager
def nodes() -> Iterator[str]:
    """The address of a Ray cluster of two nodes of one processor each, on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    with environment(variables(1)):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
    try:
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()


def main() -> None:
    events, rows = data(), []

    def fit(name: str, options: lb.FitOptions, blocks: int = 4) -> None:
        sharded.ROWS = blocks * solver.BLOCK_ROWS
        began = time.perf_counter()
        digest = sha256(METHOD.fit(events, options))
        rows.append((name, digest, time.perf_counter() - began))
        print(rows[-1], flush=True)

    def on(executor: Executor, threads: int = 1) -> lb.FitOptions:
        return lb.FitOptions(threads=threads, executor=executor)

    METHOD.with_settings({"epochs": 1}).fit(events, lb.FitOptions(threads=1))  # compiles
    fit("one thread", lb.FitOptions(threads=1))
    fit("two threads", lb.FitOptions(threads=2))
    fit("blocks of 2048 rows", on(Serial(1)), 1)
    fit("blocks of 8192 rows", on(Serial(1)), 4)
    fit("blocks of 65536 rows", on(Serial(1)), 32)
    fit("two threads with a block each", on(Threads(2, 1)))
    fit("one process of two threads", on(Processes(1, 2)))
    fit("two processes", on(Processes(2, 1)))
    fit("stopped after an epoch, resumed in two processes", _stopped(events, on(Processes(2, 1))))
    fit("Ray, one worker", on(Ray(1, 1)))
    fit("Ray, two workers", on(Ray(2, 1)))
    fit("stopped after an epoch, resumed on Ray", _stopped(events, on(Ray(2, 1))))
    with nodes() as address:
        fit("Ray, two nodes", on(Ray(2, 1, address)))
        fit("Ray, two nodes, blocks of 4096 rows", on(Ray(2, 1, address)), 2)
    PAGE.write_text(page(rows))


def _stopped(events: lb.MultiDomain, options: lb.FitOptions) -> lb.FitOptions:
    """Options to resume a fit that was stopped between epochs in this process."""
    folder, seen = Path(tempfile.mkdtemp()), []

    def validate(model: object) -> float:
        seen.append(model)
        if len(seen) > 1:
            raise StoppedError
        return 0.0

    with suppress(StoppedError):
        METHOD.fit(events, lb.FitOptions(threads=1, validate=validate, work_dir=folder))
    return replace(options, work_dir=folder)


def page(rows: list[tuple[str, str, float]]) -> str:
    """The page."""
    digests = {digest for _, digest, _ in rows}
    verdict = "All placements have the same bits." if len(digests) == 1 else "**The bits differ.**"
    lines = [f"| {name} | `{digest[:16]}` | {seconds:.1f} |" for name, digest, seconds in rows]
    table = "\n".join(
        ["| placement | SHA-256 of the factors, first 16 digits | seconds |", "|---|---|---:|", *lines]
    )
    return f"""# The same bits anywhere

Made {date.today()} by `python -m benchmarks.placements`: joined iALS with the automatic solver, 32 factors,
three epochs, {2 * USERS * EACH:,} synthetic events of {USERS:,} users and {2 * ITEMS:,} items. {verdict}

{table}

Seconds are of one run beside much other work on two cores, at low priority, and say little: this fit is
small, so that starting processes (once per fit) and Ray takes most of the time. It measures no speed-up.
"""


if __name__ == "__main__":
    main()
