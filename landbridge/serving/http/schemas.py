"""The bodies of the HTTP interface, bounded in every direction, and what the answers look like.

Bodies are validated. Answers are only documented by their models: they are written straight from the
values of :mod:`landbridge.serving.engine.messages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from landbridge.core.errors import DataError
from landbridge.data.item_attributes import HIDDEN, KEYS, TITLE
from landbridge.data.time_units import LATEST_SECOND
from landbridge.ranking.list_order import Boost, ListOrder, Pin
from landbridge.serving.engine.messages import EntryError, Event, Request, whole_seconds
from landbridge.serving.http.request_body import error_message

MAX_K = 1000  # places of a list
MAX_EXPLAINED = 50  # places of a list with reasons
MAX_EVENTS = 1000  # of one request
MAX_LISTED = 10_000  # ids that are allowed or denied, per domain; values of a column
MAX_PATCHED = 1000  # items of one request
MAX_BATCH = 64  # lists per request
MAX_PAGE = 16  # lists of a page, which are made one after the other
MAX_NAMED = 64  # domains or columns
MAX_RULE = 10_000  # characters of a rule
MAX_TEXT = 512  # characters of an id or a name
INT64 = 1 << 63


def raw_text(value: object) -> str:
    """A name; ValueError unless it is a text within the bounds. No database column takes a null character."""
    if type(value) is not str or not 0 < len(value) <= MAX_TEXT or "\x00" in value:
        raise ValueError(f"a name is a text of 1 to {MAX_TEXT} characters, none of them null")
    return value


def raw_id(value: object) -> str | int:
    """An id; ValueError unless it is a text or a whole number within the bounds."""
    # type() and not isinstance: true is an int for Python
    if type(value) is int and -INT64 <= value < INT64:
        return value
    if type(value) is not str or not 0 < len(value) <= MAX_TEXT or "\x00" in value:
        raise ValueError(
            f"an id is a whole number of 64 bits or a text of 1 to {MAX_TEXT} characters, none of them null"
        )
    return value


def raw_seconds(value: object) -> int | None:
    """The time of an event, or none; ValueError for what is no second."""
    try:
        return None if value is None else whole_seconds(value)
    except DataError as error:
        raise ValueError(str(error).removesuffix(".")) from None


def raw_values(value: object) -> object:
    """What a column of the items' table may be compared with: a value, or a list of values."""
    if type(value) is not list:
        return _raw_value(value)
    if len(value) > MAX_LISTED:
        raise ValueError(f"a list of values holds at most {MAX_LISTED}")
    return [_raw_value(each) for each in value]


def rule_or_values(value: object, values: ValidatorFunctionWrapHandler) -> object:
    """A rule as text within the bounds; else an object of columns and values."""
    if type(value) is not str:
        return values(value)
    if not 0 < len(value) <= MAX_RULE:
        raise ValueError(f"a rule has 1 to {MAX_RULE:,} characters")
    return value


def or_error(model: type[BaseModel]) -> WrapValidator:
    """For the entries of a list: where the request is ``partial``, what is wrong with one in its place."""

    def entry_or_error(value: object, entry: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        try:
            return entry(value)
        except ValidationError as error:
            if not info.data.get("partial"):
                raise
            first = error.errors(include_url=False, include_input=False)[0]
            return EntryError(error_message(first, model.model_fields))

    return WrapValidator(entry_or_error)


def check_depth(offset: int, k: int) -> None:
    """ValueError where a list would have to be ranked further down than any list is."""
    if offset + k > MAX_K:
        raise ValueError(f"offset and k together are at most {MAX_K:,}")


def is_condition(value: object) -> bool:
    """Whether a request may compare a column with this value: a text may be too long, a number too large."""
    try:
        raw_values(value)
    except ValueError:
        return False
    return True


def _raw_value(value: object) -> object:
    return value if value is None or type(value) in (bool, float) else raw_id(value)


_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": r"^[^\x00]*$"}
_ID = {"anyOf": [_TEXT, {"type": "integer", "minimum": -INT64, "maximum": INT64 - 1}]}
_SECONDS = {
    "anyOf": [
        {"type": "integer", "exclusiveMinimum": -LATEST_SECOND, "exclusiveMaximum": LATEST_SECOND},
        {"type": "null"},
    ]
}
_VALUE = {"anyOf": [*_ID["anyOf"], {"type": "number"}, {"type": "boolean"}, {"type": "null"}]}
_VALUES = {"anyOf": [*_VALUE["anyOf"], {"type": "array", "items": _VALUE, "maxItems": MAX_LISTED}]}

_WHERE = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": MAX_RULE},
        {"type": "object", "additionalProperties": _VALUES, "maxProperties": MAX_NAMED},
    ]
}

