"""Attention of a user over the domains in which they have events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TypeVar

import numpy as np

from landbridge.core.types import Float32, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.training.torch_backend import torch

ArrayT = TypeVar("ArrayT", "torch.Tensor", Float32)
ABSENT = 1e30  # what an absent domain's score is lowered by: e to it is 0


def masked_softmax(scores: Sequence[ArrayT], present: Sequence[ArrayT]) -> list[ArrayT]:
    """Softmax over a sequence of scores, each (B, F) or (B, 1), among those that are ``present``, 0 or 1.

    Takes tensors or arrays. The weights of absent ones are 0; with none present, all are.
    """
    lowered = [score + (here - 1) * ABSENT for score, here in zip(scores, present, strict=True)]
    # clip and power instead of maximum and exp: the same lines run on torch and on NumPy
    top = reduce(lambda above, score: score.clip(min=above), lowered)
    parts = [here * math.e ** (score - top) for score, here in zip(lowered, present, strict=True)]
    # the largest of the present ones is e⁰ = 1, so that this only guards against 0/0
    total = reduce(lambda one, other: one + other, parts).clip(min=1)
    return [part / total for part in parts]


def weighted_sum(share: Sequence[ArrayT], rows: Sequence[ArrayT]) -> ArrayT:
    """The sum of rows (B, F) times their weights, (B, F) or (B, 1)."""
    weighted = [share_BF * row_BF for share_BF, row_BF in zip(share, rows, strict=True)]
    return reduce(lambda one, other: one + other, weighted)


def presence(history: MultiDomain) -> dict[str, Float32]:
    """Domain -> 1 for the users with events there, else 0, (U, 1)."""
    present_UD = (history.activity_UD > 0).astype(np.float32)
    return {name: present_UD[:, [d]] for d, name in enumerate(history.domain_names)}


def presence_in(events: Mapping[str, Ragged], names: Sequence[str], size: int) -> dict[str, Float32]:
    """The same of ``size`` users given by rows of events per domain, (B, 1)."""
    none_B1 = np.zeros((size, 1), np.float32)
    return {
        name: (events[name].lengths > 0).astype(np.float32)[:, None] if name in events else none_B1
        for name in names
    }
