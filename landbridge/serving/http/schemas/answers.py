"""Answers with lists, values of columns and reasons, and refusals."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """What the server sends: documented, and not validated."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Problem(Answer):
    """Why a request was refused, in one sentence."""

    error: str
    """What is wrong, where, and what to do."""
    request_id: str
    """The id of the request, as in the header X-Request-ID of the answer and in the server's log."""


class WrongEntry(Answer):
    """In a partial request, the answer to an entry that was refused."""

    error: str
    """What is wrong with the entry, and where."""
    status: int
    """The status that a request of this entry alone would have had."""


class NamedWrongEntry(WrongEntry):
    """An entry that was refused where others were stored."""

    entry: int
    """The place of the entry among those of the request, from 0."""


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
    """Either "model", or "fallback" where the cold-start policy made the list, or the `strategy` that was
    requested."""
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
