"""A versions folder: run folders side by side, one of which is current.

A new version is written under a temporary name and renamed when it is complete; then the pointer moves. A
process killed at any moment leaves the old version current or the new one. Versions never change.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from landbridge.core.errors import StoreError, unknown
from landbridge.core.files import is_temporary, lock_at_once, locked, sha256, temporary_path
from landbridge.core.types import Record, Values
from landbridge.store.folder import MANIFEST, check_files, check_place, read_manifest, verified_file
from landbridge.store.pointer import (
    POINTER,
    Pointer,
    is_version_name,
    read_pointer,
    version_of,
    write_pointer,
)

_DATED = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")  # a name given by new_run; others are never removed


@contextmanager
def new_run(out: Path, *, versioned: bool = False) -> Iterator[Path]:
    """The folder to save a new run in: ``out`` or, in a versions folder, a version that becomes current when
    the block has succeeded. A block that saves nothing changes nothing.

    ``versioned``: ``out`` becomes a versions folder with its first version. Only one process at a time may
    make a version. StoreError where ``out`` cannot take a run, or where another version became current
    meanwhile; the new one then stays beside it.
    """
    started = read_pointer(out)
    if started is None and not versioned:
        _check_is_new(out)
        check_place(out)  # before the fit, not after it
        yield out
        return
    if started is None:
        _check_is_free(out)
    _remove_leftovers(out)
    staged = temporary_path(out / "new")
    try:
        yield staged
        if (staged / MANIFEST).exists():
            _publish(out, staged, started)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def versions(path: str | Path) -> list[Record]:
    """The versions of a versions folder, oldest first: version, created, method, events, gate, current."""
    folder, pointer = _versions_folder(path)
    records = [_described(folder / name, current=name == pointer.current) for name in version_names(folder)]
    return sorted(records, key=lambda record: (record["created"], record["version"]))


def version_names(folder: Path) -> list[str]:
    """The names of the complete runs in a versions folder, sorted."""
    return sorted(
        run.name for run in folder.iterdir() if (run / MANIFEST).is_file() and not is_temporary(run)
    )


def version_paths(path: str | Path) -> list[Path]:
    """All versions of the versions folder that ``path`` is or lies in; none for a run that stands alone."""
    folder = Path(path) if version_of(path) is None else Path(path).absolute().parent
    return [] if read_pointer(folder) is None else [folder / name for name in version_names(folder)]


def rollback(path: str | Path, name: str | None = None) -> str:
    """Make another version current, by default the one that was before; returns its name.

    With a name it may go to any version, and a folder of runs becomes a versions folder. StoreError where
    there is no such version, or where its files are damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise StoreError(f"There is no folder {folder}; check the path.")
    with locked(folder):
        names = version_names(folder)
        target = _before(folder, names) if name is None else name
        if not is_version_name(target) or target not in names:
            raise StoreError(unknown(f"version of {folder}", target, names))
        check_files(folder / target)
        pointer = read_pointer(folder)
        _move(folder, Pointer(target) if pointer is None else pointer.moved(target), names)
    return target


def prune(path: str | Path, keep: int) -> list[str]:
    """Remove the oldest versions until ``keep`` are left; returns which. Versions with a name of the user's,
    the current one, and those that are served or read stay. Nothing happens in other folders."""
    folder = Path(path)
    if read_pointer(folder) is None:
        return []
    with locked(folder):
        _, pointer = _versions_folder(folder)
        dated = [each["version"] for each in versions(folder) if _DATED.fullmatch(each["version"])]
        return [name for name in dated[:-keep] if name != pointer.current and _remove(folder / name)]


@contextmanager
def in_use(path: str | Path) -> Iterator[None]:
    """Keep :func:`prune` from removing a version. A versions folder needs no such hold: its current version
    is never removed."""
    folder = Path(path)
    with ExitStack() as held:
        if read_pointer(folder) is None:
            # a file that is never replaced; the lock of the folder is for those who write in it
            held.enter_context(locked(verified_file(folder, read_manifest(folder), "settings"), shared=True))
        yield


def keep_refusal(path: str | Path, report: Values) -> None:
    """Note what the gate reported of a refit that it refused, for :func:`last_refusal`."""
    folder = Path(path)
    if read_pointer(folder) is not None:
        with locked(folder):
            _, pointer = _versions_folder(folder)
            at = datetime.now(UTC).isoformat(timespec="seconds")
            write_pointer(folder, replace(pointer, refused={"at": at, **report}))


def last_refusal(path: str | Path) -> Values | None:
    """What the gate reported of the last refit, and when, where it refused it."""
    return _versions_folder(path)[1].refused


def _versions_folder(path: str | Path) -> tuple[Path, Pointer]:
    folder = Path(path)
    pointer = read_pointer(folder)
    if pointer is None:
        raise StoreError(
            f"{folder} is no versions folder: it has no {POINTER}; begin one with "
            "`landbridge fit --versioned`."
        )
    return folder, pointer


def _check_is_new(out: Path) -> None:
    if version_of(out) is not None and (out / MANIFEST).exists():
        raise StoreError(
            f"{out} is a version, and versions stay as they are; write to {out.parent} or to another folder."
        )


def _check_is_free(out: Path) -> None:
    if out.is_dir() and (inside := sorted(path.name for path in out.iterdir() if not is_temporary(path))):
        raise StoreError(
            f"{out} holds {inside[0]} and is no versions folder; give a new folder with --versioned."
        )


def _remove_leftovers(out: Path) -> None:
    """What killed processes left."""
    if out.is_dir():
        with locked(out):
            for path in out.iterdir():
                if is_temporary(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _publish(out: Path, staged: Path, started: Pointer | None) -> None:
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{sha256(staged / MANIFEST)[:4]}"
    with locked(out):
        now = read_pointer(out)
        staged.rename(out / name)
        if (now and now.current) != (started and started.current):
            # a rollback while this was fitted must not be undone
            raise StoreError(
                f"The current version of {out} was changed meanwhile and stays; the new one is kept as "
                f"{name}: fit again, or `landbridge rollback {out} {name}`."
            )
        pointer = Pointer(name) if now is None else replace(now.moved(name), refused=None)
        _move(out, pointer, version_names(out))


def _move(folder: Path, pointer: Pointer, names: list[str]) -> None:
    """Write the pointer without the versions that are gone."""
    write_pointer(folder, replace(pointer, before=tuple(name for name in pointer.before if name in names)))


def _before(folder: Path, names: list[str]) -> str:
    """Where a rollback without a name goes."""
    _, pointer = _versions_folder(folder)
    kept = [name for name in pointer.before if name in names]
    if not kept:
        raise StoreError(
            f"No version of {folder} was current before {pointer.current}; name one of {', '.join(names)}."
        )
    return kept[0]


def _remove(version: Path) -> bool:
    """Remove a version that no process reads or serves."""
    with ExitStack() as held:
        try:
            for path in (version, *version.iterdir()):
                held.enter_context(lock_at_once(path))
        except BlockingIOError:
            return False
        # renamed first: a kill must not leave half a version
        gone = version.rename(temporary_path(version))
    shutil.rmtree(gone)
    return True


def _described(version: Path, *, current: bool) -> Record:
    manifest = read_manifest(version)
    facts = {key: manifest.get(key) for key in ("created", "method", "events", "gate")}
    return {"version": version.name, **facts, "current": current}
