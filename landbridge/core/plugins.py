"""What installed packages add to landbridge, by the entry points of their metadata.

A package declares, for example,

    [project.entry-points."landbridge.methods"]
    itemmean = "shop_methods:ItemMean"

Nothing of it is imported before its name is used, and a plug-in that fails is an error of that name alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from landbridge.core.errors import SettingsError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

METHODS = "landbridge.methods"  # a Method
KINDS = "landbridge.kinds"  # a Fitted: what a method of its own kind stores
METRICS = "landbridge.metrics"  # a MetricKind
READERS = "landbridge.readers"  # a function that scans files with the extension that is its name
TRACKERS = "landbridge.trackers"  # a Progress made of a place and the Progress to pass reports on to


@dataclass(frozen=True)
class Plugin:
    """One entry point; ``packages``: the packages that declare it, one where all is well."""

    group: str
    name: str
    packages: tuple[str, ...]
    entry: EntryPoint = field(compare=False)

    def load(self) -> Any:
        """What the entry point names; SettingsError, with the package, where that fails."""
        if len(self.packages) > 1:
            raise SettingsError(
                f"The packages {' and '.join(self.packages)} both declare {self.name!r} in {self.group}; "
                "uninstall one of them."
            )
        try:
            return self.entry.load()
        except Exception as error:  # foreign code can fail in any way
            why = " ".join(str(error).split())
            raise self.error(f"cannot be loaded: {type(error).__name__}, {why}") from error

    def error(self, what: str) -> SettingsError:
        """A sentence that names the plug-in and its package."""
        return SettingsError(
            f"The plug-in {self.name!r} ({self.group}) of the package {self.package} {what}; "
            "update or uninstall that package."
        )

    @property
    def package(self) -> str:
        """The package that declares it."""
        return self.packages[0]


def plugins(group: str) -> Mapping[str, Plugin]:
    """Name -> plug-in of the group, by name."""
    # by the path: the metadata of all packages are read once, and again where the path has changed
    return _plugins(group, tuple(sys.path))


@lru_cache(maxsize=32)
def _plugins(group: str, path: tuple[str, ...]) -> Mapping[str, Plugin]:
    from importlib.metadata import entry_points

    entries: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        entries.setdefault(entry.name, []).append(entry)
    return {
        name: Plugin(group, name, tuple(sorted({_package(entry) for entry in same})), same[0])
        for name, same in sorted(entries.items())
    }


def _package(entry: EntryPoint) -> str:
    return "of no name" if entry.dist is None else entry.dist.metadata["Name"]
