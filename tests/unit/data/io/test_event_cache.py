"""Memory-mapped events: the cache, and what happens when a process, the disk or a file fails."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import answered

import landbridge as lb
from landbridge.core import mapped
from landbridge.core.errors import SettingsError, StoreError
from landbridge.core.files import is_temporary, read_json, write_json
from landbridge.core.sizes import parse_bytes
from landbridge.data.io import event_cache, out_of_core

MEMORY = event_cache.LEAST_MEMORY


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(event_cache, "cache_folder", lambda: folder)
    monkeypatch.setattr(event_cache, "BYTES_OF_A_ROW", MEMORY // 100)  # 100 rows at a time
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, 60, 900),
            "item": rng.integers(0, 30, 900),
            "domain": rng.choice(["books", "films"], 900),
            "time": rng.integers(10**9, 2 * 10**9, 900),
        }
    )
    frame.write_parquet(tmp_path / "events.parquet")
    return tmp_path / "events.parquet"


def map_of(cache: Path) -> Path:
    (found,) = cache.glob("*/map")
    return found


def leftovers(cache: Path) -> list[Path]:
    return [path for path in cache.glob("*/.*") if is_temporary(path)]


def test_events_are_mapped_read_only_and_built_once(table: Path, cache: Path) -> None:
    first, second = (lb.read(table, memory=MEMORY) for _ in range(2))
    assert isinstance(first["books"].user_idx.base, np.memmap)
    assert isinstance(first["books"].by_item.columns.base, np.memmap)
    assert type(first["books"].user_idx) is np.ndarray  # compiled code is the same as for any array
    assert not first["books"].item_idx.flags.writeable
    assert "sorted in blocks of 100 rows" in first.provenance.remarks[0]
    assert f"mapped from {map_of(cache)}" in second.provenance.remarks[0]
    assert "built before" in second.provenance.remarks[0]
    assert first.fingerprint == second.fingerprint == lb.read(table).fingerprint
    assert not leftovers(cache)


def test_another_input_or_option_is_another_map(table: Path, cache: Path) -> None:
    lb.read(table, memory=MEMORY)
    lb.read(table, memory=MEMORY, duplicates="sum")
    pl.read_parquet(table).head(500).write_parquet(table)
    assert lb.read(table, memory=MEMORY).n_events == lb.read(table).n_events
    titles = pl.DataFrame({"item": [1], "title": ["one"]})
    named = [
        lb.read(table, memory=MEMORY, titles=each)
        for each in (titles, titles.with_columns(title=pl.lit("x")))
    ]
    assert [data.titles["books"][1] for data in named] == ["one", "x"]
    assert len(list(cache.glob("*/map"))) == 5


def test_frames_and_tables_beside_the_events_are_read_as_ever(table: Path, cache: Path) -> None:
    frame = pl.read_parquet(table)
    beside = {
        "titles": pl.DataFrame({"item": [1, 2], "title": ["one", "two"]}),
        "item_features": pl.DataFrame({"domain": "books", "item": [1, 2, 99], "brand": ["x", "y", "x"]}),
        "user_features": pl.DataFrame({"user": [1, 2, 98], "country": ["de", "fr", "de"]}),
        "memberships": pl.DataFrame({"item": [1, 2], "domain": ["films", "books"]}),
        "items": "shared",
        "seen": pl.DataFrame({"user": [1, 1000], "item": [3, 4], "domain": ["books", "films"]}),
    }
    whole = lb.read(frame, **beside)
    for data in [lb.read(frame, memory=MEMORY, **beside) for _ in range(2)]:
        assert data.fingerprint == whole.fingerprint
        assert replace(data.provenance, mapped="") == whole.provenance
        assert data.memberships["films"].tolist() == whole.memberships["films"].tolist()
        assert isinstance(data["films"].user_idx.base, np.memmap)
    assert map_of(cache)


def test_a_block_has_no_more_rows_than_fit(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    sorting, blocks = out_of_core.distributed, out_of_core.OnDisk._blocks

    def spied(*given: Any) -> Iterator[Any]:
        for some in sorting(*given):
            rows.append(len(some))
            yield some

    def counted(*given: Any) -> Iterator[Any]:
        for start, frame in blocks(*given):
            rows.append(len(frame))
            yield start, frame

    monkeypatch.setattr(out_of_core, "distributed", spied)
    monkeypatch.setattr(out_of_core.OnDisk, "_blocks", counted)
    lb.read(table, memory=MEMORY)
    busiest = pl.read_parquet(table)["user"].value_counts()["count"].max()
    assert rows[:9] == [100] * 9
    assert max(rows) < 100 + int(str(busiest))
    assert len(rows) > 15


DATES = [f"{day:02}/{month:02}/2020" for month in (1, 2) for day in range(1, 11)]
DAYS = [f"2020-01-{day:02}" for day in range(1, 21)]


@pytest.mark.parametrize("first", [DATES, DAYS])
@pytest.mark.parametrize("last", ["13/02/2020", "02/13/2020", "2020-02-13T10:00:00Z", "11/02/2020", "x"])
def test_dates_are_read_as_those_of_the_whole_column(
    first: list[str], last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last block is one row, which may say what part is the month, or be written in another way."""
    monkeypatch.setattr(event_cache, "BYTES_OF_A_ROW", MEMORY // 4)
    path = tmp_path / "dates.csv"
    pl.DataFrame({"user": range(21), "item": [1] * 21, "time": [*first, last]}).write_csv(path)

    def said(**memory: int) -> str:
        try:
            return str(lb.read(path, **memory)["dates"].time)
        except lb.DataError as error:
            return str(error)

    assert said(memory=MEMORY) == said()


KILLED = """
import os, signal, sys
from pathlib import Path
from landbridge.core.mapped import FolderWriter
from landbridge.data.io import event_cache
import landbridge as lb
event_cache.cache_folder = lambda: Path(sys.argv[2])
FolderWriter.finish = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
lb.read(sys.argv[1], memory="1GB")
"""


def test_killed_in_the_middle_it_is_built_again(table: Path, cache: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(table), str(cache)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert leftovers(cache)
    assert not list(cache.glob("*/map"))
    assert lb.read(table, memory=MEMORY).fingerprint == lb.read(table).fingerprint
    assert map_of(cache).is_dir()
    assert not leftovers(cache)


FULL = """
import resource, signal, sys
from pathlib import Path
from landbridge.data.io import event_cache
import landbridge as lb
event_cache.cache_folder = lambda: Path(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    lb.read(sys.argv[1], memory="1GB")
except lb.StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("most", [1000, 8000])  # the table's rows do not fit, or its sorted events
def test_a_full_disk_is_one_sentence(most: int, table: Path, cache: Path) -> None:
    """By the limit of the system on a file's size, which fails as a full disk does."""
    command = [sys.executable, "-c", FULL, str(table), str(cache), str(most)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Cannot write ")
    assert done.stdout.endswith("(File too large); choose another place.\n")
    assert done.stdout.count("\n") == 1
    assert not leftovers(cache)
    assert lb.read(table, memory=MEMORY).n_events == lb.read(table).n_events


def test_a_column_that_does_not_fit_is_one_sentence(
    table: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mapped.ColumnFile, "append", full)
    with pytest.raises(StoreError, match="No space left on device"):
        lb.read(table, memory=MEMORY)
    assert not leftovers(cache)


def test_a_file_that_cannot_be_read_is_one_sentence(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(event_cache, "sha256", refused)
    with pytest.raises(lb.DataError, match=r"Cannot read file .* Permission denied"):
        lb.read(table, memory=MEMORY)


@pytest.mark.parametrize(
    "content", [b"user,item\n1,2\n\xe9,3\n", b"user,item\n", b"user,price\n1,2\n", b"user,item\n1,2,3,4\n"]
)
def test_bad_input_is_the_same_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(content)
    with pytest.raises(lb.DataError) as plain:
        lb.read(path)
    with pytest.raises(lb.DataError) as caught:
        lb.read(path, memory=MEMORY)
    assert str(caught.value) == str(plain.value)


def test_a_map_cut_short_is_one_sentence(table: Path, cache: Path) -> None:
    lb.read(table, memory=MEMORY)
    for file in sorted(map_of(cache).iterdir()):
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(StoreError, match=r"delete .* read the data again\.$") as caught:
            lb.read(table, memory=MEMORY)
        assert "\n" not in str(caught.value)
        file.unlink()
        with pytest.raises(StoreError, match="read the data again"):
            lb.read(table, memory=MEMORY)
        file.write_bytes(content)
    assert lb.read(table, memory=MEMORY).n_events == lb.read(table).n_events


def test_a_map_of_another_version_is_one_sentence(table: Path, cache: Path) -> None:
    lb.read(table, memory=MEMORY)
    manifest = map_of(cache) / mapped.MANIFEST
    write_json(manifest, read_json(manifest) | {"version": 99})
    with pytest.raises(StoreError, match="version 99, but this landbridge reads 1; delete the folder"):
        lb.read(table, memory=MEMORY)


def test_what_cannot_be_had_out_of_core_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="skip_bad_rows reads a file as a whole: leave out skip_bad_rows"):
        lb.read(table, memory=MEMORY, skip_bad_rows=tmp_path / "skipped.jsonl")
    with pytest.raises(SettingsError, match="at least 256 MiB, not 1 MiB"):
        lb.read(table, memory="1MiB")


def test_fit_says_what_it_did(
    table: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", table, "--model", "popularity", "--split", "none"]
    status, _, said = answered(capsys, *words, "--memory", "1GB", "--out", tmp_path / "mapped")
    assert status == 0
    assert f"memory-mapped from {map_of(cache)}" in " ".join(said.split()).replace("- ", "-")
    assert answered(capsys, *words, "--out", tmp_path / "plain")[0] == 0
    runs = [lb.load(tmp_path / name) for name in ("mapped", "plain")]
    assert runs[0].history.fingerprint == runs[1].history.fingerprint
    status, _, said = answered(capsys, *words, "--memory", "much", "--out", tmp_path / "none")
    assert status == 2
    assert "'much' is no amount of memory; write it as 4GB or 512MiB." in said


@pytest.mark.parametrize(
    ("text", "number"),
    [("4GB", 4 * 10**9), ("512 MiB", 512 * 2**20), ("1.5kb", 1500), (7, 7), ("2g", 2 * 10**9)],
)
def test_amounts_of_memory(text: str | int, number: int) -> None:
    assert parse_bytes(text) == number


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "4 apples", "1e9"])
def test_other_text_is_no_amount(text: str) -> None:
    with pytest.raises(SettingsError, match="is no amount of memory"):
        parse_bytes(text)
