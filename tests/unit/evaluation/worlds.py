"""A model that gives the scores it was made of, and small worlds to judge it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.base import Fitted, Method
from landbridge.training.options import FitOptions


@dataclass(frozen=True)
class Given(Method):
    name = "given"

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> Fitted:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class GivenScores(Fitted):
    scores: Mapping[str, Float32]  # (U, I) per domain
    asked: list[int]  # how many users each call was about
    kind = "given"

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        return self.score(domain, queries)

    def score(self, domain: str, queries: Queries) -> Float32:
        self.asked.append(len(queries))
        return self.scores[domain][queries.user_idx]

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        raise NotImplementedError

    @classmethod
    def from_state(cls, *args: Any) -> Fitted:
        raise NotImplementedError


def model(history: MultiDomain, scores: Mapping[str, Any]) -> GivenScores:
    return GivenScores(history, Given(), (), {k: np.asarray(v, np.float32) for k, v in scores.items()}, [])


def many(n_users: int, sizes: Mapping[str, int], events: Mapping[str, list[tuple[int, int]]]) -> MultiDomain:
    tables = {}
    for domain, n_items in sizes.items():
        pairs = np.array(events[domain]).reshape(-1, 2)
        tables[domain] = Interactions.from_events(pairs[:, 0], pairs[:, 1], n_users, n_items)
    items = {domain: Vocabulary.of(np.arange(n_items)) for domain, n_items in sizes.items()}
    return MultiDomain(Vocabulary.of(np.arange(n_users)), items, tables)


def held_out(pairs: list[tuple[int, int]], candidates: Any = None) -> Targets:
    table = np.array(pairs, np.int32).reshape(-1, 2)
    return Targets(table[:, 0], table[:, 1], None if candidates is None else np.array(candidates, np.int32))


@pytest.fixture
def random_world() -> tuple[Holdout, dict[str, Float32]]:
    """Two domains, 40 users, 1 to 4 held-out items each, scores with many ties."""
    rng = np.random.default_rng(5)
    sizes, n_users = {"books": 60, "films": 35}, 40
    events: dict[str, list[tuple[int, int]]] = {name: [] for name in sizes}
    targets: dict[str, list[tuple[int, int]]] = {name: [] for name in sizes}
    for name, n_items in sizes.items():
        for user in range(n_users):
            drawn = rng.permutation(n_items)
            n_held = int(rng.integers(1, 5))
            targets[name] += [(user, int(item)) for item in np.sort(drawn[:n_held])]
            events[name] += [(user, int(item)) for item in drawn[5 : 5 + rng.integers(0, 15)]]
    scores = {name: rng.integers(0, 12, (n_users, size)).astype(np.float32) for name, size in sizes.items()}
    history = many(n_users, sizes, events)
    return Holdout(history, {name: held_out(pairs) for name, pairs in targets.items()}), scores
