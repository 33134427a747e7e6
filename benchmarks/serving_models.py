"""Requests per second and latencies of `landbridge serve` with models of several kinds.

    python -m benchmarks.serving_models --out docs/results/serving-models.md

The shop, the requests and the measurement are those of :mod:`benchmarks.serving`; the models take turns.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving import (
    FACTORS,
    ITEMS,
    KINDS,
    PER_USER,
    ROUNDS,
    USERS,
    K,
    arguments,
    bodies,
    measured,
    row,
    shop,
)
from landbridge.data.dataset import MultiDomain
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.mixture import Mixture
from landbridge.models.popularity import Popularity
from landbridge.models.sequential.sasrec import SASRec
from landbridge.store import save
from landbridge.training.options import FitOptions

MODELS: Mapping[str, Method] = {
    f"ALS, {FACTORS} factors": IALS(factors=FACTORS, epochs=3, sharing="joined"),
    "EASE, local": EASE(sharing="joined", form="local"),
    "item-kNN": ItemKNN(sharing="joined"),
    "popularity": Popularity(),
}
SEQUENCES: Mapping[str, Method] = {  # served alone: the blend is of the four above
    f"SASRec, {FACTORS} factors": SASRec.from_settings({"loss.kind": "sampled", "epochs": 1})
}
BLEND = "a blend of the four, equal weights"


def main() -> None:
    """Fit, serve, ask, and print or write the page."""
    given = arguments(__doc__)
    cores = sorted(os.sched_getaffinity(0))
    busy = os.getloadavg()[0]
    data = timed(shop())
    members = {name: {"method": each.name, "settings": each.flat()} for name, each in MODELS.items()}
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Path] = {}
        for name, method in {**MODELS, BLEND: Mixture(members=members), **SEQUENCES}.items():
            runs[name] = Path(folder) / str(len(runs))
            save(method.fit(data, FitOptions(seed=0)), runs[name])
        os.sched_setaffinity(0, cores[-1:])
        bodies_of_kind = {kind: bodies(data, kind) for kind in KINDS}
        rounds = [
            {**measured(run, cores[0], "landbridge", bodies_of_kind, given), "name": name}
            for _ in range(ROUNDS)
            for name, run in runs.items()
        ]
    text = page(rounds, list(runs), cores, busy, given)
    print(text)
    if given.out is not None:
        given.out.write_text(text)


def timed(data: MultiDomain) -> MultiDomain:
    """The shop with a time of every event, each a second after the one before it in the table."""
    start = 1_700_000_000
    return data.with_events(
        {
            name: replace(events, time=start + np.arange(len(events), dtype=np.int64))
            for name, events in data.domains.items()
        }
    )


def page(
    rounds: Sequence[Mapping[str, Any]], names: Sequence[str], cores: Sequence[int], busy: float, given: Any
) -> str:
    """The table, and how it was measured."""
    lines = "\n".join(row(rounds, name, kind) for kind in KINDS for name in names)
    return f"""# Serving models of several kinds

Measured {time.strftime("%Y-%m-%d")} by `python -m benchmarks.serving_models` on {len(cores)} cores, load
average before it {busy:.1f}, as in [serving](serving.md): two catalogues of {ITEMS:,} items each,
{USERS:,} users with {PER_USER} events in each, lists of {K}, {given.connections} connections over loopback;
the best of {ROUNDS} rounds in which the models take turns. The service has one core and one thread.

| requested | model | requests/s | p50, ms | p99, ms | processor, ms per answer | memory, MB |
|---|---|---|---|---|---|---|
{lines}

A model that is a product of factors skips items whose rows are too short to reach the list; the others are
scored for every item of the catalogue, and a blend once for each member that has weight. A sequence model
reads the user's last 50 events through its network, and then scores every item.
"""


if __name__ == "__main__":
    main()
