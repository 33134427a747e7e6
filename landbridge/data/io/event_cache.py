"""Data with memory-mapped events, in the user's cache: built once for an input, then opened without reading.

A folder of the cache is named after its input: the content of all files and frames, how they are read, and
the version. It is built beside its place and moved there when it is complete, so that a process killed at any
moment leaves nothing that counts.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from landbridge.core.errors import SettingsError
from landbridge.core.files import is_temporary, locked, make_folder, sha256, temporary_path, write_errors
from landbridge.core.mapped import VERSION, FolderWriter, open_folder
from landbridge.core.sizes import size
from landbridge.core.types import AnyArray, Arrays, Ragged, Record, Values
from landbridge.data.arrays import data_arrays, data_from
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.io.columns import Columns
from landbridge.data.io.out_of_core import OnDisk
from landbridge.data.io.parsing import parsing_errors
from landbridge.data.io.tables import files_of, is_path, raw_table
from landbridge.data.io.ties import Ties
from landbridge.data.provenance import Provenance, TableOrigin
from landbridge.version import __version__

# memory of a row while it is read or sorted: 250 bytes with short ids (docs/results/scale.md), more with
# long ones and titles, and what polars reads ahead
BYTES_OF_A_ROW = 1024
LEAST_MEMORY = 256 * 2**20
MAPPED = ("user_idx", "item_idx", "weight", "time", "kinds")  # the columns of events
SEEN = ("user_idx", "item_idx", "time", "disliked")


@dataclass(frozen=True)
class ReadOptions:
    """The arguments of :func:`landbridge.read` beside the tables of events."""

    users: object
    items: str | None
    item_links: object
    min_confidence: float | None
    columns: Columns
    min_rating: float | None
    duplicates: str
    domains: Sequence[str] | None
    titles: object
    memberships: object
    item_features: object
    user_features: object
    kinds: Mapping[str, float | str] | None
    half_life_days: float | None
    seen: object
    fold_ids: bool
    skip_bad_rows: str | Path | None
    ties: Ties


TABLES = ("item_links", "titles", "memberships", "item_features", "user_features", "seen")


def mapped(
    source: object, options: ReadOptions, memory: int, read: Callable[[OnDisk], MultiDomain]
) -> MultiDomain:
    """The data that ``read`` makes with the given storage, their events mapped.

    ``memory``: bytes for what is in memory beside ids. SettingsError for too few, and for an option that
    needs a whole file in memory.
    """
    if memory < LEAST_MEMORY:
        raise SettingsError(f"memory must be at least {size(LEAST_MEMORY)}, not {size(memory)}.")
    if options.skip_bad_rows is not None:
        raise SettingsError("skip_bad_rows reads a file as a whole: leave out skip_bad_rows or memory.")
    if options.ties == "file":
        raise SettingsError("ties='file' reads a file as a whole: leave out ties or memory.")
    rows = memory // BYTES_OF_A_ROW
    folder = cache_folder() / _key(source, options)
    make_folder(folder)
    with write_errors(folder), locked(folder):
        for leftover in filter(is_temporary, folder.iterdir()):
            shutil.rmtree(leftover)
        if not (folder / "map").exists():
            _build(folder / "map", rows, read)
            return _opened(folder / "map", f"read and sorted in blocks of {rows:,} rows")
    return _opened(folder / "map", "built before")


def cache_folder() -> Path:
    """Where the folders of mapped events are."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("landbridge")) / "events"


def _build(place: Path, rows: int, read: Callable[[OnDisk], MultiDomain]) -> None:
    scratch = temporary_path(place)
    scratch.mkdir()
    try:
        data = read(OnDisk(scratch, rows))
        written = scratch / "map"
        written.mkdir()
        write_mapped(data, written)
        os.replace(written, place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_mapped(data: MultiDomain, folder: Path) -> None:
    """Write the data into an empty folder, their events as columns by user and by item."""
    arrays, about = data_arrays(data)
    writer = FolderWriter(folder)
    for d, events in enumerate(data.domains.values()):
        for name in (*(f"{d}/{name}" for name in MAPPED), *(f"{d}/seen/{name}" for name in SEEN)):
            if name in arrays:
                writer.add(name, arrays.pop(name))
        by_item: Arrays = {"offsets": events.by_item.offsets, "columns": events.by_item.columns}
        if events.by_item.weight is not None:
            by_item["weight"] = events.by_item.weight
        for name, column in by_item.items():
            writer.add(f"{d}/by_item/{name}", column)
        writer.add(f"{d}/by_user/offsets", events.by_user.offsets)
    writer.finish(arrays, about | {"provenance": asdict(data.provenance)})


def open_mapped(folder: Path) -> MultiDomain:
    """The data of a folder, their events mapped; StoreError where it is not as it was written."""
    arrays, about = open_folder(folder)
    data = data_from(arrays, about)
    with_rows = {name: _with_rows(events, arrays, d) for d, (name, events) in enumerate(data.domains.items())}
    return replace(data.with_events(with_rows), provenance=_provenance(about["provenance"]))


def _opened(folder: Path, how: str) -> MultiDomain:
    """The data of a folder, which say where they are."""
    data = open_mapped(folder)
    taken = sum(file.stat().st_size for file in folder.iterdir())
    remark = f"Events are memory-mapped from {folder} ({size(taken)}, {how})."
    return replace(data, provenance=replace(data.provenance, mapped=remark))


def _with_rows(events: Interactions, arrays: Mapping[str, AnyArray], d: int) -> Interactions:
    by_user = Ragged(arrays[f"{d}/by_user/offsets"], events.item_idx, events.weight)
    of_items = (arrays.get(f"{d}/by_item/{name}") for name in ("offsets", "columns", "weight"))
    return events.with_rows(by_user, Ragged(*of_items))  # type: ignore[arg-type]  # offsets and columns are there


def _provenance(kept: Values) -> Provenance:
    """The inverse of ``asdict``, without rows that were left out: there are none."""
    tables, seen = (
        tuple(TableOrigin(**_as_tuples(each)) for each in kept[name]) for name in ("tables", "seen")
    )
    counts = ("folded", "links_left_out", "item_features", "user_features")
    return Provenance(tables, seen, **{name: kept[name] for name in counts})


def _as_tuples(record: Values) -> Record:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}


def _key(source: object, options: ReadOptions) -> str:
    """The SHA-256 of the input."""
    digest = hashlib.sha256(f"{__version__} {VERSION}".encode())
    _add(digest, source)
    for entry in fields(options):
        value = getattr(options, entry.name)
        digest.update(f"\0{entry.name}\0".encode())
        if value is not None and (
            entry.name in TABLES or (entry.name == "users" and isinstance(value, Mapping))
        ):
            _add(digest, value)
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, source: object) -> None:
    """Add the content of tables, and their names: sentences and domains say them."""
    if isinstance(source, Mapping):
        for name, table in source.items():
            digest.update(f"\0{name}\0".encode())
            _add(digest, table)
    elif isinstance(source, list | tuple):
        for table in source:
            _add(digest, table)
    elif is_path(source):
        digest.update(f"\0{source}\0".encode())
        with parsing_errors(f"file {source}"):
            for file in files_of(source):
                digest.update(f"{file.name} {sha256(file)}".encode())
    else:
        frame = io.BytesIO()
        raw_table(source, "a frame").write_ipc(frame)
        digest.update(frame.getbuffer())
