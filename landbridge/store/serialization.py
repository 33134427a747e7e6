"""Data, settings and holdouts as arrays and plain values, and back."""

from __future__ import annotations

import tomllib

import numpy as np

from landbridge.core.types import Arrays, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.base import Method


def data_arrays(data: MultiDomain) -> tuple[Arrays, Record]:
    """All arrays of the data; domains are numbered in their order, names stand in the description."""
    # domains by number: their names may hold any character
    arrays: Arrays = {"users": data.users.ids}
    for number, (name, events) in enumerate(data.domains.items()):
        columns = {
            "items": data.items[name].ids,
            "user_idx": events.user_idx,
            "item_idx": events.item_idx,
            "weight": events.weight,
            "time": events.time,
            "titles": data.titles.get(name),
            "memberships": data.memberships.get(name),
        }
        arrays |= {f"{number}/{key}": column for key, column in columns.items() if column is not None}
    return arrays, {"domains": list(data.domain_names)}


def data_from(arrays: Arrays, about: Values) -> MultiDomain:
    """The data whose :func:`data_arrays` these are."""
    users = Vocabulary(arrays["users"])
    names: list[str] = about["domains"]
    items = {name: Vocabulary(arrays[f"{d}/items"]) for d, name in enumerate(names)}
    return MultiDomain(
        users,
        items,
        {name: _events(arrays, d, len(users), len(items[name])) for d, name in enumerate(names)},
        {name: arrays[f"{d}/titles"] for d, name in enumerate(names) if f"{d}/titles" in arrays},
        {name: arrays[f"{d}/memberships"] for d, name in enumerate(names) if f"{d}/memberships" in arrays},
    )


def holdout_arrays(holdout: Holdout) -> tuple[Arrays, Record]:
    """Targets and candidates per domain, whether they are ranked across, and the known data's fingerprint."""
    arrays: Arrays = {}
    for number, targets in enumerate(holdout.targets.values()):
        arrays[f"{number}/user_idx"] = targets.user_idx
        arrays[f"{number}/item_idx"] = targets.item_idx
        if targets.candidates_TC is not None:
            arrays[f"{number}/candidates"] = targets.candidates_TC
    about = {"domains": list(holdout.targets), "known": holdout.history.fingerprint, "across": holdout.across}
    return arrays, about


def holdout_from(arrays: Arrays, about: Values, history: MultiDomain) -> Holdout:
    """The holdout over ``history`` whose :func:`holdout_arrays` these are."""
    targets = {
        name: Targets(arrays[f"{d}/user_idx"], arrays[f"{d}/item_idx"], arrays.get(f"{d}/candidates"))
        for d, name in enumerate(about["domains"])
    }
    return Holdout(history, targets, about.get("across", False))


def settings_toml(method: Method) -> bytes:
    """A method's name and settings; TOML has no null, so settings that are None are listed by name."""
    import orjson
    import tomli_w

    settings = orjson.loads(orjson.dumps(method.flat(), option=orjson.OPT_SERIALIZE_NUMPY))
    table = {
        "method": method.name,
        "none": [key for key, value in settings.items() if value is None],
        "settings": {key: value for key, value in settings.items() if value is not None},
    }
    return tomli_w.dumps(table).encode()


def settings_from(toml: bytes) -> tuple[str, Record]:
    """The method's name and its settings, lists as tuples (settings are frozen)."""
    table = tomllib.loads(toml.decode())
    settings = {key: _frozen(value) for key, value in table["settings"].items()}
    return table["method"], settings | dict.fromkeys(table["none"])


def _events(arrays: Arrays, number: int, n_users: int, n_items: int) -> Interactions:
    return Interactions(
        # no copy where the type fits already, as in every file that this version wrote
        arrays[f"{number}/user_idx"].astype(np.int32, copy=False),
        arrays[f"{number}/item_idx"].astype(np.int32, copy=False),
        n_users,
        n_items,
        arrays.get(f"{number}/weight"),
        arrays.get(f"{number}/time"),
    )


def _frozen(value: object) -> object:
    if isinstance(value, list):
        return tuple(_frozen(entry) for entry in value)
    return value