Name = Annotated[str, PlainValidator(raw_text), WithJsonSchema(_TEXT)]
Id = Annotated[str | int, PlainValidator(raw_id), WithJsonSchema(_ID)]
Values = Annotated[object, PlainValidator(raw_values), WithJsonSchema(_VALUES)]
Seconds = Annotated[int | None, PlainValidator(raw_seconds), WithJsonSchema(_SECONDS)]
# or a text; no union, whose error would be that of the text for an object with a wrong value
Where = Annotated[
    dict[Name, Values],
    Field(max_length=MAX_NAMED, default_factory=dict),
    WrapValidator(rule_or_values),
    WithJsonSchema(_WHERE),
]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Places = Annotated[int, Field(ge=1, le=MAX_K)]
Offset = Annotated[int, Field(ge=0, lt=MAX_K)]
Ids = Annotated[list[Id], Field(max_length=MAX_LISTED)]


class Body(BaseModel):
    """What a client sends: frozen, no unknown keys, and a 1 is no "1"."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class EventBody(Body):
    """An event: a user interacted with an item; ``time`` in seconds."""

    domain: Name
    """The domain of the item."""
    item: Id
    """The id of the item."""
    time: Seconds = None
    """When it happened, in whole seconds since 1970; without it, the order of the events counts."""
    id: Name | None = None
    """Of your choice: an event that is sent again with the same id is stored once."""
    kind: Name | None = None
    """Such as "view", "buy" or "dislike": a kind that the model knows. A disliked item is never listed."""
    weight: Weight | None = None
    """By which the weight of its kind is multiplied; 1 by default."""
    recommendation_id: Name | None = None
    """The `recommendation_id` of the list that led to the event."""

    def event(self) -> Event:
        """The event as the service takes it."""
        return Event(
            self.domain, self.item, self.time, self.id, self.kind, self.weight, self.recommendation_id
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


Events = Annotated[list[EventBody], Field(max_length=MAX_EVENTS)]


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
    explain: bool = False
    """Whether every item names the events that speak for it."""

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        if self.explain and self.k > MAX_EXPLAINED:
            raise ValueError(f"with explain, k is at most {MAX_EXPLAINED}")
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


class UserEventBody(EventBody):
    """An event of a user."""

    user: Id | None = None
    """The user of the event; by default the `user` of all."""


class EventsBody(Body):
    """Events of one user, or of many, to be stored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user": "alice", "events": [{"domain": "books", "item": "dune"}]},
                {
                    "events": [
                        {"user": "alice", "domain": "books", "item": "dune", "kind": "buy", "id": "order-1"},
                        {"user": "bob", "domain": "books", "item": "emma", "kind": "view", "weight": 0.5},
                    ]
                },
            ]
        }
    )

    partial: bool = False
    """Whether the events that are right are stored where others are wrong, which `errors` names; without it
    one that is wrong refuses all."""
    user: Id | None = None
    """The user of the events that do not name their own."""
    events: Annotated[
        list[Annotated[UserEventBody, or_error(UserEventBody)]],
        Field(min_length=1, max_length=MAX_EVENTS),
    ]
    """The events, those of a user oldest first."""

    @property
    def entries(self) -> Sequence[UserEventBody | EntryError]:
        """The events, and with ``partial`` what is wrong in place of wrong ones."""
        return self.events


