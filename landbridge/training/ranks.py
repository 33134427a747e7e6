"""Data-parallel training: one fit by several processes ("ranks"), as ``torchrun`` starts them.

Every rank runs the same program on the same data. Of an epoch's batches, rank r of n learns from every n-th;
a step of the network is then made with the mean gradient of n batches,

    g = 1/k Σ_r g_r        over the k <= n ranks that have a batch in this round                       (1)

so that all ranks make the same steps and hold the same network, to the bit. Only what belongs to a step of
the gradient loop (:mod:`landbridge.training.loop`) is divided; all else is computed by every rank alike, but
validations and checkpoints, which are rank 0's.

The loop knows ranks as a value, :class:`Ranks`: :data:`ALONE`, which does nothing, or the process group of
:mod:`landbridge.training.process_group`, which :func:`joined` makes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from landbridge.core.errors import SettingsError

if TYPE_CHECKING:
    from landbridge.training.gradients import Losses
    from landbridge.training.phase import Phase

Batch = TypeVar("Batch")
R = TypeVar("R")

TIMEOUT = timedelta(minutes=30)  # one epoch's validation must end within it
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Ranks(Protocol):
    """The processes that make a fit together; every method is called by all of them in the same order."""

    @property
    def number(self) -> int:
        """How many there are, n."""

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which validates, writes and reports."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What makes random numbers of this rank, such as dropout masks, its own."""

    def share(self, batches: Iterable[Batch]) -> Iterator[Batch | None]:
        """This rank's batches, one a round; None in a last round that is too short for this rank."""

    def losses(self, phase: Phase[Batch], batch: Batch | None) -> Losses:
        """The losses of the round's batches: its numbers and gradients are those of all ranks together.

        Changes of the phase's buffers are put together, too.
        """

    def first(self, fn: Callable[[], R]) -> R:
        """The result of ``fn`` at rank 0, for all ranks; a LandbridgeError there is raised by all."""

    def agree(self, what: str, value: Callable[[], object]) -> None:
        """LandbridgeError unless the value, a text or a number, is the same on all ranks."""


@dataclass(frozen=True)
class Alone:
    """One process: every method returns what it is given."""

    number: ClassVar[int] = 1
    leads: ClassVar[bool] = True
    labels: ClassVar[tuple[str, ...]] = ()

    def share(self, batches: Iterable[Batch]) -> Iterator[Batch | None]:
        """All batches."""
        return iter(batches)

    def losses(self, phase: Phase[Batch], batch: Batch | None) -> Losses:
        """The losses of the batch."""
        from landbridge.training.gradients import Losses

        assert batch is not None  # of ``share``
        return Losses.of(phase.losses(batch), phase.parameters)

    def first(self, fn: Callable[[], R]) -> R:
        """The result of ``fn``."""
        return fn()

    def agree(self, what: str, value: Callable[[], object]) -> None:
        """Nothing: there is no other."""


ALONE = Alone()


@contextmanager
def joined(backend: str = "gloo", timeout: timedelta = TIMEOUT) -> Iterator[Ranks]:
    """The ranks of this program under ``torchrun``, for ``FitOptions(ranks=...)``; elsewhere ``ALONE``.

        with joined() as ranks:
            model = SASRec().fit(data, FitOptions(ranks=ranks))

    ``backend``: of torch.distributed; "nccl", for GPUs, is untested. ``timeout``: how long a rank waits for
    another one. Raises SettingsError for an environment that torchrun did not make, LandbridgeError where
    the ranks do not meet.
    """
    if launched() == 1:
        yield ALONE
        return
    # torch takes seconds to be imported
    from landbridge.training.process_group import joined_group

    with joined_group(backend, timeout) as ranks:
        yield ranks


def launched() -> int:
    """How many processes ``torchrun`` started together with this one; 1 without torchrun."""
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if given.get("WORLD_SIZE", "1") == "1" or "RANK" not in given:
        return 1
    if missing := [name for name in VARIABLES if name not in given]:
        raise SettingsError(
            f"The environment has RANK and WORLD_SIZE but no {missing[0]}: start the program by torchrun."
        )
    return int(given["WORLD_SIZE"])
