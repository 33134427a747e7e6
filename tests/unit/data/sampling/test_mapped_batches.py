"""Batches of memory-mapped events: what is held of all events is one number each, or nothing."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import numpy as np
import pytest

from landbridge.core import mapped, row_blocks, types
from landbridge.data import dataset, interactions
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.io.event_cache import open_mapped, write_mapped
from landbridge.data.sampling.pairwise import NEGATIVES, Pairwise
from landbridge.data.sampling.sequences import Windows, user_histories
from landbridge.data.vocabulary import Vocabulary

USERS, EACH, ITEMS = 2000, 150, 400
EVENTS = USERS * EACH
PART = 4096


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultiDomain]:
    """Mapped events, handled in parts that are small beside them."""
    rng = np.random.default_rng(0)
    item_UN = np.argsort(rng.random((USERS, ITEMS)), axis=1)[:, :EACH]
    user_N, time_N = np.repeat(np.arange(USERS), EACH), rng.integers(0, 10**6, EVENTS)
    events = Interactions.from_events(user_N, item_UN.ravel(), USERS, ITEMS, time=time_N)
    users, items = Vocabulary.of(range(USERS)), Vocabulary.of(range(ITEMS))
    folder = tmp_path_factory.mktemp("map")
    write_mapped(MultiDomain(users, {"a": items}, {"a": events}), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "AT_ONCE", PART)
        patch.setattr(mapped, "IN_MEMORY", 0)
        in_parts = partial(types.blocks, size=PART)
        for module in (types, dataset, interactions):
            patch.setattr(module, "blocks", in_parts)
        yield open_mapped(folder)


def most(work: Callable[[], object]) -> float:
    """The most bytes per event that are held at one time; what is compiled and loaded is so before."""
    work()
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / EVENTS


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_pairs_hold_the_order_of_the_events(data: MultiDomain, negatives: str) -> None:
    def epoch() -> None:
        pairs = Pairwise(data["a"], {"a": slice(0, ITEMS)}, negatives)
        assert sum(len(part.user_N) for part in pairs.parts(0, PART)) == EVENTS

    # four bytes of the order, and some for a part of the events and for each user
    assert 4 < most(epoch) < 6


def test_histories_hold_nothing(data: MultiDomain) -> None:
    def histories() -> None:
        windows = Windows(user_histories(data), 50, 16, 3)
        assert isinstance(windows.rows.columns.base, np.memmap)
        assert len(list(islice(windows.epoch(0), 3))) == 3

    assert most(histories) < 3