class ItemBody(Body):
    """What is said of an item."""

    domain: Name
    """The domain of the item."""
    item: Id
    """The id of the item; one that the model does not know yet waits for the next fit."""
    values: Annotated[dict[Name, Values], Field(min_length=1, max_length=MAX_NAMED)]
    """Column -> its value, or its values, from now on. `title` is a text; an item of which `hidden` is true
    is in no list. Null takes back what was said, so that the value of the items' table holds again."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for name, kind, what in ((TITLE, str, "a text"), (HIDDEN, bool, "true or false")):
            if not isinstance(self.values.get(name), kind | None):
                raise ValueError(f"{name} is {what}, or null")
        if taken := [name for name in KEYS if name in self.values]:
            raise ValueError(f"{taken[0]} names the item and is no column of it")
        return self


class ItemsBody(Body):
    """What is said of items."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"items": [{"domain": "books", "item": "dune", "values": {"price": 9.5, "stock": 3}}]},
                {
                    "items": [
                        {"domain": "books", "item": "dune", "values": {"hidden": True}},
                        {"domain": "movies", "item": "alien", "values": {"title": "Alien", "price": None}},
                    ]
                },
            ]
        }
    )

    partial: bool = False
    """Whether what is right is kept where other entries are wrong, which `errors` names; without it one that
    is wrong refuses all."""
    items: Annotated[
        list[Annotated[ItemBody, or_error(ItemBody)]], Field(min_length=1, max_length=MAX_PATCHED)
    ]
    """One entry for each item; of two about one column of an item the later counts."""

    @property
    def entries(self) -> Sequence[ItemBody | EntryError]:
        """The entries, and with ``partial`` what is wrong in place of wrong ones."""
        return self.items


class Answer(BaseModel):
    """What the server sends: documented, and not validated."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Problem(Answer):
    """Why a request was refused, in one sentence."""

    error: str
    """What is wrong, where, and what to do."""
    request_id: str
    """The id of the request, as in the header X-Request-ID of the answer and in the server's log."""


class Listed(Answer):
    """An item of a list."""

    domain: str
    """The domain of the item."""
    item: str | int
    """The id of the item, as the data have it."""
    title: str | None
    """The title of the item; null where none is known."""
    score: float | None
    """What the list is ordered by."""
    cold: bool
    """Whether the item is new: it has no events yet and is listed for its features."""


class Reason(Answer):
    """What an event adds to a score; without an item: what no single event explains."""

    domain: str
    """The domain of the event."""
    item: str | int | None
    """The item of the event; null for what no single event explains."""
    title: str | None
    """The title of the item or, without an item, what the part is."""
    value: float
    """What the part adds to the score."""


class ListedWithReasons(Listed):
    """An item of a list and, where requested, what speaks for it: up to three events, and what no event
    explains, such as popularity, without an item."""

    because: list[Reason] | None = None
    """With `explain`: up to three events that speak most for the item."""


class RecommendAnswer(Answer):
    """A list, best first."""

    items: list[ListedWithReasons]
    """The list, best first."""
    source: str
    """Either "model", or "fallback" where the cold-start policy made the list."""
    known: bool
    """Whether the model was fitted with events of the user."""
    model: str
    """The state of the run folder that answered."""
    version: str | None
    """The name of the version that answered; null where the run folder stands alone."""
    run: str | None
    """In an A/B test, which run answered: "a" or "b"; null without one."""
    degraded: bool
    """Whether the event store failed, so that events stored since the fit do not count."""
    recommendation_id: str
    """The id of this answer, which events that came of it may name."""


class WrongEntry(Answer):
    """In a partial request, the answer to an entry that was refused."""

    error: str
    """What is wrong with the entry, and where."""
    status: int
    """The status that a request of this entry alone would have had."""


class BatchAnswer(Answer):
    """One answer per request, in their order."""

    answers: list[RecommendAnswer | WrongEntry]
    """One answer per request, in their order; with `partial`, an `error` in place of a refused list."""


class PageAnswer(Answer):
    """The lists of a page, from the top."""

    lists: list[RecommendAnswer]
    """One for each list of the request."""


class Items(Answer):
    """Items, best first, and the model that says so."""

    items: list[Listed]
    """The items, best first."""
    model: str
    """The state of the run folder that answered."""
    version: str | None
    """The name of the version that answered; null where the run folder stands alone."""
    run: str | None
    """In an A/B test, which run answered: "a" or "b"; null without one."""


class ColumnValue(Answer):
    """A value of a column of the items' table."""

    value: str | int | float | bool | None
    """The value; null for the items that have none."""
    items: int
    """How many items have it."""


class ValuesAnswer(Answer):
    """Values of a column, those of most items first."""

    values: list[ColumnValue]
    """The values, those of most items first."""
    model: str
    """The state of the run folder that answered."""


