"""What long work says, as curves for TensorBoard: event files beside whatever else watches the work.

Every task that tells figures becomes a run, a folder of its own: ``CDIMF-1``, then ``CDIMF-2`` when the same
method is fitted again. Work that begins after its first step is a fit that was resumed: it goes on in the
last run of its title, in a further event file that takes the place of the steps told twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from landbridge.core.errors import MissingExtraError
from landbridge.core.progress import Progress, Silent, Task

LONGEST = 60  # letters of a title in a folder's name: 240 bytes at most, of the 255 that file systems take


@dataclass(frozen=True)
class TensorBoard:
    """Reports to ``inner`` and writes every figure as the scalar ``title/name`` to runs within ``folder``.

    MissingExtraError without the extra ``tensorboard``.
    """

    folder: Path
    inner: Progress = field(default_factory=Silent)

    def __post_init__(self) -> None:
        _events()

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:
        """A task whose figures are on disk after every step; one that tells none leaves nothing there."""
        with self.inner.task(title, total) as inner:
            told = _Told(self.folder, title, inner)
            try:
                yield told
            finally:
                told.close()


@dataclass
class _Told:
    folder: Path
    title: str
    inner: Task
    writer: Any = None

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        self.inner.step(done, facts)
        if not facts:
            return
        self.writer = self.writer or _writer(_run(self.folder, self.title, done), done)
        # Not by the library's add_scalar, which turns every space and colon of a name into "_".
        scalars = [{"tag": _tag(self.title, name), "simple_value": value} for name, value in facts.items()]
        self.writer.write_event(_event(done, summary={"value": scalars}))
        self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _run(folder: Path, title: str, first: int) -> Path:
    """The folder of a new run, or of the title's last one where work goes on with a later step."""
    name = re.sub(r"[^\w.-]+", "-", title)[:LONGEST]
    numbers = [
        int(found[1])
        for path in (folder.iterdir() if folder.exists() else ())
        if (found := re.fullmatch(re.escape(name) + r"-(\d+)", path.name))
    ]
    last = max(numbers, default=0)
    return folder / f"{name}-{max(last, 1) if first > 1 else last + 1}"


def _writer(run: Path, first: int) -> Any:
    """A new event file, after those in the run; what those say of ``first`` and later is void."""
    module = _events()
    run.mkdir(parents=True, exist_ok=True)
    # The library names files by the second, and would empty one that it has named before.
    writer = module.EventsWriter(str(run / "events"), f".{len(list(run.iterdir())):06d}")
    start = module.event_pb2.SessionLog.START
    writer.write_event(_event(first, session_log={"status": start}))
    return writer


def _event(step: int, **what: Any) -> Any:
    return _events().event_pb2.Event(wall_time=time.time(), step=step, **what)


def _tag(title: str, name: str) -> str:
    """Any text, apart from halves of characters (from odd file names), which an event file cannot hold."""
    return f"{title}/{name}".encode(errors="replace").decode()


def _events() -> Any:
    """The part of tensorboardX that writes at once; its ``SummaryWriter`` leaves that to a thread."""
    try:
        from tensorboardX import event_file_writer
    except ModuleNotFoundError:
        raise MissingExtraError(
            "Curves for TensorBoard need tensorboardX: pip install 'landbridge[tensorboard]'."
        ) from None
    return event_file_writer
