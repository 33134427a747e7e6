"""What the tests of serving share: a small world of two shops, and models saved and opened."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from landbridge import store
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM, Consensus
from landbridge.models.als.fitted import ALSModel, RidgeSpec
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted, Method
from landbridge.serving.engine.messages import Event, RecommendationList, Recommendations, Request
from landbridge.serving.engine.service import Service
from landbridge.training.options import FitOptions

USERS = 24
SIZES = {"books": 15, "films": 90}


MIXTURE: dict[str, Any] = {  # a guard's kind of decisions: other models for other groups, and a blend
    "members": {
        "popularity": {"method": "popularity", "settings": {}},
        "joint": {"method": "cdimf", "settings": {"factors": 4, "epochs": 2}},
    },
    "weights": {"books": {"0": {"popularity": 1.0}, "3-5": {"popularity": 0.25, "joint": 0.75}}},
}
FEW = {"factors": 4, "epochs": 2}
MODELS: dict[str, dict[str, Any]] = {
    "ials": FEW,
    "cdimf": FEW,
    "bprmf": FEW,
    "uclr": {"factors": 4},
    "conet": {"epochs": 1},
    "sasrec": {"epochs": 1, "encoder.factors": 4},
    "popularity": {},
    "mixture": MIXTURE,
}
EXACT = ADMM(tolerance=1e-7)
ALS = {
    "separate": IALS(**FEW),
    "joined": IALS(**FEW, sharing="joined"),
    "all": CDIMF(**FEW, admm=EXACT),
    "active": CDIMF(**FEW, admm=EXACT, consensus=Consensus("active")),
}
POLICIES = ("blend", "mean", "popularity", "zero")


def world(seed: int = 3, weighted: bool = False) -> MultiDomain:
    """24 people; books with numbers as ids, films with texts and titles. Persons 20 and 21 have no film, 22
    and 23 no book."""
    rng = np.random.default_rng(seed)
    both = np.arange(USERS - 4)
    tables, shops = {}, {"books": np.append(both, [20, 21]), "films": np.append(both, [22, 23])}
    for name, size in SIZES.items():
        user_idx = np.repeat(shops[name], 5)
        weight = rng.uniform(0.5, 3, len(user_idx)) if weighted else None
        item_idx, time = rng.integers(0, size, len(user_idx)), rng.integers(1_000_000, size=len(user_idx))
        tables[name] = Interactions.from_events(user_idx, item_idx, USERS, size, weight, time)
    items = {
        "books": Vocabulary.of(np.arange(SIZES["books"]) * 10),
        "films": Vocabulary.of([f"f{n:02d}" for n in range(SIZES["films"])]),
    }
    titles = np.array([f"Film {n} of {n % 7} Lights" for n in range(SIZES["films"])], np.dtypes.StringDType())
    users = Vocabulary.of([f"u{n:02d}" for n in range(USERS)])
    return MultiDomain(users, items, tables, {"films": titles})


def fit(method: Method, data: MultiDomain | None = None) -> Fitted:
    """Fitted on the world."""
    return method.fit(data or world(), FitOptions(threads=1))


def opened(fitted: Fitted, folder: Path, items: Path | None = None) -> Service:
    """The service of the saved model."""
    store.save(fitted, folder / "run")
    return Service.open(folder / "run", items)


def by_hand(history: MultiDomain, rows: dict[str, tuple[Any, Any]], **settings: Any) -> ALSModel:
    """Factors with the given rows of users and items per domain."""
    method = IALS(**settings)
    rule = RidgeSpec(
        "separate",
        method.alpha0,
        method.reg,
        method.frequency_exponent,
        dict.fromkeys(history.domain_names, 1),
    )
    users, items = ({n: np.asarray(r[side], np.float32) for n, r in rows.items()} for side in (0, 1))
    return ALSModel(history, method, (), users, items, method.cold_policy, method.popularity_weight, rule)


def events_of(history: MultiDomain, user_idx: int) -> tuple[Event, ...]:
    """All that is known of a user, as she would bring it, oldest first."""
    found = []
    for name, table in history.domains.items():
        mine = table.user_idx == user_idx
        ids = history.items[name].ids[table.item_idx[mine]].tolist()
        times = [0] * len(ids) if table.time is None else table.time[mine].tolist()
        found += [Event(name, item, time) for item, time in zip(ids, times, strict=True)]
    return tuple(sorted(found, key=lambda event: event.time or 0))


def pairs(entries: Iterable[RecommendationList]) -> list[tuple[str, Any]]:
    """Domain and item of each."""
    return [(entry.domain, entry.item) for entry in entries]


def lists(service: Service, *requests: Request) -> list[list[tuple[str, Any]]]:
    """Domain and item of every list's entries."""
    return [pairs(answer.items) for answer in service.recommend(requests)]


def scores(answer: Recommendations) -> list[float]:
    """Of a list."""
    return [entry.score for entry in answer.items]


def unlike_others(score_N: list[float]) -> bool:
    """Whether the order of these scores is safe from rounding."""
    return bool(np.diff(np.sort(score_N)).min(initial=1) > 1e-5)
