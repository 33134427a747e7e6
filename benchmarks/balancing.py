"""What balancing costs: milliseconds per training step of ADC under every way of weighing its domains.

    python -m benchmarks.balancing --out docs/results/balancing.md

"fixed" weighs and measures nothing, "none" measures only, "gradnorm" measures and weighs. All ways of a case
train the same steps in one thread of one process and take turns of some steps in random order; the first turn
is not counted. A step lasts from the moment its batch is there until the next one is requested, in processor
time, which others on a busy machine disturb least. A turn's figure is the median of its steps, and what is
reported the median over turns, of the figure and of its ratio to that of "fixed" in the same turn.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from landbridge.core.files import atomic_write
from landbridge.core.rng import generator
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.towers.adc import ADC, Balance
from landbridge.training.loop import run_phase
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.version import __version__

SHARING, DOMAINS, EVENTS = ("tower", "user", "cross"), (2, 6), (128, 1024)
WAYS = ("fixed", "none", "gradnorm", "uncertainty")
USERS, ITEMS = 8000, 2000

PAGE = """# What balancing costs

Measured {date} by `python -m benchmarks.balancing --turns {turns} --steps {steps}`, landbridge {version},
torch {torch}, one thread of {cores} cores, load average before it {load:.1f}.

ADC with its defaults, {users} users and {items} items per domain; `events` are those of a domain in a step.
`fixed` weighs and measures nothing, in milliseconds per step; `none` measures only, `gradnorm` measures and
weighs: how much longer a step of theirs lasts. The aim is at most 15 % for up to six domains.

| sharing | domains | events | fixed, ms | none | gradnorm | uncertainty |
|---|---|---|---|---|---|---|
{rows}
"""


@dataclass(frozen=True)
class Case:
    """``events``: of a domain in a step."""

    sharing: str
    domains: int
    events: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--turns", type=int, default=40, help="counted turns of every way")
    parser.add_argument("--steps", type=int, default=8, help="steps of a turn")
    parser.add_argument("--only", default="", help="cases whose 'sharing domains events' contains this")
    parser.add_argument("--out", type=Path, help="write the page here")
    args = parser.parse_args()
    load, rows = os.getloadavg()[0], []
    for case in itertools.starmap(Case, itertools.product(SHARING, DOMAINS, EVENTS)):
        if args.only in f"{case.sharing} {case.domains} {case.events}":
            found = measure(case, args.turns, args.steps)
            print(json.dumps({**vars(case), **found}), flush=True)
            rows.append(_row(case, found))
    if args.out:
        with atomic_write(args.out) as temporary:
            temporary.write_text(_page(args, load, rows))


def measure(case: Case, turns: int, steps: int) -> dict[str, float]:
    """Milliseconds of a step of "fixed", and the ratio of every other way to it."""
    data = _data(case.domains, case.events * steps)
    phases = {way: _phase(case, data, way) for way in WAYS}
    ms: dict[str, list[float]] = {way: [] for way in WAYS}
    order = generator(0, "balancing benchmark", "order")
    for _ in range(turns + 1):
        for way in order.permutation(WAYS).tolist():
            ms[way].append(_turn(phases[way]))
    found = {way: statistics.median(np.divide(ms[way][1:], ms["fixed"][1:])) for way in WAYS[1:]}
    found = {"fixed": statistics.median(ms["fixed"][1:])} | found
    return {way: round(float(figure), 4) for way, figure in found.items()}


def _data(domains: int, events: int) -> MultiDomain:
    """So many events in every domain; some users and items have many of them."""
    names, tables = [f"domain {number}" for number in range(domains)], {}
    for name in names:
        rng = generator(0, "balancing benchmark", name)
        pairs = [_drawn(rng, size, 4 * events) for size in (USERS, ITEMS)]
        distinct = rng.permutation(np.unique(np.stack(pairs), axis=1).T)[:events].T
        tables[name] = Interactions.from_events(*distinct, USERS, ITEMS)
    items = {name: Vocabulary.of(np.arange(ITEMS)) for name in names}
    return MultiDomain(Vocabulary.of(np.arange(USERS)), items, tables)


def _drawn(rng: np.random.Generator, size: int, number: int) -> Any:
    share = rng.lognormal(0, 1, size)
    return rng.choice(size, number, p=share / share.sum())


def _phase(case: Case, data: MultiDomain, way: str) -> Phase[Any]:
    """One epoch over batches that were drawn before."""
    weights = dict.fromkeys(data.domain_names, 1.0) if way == "fixed" else {}
    balance = Balance.from_settings({"kind": way, "weights": weights})
    method = ADC(sharing=case.sharing, balance=balance, batch_size=case.domains * case.events, epochs=1)
    towers, rounds = method.towers(data), method.batches(data, 0, case.sharing == "cross")
    batches = list(rounds.steps(0))
    phase = method.steps(towers, towers.initial(data, 0, method.init_std), rounds)
    return replace(phase, batches=lambda epoch: batches)


def _turn(phase: Phase[Any]) -> float:
    """The median of an epoch's steps in milliseconds."""
    seconds: list[float] = []
    timed = replace(phase, batches=lambda epoch: _timed(phase.batches(epoch), seconds))
    run_phase(timed, FitOptions(threads=1), {})
    return 1000 * statistics.median(seconds)


def _timed(batches: Iterable[Any], seconds: list[float]) -> Iterator[Any]:
    for batch in batches:
        start = time.process_time()
        yield batch
        seconds.append(time.process_time() - start)


def _row(case: Case, found: dict[str, float]) -> str:
    more = [f"{found[way] - 1:+.0%}".replace("-", "−").replace("%", " %") for way in WAYS[1:]]
    fixed = found["fixed"]
    return f"| {' | '.join([*map(str, vars(case).values()), f'{fixed:.2f}', *more])} |"


def _page(args: argparse.Namespace, load: float, rows: list[str]) -> str:
    import torch

    return PAGE.format(
        turns=args.turns,
        steps=args.steps,
        version=__version__,
        torch=torch.__version__,
        cores=len(os.sched_getaffinity(0)),
        load=load,
        date=time.strftime("%Y-%m-%d"),
        users=f"{USERS:,}",
        items=f"{ITEMS:,}",
        rows="\n".join(rows),
    )


if __name__ == "__main__":
    main()
