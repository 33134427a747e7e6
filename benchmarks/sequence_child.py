"""What a program of :mod:`benchmarks.sequence` shares with the others: turns of learning, requested by words.

Needs NumPy and the standard library alone, for it also runs where RecBole is installed and landbridge is not.
The process reads one word per line: ``turn`` is answered when the turn is over, ``rows`` when the model's
rows are written. The end of its input ends it. Between two words a program is where it learns.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.engine_child import _memory as memory


class Turns:
    """The words of the parent and the answers. Made when the data are loaded: memory is counted from there,
    without what ``rows`` takes. ``settings``: where the rows are written."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.answers, sys.stdout = sys.stdout, sys.stderr  # peers print what they like
        self.settings, self.base = settings, memory("VmRSS")
        _peak_anew()

    def begin(self) -> None:
        """Wait for the first turn."""
        self._wait(None)

    def ended(self, part: Callable[[], float], rows: Callable[[], tuple[Any, Any]]) -> None:
        """A turn is over that was ``part`` of an epoch: answer, and wait for the next.

        ``rows``: what scores by dot products, users' and items' rows.
        """
        seconds, taken = time.perf_counter() - self.started, memory("VmHWM") - self.base
        self._say({"seconds": seconds, "mib": taken, "part": part()})
        self._wait(rows)

    def _wait(self, rows: Callable[[], tuple[Any, Any]] | None) -> None:
        for line in sys.stdin:
            if line.strip() == "turn":
                self.started = time.perf_counter()
                return
            assert rows is not None
            user_UF, item_IF = rows()
            np.savez(self.settings["rows"], user=user_UF, item=item_IF)
            _peak_anew()
            self._say({})
        sys.exit()

    def _say(self, what: dict[str, Any]) -> None:
        print(json.dumps(what), file=self.answers, flush=True)


def _peak_anew() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
