"""Folders of memory-mapped columns: written in blocks, opened without reading them.

A folder holds one file of raw numbers per column, all other arrays in ``arrays.safetensors``, and
``manifest.json``, which is written last: a folder without it was never finished.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import StoreError
from landbridge.core.files import read_arrays, read_json, write_arrays, write_json
from landbridge.core.system import sync
from landbridge.core.types import AnyArray, Arrays, blocks

FORMAT, VERSION = "landbridge-columns", 1
MANIFEST, ARRAYS = "manifest.json", "arrays.safetensors"


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
