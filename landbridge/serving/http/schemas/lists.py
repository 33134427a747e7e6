"""Bodies that request lists, similar items and reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from landbridge.ranking.list_order import Boost, ListOrder, Pin
from landbridge.serving.engine.messages import EntryError, Request
from landbridge.serving.http.schemas.bounds import MAX_BATCH, MAX_EXPLAINED, MAX_NAMED, MAX_PAGE
from landbridge.serving.http.schemas.events import Events
from landbridge.serving.http.schemas.fields import (
    Body,
    Id,
    Ids,
    Name,
    Offset,
    Places,
    Share,
    Strategy,
    Weight,
    Where,
    check_depth,
    or_error,
)


class BoostBody(Body):
    """Items that are lifted, or lowered: those that a rule is true of, or those that are named."""

    by: Annotated[float, Field(allow_inf_nan=False)]
    """By how much, on a scale where 1 is the distance from the user's item at place 100 to their best one;
    below 0 they are lowered."""
    where: Where
    """A rule about the items' table, as in a list."""
    items: Annotated[dict[Name, Ids], Field(max_length=MAX_NAMED, default_factory=dict)]
    """Domain -> ids."""

    def boost(self) -> Boost:
        """The boost as the service takes it."""
        return Boost(self.by, self.where, {name: tuple(items) for name, items in self.items.items()})


class PinBody(Body):
    """An item at a place of the list, where the list may hold it."""

    place: Places
    """The place, from 1."""
    item: Id
    """The id of the item."""
    domain: Name | None = None
    """The domain of the item; may be left out where the list has one domain."""

    def pin(self) -> Pin:
        """The pin as the service takes it."""
        return Pin(self.place, self.item, self.domain)


class RecommendBody(Body):
    """A list for one user: of one domain, or one list over several."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"domains": ["books"], "user": "alice", "k": 10},
                {
                    "domains": ["books"],
                    "events": [{"domain": "movies", "item": "alien", "time": 1760000000}],
                    "k": 5,
                    "explain": True,
                },
            ]
        }
    )

    domains: Annotated[list[Name], Field(min_length=1, max_length=MAX_NAMED)]
    """The domains whose items may be listed; of several comes one list."""
    user: Id | None = None
    """The user; without one, the list is for an anonymous user."""
    events: Events = Field(default_factory=list)
    """Events of the user since the model was fitted, oldest first; they are not stored."""
    k: Places = 10
    """Length of the list."""
    offset: Offset = 0
    """How many of the best items come before this part of the list; with `k` at most 1,000."""
    seen: bool = False
    """Whether items of the user's own events, and those that they have seen, may be listed; disliked ones
    never are."""
    allow: Annotated[dict[Name, Ids], Field(max_length=MAX_NAMED, default_factory=dict)]
    """Domain -> ids: only these items may be listed."""
    deny: Annotated[dict[Name, Ids], Field(max_length=MAX_NAMED, default_factory=dict)]
    """Domain -> ids: these items may not be listed."""
    where: Where
    """A rule about the items' table, such as `price < 20 and not adult`; or column -> the value, or the list
    of values, that an item must have."""
    weights: Annotated[dict[Name, Weight], Field(max_length=MAX_NAMED, default_factory=dict)]
    """Domain -> what the odds of its items are multiplied by in a list over several domains."""
    seen_elsewhere: bool = True
    """Whether items whose product the user has, or has seen, in another domain may be listed."""
    max_per: Annotated[dict[Name, Places], Field(max_length=MAX_NAMED, default_factory=dict)]
    """Column of the items' table -> how many items of one value the list holds at most."""
    boosts: Annotated[list[BoostBody], Field(max_length=MAX_NAMED, default_factory=list)]
    """Items that are lifted or lowered."""
    pins: Annotated[list[PinBody], Field(max_length=MAX_NAMED, default_factory=list)]
    """Items at fixed places; one that the list may not hold is left out."""
    diversity: Share = 0.0
    """0 to 1: how much an item loses that is like those above it."""
    tail: Share = 0.0
    """0 to 1: how much popular items lose."""
    strategy: Strategy | None = None
    """What comes first in place of the model's order, for every user the same but for what they have: items
    with the most events; with the most of late; or those that were first seen last. The scores are its own;
    without `weights`, `explain` and what else decides over the order."""
    explain: bool = False
    """Whether every item names the events that speak for it."""

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        if self.explain and self.k > MAX_EXPLAINED:
            raise ValueError(f"with explain, k is at most {MAX_EXPLAINED}")
        if self.explain and self.strategy:
            raise ValueError("a list by a strategy has no reasons; leave explain out")
        check_depth(self.offset, self.k)
        return self

    def as_request(self) -> Request:
        """The request as the service takes it: the list from its beginning."""
        return Request(
            tuple(self.domains),
            self.user,
            tuple(event.event() for event in self.events),
            self.offset + self.k,
            self.seen,
            {name: tuple(items) for name, items in self.allow.items()},
            {name: tuple(items) for name, items in self.deny.items()},
            self.where,
            self.weights,
            self.seen_elsewhere,
            ListOrder(
                max_per=self.max_per,
                boosts=tuple(boost.boost() for boost in self.boosts),
                pins=tuple(pin.pin() for pin in self.pins),
                diversity=self.diversity,
                tail=self.tail,
            ),
            self.strategy,
        )


