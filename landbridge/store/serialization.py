"""Data, settings and holdouts as arrays and plain values, and back."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import numpy as np

from landbridge.core.types import Arrays, Ragged, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.item_features import ItemFeatures
from landbridge.data.kinds import EventKinds
from landbridge.data.products import Products
from landbridge.data.seen import Seen
from landbridge.data.splitting.holdout import Holdout, LeftOut, Targets
from landbridge.data.user_features import UserFeatures
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
            "kinds": events.kinds,
        }
        if data.products is not None:
            columns["products"] = data.products.product_I[name]
        if data.item_features is not None:
            rows = data.item_features.rows[name]
            columns |= {
                "features/offsets": rows.offsets,
                "features/columns": rows.columns,
                "features/weights": rows.weights,
            }
        if name in data.seen:
            seen = data.seen[name]
            columns |= {
                "seen/user_idx": seen.pairs.user_idx,
                "seen/item_idx": seen.pairs.item_idx,
                "seen/time": seen.pairs.time,
                "seen/disliked": seen.disliked_N,
            }
        arrays |= {f"{number}/{key}": column for key, column in columns.items() if column is not None}
    about: Record = {"domains": list(data.domain_names)}
    if data.kinds != EventKinds():
        about["kinds"] = {"values": dict(data.kinds.values), "half_life_days": data.kinds.half_life_days}
    if data.users.folded:
        about["folded_ids"] = True
    if data.products is not None:
        about["products"] = {"by_id": data.products.by_id}
    if data.item_features is not None:
        arrays["features/columns"] = data.item_features.columns_V
        arrays["features/values"] = data.item_features.values_V
        if data.item_features.weight_V is not None:
            arrays["features/weights"] = data.item_features.weight_V
        about["feature_bounds"] = {
            column: bounds.tolist() for column, bounds in data.item_features.bounds.items()
        }
    if data.user_features is not None:
        features = data.user_features
        arrays |= {
            "user_features/columns": features.columns_V,
            "user_features/values": features.values_V,
            "user_features/offsets": features.rows.offsets,
            "user_features/entries": features.rows.columns,
            "user_features/weights": features.rows.weights,
        }
    return arrays, about


def users_from(arrays: Arrays, about: Values) -> Vocabulary:
    """The users of the data whose :func:`data_arrays` these are."""
    return Vocabulary(arrays["users"], bool(about.get("folded_ids")))


def data_from(arrays: Arrays, about: Values) -> MultiDomain:
    """The data whose :func:`data_arrays` these are."""
    users = users_from(arrays, about)
    names: list[str] = about["domains"]
    items = {name: Vocabulary(arrays[f"{d}/items"], users.folded) for d, name in enumerate(names)}
    return MultiDomain(
        users,
        items,
        {name: _events(arrays, d, len(users), len(items[name])) for d, name in enumerate(names)},
        {name: arrays[f"{d}/titles"] for d, name in enumerate(names) if f"{d}/titles" in arrays},
        {name: arrays[f"{d}/memberships"] for d, name in enumerate(names) if f"{d}/memberships" in arrays},
        {
            name: _seen(arrays, d, len(users), len(items[name]))
            for d, name in enumerate(names)
            if f"{d}/seen/user_idx" in arrays
        },
        EventKinds(**about["kinds"]) if "kinds" in about else EventKinds(),
        products=_products(arrays, names, about["products"]["by_id"]) if "products" in about else None,
        item_features=_features(arrays, about, names) if "features/columns" in arrays else None,
        user_features=_user_features(arrays) if "user_features/columns" in arrays else None,
    )


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


def _events(arrays: Arrays, number: int, n_users: int, n_items: int) -> Interactions:
    return Interactions(
        # no copy where the type fits already, as in every file that this version wrote
        arrays[f"{number}/user_idx"].astype(np.int32, copy=False),
        arrays[f"{number}/item_idx"].astype(np.int32, copy=False),
        n_users,
        n_items,
        arrays.get(f"{number}/weight"),
        arrays.get(f"{number}/time"),
        arrays.get(f"{number}/kinds"),
    )


def _seen(arrays: Arrays, number: int, n_users: int, n_items: int) -> Seen:
    user_idx, item_idx = (arrays[f"{number}/seen/{name}"] for name in ("user_idx", "item_idx"))
    pairs = Interactions(user_idx, item_idx, n_users, n_items, None, arrays.get(f"{number}/seen/time"))
    return Seen(pairs, arrays[f"{number}/seen/disliked"])


def _products(arrays: Arrays, names: list[str], by_id: bool) -> Products:
    return Products({name: arrays[f"{d}/products"] for d, name in enumerate(names)}, by_id)


def _features(arrays: Arrays, about: Values, names: list[str]) -> ItemFeatures:
    parts = ("offsets", "columns", "weights")
    rows = {name: Ragged(*(arrays[f"{d}/features/{part}"] for part in parts)) for d, name in enumerate(names)}
    bounds = {name: np.array(own, np.float64) for name, own in about.get("feature_bounds", {}).items()}
    return ItemFeatures(
        arrays["features/columns"], arrays["features/values"], rows, arrays.get("features/weights"), bounds
    )


def _user_features(arrays: Arrays) -> UserFeatures:
    own = {name: arrays[f"user_features/{name}"] for name in ("columns", "values")}
    rows = Ragged(*(arrays[f"user_features/{name}"] for name in ("offsets", "entries", "weights")))
    return UserFeatures(own["columns"], own["values"], rows)


def _frozen(value: object) -> object:
    if isinstance(value, list):
        return tuple(_frozen(entry) for entry in value)
    return value
