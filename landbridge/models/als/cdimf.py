"""CDIMF: implicit ALS per domain, tied by ADMM on the shared users' factors (arXiv 2409.15568, RecSys 2024).

Every domain d is a party with its own events R_d and item factors Y_d. A shared user u has one row x_u^d
per party she takes part in, tied to a consensus row z_u; t_u^d is the scaled dual. Per epoch, K times

    x_u^d = argmin  F_d(x) + ρ ‖x - z_u + t_u^d‖²                                                     (1)
    m_u^d = x_u^d + t_u^d                     (all that ever leaves a party)                          (2)
    z_u   = Dρ / (Dρ + λ_z) · mean_d m_u^d    (λ_z = 0: the identity prox)                            (3)
    t_u^d = t_u^d + x_u^d - z_u                                                                       (4)

then every party updates its items by implicit ALS with z_u in place of x_u^d for its tied users,

    Y_d = argmin over items at fixed users.                                                           (5)

F_d is the party's iALS objective in the user (:mod:`landbridge.models.als.ials`), so (1) is the same solve
with ridge λ_u + ρ and pull ρ (z_u - t_u^d). The first epochs run without penalty, whatever ρ is: z and t hold
nothing yet, and ρ would only shrink the shared rows. (From an earlier model's items there is a penalty at
once: they are not to be spoilt by users who do not agree.) A fit ends with rounds of (1)-(4) at fixed items
until the gap ‖x - z‖ / ‖z‖ and the shift ‖z - z_before‖ / ‖z‖ are both below ``tolerance``: z_u is then the
optimum of her summed objectives, her fold-in. There ρ is halved or doubled whenever one of the two is ten
times the other, for a large ρ closes the gap at once and far from the optimum. t holds the multiplier
divided by ρ, so it is rescaled whenever ρ changes. With ρ = 0 nobody is tied: separate ALS.

``variant="paper_code"`` repeats the published program, which is not ADMM: its pull λ_u^{1/2}-scaled on the
right-hand side only, without ρ in the matrix, one round per epoch, items updated on x, no last rounds:

    (A_u + λ_u I) x = b_u + λ (n_u / |V| + α₀)^ν ρ (z_u - t_u^d)                                      (6)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from landbridge.core.errors import DivergenceError
from landbridge.core.rng import generator
from landbridge.core.settings import setting
from landbridge.core.threads import thread_limit
from landbridge.data.dataset import MultiDomain
from landbridge.models.als import solver as als
from landbridge.models.als.fitted import ALSModel, RidgeSpec
from landbridge.models.als.participants import DomainState, consensus_users, user_embeddings_by_domain
from landbridge.models.als.solver import require_penalty
from landbridge.models.als.warm_start import initial_states, previous_model
from landbridge.models.base import Float32, Method
from landbridge.models.common.cold_start import COLD_POLICY, POPULARITY_WEIGHT, ColdPolicy
from landbridge.models.search_space import Choice, Real, Space
from landbridge.training.epochs import Record, State, run_epochs
from landbridge.training.options import FitOptions

LAST_ROUNDS = 500
BALANCE = 10  # ratio of gap and shift from which on the last rounds change ρ
LARGEST = 1e15  # above it float32 cannot hold sums of squares
START_SCALE = 100.0
RISING_ROUNDS = 4  # the published program's gap rises for three epochs at its defaults


@dataclass(frozen=True)
class CDIMF(Method):
    """Implicit ALS in every domain, tied by a consensus of the shared users' embeddings."""

    factors: int = setting(64, "Length of an embedding.", low=1, symbol="d")
    alpha0: float = setting(0.02, "Weight of all pairs of user and item, seen or not.", low=0, symbol="α₀")
    reg: float = setting(0.02, "L2 penalty of the embeddings.", low=0, symbol="λ")
    frequency_exponent: float = setting(
        0.5, "How much the penalty grows with a row's number of events.", low=0, high=1, symbol="ν"
    )
    rho: float = setting(
        0.1, "Penalty that ties a user's embeddings to the consensus; 0: separate ALS.", low=0, symbol="ρ"
    )
    consensus_reg: float = setting(0.0, "L2 penalty of the consensus.", low=0, symbol="λ_z")
    epochs: int = setting(12, "Passes over all users and items.", low=1)
    inner_sweeps: int = setting(5, "Rounds (1) to (4) per exchange between the domains.", low=1, symbol="K")
    consensus_every: int = setting(1, "Epochs between exchanges.", low=1)
    rho_warmup: int = setting(1, "First epochs without the penalty ρ.", low=0)
    rho_growth: float = setting(1.0, "Factor on ρ per epoch after the warm-up.", above=0)
    consensus_domains: Literal["all", "active"] = setting(
        "all", "A user takes part in all domains, or in those in which they have events."
    )
    shared_fraction: float = setting(1.0, "Share of the overlapping users that is tied.", low=0, high=1)
    tolerance: float = setting(1e-5, "Gap and shift at which the last rounds end.", above=0)
    variant: Literal["admm", "paper_code"] = setting("admm", "ADMM, or the published program, Eq. (6).")
    on_divergence: Literal["stop", "log"] = setting(
        "stop", "What a growing consensus gap of the published program does: an error, or a record."
    )
    cold_policy: ColdPolicy = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(3.0, POPULARITY_WEIGHT, low=0)
    name: ClassVar[str] = "cdimf"
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "exponent": "frequency_exponent",
            "shrink": "consensus_reg",
            "aggregate_every": "consensus_every",
            "parties": "consensus_domains",
            "cold_weight": "popularity_weight",
        }
    )
    warm_starts: ClassVar[bool] = True
    space: ClassVar[Space] = MappingProxyType(
        {
            "alpha0": Real(0.003, 1.0, log=True),
            "reg": Real(0.003, 10.0, log=True),
            "rho": Real(0.01, 3.0, log=True),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_penalty(self.alpha0, self.reg)

    @classmethod
    def in_auto(cls) -> Mapping[str, Method]:
        """With its defaults."""
        return {cls.name: cls()}

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> ALSModel:
        """Train all parties; only m (2) and z (3) pass between them."""
        options = options or FitOptions()
        parties = self._parties(train, options.seed)
        last = previous_model(options, self, self.factors)
        steps, start = self, partial(self._start, parties, train.n_users, options.seed, options.threads)
        if last is not None:
            steps = replace(self, rho_warmup=0)
            start = partial(initial_states, last, train, parties, options.seed)
        identity = {"settings": asdict(self), "data": train.fingerprint, "seed": options.seed}
        with thread_limit(options.threads):
            state, log = run_epochs(
                "CDIMF",
                self.epochs,
                start,
                partial(steps._epoch, parties, options.threads),
                lambda state: self._fitted(train, parties, state, ()),
                options,
                identity,
            )
            if self.variant == "admm":
                state, closing = steps._close(parties, state, options.threads)
                log = (*log, closing)
        return self._fitted(train, parties, state, log)

    def _parties(self, train: MultiDomain, seed: int) -> dict[str, DomainState]:
        """Every domain's party; with ρ = 0 nobody is tied."""
        everywhere = self.consensus_domains == "all"
        tied_U = consensus_users(train, everywhere, self.shared_fraction, seed) & (self.rho > 0)
        scale = (self.alpha0, self.reg, self.frequency_exponent)
        return {
            name: DomainState.of(events, tied_U, everywhere, *scale) for name, events in train.domains.items()
        }

    def _start(self, parties: Mapping[str, DomainState], n_users: int, seed: int, threads: int) -> State:
        """Small Gaussian items; in the exact variant items fitted to common Gaussian users instead.

        Parties that start from one seed start in one basis, so that even ten of them agree at once.
        The users are large because the penalty is felt relative to the size of the items.
        """
        z_UF = np.float32(START_SCALE) * als.initial(generator(seed, "users"), n_users, self.factors)
        state: State = {"z": np.zeros_like(z_UF), "gap": np.array([np.inf, 0.0])}
        for name, party in parties.items():
            state[f"x:{name}"] = z_UF[party.users]
            state[f"t:{name}"] = np.zeros_like(state[f"x:{name}"])
            state[f"y:{name}"] = als.initial(generator(seed, "items", name), party.n_items, self.factors)
        return (
            state
            if self.variant == "paper_code"
            else state | self._items(parties, state | {"z": z_UF}, threads)
        )

    def _epoch(
        self, parties: Mapping[str, DomainState], threads: int, state: State, epoch: int
    ) -> tuple[State, Record]:
        """One exchange of ``inner_sweeps`` rounds, then every party's items."""
        exact = self.variant == "admm"
        warm = exact and epoch < self.rho_warmup
        rho = 0.0 if warm else self.rho * self.rho_growth ** max(0, epoch - self.rho_warmup)
        exchange = epoch % self.consensus_every == 0
        bases = {name: als.basis(state[f"y:{name}"], threads) for name in parties}
        if exact and epoch > self.rho_warmup:
            state = state | _rescaled(parties, state, self.rho_growth)
        facts: Record = {"rho": rho}
        for _ in range(self.inner_sweeps if exact and exchange and rho > 0 else 1):
            state = state | self._users(parties, bases, state, rho, threads)
            if exchange:
                state, facts = self._exchange(parties, state, rho, dual=not warm)
        if "gap" in facts:
            last, rising = state["gap"]
            facts["rising"] = int(rising + 1) if facts["gap"] > last else 0
            state["gap"] = np.array([facts["gap"], facts["rising"]])
        self._watch(state, facts)
        return state | self._items(parties, state, threads), facts

    def _users(
        self,
        parties: Mapping[str, DomainState],
        bases: Mapping[str, als.Basis],
        state: State,
        rho: float,
        threads: int,
    ) -> State:
        """Eq. (1), or Eq. (6) in the published program."""
        from landbridge.models.als import admm_kernels as kernels

        rows = {}
        for name, party in parties.items():
            rho_U = np.where(party.tied, np.float32(rho), np.float32(0))
            pull_U = rho_U if self.variant == "admm" else rho_U * party.half_U
            ridge_U = party.ridge_U + rho_U if self.variant == "admm" else party.ridge_U
            pull_UF = kernels.pull(party.users, pull_U, state["z"], state[f"t:{name}"])
            turned_UF = als.rotate(pull_UF, bases[name].rotation_FF, threads)
            x_UF = als.solve(party.by_user, bases[name], self.alpha0, ridge_U, turned_UF)
            rows[f"x:{name}"] = _turned_back(x_UF, bases[name], threads)
        return rows

    def _exchange(
        self, parties: Mapping[str, DomainState], state: State, rho: float, dual: bool
    ) -> tuple[State, Record]:
        """Eqs. (2)-(4) and how far the parties are from agreement."""
        from landbridge.models.als import admm_kernels as kernels

        sum_UF = np.zeros_like(state["z"])
        count_U = np.zeros(len(sum_UF), np.float32)
        for name, party in parties.items():
            kernels.add_messages(
                party.users, party.tied, state[f"x:{name}"], state[f"t:{name}"], sum_UF
            )  # Eq. (2)
            count_U[party.users[party.tied]] += 1
        shrunk_U = count_U + self.consensus_reg / rho if rho > 0 else count_U
        z_UF = sum_UF / np.maximum(shrunk_U, 1)[:, None]  # Eq. (3)
        new: State = {"z": z_UF}
        primal = tied_norm = 0.0
        for name, party in parties.items():
            t_UF, away_U, norm_U = kernels.update_duals(
                party.users, party.tied, state[f"x:{name}"], z_UF, state[f"t:{name}"]
            )
            primal, tied_norm = primal + float(away_U.sum()), tied_norm + float(norm_U.sum())
            if dual:
                new[f"t:{name}"] = t_UF  # Eq. (4)
        moved, norm = (float(part_U.sum()) for part_U in kernels.squared_change(state["z"], z_UF))
        return state | new, {
            "rho": rho,
            "primal": float(np.sqrt(primal)),
            "dual": float(rho * np.sqrt(moved)),
            "gap": float(np.sqrt(primal / tied_norm)) if tied_norm > 0 else 0.0,
            "shift": float(np.sqrt(moved / norm)) if norm > 0 else 0.0,
        }

    def _items(self, parties: Mapping[str, DomainState], state: State, threads: int) -> State:
        """Eq. (5)."""
        items = {}
        for name, party in parties.items():
            users = als.basis(self._rows(party, name, state), threads)
            turned_IF = als.solve(party.by_item, users, self.alpha0, party.ridge_I)
            items[f"y:{name}"] = _turned_back(turned_IF, users, threads)
        return items

    def _rows(self, party: DomainState, name: str, state: State) -> Float32:
        """A party's users: the consensus row where tied, her own elsewhere."""
        if self.variant == "paper_code":
            return np.asarray(state[f"x:{name}"])
        return np.where(party.tied[:, None], state["z"][party.users], state[f"x:{name}"])

    def _close(self, parties: Mapping[str, DomainState], state: State, threads: int) -> tuple[State, Record]:
        """Rounds (1)-(4) at fixed items until the parties agree."""
        bases = {name: als.basis(state[f"y:{name}"], threads) for name in parties}
        rho = self.rho * self.rho_growth ** max(0, self.epochs - 1 - self.rho_warmup)
        facts: Record = {}
        rounds = 0
        while rounds < LAST_ROUNDS:
            state = state | self._users(parties, bases, state, rho, threads)
            state, facts = self._exchange(parties, state, rho, dual=True)
            rounds += 1
            gap, shift = facts["gap"], facts["shift"]
            if max(gap, shift) < self.tolerance:
                break
            factor = 2.0 if gap > BALANCE * shift else 0.5 if shift > BALANCE * gap else 1.0
            rho, state = rho * factor, state | _rescaled(parties, state, factor)
        return state, {"closing_rounds": rounds, **facts}

    def _watch(self, state: State, facts: Record) -> None:
        """Refuse what is no number and, unless only logged, the published program's gap that only grows."""
        if not all((np.abs(array) < LARGEST).all() for array in state.values()):
            raise DivergenceError(f"CDIMF's rows grew beyond all numbers; lower rho (now {self.rho}).")
        watched = self.variant == "paper_code" and self.on_divergence == "stop"
        if watched and facts.get("rising", 0) >= RISING_ROUNDS:
            raise DivergenceError(
                f"CDIMF's consensus gap has grown {RISING_ROUNDS} epochs in a row, to {facts['gap']:.2f}; "
                f"lower rho (now {self.rho}) or use variant='admm'."
            )

    def _fitted(
        self, train: MultiDomain, parties: Mapping[str, DomainState], state: State, log: tuple[Record, ...]
    ) -> ALSModel:
        catalogue = {name: party.catalogue for name, party in parties.items()}
        tie = "consensus" if any(party.tied.any() for party in parties.values()) else "separate"
        rule = RidgeSpec(
            tie,
            self.alpha0,
            self.reg,
            self.frequency_exponent,
            catalogue,
            self.consensus_domains == "all",
            self.consensus_reg,
        )
        users = user_embeddings_by_domain(parties, state, own=self.variant == "paper_code")
        items = {name: state[f"y:{name}"] for name in parties}
        return ALSModel(train, self, log, users, items, self.cold_policy, self.popularity_weight, rule)


def _rescaled(parties: Mapping[str, DomainState], state: State, growth: float) -> State:
    """The scaled duals after ρ has grown by a factor."""
    return {f"t:{name}": state[f"t:{name}"] / np.float32(growth) for name in parties}


def _turned_back(rows_RF: Float32, basis: als.Basis, threads: int) -> Float32:
    """Rows in a basis of their own, in the common one."""
    return als.rotate(rows_RF, np.ascontiguousarray(basis.rotation_FF.T), threads)
