"""Progress reporting to TensorBoard: every value of every step becomes a scalar in an event file.

Every task that reports values becomes a run with its own folder: ``CDIMF-1``, then ``CDIMF-2`` when the same
method is fitted again. A task whose first report is not step 1 is a resumed fit: it continues the last run of
its title in a new event file, which replaces the steps that were reported before.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from landbridge.core.errors import MissingExtraError
from landbridge.core.files import make_folder
from landbridge.core.progress import Progress, Silent, Task
from landbridge.core.tracker_runs import RunPerTask

MAX_TITLE = 60  # characters of a title in a folder name: at most 240 bytes, file systems take 255


@dataclass(frozen=True)
class TensorBoard:
    """Passes reports on to ``inner`` and writes every value as the scalar ``title/name`` below ``folder``.

    MissingExtraError without the extra ``tensorboard``.
    """

    folder: Path
    inner: Progress = field(default_factory=Silent)

    def __post_init__(self) -> None:
        _events()

    def note(self, sentence: str) -> None:
        """Passed on; it is no value."""
        self.inner.note(sentence)

    def task(self, title: str, total: int, seconds: float | None = None) -> AbstractContextManager[Task]:
        """A task whose values are on disk after every step; a task without values writes nothing."""
        return RunPerTask(self._start, self.inner).task(title, total, seconds)

    def _start(self, title: str, first: int) -> _EventRun:
        return _EventRun(title, _writer(_run(self.folder, title, first), first))


@dataclass(frozen=True)
class _EventRun:
    title: str
    writer: Any

    def write(self, step: int, facts: Mapping[str, float]) -> None:
        # not add_scalar of the library: it replaces spaces and colons in names by "_"
        scalars = [{"tag": _tag(self.title, name), "simple_value": value} for name, value in facts.items()]
        self.writer.write_event(_event(step, summary={"value": scalars}))
        # on disk after every step: a killed fit keeps its curve
        self.writer.flush()

    def close(self, whole: bool) -> None:
        self.writer.close()


def _run(folder: Path, title: str, first: int) -> Path:
    """The folder of a new run or, where the first step is not 1, of the last run with this title."""
    make_folder(folder)
    name = re.sub(r"[^\w.-]+", "-", title)[:MAX_TITLE]
    numbers = [
        int(match[1])
        for path in folder.iterdir()
        if (match := re.fullmatch(re.escape(name) + r"-(\d+)", path.name))
    ]
    last = max(numbers, default=0)
    return folder / f"{name}-{max(last, 1) if first > 1 else last + 1}"


def _writer(run: Path, first: int) -> Any:
    """A new event file after those of the run; it replaces their steps from ``first`` on."""
    module = _events()
    make_folder(run)
    # the library names files by the second and would empty a file of the same second
    writer = module.EventsWriter(str(run / "events"), f".{len(list(run.iterdir())):06d}")
    start = module.event_pb2.SessionLog.START
    writer.write_event(_event(first, session_log={"status": start}))
    return writer


def _event(step: int, **content: Any) -> Any:
    return _events().event_pb2.Event(wall_time=time.time(), step=step, **content)


def _tag(title: str, name: str) -> str:
    """The scalar's name; lone surrogates (from odd file names) are replaced: protobuf refuses them."""
    return f"{title}/{name}".encode(errors="replace").decode()


def _events() -> Any:
    """The module of tensorboardX that writes synchronously; ``SummaryWriter`` writes in a thread."""
    try:
        from tensorboardX import event_file_writer
    except ModuleNotFoundError:
        raise MissingExtraError(
            "TensorBoard curves need the package tensorboardX: pip install 'landbridge[tensorboard]'."
        ) from None
    return event_file_writer
