"""The pointer of a versions folder: ``current.json`` says which of its run folders counts.

A file and not a symbolic link, because one replacement changes the current version and where a rollback goes
together, and because archives, copies and some file systems lose links.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from landbridge.core.errors import StoreError
from landbridge.core.files import read_json, write_json
from landbridge.core.types import Record, Values

POINTER = "current.json"
FORMAT, VERSION = "landbridge-versions", 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Pointer:
    """``before``: where rollbacks go, the nearest first. ``refused``: what the gate reported of the last
    refit, with its time, where it refused it."""

    current: str
    before: tuple[str, ...] = ()
    refused: Values | None = None

    def moved(self, name: str) -> Pointer:
        """The pointer at another version; going back to an earlier one leaves out those after it."""
        before = (self.current, *self.before)
        if name in before:
            before = before[before.index(name) + 1 :]
        return replace(self, current=name, before=before)


def run_folder(path: str | Path) -> Path:
    """The run folder that a path stands for: itself or, of a versions folder, its current version."""
    folder = Path(path)
    pointer = read_pointer(folder)
    return folder if pointer is None else folder / pointer.current


def version_of(path: str | Path) -> str | None:
    """The name of the version that a run folder is; None for a run that stands alone."""
    folder = Path(path).absolute()  # "." has no name
    return folder.name if os.path.isfile(folder.parent / POINTER) else None


def read_pointer(folder: Path) -> Pointer | None:
    """The pointer of a versions folder; None for any other folder."""
    path = folder / POINTER
    if not os.path.isfile(path):  # also where the name is too long for the disk, which a path would raise
        return None
    try:
        return _pointer(read_json(path))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(
            f"{path} is damaged; delete it and choose with `landbridge rollback {folder} VERSION`."
        ) from None


def write_pointer(folder: Path, pointer: Pointer) -> None:
    """Replace the pointer at once."""
    write_json(folder / POINTER, {"format": FORMAT, "version": VERSION, **asdict(pointer)})


def is_version_name(name: str) -> bool:
    """Whether a version may have this name: one that cannot lead out of its folder."""
    return _NAME.fullmatch(name) is not None


def _pointer(content: Record) -> Pointer:
    pointer = Pointer(content["current"], tuple(content["before"]), content["refused"])
    if (content["format"], content["version"]) != (FORMAT, VERSION) or not all(
        map(is_version_name, (pointer.current, *pointer.before))
    ):
        raise ValueError
    return pointer
