"""Atomic file writing, folder locks, JSON, and arrays in safetensors files (text columns included)."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import StoreError
from landbridge.core.system import MAPPED_MAY_GO, file_lock, sync
from landbridge.core.text import is_unicode
from landbridge.core.types import BLOCK, AnyArray, Arrays, Record, blocks

DESCRIPTION = "description"  # the one entry of metadata: several come in any order
ARRAY, TEXT, ENDS = "array:", "text:", "ends:"  # beginnings of keys; an array of texts is stored as two
ALIGNED = 8  # bytes, of the header of a file of arrays
MAPPED_FROM = 1 << 26  # bytes of a file of arrays: a smaller one is read as quickly
# in the order in which the format has them: an array's place in the file is aligned to its numbers
_KINDS: dict[str, np.dtype[Any]] = {
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "F16": np.dtype(np.float16),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


@dataclass(frozen=True)
class StoredFile:
    """A manifest entry: file name, SHA-256 and size in bytes."""

    name: str
    sha256: str
    bytes: int


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are missing; StoreError where that cannot be done."""
    if not is_unicode(str(path)):
        raise StoreError(
            f"The name of {str(path)!r} is no UTF-8; choose another place."
        )  # no reader opens it
    with write_errors(path):
        if files := [place for place in (path, *path.parents) if place.exists() and not place.is_dir()]:
            raise StoreError(f"{files[0]} is a file; give a folder, or another place.")
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it replaces ``path`` when the block succeeds.

    StoreError where the file system refuses.
    """
    make_folder(path.parent)
    with write_errors(path), _temporary(path) as temporary:
        yield temporary
        _replace(temporary, path)


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a folder or file, waiting for it: one writer, or any number of ``shared`` readers."""
    with file_lock(path, shared=shared, wait=True):
        yield


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """:func:`lock_at_once` of a folder, which is created if it is missing; the block may delete it."""
    make_folder(folder)
    with lock_at_once(folder):
        yield


@contextmanager
def lock_at_once(path: Path) -> Iterator[None]:
    """Hold the lock of a folder or a file exclusively.

    BlockingIOError at once where another process holds it, or has deleted the path while it held it.
    """
    with file_lock(path, shared=False, wait=False, opening=write_errors(path)):
        yield


