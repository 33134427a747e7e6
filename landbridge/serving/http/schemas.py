"""The bodies of the HTTP interface, bounded in every direction, and what the answers look like.

Bodies are validated. Answers are only documented by their models: they are written straight from the
values of :mod:`landbridge.serving.engine.messages`.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from landbridge.core.errors import DataError
from landbridge.data.io.event_table import LATEST_SECOND
from landbridge.serving.engine.messages import Event, Request, whole_seconds

MAX_K = 1000  # places of a list
MAX_EXPLAINED = 50  # places of a list with reasons
MAX_EVENTS = 1000  # of one request
MAX_LISTED = 10_000  # ids that are allowed or denied, per domain; values of a column
MAX_BATCH = 64  # lists per request
MAX_NAMED = 64  # domains or columns
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
    """The time of an event, or none; ValueError for milliseconds."""
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

Name = Annotated[str, PlainValidator(raw_text), WithJsonSchema(_TEXT)]
Id = Annotated[str | int, PlainValidator(raw_id), WithJsonSchema(_ID)]
Values = Annotated[object, PlainValidator(raw_values), WithJsonSchema(_VALUES)]
Seconds = Annotated[int | None, PlainValidator(raw_seconds), WithJsonSchema(_SECONDS)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Places = Annotated[int, Field(ge=1, le=MAX_K)]
Ids = Annotated[list[Id], Field(max_length=MAX_LISTED)]


class Body(BaseModel):
    """What a client sends: frozen, no unknown keys, and a 1 is no "1"."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EventBody(Body):
    """An event: a user interacted with an item; ``time`` in seconds."""

    domain: Name
    item: Id
    time: Seconds = None
    id: Name | None = None

    def event(self) -> Event:
        """The event as the service takes it."""
        return Event(self.domain, self.item, self.time, self.id)


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
    user: Id | None = None
    events: Events = Field(default_factory=list)
    k: Places = 10
    seen: bool = False
    allow: Annotated[dict[Name, Ids], Field(max_length=MAX_NAMED, default_factory=dict)]
    deny: Annotated[dict[Name, Ids], Field(max_length=MAX_NAMED, default_factory=dict)]
    where: Annotated[dict[Name, Values], Field(max_length=MAX_NAMED, default_factory=dict)]
    weights: Annotated[dict[Name, Weight], Field(max_length=MAX_NAMED, default_factory=dict)]
    explain: bool = False

    @model_validator(mode="after")
    def _few_reasons(self) -> Self:
        if self.explain and self.k > MAX_EXPLAINED:
            raise ValueError(f"with explain, k is at most {MAX_EXPLAINED}")
        return self

    def as_request(self) -> Request:
        """The request as the service takes it."""
        return Request(
            tuple(self.domains),
            self.user,
            tuple(event.event() for event in self.events),
            self.k,
            self.seen,
            {name: tuple(items) for name, items in self.allow.items()},
            {name: tuple(items) for name, items in self.deny.items()},
            self.where,
            self.weights,
        )


class BatchBody(Body):
    """Lists for several users, answered by one model; without reasons."""

    requests: Annotated[list[RecommendBody], Field(min_length=1, max_length=MAX_BATCH)]

    @model_validator(mode="after")
    def _no_reasons(self) -> Self:
        if any(request.explain for request in self.requests):
            raise ValueError("a batch comes without reasons; leave explain out, or ask for that list alone")
        return self


class SimilarBody(Body):
    """Items like this one, of its own domain or of the domain ``to``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"domain": "books", "item": "dune", "k": 5}]})

    domain: Name
    item: Id
    k: Places = 10
    to: Name | None = None


class ExplainBody(Body):
    """Why an item has its score for a known user, a new one with events, or both."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"domain": "books", "item": "dune", "user": "alice"}]}
    )

    domain: Name
    item: Id
    user: Id | None = None
    events: Events = Field(default_factory=list)


class EventsBody(Body):
    """Events of one user to be stored."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user": "alice", "events": [{"domain": "books", "item": "dune"}]}]}
    )

    user: Id
    events: Annotated[list[EventBody], Field(min_length=1, max_length=MAX_EVENTS)]


class Problem(BaseModel):
    """Why a request was refused, in one sentence."""

    error: str


class Listed(BaseModel):
    """An item of a list."""

    domain: str
    item: str | int
    title: str | None
    score: float | None


class Reason(BaseModel):
    """What an event adds to a score; without an item: what no single event explains."""

    domain: str
    item: str | int | None
    title: str | None
    value: float


class ListedWithReasons(Listed):
    """An item of a list and, where requested, what speaks for it: up to three events, and what no event
    explains, such as popularity, without an item."""

    because: list[Reason] | None = None


class RecommendAnswer(BaseModel):
    """A list, best first."""

    items: list[ListedWithReasons]
    source: str
    known: bool
    model: str
    degraded: bool


class BatchAnswer(BaseModel):
    """One answer per request, in their order."""

    answers: list[RecommendAnswer]


class Items(BaseModel):
    """Items, best first, and the model that says so."""

    items: list[Listed]
    model: str


class ExplainAnswer(BaseModel):
    """A score and its parts, which sum to it."""

    score: float
    parts: list[Reason]
    exact: bool
    model: str
    degraded: bool


class Stored(BaseModel):
    """How many events were stored, for good."""

    stored: int


class Forgotten(BaseModel):
    """How many events were deleted."""

    forgotten: int


class ModelAnswer(BaseModel):
    """What serves, as the run describes it; further keys depend on the method."""

    model_config = ConfigDict(extra="allow")

    model: str
    approximate: dict[str, float] = Field(
        description="The domains searched approximately, and the share of the exact lists that is found."
    )


class Alive(BaseModel):
    """The process lives."""

    status: str


class FailedSwap(BaseModel):
    """The state of the run folder that could not be served, and why."""

    state: str
    why: str
    at: str


class Ready(BaseModel):
    """Which model serves since when, and what became of later ones."""

    ready: bool
    model: str
    since: str
    swaps: int
    rollbacks: int
    failed: FailedSwap | None
    problems: list[str]
