"""Where alternating least squares begin: with an earlier model's items, and drawn ones for what is new.

Users need no beginning, for the first half step finds them from the items. Rows are found by raw id, because
dense indices move when ids are added or taken away.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from landbridge.core.rng import generator
from landbridge.data.dataset import MultiDomain
from landbridge.models.als import solver as als
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.participants import DomainState
from landbridge.models.base import Float32, Method
from landbridge.training.epochs import State
from landbridge.training.options import FitOptions


def previous_model(options: FitOptions, method: Method, factors: int) -> ALSModel | None:
    """The model to begin with, where it is of the same method and has as many factors."""
    last = options.initial
    if not isinstance(last, ALSModel) or last.method.name != method.name:
        return None
    widths = {item_IF.shape[1] for item_IF in last.item_IF.values()}
    return last if widths == {factors} else None


def initial_items(last: ALSModel | None, train: MultiDomain, domain: str, drawn_IF: Float32) -> Float32:
    """Rows of a domain's items, (I, F): the earlier model's, and those drawn where it has none."""
    if last is None or domain not in last.history.domain_names:
        return drawn_IF
    place_I = last.history.items[domain].index(train.items[domain].ids)
    return np.where(place_I[:, None] >= 0, last.item_IF[domain][place_I], drawn_IF)


def initial_states(
    last: ALSModel, train: MultiDomain, parties: Mapping[str, DomainState], seed: int
) -> State:
    """CDIMF's state with the earlier model's items, where its first rounds find consensus and duals."""
    factors = last.item_IF[last.history.domain_names[0]].shape[1]
    state: State = {"z": np.zeros((train.n_users, factors), np.float32), "gap": np.array([np.inf, 0.0])}
    for name, party in parties.items():
        state[f"x:{name}"] = state["z"][party.users]
        state[f"t:{name}"] = state["z"][party.users]
        drawn_IF = als.initial(generator(seed, "items", name), party.n_items, factors)
        state[f"y:{name}"] = initial_items(last, train, name, drawn_IF)
    return state
