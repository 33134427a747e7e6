"""The folder of a run: files named after their content, and the manifest that says which ones count.

A new state is written beside the old one and becomes valid when ``manifest.json`` is replaced, so a
process killed at any moment leaves the old run or the new one. Readers and the one writer share a lock.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from landbridge.core.errors import StoreError
from landbridge.core.files import (
    StoredFile,
    exclusive_lock,
    is_mapped,
    is_temporary,
    locked,
    make_folder,
    read_json,
    sha256,
    write_errors,
    write_hashed,
    write_json,
)
from landbridge.core.types import Record, Values
from landbridge.store.pointer import read_pointer, run_folder

FORMAT, VERSION = "landbridge-run", 1
MANIFEST = "manifest.json"
Manifest = Record

_WORD = re.compile(r"[a-z]+")
_OURS = re.compile(r"[a-z]+-[0-9a-f]{16}\.[a-z]+")


def check_place(folder: Path) -> None:
    """StoreError unless a run may be written there: an existing folder must be empty, a run, or what a killed
    first save left."""
    with write_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file; give a folder for the run.")
        if (folder / MANIFEST).exists():
            read_manifest(folder)
        elif foreign := sorted(file.name for file in folder.glob("*") if not _is_ours(file)):
            raise StoreError(f"{folder} holds other files ({foreign[0]}) and no run; choose another folder.")


@contextmanager
def only_writer(folder: Path) -> Iterator[Path]:
    """The folder beside a run's where a fit keeps its progress; only one process at a time holds it.

    StoreError where another fit or refit writes the run.
    """
    whole = Path(os.path.abspath(folder))  # "." and ".." name no folder beside them
    work_dir = whole.with_name(f"{whole.name}.checkpoint")
    with ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(work_dir))
        except BlockingIOError:
            raise StoreError(
                f"Another fit is writing {folder}. Wait for it or choose another folder."
            ) from None
        try:
            yield work_dir
        finally:
            with suppress(OSError):  # not empty: a killed or failed fit can be resumed
                work_dir.rmdir()


def prepare(folder: Path) -> None:
    """Make the folder of a run, where :func:`check_place` allows it."""
    if read_pointer(folder) is not None:
        raise StoreError(
            f"{folder} is a versions folder; save to {folder / 'NAME'} and make that current with "
            f"`landbridge rollback {folder} NAME`."
        )
    check_place(folder)
    make_folder(folder)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run this version can read."""
    if not folder.is_dir():
        raise StoreError(f"There is no run folder {folder}; check the path.")
    if not (folder / MANIFEST).is_file():
        raise StoreError(f"{folder} is not a run folder: it has no {MANIFEST}.")
    try:
        manifest = read_json(folder / MANIFEST)
    except ValueError:
        raise StoreError(
            f"{folder / MANIFEST} is damaged: it is not JSON; restore it or fit again."
        ) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{folder} is not a run folder: its {MANIFEST} belongs to something else.")
    if manifest.get("version") != VERSION:
        raise StoreError(
            f"{folder} has format version {manifest.get('version')}, but this landbridge reads {VERSION}."
        )
    return manifest


def publish(folder: Path, manifest: Values, files: Mapping[str, StoredFile]) -> None:
    """Make ``files`` the run's content and remove what the manifest no longer names."""
    write_json(folder / MANIFEST, {**manifest, "files": {role: asdict(file) for role, file in files.items()}})
    # after the manifest: files are deleted only when nothing names them any more
    named = {file.name for file in files.values()}
    for file in folder.iterdir():
        if _is_ours(file) and file.name not in named:
            file.unlink()


def verified_file(folder: Path, manifest: Manifest, role: str) -> Path:
    """The path of the file in a role, after comparing its size and checksum."""
    entry, path = _file_of_size(folder, manifest, role)
    _compare(entry, path)
    return path


def file_to_map(folder: Path, manifest: Manifest, role: str) -> Path:
    """As :func:`verified_file`, but the checksum of a file that is mapped is for :func:`verify_mapped`."""
    entry, path = _file_of_size(folder, manifest, role)
    if not is_mapped(path):
        _compare(entry, path)
    return path


def verify_mapped(folder: Path, manifest: Manifest, role: str) -> None:
    """Compare the checksum that :func:`file_to_map` has left."""
    entry, path = _file_of_size(folder, manifest, role)
    if is_mapped(path):
        _compare(entry, path)


def _file_of_size(folder: Path, manifest: Manifest, role: str) -> tuple[StoredFile, Path]:
    """What the manifest says of the file in a role, and its path, after comparing its size."""
    entry = stored_files(folder, manifest).get(role)
    if entry is None:
        raise StoreError(f"The run {folder} holds no {role}.")
    path = folder / entry.name
    if not path.is_file():
        raise StoreError(f"The run {folder} lacks its file {entry.name}; restore it or fit again.")
    if path.stat().st_size != entry.bytes:
        raise _damaged(path)
    return entry, path


def _compare(entry: StoredFile, path: Path) -> None:
    if sha256(path) != entry.sha256:
        raise _damaged(path)


def _damaged(path: Path) -> StoreError:
    return StoreError(f"{path} is damaged: its checksum differs; restore it or fit again.")


def check_files(folder: Path) -> None:
    """Compare size and checksum of every file of a run; StoreError for the first that differs."""
    manifest = read_manifest(folder)
    for role in stored_files(folder, manifest):
        verified_file(folder, manifest, role)


def stored_files(folder: Path, manifest: Manifest) -> dict[str, StoredFile]:
    """Role -> file, as the manifest lists them."""
    try:
        files = {role: StoredFile(**entry) for role, entry in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError):
        raise StoreError(f"{folder / MANIFEST} is damaged: its list of files cannot be read.") from None
    # a forged name such as ../x must not lead out of the folder
    if strange := [file.name for file in files.values() if not _OURS.fullmatch(str(file.name))]:
        raise StoreError(f"{folder / MANIFEST} is damaged: it names a file {strange[0]!r}.")
    return files


def attach(path: str | Path, role: str, suffix: str, write: Callable[[Path], object]) -> None:
    """Add a file to a run, or replace the one in that ``role``; ``write`` gets a temporary path.

    It belongs to this state of the run: saving another model into the folder drops it. StoreError for a role
    or suffix that is not of small letters.
    """
    # a name that stored_files refuses would make the whole run unreadable
    if not (_WORD.fullmatch(role) and _WORD.fullmatch(suffix)):
        raise StoreError(f"The role and suffix of a file are words of a to z, not {role!r} and {suffix!r}.")
    folder = run_folder(path)
    read_manifest(folder)
    # read again under the lock: another process may have saved a new state
    with locked(folder):
        manifest = read_manifest(folder)
        files = stored_files(folder, manifest)
        publish(folder, manifest, files | {role: write_hashed(folder, role, suffix, write)})


def attached(path: str | Path, role: str) -> Path:
    """The path of an attached file, checksum compared; StoreError where the run has none."""
    folder = run_folder(path)
    return verified_file(folder, read_manifest(folder), role)


def _is_ours(file: Path) -> bool:
    return file.is_file() and (_OURS.fullmatch(file.name) is not None or is_temporary(file))
