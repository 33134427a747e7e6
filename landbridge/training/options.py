"""Options of a fit that are not hyper-parameters: seed, threads, validation, work folder, progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from landbridge.core.deprecation import renamed_argument
from landbridge.core.errors import SettingsError, unknown
from landbridge.core.parallel import Executor
from landbridge.core.progress import Progress, Silent
from landbridge.core.system import processors
from landbridge.training.ranks import ALONE, Ranks

FittedModel = Any  # a ``Fitted`` of landbridge.models, which is a layer above this one
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class FitOptions:
    """Everything a fit needs that is not a hyper-parameter.

    ``validate`` maps a fitted model to its validation metric, larger is better; it sees no test data.
    ``validate_every``: epochs between validations; the last epoch is always validated. ``patience``:
    validations without improvement before training stops (None: run all epochs).
    ``work_dir``: a folder from which a fit with equal settings and data resumes bit for bit.
    ``device``: where networks are trained: "cpu", "cuda", or "auto" for CUDA if available.
    ``initial``: a previous model of the same method, for a warm start if the method supports it.
    ``executor``: where methods that divide do their blocks, with the same result; None: in this process.
    ``ranks``: the processes among which networks divide their batches, of
    :func:`landbridge.training.ranks.joined`; every one makes the same call.
    """

    seed: int = 0
    # CPUs that this process may use, which can be fewer than the machine has
    threads: int = field(default_factory=processors)
    validate: Callable[[FittedModel], float] | None = None
    patience: int | None = None
    validate_every: int = 1
    work_dir: Path | None = None
    progress: Progress = field(default_factory=Silent)
    device: str = "auto"
    initial: FittedModel | None = None
    executor: Executor | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise SettingsError(unknown("device", self.device, DEVICES))
        for name in ("threads", "validate_every"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be 1 or more, not {getattr(self, name)}.")
        if self.patience is not None and self.validate is None:
            raise SettingsError("patience requires validate: early stopping needs a validation metric.")

    def should_validate(self, epoch: int, epochs: int) -> bool:
        """Whether the model is validated after this epoch, out of ``epochs``."""
        due = (epoch + 1) % self.validate_every == 0 or epoch + 1 == epochs
        return self.validate is not None and due

    def within(self, phase: str) -> FitOptions:
        """The same, with a subfolder of ``work_dir`` for the phase."""
        return self if self.work_dir is None else replace(self, work_dir=self.work_dir / phase)


# A frozen dataclass makes its own __init__, so the old keyword is accepted around it.
setattr(FitOptions, "__init__", renamed_argument("checkpoint", "work_dir")(FitOptions.__init__))  # noqa: B010
