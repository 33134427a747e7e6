"""Implicit ALS with frequency-scaled regularisation, each domain alone or all as one table.

Hu, Koren and Volinsky (ICDM 2008) in the form of Rendle et al. (RecSys 2022), as used by CDIMF
(arXiv 2409.15568). For users X (U, F) and items Y (I, F) of one table with events S it minimises

    Σ_{(u,i)∈S} w_ui (1 - x_u·y_i)² + α₀ Σ_{u,i} (x_u·y_i)² + Σ_u λ_u ‖x_u‖² + Σ_i λ_i ‖y_i‖²          (1)
    λ_u = λ (n_u / |V| + α₀)^{2ν},  λ_i = λ (n_i / |U| + α₀)^{2ν}                                     (2)

and, where disliked pairs D have a weight v (``dislike_weight``), v Σ_{(u,i)∈D} (x_u·y_i)² more,

by exact alternating half steps (:mod:`landbridge.models.als.solver`). ``sharing="separate"`` fits
every domain by itself; ``"joined"`` fits the table [R_1 | … | R_D], so that a user has one embedding for all
domains.

Where items are shared (:mod:`landbridge.data.products`), the joined table has one column per product p with
the embedding y_p, and each domain's item i of product p has a deviation e_di from it: y_di = y_p + e_di.
After (1) on this table, with the users X and the products fixed,

    y_di = argmin_y Σ_{(u,i)∈S_d} w_ui (1 - x_u·y)² + α₀ Σ_{u∈U_d} (x_u·y)² + γ ‖y - y_p‖²             (3)

with U_d the users with events in d and γ ``deviation_reg``: the larger, the nearer a domain's items are to
their products, and the fewer events an item has in it. A last half step gives the users the
optimum at the items y_di, Eq. (1) of :mod:`landbridge.models.als.fitted`.

Where items or users have features, maps from them to the embeddings of each table are learned
(:mod:`landbridge.models.als.feature_map`). With ``half_life_days`` old events weigh less
(:mod:`landbridge.models.common.event_age`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from landbridge.core.mapped import copied, zeros
from landbridge.core.parallel import Executor, started
from landbridge.core.rng import generator
from landbridge.core.settings import setting
from landbridge.core.threads import thread_limit
from landbridge.core.types import Float32, Int32, Ragged, Record
from landbridge.data.counts import Counts, RowLengths, TableCounts
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.models.als import cost as als_cost
from landbridge.models.als import sharded
from landbridge.models.als import solver as als
from landbridge.models.als.deviations import Deviations
from landbridge.models.als.feature_map import (
    FEATURE_REG,
    FIRST_STEPS,
    OFF,
    USER_FEATURE_REG,
    FeatureMap,
    with_mapped,
    with_mapped_users,
)
from landbridge.models.als.fitted import ALSModel, RidgeSpec
from landbridge.models.als.warm_start import initial_items, previous_model
from landbridge.models.base import Method
from landbridge.models.common.cold_start import COLD_POLICY, POPULARITY_WEIGHT, ColdPolicy
from landbridge.models.common.event_age import HALF_LIFE, EventAge
from landbridge.models.common.sharing import Sharing, consecutive, product_tables_of
from landbridge.models.cost import FLOAT32, INT32, Cost, Division, Work, total
from landbridge.models.search_space import Choice, Real, Space, Whole
from landbridge.training.epochs import State, run_epochs
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class IALS(Method):
    """Implicit ALS; its rows of users are the exact optimum at the fitted items."""

    factors: int = setting(64, "Length of an embedding.", low=1, symbol="d")
    sharing: Sharing = setting("separate", "A table for each domain, or one for all domains joined.")
    alpha0: float = setting(0.03, "Weight of all pairs of user and item, seen or not.", above=0, symbol="α₀")
    reg: float = setting(0.03, "L2 penalty of the embeddings.", above=0, symbol="λ")
    frequency_exponent: float = setting(
        0.5, "How much the penalty grows with a row's number of events.", low=0, high=1, symbol="ν"
    )
    epochs: int = setting(12, "Passes over all users and items.", low=1)
    solver: Literal["exact", "auto"] = setting(
        "exact", "Cholesky for every row, or conjugate gradients for the long ones while training."
    )
    half_life_days: float = setting(0.0, HALF_LIFE, low=0, symbol="h", of_times=True)
    dislike_weight: float = setting(
        0.0, "Weight of a disliked item as one of preference 0, beside α₀; 0: as any other item.", low=0
    )
    deviation_reg: float = setting(
        30.0,
        "Of joined domains with shared items: penalty of a domain's deviation from a product's embedding.",
        above=0,
        symbol="γ",
    )
    feature_reg: float = setting(1.0, FEATURE_REG, above=0, symbol="κ")
    user_feature_reg: float = setting(1.0, USER_FEATURE_REG, above=0, symbol="κ_u")
    cold_policy: ColdPolicy = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(3.0, POPULARITY_WEIGHT, low=0)
    relative_cost: ClassVar[int] = 3
    pretrains: ClassVar[bool] = True
    name: ClassVar[str] = "ials"
    paper: ClassVar[str] = "Hu, Koren & Volinsky, ICDM 2008"
    folds_in: ClassVar[str] = "exact"
    shared_items: ClassVar[str] = "an embedding per product, a deviation per domain"
    item_features: ClassVar[str] = "a map to embeddings"
    user_features: ClassVar[str] = "a map to embeddings"
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"exponent": "frequency_exponent", "cold_weight": "popularity_weight"}
    )
    warm_starts: ClassVar[bool] = True
    space: ClassVar[Space] = MappingProxyType(
        {
            "factors": Whole(32, 256, log=True),
            "alpha0": Real(0.001, 1.0, log=True),
            "reg": Real(0.003, 100.0, log=True),  # dense data of one domain want 30 and more
            "half_life_days": Choice((0.0, 30.0, 90.0, 365.0)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )
    shared_space: ClassVar[Space] = MappingProxyType({"deviation_reg": Real(1.0, 10_000.0, log=True)})

    # sparse tables with little weight of unseen pairs; dense tables with a large penalty; demand that moves
    starts: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"factors": 128},
        {"factors": 128, "alpha0": 0.1, "reg": 20.0, "half_life_days": 90.0},
        {"factors": 128, "alpha0": 0.1, "reg": 20.0},
        {"factors": 128, "alpha0": 0.01, "reg": 10.0, "half_life_days": 365.0},
        {"factors": 128, "alpha0": 0.01, "reg": 0.01},
    )

    @property
    def single_domain(self) -> bool:
        """As in :class:`Method`."""
        return self.sharing == "separate"

    @property
    def uses_features(self) -> bool:
        """As in :class:`Method`."""
        return self.feature_reg < OFF

    @property
    def uses_user_features(self) -> bool:
        """As in :class:`Method`."""
        return self.user_feature_reg < OFF

    @classmethod
    def in_auto(cls, data: MultiDomain) -> Mapping[str, Method]:
        """Each domain alone, which is the single-domain baseline, and all domains as one table."""
        return {
            "alone": cls(sharing="separate", solver="auto"),
            "joined": cls(sharing="joined", solver="auto"),
        }

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> ALSModel:
        """Run ``epochs`` sweeps over users and items, then one half step of the users at the final items."""
        options = options or FitOptions()
        with started(options.executor) as executor:
            return self._fit(train, replace(options, executor=executor))

    def _fit(self, train: MultiDomain, options: FitOptions) -> ALSModel:
        age = EventAge.of(train, self.half_life_days)
        learned = age.of_data(train)
        tables = product_tables_of(learned, self.sharing)
        disliked = product_tables_of(train.only_disliked(), self.sharing) if self.dislike_weight else tables
        # the joined table of shared items has a column per product
        products = tables["all"][0].catalogue if self.uses_products and train.products is not None else 0
        rule = self._rule(train, products)
        deviations = Deviations(learned, rule, self.deviation_reg) if rule.products else None
        sides = {
            label: _Table.of(
                table,
                disliked[label][0],
                self,
                self._features(train, columns, table.n_items),
                self._user_features(train),
                options.executor,
            )
            for label, (table, columns) in tables.items()
        }

        def step(state: State, epoch: int) -> tuple[State, Record]:
            with thread_limit(options.threads):
                return {
                    key: array
                    for label, side in sides.items()
                    for key, array in side.sweep(label, state, options.threads).items()
                }, {}

        def fitted(state: State, log: tuple[Record, ...] = ()) -> ALSModel:
            """The model, in the memory of the state's items."""
            users: dict[str, Float32] = {}
            items: dict[str, Float32] = {}
            maps: dict[str, Float32] = {}
            user_maps: dict[str, Float32] = {}
            with thread_limit(options.threads):
                for label, (_, columns) in tables.items():
                    user_UF, item_IF, map_VF, user_map_VF = sides[label].finish(label, state, options.threads)
                    own = {
                        name: item_IF[consecutive(column_I) or column_I] for name, column_I in columns.items()
                    }
                    if deviations is not None:
                        pull_UF = None if user_map_VF is None else sides[label].pull(user_map_VF)
                        user_UF, own = deviations.of(user_UF, own, options.threads, pull_UF)
                    if user_map_VF is not None:
                        domain = None if self.sharing == "joined" else label
                        user_UF = with_mapped_users(train, domain, user_UF, user_map_VF)
                        user_maps |= dict.fromkeys(columns, user_map_VF)
                    users |= dict.fromkeys(columns, user_UF)
                    items |= own
                    maps |= {} if map_VF is None else dict.fromkeys(columns, map_VF)
            if maps:
                items = with_mapped(train, items, maps, bool(rule.products))
            cold = self.cold_policy, self.popularity_weight
            return ALSModel(train, self, log, users, items, *cold, rule, maps, user_maps, age)

        identity = {"settings": asdict(self), "data": train.fingerprint, "seed": options.seed}
        state, log = run_epochs(
            f"iALS {self.sharing}",
            self.epochs,
            lambda: self._start(train, tables, sides, options),
            step,
            lambda state: fitted({name: copied(rows) for name, rows in _without_users(state).items()}),
            options,
            identity,
        )
        state = _without_users(state)
        return fitted(state, log)

    def cost(self, counts: Counts) -> Cost:
        """A sweep is a half step of the users and one of the items; a last half step follows the last sweep
        (:mod:`landbridge.models.als.cost`). In memory are all tables' events by item and the embeddings.
        Deviations of shared items and maps of features are not counted."""
        tables = counts.tables(self.sharing)
        row = FLOAT32 * self.factors
        index = sum(map(als_cost.index_bytes, tables))
        items = sum(table.n_items for table in tables)
        users = sum(table.n_users for table in tables)
        return Cost(
            once=total(self._half_step(table, "users", als.EXACT) for table in tables)
            + Work(sort=counts.events * (2 if self.sharing == "joined" else 1), normal=self.factors * items),
            epoch=total(self._sweep(table) for table in tables),
            epochs=self.epochs,
            peak=index + row * (users + items),
            model=row * (users + items),
            # blocks of rows on each node, the fixed side whole; its basis is made on the first node
            division=Division(
                repeated=als_cost.rotation_work(users + items, self.factors)
                + Work(eigen=2.0 * len(tables) * self.factors**3),
                whole=row * max(max(table.n_users, table.n_items) for table in tables),
                moved=row * (users + items) + 2 * INT32 * counts.events,
            ),
        )

    def _sweep(self, table: TableCounts) -> Work:
        solver = als.solver_named(self.solver, (table.users, table.items), self.factors)
        turned = 0.0 if solver == als.EXACT else table.n_users + table.n_items
        return (
            self._half_step(table, "users", solver)
            + self._half_step(table, "items", solver)
            + als_cost.rotation_work(turned, self.factors)
        )

    def _half_step(self, table: TableCounts, side: str, solver: als.Solver) -> Work:
        rows, fixed = (table.users, table.items) if side == "users" else (table.items, table.users)
        return als_cost.half_step_work(rows, fixed.n_rows, self.factors, solver)

    def _start(
        self,
        train: MultiDomain,
        tables: Mapping[str, tuple[Interactions, dict[str, Int32]]],
        sides: Mapping[str, _Table],
        options: FitOptions,
    ) -> State:
        """Small Gaussian items, or those of a previous model; and the map that fits the latter."""
        previous = previous_model(options, self, self.factors)
        state = {}
        for label, (table, columns) in tables.items():
            room_IF = zeros((table.n_items, self.factors), table.item_idx)
            rng = generator(options.seed, "items", label)
            item_IF = als.initial(rng, table.n_items, self.factors, room_IF)
            for name, column_I in columns.items():
                item_IF[column_I] = initial_items(previous, train, name, item_IF[column_I])
            state[f"item:{label}"] = item_IF
            if (user_map := sides[label].user_map) is not None:
                state[f"user_map:{label}"] = np.zeros((user_map.n_features, self.factors), np.float32)
            if (feature_map := sides[label].feature_map) is not None:
                nothing_VF = np.zeros((feature_map.n_features, self.factors), np.float32)
                state[f"map:{label}"] = (
                    nothing_VF if previous is None else feature_map.fit(item_IF, nothing_VF, FIRST_STEPS)
                )
        return state

    def _features(self, train: MultiDomain, columns: Mapping[str, Int32], n_items: int) -> csr_array | None:
        """F of a table, or None where there are no features or they are not used."""
        if train.item_features is None or not self.uses_features:
            return None
        return train.item_features.matrix_of(columns, n_items)

    def _user_features(self, train: MultiDomain) -> csr_array | None:
        """G, or None where there are no features of users or they are not used."""
        if train.user_features is None or not self.uses_user_features:
            return None
        return train.user_features.matrix()

    def _rule(self, data: MultiDomain, products: int) -> RidgeSpec:
        catalogue = {name: events.catalogue for name, events in data.domains.items()}
        tie = "separate" if self.sharing == "separate" else "pooled"
        return RidgeSpec(
            tie,
            self.alpha0,
            self.reg,
            self.frequency_exponent,
            catalogue,
            dislike_weight=self.dislike_weight,
            products=products,
        )


