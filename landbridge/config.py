"""What an experiment file may say: one TOML table per step, unknown keys refused.

[data]      source = ["books.csv", "movies.parquet"], users = "shared"
            item_features = "items.csv"
            kinds = {view = 0.2, buy = 1, dislike = "against"}, half_life_days = 90, seen = "returned.csv"
[split]     kind = "last", future = "cut", seed = 0, candidates = 0, across = false, targets = "buy"
[model]     name = "cdimf"        auto, where nothing is said
[model.settings]   factors = 64
[fit]       seed = 0, threads = 8, patience = 3
[evaluate]  metrics = ["ndcg@10", "hr@10"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.text import one_line
from landbridge.core.types import Record, Values

AUTO = "auto"  # a model's name: all methods, chosen and blended on validation data


class SettingsTable(BaseModel):
    """A table of settings: frozen, no unknown keys."""

    # forbid: a misspelt key must not be ignored silently
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(SettingsTable):
    """Either ``source`` (files or {domain: file}) or ``dataset``: a name of the catalogue, or a folder
    published with its split.

    ``columns``: {role: column or position}, also per domain, or the text of ``--column``. ``fold_ids``: ids
    that differ in case or surrounding blanks are one. ``skip_bad_rows``: the file for rows that cannot be
    read. ``items``, ``item_links``, ``min_confidence``, ``item_features``, ``user_features``, ``kinds``,
    ``half_life_days``, ``seen``, ``ties``, ``memory``: as in :func:`landbridge.read`.
    """

    source: str | tuple[str, ...] | dict[str, str] | None = None
    dataset: str | None = None
    users: str | None = None
    items: str | None = None
    item_links: str | None = None
    min_confidence: float | None = None
    item_features: str | None = None
    user_features: str | None = None
    columns: Annotated[
        dict[str, str | int | dict[str, str | int]] | None, BeforeValidator(lambda value: column_table(value))
    ] = None
    min_rating: float | None = None
    duplicates: str = "last"
    domains: tuple[str, ...] | None = None
    kinds: dict[str, float | str] | None = None
    half_life_days: float | None = Field(default=None, ge=0)
    seen: str | tuple[str, ...] | dict[str, str] | None = None
    # None: not written, so that benchmarks begun before they were there can be gone on with
    fold_ids: bool | None = None
    skip_bad_rows: str | None = None
    ties: Literal["random", "file"] | None = None
    memory: str | int | None = None


class SplitSettings(SettingsTable):
    """``auto`` holds out each user's latest event where there are times, else a random one of each domain.

    ``future``: whether ``last`` leaves out what is later than a held-out event of the user (cut, the default)
    or not (keep).
    ``across``: rank in one list over all domains. ``targets``: the only kind of events that is held out.
    """

    kind: Literal["auto", "last", "latest", "random", "temporal", "cold", "none"] = "auto"
    future: Literal["cut", "keep"] | None = None
    seed: int = Field(default=0, ge=0, lt=2**63)
    candidates: int = Field(default=0, ge=0)
    across: bool = False
    targets: str | None = None


class ModelSettings(SettingsTable):
    """A method of the registry and its settings, or ``auto``: methods tuned and blended on validation data.

    ``guard``: keep each domain's single-domain baseline and serve it where the method does not pay off.
    ``trials`` and ``seconds``: what may be spent on choosing settings on validation data; trials per method,
    seconds per method or, of ``auto``, in all (where neither is given, ``auto`` has its own budget).
    ``families``: the methods that take part in ``auto``. ``settings_of``: a run folder whose method, settings
    and weights are taken, in place of a name.
    """

    name: str = AUTO
    settings: Record = {}
    guard: bool = False
    trials: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, gt=0)
    families: tuple[str, ...] = ()
    settings_of: str | None = None


class FitSettings(SettingsTable):
    """``patience`` chooses the number of epochs on validation data (by ``validate_on``), then refits.

    ``deploy``: after the evaluation, fit once more on all events and save that model. ``jobs``: with
    2, the default of the command line, ``auto`` searches slow methods in a process of their own.
    """

    seed: int = Field(default=0, ge=0, lt=2**63)
    threads: int | None = Field(default=None, ge=1)
    patience: int | None = Field(default=None, ge=1)
    validate_on: str = "ndcg@10"
    deploy: bool = True
    jobs: int = Field(default=1, ge=1, le=2)


class EvaluateSettings(SettingsTable):
    """The metrics of the summary."""

    metrics: tuple[str, ...] = ("ndcg@10", "hr@10")


class Spec(SettingsTable):
    """A whole experiment."""

    data: DataSettings
    split: SplitSettings = SplitSettings()
    model: ModelSettings = ModelSettings()
    fit: FitSettings = FitSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    def toml(self) -> bytes:
        """The resolved settings as an experiment file."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True)).encode()


