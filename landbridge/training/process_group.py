"""Ranks as a process group of torch.distributed: what a step of the gradient loop exchanges.

A step has two messages and one sum. The first message holds losses and changes of buffers, the second one
sparse gradients, as the rows that a batch touches; each rank adds the rows of all ranks in the order of the
ranks. Dense gradients are one vector, and its sum (``all_reduce``) has the same bits on all ranks. A sparse
gradient is never made dense.

Where a weighting reads losses or gradients by domain (:mod:`landbridge.training.weighting`), it reads their
mean over the ranks whose batch has the domain,

    L_d = 1/k_d Σ_r L_rd,   ∇_d = 1/k_d Σ_r ∇_rd                                                       (1)

so that its state is the same on all ranks, too.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from landbridge.core.errors import LandbridgeError
from landbridge.core.types import AnyArray
from landbridge.training import tensors
from landbridge.training.gradients import Losses
from landbridge.training.phase import Phase
from landbridge.training.tensors import Gradient
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

Batch = TypeVar("Batch")
R = TypeVar("R")

LENGTH = 8  # bytes in which a message begins with its length
LEAST_ROOM = 1024  # bytes of a message; it doubles where one is longer


class Change(NamedTuple):
    """The elements of a buffer that a rank's losses have changed: where (N,), and their values, or by how
    much where it is a total."""

    at_N: AnyArray
    value_N: AnyArray


@contextmanager
def joined_group(backend: str, timeout: timedelta) -> Iterator[ProcessGroup]:
    """The group of the processes that torchrun started; as :func:`landbridge.training.ranks.joined`."""
    from torch import distributed

    if torch.cuda.is_available():
        # each rank of a machine has a GPU of its own, as far as there are enough
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    with _connected():
        distributed.init_process_group(backend, timeout=timeout)
    try:
        place = "cuda" if backend == "nccl" else "cpu"
        yield ProcessGroup(distributed.get_rank(), distributed.get_world_size(), place)
    finally:
        distributed.destroy_process_group()


@dataclass(frozen=True)
class ProcessGroup:
    """:class:`~landbridge.training.ranks.Ranks` that exchange tensors. ``place``: the device on which."""

    rank: int
    number: int
    place: str = "cpu"
    rooms: dict[str, int] = field(default_factory=dict)

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def labels(self) -> tuple[str, ...]:
        """The rank; none for rank 0, whose numbers are those of a fit alone."""
        return (f"rank {self.rank}",) if self.rank else ()

    def share(self, batches: Iterable[Batch]) -> Iterator[Batch | None]:
        """Every n-th batch. All are drawn by all ranks, so that none depends on the number of ranks."""
        rest = iter(batches)
        while round_ := tuple(islice(rest, self.number)):
            yield round_[self.rank] if self.rank < len(round_) else None

    def losses(self, phase: Phase[Batch], batch: Batch | None) -> Losses:
        """Losses of this batch, with the numbers of Eq. (1); the same buffers on all ranks."""
        before = {name: tensor.clone() for name, tensor in phase.buffers.items()}
        own = Losses.of({} if batch is None else phase.losses(batch), phase.parameters)
        changes = {
            name: _change(before[name], tensor, name in phase.totals)
            for name, tensor in phase.buffers.items()
        }
        answers = self._messages("losses", (own.numbers if own else {}, changes))
        for name, tensor in phase.buffers.items():
            tensor.copy_(before[name])
            _apply([changes[name] for _, changes in answers], tensor, name in phase.totals)
        return SharedLosses(own, phase.parameters, [numbers for numbers, _ in answers], self)

    def summed(
        self, gradients: Mapping[str, Gradient], parameters: Mapping[str, Tensor]
    ) -> dict[str, Gradient]:
        """The sums: of rows where no rank has a gradient of all rows, else of whole tables."""
        whole = {name for name, (rows_T, _) in gradients.items() if len(rows_T) == _rows(parameters[name])}
        sparse = {
            name: (rows_T.cpu().numpy(), grad_TF.cpu().numpy())
            for name, (rows_T, grad_TF) in gradients.items()
            if name not in whole
        }
        answers = self._messages("gradients", (whole, sparse))
        everywhere = set().union(*(whole for whole, _ in answers))
        sums = self._whole(
            {name: tensor for name, tensor in parameters.items() if name in everywhere}, gradients
        )
        for name, tensor in parameters.items():
            parts = [rows[name] for _, rows in answers if name in rows]
            if parts and name not in everywhere:
                sums[name] = tensors.merged(parts, tensor)
        # in the order of the parameters: a norm of all gradients depends on it in its last bit
        return {name: sums[name] for name in parameters if name in sums}

    def first(self, fn: Callable[[], R]) -> R:
        """The result or the LandbridgeError of rank 0."""
        box: list[Any] = [None, None]
        if self.leads:
            try:
                box[0] = fn()
            except LandbridgeError as error:
                box[1] = error
        with _connected():
            torch.distributed.broadcast_object_list(box)
        if box[1] is not None:
            raise box[1]
        return cast(R, box[0])

    def agree(self, what: str, value: Callable[[], object]) -> None:
        """Compare with rank 0."""
        values = self._messages("agree", value())
        if different := [rank for rank, other in enumerate(values) if other != values[0]]:
            raise LandbridgeError(
                f"Ranks 0 and {different[0]} have different {what}: give all ranks the same files, settings, "
                "versions, number of threads and kind of processor."
            )

    def _whole(
        self, parameters: Mapping[str, Tensor], gradients: Mapping[str, Gradient]
    ) -> dict[str, Gradient]:
        """The sums of gradients of all rows, which are one vector on the way."""
        if not parameters:
            return {}
        own = []
        for name, tensor in parameters.items():
            grad_RF = torch.zeros_like(tensors.as_rows(tensor))
            if name in gradients:
                rows_T, grad_TF = gradients[name]
                grad_RF[rows_T.long()] = grad_TF
            own.append(grad_RF.flatten())
        flat_X = torch.cat(own).to(self.place)
        with _connected():
            torch.distributed.all_reduce(flat_X)
        parts = flat_X.split([len(part) for part in own])
        return {
            name: tensors.all_rows(part.to(tensor.device).view_as(tensors.as_rows(tensor)))
            for (name, tensor), part in zip(parameters.items(), parts, strict=True)
        }

    def _messages(self, kind: str, own: object) -> list[Any]:
        """The objects of all ranks in their order. ``kind``: of messages of about the same length."""
        data = pickle.dumps(own)
        answers = self._blocks(kind, data)
        longest = max(int.from_bytes(answer[:LENGTH], "little") for answer in answers)
        if longest + LENGTH > self._room(kind):
            # all ranks see the same lengths, and so find the same room
            self.rooms[kind] = 1 << (longest + LENGTH).bit_length()
            answers = self._blocks(kind, data)
        return [pickle.loads(answer[LENGTH:]) for answer in answers]

    def _blocks(self, kind: str, data: bytes) -> list[bytes]:
        """The ranks' messages, cut off where the room is too small."""
        room = self._room(kind)
        block = (len(data).to_bytes(LENGTH, "little") + data)[:room].ljust(room, b"\0")
        own_X = torch.frombuffer(bytearray(block), dtype=torch.uint8).to(self.place)
        out = [torch.empty_like(own_X) for _ in range(self.number)]
        with _connected():
            torch.distributed.all_gather(out, own_X)
        return [each_X.cpu().numpy().tobytes() for each_X in out]

    def _room(self, kind: str) -> int:
        return self.rooms.get(kind, LEAST_ROOM)


