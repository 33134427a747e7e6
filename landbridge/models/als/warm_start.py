"""Warm start of alternating least squares: item embeddings of a previous model, random ones for new items.

Users need no initial embedding, because the first half step computes it from the items. Items are matched by
raw id, because dense indices change when ids are added or removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.models.als import solver as als
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.participants import DomainState, zero_state
from landbridge.models.base import Method
from landbridge.training.epochs import State
from landbridge.training.options import FitOptions


def previous_model(options: FitOptions, method: Method, factors: int) -> ALSModel | None:
    """The model to start from, if it is of the same method and has as many factors; else None."""
    if options.initial is None or options.initial.method.name != method.name:
        return None
    previous = cast(ALSModel, options.initial)  # what fits of this method return
    widths = {item_IF.shape[1] for item_IF in previous.item_IF.values()}
    return previous if widths == {factors} else None


def initial_items(previous: ALSModel | None, train: MultiDomain, domain: str, drawn_IF: Float32) -> Float32:
    """A domain's item embeddings, (I, F): those of the previous model, else those drawn."""
    if previous is None or domain not in previous.history.domain_names:
        return drawn_IF
    place_I = previous.history.items[domain].index(train.items[domain].ids)
    # place -1, a new item, reads the last row, which ``where`` discards
    return np.where(place_I[:, None] >= 0, previous.item_IF[domain][place_I], drawn_IF)


def initial_states(
    previous: ALSModel, train: MultiDomain, domains: Mapping[str, DomainState], seed: int
) -> State:
    """CDIMF's state with the previous model's items; consensus and duals start at zero."""
    factors = previous.item_IF[previous.history.domain_names[0]].shape[1]
    state = zero_state(domains, train.n_users, factors)
    for name, domain in domains.items():
        y_IF = state[f"y:{name}"]
        als.initial(generator(seed, "items", name), domain.n_items, factors, y_IF)
        y_IF[...] = initial_items(previous, train, name, y_IF)
    return state