@dataclass(frozen=True, eq=False)
class _Table:
    """The rows of one table of events with the penalties of its users and items, Eq. (2)."""

    by_user: Ragged
    by_item: Ragged
    alpha0: float
    ridge_U: Float32
    ridge_I: Float32
    solver: als.Solver
    feature_map: FeatureMap | None
    user_map: FeatureMap | None
    executor: Executor | None

    @classmethod
    def of(
        cls,
        events: Interactions,
        disliked: Interactions,
        settings: IALS,
        features_IV: csr_array | None,
        features_UV: csr_array | None,
        executor: Executor | None,
    ) -> _Table:
        """``disliked``: pairs that count with the settings' ``dislike_weight``; ``features_IV``: F;
        ``features_UV``: G; ``executor``: as in :class:`FitOptions`."""
        weight = settings.dislike_weight
        users, items = events.user_counts, events.item_counts
        penalty = als.FrequencyRidge(settings.alpha0, settings.reg, settings.frequency_exponent)
        ridge_U, ridge_I = penalty.of(users, events.catalogue), penalty.of(items, int((users > 0).sum()))
        return cls(
            als.with_dislikes(events.by_user, disliked.by_user, weight),
            als.with_dislikes(events.by_item, disliked.by_item, weight),
            settings.alpha0,
            ridge_U,
            ridge_I,
            als.solver_named(settings.solver, (RowLengths.of(users), RowLengths.of(items)), settings.factors),
            None
            if features_IV is None
            else FeatureMap.of(features_IV, items > 0, ridge_I, settings.feature_reg),
            None
            if features_UV is None
            else FeatureMap.of(features_UV, users > 0, ridge_U, settings.user_feature_reg),
            executor,
        )

    def sweep(self, label: str, state: State, threads: int) -> State:
        """One half step of the users, then one of the items.

        The items alone determine the users, so users are kept only where conjugate gradients start from them.
        All is made in the memory of the last items and, where they are kept, users.
        """
        room_IF = state[f"item:{label}"]
        items = als.basis(room_IF, threads, state.get(f"gramian:{label}"), room_IF)
        start_UF = state.get(f"user:{label}")
        room_UF = self._room(room_IF.shape[1]) if start_UF is None else start_UF
        if start_UF is not None:
            als.rotate(start_UF, items.rotation_FF, threads, room_UF)
        user_map_VF = self._turned(label, state, items)
        user_UF, gramian_FF = sharded.solve(
            self.executor,
            self.by_user,
            items,
            self.alpha0,
            self.ridge_U,
            None if user_map_VF is None else self.pull(user_map_VF),
            als.SolveOptions(self.solver, start_UF, room_UF),
        )
        learned_VF = None
        if self.user_map is not None and user_map_VF is not None:
            learned_VF = self.user_map.fit(user_UF, user_map_VF)
        users = als.basis(user_UF, threads, gramian_FF, user_UF)
        exact = self.solver == als.EXACT
        start_IF = None if exact else als.rotate(room_IF, users.rotation_FF, threads, room_IF)
        options = als.SolveOptions(self.solver, start_IF, room_IF)
        kept: State = {} if exact else {f"user:{label}": users.rotated_IF}
        if learned_VF is not None:
            kept[f"user_map:{label}"] = learned_VF @ users.rotation_FF
        map_VF = pull_IF = None
        if self.feature_map is not None:
            map_VF = state[f"map:{label}"] @ items.rotation_FF @ users.rotation_FF  # the basis turned twice
            pull_IF = self.feature_map.pull(map_VF)
        item_IF, gramian_FF = sharded.solve(
            self.executor, self.by_item, users, self.alpha0, self.ridge_I, pull_IF, options
        )
        if gramian_FF is not None:
            kept[f"gramian:{label}"] = gramian_FF
        if self.feature_map is None or map_VF is None:
            return {f"item:{label}": item_IF, **kept}
        return {f"item:{label}": item_IF, f"map:{label}": self.feature_map.fit(item_IF, map_VF), **kept}

    def _room(self, factors: int) -> Float32:
        """Users of zeros, (U, F), kept where the events are."""
        return zeros((len(self.by_user), factors), self.by_user.columns)

    def pull(self, user_map_VF: Float32) -> Float32:
        """λ_u Bᵀg_u of every user with events, (U, F)."""
        assert self.user_map is not None
        return self.user_map.pull(user_map_VF)

    def _turned(self, label: str, state: State, items: als.Basis) -> Float32 | None:
        """The map of the users' features in the basis of the items, (V, F), if there is one."""
        return None if self.user_map is None else state[f"user_map:{label}"] @ items.rotation_FF

    def finish(
        self, label: str, state: State, threads: int
    ) -> tuple[Float32, Float32, Float32 | None, Float32 | None]:
        """Users, items and the maps of their features, if any, in one basis; every user embedding is the
        optimum at these items, which are turned in the state's memory."""
        item_IF = state[f"item:{label}"]
        items = als.basis(item_IF, threads, out_RF=item_IF)
        map_VF = None if self.feature_map is None else state[f"map:{label}"] @ items.rotation_FF
        user_map_VF = self._turned(label, state, items)
        pull_UF = None if user_map_VF is None else self.pull(user_map_VF)
        there = als.SolveOptions(out_RF=self._room(item_IF.shape[1]))
        user_UF, _ = sharded.solve(
            self.executor, self.by_user, items, self.alpha0, self.ridge_U, pull_UF, there
        )
        return user_UF, items.rotated_IF, map_VF, user_map_VF


def _without_users(state: State) -> State:
    """What a model is made of: its users are solved for at the last items."""
    return {name: rows for name, rows in state.items() if not name.startswith("user:")}
