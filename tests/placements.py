"""A fit whose factors have one SHA-256, wherever and in whichever blocks it is computed."""

from __future__ import annotations

import hashlib

import numpy as np

import landbridge as lb
from landbridge.core.parallel import Executor
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.als.fitted import ALSModel

USERS, ITEMS = 9000, 90  # five blocks of rows; items with long rows, which are solved by conjugate gradients
METHOD = lb.IALS(factors=12, epochs=3, sharing="joined", solver="auto")


def two_domains() -> lb.MultiDomain:
    """Users with few events, items with many."""
    rng = np.random.default_rng(3)

    def events() -> Interactions:
        user_N = np.repeat(np.arange(USERS), 4)
        item_N = (ITEMS * rng.random(len(user_N)) ** 2).astype(np.int64)
        return Interactions.from_events(user_N, item_N, USERS, ITEMS)

    items = {name: Vocabulary.of(range(ITEMS)) for name in ("books", "films")}
    return lb.MultiDomain(Vocabulary.of(range(USERS)), items, {name: events() for name in items})


def sha256(model: ALSModel) -> str:
    """Of all factors."""
    digest = hashlib.sha256()
    for name in sorted(model.item_IF):
        digest.update(model.item_IF[name].tobytes() + model.user_UF[name].tobytes())
    return digest.hexdigest()


def fitted(data: lb.MultiDomain, executor: Executor | None) -> str:
    """Of the fit of the method in an executor."""
    return sha256(METHOD.fit(data, lb.FitOptions(threads=1, executor=executor)))