def write_hashed(folder: Path, stem: str, suffix: str, write: Callable[[Path], object]) -> StoredFile:
    """Write a file named after its content, ``stem-<hash>.suffix``, and leave older files untouched.

    A folder of such files changes state atomically, when its manifest is replaced.
    """
    with write_errors(folder), _temporary(folder / f"{stem}.{suffix}") as temporary:
        write(temporary)
        digest = sha256(temporary)
        entry = StoredFile(f"{stem}-{digest[:16]}.{suffix}", digest, temporary.stat().st_size)
        _replace(temporary, folder / entry.name)
    return entry


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def temporary_path(path: Path) -> Path:
    """A path in the same folder for what is not yet, or no longer, ``path``."""
    # in the same folder: os.replace is atomic within one file system only
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether the file or folder has a :func:`temporary_path`: the leftover of an interrupted write."""
    return _TEMPORARY.fullmatch(path.name) is not None


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically; NumPy numbers and arrays are allowed."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    with atomic_write(path) as temporary:
        temporary.write_bytes(orjson.dumps(value, option=options))


def read_json(path: Path) -> Any:
    """The value in a JSON file; ValueError if the file is not valid JSON."""
    import orjson

    return orjson.loads(path.read_bytes())


def write_arrays(path: Path, arrays: Mapping[str, AnyArray], about: object = None) -> None:
    """Write named arrays and a JSON description as one safetensors file; equal input gives equal bytes.

    Names may hold any characters: each array has a key of its own, behind which its name cannot be mistaken.
    """
    import orjson

    plain: Arrays = {}
    for name, array in arrays.items():
        plain.update(_as_text(name, array) if _is_text(array) else {ARRAY + name: np.atleast_1d(array)})
    description = orjson.dumps(about, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS).decode()
    # not by the library, which makes a copy of all arrays
    kinds = {dtype: (place, kind) for place, (kind, dtype) in enumerate(_KINDS.items())}
    keys = sorted(plain, key=lambda key: (kinds[plain[key].dtype], key))
    header: Record = {"__metadata__": {DESCRIPTION: description}}
    end = 0
    for key in keys:
        start, end = end, end + plain[key].nbytes
        _, kind = kinds[plain[key].dtype]
        header[key] = {"dtype": kind, "shape": plain[key].shape, "data_offsets": [start, end]}
    written = orjson.dumps(header)
    written += b" " * (-len(written) % ALIGNED)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(written)) + written)
        for rows in map(plain.__getitem__, keys):
            for block in blocks(len(rows), max(BLOCK * len(rows) // max(rows.size, 1), 1)):
                stream.write(np.ascontiguousarray(rows[block]).data)


def read_arrays(path: Path) -> tuple[Arrays, Any]:
    """The arrays and the description that :func:`write_arrays` wrote; StoreError for a damaged file.

    Those of a big file are mapped: they are read when they are used, and changes of them stay in memory.
    """
    import orjson
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata, keys = file.metadata() or {}, list(file.keys())
            plain = _mapped(path, keys) if is_mapped(path) else {key: file.get_tensor(key) for key in keys}
        if DESCRIPTION in metadata:
            return _named(plain), orjson.loads(metadata[DESCRIPTION])
        return _named_by_0_1(plain), orjson.loads(metadata.get("about", "null"))
    except (SafetensorError, ValueError, KeyError) as error:
        raise StoreError(f"{path} is damaged ({error}); delete it or restore a copy.") from error


def is_mapped(path: Path) -> bool:
    """Whether :func:`read_arrays` maps a file of arrays, so that it reads what is used of it alone."""
    return MAPPED_MAY_GO and path.stat().st_size >= MAPPED_FROM


def _mapped(path: Path, keys: Iterable[str]) -> Arrays:
    """The arrays of a file that the library has found sound."""
    import orjson

    # copy on write: who may write into an array of a run may do so here, too, and changes no file
    whole = np.memmap(path, np.uint8, "c")
    whole.filename = None  # what is made from these arrays is kept in memory, not beside a run
    begin = 8 + int.from_bytes(whole[:8].tobytes(), "little")
    header = orjson.loads(whole[8:begin].tobytes())
    plain = {}
    for key in keys:
        start, end = header[key]["data_offsets"]
        array = whole[begin + start : begin + end].view(np.ndarray).view(_KINDS[header[key]["dtype"]])
        # other programs may not align; compiled code takes aligned arrays alone
        plain[key] = (array if array.flags.aligned else array.copy()).reshape(header[key]["shape"])
    return plain


def _named(plain: Arrays) -> Arrays:
    """Name -> array out of the keys of a file."""
    arrays = {key.removeprefix(ARRAY): array for key, array in plain.items() if key.startswith(ARRAY)}
    texts = [key.removeprefix(TEXT) for key in plain if key.startswith(TEXT)]
    return arrays | {name: _from_text(plain[TEXT + name], plain[ENDS + name]) for name in texts}


def _named_by_0_1(plain: Arrays) -> Arrays:
    """As ``_named`` for files of version 0.1, whose names of texts end in a word."""
    texts = [name.removesuffix("|text") for name in plain if name.endswith("|text")]
    arrays = {name: array for name, array in plain.items() if not name.endswith(("|text", "|ends"))}
    return arrays | {name: _from_text(plain[f"{name}|text"], plain[f"{name}|ends"]) for name in texts}


def _is_text(array: AnyArray) -> bool:
    return isinstance(array.dtype, np.dtypes.StringDType)


def _as_text(name: str, array_N: AnyArray) -> Arrays:
    """The strings joined as UTF-8, and where each ends, in characters; safetensors has no strings."""
    texts = array_N.tolist()
    # in characters, not bytes: the text is decoded as a whole before it is cut. Not by NumPy, which does not
    # count the null characters that end a text
    ends_N = np.cumsum([len(text) for text in texts], dtype=np.int64)
    joined = "".join(texts).encode()
    return {TEXT + name: np.frombuffer(joined, np.uint8), ENDS + name: ends_N}


def _from_text(text: npt.NDArray[np.uint8], ends_N: npt.NDArray[np.int64]) -> AnyArray:
    joined = text.tobytes().decode()
    return np.array(
        [joined[start:end] for start, end in pairwise([0, *ends_N.tolist()])], np.dtypes.StringDType()
    )


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """What the file system says while ``path`` is written, as a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"Cannot write {path} ({error.strerror or error}); choose another place.") from error


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    temporary = temporary_path(path)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    """Replace ``path``; after a power cut either the old file or the new one is there, whole."""
    sync(temporary)  # content before name: else the new name could point to blocks never written
    os.replace(temporary, path)
    # the folder too: the new name is part of it
    sync(path.parent)
