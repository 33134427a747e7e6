"""The last event of each user and domain, held out so that nothing known of the user is later.

With one cut c_u per user, a last event is a target where

    λ_ud ≤ c_u ≤ τ_ud                                                                                  (1)

with τ_ud its time and λ_ud the time from which it can be predicted: enough earlier events of its domain are
known then, or, for the only event of a domain, any event of another one. What is at or before c_u and no
target is known, what is after it is left out. The cut is at the τ that leaves most targets, if several do at
the latest:

    c_u = max argmax_{c ∈ {τ_ud}} |{d : λ_ud ≤ c ≤ τ_ud}|                                               (2)

N events of all domains, R runs of one user and domain in the order of user, domain and time, U users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError
from landbridge.core.rng import generator
from landbridge.core.types import AnyArray, Bool, Float64, Int64, blocks
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout, LeftOut, Targets
from landbridge.data.splitting.seen_cut import seen_before_targets
from landbridge.data.user_blocks import UserBlock, labelled

STARTS, AT_LAST, ENDS = 0, 1, 2  # at equal times in this order: both ends of (1) are included
KNOWN, TARGET, LAST = 1, 2, 4  # flags of an event
Wanted: TypeAlias = Callable[[Interactions], Bool]


def without_the_future(data: MultiDomain, seed: int, min_events: int, kind: str | None = None) -> Holdout:
    """Targets and what is known before them; equal times are ordered at random, by the seed.

    ``kind``: of targets; a domain's last event is then its last of this kind. A user with ``min_events``
    events in a domain may give a target there, and keeps one less, at least one, of the domain's; DataError
    for a domain without times.
    """
    check_times(data)
    chances = {name: generator(seed, "split", name) for name in data.domain_names}
    wanted = wanted_of(data, kind)

    def label(block: UserBlock) -> dict[str, AnyArray]:
        chance = {name: chances[name].random(len(own)) for name, own in block.tables.items()}
        return _labels(block, chance, wanted, min_events, kind is not None)

    labels = labelled(data.domains, label)
    held, known = (
        {name: events.where(partial(_has, labels[name], flag)) for name, events in data.domains.items()}
        for flag in (TARGET, KNOWN)
    )
    targets = {name: Targets.of(own) for name, own in held.items()}
    history = data.with_events(known)
    n_known, n_targets = history.n_events, sum(map(len, targets.values()))
    n_last = sum(
        int(_has(label_N, LAST, block).sum()) for label_N in labels.values() for block in blocks(len(label_N))
    )
    return Holdout(
        seen_before_targets(history, targets, together=True),
        targets,
        left_out=LeftOut(data.n_events - n_known - n_targets, n_last - n_targets),
    )


def _has(label_N: AnyArray, flag: int, block: slice) -> Bool:
    return np.asarray((label_N[block] & flag) > 0)


def _labels(
    block: UserBlock, chance: Mapping[str, Float64], wanted: Wanted, min_events: int, cuts_behind: bool
) -> dict[str, AnyArray]:
    """The flags of the events of some users, domain -> (N,). ``cuts_behind``: what is later than the last
    wanted event is left out."""
    tables = block.tables
    user_N = np.concatenate([events.user_idx for events in tables.values()]).astype(np.int64)
    domain_N = np.repeat(np.arange(len(tables)), [len(events) for events in tables.values()])
    time_N = np.concatenate([events.time for events in tables.values() if events.time is not None])
    time_N = time_N.astype(np.float64)
    wanted_N = np.concatenate([wanted(events) for events in tables.values()])
    # lexsort sorts by the last key first
    order_N = np.lexsort((np.concatenate(list(chance.values())), time_N, domain_N, user_N))
    if cuts_behind:
        order_N = order_N[~_after_last(user_N[order_N], domain_N[order_N], wanted_N[order_N])]
    label_N = np.zeros(len(user_N), np.int8)
    label_N[order_N] = _divided(
        user_N[order_N], domain_N[order_N], time_N[order_N], wanted_N[order_N], block.n_users, min_events
    )
    ends = np.cumsum([len(events) for events in tables.values()])[:-1]
    return dict(zip(tables, np.split(label_N, ends), strict=True))


def check_times(data: MultiDomain) -> None:
    """DataError where a domain has no times."""
    for name, events in data.domains.items():
        if events.time is None:
            raise DataError(
                f"Domain {name!r} has no time stamps, but this split needs them: "
                f"{data.provenance.time_hint(name)}, or choose the split random."
            )


def wanted_of(data: MultiDomain, kind: str | None) -> Wanted:
    """Which events of a table may be targets: those of a kind, or all of them; DataError where no event of
    the data is of the kind."""
    if kind is None:
        return lambda events: np.ones(len(events), bool)
    bit = data.kinds.bit(kind)
    kinds = [events.kinds for events in data.domains.values() if events.kinds is not None]
    if not any((kinds_N[block] & bit).any() for kinds_N in kinds for block in blocks(len(kinds_N))):
        raise DataError(
            f"No event is of kind {kind!r}, so none can be a target; the kinds that are learned "
            f"from are {', '.join(data.kinds.names)}."
        )
    return lambda events: (
        np.zeros(len(events), bool) if events.kinds is None else np.asarray((events.kinds & bit) > 0)
    )


def _first_of_run(user_N: Int64, domain_N: Int64) -> Bool:
    """Of events in order: which are the first of their user and domain, (N,)."""
    return np.append(True, (np.diff(user_N) != 0) | (np.diff(domain_N) != 0))[: len(user_N)]


def _after_last(user_N: Int64, domain_N: Int64, wanted_N: Bool) -> Bool:
    """Of events in order: which come after the last wanted one of their user and domain, (N,)."""
    run_N = np.cumsum(_first_of_run(user_N, domain_N)) - 1
    last_R = np.full(run_N[-1] + 1 if len(run_N) else 0, len(user_N))  # beyond all where none is wanted
    places = np.flatnonzero(wanted_N)
    last_R[run_N[places]] = places  # in order, so that the last one stays
    return np.asarray(np.arange(len(user_N)) > last_R[run_N])


def _divided(
    user_N: Int64, domain_N: Int64, time_N: Float64, wanted_N: Bool, n_users: int, min_events: int
) -> npt.NDArray[np.int8]:
    """Of events in order: their flags, (N,)."""
    first_R = np.flatnonzero(_first_of_run(user_N, domain_N))
    size_R = np.diff(np.append(first_R, len(user_N)))
    enough_R = (size_R >= min_events) & wanted_N[first_R + size_R - 1]
    first_R, size_R = first_R[enough_R], size_R[enough_R]
    last_R = first_R + size_R - 1
    user_R, until_R = user_N[last_R], time_N[last_R]
    known_R = np.minimum(first_R + max(min_events - 2, 0), last_R)
    from_R = np.where(size_R > 1, time_N[known_R], _known_elsewhere(user_N, time_N, last_R, n_users))
    cut_U = _cuts(user_R, from_R, until_R, n_users)  # (2)
    label_N = np.where(time_N <= cut_U[user_N], KNOWN, 0).astype(np.int8)
    is_target_R = (from_R <= cut_U[user_R]) & (cut_U[user_R] <= until_R)  # (1)
    label_N[last_R] = np.where(is_target_R, TARGET, label_N[last_R]) | LAST
    return label_N


def _known_elsewhere(user_N: Int64, time_N: Float64, last_R: Int64, n_users: int) -> Float64:
    """From when any event of the user is known, (R,); the only event of a user is predicted from nothing."""
    is_last_N = np.zeros(len(user_N), bool)
    is_last_N[last_R] = True
    earliest_U = _least(user_N[~is_last_N], time_N[~is_last_N], n_users)
    # the earliest last event is known as soon as the cut is after it
    after_U = np.nextafter(_least(user_N[last_R], time_N[last_R], n_users), np.inf)
    user_R = user_N[last_R]
    only_R = np.bincount(user_N, minlength=n_users)[user_R] == 1
    return np.where(only_R, time_N[last_R], np.minimum(earliest_U, after_U)[user_R])


def _least(user_N: Int64, time_N: Float64, n_users: int) -> Float64:
    least_U = np.full(n_users, np.inf)
    np.minimum.at(least_U, user_N, time_N)
    return least_U


def _cuts(user_R: Int64, from_R: Float64, until_R: Float64, n_users: int) -> Float64:
    """(2) by one sweep over the ends of all intervals; infinite for users without any target, (U,)."""
    some_R = from_R <= until_R
    user_P = np.concatenate([user_R[some_R]] * 3)
    time_P = np.concatenate([from_R[some_R], until_R[some_R], until_R[some_R]])
    kind_P = np.repeat([STARTS, AT_LAST, ENDS], int(some_R.sum()))
    order_P = np.lexsort((kind_P, time_P, user_P))
    user_P, time_P, kind_P = user_P[order_P], time_P[order_P], kind_P[order_P]
    covering_P = np.cumsum((kind_P == STARTS).astype(np.int64) - (kind_P == ENDS))
    at_last_P = kind_P == AT_LAST
    user_A, time_A, covering_A = user_P[at_last_P], time_P[at_last_P], covering_P[at_last_P]
    order_A = np.lexsort((time_A, covering_A, user_A))
    cut_U = np.full(n_users, np.inf)
    # of several values for one user the last one stays: the latest of the best
    cut_U[user_A[order_A]] = time_A[order_A]
    return cut_U
