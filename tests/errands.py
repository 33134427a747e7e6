"""Work for processes: what they are given must be importable there, and a test module is not."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from landbridge.core.errors import DataError
from landbridge.core.parallel import THREAD_VARIABLES


class UnfitError(Exception):
    """One that does not survive pickling."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other} do not fit")


def square(number: int) -> int:
    return number * number


def slower_first(number: int) -> int:
    time.sleep(0.02 * max(0, 3 - number))
    return number


def killed_once(place: tuple[str, int]) -> int:
    """Ends its process the first time: ``place`` is a folder for a mark, and the number to return."""
    folder, number = place
    mark = os.path.join(folder, str(number))
    if not os.path.exists(mark):
        with open(mark, "x"):
            os.kill(os.getpid(), signal.SIGKILL)
    return number


def bad_data(number: int) -> int:
    raise DataError("There is no column 'user'.")


def broken(number: int) -> int:
    return 1 // (number - 2)


def unfit(number: int) -> int:
    raise UnfitError(number, number + 1)


def killed(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(number: int) -> None:
    os._exit(3)


def unreturnable(number: int) -> Callable[[], int]:
    return lambda: number


def who(number: int) -> tuple[int, dict[str, str | None], bool]:
    time.sleep(0.05)
    return os.getpid(), {name: os.environ.get(name) for name in THREAD_VARIABLES}, "numpy" in sys.modules
