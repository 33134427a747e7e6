"""What is made from memory-mapped events, in blocks, is what is made from those in memory, and mapped."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import landbridge as lb
from landbridge.core import mapped, row_blocks, types
from landbridge.core.errors import StoreError
from landbridge.core.selection import kth_smallest
from landbridge.core.types import AnyArray, Ragged
from landbridge.data import dataset, interactions
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.io.event_cache import open_mapped, write_mapped
from landbridge.data.splitting import candidates, splits
from landbridge.testing.methods import of_kinds
from landbridge.testing.worlds import countries, timed, uneven

SPLITS: dict[str, Callable[[MultiDomain], lb.Split]] = {
    "random": lb.leave_one_out,
    "last, keep": partial(splits.leave_last_out, future="keep", min_events=2),
    "last": splits.leave_last_out,
    "last of a kind": partial(splits.leave_last_out, targets="buy"),
    "latest": splits.leave_latest_out,
    "latest of a kind": partial(splits.leave_latest_out, targets="buy", min_events=1),
    "temporal": partial(splits.temporal, valid=0.2, test=0.3),
    "cold": partial(splits.cold_users, keep=1, share=0.3),
}


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Blocks of a few events, and no column too short to be mapped."""

    def begin() -> None:
        monkeypatch.setattr(row_blocks, "AT_ONCE", 30)
        monkeypatch.setattr(mapped, "IN_MEMORY", 0)
        for module in (dataset, interactions):
            monkeypatch.setattr(module, "blocks", partial(types.blocks, size=17))

    return begin


@pytest.fixture
def data() -> MultiDomain:
    return timed(of_kinds(uneven()))


def on_disk(data: MultiDomain, folder: Path) -> MultiDomain:
    folder.mkdir()
    write_mapped(data, folder)
    return open_mapped(folder)


def is_mapped(array: AnyArray) -> bool:
    return isinstance(array.base, np.memmap) and not array.flags.writeable


def check_equal(one: Interactions, other: Interactions) -> None:
    assert (one.n_users, one.n_items) == (other.n_users, other.n_items)
    assert one.columns.keys() == other.columns.keys()
    for name, column in one.columns.items():
        assert column.dtype == other.columns[name].dtype
        assert np.array_equal(column, other.columns[name])


