"""Memory-mapped columns: folders of them, and those that are made from others.

A folder holds one file of raw numbers per column, all other arrays in ``arrays.safetensors``, and
``manifest.json``, which is written last: a folder without it was never finished.

What is made from a mapped column is mapped, too (:func:`growing`), in a file without a name beside it, which
goes with the array, and with the process. The same code makes it from a column in memory. So are arrays that
a fit writes into (:func:`zeros`).
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import StoreError
from landbridge.core.files import read_arrays, read_json, write_arrays, write_errors, write_json
from landbridge.core.system import reserve, sync
from landbridge.core.types import AnyArray, Arrays, blocks

FORMAT, VERSION = "landbridge-columns", 1
MANIFEST, ARRAYS = "manifest.json", "arrays.safetensors"
IN_MEMORY = 1 << 16  # entries of a column that need no file: a process may open few of them


class Column(Protocol):
    """A column that grows by blocks."""

    def append(self, block_N: AnyArray) -> None:
        """Add a block."""

    def opened(self) -> AnyArray:
        """The column."""


@dataclass
class ColumnFile:
    """A column on disk that grows by blocks. ``dtype`` is that of the first block."""

    path: Path
    dtype: np.dtype[Any] | None = None
    length: int = 0

    def append(self, block_N: AnyArray) -> None:
        """Add a block, which must have the type of the first one."""
        if self.dtype is not None and block_N.dtype != self.dtype:
            raise TypeError(f"{self.path.name} holds {self.dtype}, and a block {block_N.dtype}.")
        self.dtype = block_N.dtype
        self.length += len(block_N)
        # not by NumPy's tofile, which does not say why a write failed
        with self.path.open("ab") as stream:
            stream.write(np.ascontiguousarray(block_N).data)

    def opened(self) -> AnyArray:
        """The column, mapped and read-only."""
        assert self.dtype is not None
        return mapped_column(self.path, self.dtype, self.length)


def mapped_column(path: Path, dtype: npt.DTypeLike, length: int) -> AnyArray:
    """A file of raw numbers as a read-only array."""
    if not length:
        return np.empty(0, dtype)  # an empty file cannot be mapped
    # a plain array: compiled code takes it for any other
    return np.memmap(path, dtype, "r", shape=(length,)).view(np.ndarray)


def growing(beside_N: AnyArray, dtype: npt.DTypeLike | None = None) -> Column:
    """A column that is kept where ``beside_N`` is: in memory or, if it is mapped, in a temporary file of its
    folder. ``dtype``: its own by default."""
    folder, kind = _folder_of(beside_N), np.dtype(beside_N.dtype if dtype is None else dtype)
    return _ListedColumn(kind) if folder is None else _TemporaryColumn(kind, folder)


def gathered(
    blocks_N: Iterable[AnyArray], beside_N: AnyArray, dtype: npt.DTypeLike | None = None
) -> AnyArray:
    """The blocks one after the other as one column, :func:`growing` beside another."""
    column = growing(beside_N, dtype)
    for block_N in blocks_N:
        column.append(block_N)
    return column.opened()


def zeros(shape: tuple[int, ...], beside_N: AnyArray, dtype: npt.DTypeLike = np.float32) -> AnyArray:
    """An array of zeros to write into, kept where ``beside_N`` is, as of :func:`growing`. StoreError where
    the disk has no room for all of it: a write through a map cannot say so."""
    folder, size, kind = _folder_of(beside_N), math.prod(shape), np.dtype(dtype)
    if folder is None or size <= IN_MEMORY:
        return np.zeros(shape, kind)
    with write_errors(folder), tempfile.TemporaryFile(dir=folder) as stream:
        reserve(stream.fileno(), size * kind.itemsize)
        return _beside(np.memmap(stream, kind, "r+", shape=shape), folder)


def copied(array: AnyArray) -> AnyArray:
    """A copy, kept where the array is."""
    copy = zeros(array.shape, array, array.dtype)
    copy[...] = array
    return copy


def _beside(mapped: np.memmap[Any, Any], folder: Path) -> AnyArray:
    """An array without a name in a folder, where what is made from it is kept."""
    mapped.filename = str(folder / "temporary")
    # a plain array: compiled code takes it for any other
    return mapped.view(np.ndarray)


def _folder_of(array: AnyArray) -> Path | None:
    """The folder beside which columns made from an array are kept; None for one in memory, or of a run."""
    base: object = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return None if base.filename is None else Path(base.filename).parent
        base = base.base
    return None


@dataclass
class _ListedColumn:
    """A column in memory."""

    dtype: np.dtype[Any]
    blocks: list[AnyArray] = field(default_factory=list)

    def append(self, block_N: AnyArray) -> None:
        """As in :class:`Column`."""
        if len(block_N):
            self.blocks.append(block_N.astype(self.dtype, copy=False))

    def opened(self) -> AnyArray:
        """As in :class:`Column`."""
        return self.blocks[0] if len(self.blocks) == 1 else _concatenated(self.blocks, self.dtype)


@dataclass
class _TemporaryColumn:
    """A column in a file without a name, or in memory while it is short."""

    dtype: np.dtype[Any]
    folder: Path
    blocks: list[AnyArray] = field(default_factory=list)
    length: int = 0
    stream: IO[bytes] | None = None

    def append(self, block_N: AnyArray) -> None:
        """As in :class:`Column`."""
        self.length += len(block_N)
        self.blocks.append(block_N.astype(self.dtype, copy=False))
        if self.length <= IN_MEMORY:
            return
        with write_errors(self.folder):
            # open until the column is
            self.stream = self.stream or tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
            while self.blocks:
                self.stream.write(np.ascontiguousarray(self.blocks.pop(0)).data)

    def opened(self) -> AnyArray:
        """As in :class:`Column`."""
        if self.stream is None:
            return _concatenated(self.blocks, self.dtype)
        with write_errors(self.folder), self.stream:
            self.stream.flush()
            return _beside(np.memmap(self.stream, self.dtype, "r", shape=(self.length,)), self.folder)


def _concatenated(blocks_N: list[AnyArray], dtype: np.dtype[Any]) -> AnyArray:
    return np.concatenate([np.empty(0, dtype), *blocks_N])


@dataclass
class FolderWriter:
    """A folder that is being written: big columns by blocks, the others as they are."""

    folder: Path
    columns: dict[str, ColumnFile] = field(default_factory=dict)

    def column(self, name: str) -> ColumnFile:
        """The column of a name, empty at first."""
        # by number: names may hold any character
        return self.columns.setdefault(name, ColumnFile(self.folder / f"{len(self.columns)}.column"))

    def add(self, name: str, column_N: AnyArray) -> AnyArray:
        """Write a whole column, and return it mapped."""
        file = self.column(name)
        file.append(column_N[:0])
        for block in blocks(len(column_N)):
            file.append(column_N[block])
        return file.opened()

    def finish(self, arrays: Mapping[str, AnyArray], about: object) -> None:
        """Write the other arrays and the manifest, and bring all to the disk."""
        write_arrays(self.folder / ARRAYS, arrays, about)
        columns = {
            name: {"file": file.path.name, "dtype": str(file.dtype), "length": file.length}
            for name, file in self.columns.items()
        }
        small = (self.folder / ARRAYS).stat().st_size
        for path in self.folder.iterdir():
            sync(path)
        manifest = {"format": FORMAT, "version": VERSION, "arrays": small, "columns": columns}
        write_json(self.folder / MANIFEST, manifest)


def open_folder(folder: Path) -> tuple[Arrays, Any]:
    """The arrays of a finished folder, big columns mapped, and the description given to ``finish``.

    StoreError for a folder of another version, or one that is cut short or damaged.
    """
    with _damage(folder):
        manifest = read_json(folder / MANIFEST)
        if manifest["format"] != FORMAT or manifest["version"] != VERSION:
            raise StoreError(
                f"{folder} has mapped columns of version {manifest['version']}, but this landbridge reads "
                f"{VERSION}; delete the folder and read the data again."
            )
        _check_size(folder / ARRAYS, manifest["arrays"])
        columns = {}
        for name, entry in manifest["columns"].items():
            path, dtype = folder / Path(entry["file"]).name, np.dtype(entry["dtype"])
            _check_size(path, dtype.itemsize * entry["length"])
            columns[name] = mapped_column(path, dtype, entry["length"])
        arrays, about = read_arrays(folder / ARRAYS)
    return arrays | columns, about


def _check_size(path: Path, expected: int) -> None:
    size = os.stat(path).st_size
    if size != expected:
        raise StoreError(
            f"{path} is cut short or damaged: it has {size:,} bytes instead of {expected:,}; delete "
            f"{path.parent} and read the data again."
        )


@contextmanager
def _damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder} holds no whole mapped columns ({error}); delete the folder and read the data again."
        ) from error
