"""The participants of a consensus: the local state of every domain, and the users whom the consensus ties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from landbridge.core.mapped import copied, gathered, zeros
from landbridge.core.rng import generator
from landbridge.core.types import Float32, Ragged, blocks
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.models.als import solver as als
from landbridge.training.epochs import State

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Membership:
    """The users of a vocabulary in a consensus: ``tied_U``, whether it ties them, and ``place_U``, their
    places among the ``n_places`` users of all parties, (U,). Equal places begin with equal embeddings."""

    tied_U: Mask
    place_U: npt.NDArray[np.int64]
    n_places: int

    @classmethod
    def of_all(cls, tied_U: Mask) -> Membership:
        """All parties have this one vocabulary."""
        return cls(tied_U, np.arange(len(tied_U)), len(tied_U))


@dataclass(frozen=True, eq=False)
class DomainState:
    """What one domain holds: its events over its own U users and I items, and their penalties."""

    users: npt.NDArray[np.int64]  # (U,) index of every own user in the common vocabulary
    tied: Mask  # (U,) whether the consensus ties the user in this domain
    by_user: Ragged
    by_item: Ragged
    ridge_U: Float32
    ridge_I: Float32
    half_U: Float32  # (U,) λ (n_u / |V| + α₀)^ν, the ridge with half of its exponent
    catalogue: int  # items with events

    @classmethod
    def of(
        cls,
        events: Interactions,
        tied_U: Mask,
        everywhere: bool,
        penalty: als.FrequencyRidge,
        disliked: Interactions | None = None,
        dislike_weight: float = 0.0,
    ) -> DomainState:
        """The state of a domain; its users have events in it or, ``everywhere``, are tied. ``disliked``:
        pairs that count with their weight."""
        takes_part_U = events.user_counts > 0
        if everywhere:
            takes_part_U = takes_part_U | tied_U
        users = np.flatnonzero(takes_part_U)
        by_user, by_item = _of_users(events, takes_part_U)
        if disliked is not None and dislike_weight:
            theirs = disliked.where(lambda block: takes_part_U[disliked.user_idx[block]])
            against = _of_users(theirs, takes_part_U)
            by_user = als.with_dislikes(by_user, against[0], dislike_weight)
            by_item = als.with_dislikes(by_item, against[1], dislike_weight)
        counts_U = events.user_counts[users]
        return cls(
            users,
            tied_U[users],
            by_user,
            by_item,
            penalty.of(counts_U, events.catalogue),
            penalty.of(events.item_counts, len(users)),
            replace(penalty, exponent=penalty.exponent / 2).of(counts_U, events.catalogue),
            events.catalogue,
        )

    def room(self, rows: int, factors: int) -> Float32:
        """Embeddings of zeros, (rows, F), kept where the events are."""
        return zeros((rows, factors), self.by_user.columns)

    @property
    def n_items(self) -> int:
        """Items in the domain's vocabulary."""
        return len(self.ridge_I)


def _of_users(events: Interactions, chosen_U: Mask) -> tuple[Ragged, Ragged]:
    """Events by user and by item, the users numbered among the chosen ones; no other has an event."""
    starts = events.by_user.offsets[np.append(np.flatnonzero(chosen_U), events.n_users)]
    by_user, by_item = Ragged(starts, events.item_idx, events.weight), events.by_item
    if chosen_U.all():
        return by_user, by_item
    local_U = (np.cumsum(chosen_U) - 1).astype(np.int32)
    local = (local_U[by_item.columns[block]] for block in blocks(len(events)))
    return by_user, Ragged(by_item.offsets, gathered(local, by_item.columns), by_item.weight)


def consensus_users(data: MultiDomain, everywhere: bool, fraction: float, seed: int) -> Mask:
    """Which users a consensus ties, (U,): a ``fraction`` of those with events in two domains or,
    ``everywhere``, in any domain."""
    eligible_U = data.activity_UD.any(axis=1) if everywhere else data.shared_U
    return np.asarray(eligible_U & (generator(seed, "shared").random(data.n_users) < fraction))


def user_embeddings_by_domain(
    domains: Mapping[str, DomainState], state: State, own: bool
) -> dict[str, Float32]:
    """Embeddings of all users per domain: the consensus, or a domain's own embedding of untied users.

    ``state`` holds "z" and "x:name" of every domain. With ``own`` even tied users keep the embedding of the
    domain. Where no untied user is in two domains, all domains share one array.
    """
    common_UF = copied(state["z"])
    tied_U = np.zeros(len(common_UF), bool)
    for domain in domains.values():
        tied_U[domain.users[domain.tied]] = True
    untied_U = np.zeros(len(common_UF), np.int64)
    for name, domain in domains.items():
        loose = domain.users[~domain.tied]
        common_UF[loose] = state[f"x:{name}"][~domain.tied]
        untied_U[loose] += 1
    # one array for all domains: a user has one embedding, so nothing would differ
    if not own and untied_U.max(initial=0) <= 1:
        return dict.fromkeys(domains, common_UF)
    rows = {}
    for name, domain in domains.items():
        rows[name] = copied(common_UF)
        rows[name][domain.users] = state[f"x:{name}"]
        if not own:
            np.copyto(rows[name], state["z"], where=tied_U[:, None])
    return rows


def put_consensus(domain: DomainState, z_UF: Float32, x_RF: Float32) -> None:
    """The consensus in the rows of a domain's tied users, in blocks."""
    for block in blocks(len(x_RF), als.BLOCK_ROWS):
        tied = block.start + np.flatnonzero(domain.tied[block])
        x_RF[tied] = z_UF[domain.users[tied]]


def zero_state(domains: Mapping[str, DomainState], n_users: int, factors: int) -> State:
    """The state of CDIMF, of zeros: x and t of every domain's users, its items y, and z of all users."""
    some = next(iter(domains.values()))
    state: State = {"z": some.room(n_users, factors), "gap": np.array([np.inf, 0.0])}
    for name, domain in domains.items():
        for kind, rows in (("x", len(domain.users)), ("t", len(domain.users)), ("y", domain.n_items)):
            state[f"{kind}:{name}"] = domain.room(rows, factors)
    return state