class FeatureReason(Answer):
    """What a feature of the item adds to its score."""

    feature: str
    """The column and the value, such as "brand = acme"."""
    value: float
    """What it adds to the score."""


class ExplainAnswer(Answer):
    """A score and its parts, which sum to it."""

    score: float
    """The score as a list gives it."""
    parts: list[Reason]
    """What makes up the score, largest first; the parts sum to it."""
    exact: bool
    """Whether the parts are exact, or an approximation."""
    features: list[FeatureReason]
    """The same score by the features of the item, largest first; what is left of it is what events say. Empty
    where the model uses none."""
    model: str
    """The state of the run folder that answered."""
    version: str | None
    """The name of the version that answered; null where the run folder stands alone."""
    run: str | None
    """In an A/B test, which run answered: "a" or "b"; null without one."""
    degraded: bool
    """Whether the event store failed, so that events stored since the fit do not count."""


class NamedWrongEntry(WrongEntry):
    """An entry that was refused where others were stored."""

    entry: int
    """The place of the entry among those of the request, from 0."""


class Patched(Answer):
    """How many entries about items were kept, for good."""

    patched: int
    """How many entries are on disk, and count on this server."""
    unknown: int
    """How many of these are about items that the model does not know yet."""
    errors: list[NamedWrongEntry] | None = None
    """With `partial`: the entries that were refused."""


class Stored(Answer):
    """How many events were stored, for good."""

    stored: int
    """How many of the events are on disk; none of a user who is to be forgotten."""
    errors: list[NamedWrongEntry] | None = None
    """With `partial`: the events that were refused."""


class Deleted(Answer):
    """How many events were deleted."""

    deleted: int
    """1, or 0 where the store had no such event."""


class Forgotten(Answer):
    """How many events were deleted."""

    forgotten: int
    """How many events were deleted."""


class GateDomain(Answer):
    """The metric of each model on the held-out pairs of a domain."""

    domain: str
    """The domain."""
    pairs: int
    """How many pairs of user and item were held out."""
    candidate: float
    """The metric of the refitted model, fitted without these pairs."""
    present: float
    """The metric of the model that served before."""
    popularity: float
    """The metric of the most popular items, for comparison."""
    p: float
    """The p-value of the difference of both models over users, after Holm's correction."""


class Gate(Answer):
    """How a refitted model compared with the one before it on the latest events."""

    decision: str
    """Either "passed", or "skipped" where there were too few pairs."""
    pairs: int
    """How many pairs of user and item were held out."""
    metric: str
    """What was compared, such as ndcg@10."""
    domains: list[GateDomain]
    """The metric in every domain with pairs; none where the gate was skipped."""


class ModelAnswer(Answer):
    """What serves, as the run describes it; further keys depend on the method."""

    model_config = ConfigDict(extra="allow")

    model: str
    """The state of the run folder that serves."""
    version: str | None
    """The name of the version that serves; null where the run folder stands alone."""
    run: str | None
    """In an A/B test, which run this is: "a" or "b"; null without one."""
    gate: Gate | None
    """What the gate of the refit reported; null for a fit, and for a refit without gate."""
    approximate: dict[str, float]
    """The domains searched approximately, and the share of the exact lists that is found."""


class Alive(Answer):
    """The process lives."""

    status: str
    """Always "ok" (the process answers)."""


class FailedSwap(Answer):
    """The state of the run folder that could not be served, and why."""

    state: str
    """The state of the run folder."""
    why: str
    """Why it cannot be served."""
    at: str
    """When it was tried last, in ISO 8601."""


class RunState(Answer):
    """Which model of a run serves since when, and what became of later ones."""

    model: str
    """The state of the run folder that serves."""
    version: str | None
    """The name of the version that serves; null where the run folder stands alone."""
    run: str | None
    """In an A/B test, which run this is: "a" or "b"; null without one."""
    since: str
    """Since when it serves, in ISO 8601."""
    swaps: int
    """How many later models have been loaded."""
    rollbacks: int
    """How many later states were refused."""
    failed: FailedSwap | None
    """The state that was refused last, null where the present one serves."""


class Ready(RunState):
    """Which model serves since when, and what became of later ones; of an A/B test: those of run a."""

    ready: bool
    """Whether lists are answered."""
    against: RunState | None
    """In an A/B test: the same of run b."""
    problems: list[str]
    """What an operator should look at: the store, the model, a pool that is full."""