class SharedLosses(Losses):
    """The losses of a rank's batch among those of all ranks; ``numbers_R``: the numbers of each rank.

    A domain that only other ranks have is here with its number and without a graph.
    """

    def __init__(
        self,
        own: Losses,
        parameters: Mapping[str, Tensor],
        numbers_R: Sequence[Mapping[str, float]],
        group: ProcessGroup,
    ) -> None:
        self._own, self._group, self._parameters = own, group, parameters
        self._batches = sum(bool(numbers) for numbers in numbers_R)
        by_domain: dict[str, list[float]] = {}
        for numbers in numbers_R:
            for domain, number in numbers.items():
                by_domain.setdefault(domain, []).append(number)
        self._counts = {domain: len(values) for domain, values in by_domain.items()}
        means = {domain: sum(values) / len(values) for domain, values in by_domain.items()}  # Eq. (1)
        super().__init__({d: own[d] if d in own else torch.tensor(means[d]) for d in means}, parameters)
        self.numbers = means

    def at(self, name: str, weights: Mapping[str, float], final: bool = False) -> dict[str, Tensor]:
        """As in :class:`Losses`, the mean of Eq. (1) for every domain."""
        own = self._own.at(name, weights, final) if self._own else {}
        table = self._parameters[name]
        rows = {domain: tensors.rows_of(gradient) for domain, gradient in own.items()}
        sums = self._group.summed(rows, dict.fromkeys(self, table))
        return {
            domain: tensors.as_gradient((rows_T, grad_TF / self._counts[domain]), table)
            for domain, (rows_T, grad_TF) in sums.items()
        }

    def gradients(
        self, weights: Mapping[str, float], parameters: Mapping[str, Tensor]
    ) -> dict[str, tensors.Gradient]:
        """As in :class:`Losses`, the mean over the batches of the round."""
        own = self._own.gradients(weights, parameters) if self._own else {}
        sums = self._group.summed(own, parameters)
        for _, grad_TF in sums.values():
            grad_TF.div_(self._batches)  # Eq. (1) of landbridge.training.ranks
        return sums


def _rows(tensor: Tensor) -> int:
    return len(tensors.as_rows(tensor))


def _change(before: Tensor, now: Tensor, total: bool) -> Change:
    at_N = (now != before).flatten().nonzero()[:, 0]
    value_N = now.flatten()[at_N]
    if total:
        value_N = value_N - before.flatten()[at_N]
    return Change(at_N.cpu().numpy(), value_N.cpu().numpy())


def _apply(changes: Sequence[Change], tensor: Tensor, total: bool) -> None:
    """Add the changes of a total; else put the mean of those values that some ranks have changed."""
    at_N = np.concatenate([change.at_N for change in changes])
    value_N = np.concatenate([change.value_N for change in changes])
    at_M, place_N, count_M = np.unique(at_N, return_inverse=True, return_counts=True)
    sum_M = np.zeros(len(at_M), value_N.dtype)
    np.add.at(sum_M, place_N, value_N)
    new_M = torch.from_numpy(sum_M if total else (sum_M / count_M).astype(sum_M.dtype)).to(tensor.device)
    flat_X, index_M = tensor.view(-1), torch.from_numpy(at_M).to(tensor.device)
    flat_X[index_M] = flat_X[index_M] + new_M if total else new_M


@contextmanager
def _connected() -> Iterator[None]:
    """LandbridgeError where another rank is lost."""
    try:
        yield
    except RuntimeError as error:
        raise LandbridgeError(
            "Another rank has ended or cannot be reached: see its output, and start the same command again "
            "(--resume, or the same work_dir, goes on after the last epoch)."
        ) from error
