"""Bodies with events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, Field

from landbridge.serving.engine.messages import EntryError, Event
from landbridge.serving.http.schemas.bounds import MAX_EVENTS
from landbridge.serving.http.schemas.fields import Body, Id, Name, Seconds, Weight, or_error


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


Events = Annotated[list[EventBody], Field(max_length=MAX_EVENTS)]


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
