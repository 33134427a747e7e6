"""The files of a published data set: in a folder, in an archive, or one file; packed or not."""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, TypeAlias, TypeVar, cast

from landbridge.core.errors import DataError

Opener: TypeAlias = "Callable[[], AbstractContextManager[IO[bytes]]]"
BLOCK = 2**22  # bytes that are copied at once


@dataclass(frozen=True)
class DumpFiles:
    """The files at ``source``, by their names without folders and without .gz.

    ``plain``: those that can be read as they lie; ``packed``: how the others are opened. ``scratch``: a
    folder for copies.
    """

    source: Path
    plain: Mapping[str, Path]
    packed: Mapping[str, Opener]
    scratch: Path

    def matching(self, pattern: str) -> dict[str, Path]:
        """The files whose whole name matches: the pattern's group ``domain`` -> the unpacked file.

        DataError where two files are of one domain.
        """
        found: dict[str, str] = {}
        for name in sorted({*self.plain, *self.packed}):
            if (match := re.fullmatch(pattern, name)) is None:
                continue
            domain = match["domain"]
            if domain in found:
                raise DataError(
                    f"{self.source} has {found[domain]} and {name}, two files of {domain}; keep one of them."
                )
            found[domain] = name
        return {domain: self.one(name) for domain, name in found.items()}

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return name in self.plain or name in self.packed

    def one(self, name: str) -> Path:
        """The unpacked file of this name; DataError where there is none."""
        if name in self.plain:
            return self.plain[name]
        if name not in self.packed:
            raise DataError(f"There is no {name} in {self.source}; give the folder or the archive with it.")
        copy = self.scratch / name
        with self.packed[name]() as opened, copy.open("wb") as file:
            shutil.copyfileobj(opened, file, BLOCK)
        return copy

    def in_utf8(self, name: str) -> Path:
        """The file of this name, which is small and UTF-8 or Latin-1, in UTF-8."""
        path = self.one(name)
        content = path.read_bytes()
        try:
            content.decode()
        except UnicodeDecodeError:
            path = self.scratch / f"{name}.utf8"
            path.write_bytes(content.decode("latin-1").encode())
        return path


@contextmanager
def opened(source: Path, scratch: Path) -> Iterator[DumpFiles]:
    """The files at ``source``; copies are made in a new folder in ``scratch`` and deleted at the end.

    DataError where there is nothing, two files have one name, or an archive cannot be read.
    """
    if not source.exists():
        raise DataError(f"There is no file or folder {source}; check the path.")
    try:
        with (
            TemporaryDirectory(dir=scratch, prefix=".convert-") as folder,
            _members(source) as (plain, packed),
        ):
            yield DumpFiles(source, plain, packed, Path(folder))
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError(f"{source} cannot be unpacked: {error}; fetch it again.") from error


Members: TypeAlias = "tuple[dict[str, Path], dict[str, Opener]]"


@contextmanager
def _members(source: Path) -> Iterator[Members]:
    """The plain and the packed files."""
    if source.is_dir():
        paths = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
        yield _in_folder(source, paths)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            members = {each.filename: each for each in archive.infolist() if not each.is_dir()}
            yield {}, _named(source, {name: _reading(archive, each) for name, each in members.items()})
    elif tarfile.is_tarfile(source):
        with tarfile.open(source) as archived:
            files = {each.name: each for each in archived.getmembers() if each.isfile()}
            yield {}, _named(source, {name: _extracting(archived, each) for name, each in files.items()})
    else:
        yield _in_folder(source, {source.name: source})


def _in_folder(source: Path, paths: Mapping[str, Path]) -> Members:
    named = _named(source, paths)
    packed = {name: path for name, path in named.items() if path.suffix.lower() == ".gz"}
    plain = {name: path for name, path in named.items() if name not in packed}
    return plain, {name: _gunzipping(_opening(path)) for name, path in packed.items()}


Kind = TypeVar("Kind")


def _named(source: Path, members: Mapping[str, Kind]) -> dict[str, Kind]:
    """The same by their names without folders and without .gz; what systems add to folders is left out."""
    named: dict[str, Kind] = {}
    for member, value in members.items():
        path = PurePosixPath(member)
        name = path.stem if path.suffix.lower() == ".gz" else path.name
        if "__MACOSX" in path.parts or name.startswith("."):
            continue
        if name in named:
            raise DataError(f"{source} has two files named {name}; give one release of the data.")
        named[name] = value
    return named


def _opening(path: Path) -> Opener:
    return lambda: path.open("rb")


def _reading(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Opener:
    plain = partial(archive.open, member)
    return _gunzipping(plain) if member.filename.lower().endswith(".gz") else plain


def _extracting(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Opener:
    def plain() -> IO[bytes]:
        return cast("IO[bytes]", archive.extractfile(member))  # None is for folders only

    return _gunzipping(plain) if member.name.lower().endswith(".gz") else plain


def _gunzipping(opener: Opener) -> Opener:
    @contextmanager
    def unpacking() -> Iterator[IO[bytes]]:
        with opener() as packed, gzip.GzipFile(fileobj=packed) as unpacked:
            yield cast("IO[bytes]", unpacked)

    return unpacking
