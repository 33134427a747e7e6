"""Events read out of core are those that are read in memory; so is what is refused."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landbridge.core.errors import LandbridgeError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.io import event_cache
from landbridge.data.io.out_of_core import distributed
from landbridge.data.io.readers import read

KINDS = ("csv", "parquet", "jsonl", "csv.gz", "jsonl.gz")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"duplicates": "sum"},
    {"duplicates": "max"},
    {"duplicates": "error"},
    {"min_rating": 3},
    {"half_life_days": 2.0, "fold_ids": True},
    {"kinds": {"view": 0.1, "wink": "seen"}, "domains": ["b"]},
]
# few different ones, so that pairs repeat, and an id of text may occur late
IDS = st.sampled_from(("1", "2", "3", "10", "12", "x", " X ", "007", "a longer text than fifteen bytes"))
WHOLE = st.integers(0, 12)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_cache, "cache_folder", lambda: tmp_path_factory.getbasetemp() / "cache")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    ids = draw(st.sampled_from((IDS, WHOLE)))
    times = draw(
        st.sampled_from(
            (
                st.integers(0, 10**6),
                st.floats(0, 10**6, width=32),
                st.dates().map(str),
                st.sampled_from(
                    ("13/01/2020", "02/01/2020", "03/01/2020 10:00:00", "5.6.2021", "2020-02-03")
                ),
                st.sampled_from(("1.5", "2,25", "3", "4", "x", "2020-01-01")),
            )
        )
    )
    row = st.fixed_dictionaries(
        {
            "user": ids,
            "item": ids,
            "domain": st.sampled_from(("b", "a", "10")),
            "time": times,
            "rating": st.integers(1, 5),
            "weight": st.sampled_from((0.5, 1.0, 3.25)),
            "kind": st.sampled_from(("view", "buy", "dislike", "impression")),
            "title": st.sampled_from((None, " ", "one", "two")),
        }
    )
    rows = draw(st.lists(row, min_size=1, max_size=30))
    optional = ("domain", "time", "weight", "kind", "title")
    left_out = draw(st.lists(st.sampled_from(optional), unique=True))
    return pl.DataFrame(rows).drop(left_out)


def written(frame: pl.DataFrame, kind: str, folder: Path, name: str) -> Path:
    path = folder / f"{name}.{kind}"
    plain = kind.removesuffix(".gz")
    if plain == "parquet":
        frame.write_parquet(path)
        return path
    content = (frame.write_csv() if plain == "csv" else frame.write_ndjson()).encode()
    path.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    return path


def outcome(source: Any, **options: Any) -> MultiDomain | str:
    try:
        return read(source, **options)
    except LandbridgeError as error:
        return str(error)


def mapped(source: Any, rows: int, **options: Any) -> MultiDomain | str:
    """Read in blocks of ``rows``."""
    memory = event_cache.LEAST_MEMORY
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_cache, "BYTES_OF_A_ROW", memory // rows)
        return outcome(source, memory=memory, **options)


def assert_same_rows(one: Ragged, other: Ragged) -> None:
    for name in ("offsets", "columns", "weight"):
        own, others = getattr(one, name), getattr(other, name)
        assert (own is None) == (others is None)
        if own is not None:
            np.testing.assert_array_equal(own, others)
            assert own.dtype == others.dtype


def assert_same(one: MultiDomain | str, other: MultiDomain | str) -> None:
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    assert one.fingerprint == other.fingerprint
    assert one.shape_text == other.shape_text
    assert {n: t.tolist() for n, t in one.titles.items()} == {n: t.tolist() for n, t in other.titles.items()}
    assert one.provenance == replace(other.provenance, mapped="")
    for name in one.domain_names:
        assert_same_rows(one[name].by_user, other[name].by_user)
        assert_same_rows(one[name].by_item, other[name].by_item)
        assert_same_column(one[name], other[name], "time")
        if name in one.seen:
            assert_same_column(one.seen[name].pairs, other.seen[name].pairs, "time")


def assert_same_column(one: Interactions, other: Interactions, name: str) -> None:
    own, others = getattr(one, name), getattr(other, name)
    assert (own is None) == (others is None)
    assert own is None or (own.dtype == others.dtype and np.array_equal(own, others))


@given(
    frame=tables(),
    kind=st.sampled_from(KINDS),
    options=st.sampled_from(OPTIONS),
    rows=st.integers(3, 12),
    seen=st.none() | tables(),
)
@settings(max_examples=30)
def test_blocks_are_read_as_the_whole(
    frame: pl.DataFrame,
    kind: str,
    options: dict[str, Any],
    rows: int,
    seen: pl.DataFrame | None,
    folder: Path,
) -> None:
    path = written(frame, kind, folder, "events")
    if seen is not None:
        options = {**options, "seen": written(seen, kind, folder, "seen")}
    assert_same(outcome(path, **options), mapped(path, rows, **options))


@given(frames=st.tuples(tables(), tables()), users=st.sampled_from(("shared", "local", range(2, 5))))
@settings(max_examples=8)
def test_so_are_several_domains(frames: tuple[pl.DataFrame, pl.DataFrame], users: Any, folder: Path) -> None:
    paths = {name: written(frame, "csv", folder, name) for name, frame in zip("ab", frames, strict=True)}
    assert_same(outcome(paths, users=users), mapped(paths, 3, users=users))


@given(keys=st.lists(st.integers(0, 9), max_size=60), rows=st.integers(1, 20), sizes=st.integers(1, 20))
def test_the_external_sort_is_a_stable_sort(keys: list[int], rows: int, sizes: int, folder: Path) -> None:
    """By key and, within it, in the order of arrival; no key is in two ranges."""
    records = np.array(list(enumerate(keys)), [("place", np.int64), ("key", np.int32)])
    parts = [records[start : start + sizes] for start in range(0, len(records), sizes)]
    count_K = np.bincount(records["key"], minlength=10)
    ranges = list(distributed(parts, "key", count_K, rows, folder))
    assert all(len(some) < rows + count_K.max() for some in ranges)
    in_ranges = [some[np.argsort(some["key"], kind="stable")] for some in ranges]
    together = np.concatenate([records[:0], *in_ranges])
    np.testing.assert_array_equal(together, records[np.argsort(records["key"], kind="stable")])
