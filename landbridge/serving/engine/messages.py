"""Requests to a served model and its answers; ids are the raw ones of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.types import Id, Values
from landbridge.data.time_units import LATEST_SECOND, remedy_of
from landbridge.ranking.list_order import BY_SCORE, ListOrder


def whole_seconds(raw: object) -> int:
    """A time as every endpoint takes it; DataError for what is no whole number of seconds."""
    # bool is a subclass of int: true would be the second 1
    whole = int(raw) if isinstance(raw, int | np.integer) and not isinstance(raw, bool) else None
    if whole is not None and abs(whole) < LATEST_SECOND:
        return whole
    remedy = "give seconds since 1970" if whole is None else remedy_of(whole)
    raise DataError(f"An event's time is in whole seconds, not {raw!r}; {remedy}.")


@dataclass(frozen=True)
class Event:
    """An event: a user interacted with an item. ``time``: seconds, None where only the order is known.
    ``id``: the client's, so that an event that is sent twice is stored once. ``kind``: such as "buy" or
    "dislike" (:class:`~landbridge.data.kinds.EventKinds`); without one it is learned from and weighs 1.
    ``weight``: above 0, by which that of its kind is multiplied. ``recommendation_id``: of the list that led
    to it."""

    domain: str
    item: Id
    time: int | None = None
    id: str | None = None
    kind: str | None = None
    weight: float | None = None
    recommendation_id: str | None = None


@dataclass(frozen=True)
class Request:
    """A list for one user.

    ``domains``: of one, or one list over several. ``user``: None for an anonymous user. ``events``: theirs
    since the model was fitted, oldest first; for a known user they are added to the history. ``seen``:
    whether known items may be listed; disliked ones never are. ``allow``, ``deny``: item ids by domain.
    ``where``: a rule about the items' table, such as "price < 20 and not adult", or column -> the value, or
    the values, of which an item must have one. ``seen_elsewhere``: whether items whose product the user has,
    or has seen, in another domain may be listed. ``weights``: domain -> what the odds of its
    items are multiplied by in a list over several domains; scores stay as they are. ``order``: what decides
    over the list beside the scores. ``strategy``: "popular", "trending" or "latest", the order and scores of
    :mod:`landbridge.ranking.strategies` in place of the model's; without ``weights`` and ``order``.
    """

    domains: tuple[str, ...]
    user: Id | None = None
    events: tuple[Event, ...] = ()
    k: int = 10
    seen: bool = False
    allow: Mapping[str, tuple[Id, ...]] = field(default_factory=dict)
    deny: Mapping[str, tuple[Id, ...]] = field(default_factory=dict)
    where: str | Values = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    seen_elsewhere: bool = True
    order: ListOrder = BY_SCORE
    strategy: str | None = None


@dataclass(frozen=True)
class RecommendationList:
    """An item of a list; ``cold``: it has no events yet and is listed for its features."""

    domain: str
    item: Id
    title: str | None
    score: float
    cold: bool = False


@dataclass(frozen=True)
class AttributeValue:
    """A value of a column of the items' table, None for none, and how many items have it."""

    value: str | int | float | None
    items: int


@dataclass(frozen=True)
class Recommendations:
    """The list, best first. ``source``: "model", "fallback" where the model knows no event of the user, or
    the strategy that was requested.

    ``known``: whether the model was fitted with events of this user. ``model``: which one answered, and
    ``version`` its name in a versions folder; ``run``: in an A/B test, which run it is of.
    ``degraded``: the event store could not be read, so that events stored since the fit do not count.
    ``recommendation_id``: of this answer, given where it is sent.
    """

    items: tuple[RecommendationList, ...]
    source: str
    known: bool
    model: str
    degraded: bool = False
    version: str | None = None
    recommendation_id: str = ""
    run: str | None = None


@dataclass(frozen=True)
class EntryError:
    """Why one entry of a request was refused where the others were not; ``status``: as of a request alone."""

    error: str
    status: int = 422


@dataclass(frozen=True)
class Contribution:
    """What an event adds to a score; without an item, what no single event explains (``title`` says what)."""

    domain: str
    item: Id | None
    title: str | None
    value: float


@dataclass(frozen=True)
class FeaturePart:
    """What a feature of the item, such as "brand = acme", adds to its score."""

    feature: str
    value: float


@dataclass(frozen=True)
class ScoreExplanation:
    """A score and what makes it up, largest first; the parts sum to it. ``exact``: or an approximation.
    ``features``: the same score by what is known of the item, largest first; events say what is left of it.
    """

    score: float
    parts: tuple[Contribution, ...]
    exact: bool
    model: str
    version: str | None = None
    run: str | None = None
    features: tuple[FeaturePart, ...] = ()
