"""When deprecated names go, against the version and what docs/reference/programs.md promises."""

from __future__ import annotations

from landbridge.core import deprecation
from landbridge.version import __version__

DEPRECATED = (0, 2)  # the version that first warned of today's deprecated names


def minor(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def test_deprecated_names_live_for_two_minor_versions_and_no_longer() -> None:
    goes = minor(deprecation.GOES)
    assert goes == (DEPRECATED[0], DEPRECATED[1] + 2)
    assert minor(__version__) < goes, "Remove the deprecated names now, or say a later version."