class BoostTable(SettingsTable):
    """Items of a page's list that are lifted: those that a rule is true of, or ids of its domain."""

    by: float
    where: str = ""
    items: tuple[str | int, ...] = ()


class PinTable(SettingsTable):
    """An item at a place of a page's list."""

    place: int
    item: str | int


class PageListTable(SettingsTable):
    """A list of a page; ``strategy``: popular, trending or latest in place of the model's order. The others
    are those of :class:`landbridge.ListRules`."""

    domain: str
    k: int = 10
    strategy: str | None = None
    where: str | dict[str, Any] = ""
    seen_elsewhere: bool = True
    max_per: dict[str, int] = {}
    boosts: tuple[BoostTable, ...] = ()
    pins: tuple[PinTable, ...] = ()
    diversity: float = 0.0
    tail: float = 0.0


def read_page(path: Path) -> dict[str, PageListTable]:
    """The lists of a page file, a table for each, from the top; SettingsError names the first bad key."""
    lists = {}
    for name, table in _toml(path, "page").items():
        try:
            lists[name] = PageListTable.model_validate(table)
        except ValidationError as error:
            first = error.errors()[0]
            where = [one_line(part) for part in first["loc"]]
            if first["type"] == "extra_forbidden" and len(where) == 1:
                said = unknown(f"key in [{name}]", where[0], PageListTable.model_fields)
                raise SettingsError(f"{path}: {said}") from None
            raise SettingsError(f"{path}: [{name}] {'.'.join(where)}: {first['msg']}.") from None
    if not lists:
        raise SettingsError(f"{path} has no list; give each a table such as [top] with a domain.")
    return lists


def _toml(path: Path, what: str) -> Record:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(f"There is no {what} file {path}; check the path.") from None
    except IsADirectoryError:
        raise SettingsError(f"{path} is a folder; give a {what} file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from None


def read_spec(path: Path) -> Record:
    """The tables of an experiment file."""
    tables = _toml(path, "experiment")
    data = tables.get("data")
    if isinstance(data, dict) and "columns" in data:
        # a table, so that columns of the command line can be added
        tables["data"] = data | {"columns": column_table(data["columns"])}
    return tables


def merge_tables(tables: Values, over: Values) -> Record:
    """``tables`` with the values of ``over`` that are given (not None), table by table."""
    result = dict(tables)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping | None):
            result[key] = merge_tables(result.get(key) or {}, value)
        elif value is not None:
            result[key] = value
    return result


def validated_spec(tables: Values) -> Spec:
    """The validated experiment; SettingsError names the first bad key and the nearest valid one."""
    try:
        made = Spec.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(
            _sentence(first["type"], [one_line(part) for part in first["loc"]], first["msg"])
        ) from None
    if made.model.settings_of is not None and (made.model.settings or made.model.name != AUTO):
        raise SettingsError("[model] settings_of brings method and settings: leave out name and settings.")
    if (made.data.source is None) == (made.data.dataset is None):
        raise SettingsError("[data] needs either source or dataset.")
    return made


def column_table(columns: object) -> object:
    """``"user=buyer,item=sku,books.time=sold_at"`` as a table of roles; SettingsError for another text, and
    anything but text as it is. A comma is part of a name unless a role follows."""
    if not isinstance(columns, str):
        return columns
    pairs = [text.partition("=") for text in re.split(r",(?=[^,=]+=)", columns)]
    for role, _, name in pairs:
        if not (role.strip() and name.strip()):
            raise SettingsError(f"{columns!r} names no column; write role=name, for example user=buyer.")
    return {role.strip(): name.strip() for role, _, name in pairs}


def parse_setting(text: str) -> tuple[str, object]:
    """``key=value`` with the value read as TOML, and as plain text where it is none: factors=64."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"{text!r} is no setting; write key=value, for example factors=64.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        # not TOML: text without quotes, as a shell user writes it
        return key.strip(), value.strip()


def _sentence(kind: str, where: list[str], message: str) -> str:
    if kind == "extra_forbidden":
        table = Spec.model_fields.get(where[0]) if len(where) > 1 else None
        fields = Spec.model_fields if table is None else table.annotation.model_fields  # type: ignore[union-attr]
        return unknown("table" if table is None else f"key in [{where[0]}]", where[-1], fields)
    return f"[{where[0]}] {'.'.join(where[1:])}: {message}."
