"""The types of single fields, each bounded, and what all bodies have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from landbridge.core.errors import DataError
from landbridge.data.time_units import LATEST_SECOND
from landbridge.serving.engine.messages import EntryError, whole_seconds
from landbridge.serving.http.request_body import error_message
from landbridge.serving.http.schemas.bounds import INT64, MAX_K, MAX_LISTED, MAX_NAMED, MAX_RULE, MAX_TEXT


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
Strategy = Literal["popular", "trending", "latest"]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Places = Annotated[int, Field(ge=1, le=MAX_K)]
Offset = Annotated[int, Field(ge=0, lt=MAX_K)]
Ids = Annotated[list[Id], Field(max_length=MAX_LISTED)]


class Body(BaseModel):
    """What a client sends: frozen, no unknown keys, and a 1 is no "1"."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)
