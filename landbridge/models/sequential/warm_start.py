"""Warm start of sequence models: the weights of a previous model, and drawn ones for what is new.

Items are matched by raw id and domains by name, because their indices change when some are added or removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.types import Float32, Int64
from landbridge.data.dataset import MultiDomain
from landbridge.training.options import FitOptions
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

    from landbridge.models.sequential.fitted import SequenceModel

DOMAIN_WEIGHTS = ("domain", "own.scale", "adapter.down", "adapter.up")  # a row for each domain


def previous_model(options: FitOptions, name: str) -> SequenceModel | None:
    """The model to start from, if it is of the method of this name; else None."""
    previous: SequenceModel | None = options.initial
    return previous if previous is not None and previous.method.name == name else None


def continue_from(previous: SequenceModel, train: MultiDomain, weights: Mapping[str, Tensor]) -> None:
    """Replace drawn ``weights`` by those of the previous model, in place, where it has them in this shape."""
    place_I, place_D = _item_places(previous, train), domain_places(previous, train)
    rows_of = {"item": place_I, **dict.fromkeys(DOMAIN_WEIGHTS, place_D)}
    for name, tensor in weights.items():
        old = previous.weights.get(name)
        if old is None or old.shape[1:] != tensor.shape[1:]:
            continue
        if name in rows_of:
            _fill(tensor, old, rows_of[name])
        elif old.shape == tensor.shape:
            tensor.detach().copy_(torch.from_numpy(old))


def _fill(tensor: Tensor, old: Float32, place_R: Int64) -> None:
    """Rows of ``old`` into the rows whose place there is known."""
    known_R = np.flatnonzero(place_R >= 0)
    tensor.detach()[known_R] = torch.from_numpy(old[place_R[known_R]]).to(tensor.device)


def _item_places(previous: SequenceModel, train: MultiDomain) -> Int64:
    """The row of each item of the joined catalogue in the previous model, -1 for a new one, (I,)."""
    slices, parts = previous.history.item_slices, []
    for name, items in train.items.items():
        place_I = np.full(len(items), -1, np.int64)
        if name in slices:
            own_I = previous.history.items[name].index(items.ids)
            place_I = np.where(own_I >= 0, own_I + slices[name].start, -1)
        parts.append(place_I)
    return np.concatenate(parts)


def domain_places(previous: SequenceModel, train: MultiDomain) -> Int64:
    """The number of each domain in the previous model, -1 for a new one, (D,)."""
    names = list(previous.history.domain_names)
    return np.array([names.index(name) if name in names else -1 for name in train.domain_names])