def check_rows(one: Ragged, other: Ragged) -> None:
    for name in ("offsets", "columns", "weights"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_the_parts_of_a_split(
    split: Callable[[MultiDomain], lb.Split], data: MultiDomain, in_blocks: Callable[[], None], tmp_path: Path
) -> None:
    expected, there = split(data), on_disk(data, tmp_path / "map")
    in_blocks()
    found = split(there)
    for part, other in ((expected.valid, found.valid), (expected.test, found.test)):
        assert part.fingerprint == other.fingerprint
        assert part.left_out == other.left_out
        for name, targets in part.targets.items():
            own = other.targets[name]
            assert np.array_equal(targets.time, own.time)
            check_equal(part.history[name], other.history[name])
            assert all(map(is_mapped, other.history[name].columns.values()))
            check_rows(part.history[name].by_item, other.history[name].by_item)
            assert is_mapped(other.history[name].by_item.columns)
        for name, seen in part.history.seen.items():
            assert np.array_equal(seen.disliked_N, other.history.seen[name].disliked_N)
            check_equal(seen.pairs, other.history.seen[name].pairs)


def test_sampled_candidates(
    data: MultiDomain, in_blocks: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = partial(splits.leave_last_out, min_events=2)
    expected, there = splits.with_candidates(split(data), 3, seed=5), on_disk(data, tmp_path / "map")
    in_blocks()
    monkeypatch.setattr(candidates, "BLOCK", 3)  # a row at once
    found = splits.with_candidates(split(there), 3, seed=5)
    for part, other in ((expected.valid, found.valid), (expected.test, found.test)):
        assert part.fingerprint == other.fingerprint
        for name, targets in part.targets.items():
            assert len(targets) > 1
            table_TC = other.targets[name].candidates_TC
            assert table_TC is not None
            assert np.array_equal(targets.candidates_TC, table_TC)
            assert is_mapped(table_TC.base)
    model = lb.Popularity().fit(expected.test.history)
    one, other = (lb.evaluate(model, part.test).rows for part in (expected, found))
    assert one.equals(other)


def test_blocks_of_data_in_memory(data: MultiDomain, in_blocks: Callable[[], None]) -> None:
    expected = {name: split(data) for name, split in SPLITS.items()}
    in_blocks()
    for name, split in SPLITS.items():
        assert split(data).test.fingerprint == expected[name].test.fingerprint, name
        assert split(data).valid.fingerprint == expected[name].valid.fingerprint, name


def test_joined_tables_and_look_ups(data: MultiDomain, in_blocks: Callable[[], None], tmp_path: Path) -> None:
    shared = timed(countries())
    worlds = [(each, on_disk(each, tmp_path / str(n))) for n, each in enumerate((data, shared))]
    expected = [
        (each.joined()[0], each.by_product()[0], {name: each.excluded(name) for name in each.domain_names})
        for each, _ in worlds
    ]
    in_blocks()
    for (joined, products, excluded), (here, there) in zip(expected, worlds, strict=True):
        check_equal(joined, there.joined()[0])
        check_equal(products, there.by_product()[0])
        assert is_mapped(there.by_product()[0].item_idx)
        assert np.array_equal(here.latest_UD, there.latest_UD)
        for name, pairs in excluded.items():
            check_equal(pairs, there.excluded(name))
            own = here[name]
            users, items = np.meshgrid(np.arange(own.n_users), np.arange(own.n_items))
            known = np.zeros((own.n_users, own.n_items), bool)
            known[own.user_idx, own.item_idx] = True
            assert np.array_equal(there[name].contains(users, items), known[users, items])


def test_a_table_without_events_keeps_its_columns(data: MultiDomain, tmp_path: Path) -> None:
    none = data["a"].take(np.zeros(len(data["a"]), bool))
    assert none.columns.keys() == data["a"].columns.keys()
    assert len(none.by_item.columns) == 0


def test_columns_that_begin_late_or_become_wider() -> None:
    one = Interactions.from_events([0, 1], [0, 0], 2, 1, time=[1, 2])
    other = Interactions.from_events([0], [0], 1, 1, weight=[2.5], time=[0.5])
    grown = interactions.GrowingEvents.beside(one)
    for first, events in ((0, one), (2, other), (3, one)):
        grown.add(events, first)
    whole = grown.finished(5, 1)
    assert whole.weights_of(np.arange(5), np.zeros(5)).tolist() == [1, 1, 2.5, 1, 1]
    assert whole.time is not None
    assert whole.time.tolist() == [1, 2, 0.5, 1, 2]
    assert whole.user_idx.tolist() == [0, 1, 2, 3, 4]


def test_files_go_with_their_arrays(data: MultiDomain, in_blocks: Callable[[], None], tmp_path: Path) -> None:
    there = on_disk(data, tmp_path / "map")
    files = sorted(path.name for path in (tmp_path / "map").iterdir())
    in_blocks()
    split = splits.leave_last_out(there)
    assert is_mapped(split.train["a"].user_idx)
    assert sorted(path.name for path in (tmp_path / "map").iterdir()) == files


def test_a_full_disk_is_one_sentence(
    data: MultiDomain, in_blocks: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = on_disk(data, tmp_path / "map")
    in_blocks()

    def full(**given: object) -> Iterator[None]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(StoreError, match=r"Cannot write .*map \(No space left on device\)"):
        splits.leave_last_out(there)


@given(
    st.lists(st.lists(st.integers(-50, 50), max_size=60), min_size=1, max_size=3).filter(any),
    st.integers(0, 10**6),
    st.integers(1, 9),
    st.sampled_from((1, 3.7)),
)
def test_the_kth_smallest_value(columns: list[list[int]], place: int, at_once: int, scale: float) -> None:
    values = [np.array(column, np.int64) * scale for column in columns]
    ordered = np.sort(np.concatenate(values))
    k = place % len(ordered)
    assert kth_smallest(values, k, at_once) == ordered[k]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), max_size=80, unique=True), st.integers(1, 20)
)
def test_transposition_is_a_stable_sort(pairs: list[tuple[int, int]], at_once: int) -> None:
    row_N, column_N = np.array(sorted(pairs), np.int32).reshape(-1, 2).T
    weight_N = np.arange(len(pairs), dtype=np.float32)
    rows = Ragged.from_index(row_N, column_N, 13, weight_N)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "AT_ONCE", at_once)
        check_rows(Ragged.from_index(column_N, row_N, 10, weight_N), row_blocks.transposed(rows, 10))
