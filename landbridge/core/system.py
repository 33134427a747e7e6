"""What differs between operating systems: processors, memory, locks and syncing of folders.

Linux and macOS have flock, which the kernel drops with the process, shared or exclusive. Where there is none
(Windows), a writer holds a lock file of the package filelock, and readers hold nothing: files of a run are
named after their content, and open files cannot be deleted there.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

KIB = 1024
MAPPED_MAY_GO = sys.platform != "win32"  # whether a file may be replaced or deleted while it is mapped
ANYWAY = nullcontext()


def processors() -> int:
    """How many processors this process may use; those that torchrun started on this machine share them."""
    if hasattr(os, "sched_getaffinity"):
        number = len(os.sched_getaffinity(0))
    else:
        count = getattr(os, "process_cpu_count", os.cpu_count)  # of Python 3.13
        number = count() or 1
    return max(1, number // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def reset_peak() -> None:
    """Begin to measure the peak anew, where the system lets us; else it is that of the process so far."""
    try:
        # Linux: 5 resets the peak (VmHWM) to the present resident size
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """Peak resident memory of the process, since :func:`reset_peak` where it works; 0 where neither the
    system nor psutil says it."""
    try:
        words = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    except OSError:
        words = None
    return int(words[1]) * KIB if words else _peak_of_process()


def _peak_of_process() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return _peak_by_psutil()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIB


def _peak_by_psutil() -> int:
    try:
        import psutil
    except ImportError:
        return 0
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


@contextmanager
def file_lock(
    path: Path, *, shared: bool, wait: bool, opening: AbstractContextManager[None] = ANYWAY
) -> Iterator[None]:
    """Hold the lock of a folder or file.

    BlockingIOError where it is held and ``wait`` is false, or where a holder has deleted the path. The path
    is opened within ``opening``, which may give an OSError another form.
    """
    try:
        import fcntl
    except ImportError:
        with opening:
            path.stat()  # what is not there cannot be locked
        with _lock_file(path, shared=shared, wait=wait):
            yield
        return
    with opening:
        handle = os.open(path, os.O_RDONLY)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
        # a lock belongs to the inode: after a deletion it would guard what no path leads to
        if not wait and not (path.exists() and os.path.samestat(os.fstat(handle), path.stat())):
            raise BlockingIOError(f"{path} was deleted by the process that held its lock.")
        yield
    finally:
        # the kernel drops the lock with the process: no stale lock file after a kill
        os.close(handle)


@contextmanager
def _lock_file(path: Path, *, shared: bool, wait: bool) -> Iterator[None]:
    """Without flock: a lock file in the user's cache, so that no run folder holds a foreign file."""
    from filelock import FileLock, Timeout
    from platformdirs import user_cache_dir

    if shared:
        yield
        return
    folder = Path(user_cache_dir("landbridge")) / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise BlockingIOError(f"{path} is locked by another process.") from None
    try:
        yield
    finally:
        lock.release()


def reserve(handle: int, size: int) -> None:
    """Give an open file a size, of zeros; OSError where the disk has no room, if the system can tell."""
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:  # macOS and Windows
        os.truncate(handle, size)


def sync(path: Path) -> None:
    """Bring a file or a folder to the disk; where folders cannot be opened (Windows), a file only."""
    opens_folders = hasattr(os, "O_DIRECTORY")
    if path.is_dir() and not opens_folders:
        return
    # Windows syncs what may be written only
    handle = os.open(path, os.O_RDONLY if opens_folders else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
