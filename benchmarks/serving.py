"""Requests per second and latencies of `landbridge serve`, beside a plain FastAPI and NumPy service.

    python -m benchmarks.serving --out docs/results/serving.md

Two catalogues of 100,000 items each, 64 factors; 16 connections over loopback, each asking again as soon as
it has its answer. One core serves and another asks; the services take turns over several rounds, so that a
busy machine disturbs them alike. Both answer from the same factors, and before anything is timed their lists
are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving_load import load
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.als.ials import IALS
from landbridge.store import save
from landbridge.training.options import FitOptions

ITEMS, USERS, FACTORS, GROUPS = 100_000, 20_000, 64, 50
DOMAINS = ("books", "movies")
PER_USER = 20  # events in each domain
EVENTS = 20  # of a new user, half of them in each domain
K, BODIES = 10, 2000
ROUNDS = 3
SERVICES = {
    "landbridge": ("-c", "from landbridge.cli.main import main; main()", "serve"),
    "FastAPI and NumPy": ("-m", "benchmarks.serving_peer"),
}
KINDS = {"known": "known users", "new": f"{EVENTS} events in two domains, folded in"}


def main() -> None:
    """Fit, serve, ask, and print or write the page."""
    given = arguments(__doc__)
    cores = sorted(os.sched_getaffinity(0))
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        data = shop()
        save(IALS(factors=FACTORS, epochs=3, sharing="joined").fit(data, FitOptions(seed=0)), run)
        os.sched_setaffinity(0, cores[-1:])
        bodies_of_kind = {kind: bodies(data, kind) for kind in KINDS}
        agree(run, cores[0], bodies_of_kind)
        rounds = [
            measured(run, cores[0], name, bodies_of_kind, given) for _ in range(ROUNDS) for name in SERVICES
        ]
    text = page(rounds, cores, busy, given)
    print(text)
    if given.out is not None:
        given.out.write_text(text)


def arguments(about: str | None) -> argparse.Namespace:
    """The command line of a benchmark of servers."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=16)
    return parser.parse_args()


def shop() -> MultiDomain:
    """Users of some tastes; every taste has its items, of which a few are had by many."""
    rng = np.random.default_rng(0)
    group_U = rng.integers(GROUPS, size=USERS)
    tables = {name: taste(group_U, rng) for name in DOMAINS}
    items = {name: Vocabulary.of(np.arange(ITEMS)) for name in DOMAINS}
    return MultiDomain(Vocabulary.of(np.arange(USERS)), items, tables)


def taste(group_U: Any, rng: np.random.Generator) -> Interactions:
    """Four of five events with items of one's own group; the item of rank r with a chance of about 1 / r."""
    size = ITEMS // GROUPS
    user_N = np.repeat(np.arange(USERS), PER_USER)
    own_N = rng.random(len(user_N)) < 0.8
    group_N = np.where(own_N, group_U[user_N], rng.integers(GROUPS, size=len(user_N)))
    rank_N = np.exp(rng.random(len(user_N)) * np.log(size)).astype(np.int64)
    return Interactions.from_events(user_N, group_N + GROUPS * (rank_N - 1), USERS, ITEMS)


def bodies(data: MultiDomain, kind: str) -> list[bytes]:
    """What is requested: lists for known users, or for new ones who have the items of some known user."""
    rng = np.random.default_rng(1)
    users = rng.integers(USERS, size=BODIES).tolist()
    if kind == "known":
        return [body(user=user) for user in users]
    return [body(events=events_of(data, user)) for user in users]


def body(**whom: Any) -> bytes:
    return json.dumps({"domains": ["books"], "k": K, **whom}).encode()


