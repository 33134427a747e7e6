"""Logs of impressions: what a deployed system showed whom, with which probability, and what came of it.

A log is a table with a row per showing and the columns user, item, propensity, reward and, where a run has
several domains, domain; the formats are those of event files. A server's log has no rewards, but the id of
each list: what came of it are the events that name this id. Letters: N events.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import Bool
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.columns import Columns, NamedColumns
from landbridge.data.io.encoding import id_array
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.tables import IMPRESSION_ROLES, TableSource, is_path, read_table
from landbridge.evaluation.off_policy import Logged

if TYPE_CHECKING:
    import polars as pl

SERVED = "impressions-*.jsonl"  # the files of a server's log
LOG = "log"  # the name of the only table, as in --column log.user=visitor
REQUIRED = ("user", "item", "propensity", "reward")


@dataclass(frozen=True, eq=False)
class Impressions:
    """The events of a log that a model can be evaluated on, all of one domain.

    ``left_out``: events of users or items that the model does not know. ``in_history``: events whose item
    the model knows of the user; such a pair is never shown again, so these say that a policy earns nothing.
    """

    logged: Logged
    left_out: int
    in_history: int


def read_impressions(
    source: object, history: MultiDomain, columns: Columns = None, outcomes: pl.DataFrame | None = None
) -> dict[str, Impressions]:
    """Domain -> the log's events, for the domains of ``history`` that the log has.

    ``source``: a path (csv, parquet, jsonl ...; a folder that a server wrote) or any data frame;
    ``columns``: role -> column that is not called as usual, or its position. ``outcomes``: events (user,
    domain, item, recommendation_id); a showing that one of them names has the reward 1, others 0.

    DataError for a column that is missing, a propensity that is not above 0 and at most 1, a reward that is
    no finite number, an unknown domain, and a log without a known user and item.
    """
    where = f"file {source}" if is_path(source) else "the log"
    table = _table(source, columns, where, outcomes)
    domain_N = _domains(table, history)
    result = {}
    for name in history.domain_names:
        if (own_N := domain_N == name).any():
            result[name] = _of_domain(replace(table, frame=table.frame.filter(own_N)), history, name)
    return result


def _table(source: object, columns: Columns, where: str, outcomes: pl.DataFrame | None) -> EventTable:
    """The checked columns of a log."""
    named = NamedColumns.of(columns, IMPRESSION_ROLES)
    named.check([LOG])
    roles = list(IMPRESSION_ROLES)
    source = complete_rows(Path(source)) if is_log_folder(source) else source
    table, _ = read_table(TableSource(source, named.table(LOG), roles, where, usual=IMPRESSION_ROLES))
    if "recommendation" in table:
        table = _of_users(table)
        table = table if outcomes is None else _rewarded(table, outcomes)
    for role in REQUIRED:
        if role not in table:
            usual = ", ".join(IMPRESSION_ROLES[role][:4])
            served = role == "reward" and "recommendation" in table
            name_it = f"name it with --column {role}=NAME"
            or_else = ", or give the server's event store with --events" if served else ""
            raise DataError(f"No {role} column in {where} (usual names: {usual}); {name_it}{or_else}.")
    if not len(table):
        raise DataError(f"There are no events in {where}; give at least one row.")
    checked = {role: table.ids(role) for role in ("user", "item")}
    checked |= {role: _numbers(table, role) for role in ("propensity", "reward")}
    wrong_N = (checked["propensity"] <= 0) | (checked["propensity"] > 1)
    table.raise_on_bad_rows(
        wrong_N,
        "propensity",
        "is not above 0 and at most 1",
        "leave out events whose probability is not known",
    )
    return replace(table, frame=table.frame.with_columns(**checked))


def is_log_folder(source: object) -> TypeGuard[str | Path]:
    """Whether ``source`` is a folder that a server wrote."""
    return is_path(source) and Path(source).is_dir() and any(Path(source).glob(SERVED))


def complete_rows(folder: Path) -> pl.DataFrame:
    """The rows of a folder that a server wrote. A line without its end is left out: it is being written now,
    or the process was killed while it wrote."""
    import polars as pl

    files = (file.read_bytes() for file in sorted(folder.glob(SERVED)))
    complete = [whole for each in files if (whole := each[: each.rfind(b"\n") + 1])]
    if not complete:
        raise DataError(f"There are no events in the log {folder}; give it when lists have been served.")
    # all rows: the users of a whole file may be anonymous, and a version null
    tables = [pl.read_ndjson(whole, infer_schema_length=None) for whole in complete]
    return pl.concat(tables, how="diagonal_relaxed")


def _of_users(table: EventTable) -> EventTable:
    """A server's log without the lists of anonymous users, of whom no model says anything."""
    import polars as pl

    return replace(table, frame=table.frame.filter(pl.col("user").is_not_null()))


def _rewarded(table: EventTable, outcomes: pl.DataFrame) -> EventTable:
    """A log with the reward of every showing: 1 where an outcome names it, else 0."""
    import polars as pl

    own = pl.col("user", "domain", "item").cast(pl.String)
    named = outcomes.drop_nulls("recommendation_id").select(own, recommendation="recommendation_id")
    keys = ["user", "domain", "item", "recommendation"]
    shown = table.frame.with_columns(own)
    reward = shown.join(
        named.unique().with_columns(reward=pl.lit(1.0)), on=keys, how="left", maintain_order="left"
    )["reward"].fill_null(0.0)
    return replace(table, frame=table.frame.drop("reward", strict=False).with_columns(reward))


def _numbers(table: EventTable, role: str) -> pl.Series:
    """A column of numbers; true and false are 1 and 0."""
    import polars as pl

    if table.frame[role].dtype == pl.Boolean:
        table = replace(table, frame=table.frame.with_columns(pl.col(role).cast(pl.Int8)))
    numbers = table.numbers(role)
    assert numbers is not None  # the column is there
    return numbers


def _domains(table: EventTable, history: MultiDomain) -> pl.Series:
    """The domain of every event, (N,); that of the run where it has one only."""
    import polars as pl

    if "domain" not in table:
        if len(history.domain_names) > 1:
            raise DataError(
                f"No domain column in {table.where}, and the run has the domains "
                f"{', '.join(history.domain_names)}; name it with --column domain=NAME."
            )
        return pl.Series("domain", list(history.domain_names)).new_from_index(0, len(table))
    domain_N = table.text("domain")
    table.raise_on_bad_rows(domain_N.is_null(), "domain", "is missing", "fill it or remove the row")
    for name in domain_N.unique().sort():
        if name not in history.domain_names:
            raise DataError(f"{table.where}: {unknown('domain', name, history.domain_names)}")
    return domain_N


def _of_domain(table: EventTable, history: MultiDomain, name: str) -> Impressions:
    user_N = history.users.index(id_array(table.frame["user"]))
    item_N = history.items[name].index(id_array(table.frame["item"]))
    known_N: Bool = (user_N >= 0) & (item_N >= 0)
    if not known_N.any():
        raise DataError(
            f"No event of {table.where} in domain {name!r} is of a user and an item that the run knows; give "
            "the log of the system whose events the run was fitted on."
        )
    logged = Logged(
        name,
        user_N[known_N],
        item_N[known_N],
        table.frame["propensity"].to_numpy()[known_N],
        table.frame["reward"].to_numpy()[known_N],
    )
    seen = int(history[name].contains(logged.user_idx, logged.item_idx).sum())
    return Impressions(logged, int((~known_N).sum()), seen)
