"""Bodies about items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from landbridge.data.item_attributes import HIDDEN, KEYS, TITLE
from landbridge.serving.engine.messages import EntryError
from landbridge.serving.http.schemas.bounds import MAX_NAMED, MAX_PATCHED
from landbridge.serving.http.schemas.fields import Body, Id, Name, Values, or_error


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
