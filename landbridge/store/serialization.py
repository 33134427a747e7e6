"""Settings and holdouts as arrays and plain values, and back; data are in :mod:`landbridge.data.arrays`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from landbridge.core.types import Arrays, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Holdout, LeftOut, Targets
from landbridge.models.base import Method


def holdout_arrays(holdout: Holdout) -> tuple[Arrays, Record]:
    """Targets and candidates per domain, whether they are ranked across, and the known data's fingerprint."""
    arrays: Arrays = {}
    for number, targets in enumerate(holdout.targets.values()):
        arrays[f"{number}/user_idx"] = targets.user_idx
        arrays[f"{number}/item_idx"] = targets.item_idx
        if targets.candidates_TC is not None:
            arrays[f"{number}/candidates"] = targets.candidates_TC
        if targets.time is not None:
            arrays[f"{number}/time"] = targets.time
    about = {"domains": list(holdout.targets), "known": holdout.history.fingerprint, "across": holdout.across}
    if holdout.left_out is not None:
        about["left_out"] = asdict(holdout.left_out)
    return arrays, about


def holdout_from(arrays: Arrays, about: Values, history: MultiDomain) -> Holdout:
    """The holdout over ``history`` whose :func:`holdout_arrays` these are."""
    targets = {
        name: Targets(
            arrays[f"{d}/user_idx"],
            arrays[f"{d}/item_idx"],
            arrays.get(f"{d}/candidates"),
            arrays.get(f"{d}/time"),
        )
        for d, name in enumerate(about["domains"])
    }
    left_out = LeftOut(**about["left_out"]) if about.get("left_out") else None
    return Holdout(history, targets, about.get("across", False), left_out)


def settings_toml(method: Method) -> bytes:
    """A method's name and settings; TOML has no null, so settings that are None, those of a mixture's members
    included, are listed by their place."""
    import orjson
    import tomli_w

    settings = orjson.loads(orjson.dumps(method.flat(), option=orjson.OPT_SERIALIZE_NUMPY))
    table = {
        "method": method.name,
        "none": [list(place) for place in _places_of_none(settings)],
        "settings": _without_none(settings),
    }
    return tomli_w.dumps(table).encode()


def settings_from(toml: bytes) -> tuple[str, Record]:
    """The method's name and its settings, lists as tuples (settings are frozen)."""
    table = tomllib.loads(toml.decode())
    settings: Record = {key: _frozen(value) for key, value in table["settings"].items()}
    for place in table["none"]:
        # a name alone: of version 0.1
        *parents, last = (place,) if isinstance(place, str) else place
        within: Record = settings
        for name in parents:
            within = within.setdefault(name, {})
        within[last] = None
    return table["method"], settings


def _places_of_none(values: Values) -> Iterator[tuple[str, ...]]:
    """The names that lead to every None, in tables within tables."""
    for key, value in values.items():
        if value is None:
            yield (key,)
        elif isinstance(value, Mapping):
            yield from ((key, *place) for place in _places_of_none(value))


def _without_none(values: Values) -> Record:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }


def _frozen(value: object) -> object:
    if isinstance(value, list):
        return tuple(_frozen(entry) for entry in value)
    return value
