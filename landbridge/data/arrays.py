"""Data as named arrays and plain values, and back: what a run folder and a cache of mapped columns hold."""

from __future__ import annotations

import numpy as np

from landbridge.core.types import Arrays, Ragged, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.item_features import ItemFeatures
from landbridge.data.kinds import EventKinds
from landbridge.data.products import Products
from landbridge.data.seen import Seen
from landbridge.data.user_features import UserFeatures
from landbridge.data.vocabulary import Vocabulary


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
