"""CDIMF in one process, between parties, and with masks: equal lists, bytes, seconds; and what noise costs.

Parties and coordinator are threads of one process that are joined by TLS on the loopback. One party computes
at a time, so that the seconds of the processor beyond those of one process are those of the exchange. Every
cell is kept, and a killed run goes on with the next one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from experiments.common import CELLS, markdown, page, root
from landbridge.core.files import atomic_write, read_arrays, write_arrays
from landbridge.core.threads import thread_limit
from landbridge.core.types import Arrays, Float32, Int64, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.data.splitting.splits import leave_last_out
from landbridge.datasets import catalog
from landbridge.evaluation.evaluate import evaluate
from landbridge.federation import keys, party
from landbridge.federation.coordinator import Coordinator
from landbridge.federation.identity import Certificate
from landbridge.federation.session import Session
from landbridge.federation.terms import Demands, Plan, federated
from landbridge.federation.user_codes import KeyedHash, sorted_order
from landbridge.federation.wire import Wire
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM
from landbridge.models.als.privacy import Privacy
from landbridge.training.options import FitOptions
from landbridge.version import __version__

METRIC, SEED, HOST, DELTA = "ndcg@10", 15, "127.0.0.1", 1e-6
EPSILONS = (np.inf, 100.0, 10.0, 1.0)
ONE = FitOptions(seed=SEED, threads=1)
METHOD = federated(
    CDIMF(factors=32, alpha0=0.1, reg=20.0, epochs=6, admm=ADMM(inner_sweeps=1, tolerance=1e-2))
)
DATA: Mapping[str, Callable[[], MultiDomain | Split]] = {
    "food-kitchen": lambda: catalog.food_kitchen(root() / "amazon-food-kitchen"),
    "ciao": lambda: catalog.ciao(root() / "ciao", n_domains=4),
}
TURN = threading.Lock()


@dataclass
class InTurn:
    """A wire whose party lets others compute while it waits."""

    wire: Wire

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wire, name)

    def request(self, *args: Any) -> Any:
        """As of the wire."""
        TURN.release()
        try:
            return self.wire.request(*args)
        finally:
            TURN.acquire()


ABOUT = (
    "Leak-free split (`last per domain, no future`), test, one seed; 32 factors, six epochs of one round "
    "each and the closing rounds; settings are not tuned. A party does not know users who have events with "
    "others only, so NDCG@10 is over targets of users with events in the domain. Parties and coordinator are "
    "threads of one process, over TLS on the loopback. Food–Kitchen has two domains, so its two parties read "
    "each other's rows, with masks or without; those of Ciao are its four largest."
)
EXCHANGE = (
    "`max difference`: of any item's embedding, and of any user's in a domain where they have events, to the "
    "fit in one process with the users in the parties' order, as a share of the largest number there; "
    "float32 rounds at 6e-8. `up`, `down`: bytes per round and matched user of a party, all frames counted. "
    "Masked rows have 8 bytes a number, for the matched users of all parties; plain ones 4, for the party's "
    "own. `ms per round`: processor time of all sides together, with joining, certificates and matching."
)
NOISE = (
    "Private fits in one process, with noise from a known seed: what parties compute, without their "
    "transport. ε is of all rounds of a fit, at δ = 1e-6, for the rows of one user from one party; ∞ is "
    "clipping alone, at the median norm of the rows. `separate`: no consensus. **At these settings a private "
    "fit is level with separate ALS at every ε, even without noise**, and what the consensus gains on Ciao "
    "Cafe is lost. A private fit also keeps no dual, has no closing rounds, and recommends by a domain's own "
    "rows; which of these it is was not measured."
)


def main(names: list[str]) -> None:
    """Measure the named data sets, all by default, and write the page of those."""
    exchanges, noise = [], []
    for name in names or DATA:
        holdout = _known(leave_last_out(DATA[name](), seed=SEED).test)
        with TemporaryDirectory() as folder:
            parties = _party_names(holdout.history)
            keys.make(Path(folder), list(parties.values()), [HOST])
            codes = KeyedHash.read(Path(folder) / parties[holdout.history.domain_names[0]])
            exchanges += _exchanges(name, holdout, Path(folder), codes)
            noise += _noise(name, holdout)
    page(
        "parties",
        "CDIMF between parties",
        [
            ABOUT,
            "## The same model\n\n" + markdown(exchanges),
            EXCHANGE,
            "## Noise\n\n" + markdown(noise),
            NOISE,
        ],
    )


def _party_names(history: MultiDomain) -> dict[str, str]:
    """Domain -> name for a certificate."""
    return {domain: f"party-{number}" for number, domain in enumerate(history.domain_names)}


def _known(holdout: Holdout) -> Holdout:
    """Only targets of users with events in the target's domain."""
    targets = {
        name: each.take(np.flatnonzero(holdout.history[name].user_counts[each.user_idx] > 0))
        for name, each in holdout.targets.items()
    }
    return replace(holdout, targets=targets)


