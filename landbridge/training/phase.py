"""One phase of training as a value: its batches, its losses, and the parameters that may change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from landbridge.training.optimizers import Optimizer
from landbridge.training.weighting.base import LogValues, Uniform, Weighting

if TYPE_CHECKING:
    from torch import Tensor

Batch = TypeVar("Batch")


@dataclass(frozen=True, eq=False)
class Phase(Generic[Batch]):
    """What :func:`landbridge.training.loop.run_phase` trains.

    ``batches``: epoch number -> its batches, a function of the number alone, so that a resumed fit sees the
    same batches. ``losses``: batch -> {domain: scalar tensor}, without the domains that are absent from the
    batch. ``parameters``: name -> leaf tensors that require gradients; embeddings with sparse gradients are
    updated only where a batch touches them. ``buffers``: name -> tensors that ``losses`` changes itself
    (running means, temperatures); they are part of a checkpoint. ``totals``: the names of those buffers that
    losses add to: several ranks' additions are added, while an element of another buffer becomes the mean of
    the ranks that changed it. ``clip``: largest norm of all gradients together. ``log_norm``: log the mean
    gradient norm of an epoch. ``log_values``: further values to log after an epoch.
    """

    name: str
    epochs: int
    batches: Callable[[int], Iterable[Batch]]
    losses: Callable[[Batch], Mapping[str, Tensor]]
    parameters: Mapping[str, Tensor]
    weighting: Weighting = field(default_factory=Uniform)
    optimizer: Optimizer = field(default_factory=Optimizer)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    totals: Collection[str] = ()
    clip: float | None = None
    log_norm: bool = False
    log_values: Callable[[], LogValues] = dict