def without_reasons(request: RecommendBody) -> RecommendBody:
    """A request of a batch."""
    if request.explain:
        raise ValueError("a batch comes without reasons; leave explain out, or ask for that list alone")
    return request


BatchEntry = Annotated[RecommendBody, AfterValidator(without_reasons), or_error(RecommendBody)]


class BatchBody(Body):
    """Lists for several users, answered by one model; without reasons."""

    partial: bool = False
    """Whether a wrong request is answered by its own `error`, and the others by their lists; without it, one
    that is wrong refuses the whole batch."""
    requests: Annotated[list[BatchEntry], Field(min_length=1, max_length=MAX_BATCH)]
    """One request per list."""

    @property
    def entries(self) -> Sequence[RecommendBody | EntryError]:
        """The requests, and with ``partial`` what is wrong in place of wrong ones."""
        return self.requests


class PageBody(Body):
    """Several lists of one page for one user, none of which repeats an item of the lists above it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user": "alice",
                    "lists": [{"domains": ["books"], "k": 5}, {"domains": ["books", "movies"], "k": 10}],
                }
            ]
        }
    )

    user: Id | None = None
    """The user; without one, the lists are for an anonymous user."""
    events: Events = Field(default_factory=list)
    """Events of the user since the model was fitted, oldest first; they are not stored."""
    lists: Annotated[list[RecommendBody], Field(min_length=1, max_length=MAX_PAGE)]
    """The lists from the top; without user, events and explain."""

    @model_validator(mode="after")
    def _one_user(self) -> Self:
        if any(each.user is not None or each.events or each.explain for each in self.lists):
            raise ValueError("a page has one user and one set of events, beside its lists, and no reasons")
        return self

    def as_requests(self) -> list[Request]:
        """One request for each list, as the service takes them."""
        events = tuple(event.event() for event in self.events)
        return [replace(each.as_request(), user=self.user, events=events) for each in self.lists]


class SimilarBody(Body):
    """Items like this one, of its own domain or of the domain ``to``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"domain": "books", "item": "dune", "k": 5}]})

    domain: Name
    """The domain of the item."""
    item: Id
    """The id of the item."""
    k: Places = 10
    """Length of the list."""
    offset: Offset = 0
    """How many of the most similar items come before this part of the list; with `k` at most 1,000."""
    to: Name | None = None
    """The domain of the items that are listed; that of the item by default."""
    where: Where
    """A rule about the items' table, such as `price < 20 and not adult`; or column -> the value, or the list
    of values, that an item must have."""

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        check_depth(self.offset, self.k)
        return self


class ExplainBody(Body):
    """Why an item has its score for a known user, a new one with events, or both."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"domain": "books", "item": "dune", "user": "alice"}]}
    )

    domain: Name
    """The domain of the item."""
    item: Id
    """The id of the item whose score is explained."""
    user: Id | None = None
    """The user; without one, the score is that of an anonymous user."""
    events: Events = Field(default_factory=list)
    """Events of the user since the model was fitted, oldest first; they are not stored."""
