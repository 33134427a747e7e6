"""One piece of training as a value: what is gone through, what is to become small, and what may change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from landbridge.training.optimizers import Optimizer
from landbridge.training.weighting.base import Uniform, Weighting


@dataclass(frozen=True, eq=False)
class Phase:
    """What :func:`landbridge.training.loop.run_phase` does.

    ``batches``: epoch number -> its batches, a function of the number alone, so that a resumed fit sees what
    it would have seen. ``losses``: batch -> {domain: scalar tensor}, without the domains that the batch has
    nothing of. ``parameters``: name -> leaf tensors that require gradients; embeddings with sparse gradients
    are updated only where a batch touches them.
    ``buffers``: name -> tensors that ``losses`` changes itself (running figures, temperatures); they belong
    to the checkpoint. ``clip``: largest norm of all gradients together. ``log_norm``: put the mean norm on
    record. ``facts``: what else is put on record after an epoch.
    """

    name: str
    epochs: int
    batches: Callable[[int], Iterable[Any]]
    losses: Callable[[Any], Mapping[str, Any]]
    parameters: Mapping[str, Any]
    weighting: Weighting = field(default_factory=Uniform)
    optimizer: Optimizer = field(default_factory=Optimizer)
    buffers: Mapping[str, Any] = field(default_factory=dict)
    clip: float | None = None
    log_norm: bool = False
    facts: Callable[[], Mapping[str, Any]] = dict
