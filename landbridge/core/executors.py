"""Executors by name, as the command line and experiment files give them."""

from __future__ import annotations

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.parallel import Executor, Processes, Serial, Threads
from landbridge.core.ray_executor import Ray
from landbridge.core.system import processors

NAMES = ("processes", "ray", "serial", "threads")


def executor_of(jobs: int = 1, name: str | None = None, address: str | None = None) -> Executor:
    """``jobs`` items at a time, in the executor of a name: by default Ray where there is an ``address``, else
    processes, and one job in this process.

    The threads of this machine are divided among the jobs; a job at an address has one. SettingsError for an
    unknown name, for several serial jobs, and for an address of another executor than Ray.
    """
    if name is None:
        name = "ray" if address is not None else "serial" if jobs == 1 else "processes"
    if name not in NAMES:
        raise SettingsError(unknown("executor", name, NAMES))
    if address is not None and name != "ray":
        raise SettingsError(f"An address is that of a Ray cluster; {name} has none.")
    threads = max(1, processors() // max(jobs, 1))
    if name == "serial":
        if jobs != 1:
            raise SettingsError(f"serial does one job at a time, not {jobs}.")
        return Serial()
    if name == "ray":
        return Ray(jobs, threads if address is None else 1, address)
    return (Threads if name == "threads" else Processes)(jobs, threads)
