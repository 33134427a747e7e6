"""Blocks of target items: the matrices of a fit by blocks are those of a fit at once, to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import landbridge as lb
from landbridge.core.parallel import Executor, Serial, Threads
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.linear import method as linear
from landbridge.models.linear import ridge
from landbridge.models.linear.matrix import SparseMatrix, side_by_side


def two_domains() -> lb.MultiDomain:
    rng = np.random.default_rng(1)
    domains = {}
    for name, items in (("books", 60), ("films", 43)):
        users, chosen = np.nonzero(rng.random((300, items)) < 0.08)
        domains[name] = Interactions.from_events(users, chosen, 300, items)
    items_of = {name: Vocabulary.of(range(events.n_items)) for name, events in domains.items()}
    return lb.MultiDomain(Vocabulary.of(range(300)), items_of, domains)


@pytest.mark.parametrize("sharing", ["separate", "cross"])
@pytest.mark.parametrize("kind", [lb.EASE(form="local", neighbours=20), lb.ItemKNN(neighbours=15)])
@pytest.mark.parametrize("executor", [Serial(1), Threads(2, 1)])
def test_blocks_are_the_whole(
    kind: lb.EASE | lb.ItemKNN, sharing: str, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ridge, "GRAM_BYTES", 0)  # as of a table too large for its Gramian
    monkeypatch.setattr(linear, "ITEMS", 16)
    data, method = two_domains(), kind.with_settings({"sharing": sharing})
    options = lb.FitOptions(threads=1)
    whole, blocks = method.fit(data, options), method.fit(data, replace(options, executor=executor))
    for source in data.domain_names:
        assert whole.matrices[source].keys() == blocks.matrices[source].keys()
        for target, matrix in whole.matrices[source].items():
            made = blocks.matrices[source][target]
            assert made.shape == matrix.shape
            for name, array in matrix.arrays().items():
                assert made.arrays()[name].tobytes() == array.tobytes(), (source, target, name)


def test_a_kept_gramian_does_not_divide() -> None:
    data = two_domains()
    method = lb.EASE(form="local")
    (events, items), *_ = method._tables(data).values()
    from landbridge.models.linear.event_values import EventValues

    table = method._table(events, items, EventValues.of(data, 1.0, 0.0, 0.0))
    assert ridge.keeps_gramian(table.n_items)
    assert not method.divides(table)
    assert lb.ItemKNN().divides(table)


def test_columns_side_by_side_are_in_order() -> None:
    rng = np.random.default_rng(0)
    dense = [np.where(rng.random((7, n)) < 0.4, rng.random((7, n)), 0).astype(np.float32) for n in (3, 0, 4)]
    from landbridge.core.types import Ragged

    parts = []
    for block in dense:
        row_N, column_N = np.nonzero(block)
        parts.append(
            SparseMatrix(Ragged.from_index(row_N, column_N, 7, block[row_N, column_N]), block.shape[1])
        )
    joined = side_by_side(parts)
    np.testing.assert_array_equal(np.stack([joined.row(j) for j in range(7)]), np.concatenate(dense, axis=1))
    assert joined.fits(7, 7)
