"""The database of an event store: its tables, and how it is opened, SQLite or PostgreSQL, by SQLAlchemy Core.

A database belongs to the store alone. An empty one becomes a store, any other is refused untouched. (Of a
PostgreSQL database this is said of the schema that comes first in its search path.)
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect

from landbridge.core.errors import MissingExtraError, StoreError, unknown
from landbridge.core.types import Record

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry

FORMAT, VERSION = "landbridge-events", 4
DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
PATIENCE = 30  # seconds to wait for another process that writes
PAUSE = 0.02  # seconds between attempts where SQLite does not wait by itself
REACH = 10  # seconds to wait for a PostgreSQL server
PASSWORDS = (
    re.compile(r"(:)(?!//)\S+(?=@)"),  # user:password@host
    re.compile(r"(password\s*=\s*)('[^']*'|[^&\s]+)", re.IGNORECASE),  # of libpq, also sslpassword
)
INSERTS: Mapping[str, Callable[[sa.Table], sqlite_dialect.Insert | postgresql.Insert]] = {
    "sqlite": sqlite_dialect.insert,
    "postgresql": postgresql.insert,
}
LOCK = 0x6C616E64  # of PostgreSQL's advisory locks; shared by who appends

_TABLES = sa.MetaData()
_WHOLE = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite's row numbers are its INTEGER

STORE = sa.Table(
    "landbridge_store",
    _TABLES,
    sa.Column("format", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
EVENTS = sa.Table(
    "landbridge_events",
    _TABLES,
    sa.Column("number", _WHOLE, sa.Identity(always=True), primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("user_whole", sa.Boolean, nullable=False),  # given as a whole number rather than as text
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("item_id", sa.Text, nullable=False),
    sa.Column("item_whole", sa.Boolean, nullable=False),
    sa.Column("time", sa.BigInteger),  # seconds
    sa.Column("received", sa.BigInteger, nullable=False),  # seconds
    sa.Column("event_key", sa.Text),  # of two events of a user with one key the first is kept
    sa.Column("kind", sa.Text),  # such as buy or dislike
    sa.Column("weight", sa.Double),  # by which that of the kind is multiplied
    sa.Column("recommendation_id", sa.Text),  # of the list that led to it
    sa.Index("landbridge_events_of", "user_id", "number"),
    sa.Index("landbridge_events_once", "user_id", "event_key", unique=True),
    sqlite_autoincrement=True,  # a number is never given twice
)
ITEMS = sa.Table(  # what was said of items since: one value of one column in a row
    "landbridge_items",
    _TABLES,
    sa.Column("domain", sa.Text, primary_key=True),
    sa.Column("item_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),  # of the column
    sa.Column("value", sa.Text, nullable=False),  # as JSON; null where nothing is said any more
    sa.Column("revision", sa.BigInteger, nullable=False, index=True),  # of the change that said it
)
FORGOTTEN = sa.Table("landbridge_forgotten", _TABLES, sa.Column("user_id", sa.Text, primary_key=True))


def address_of(url: str) -> sa.URL:
    """A path or URL as an address SQLAlchemy can open; StoreError for what no store can be."""
    if "://" not in url:
        if without_passwords(url) != url:
            raise StoreError("The event store's URL cannot be read; write postgresql://user@host/name.")
        return sa.URL.create("sqlite", database=url)
    try:
        address = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # the sentence must not repeat a password
        raise StoreError("The event store's URL cannot be read; write postgresql://user@host/name.") from None
    # what follows the first @ of a password would be named as the host, and behind a / as the database
    if address.host and "@" in f"{address.host}{address.database}":
        raise StoreError("The event store's URL has several @; write one in a password as %40.")
    if address.drivername not in DRIVERS:
        raise StoreError(unknown("kind of event store", address.drivername, DRIVERS))
    if address.drivername == "sqlite" and address.database in (None, "", ":memory:"):
        raise StoreError("An event store is kept in a file; write sqlite:///events.sqlite.")
    return address.set(drivername=DRIVERS[address.drivername])


def engine_of(address: sa.URL) -> sa.Engine:
    """Connections to the address; none is opened yet."""
    if address.drivername == "sqlite":
        return _sqlite(address)
    try:
        return sa.create_engine(
            address,
            pool_pre_ping=True,  # a restarted server is found again
            isolation_level="READ COMMITTED",
            connect_args={"connect_timeout": REACH},
        )
    except ModuleNotFoundError:
        raise MissingExtraError(
            "An event store in PostgreSQL needs psycopg: pip install 'landbridge[postgres]'."
        ) from None


def prepare(engine: sa.Engine) -> None:
    """Make the tables of an empty database; StoreError for a foreign or a newer one."""
    name = redacted_address(engine.url)
    with writing(engine, alone=True) as connection:
        present = sa.inspect(connection).get_table_names()
        if STORE.name not in present:
            if present:
                raise StoreError(
                    f"{name} holds other tables ({present[0]}) and no events; give an empty one."
                )
            _TABLES.create_all(connection)
            connection.execute(sa.insert(STORE).values(format=FORMAT, version=VERSION))
        version = connection.execute(sa.select(STORE.c.version).where(STORE.c.format == FORMAT)).scalar()
        if version == 1:
            version = _add_event_keys(connection)
        if version == 2:
            version = _add_kinds(connection)
        if version == 3:
            version = _add_weights_and_items(connection)
        if version != VERSION:
            raise StoreError(f"{name} has format version {version}, but this landbridge reads {VERSION}.")


def _add_event_keys(connection: sa.Connection) -> int:
    """Bring a store of version 1 to version 2, which is returned."""
    connection.exec_driver_sql(f"ALTER TABLE {EVENTS.name} ADD COLUMN event_key TEXT")
    next(index for index in EVENTS.indexes if index.unique).create(connection)
    connection.execute(sa.update(STORE).values(version=2))
    return 2


def _add_kinds(connection: sa.Connection) -> int:
    """Bring a store of version 2 to version 3, which is returned."""
    connection.exec_driver_sql(f"ALTER TABLE {EVENTS.name} ADD COLUMN kind TEXT")
    connection.execute(sa.update(STORE).values(version=3))
    return 3


def _add_weights_and_items(connection: sa.Connection) -> int:
    """Bring a store of version 3 to version 4, which is returned."""
    for column in (EVENTS.c.weight, EVENTS.c.recommendation_id):
        kind = column.type.compile(connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {EVENTS.name} ADD COLUMN {column.name} {kind}")
    ITEMS.create(connection)
    connection.execute(sa.update(STORE).values(version=4))
    return 4


def insert_once(connection: sa.Connection, rows: Sequence[Record]) -> None:
    """Insert events, but those whose key the user has already."""
    insert = INSERTS[connection.dialect.name](EVENTS)
    connection.execute(insert.on_conflict_do_nothing(index_elements=["user_id", "event_key"]), rows)


def upsert_items(connection: sa.Connection, rows: Sequence[Record]) -> None:
    """Insert what is said of items, in place of what was said of the same column before."""
    insert = INSERTS[connection.dialect.name](ITEMS)
    new = {name: insert.excluded[name] for name in ("value", "revision")}
    connection.execute(
        insert.on_conflict_do_update(index_elements=["domain", "item_id", "name"], set_=new), rows
    )


@contextmanager
def writing(engine: sa.Engine, alone: bool = False) -> Iterator[sa.Connection]:
    """A transaction, durable when the block is left. ``alone``: no other process writes meanwhile.

    In SQLite every writer is alone.
    """
    with store_errors(engine.url), engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            # Appends share the lock, forgetting takes it alone: no event of a forgotten user can be
            # committed after its deletion. It ends with the transaction.
            lock = sa.func.pg_advisory_xact_lock if alone else sa.func.pg_advisory_xact_lock_shared
            connection.execute(sa.select(lock(LOCK)))
        yield connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection whose every statement sees what is committed."""
    with store_errors(engine.url), engine.connect() as connection:
        yield connection


