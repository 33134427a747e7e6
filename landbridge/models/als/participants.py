"""The parties of a consensus: what each domain holds of its own users, and whom the consensus binds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landbridge.core.rng import generator
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions, Ragged
from landbridge.models.als import solver as als
from landbridge.models.base import Float32
from landbridge.training.epochs import State

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DomainState:
    """What one domain holds: its events over its own users only. Shapes: U its users, I its items."""

    users: npt.NDArray[np.int64]  # (U,) index of each in the common vocabulary
    tied: Mask  # (U,) whether the consensus binds her here
    by_user: Ragged
    by_item: Ragged
    ridge_U: Float32
    ridge_I: Float32
    half_U: Float32  # (U,) λ (n_u / |V| + α₀)^ν, the ridge with half of its exponent
    catalogue: int  # items with events

    @classmethod
    def of(
        cls, events: Interactions, tied_U: Mask, everywhere: bool, alpha0: float, reg: float, exponent: float
    ) -> DomainState:
        """One domain's party; its users are those with events here and, ``everywhere``, all that are tied."""
        takes_part_U = events.user_counts > 0
        if everywhere:
            takes_part_U = takes_part_U | tied_U
        users = np.flatnonzero(takes_part_U)
        local_U = (np.cumsum(takes_part_U) - 1).astype(np.int32)
        own = Interactions(
            local_U[events.user_idx], events.item_idx, len(users), events.n_items, events.weight
        )
        return cls(
            users,
            tied_U[users],
            own.by_user,
            own.by_item,
            als.ridge(own.user_counts, own.catalogue, alpha0, reg, exponent),
            als.ridge(own.item_counts, len(users), alpha0, reg, exponent),
            als.ridge(own.user_counts, own.catalogue, alpha0, reg, exponent / 2),
            own.catalogue,
        )

    @property
    def n_items(self) -> int:
        """Items in the domain's vocabulary."""
        return len(self.ridge_I)


def consensus_users(data: MultiDomain, everywhere: bool, fraction: float, seed: int) -> Mask:
    """Whom a consensus binds: a ``fraction`` of those with events in two domains or, ``everywhere``, in
    any, (U,)."""
    eligible_U = data.activity_UD.any(axis=1) if everywhere else data.shared_U
    return np.asarray(eligible_U & (generator(seed, "shared").random(data.n_users) < fraction))


def user_embeddings_by_domain(
    parties: Mapping[str, DomainState], state: State, own: bool
) -> dict[str, Float32]:
    """User rows per domain over all users: the consensus, and a party's own row where nothing is tied.

    ``state`` holds "z" and every party's "x:name". With ``own`` a party's users keep her own rows although
    they are tied. With every shared user tied, all domains hold the same array.
    """
    known_UF = np.array(state["z"])
    bound_U = np.zeros(len(known_UF), bool)
    for party in parties.values():
        bound_U[party.users[party.tied]] = True
    alone_U = np.zeros(len(known_UF), np.int64)
    for name, party in parties.items():
        loose = party.users[~party.tied]
        known_UF[loose] = state[f"x:{name}"][~party.tied]
        alone_U[loose] += 1
    if not own and alone_U.max(initial=0) <= 1:
        return dict.fromkeys(parties, known_UF)
    rows = {}
    for name, party in parties.items():
        rows[name] = known_UF.copy()
        rows[name][party.users] = state[f"x:{name}"]
        if not own:
            rows[name][bound_U] = state["z"][bound_U]
    return rows
