"""What of the seen pairs a history may hold: none from after a held-out event, as for events.

A seen pair is never a target, and one without a time was always known. U users, D domains.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from landbridge.core.types import Bool, Float64
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Targets


def seen_until(data: MultiDomain, until_U: Mapping[str, Float64]) -> MultiDomain:
    """The data with the seen pairs of each domain up to a time of their user, domain -> (U,)."""
    masks = {}
    for name, seen in data.seen.items():
        pairs = seen.pairs
        until_N = until_U[name][pairs.user_idx]
        masks[name] = np.ones(len(pairs), bool) if pairs.time is None else pairs.time <= until_N
    return data.with_seen(masks)


def seen_before_targets(data: MultiDomain, targets: Mapping[str, Targets], *, together: bool) -> MultiDomain:
    """The data with the seen pairs no later than any target of their user: of all domains ``together``, or
    of the pair's own."""
    until_UD = np.stack(
        [_first_target(targets.get(name), data.n_users) for name in data.domain_names], axis=1
    )
    if together:
        until_UD[:] = until_UD.min(axis=1, keepdims=True)
    return seen_until(data, dict(zip(data.domain_names, until_UD.T, strict=True)))


def seen_without(data: MultiDomain, targets: Mapping[str, Targets]) -> MultiDomain:
    """The data without the seen pairs of users in the domains where they have targets."""
    masks: dict[str, Bool] = {}
    for name, seen in data.seen.items():
        users = targets[name].user_idx if name in targets else np.empty(0, np.int32)
        masks[name] = ~np.isin(seen.pairs.user_idx, users)
    return data.with_seen(masks)


def _first_target(targets: Targets | None, n_users: int) -> Float64:
    until_U = np.full(n_users, np.inf)
    if targets is not None and targets.time is not None:
        np.minimum.at(until_U, targets.user_idx, targets.time)
    return until_U
