"""CDIMF: implicit ALS per domain, tied by an ADMM consensus on the shared users' embeddings.

arXiv 2409.15568 (RecSys 2024). Every domain d keeps its own events R_d and item embeddings Y_d. A shared user
u has one embedding x_u^d in every domain of theirs, tied to a consensus z_u; t_u^d is the scaled dual. Each
epoch repeats K times

    x_u^d = argmin  F_d(x) + ρ ‖x - z_u + t_u^d‖²                                                     (1)
    m_u^d = x_u^d + t_u^d                     (the message: all that ever leaves a domain)            (2)
    z_u   = Dρ / (Dρ + λ_z) · mean_d m_u^d    (λ_z = 0: the identity prox)                            (3)
    t_u^d = t_u^d + x_u^d - z_u                                                                       (4)

and then updates every domain's items by implicit ALS, with z_u in place of x_u^d for the tied users,

    Y_d = argmin over items at fixed users.                                                           (5)

F_d is the domain's iALS objective in the user (:mod:`landbridge.models.als.ials`), so (1) is the same solve
with ridge λ_u + ρ and pull ρ (z_u - t_u^d).

The first epochs run without the penalty ρ: z and t are still zero, so ρ would only shrink the embeddings. A
warm start has the penalty from the beginning, because users who do not agree would spoil the previous model's
items. At the end z_u is the optimum of the user's summed objectives at the last items, which is their
fold-in: one solve where all domains are at hand (:mod:`landbridge.models.als.closing`). Parties, whose events
stay with them, come to it by rounds of (1)-(4) at fixed items, until the gap ‖x - z‖ / ‖z‖ and the shift
‖z - z_before‖ / ‖z‖ are both below ``admm.tolerance``. These rounds double or halve ρ whenever gap and shift
differ by a factor of ten, because a large ρ closes the gap at once but far from the optimum. t is the
multiplier divided by ρ, so it is rescaled whenever ρ changes. Where items or users have features, one map
from them to the embeddings of all domains is learned (:mod:`landbridge.models.als.feature_map`); λ_u Bᵀg_u is
then part of the pull of (1). With ρ = 0 no user is tied, and the result is separate ALS.

``admm.variant="paper_code"`` repeats the published program, which is not ADMM. Its pull is scaled by
λ_u^{1/2} on the right-hand side only, the matrix has no ρ, an epoch has one round, items are updated on x,
and there are no closing rounds:

    (A_u + λ_u I) x = b_u + λ (n_u / |V| + α₀)^ν ρ (z_u - t_u^d)                                      (6)

With ``privacy.clip`` a message is x_u^d, clipped and with noise (:mod:`landbridge.models.als.privacy`). Then
z is no more than a prior for x: t stays zero, because it would carry the noise of a round into the next, so
that z weighs ρ beside λ_u however many rounds there are, and ρ must be several λ_u to matter;
items and recommendations use a domain's own x; and no closing round sends anything, which would cost privacy.

With ``half_life_days`` old events weigh less (:mod:`landbridge.models.common.event_age`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from landbridge.core.errors import DivergenceError
from landbridge.core.mapped import copied, zeros
from landbridge.core.rng import generator
from landbridge.core.settings import setting
from landbridge.core.threads import thread_limit
from landbridge.core.types import Float32, Record
from landbridge.data.counts import Counts, TableCounts
from landbridge.data.dataset import MultiDomain
from landbridge.models.als import cost as als_cost
from landbridge.models.als import solver as als
from landbridge.models.als.apart import train_apart
from landbridge.models.als.closing import close
from landbridge.models.als.consensus import ADMM, Consensus
from landbridge.models.als.exchange import Channel, LocalChannel, Residuals, Round, change
from landbridge.models.als.feature_map import (
    FEATURE_REG,
    FIRST_STEPS,
    OFF,
    USER_FEATURE_REG,
    FeatureMap,
    stacked,
    with_mapped,
    with_mapped_users,
)
from landbridge.models.als.fitted import ALSModel, RidgeSpec
from landbridge.models.als.participants import (
    DomainState,
    Mask,
    Membership,
    consensus_users,
    put_consensus,
    user_embeddings_by_domain,
    zero_state,
)
from landbridge.models.als.privacy import Guarantee, Privacy
from landbridge.models.als.warm_start import initial_states, previous_model
from landbridge.models.base import Method
from landbridge.models.common.cold_start import COLD_POLICY, POPULARITY_WEIGHT, ColdPolicy
from landbridge.models.common.event_age import HALF_LIFE, EventAge
from landbridge.models.cost import FLOAT32, Cost, Division, Work, total
from landbridge.models.search_space import Choice, Real, Space, Whole
from landbridge.training.epochs import Checkpoints, FolderCheckpoints, State, run_epochs
from landbridge.training.options import FitOptions

MAX_CLOSING_ROUNDS = 500  # a bound, should residual balancing oscillate
BALANCE = 10  # ratio of gap and shift beyond which the closing rounds change ρ
MAX_VALUE = 1e15  # the square of more would come near the limit of float32, 3e38
START_SCALE = 100.0  # users at the start: the penalty acts relative to the size of the items
PASSES = 14  # over the embeddings of a domain's users in a round, beside the solver's own
RISING_ROUNDS = 4  # the published program's gap rises for three epochs at its defaults


@dataclass(frozen=True)
class CDIMF(Method):
    """Implicit ALS in every domain, tied by a consensus of the shared users' embeddings."""

    factors: int = setting(64, "Length of an embedding.", low=1, symbol="d")
    alpha0: float = setting(0.02, "Weight of all pairs of user and item, seen or not.", above=0, symbol="α₀")
    reg: float = setting(0.02, "L2 penalty of the embeddings.", above=0, symbol="λ")
    frequency_exponent: float = setting(
        0.5, "How much the penalty grows with a row's number of events.", low=0, high=1, symbol="ν"
    )
    epochs: int = setting(12, "Passes over all users and items.", low=1)
    admm: ADMM = setting(ADMM(), "The rounds that bring the domains to agree.")
    consensus: Consensus = setting(Consensus(), "Which users are tied, and how.")
    privacy: Privacy = setting(Privacy(), "Protection of the rows that a domain sends.")
    half_life_days: float = setting(0.0, HALF_LIFE, low=0, symbol="h", of_times=True)
    dislike_weight: float = setting(
        0.0, "Weight of a disliked item as one of preference 0, beside α₀; 0: as any other item.", low=0
    )
    feature_reg: float = setting(1.0, FEATURE_REG, above=0, symbol="κ")
    user_feature_reg: float = setting(1.0, USER_FEATURE_REG, above=0, symbol="κ_u")
    cold_policy: ColdPolicy = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(3.0, POPULARITY_WEIGHT, low=0)
    relative_cost: ClassVar[int] = 5
    name: ClassVar[str] = "cdimf"
    paper: ClassVar[str] = "CDIMF, arXiv 2409.15568, RecSys 2024"
    folds_in: ClassVar[str] = "exact"
    item_features: ClassVar[str] = "a map to embeddings"
    user_features: ClassVar[str] = "a map to embeddings"
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "exponent": "frequency_exponent",
            **{name: f"admm.{name}" for name in ("rho", "rho_warmup", "rho_growth", "inner_sweeps")},
            **{name: f"admm.{name}" for name in ("tolerance", "variant", "on_divergence")},
            "parties": "consensus.domains",
            "shared_fraction": "consensus.shared_fraction",
            "aggregate_every": "consensus.every",
            "shrink": "consensus.reg",
            **{f"consensus_{name}": f"consensus.{name}" for name in ("domains", "every", "reg")},
            "cold_weight": "popularity_weight",
        }
    )
    warm_starts: ClassVar[bool] = True
    space: ClassVar[Space] = MappingProxyType(
        {
            "factors": Whole(32, 256, log=True),
            "alpha0": Real(0.001, 1.0, log=True),
            "reg": Real(0.003, 100.0, log=True),
            "admm.rho": Real(0.01, 3.0, log=True),
            "half_life_days": Choice((0.0, 30.0, 90.0, 365.0)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    # dense tables with a large penalty, also for demand that moves; sparse tables with little weight of
    # unseen pairs, which is dearer
    starts: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"factors": 128, "alpha0": 0.1, "reg": 20.0},
        {"factors": 128, "alpha0": 0.1, "reg": 20.0, "half_life_days": 90.0},
        {"factors": 128, "alpha0": 0.01, "reg": 0.01},
    )

    @property
    def uses_features(self) -> bool:
        """As in :class:`Method`."""
        return self.feature_reg < OFF

    @property
    def uses_user_features(self) -> bool:
        """As in :class:`Method`; without a consensus there is no common space to map to, and the published
        program has none."""
        return self.user_feature_reg < OFF and self.admm.exact and self.admm.rho > 0

    @classmethod
    def in_auto(cls, data: MultiDomain) -> Mapping[str, Method]:
        """With its defaults."""
        return {cls.name: cls()}

    @property
    def rounds(self) -> int:
        """Exchanges of all epochs, without the closing rounds."""
        return self.rounds_before(self.epochs)

    @property
    def _without_warm_up(self) -> CDIMF:
        return replace(self, admm=replace(self.admm, rho_warmup=0))

    @property
    def guarantee(self) -> Guarantee | None:
        """Differential privacy of what a domain sends, at least; None where rows are sent as they are."""
        # a warm start may have more rounds than a cold one, and the settings do not say which it is
        rounds = max(self.rounds, self._without_warm_up.rounds)
        return self.privacy.guarantee(rounds) if self.privacy.active else None

    @property
    def privacy_facts(self) -> Record | None:
        """As in :class:`Method`."""
        return None if self.guarantee is None else self.guarantee.as_record()

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> ALSModel:
        """Train all domains; only m, Eq. (2), and z, Eq. (3), pass between them."""
        options = options or FitOptions()
        members = self.members(train, options.seed)
        trained = self._trained_apart(train, members, options) or self.train_in(
            train, members, self.local_channel(options.seed), options
        )
        return self._ended(train, members, trained, options, self._solve_at_last)

    def _trained_apart(
        self, train: MultiDomain, members: Membership, options: FitOptions
    ) -> tuple[State, tuple[Record, ...]] | None:
        """As ``train_in``, with every domain at a worker of its own; None where that cannot be."""
        if options.executor is None or not self._divides(train, options):
            return None
        folder = None if options.work_dir is None else options.work_dir.absolute()
        kept = FolderCheckpoints(folder, self._identity(train, options.seed))
        local = self.local_channel(options.seed)
        return train_apart(options.executor, train, members, local, options.seed, self.train_in, kept)

    def _divides(self, train: MultiDomain, options: FitOptions) -> bool:
        """Whether domains can be at workers of their own: one map of features is of all, and so are models
        between epochs and previous models."""
        of_all = options.validate, options.initial, train.item_features, train.user_features
        return len(train.domains) > 1 and all(each is None for each in of_all)

    def _identity(self, train: MultiDomain, seed: int) -> Record:
        """What a checkpoint must match."""
        return {"settings": asdict(self), "data": train.fingerprint, "seed": seed}

    def local_channel(self, seed: int) -> LocalChannel:
        """The channel of a fit with all domains in one process; ``seed``: of the noise."""
        return LocalChannel(self.consensus.reg, self.privacy, seed)

    def fit_in(
        self, train: MultiDomain, members: Membership, channel: Channel, options: FitOptions
    ) -> ALSModel:
        """Train the domains of ``train`` in the consensus of all domains that the channel joins; what others
        hold stays there, so that it ends with rounds."""
        trained = self.train_in(train, members, channel, options)
        steps = self._steps(options)
        return self._ended(train, members, trained, options, partial(steps._close, channel))

    def _ended(
        self,
        train: MultiDomain,
        members: Membership,
        trained: tuple[State, tuple[Record, ...]],
        options: FitOptions,
        end: Callable[[Mapping[str, DomainState], State, int, FeatureMap | None], Record],
    ) -> ALSModel:
        """The model after all epochs. ``end``: brings the state to the users' optimum at its items, and says
        how; the published program has no end, and none may send anything where messages cost privacy."""
        (state, log), domains = trained, self._domain_states(train, members.tied_U)
        if self.admm.exact:
            user_map = self._user_map(train, domains)
            end = self._steps(options)._apart_at_last if self.privacy.active else end
            with thread_limit(options.threads):
                log = (*log, end(domains, state, options.threads, user_map))
        return self._fitted(train, domains, state, log)

    def _steps(self, options: FitOptions) -> CDIMF:
        """Whose epochs a fit makes."""
        # no warm-up: users without a common penalty would spoil the items of the previous model
        return self if previous_model(options, self, self.factors) is None else self._without_warm_up

    def train_in(
        self,
        train: MultiDomain,
        members: Membership,
        channel: Channel,
        options: FitOptions,
        checkpoints: Checkpoints | None = None,
    ) -> tuple[State, tuple[Record, ...]]:
        """All epochs: the last state and the log. ``checkpoints``: as of ``run_epochs``."""
        domains = self._domain_states(train, members.tied_U)
        feature_map, user_map = self._feature_map(train, domains), self._user_map(train, domains)
        previous = previous_model(options, self, self.factors)
        start = partial(self._start, domains, members, options.seed, options.threads)
        if previous is not None:
            start = partial(initial_states, previous, train, domains, options.seed)
        if feature_map is not None:
            start = partial(self._with_map, feature_map, start)
        if user_map is not None:
            start = partial(self._with_user_map, user_map, start)
        with thread_limit(options.threads):
            return run_epochs(
                "CDIMF",
                self.epochs,
                start,
                partial(
                    self._steps(options)._epoch,
                    domains,
                    channel,
                    options.threads,
                    feature_map=feature_map,
                    user_map=user_map,
                ),
                # the next epoch writes into the items
                lambda state: self._fitted(train, domains, _with_copied_items(domains, state), ()),
                options,
                {**self._identity(train, options.seed), **channel.identity},
                checkpoints,
            )

    def members(self, train: MultiDomain, seed: int) -> Membership:
        """The users of the consensus where all domains are in ``train``; with ρ = 0 no user is tied."""
        everywhere = self.consensus.domains == "all"
        tied_U = consensus_users(train, everywhere, self.consensus.shared_fraction, seed)
        # without a penalty nothing pulls towards z, so z must not be used for the items
        return Membership.of_all(tied_U & (self.admm.rho > 0))

    def rounds_before(self, epoch: int) -> int:
        """The number of exchanges before an epoch."""
        return sum(self._rounds_in(each) for each in range(0, epoch, self.consensus.every))

    def round_after(self, before: Sequence[Residuals]) -> Round:
        """The next round, after the residuals of all rounds ``before`` it."""
        closing = self.rounds_before(self.epochs)
        if len(before) < closing:
            # the last epoch that begins with this round, or before it, and has rounds
            exchanging = range(0, self.epochs, self.consensus.every)
            epoch = max(e for e in exchanging if self.rounds_before(e) <= len(before))
            return self._round_in(epoch, len(before))
        rho = self.admm.grown_rho(self.epochs - 1)
        for each in before[closing:]:
            rho *= _balance(each.gap, each.shift)
        return Round(len(before), rho)

    def _round_in(self, epoch: int, number: int) -> Round:
        dual = not self.admm.warming_up(epoch) and not self.privacy.active
        return Round(number, self.admm.rho_in(epoch), dual)

    def _rounds_in(self, epoch: int) -> int:
        """The number of exchanges in an epoch that has any."""
        return self.admm.inner_sweeps if self.admm.exact and self.admm.rho_in(epoch) > 0 else 1

    def cost(self, counts: Counts) -> Cost:
        """An epoch solves the users of every domain K times, Eqs. (1) to (4), and the items once, Eq. (5)
        (:mod:`landbridge.models.als.cost`); a round also turns the pull into the domain's basis, the result
        back, and passes over the embeddings ``PASSES`` times. The last solve costs no more than a round. In
        memory are x and t of every domain, z, its sum, and the items; at the end, in place of t, the items
        once more or the model's users."""
        tables, row, admm = counts.domains.values(), FLOAT32 * self.factors, self.admm
        users = {name: self._users_of(table, counts) for name, table in counts.domains.items()}
        rounds_of = [self._round(table, users[name]) for name, table in counts.domains.items()]
        items_of = [
            als_cost.half_step_work(table.items, users[name], self.factors)
            + als_cost.basis_work(table.n_items, self.factors)  # of the next round
            + als_cost.rotation_work(table.n_items, self.factors)
            + Work(stream=6 * row * users[name])
            for name, table in counts.domains.items()
        ]
        rounds, items = total(rounds_of), total(items_of)
        exchanges = admm.exact and admm.rho > 0
        per_epoch = admm.inner_sweeps / self.consensus.every if exchanges else 1
        closing = float(admm.exact)
        # one round in each epoch of the warm-up
        spared = min(admm.rho_warmup, self.epochs) * (per_epoch - 1) if exchanges else 0.0
        all_items, all_users = sum(table.n_items for table in tables), sum(users.values())
        own = 0.0 if exchanges and self.consensus.domains == "all" else counts.joined.n_users * len(users)
        return Cost(
            once=rounds * (closing - spared)
            + items
            + Work(sort=counts.events, normal=self.factors * (counts.joined.n_users + all_items)),
            epoch=rounds * per_epoch + items,
            epochs=self.epochs,
            peak=sum(map(als_cost.index_bytes, tables))
            + row * (2 * counts.joined.n_users + all_items + all_users + max(all_users, all_items, own)),
            model=row * (counts.joined.n_users + own + all_items),
            # a domain with its users and items on a node; messages, Eq. (2), meet on one
            division=Division(
                parts=tuple(a * per_epoch + b for a, b in zip(rounds_of, items_of, strict=True)),
                whole=row * counts.joined.n_users,
                moved=row * all_users * per_epoch,
            ),
        )

    @property
    def _own_rows(self) -> bool:
        """Whether a domain uses its own x of tied users and not z."""
        return not self.admm.exact or self.privacy.active

    def _users_of(self, table: TableCounts, counts: Counts) -> float:
        """The users that take part in a domain: those with events there, and all where the consensus ties
        every user in all domains."""
        everywhere = self.consensus.domains == "all" and self.admm.rho > 0
        return counts.joined.users.filled if everywhere else table.users.filled

    def _round(self, table: TableCounts, users: float) -> Work:
        row = FLOAT32 * self.factors
        return (
            als_cost.rows_work(replace(table.users, n_rows=users), self.factors)
            + als_cost.rotation_work(2 * users, self.factors)
            + Work(stream=PASSES * row * users)
        )

    def _domain_states(self, train: MultiDomain, tied_U: Mask) -> dict[str, DomainState]:
        """The state of every domain, for the users whom the consensus ties, (U,)."""
        everywhere = self.consensus.domains == "all"
        penalty = als.FrequencyRidge(self.alpha0, self.reg, self.frequency_exponent)
        return {
            name: DomainState.of(
                events, tied_U, everywhere, penalty, train.excluded(name, seen=True), self.dislike_weight
            )
            for name, events in EventAge.of(train, self.half_life_days).of_data(train).domains.items()
        }

    def _feature_map(self, train: MultiDomain, domains: Mapping[str, DomainState]) -> FeatureMap | None:
        """The map of the items of all domains; None where there are no features or they are not used."""
        if train.item_features is None or not self.uses_features:
            return None
        learned_J = np.concatenate([events.item_counts > 0 for events in train.domains.values()])
        ridge_J = np.concatenate([domain.ridge_I for domain in domains.values()])
        return FeatureMap.of(stacked(train), learned_J, ridge_J, self.feature_reg)

    def _user_map(self, train: MultiDomain, domains: Mapping[str, DomainState]) -> FeatureMap | None:
        """The map of the users of all domains, one domain after the other; None where it is not used."""
        from scipy.sparse import csr_array, vstack

        if train.user_features is None or not self.uses_user_features:
            return None
        features_UV = train.user_features.matrix()
        features_JV = csr_array(vstack([features_UV[domain.users] for domain in domains.values()]))
        ridge_J = np.concatenate([domain.ridge_U for domain in domains.values()])
        return FeatureMap.of(features_JV, np.ones(len(ridge_J), bool), ridge_J, self.user_feature_reg)

    def _with_user_map(self, user_map: FeatureMap, start: Callable[[], State]) -> State:
        """The state with a map that says nothing yet."""
        return start() | {"user_map": np.zeros((user_map.n_features, self.factors), np.float32)}

    def _with_map(self, feature_map: FeatureMap, start: Callable[[], State]) -> State:
        """The state with the map that fits its items."""
        state = start()
        items_JF = np.concatenate([rows for name, rows in state.items() if name.startswith("y:")])
        nothing_VF = np.zeros((feature_map.n_features, self.factors), np.float32)
        return state | {"map": feature_map.fit(items_JF, nothing_VF, FIRST_STEPS)}

    def _start(
        self, domains: Mapping[str, DomainState], members: Membership, seed: int, threads: int
    ) -> State:
        """Small Gaussian items; in the ADMM variant, items fitted to Gaussian users common to all domains.

        Items drawn per domain would give every domain a basis of its own, and the mean of ten such bases is
        nearly zero. Common users put all domains into one basis, so that they agree from the first round.
        """
        state = zero_state(domains, len(members.place_U), self.factors)
        _draw_users(members, generator(seed, "users"), state["z"])
        for name, domain in domains.items():
            np.take(state["z"], domain.users, axis=0, out=state[f"x:{name}"], mode="clip")
            rng = generator(seed, "items", name)
            als.initial(rng, domain.n_items, self.factors, state[f"y:{name}"])
        if self.admm.exact:
            self._items(domains, state, threads)
        state["z"].fill(0)
        return state

    def _epoch(
        self,
        domains: Mapping[str, DomainState],
        channel: Channel,
        threads: int,
        state: State,
        epoch: int,
        feature_map: FeatureMap | None = None,
        user_map: FeatureMap | None = None,
    ) -> tuple[State, Record]:
        """Rounds (1) to (4), ``inner_sweeps`` times, then all items, Eq. (5), and their map.

        All in the memory of ``state``, which is the state afterwards.
        """
        admm, rho = self.admm, self.admm.rho_in(epoch)
        exchange = epoch % self.consensus.every == 0
        # in the memory of the items, which Eq. (5) makes anew
        bases = {name: als.basis(state[f"y:{name}"], threads, out_RF=state[f"y:{name}"]) for name in domains}
        # ρ has just grown: the multiplier ρ t must stay what it was
        if admm.exact and epoch > admm.rho_warmup:
            _rescale(domains, state, admm.rho_growth)
        facts: Record = {"rho": rho}
        first = self.rounds_before(epoch)
        for number in range(first, first + (self._rounds_in(epoch) if exchange else 1)):
            self._users(domains, bases, state, rho, threads, user_map)
            if exchange:
                facts = self._exchange(domains, channel, state, self._round_in(epoch, number))
        if "gap" in facts:
            previous_gap, rising = state["gap"]
            facts["rising"] = int(rising + 1) if facts["gap"] > previous_gap else 0
            # part of the state, so that a resumed fit counts on
            state["gap"] = np.array([facts["gap"], facts["rising"]])
        self._check_divergence(state, facts)
        if user_map is not None:
            users_JF = np.concatenate([self._rows(domain, name, state) for name, domain in domains.items()])
            state["user_map"] = user_map.fit(users_JF, state["user_map"])
        self._items(domains, state, threads, feature_map)
        return state, facts

    def _users(
        self,
        domains: Mapping[str, DomainState],
        bases: Mapping[str, als.Basis],
        state: State,
        rho: float,
        threads: int,
        user_map: FeatureMap | None = None,
    ) -> None:
        """Eq. (1), or Eq. (6) in the published program."""
        from landbridge.models.als import admm_kernels as kernels

        pulls = {}
        if user_map is not None:
            pulls = _by_domain(_user_counts(domains), user_map.pull(state["user_map"]))
        for name, domain in domains.items():
            x_UF = state[f"x:{name}"]  # the last x is not needed: first c is there, then the solution
            rho_U = np.where(domain.tied, np.float32(rho), np.float32(0))
            # Eq. (6), the published program: the pull has the ridge of half exponent, the system no ρ
            pull_U = rho_U if self.admm.exact else rho_U * domain.half_U
            ridge_U = domain.ridge_U + rho_U if self.admm.exact else domain.ridge_U
            kernels.pull(len(domain.users), domain.users, pull_U, state["z"], state[f"t:{name}"], x_UF)
            if pulls:
                x_UF += pulls[name]
            als.rotate(x_UF, bases[name].rotation_FF, threads, x_UF)
            there = als.SolveOptions(out_RF=x_UF)
            als.solve(domain.by_user, bases[name], self.alpha0, ridge_U, x_UF, there)
            # every domain has a basis of its own: only in the common one can x be averaged
            _rotate_back(x_UF, bases[name], threads)

    def _exchange(
        self,
        domains: Mapping[str, DomainState],
        channel: Channel,
        state: State,
        current: Round,
    ) -> Record:
        """Eqs. (2) to (4); says how far the domains are from agreement (``gap``, ``shift``)."""
        from landbridge.models.als import admm_kernels as kernels

        z_UF = channel.consensus(domains, state, current)  # Eqs. (2) and (3)
        apart = tied = 0.0
        for name, domain in domains.items():
            x_UF = state[f"x:{name}"]
            away_U, norm_U = kernels.residuals(domain.users, domain.tied, x_UF, z_UF)
            apart, tied = apart + float(away_U.sum()), tied + float(norm_U.sum())
            if current.dual:
                own = domain.users, domain.tied, x_UF, z_UF, state[f"t:{name}"]
                kernels.update_duals(len(domain.users), *own)  # Eq. (4)
        # Primal and dual residual as in Boyd et al. 2011, Section 3.3; gap and shift are their relative
        # sizes, which do not depend on the scale of the embeddings.
        sums = channel.residuals(current, apart, tied, state["z"], z_UF)
        state["z"] = z_UF
        return {
            "rho": current.rho,
            "primal": float(np.sqrt(sums.apart)),
            "dual": float(current.rho * np.sqrt(sums.moved)),
            "gap": sums.gap,
            "shift": sums.shift,
        }

    def _items(
        self,
        domains: Mapping[str, DomainState],
        state: State,
        threads: int,
        feature_map: FeatureMap | None = None,
    ) -> None:
        """Eq. (5), and the map at these items."""
        pulls = {}
        if feature_map is not None:
            counts = {name: domain.n_items for name, domain in domains.items()}
            pulls = _by_domain(counts, feature_map.pull(state["map"]))
        for name, domain in domains.items():
            # a call for each: only one domain's users are there twice
            self._items_of(
                domain, self._rows(domain, name, state), pulls.get(name), threads, state[f"y:{name}"]
            )
        if feature_map is not None:
            items_JF = np.concatenate([state[f"y:{name}"] for name in domains])
            state["map"] = feature_map.fit(items_JF, state["map"])

    def _items_of(
        self, domain: DomainState, x_UF: Float32, pull_IF: Float32 | None, threads: int, out_IF: Float32
    ) -> None:
        """Eq. (5) of a domain, into ``out_IF``; turns the users ``x_UF``."""
        users = als.basis(x_UF, threads, out_RF=x_UF)
        if pull_IF is not None:
            als.rotate(pull_IF, users.rotation_FF, threads, pull_IF)
        there = als.SolveOptions(out_RF=out_IF)
        als.solve(domain.by_item, users, self.alpha0, domain.ridge_I, pull_IF, there)
        _rotate_back(out_IF, users, threads)

    def _rows(self, domain: DomainState, name: str, state: State) -> Float32:
        """User embeddings of a domain, a new array: the consensus of tied users, the own embedding of the
        others."""
        x_UF = copied(state[f"x:{name}"])
        if not self._own_rows:
            put_consensus(domain, state["z"], x_UF)
        return x_UF

    def _apart_at_last(
        self,
        domains: Mapping[str, DomainState],
        state: State,
        threads: int,
        user_map: FeatureMap | None = None,
    ) -> Record:
        """Every domain's own users, Eq. (1), at its last items: nothing is sent."""
        bases = {name: als.basis(state[f"y:{name}"], threads) for name in domains}
        self._users(domains, bases, state, self.admm.grown_rho(self.epochs - 1), threads, user_map)
        return {"closing_rounds": 0}

    def _solve_at_last(
        self,
        domains: Mapping[str, DomainState],
        state: State,
        threads: int,
        user_map: FeatureMap | None = None,
    ) -> Record:
        """What the rounds of ``_close`` lead to, in one solve."""
        pulls = {}
        if user_map is not None:
            pulls = _by_domain(_user_counts(domains), user_map.pull(state["user_map"]))
        before_UF = state["z"]
        for name in domains:
            del state[f"t:{name}"]  # of no use to a model
        close(domains, state, self.alpha0, self.consensus.reg, threads, pulls)
        moved, norm = change(before_UF, state["z"])
        return {"closing_rounds": 0, "shift": float(np.sqrt(moved / norm)) if norm > 0 else 0.0}

    def _close(
        self,
        channel: Channel,
        domains: Mapping[str, DomainState],
        state: State,
        threads: int,
        user_map: FeatureMap | None = None,
    ) -> Record:
        """Closing rounds (1) to (4) at fixed items until the domains agree."""
        bases = {name: als.basis(state[f"y:{name}"], threads) for name in domains}
        rho = self.admm.grown_rho(self.epochs - 1)
        facts: Record = {}
        rounds, first = 0, self.rounds_before(self.epochs)
        while rounds < MAX_CLOSING_ROUNDS:
            self._users(domains, bases, state, rho, threads, user_map)
            facts = self._exchange(domains, channel, state, Round(first + rounds, rho))
            rounds += 1
            if max(facts["gap"], facts["shift"]) < self.admm.tolerance:
                break
            factor = _balance(facts["gap"], facts["shift"])
            rho *= factor
            _rescale(domains, state, factor)
        return {"closing_rounds": rounds, **facts}

    def _check_divergence(self, state: State, facts: Record) -> None:
        """DivergenceError where values grow without bound.

        A gap that keeps growing is an error too for the published program, unless ``admm.on_divergence``
        is "log".
        """
        # comparisons with NaN are false, too
        bounded = (a.min(initial=0) > -MAX_VALUE and a.max(initial=0) < MAX_VALUE for a in state.values())
        if not all(bounded):
            raise DivergenceError(
                f"Training of CDIMF diverged (embeddings above {MAX_VALUE:.0e}); lower admm.rho "
                f"(now {self.admm.rho})."
            )
        checked = not self.admm.exact and self.admm.on_divergence == "stop"
        if checked and facts.get("rising", 0) >= RISING_ROUNDS:
            raise DivergenceError(
                f"CDIMF diverges: its consensus gap grew {RISING_ROUNDS} epochs in a row, "
                f"to {facts['gap']:.2f}; "
                f"lower admm.rho (now {self.admm.rho}) or use admm.variant='admm'."
            )

    def _fitted(
        self, train: MultiDomain, domains: Mapping[str, DomainState], state: State, log: tuple[Record, ...]
    ) -> ALSModel:
        catalogue = {name: domain.catalogue for name, domain in domains.items()}
        tie = "consensus" if any(domain.tied.any() for domain in domains.values()) else "separate"
        rule = RidgeSpec(
            tie,
            self.alpha0,
            self.reg,
            self.frequency_exponent,
            catalogue,
            self.consensus.domains == "all",
            self.consensus.reg,
            self.dislike_weight,
        )
        users = user_embeddings_by_domain(domains, state, own=self._own_rows)
        items = {name: state[f"y:{name}"] for name in domains}
        maps = dict.fromkeys(domains, state["map"]) if "map" in state else {}
        if maps:
            items = with_mapped(train, items, maps, products=False)
        user_maps = dict.fromkeys(domains, state["user_map"]) if "user_map" in state else {}
        if user_maps:
            users = _described(train, users, state["user_map"], tie)
        cold = self.cold_policy, self.popularity_weight
        return ALSModel(
            train,
            self,
            log,
            users,
            items,
            *cold,
            rule,
            maps,
            user_maps,
            EventAge.of(train, self.half_life_days),
        )


def _described(
    train: MultiDomain, users: Mapping[str, Float32], map_VF: Float32, tie: str
) -> dict[str, Float32]:
    """The embeddings with those of users without events, in the domain or, where users are tied, in any."""
    if tie == "separate":
        return {name: with_mapped_users(train, name, own, map_VF) for name, own in users.items()}
    # of domains that share an array, one array again
    mapped = {id(own): with_mapped_users(train, None, own, map_VF) for own in users.values()}
    return {name: mapped[id(own)] for name, own in users.items()}


def _by_domain(counts: Mapping[str, int], rows_JF: Float32) -> dict[str, Float32]:
    """Rows of all domains, one domain after the other, taken apart. ``counts``: how many each has."""
    return dict(zip(counts, np.split(rows_JF, np.cumsum(list(counts.values()))[:-1]), strict=True))


def _user_counts(domains: Mapping[str, DomainState]) -> dict[str, int]:
    return {name: len(domain.users) for name, domain in domains.items()}


def _balance(gap: float, shift: float) -> float:
    """The factor on ρ before the next closing round: residual balancing (Boyd et al. 2011, Section 3.4.1)."""
    # a larger ρ closes the gap, a smaller one lets z settle
    return 2.0 if gap > BALANCE * shift else 0.5 if shift > BALANCE * gap else 1.0


def _rescale(domains: Mapping[str, DomainState], state: State, growth: float) -> None:
    """The scaled duals after ρ has grown by a factor: t is the multiplier divided by ρ."""
    for name in domains:
        state[f"t:{name}"] /= np.float32(growth)


def _rotate_back(rows_RF: Float32, basis: als.Basis, threads: int) -> None:
    """Rows from the basis of a half step to the common basis of all domains."""
    als.rotate(rows_RF, np.ascontiguousarray(basis.rotation_FF.T), threads, rows_RF)


def _draw_users(members: Membership, rng: np.random.Generator, out_UF: Float32) -> None:
    """Gaussian users, equal places alike."""
    factors = out_UF.shape[1]
    drawn_PF = als.initial(rng, members.n_places, factors, zeros((members.n_places, factors), out_UF))
    np.take(drawn_PF, members.place_U, axis=0, out=out_UF, mode="clip")
    out_UF *= np.float32(START_SCALE)


def _with_copied_items(domains: Mapping[str, DomainState], state: State) -> State:
    return state | {f"y:{name}": copied(state[f"y:{name}"]) for name in domains}
