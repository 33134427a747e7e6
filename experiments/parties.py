"""CDIMF in one process, between parties, and with masks: equal lists, bytes, seconds; what noise costs, what
a longer aggregation period saves, and what attacks find.

Parties and coordinator are processes with networks of their own (:mod:`experiments.sides`). Every cell is
kept, and a killed run goes on with the next one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from experiments import accounting, hostile
from experiments.common import CELLS, SEEDS, cell, digest, markdown, page, root
from experiments.sides import Place, Sides, addresses, networks
from landbridge.core.files import atomic_write, read_arrays, write_arrays
from landbridge.core.threads import thread_limit
from landbridge.core.types import Arrays, Float32, Int64, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.data.splitting.splits import leave_last_out
from landbridge.datasets import catalog
from landbridge.evaluation.evaluate import evaluate, over_seeds
from landbridge.federation import defences, keys, party
from landbridge.federation.audit import COORDINATOR, PARTY, SAME, WHAT
from landbridge.federation.terms import Limits, Plan, federated
from landbridge.federation.user_codes import KeyedHash, sorted_order
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.privacy import Privacy
from landbridge.training.options import FitOptions
from landbridge.version import __version__

METRIC, SEED, DELTA = "ndcg@10", 15, 1e-6
EPSILONS = (100.0, 10.0, 5.0, 1.0)
QUANTILES = (0.5, 0.9, 0.99, 1.0)  # of the norms of rows, for the bound of a private fit
PULLS = (0.1, 1.0, 3.0, 10.0, 30.0, 100.0)  # ρ of private fits, of which validation chooses
PULL = 10.0  # ρ of the private fits of an audit
PERIODS = (1, 2, 5, 10)
KILLED_AT = 5  # round
ONE = FitOptions(seed=SEED, threads=1)
METHOD = federated(
    CDIMF(factors=32, alpha0=0.1, reg=20.0, epochs=6, admm=ADMM(inner_sweeps=1, tolerance=1e-2))
)
DATA: Mapping[str, Callable[[], MultiDomain | Split]] = {
    "food-kitchen": lambda: catalog.food_kitchen(root() / "amazon-food-kitchen"),
    "ciao": lambda: catalog.ciao(root() / "ciao", n_domains=4),
}

ABOUT = (
    "Leak-free split (`last per domain, no future`), test, one seed unless said otherwise; 32 factors, six "
    "epochs of one round each and the closing rounds; settings are not tuned. A party does not know users "
    "who have events with others only, so NDCG@10 is over targets of users with events in the domain. "
    "**Food–Kitchen has two domains, so its two parties read each other's rows, with masks or without**; "
    "those of Ciao are its four largest."
)
EXCHANGE = (
    "`max difference`: of any item's embedding, and of any user's in a domain where they have events, to the "
    "fit in one process with the users in the parties' order, as a share of the largest number there; "
    "float32 rounds at 6e-8. Parties without masks have the bits of one process; with masks, those of one "
    "that sums in fixed point (`tests/unit/federation/test_party.py`), which rounds otherwise than float32. "
    "`up`, `down`: bytes per round and matched user of a party, all frames counted. Masked rows have 8 bytes "
    "a number, for the "
    "matched users of all parties; plain ones 4, for the party's own. `ms per round`: processor time of all "
    "sides together, with joining, certificates, matching and journals, without starting Python. `killed and "
    "back`: the coordinator and one party are killed in round 5 and started again. `one gone`: one party is "
    "killed in round 5 and does not come back; the quorum is all but one."
)
PERIOD = (
    "Ten epochs; `every`: epochs between exchanges (`consensus.every`). Bytes are those of plain rows, both "
    "ways, per matched user of a party. The rounds at the end, which bring the domains to agree, are most of "
    "all rounds, so a longer period saves few bytes."
)
CHOICE = (
    "Mean NDCG@10 over domains on the validation part, one seed, clipped at the median norm without noise. A "
    "private fit has no dual: z is a prior, whose weight is ρ beside the user's own penalty, here λ α₀^ν = 2 "
    "and more. The best ρ is taken for all private fits."
)
NOISE = (
    "Private fits in one process, with noise from a known seed: what parties compute, without their "
    "transport. Means of three seeds, with 95 % intervals over users and seeds. ε is of all rounds of a "
    "fit, at δ = 1e-6, for the rows of one user from one party; ∞ is clipping alone. `bound`: the "
    "quantile of the rows' norms at which they are clipped. `nothing sent`: the same penalty ρ, and z = "
    "0, so that the row shows what ρ does as a mere ridge. `separate`: no consensus. **What makes a "
    "private fit level with the fit without a defence is ρ, not the bound.** On Ciao clipping alone is "
    "level with it in all four domains at the chosen ρ = 10, at any bound, and changes nothing at the "
    "default ρ = 0.1. So the median is a good bound, because the noise grows with it. On Food–Kitchen "
    "validation hardly separates the values up to 3, because the consensus loses Food what it gains "
    "Kitchen, and the chosen fit is near separate ones. **An ε of 10 or less leaves nothing of the "
    "consensus here**: its rows are near those of `nothing sent`, whose gains are of the ridge alone. "
    "At ε = 10 the noise on a row is more than ten times as long as the bound."
)
AUDIT = (
    f"`landbridge audit` of this data, one seed, private fits at ρ = {PULL:g} (the one that validation "
    "chooses on Ciao), clipped at the median norm of the victim's rows. AUC with 95 % intervals over users; "
    "0.5 is a guess. Events of 10 % of the victim's customers are known for `who bought what`. Who is a "
    "customer needs no attack: only users with events take part. Masks change the model by less than a step "
    "of their fixed point, so NDCG@10 is that of no defence."
)


def main(names: list[str]) -> None:
    """Measure the named data sets, all by default, and write the page of those."""
    exchanges, pulls, noise, periods, audits = [], [], [], [], []
    separated = True
    for name in names or DATA:
        split = leave_last_out(DATA[name](), seed=SEED)
        valid, holdout = _known(split.valid), _known(split.test)
        parties = _party_names(holdout.history)
        with TemporaryDirectory() as folder, networks(list(parties.values())) as places:
            separated &= places[keys.COORDINATOR].prefix != ()
            keys.make(Path(folder), list(parties.values()), addresses(len(parties)))
            exchanges += _exchanges(name, holdout, Path(folder), places)
        periods += _periods(name, holdout)
        pulled, trials = _pull(name, valid, _bounds(valid)[0.5])
        pulls += trials
        noise += _noise(name, holdout, pulled, _bounds(holdout))
        audits += _audited(name, holdout)
    attacks, outcome = hostile.attacked()
    where = (
        "Each party and the coordinator is a process in a network namespace of its own; a party's only "
        "cable leads to the coordinator. All connections are TLS 1.3."
        if separated
        else "Each party and the coordinator is a process of its own; they meet on the loopback, because "
        "network namespaces are not allowed here. All connections are TLS 1.3."
    )
    page(
        "parties",
        "CDIMF between parties",
        [
            ABOUT,
            "## The same model\n\n" + where,
            markdown(exchanges),
            EXCHANGE,
            "## Aggregation period\n\n" + markdown(periods),
            PERIOD,
            "## Noise\n\n" + markdown(pulls),
            CHOICE,
            markdown(noise),
            NOISE,
            "## What attacks find\n\n" + markdown(audits),
            AUDIT,
            "## A hostile party\n\n" + hostile.ABOUT,
            markdown(attacks),
            outcome,
            "## The accountant and the masks\n\n" + markdown(accounting.accountant()),
            accounting.ABOUT,
            markdown(accounting.masks()),
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


def _exchanges(name: str, holdout: Holdout, folder: Path, places: Mapping[str, Place]) -> list[Record]:
    """One process, parties, parties with masks, and parties of which some are killed."""
    history = holdout.history
    order_U = _order(history, KeyedHash.read(folder / _party_names(history)[history.domain_names[0]]))
    between = partial(_between, history, folder, places)
    cells = {
        "one process": partial(_in_one_process, history, order_U),
        "parties": partial(between, "plain"),
        "parties, masks": partial(between, "masks", masks=True),
        "parties, killed and back": partial(between, "back", back=True),
    }
    if len(history.domain_names) > 2:
        cells["parties, one gone"] = partial(between, "gone", gone=True)
    rows: list[Record] = []
    first, _ = _cell(name, "one process", METHOD, holdout, cells["one process"])
    for label, make in cells.items():
        arrays, facts = _cell(name, label, METHOD, holdout, make)
        row = {"data": name, "fit": label, **_shown(facts)}
        same = {key: first[key] for key in arrays}
        gone = "gone" in label
        row["max difference"] = "" if gone else f"{_difference(same, arrays, history):.1e}"
        row |= {key: facts.get(key, "") for key in ("rounds", "up", "down")}
        row["ms per round"] = 1000 * facts["seconds"] / facts["rounds"] if "seconds" in facts else ""
        rows.append(row)
        print(row, flush=True)
    return rows


def _periods(name: str, holdout: Holdout) -> list[Record]:
    """The quality and the bytes of each aggregation period."""
    rows: list[Record] = []
    for every in PERIODS:
        method = METHOD.with_settings({"epochs": 10, "consensus.every": every})
        _, facts = _cell(name, "period", method, holdout, partial(_fitted, holdout.history, method))
        rounds = method.rounds + facts["closing"]
        # a row up and a row down in every round
        rows.append(
            {
                "data": name,
                "every": every,
                "rounds in epochs": method.rounds,
                "rounds": rounds,
                "bytes per user": rounds * 2 * 4 * method.factors,
                **_shown(facts),
            }
        )
        print(rows[-1], flush=True)
    return rows


def _pull(name: str, valid: Holdout, clip: float) -> tuple[CDIMF, list[Record]]:
    """The method with the ρ that is best for clipping alone on validation, with one seed; and the trials."""
    trials = {rho: replace(METHOD.with_settings({"admm.rho": rho}), privacy=Privacy(clip)) for rho in PULLS}
    means = {
        rho: float(np.mean(list(cell(method, valid, SEED, "parties")[0].means(METRIC).values())))
        for rho, method in trials.items()
    }
    best = max(means, key=lambda rho: means[rho])
    rows = [{"data": name, **{f"ρ = {rho:g}": mean for rho, mean in means.items()}, "chosen": f"{best:g}"}]
    print(rows[0], flush=True)
    return METHOD.with_settings({"admm.rho": best}), rows


def _bounds(holdout: Holdout) -> dict[float, float]:
    """Quantiles of the norms of the rows of separate fits."""
    history = holdout.history
    user_UF = METHOD.with_settings({"admm.rho": 0.0}).fit(history, ONE).user_UF
    norms = [
        np.linalg.norm(user_UF[domain][history[domain].user_counts > 0], axis=1)
        for domain in history.domain_names
    ]
    return {each: float(np.quantile(np.concatenate(norms), each)) for each in QUANTILES}


def _noise(name: str, holdout: Holdout, pulled: CDIMF, bounds: Mapping[float, float]) -> list[Record]:
    """The quality at each bound and ε, beside no noise, no messages and no consensus."""
    rows: list[Record] = []

    def row(label: str, method: CDIMF, bound: float | str = "") -> None:
        evaluation = over_seeds({seed: cell(method, holdout, seed, "parties")[0] for seed in SEEDS})
        about = {"ρ": f"{method.admm.rho:g}", "bound": f"{bound}", "noise": f"{method.privacy.noise:.3g}"}
        means = {
            each["domain"]: f"{each['mean']:.4f} [{each['low']:.4f}, {each['high']:.4f}]"
            for each in evaluation.summary([METRIC]).iter_rows(named=True)
        }
        shown = ", ".join(f"{domain} {text}" for domain, text in sorted(means.items()))
        rows.append({"data": name, "fit": label, **about, "NDCG@10": shown})
        print(rows[-1], flush=True)

    clip = bounds[0.5]
    row("no noise", METHOD)
    row("separate", METHOD.with_settings({"admm.rho": 0.0}))
    row("ε ∞", replace(METHOD, privacy=Privacy(clip)), 0.5)
    for each, bound in bounds.items():
        row("ε ∞", replace(pulled, privacy=Privacy(bound)), each)
    for epsilon in EPSILONS:
        private = Privacy.calibrated(epsilon, DELTA, pulled.rounds, clip)
        row(f"ε {epsilon:g}", replace(pulled, privacy=private), 0.5)
    row("nothing sent", replace(pulled, privacy=Privacy(1e-12)))
    return rows


def _audited(name: str, holdout: Holdout) -> list[Record]:
    """The attacks on the domain with the most events under each defence, as the audit reports them."""
    history = holdout.history
    victim = max(history.domain_names, key=lambda domain: len(history[domain]))
    method = METHOD.with_settings({"admm.rho": PULL})
    key = digest([victim, EPSILONS, method.flat(), holdout.fingerprint, SEED, __version__])
    path = CELLS / "parties" / f"audit-{key}.json"
    if not path.exists():
        plan = defences.Plan(method, seed=SEED, epsilons=(np.inf, *EPSILONS))
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(defences.audit(holdout, victim, plan, threads=1)), "utf-8")
    made = json.loads(path.read_text("utf-8"))
    utility = {each["defence"]: each[METRIC] for each in made["utility"]}
    rows: list[Record] = []
    for defence in dict.fromkeys(each["defence"] for each in made["findings"]):
        for role in (COORDINATOR, PARTY):
            auc = {
                each["attack"]: f"{each['auc']:.3f} ({each['low']:.3f} to {each['high']:.3f})"
                for each in made["findings"]
                if (each["defence"], each["role"]) == (defence, role) and each["known"] in (None, 0.1)
            }
            quality = utility.get(defence, utility[defences.NONE])
            attacks = {attack: auc.get(attack, "") for attack in (SAME, WHAT)}
            rows.append(
                {
                    "data": name,
                    "victim": victim,
                    "defence": defence,
                    "attacker": role,
                    **attacks,
                    "NDCG@10": quality,
                }
            )
    for baseline in ("single domain", "popularity"):
        rows.append({"data": name, "victim": victim, "defence": baseline, "NDCG@10": utility[baseline]})
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
    key = digest([name, label, method.flat(), holdout.fingerprint, SEED, __version__])
    path = CELLS / "parties" / f"{key}.safetensors"
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
    model = _by_rounds(history, method)
    return dict.fromkeys(history.domain_names, model), {"closing": model.log[-1].get("closing_rounds", 0)}


def _by_rounds(history: MultiDomain, method: CDIMF) -> ALSModel:
    """In one process, with the closing rounds of parties."""
    channel = method.local_channel(ONE.seed)
    return method.fit_in(history, method.members(history, ONE.seed), channel, ONE)


def _in_one_process(history: MultiDomain, order_U: Int64) -> tuple[Mapping[str, Any], Record]:
    ordered = party.in_order(history, order_U)
    _by_rounds(ordered, METHOD.with_settings({"epochs": 1}))  # compiles
    started = time.process_time()
    model = _by_rounds(ordered, METHOD)
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
    history: MultiDomain,
    folder: Path,
    places: Mapping[str, Place],
    label: str,
    masks: bool = False,
    back: bool = False,
    gone: bool = False,
) -> tuple[Mapping[str, Any], Record]:
    """A coordinator and one party for each domain. ``back``, ``gone``: which kills they suffer."""
    parties = _party_names(history)
    names = tuple(parties.values())
    limits, quorum = (Limits(round_seconds=5.0), len(names) - 1) if gone else (Limits(), None)
    plan = Plan(METHOD, names, SEED, quorum, limits, two_party_leak_understood=True, masks=masks)
    parts = {name: history.select([domain]) for domain, name in parties.items()}
    own = folder / label
    own.mkdir()
    for side in (keys.COORDINATOR, *names):
        (own / side).symlink_to(folder / side)
    sides = Sides(own, plan, parts, places)
    sides.start(keys.COORDINATOR, *names)
    if back or gone:
        sides.wait_for(KILLED_AT)
        sides.kill(names[-1])
    if back:
        sides.kill(keys.COORDINATOR)
        sides.start(keys.COORDINATOR, names[-1])
    results = sides.results()
    _, facts = results.pop(keys.COORDINATOR)
    models = {domain: results[name][0] for domain, name in parties.items() if name in results}
    if back or gone:
        # of a part of the way only
        return models, {"rounds": facts["rounds"]}
    facts["seconds"] += sum(each["seconds"] for _, each in results.values())
    return models, facts


if __name__ == "__main__":
    with thread_limit(1):  # a party that has finished would set it back
        main(sys.argv[1:])
