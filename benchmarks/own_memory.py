"""The own (anonymous) memory of a process, sampled; pages of mapped files are not in it. Needs nothing."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from pathlib import Path

EVERY = 0.02  # seconds


def own_bytes() -> int:
    """Bytes now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def least_bytes() -> int:
    """Bytes, once all that is free is with the system again: what comes next would else fill it unseen."""
    gc.collect()
    # glibc keeps freed arrays; other libraries of C have no such call
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    return own_bytes()


class Watch:
    """The most bytes since a moment, which may be set anew."""

    def __init__(self) -> None:
        self.most = own_bytes()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(EVERY)
            self.most = max(self.most, own_bytes())