def events_of(data: MultiDomain, user: int) -> list[dict[str, Any]]:
    found = []
    for name in DOMAINS:
        rows = data[name].by_user
        items = rows.columns[rows.offsets[user] : rows.offsets[user + 1]][: EVENTS // len(DOMAINS)]
        found += [{"domain": name, "item": item} for item in items.tolist()]
    return found


@dataclass(frozen=True)
class Server:
    """A service that answers at a port; ``pid``: its process."""

    port: int
    pid: int

    def ask(self, content: bytes) -> Any:
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", "/v1/recommend", content, {"content-type": "application/json"})
        answer = connection.getresponse().read()
        connection.close()
        return json.loads(answer)


@contextmanager
def serving(run: Path, core: int, name: str) -> Iterator[Server]:
    """The service on one core, with one thread."""
    port = 8700 + list(SERVICES).index(name)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [sys.executable, *SERVICES[name], str(run), "--port", str(port)]
    process = subprocess.Popen(
        ["taskset", "--cpu-list", str(core), *command], env=os.environ | threads, stderr=subprocess.DEVNULL
    )
    try:
        server = Server(port, process.pid)
        await_answer(server, process)
        yield server
    finally:
        process.terminate()
        process.wait()


def await_answer(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Until it answers; the first answers compile what they need."""
    while process.poll() is None:
        try:
            for _ in range(20):
                server.ask(body(user=0))
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("The service ended before it answered.")


def agree(run: Path, core: int, bodies_of_kind: Mapping[str, Sequence[bytes]]) -> None:
    """Both services must give the same lists."""
    found = []
    for name in SERVICES:
        with serving(run, core, name) as server:
            answers = [server.ask(content) for kind in KINDS for content in bodies_of_kind[kind][:50]]
            found.append([item["item"] for answer in answers for item in answer["items"]])
    same = float(np.mean(np.array(found[0]) == np.array(found[1])))
    if same < 0.98:  # equal but for rounding
        raise SystemExit(f"The services disagree: only {same:.0%} of the places hold the same item.")


def measured(
    run: Path, core: int, name: str, bodies_of_kind: Mapping[str, Sequence[bytes]], given: argparse.Namespace
) -> dict[str, Any]:
    """One service: figures, and milliseconds of processor per answer, by kind; and its memory."""
    found: dict[str, Any] = {"name": name}
    with serving(run, core, name) as server:
        for kind in KINDS:
            before = processor_ms(server.pid)
            figures = load(server.port, bodies_of_kind[kind], given.connections, given.seconds)
            found[kind] = figures, (processor_ms(server.pid) - before) / figures.answers
        found["memory"] = peak_mb(server.pid)
    print(found, flush=True)
    return found


def processor_ms(pid: int) -> float:
    """Time that all threads of a process have had on a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) / 1024


def page(rounds: Sequence[Mapping[str, Any]], cores: Sequence[int], busy: float, given: Any) -> str:
    rows = [row(rounds, name, kind) for kind in KINDS for name in SERVICES]
    lines = "\n".join(rows)
    shared = "cores of their own" if len(cores) > 1 else "one core, which they share"
    return f"""# Serving

Measured {time.strftime("%Y-%m-%d")} by `python -m benchmarks.serving` on {len(cores)} cores, load average
before it {busy:.1f}.

Two catalogues of {ITEMS:,} items each, {FACTORS} factors, {USERS:,} users with {PER_USER} events in each;
lists of {K} books, without what the user has. {given.connections} connections over loopback, each asking
again as soon as it is answered, for {given.seconds:g} seconds; the best of {ROUNDS} rounds in which the
services take turns. The service and the one who asks have {shared}, and the service has one thread for its
arithmetic. Where the load average is far above the number of cores, others had most of them, and only the
processor's time per answer can be trusted.

| requested | service | requests/s | p50, ms | p99, ms | processor, ms per answer | memory, MB |
|---|---|---|---|---|---|---|
{lines}

The peer is what one writes in an afternoon (`benchmarks/serving_peer.py`): one FastAPI route, one product
of all items with one row, `argpartition`, and for new users one small linear system. Its lists and ours
are compared before the clock starts. Peak memory is that of the whole process, reading the run included.
The users of this shop are made up: few items are had by many, as in real data, and our service passes over
tiles of items whose rows are too short to matter, so another catalogue may give another ratio.

What holds besides speed: [serving-tests](serving-tests.md).
"""


def row(rounds: Sequence[Mapping[str, Any]], name: str, kind: str) -> str:
    """The round in which the service was disturbed least."""
    own = [found for found in rounds if found["name"] == name]
    best, processor = max((found[kind] for found in own), key=lambda pair: pair[0].per_second)
    memory = max(found["memory"] for found in own)
    cells = (
        f"{best.per_second:,.0f}",
        f"{best.p50:.1f}",
        f"{best.p99:.1f}",
        f"{processor:.2f}",
        f"{memory:,.0f}",
    )
    return f"| {KINDS[kind]} | {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