def _exchanges(name: str, holdout: Holdout, folder: Path, codes: KeyedHash) -> list[Record]:
    """One process, parties, and parties with masks."""
    history = holdout.history
    order_U = _order(history, codes)
    cells = {
        "one process": partial(_in_one_process, history, order_U),
        "parties": partial(_between, history, folder, codes, False),
        "parties, masks": partial(_between, history, folder, codes, True),
    }
    rows: list[Record] = []
    first, _ = _cell(name, "one process", METHOD, holdout, cells["one process"])
    for label, make in cells.items():
        arrays, facts = _cell(name, label, METHOD, holdout, make)
        row = {"data": name, "fit": label, **_shown(facts)}
        row["max difference"] = f"{_difference(first, arrays, history):.1e}"
        row |= {key: facts.get(key, "") for key in ("rounds", "up", "down")}
        row["ms per round"] = 1000 * facts["seconds"] / facts["rounds"]
        rows.append(row)
        print(row, flush=True)
    return rows


def _noise(name: str, holdout: Holdout) -> list[Record]:
    """The quality at each ε, beside no noise and no consensus."""
    history = holdout.history
    arrays, plain = _cell(name, "plain", METHOD, holdout, partial(_fitted, history, METHOD))
    active = {domain: history[domain].user_counts > 0 for domain in history.domain_names}
    norms = [
        np.linalg.norm(arrays[f"user:{domain}"][active_U], axis=1) for domain, active_U in active.items()
    ]
    clip = float(np.median(np.concatenate(norms)))
    private = {
        f"ε {epsilon:g}".replace("inf", "∞"): replace(
            METHOD, privacy=Privacy.calibrated(epsilon, DELTA, METHOD.rounds, clip)
        )
        for epsilon in EPSILONS
    }
    methods = private | {"separate": METHOD.with_settings({"admm.rho": 0.0})}
    rows = [{"data": name, "fit": "no noise", "noise": "", **_shown(plain)}]
    for label, method in methods.items():
        _, facts = _cell(name, label, method, holdout, partial(_fitted, history, method))
        noise = f"{method.privacy.noise:.3g}" if label in private else ""
        rows.append({"data": name, "fit": label, "noise": noise, **_shown(facts)})
        print(rows[-1], flush=True)
    return rows


def _shown(facts: Record) -> Record:
    return {"NDCG@10": ", ".join(f"{domain} {value:.4f}" for domain, value in facts["ndcg"].items())}


def _cell(
    name: str,
    label: str,
    method: CDIMF,
    holdout: Holdout,
    make: Callable[[], tuple[Mapping[str, Any], Record]],
) -> tuple[Arrays, Record]:
    """Models by domain and facts, computed once: embeddings, and NDCG by domain."""
    key = json.dumps([name, label, method.flat(), holdout.fingerprint, SEED, __version__], sort_keys=True)
    path = CELLS / "parties" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"
    if not path.exists():
        models, facts = make()
        ndcg = {
            domain: float(evaluate(model, holdout.select([domain]), threads=1).means(METRIC)[domain])
            for domain, model in models.items()
        }
        arrays: Arrays = {f"item:{domain}": model.item_IF[domain] for domain, model in models.items()}
        arrays |= {f"user:{domain}": model.user_UF[domain] for domain, model in models.items()}
        with atomic_write(path) as temporary:
            write_arrays(temporary, arrays, {**facts, "ndcg": ndcg})
    return read_arrays(path)


