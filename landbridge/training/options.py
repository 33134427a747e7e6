"""How a fit runs, apart from what it learns: seed, threads, validation, work_dir, progress."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from landbridge.core.deprecation import renamed_argument
from landbridge.core.errors import SettingsError, unknown
from landbridge.core.progress import Progress, Silent

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class FitOptions:
    """Everything a fit needs that is not a hyper-parameter.

    ``validate`` maps a fitted model to a figure where more is better; it sees validation data only.
    ``validate_every``: so many epochs, and after the last one. ``patience``: validations without a better
    figure before stopping (None: run all epochs).
    ``work_dir``: a folder from which a killed fit with equal settings and data goes on, bit for bit.
    ``device``: where networks are trained: "cpu", "cuda", or "auto" for CUDA where there is one.
    ``initial``: an earlier model of the same method, to start from its rows where the method can.
    """

    seed: int = 0
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    validate: Callable[[Any], float] | None = None
    patience: int | None = None
    validate_every: int = 1
    work_dir: Path | None = None
    progress: Progress = field(default_factory=Silent)
    device: str = "auto"
    initial: Any = None

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise SettingsError(unknown("device", self.device, DEVICES))
        for name in ("threads", "validate_every"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be 1 or more, not {getattr(self, name)}.")
        if self.patience is not None and self.validate is None:
            raise SettingsError("patience needs validate: there is no figure to be patient about.")

    def should_validate(self, epoch: int, epochs: int) -> bool:
        """Whether the model is validated after this epoch of so many."""
        due = (epoch + 1) % self.validate_every == 0 or epoch + 1 == epochs
        return self.validate is not None and due

    def within(self, phase: str) -> FitOptions:
        """The same, with a subfolder of ``work_dir`` for the phase."""
        return self if self.work_dir is None else replace(self, work_dir=self.work_dir / phase)


# A frozen dataclass makes its own __init__, so the old keyword is accepted around it.
setattr(FitOptions, "__init__", renamed_argument("checkpoint", "work_dir")(FitOptions.__init__))  # noqa: B010
