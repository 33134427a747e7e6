"""The end of a fit of CDIMF where all domains are at hand: every user's optimum at the last items.

A tied user's is that of the sum of the objectives in the domains P_u that tie them,

    z_u = argmin Σ_{d∈P_u} F_d(z) + λ_z ‖z‖²,                                                          (1)

one solve against the items of these domains, taken as one table. It is the limit of CDIMF's rounds at fixed
items, without a message. An untied user's is that of every domain alone. Users with the same domains share
the Gramian of their items, hence one eigendecomposition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from landbridge.core.mapped import copied
from landbridge.core.types import Float32, Float64, Int64, Ragged, blocks
from landbridge.models.als import solver as als
from landbridge.models.als.participants import DomainState, Mask, put_consensus
from landbridge.training.epochs import State

USERS = 512  # that are solved at once


def close(
    domains: Mapping[str, DomainState],
    state: State,
    alpha0: float,
    shrink: float,
    threads: int,
    pulls: Mapping[str, Float32] | None = None,
) -> None:
    """Make ``z``, a new array, and ``x`` of the state every user's optimum at its items. ``shrink``: λ_z;
    ``pulls``: c of every row of a domain, (U, F), where features of users pull. Call this inside
    ``thread_limit``."""
    gramians = {name: als.gramian(state[f"y:{name}"], threads) for name in domains}
    problem = _Problem(domains, state, gramians, alpha0, threads, pulls or {})
    z_UF = copied(state["z"])
    for names, user_P in _ties(domains, len(z_UF)):
        for user_B, best_BF in problem.optima(names, user_P, shrink):
            z_UF[user_B] = best_BF
    state["z"] = z_UF
    for name, domain in domains.items():
        x_UF = state[f"x:{name}"]
        put_consensus(domain, z_UF, x_UF)
        for user_B, best_BF in problem.optima((name,), domain.users[~domain.tied], 0.0):
            x_UF[np.searchsorted(domain.users, user_B)] = best_BF


def _ties(domains: Mapping[str, DomainState], n_users: int) -> Iterator[tuple[tuple[str, ...], Int64]]:
    """Sets of domains, and the users whom exactly these tie."""
    tied_UD = np.zeros((n_users, len(domains)), bool)
    for column, domain in enumerate(domains.values()):
        tied_UD[domain.users[domain.tied], column] = True
    # in bytes, eight domains compare at once
    sets, set_U = np.unique(np.packbits(tied_UD, axis=1), axis=0, return_inverse=True)
    users_of = Ragged.from_index(set_U.reshape(-1), np.arange(n_users), len(sets))
    for number, part_D in enumerate(np.unpackbits(sets, axis=1, count=len(domains)).astype(bool)):
        if names := tuple(name for name, part in zip(domains, part_D, strict=True) if part):
            yield names, users_of.take([number]).columns.astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Users at fixed items. ``gramians``: of each domain's items."""

    domains: Mapping[str, DomainState]
    state: State
    gramians: Mapping[str, Float64]
    alpha0: float
    threads: int
    pulls: Mapping[str, Float32]

    def optima(self, names: tuple[str, ...], user_P: Int64, shrink: float) -> Iterator[tuple[Int64, Float32]]:
        """Eq. (1) of users whom the domains ``names`` tie, in blocks: the users, (B,), and z, (B, F)."""
        if not len(user_P):
            return
        place_P = {name: np.searchsorted(self.domains[name].users, user_P) for name in names}
        # of a fixed number of users: the last bits of a product depend on how it is cut
        cuts = [
            (user_P[block], {name: places[block] for name, places in place_P.items()})
            for block in blocks(len(user_P), USERS)
        ]
        touched = {name: self._touched(name, places) for name, places in place_P.items()}
        # where there are many sets of domains, not every set may cost all items
        column_J = (np.cumsum(np.concatenate(list(touched.values()))) - 1).astype(np.int32)
        item_JF = self._items(touched)
        gramian_FF = reduce(np.add, (self.gramians[name] for name in names))
        fixed = als.basis(item_JF, self.threads, gramian_FF, item_JF)
        back_FF = np.ascontiguousarray(fixed.rotation_FF.T)
        for user_B, place_B in cuts:
            rows = self._rows(place_B)
            rows = replace(rows, columns=column_J[rows.columns])
            ridge_B = reduce(np.add, (self.domains[name].ridge_U[place_B[name]] for name in names))
            pull_BF = None
            if self.pulls:
                common_BF = reduce(np.add, (self.pulls[name][place_B[name]] for name in names))
                pull_BF = als.rotate(common_BF, fixed.rotation_FF, self.threads)
            solved_BF = als.solve(rows, fixed, self.alpha0, ridge_B + np.float32(shrink), pull_BF)  # Eq. (1)
            yield user_B, als.rotate(solved_BF, back_FF, self.threads, solved_BF)

    def _touched(self, name: str, place_P: Int64) -> Mask:
        """Which items of a domain some of its users have events with, (I,)."""
        domain = self.domains[name]
        touched_I = np.zeros(domain.n_items, bool)
        for block in blocks(len(place_P), USERS):
            touched_I[domain.by_user.take(place_P[block]).columns] = True
        return touched_I

    def _items(self, touched: Mapping[str, Mask]) -> Float32:
        """Those of some items of a set of domains, whose items are one table, (J, F)."""
        some = self.domains[next(iter(touched))]
        n_items, n_factors = sum(map(np.count_nonzero, touched.values())), self.state["z"].shape[1]
        item_JF, first = some.room(n_items, n_factors), 0
        for name, touched_I in touched.items():
            place_I = np.flatnonzero(touched_I)
            np.take(
                self.state[f"y:{name}"],
                place_I,
                axis=0,
                out=item_JF[first : first + len(place_I)],
                mode="clip",
            )
            first += len(place_I)
        return item_JF

    def _rows(self, place_B: Mapping[str, Int64]) -> Ragged:
        """The events of some users in all domains of a set, whose items are one table."""
        owners, columns, weights, first = [], [], [], 0
        for name, places in place_B.items():
            own = self.domains[name].by_user.take(places)
            owners.append(own.entry_rows)
            columns.append(own.columns + np.int32(first))
            weights.append(own.weights)
            first += self.domains[name].n_items
        n_rows, weight_N = len(places), np.concatenate(weights)
        return Ragged.from_index(np.concatenate(owners), np.concatenate(columns), n_rows, weight_N)
