"""Arrays beside a column: in memory or in a file without a name, and what a full disk says."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from landbridge.core import mapped
from landbridge.core.errors import StoreError
from landbridge.core.mapped import ColumnFile, copied, zeros

SHAPE = (mapped.IN_MEMORY, 2)


def column(folder: Path) -> np.ndarray:
    file = ColumnFile(folder / "0.column")
    file.append(np.arange(5))
    return file.opened()


def test_beside_a_file_they_are_files_without_a_name(tmp_path: Path) -> None:
    array = zeros(SHAPE, column(tmp_path))
    array[3] = 7
    copy = copied(array)
    array[3] += 1
    for each, value in ((array, 8), (copy, 7)):
        assert isinstance(each.base, np.memmap)
        assert type(each) is np.ndarray
        assert each.shape == SHAPE
        assert each.sum() == 2 * value
        assert each[3].tolist() == [value, value]
    assert [path.name for path in tmp_path.iterdir()] == ["0.column"]


def test_small_arrays_and_those_beside_memory_are_in_memory(tmp_path: Path) -> None:
    for array in (zeros((5, 2), column(tmp_path)), zeros(SHAPE, np.arange(5))):
        assert not isinstance(array.base, np.memmap)
        assert not array.any()
    assert copied(np.arange(3)).dtype == np.arange(3).dtype


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve room")
def test_a_full_disk_is_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, offset: int, size: int) -> None:
        assert (offset, size) == (0, 8 * mapped.IN_MEMORY)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="No space left"):
        zeros(SHAPE, column(tmp_path))
