"""A client of ``landbridge serve`` for Python programs: one method for each route.

>>> with Client("http://127.0.0.1:8000") as client:
...     listed = client.recommend(domains=["books"], user="alice", k=5)
...     led = listed["recommendation_id"]
...     event = Event(domain="books", item="dune", kind="buy", recommendation_id=led)
...     client.add_events(user="alice", events=[event])

Bodies, queries and answers are dictionaries with the keys and types that ``/openapi.json`` describes; a test
compares them. It needs nothing but the standard library, and connections are used again. Any thread may call
any method.
"""

import json
import selectors
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Literal, NotRequired, Required, Self, TypeAlias, TypedDict, Unpack, cast
from urllib.parse import quote, urlencode, urlsplit

from landbridge.core.errors import LandbridgeError, SettingsError

Id: TypeAlias = str | int
Value: TypeAlias = str | int | float | bool | None
Values: TypeAlias = str | int | float | bool | Sequence[Value] | None
Where: TypeAlias = str | Mapping[str, Values]


class RequestError(LandbridgeError):
    """A request that was refused, with the server's sentence, or had no answer.

    ``status``: of the answer, None without one; ``request_id``: as in the server's log.
    """

    def __init__(self, message: str, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status, self.request_id = status, request_id


# what is sent


class Event(TypedDict, total=False):
    """An event of the user of a request."""

    domain: Required[str]
    item: Required[Id]
    time: int | None
    id: str | None
    kind: str | None
    weight: float | None
    recommendation_id: str | None


class UserEvent(Event, total=False):
    """An event with its user."""

    user: Id | None


class Boost(TypedDict, total=False):
    """Items that are lifted or lowered."""

    by: Required[float]
    where: Where
    items: Mapping[str, Sequence[Id]]


class Pin(TypedDict, total=False):
    """An item at a place."""

    place: Required[int]
    item: Required[Id]
    domain: str | None


class Recommend(TypedDict, total=False):
    """A list for one user."""

    domains: Required[Sequence[str]]
    user: Id | None
    events: Sequence[Event]
    k: int
    offset: int
    seen: bool
    allow: Mapping[str, Sequence[Id]]
    deny: Mapping[str, Sequence[Id]]
    where: Where
    weights: Mapping[str, float]
    seen_elsewhere: bool
    max_per: Mapping[str, int]
    boosts: Sequence[Boost]
    pins: Sequence[Pin]
    diversity: float
    tail: float
    strategy: Literal["popular", "trending", "latest"] | None
    explain: bool


class Batch(TypedDict, total=False):
    """Lists for several users."""

    requests: Required[Sequence[Recommend]]
    partial: bool


class Page(TypedDict, total=False):
    """Several lists for one user."""

    lists: Required[Sequence[Recommend]]
    user: Id | None
    events: Sequence[Event]


class Similar(TypedDict, total=False):
    """Items like an item."""

    domain: Required[str]
    item: Required[Id]
    k: int
    offset: int
    to: str | None
    where: Where


class Explain(TypedDict, total=False):
    """An item whose score is explained."""

    domain: Required[str]
    item: Required[Id]
    user: Id | None
    events: Sequence[Event]


class AddEvents(TypedDict, total=False):
    """Events to be stored."""

    events: Required[Sequence[UserEvent]]
    user: Id | None
    partial: bool


class Item(TypedDict):
    """What is said of an item."""

    domain: str
    item: Id
    values: Mapping[str, Values]


class PatchItems(TypedDict, total=False):
    """What is said of items."""

    items: Required[Sequence[Item]]
    partial: bool


class DeleteEvent(TypedDict, total=False):
    """The event that is deleted."""

    user: Required[str]
    id: str | None
    domain: str | None
    item: str | None
    time: int | None
    kind: str | None


class Search(TypedDict, total=False):
    """Words of titles and ids."""

    q: Required[str]
    domain: str | None
    k: int
    offset: int


class Popular(TypedDict, total=False):
    """What comes first."""

    domain: str | None
    k: int
    offset: int
    strategy: Literal["popular", "trending", "latest"]


class ColumnValues(TypedDict, total=False):
    """Words of a column's values."""

    column: Required[str]
    q: str
    k: int
    offset: int


class OfRun(TypedDict, total=False):
    """A run of an A/B test."""

    run: str | None


# what is answered


class Listed(TypedDict):
    """An item of a list."""

    domain: str
    item: Id
    title: str | None
    score: float | None
    cold: bool


class Reason(TypedDict):
    """What an event adds to a score."""

    domain: str
    item: Id | None
    title: str | None
    value: float


class FeatureReason(TypedDict):
    """What a feature of the item adds to its score."""

    feature: str
    value: float


class ListedWithReasons(Listed):
    """An item of a list and what speaks for it."""

    because: NotRequired[list[Reason] | None]


class RecommendAnswer(TypedDict):
    """A list, best first."""

    items: list[ListedWithReasons]
    source: str
    known: bool
    model: str
    version: str | None
    run: str | None
    degraded: bool
    recommendation_id: str


class WrongEntry(TypedDict):
    """An entry that was refused."""

    error: str
    status: int


class NamedWrongEntry(WrongEntry):
    """An entry that was refused, and its place."""

    entry: int


class BatchAnswer(TypedDict):
    """One answer per request."""

    answers: list[RecommendAnswer | WrongEntry]


class PageAnswer(TypedDict):
    """The lists of a page."""

    lists: list[RecommendAnswer]


class Items(TypedDict):
    """Items, best first."""

    items: list[Listed]
    model: str
    version: str | None
    run: str | None


class ColumnValue(TypedDict):
    """A value and how many items have it."""

    value: str | int | float | bool | None
    items: int


class ValuesAnswer(TypedDict):
    """Values of a column."""

    values: list[ColumnValue]
    model: str


class ExplainAnswer(TypedDict):
    """A score and its parts."""

    score: float
    parts: list[Reason]
    exact: bool
    features: list[FeatureReason]
    model: str
    version: str | None
    run: str | None
    degraded: bool


class Stored(TypedDict):
    """How many events were stored."""

    stored: int
    errors: NotRequired[list[NamedWrongEntry] | None]


class Patched(TypedDict):
    """How many entries about items were kept."""

    patched: int
    unknown: int
    errors: NotRequired[list[NamedWrongEntry] | None]


class Deleted(TypedDict):
    """How many events were deleted."""

    deleted: int


class Forgotten(TypedDict):
    """How many events were deleted."""

    forgotten: int


class GateDomain(TypedDict):
    """The gate in a domain."""

    domain: str
    pairs: int
    candidate: float
    present: float
    popularity: float
    p: float


class Gate(TypedDict):
    """The gate of a refit."""

    decision: str
    pairs: int
    metric: str
    domains: list[GateDomain]


class Guarantee(TypedDict):
    """The privacy of the rows that a fit sent."""

    epsilon: float | None
    delta: float
    rounds: int
    clip: float
    noise: float
    unit: str
    not_protected: list[str]


class ModelAnswer(TypedDict):
    """What serves; the answer has further keys."""

    model: str
    version: str | None
    run: str | None
    gate: Gate | None
    privacy: Guarantee | None
    approximate: dict[str, float]


class Alive(TypedDict):
    """The process lives."""

    status: str


class FailedSwap(TypedDict):
    """A state that could not be served."""

    state: str
    why: str
    at: str


class RunState(TypedDict):
    """What serves of a run."""

    model: str
    version: str | None
    run: str | None
    since: str
    swaps: int
    rollbacks: int
    failed: FailedSwap | None


class Ready(RunState):
    """What serves, and what is wrong."""

    ready: bool
    against: RunState | None
    problems: list[str]


class Client:
    """The routes of a server at ``url``. ``key``: an API key; ``timeout``: in seconds, of a whole answer's
    pieces. RequestError from every method where the server refuses or does not answer."""

    def __init__(
        self, url: str = "http://127.0.0.1:8000", key: str | None = None, timeout: float = 10.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{url!r} is no address of a server; write http://127.0.0.1:8000.")
        self._url, self._prefix, self._timeout = url, parts.path.rstrip("/"), timeout
        self._host, self._port, self._secure = parts.hostname, parts.port, parts.scheme == "https"
        self._headers = {} if key is None else {"x-api-key": key}
        self._idle: deque[HTTPConnection] = deque()  # its methods are atomic

    def recommend(self, **body: Unpack[Recommend]) -> RecommendAnswer:
        """The best items for one user."""
        return cast(RecommendAnswer, self._ask("POST", "/v1/recommend", body=body))

    def recommend_batch(self, **body: Unpack[Batch]) -> BatchAnswer:
        """Lists for several users, in their order."""
        return cast(BatchAnswer, self._ask("POST", "/v1/recommend/batch", body=body))

    def page(self, **body: Unpack[Page]) -> PageAnswer:
        """Several lists of one page, without repetition."""
        return cast(PageAnswer, self._ask("POST", "/v1/page", body=body))

    def similar(self, **body: Unpack[Similar]) -> Items:
        """Items like this one, of its own domain or of another."""
        return cast(Items, self._ask("POST", "/v1/similar", body=body))

    def explain(self, **body: Unpack[Explain]) -> ExplainAnswer:
        """Why an item has its score."""
        return cast(ExplainAnswer, self._ask("POST", "/v1/explain", body=body))

    def add_events(self, **body: Unpack[AddEvents]) -> Stored:
        """Store events of a user, or of many."""
        return cast(Stored, self._ask("POST", "/v1/events", body=body))

    def delete_event(self, **query: Unpack[DeleteEvent]) -> Deleted:
        """Delete one stored event."""
        return cast(Deleted, self._ask("DELETE", "/v1/events", query=query))

    def forget_user(self, user: Id) -> Forgotten:
        """Delete a user's events, and serve them as a new user from now on."""
        return cast(Forgotten, self._ask("DELETE", f"/v1/users/{quote(str(user), safe='')}"))

    def patch_items(self, **body: Unpack[PatchItems]) -> Patched:
        """Say something of items: titles, prices, stock."""
        return cast(Patched, self._ask("PATCH", "/v1/items", body=body))

    def search(self, **query: Unpack[Search]) -> Items:
        """Items whose title or id contains the words."""
        return cast(Items, self._ask("GET", "/v1/search", query=query))

    def popular(self, **query: Unpack[Popular]) -> Items:
        """The popular, trending or latest items."""
        return cast(Items, self._ask("GET", "/v1/popular", query=query))

    def values(self, **query: Unpack[ColumnValues]) -> ValuesAnswer:
        """Values of a column of the items' table."""
        return cast(ValuesAnswer, self._ask("GET", "/v1/values", query=query))

    def model(self, **query: Unpack[OfRun]) -> ModelAnswer:
        """What serves."""
        return cast(ModelAnswer, self._ask("GET", "/v1/model", query=query))

    def healthz(self) -> Alive:
        """Whether the process lives."""
        return cast(Alive, self._ask("GET", "/healthz"))

    def readyz(self) -> Ready:
        """Which model serves since when, and what is wrong."""
        return cast(Ready, self._ask("GET", "/readyz"))

    def metrics(self) -> str:
        """The metrics of the server, in Prometheus' text format."""
        return self._sent("GET", "/metrics", None).decode()

    def close(self) -> None:
        """Close the connections that no request uses."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> object:
        """The answer to a request, as JSON."""
        given = {key: value for key, value in (query or {}).items() if value is not None}
        content = None if body is None else json.dumps(body).encode()
        return json.loads(self._sent(method, f"{path}?{urlencode(given)}" if given else path, content))

    def _sent(self, method: str, path: str, content: bytes | None) -> bytes:
        headers = self._headers | ({} if content is None else {"content-type": "application/json"})
        connection = self._connection()
        try:
            connection.request(method, self._prefix + path, content, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            why = str(error) or type(error).__name__
            raise RequestError(
                f"The server at {self._url} does not answer ({why}); check its address."
            ) from error
        if response.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        if response.status >= 400:
            raise _refusal(response, answer)
        return answer

    def _connection(self) -> HTTPConnection:
        """An idle connection that is still open, or a new one."""
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if _is_open(connection):
                    return connection
                connection.close()
        kind = HTTPSConnection if self._secure else HTTPConnection
        return kind(self._host, self._port, timeout=self._timeout)


def _is_open(connection: HTTPConnection) -> bool:
    """Whether an idle connection still waits for a request. One that the server has closed can be read from;
    a request on it would be lost, and not every request may be sent twice."""
    if connection.sock is None:
        return False
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return not selector.select(0)


def _refusal(response: HTTPResponse, answer: bytes) -> RequestError:
    """The error that an answer says, also where it is of a proxy and no JSON."""
    try:
        said = json.loads(answer)
        return RequestError(said["error"], response.status, said.get("request_id"))
    except (ValueError, TypeError, KeyError):
        return RequestError(f"The server answered {response.status} {response.reason}.", response.status)
