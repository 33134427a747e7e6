"""Small worlds for the tests of models, and slow float64 twins that share no code with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.item_features import ItemFeatures
from landbridge.data.queries import Queries
from landbridge.data.seen import Seen
from landbridge.data.user_features import UserFeatures
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.fitted import ALSModel
from landbridge.models.base import Fitted
from landbridge.models.explanation import Explanation
from landbridge.testing.worlds import countries as countries
from landbridge.testing.worlds import of_tables as of_tables
from landbridge.testing.worlds import shelves as shelves
from landbridge.testing.worlds import texts
from landbridge.testing.worlds import timed as timed
from landbridge.testing.worlds import uneven as uneven
from landbridge.testing.worlds import untimed as untimed
from landbridge.training.options import FitOptions


def own_group_share(fitted: Fitted, groups: int = 6) -> float:
    """How many of the ten best unseen items of :func:`countries` are of the user's group."""
    shares = []
    for name, events in fitted.history.domains.items():
        users = np.unique(events.user_idx)
        scores_UI = fitted.score(name, Queries.of_users(users)).copy()
        scores_UI[np.searchsorted(users, events.user_idx), events.item_idx] = -np.inf
        best_U10 = np.argsort(-scores_UI, axis=1, kind="stable")[:, :10]
        shares.append(np.mean(best_U10 % groups == users[:, None] % groups))
    return float(np.mean(shares))


def own_events(data: MultiDomain) -> dict[str, Ragged]:
    """Every user's events as queries."""
    return {name: table.by_user for name, table in data.domains.items()}


def dense(table: Interactions) -> np.ndarray[Any, Any]:
    """Weights as a matrix, 0 where there is no event, float64 (U, I)."""
    out_UI = np.zeros((table.n_users, table.n_items))
    out_UI[table.user_idx, table.item_idx] = 1 if table.weight is None else table.weight
    return out_UI


def twin_ridge(weight_RC: np.ndarray[Any, Any], settings: Any) -> np.ndarray[Any, Any]:
    """The regularisation of each row: reg · (events / columns with events + α₀)^(2ν)."""
    seen_RC = weight_RC > 0
    share_R = seen_RC.sum(axis=1) / max(int(seen_RC.any(axis=0).sum()), 1)
    return np.asarray(settings.reg * (share_R + settings.alpha0) ** (2 * settings.frequency_exponent))


def twin_parts(weight_RC: np.ndarray[Any, Any], fixed_CF: np.ndarray[Any, Any], alpha0: float) -> Any:
    """A (R, F, F) and b (R, F) of every row's quadratic, without regularisation."""
    everywhere_FF = alpha0 * fixed_CF.T @ fixed_CF
    systems = [everywhere_FF + (fixed_CF.T * weight_C) @ fixed_CF for weight_C in weight_RC]
    return np.array(systems), weight_RC @ fixed_CF


def twin_step(
    weight_RC: np.ndarray[Any, Any],
    fixed_CF: np.ndarray[Any, Any],
    alpha0: float,
    ridge_R: np.ndarray[Any, Any],
    pull_RF: Any = 0.0,
) -> np.ndarray[Any, Any]:
    """One half step, row after row."""
    system_RFF, right_RF = twin_parts(weight_RC, fixed_CF, alpha0)
    system_RFF = system_RFF + ridge_R[:, None, None] * np.eye(fixed_CF.shape[1])
    return np.linalg.solve(system_RFF, (right_RF + pull_RF)[..., None])[..., 0]


def fit_error(weight_UI: Any, x_UF: Any, y_IF: Any, alpha0: float) -> float:
    """The objective without regularisation."""
    score_UI = np.asarray(x_UF, float) @ np.asarray(y_IF, float).T
    return float(np.sum(weight_UI * (1 - score_UI) ** 2) + alpha0 * np.sum(score_UI**2))


def far(one: Any, other: Any) -> float:
    """The largest difference, as a share of the largest value."""
    return float(np.abs(np.asarray(one) - other).max() / np.abs(other).max())


def explained(fitted: Fitted, domain: str, query: Queries, item: int) -> Explanation:
    """The score of one item in parts."""
    return fitted.explain(domain, query, np.array([item], np.int32))[0]


def featured(data: MultiDomain, rows: dict[str, np.ndarray[Any, Any]]) -> MultiDomain:
    """The data with features as dense rows, (I, V)."""
    n_features = next(iter(rows.values())).shape[1]
    made = {}
    for name, row_IV in rows.items():
        item_N, feature_N = np.nonzero(row_IV)
        weight_N = row_IV[item_N, feature_N].astype(np.float32)
        made[name] = Ragged.from_index(item_N, feature_N.astype(np.int32), len(row_IV), weight_N)
    columns = texts(np.full(n_features, "kind"))
    return replace(data, item_features=ItemFeatures(columns, texts(range(n_features)), made))


def random_features(data: MultiDomain, kinds: int = 5, seed: int = 0) -> MultiDomain:
    """Random features, shared by all domains; some items have none."""
    rng = np.random.default_rng(seed)
    rows = {name: rng.random((table.n_items, kinds)) for name, table in data.domains.items()}
    return featured(data, {name: np.where(row_IV < 0.4, row_IV, 0) for name, row_IV in rows.items()})


def identity_features(data: MultiDomain) -> MultiDomain:
    """Every item has a feature of its own."""
    sizes = [table.n_items for table in data.domains.values()]
    parts = np.split(np.eye(sum(sizes)), np.cumsum(sizes)[:-1])
    return featured(data, dict(zip(data.domain_names, parts, strict=True)))


def described(data: MultiDomain, row_UV: np.ndarray) -> MultiDomain:
    """The data with features of users as dense rows."""
    user_N, feature_N = np.nonzero(row_UV)
    weight_N = row_UV[user_N, feature_N].astype(np.float32)
    rows = Ragged.from_index(user_N, feature_N.astype(np.int32), len(row_UV), weight_N)
    texts = np.array([str(number) for number in range(row_UV.shape[1])], np.dtypes.StringDType())
    return replace(data, user_features=UserFeatures(texts, texts, rows))


def by_rounds(method: CDIMF, data: MultiDomain, options: FitOptions) -> ALSModel:
    """A fit in one process that ends with rounds, as between parties."""
    members, channel = method.members(data, options.seed), method.local_channel(options.seed)
    return method.fit_in(data, members, channel, options)


def with_dislikes(data: MultiDomain) -> MultiDomain:
    """A third of the events as dislikes instead."""
    rng = np.random.default_rng(1)
    events, seen = {}, {}
    for name, table in data.domains.items():
        against_N = rng.random(len(table)) < 0.3
        events[name] = table.take(~against_N)
        pairs = replace(table.take(against_N), weight=None)
        seen[name] = Seen(pairs, np.ones(len(pairs), bool))
    return replace(data, domains=events, seen=seen)