def write_ahead(engine: sa.Engine) -> None:
    """Let a SQLite file be read while it is written; it stays so for good.

    Where another process has the file at that moment SQLite refuses at once, despite its time-out.
    """
    last = time.monotonic() + PATIENCE
    while engine.dialect.name == "sqlite" and _pragma(engine, "journal_mode") != "wal":
        try:
            _pragma(engine, "journal_mode=WAL")
            return
        except StoreError:
            if time.monotonic() > last:
                raise
            time.sleep(PAUSE)


def empty_log(engine: sa.Engine) -> None:
    """Move SQLite's write-ahead log into its database, so that nothing deleted stands in it any more."""
    if engine.dialect.name == "sqlite":
        _pragma(engine, "wal_checkpoint(TRUNCATE)")


@contextmanager
def store_errors(address: sa.URL) -> Iterator[None]:
    """What the database refuses, as a StoreError."""
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        lines = str(getattr(error, "orig", error)).strip().splitlines()
        why = without_passwords(lines[0] if lines else str(error))
        raise StoreError(f"The event store {redacted_address(address)} fails: {why}.") from error


def redacted_address(address: sa.URL) -> str:
    """The address for messages: without the password, and without the query, which may hold one, too."""
    if address.drivername == "sqlite":
        return without_passwords(str(address.database))
    return address.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def without_passwords(text: str) -> str:
    """A text for messages: what stands where URLs and libpq's settings hold passwords is replaced."""
    for password in PASSWORDS:
        text = password.sub(r"\1***", text)
    return text


def _sqlite(address: sa.URL) -> sa.Engine:
    """Durable before it is acknowledged (synchronous=FULL), and deleted rows overwritten (secure_delete)."""
    file = Path(str(address.database))
    folder = file.parent
    if not folder.is_dir():
        raise StoreError(f"There is no folder {folder} for the event store; make it or give another path.")
    try:
        file.open("ab").close()
    except OSError as error:
        raise StoreError(
            f"The event store {file} cannot be written ({error.strerror}); check its path and permissions."
        ) from None
    engine = sa.create_engine(address, creator=partial(_connect, file))

    @sa.event.listens_for(engine, "checkout")
    def _checkout(_: object, record: ConnectionPoolEntry, __: object) -> None:
        # an event written to a file that has lost its name would be acknowledged and never found
        if record.info["file"] != _identity(file):
            raise sa.exc.DisconnectionError  # the pool opens the file that is there now

    @sa.event.listens_for(engine, "connect")
    def _opened(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions begin below, not where the driver sees fit
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        record.info["file"] = _identity(file)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("writes"):  # what only reads needs no transaction
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _connect(file: Path) -> sqlite3.Connection:
    """A connection to a file that is there; SQLite would make another one."""
    if not file.is_file():
        raise StoreError(f"The event store {file} is gone; put it back or start the server again.")
    return sqlite3.connect(file, PATIENCE, check_same_thread=False)


def _identity(file: Path) -> tuple[int, int] | None:
    """What stays the same while a file is written, and differs after it is replaced; None without one."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _pragma(engine: sa.Engine, command: str) -> object:
    with reading(engine) as connection:
        return connection.exec_driver_sql(f"PRAGMA {command}").scalar()