def _difference(one: Arrays, other: Arrays, history: MultiDomain) -> float:
    """The largest, over items and over users with events in the domain, as a share of the largest number."""
    differences = []
    for domain, events in history.domains.items():
        active_U = events.user_counts > 0
        for key, rows in ((f"item:{domain}", slice(None)), (f"user:{domain}", active_U)):
            own, others = one[key][rows], other[key][rows]
            differences.append(np.abs(own - others).max() / np.abs(own).max())
    return float(max(differences))


def _order(history: MultiDomain, codes: KeyedHash) -> Int64:
    """The users as a session orders them: matched ones, then the others of each domain, by their codes."""
    by_code_U = sorted_order(codes.of(history.users.ids))
    active_UD, shared_U = history.activity_UD[by_code_U] > 0, history.shared_U[by_code_U]
    alone = [by_code_U[active_UD[:, column] & ~shared_U] for column in range(active_UD.shape[1])]
    return np.concatenate([by_code_U[shared_U], *alone, by_code_U[~active_UD.any(axis=1)]])


def _fitted(history: MultiDomain, method: CDIMF) -> tuple[Mapping[str, Any], Record]:
    return dict.fromkeys(history.domain_names, method.fit(history, ONE)), {}


def _in_one_process(history: MultiDomain, order_U: Int64) -> tuple[Mapping[str, Any], Record]:
    ordered = party.in_order(history, order_U)
    METHOD.with_settings({"epochs": 1}).fit(ordered, ONE)  # compiles
    started = time.process_time()
    model = METHOD.fit(ordered, ONE)
    seconds = time.process_time() - started

    def back(ordered_UF: Float32) -> Float32:
        rows_UF = np.empty_like(ordered_UF)
        rows_UF[order_U] = ordered_UF
        return rows_UF

    users = {domain: back(rows_UF) for domain, rows_UF in model.user_UF.items()}
    rounds = METHOD.rounds + model.log[-1]["closing_rounds"]
    own = replace(model, history=history, user_UF=users)
    return dict.fromkeys(history.domain_names, own), {"seconds": seconds, "rounds": rounds}


def _between(
    history: MultiDomain, folder: Path, codes: KeyedHash, masks: bool
) -> tuple[Mapping[str, Any], Record]:
    """A coordinator and one party for each domain."""
    parties = _party_names(history)
    plan = Plan(METHOD, tuple(parties.values()), SEED, two_party_leak_understood=True, masks=masks)
    lines: list[str] = []
    session = Session(plan, folder / f"session-{masks}", note=print)
    coordinator = Coordinator(session, lines.append, linger=0.0)
    serving = coordinator.serve(HOST, 0, keys.server_context(folder / keys.COORDINATOR))
    server = threading.Thread(target=asyncio.run, args=(serving,))
    server.start()
    while not lines:
        time.sleep(0.01)
    port = int(lines[0].split(":")[1].split()[0])
    models: dict[str, Any] = {}

    def join(domain: str, name: str) -> None:
        wire = Wire(HOST, port, keys.client_context(folder / name), 60.0, print)
        demands = Demands(two_party_leak_understood=True, masks=masks)
        with TURN:
            turns: Any = InTurn(wire)
            models[domain] = party.fit(
                history.select([domain]), turns, Certificate(folder / name), codes, ONE, demands=demands
            )
        wire.close()

    started = time.process_time()
    threads = [threading.Thread(target=join, args=each) for each in parties.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.process_time() - started
    server.join()
    matched = sum(len(member.place_M) for member in session.members.values())
    way = {
        way: sum(size for key, size in coordinator.traffic.items() if key.startswith(word))
        for way, word in (("up", "from "), ("down", "to "))
    }
    per = {key: size / session.round / matched for key, size in way.items()}
    return {domain: models[domain] for domain in parties}, {
        "seconds": seconds,
        "rounds": session.round,
        **per,
    }


if __name__ == "__main__":
    with thread_limit(1):  # a party that has finished would set it back
        main(sys.argv[1:])
