"""What an epoch of pairwise training costs (:mod:`landbridge.models.pairwise.table`).

For N pairs in batches of B on U users and I items, R = U + I rows of F factors. A pair is drawn, grouped, and
its differences, scores and gradients pass ``PASSES`` times over F numbers of its three rows:

    N (draw + PASSES · F numbers)                                                                     (1)

A batch steps every row that it touches once. With n_r of the N events in row r, and negatives that are
uniform over the items,

    T = Σ_u 1 - (1 - n_u/N)^B + Σ_i 1 - ((1 - n_i/N) (1 - 1/I))^B,   T F numbers of Adam               (2)

An epoch begins with copies of the table and its two moments, and ends with a test of the table: 8 passes over
R F numbers.                                                                                          (3)

On a graph a batch propagates X forward and the gradient backward, K layers each, and steps all rows:

    2 (K (2 N F numbers gathered + 3 R F in order) + 2 R F in order) + R F of Adam                      (4)

Letters: N pairs, B pairs of a batch, R rows, F factors, K layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from landbridge.data.counts import TableCounts
from landbridge.models.cost import FLOAT32, FLOAT64, INT32, Work

PASSES = 9  # x_i - x_j, its product with x_u, the gradient of x_u, and those of x_i and x_j


def touched_rows(table: TableCounts, batch: float, negatives: int = 1) -> float:
    """T of Eq. (2), with ``negatives`` for each event."""
    items = table.items
    other = (1 - 1 / max(items.n_rows, 2.0)) ** negatives
    share_K = np.minimum(items.length_K / max(items.events, 1.0), 1 - 1e-12)
    missed_K = np.exp(batch * (np.log1p(-share_K) + np.log(other)))
    without = items.n_rows - items.filled
    return float(
        float(table.users.drawn(batch)) + float((1 - missed_K) @ items.rows_K) + without * (1 - other**batch)
    )


def epoch_work(table: TableCounts, factors: int, batch_size: int, layers: int) -> Work:
    """Eqs. (1) to (3), and (4) with a graph."""
    events, numbers = table.events, factors * (table.n_users + table.n_items)
    batch = min(float(batch_size), max(events, 1.0))
    batches = float(np.ceil(events / batch))
    touched = touched_rows(table, batch) * events / batch
    pairs = Work(
        draw=events,
        find=3 * events,
        vector=PASSES * factors * events + 2 * factors * touched,
        stream=8 * FLOAT32 * numbers,
    )
    if not layers:
        return pairs + Work(adam=factors * touched)
    propagated = propagation_work(table, factors, layers) * (2 * batches)
    return pairs + propagated + Work(adam=batches * numbers, stream=2 * FLOAT32 * batches * numbers)


def propagation_work(table: TableCounts, factors: int, layers: int) -> Work:
    """One direction of Eq. (4)."""
    if not layers:
        return Work()
    numbers = factors * (table.n_users + table.n_items)
    return Work(
        step=layers * 2 * table.events * factors,
        stream=FLOAT32 * numbers * (3 * layers + 2),
    )


def graph_bytes(tables: Sequence[TableCounts], factors: int) -> float:
    """The edges of all tables, and of one table at a time the propagated rows and the gradients."""
    edges = sum(2 * INT32 * table.events + FLOAT64 * (table.n_users + table.n_items) for table in tables)
    rows = max(table.n_users + table.n_items for table in tables)
    return edges + 3 * FLOAT32 * factors * rows
