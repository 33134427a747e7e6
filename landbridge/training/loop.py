"""The gradient loop: trains one phase of a network with torch, from batches to the best state.

Epochs, validation, early stopping and checkpoints are those of :mod:`landbridge.training.epochs`: between
epochs the whole state is a mapping of arrays (parameters, buffers, optimiser, weighting). All randomness,
torch's generators included, is seeded anew from seed, phase and epoch. A resumed fit therefore needs only
its epoch number, and ends bit for bit where the uninterrupted one ends.

Several ranks (:mod:`landbridge.training.ranks`) make each step together, in this same loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, reduce
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from landbridge.core.errors import DivergenceError
from landbridge.core.rng import generator
from landbridge.core.types import Record
from landbridge.training import tensors
from landbridge.training.epochs import State, run_epochs
from landbridge.training.options import FitOptions, FittedModel
from landbridge.training.phase import Batch, Phase
from landbridge.training.ranks import Ranks
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTING = "weighting|"  # prefix of the weighting's state in a checkpoint, beside the tensors by name


def run_phase(
    phase: Phase[Batch],
    options: FitOptions,
    identity: Mapping[str, object],
    fitted: Callable[[], FittedModel] | None = None,
) -> tuple[Record, ...]:
    """Train the phase's parameters in place; returns one record per epoch, losses as ``loss:domain``.

    ``fitted``: returns the current model for ``options.validate``; a phase without it runs all its epochs.
    ``identity``: what a checkpoint must match, besides the phase's name. Raises DivergenceError with phase,
    epoch and step if a loss or a parameter is not finite; LandbridgeError where ranks of one fit differ.
    """
    ranks = options.ranks
    identity = {**identity, "phase": phase.name}
    if ranks.number > 1:
        identity["ranks"] = ranks.number  # another number makes other steps
    ranks.agree("data or settings", lambda: repr(identity))
    if fitted is None:
        options = replace(options, validate=None, patience=None)
    slots = {name: tensors.slots_of(phase.optimizer, tensor) for name, tensor in phase.parameters.items()}
    live = {**phase.parameters, **phase.buffers}
    live |= {f"{name}|{key}": slot for name, own in slots.items() for key, slot in own.items()}

    def step(state: State, epoch: int) -> tuple[State, Record]:
        # the state may come from a checkpoint, so the tensors follow it and not the other way round
        _load(live, state)
        memory = {k.removeprefix(WEIGHTING): v for k, v in state.items() if k.startswith(WEIGHTING)}
        # seeded per epoch: a resumed fit draws the same dropout masks
        with _seeded(options.seed, phase.name, str(epoch), *ranks.labels):
            memory, values = _epoch(phase, slots, memory, epoch, ranks)
        after = {**tensors.arrays(live), **{WEIGHTING + key: array for key, array in memory.items()}}
        ranks.agree(f"numbers after epoch {epoch}", partial(_checksum, after))
        return after, values

    with threads(options.threads):
        state, log = run_epochs(
            phase.name,
            phase.epochs,
            lambda: tensors.arrays(live),
            step,
            lambda state: None if fitted is None else fitted(),
            options.within(phase.name),
            identity,
        )
    _load(live, state)
    return log


def _epoch(
    phase: Phase[Batch], slots: Mapping[str, tensors.Slots], memory: State, epoch: int, ranks: Ranks
) -> tuple[State, Record]:
    """All batches once: parameters, buffers and slots change in place, the weighting's state is returned."""
    loss_values: dict[str, list[float]] = {}
    norms: list[float] = []
    number = -1
    for number, batch in enumerate(ranks.share(phase.batches(epoch))):
        losses = ranks.losses(phase, batch)
        values = {f"loss:{domain}": loss for domain, loss in losses.numbers.items()}
        _check(phase, epoch, number, values)
        # before the backward pass, which frees the graph that a weighting may need
        weights, memory = phase.weighting.weights(losses, phase.parameters, memory)
        gradients = losses.gradients(weights, phase.parameters)
        # the norm costs a pass over all gradients, so only where it is used
        if phase.clip is not None or phase.log_norm:
            norms.append(tensors.clip(gradients, phase.clip))
            _check(phase, epoch, number, {"the norm of the gradients": norms[-1]})
        factors, optimizer = phase.weighting.lr_factors(memory), phase.optimizer
        scaled = {name: replace(optimizer, lr=optimizer.lr * factor) for name, factor in factors.items()}
        for name, gradient in gradients.items():
            tensors.step(scaled.get(name, optimizer), phase.parameters[name], slots[name], gradient)
        for key, value in values.items():
            loss_values.setdefault(key, []).append(value)
    # once an epoch is enough: a parameter that stopped being finite never becomes finite again
    _check(phase, epoch, number, {n: float(tensor.detach().sum()) for n, tensor in phase.parameters.items()})
    means = {key: sum(values) / len(values) for key, values in loss_values.items()}
    norm = {"gradient_norm": float(np.mean(norms))} if phase.log_norm and norms else {}
    return memory, {**means, **norm, **phase.weighting.log_values(memory), **ranks.first(phase.log_values)}


def _check(phase: Phase[Batch], epoch: int, step: int, values: Mapping[str, float]) -> None:
    """Raise DivergenceError for the first value that is not finite."""
    for name, value in values.items():
        if not np.isfinite(value):
            raise DivergenceError(
                f"Phase {phase.name!r} diverged in epoch {epoch}, step {step}: {name} is {value}; "
                f"lower lr (now {phase.optimizer.lr}) or clip gradients."
            )


def _load(live: Mapping[str, Tensor], state: State) -> None:
    for name, tensor in live.items():
        tensor.detach().copy_(torch.from_numpy(state[name]))


def _checksum(state: State) -> int:
    return reduce(lambda sum_, array: crc32(array.tobytes(), sum_), state.values(), 0)


@contextmanager
def _seeded(seed: int, *labels: str) -> Iterator[None]:
    """Seed torch's generators (dropout, masks) from the seed and labels; restore them afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(int(generator(seed, "torch", *labels).integers(2**63)))
        yield


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Run torch on this number of threads; restore the previous number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
