"""What item–item models cost: co-occurrences, neighbours and regressions (:mod:`landbridge.models.linear`).

Letters: U users, J items of a table, I of a target domain, N neighbours, n_u and n_j the events of a user and
an item, M the events of the table. Counting the co-occurrences G_·j of all items j visits every pair of
events that share a user,

    Σ_u n_u² additions.                                                                               (1)

Item j has P_j of them: n_j users, each of n events with probability n · n_u / M. With the mean and the
variance that follow, P_j is taken as log-normal (``QUANTILES`` points). Were the pairs drawn by the items'
popularity n_i / M, they would touch different items, of which the N best are kept,

    T_j = E Σ_i 1 - (1 - n_i / M)^{P_j},   m_j = E min(N, Σ_i 1 - (1 - n_i / M)^{P_j}),               (2)

and a list of the m best changes m (1 + ln T/m) times, in log₂ m steps each.                           (3)

A local regression on m neighbours reads m (m + 1) / 2 numbers of the whole Gramian or, where that is not
kept, counts them from the neighbours' events, each of which meets those of the same user:

    m n̄ᵃ n̂^{1-a} events, and with the pairs ``MET`` m^¼ times as many,   a = 1 - m/T                   (4)

with n̄ = Σ n_i / I and n̂ = Σ n_i² / Σ n_i: the fewer of the touched items are kept, the less popular they
are. It costs m³/3 operations, and m² numbers of the system.                                           (5)

The exact form counts (1) and inverts with J³ operations; where domains have a ridge of their own, each target
domain corrects for its own I items, whose ridge is smaller, with

    I³/3 + 2 I³ + 2 J I² operations;                                                                  (6)

the dual form counts Σ_j n_j² pairs and inverts with U³ for every target domain, and for every target item
passes over n_j rows of U numbers and all M events.                                                    (7)
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from landbridge.core.types import Float64
from landbridge.data.counts import Counts, RowLengths, TableCounts
from landbridge.models.cost import FLOAT32, FLOAT64, INT32, Work

QUANTILES = 8  # of P_j
TURNED = 8  # numbers read or written at random places for each neighbour when lists become rows of sources
MET = 1.1  # 0.6 to 1.6, as rare items have rare neighbours: on four data sets, of 20 to 200 neighbours


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Eq. (2) by the length of the item's row, at the points of P_j, (K, Q) each: the items it touches, and
    how many it keeps."""

    rows: RowLengths
    touched_KQ: Float64
    kept_KQ: Float64

    def total(self, of_KQ: Float64) -> float:
        """Σ over the items."""
        return float(of_KQ.mean(axis=1) @ self.rows.rows_K)


def tables(counts: Counts, *, separate: bool) -> list[tuple[TableCounts, list[RowLengths]]]:
    """A table per domain or one of all, each with the items of its target domains."""
    if separate:
        return [(table, [table.items]) for table in counts.domains.values()]
    return [(counts.joined, [table.items for table in counts.domains.values()])]


def row_of_event(rows: RowLengths) -> float:
    """The length of the row of an event, in the mean: Σ n² / Σ n."""
    return rows.squares / max(rows.events, 1.0)


def neighbours(
    table: TableCounts, targets: RowLengths, most: float, pairs: float | None = None
) -> Neighbours:
    """Eq. (2) for the items ``targets`` of a table, which keep ``most`` neighbours. ``pairs``: of an event
    with others, in the mean; by default with all of its user's."""
    mean = row_of_event(table.users) if pairs is None else pairs
    cubes = table.users.total(lambda n_K: n_K**3) / max(table.events, 1.0)
    variance_K = max(cubes / max(mean, 1.0) ** 2 - 1, 0.0) / np.maximum(targets.length_K, 1.0)
    spread_K1 = np.sqrt(np.log1p(variance_K))[:, None]
    normal = NormalDist()
    point_Q = np.array([normal.inv_cdf((2 * q + 1) / (2 * QUANTILES)) for q in range(QUANTILES)])
    pairs_KQ = (targets.length_K * mean)[:, None] * np.exp(spread_K1 * point_Q - spread_K1**2 / 2)
    touched_KQ = table.items.drawn(pairs_KQ)
    return Neighbours(targets, touched_KQ, np.minimum(touched_KQ, most))


def listing_work(found: Neighbours) -> Work:
    """Eqs. (2) and (3), and the turning of the lists into rows of sources, two passes over them."""
    kept_KQ = np.maximum(found.kept_KQ, 1.0)
    times_KQ = 1 + np.log(np.maximum(found.touched_KQ / kept_KQ, 1.0))
    return Work(
        offer=found.total(found.touched_KQ + kept_KQ * times_KQ * np.log2(kept_KQ + 1)),
        list=found.rows.filled,
        lookup=TURNED * found.total(found.kept_KQ),
    )


def regression_work(table: TableCounts, found: Neighbours, whole: bool) -> Work:
    """Eqs. (4) and (5); ``whole``: whether the whole Gramian is kept."""
    kept_KQ = found.kept_KQ
    rare_KQ = 1 - kept_KQ / np.maximum(found.touched_KQ, 1.0)
    mean = table.items.events / max(table.items.filled, 1.0)
    events_KQ = kept_KQ * mean**rare_KQ * row_of_event(table.items) ** (1 - rare_KQ)
    return Work(
        lookup=found.total(kept_KQ * (kept_KQ + 1) / 2) if whole else 0.0,
        meet=0.0 if whole else found.total(MET * kept_KQ**0.25 * events_KQ),  # Eq. (4)
        cholesky=found.total(kept_KQ**3 / 3),
        triangle=found.total(kept_KQ**2),  # Eq. (5)
    )


def exact_work(table: TableCounts, targets: list[float], differs: bool) -> Work:
    """Eqs. (1) and (6); ``differs``: whether the items of a target domain have a ridge of their own."""
    items = table.n_items
    corrected = sum(7 / 3 * own**3 + 2 * items * own**2 for own in targets) if differs else 0.0
    return Work(
        scatter=table.users.squares,
        factorisation=items**3 + corrected,
        stream=FLOAT64 * 8 * items**2 + FLOAT64 * 6 * items * sum(targets),
    )


def dual_work(table: TableCounts, targets: list[float]) -> Work:
    """Eq. (7)."""
    users = table.n_users
    each = Work(scatter=table.items.squares, factorisation=users**3, stream=FLOAT64 * 6 * users**2)
    items = sum(targets)
    passes = Work(
        stream=FLOAT64 * table.events / max(table.n_items, 1.0) * items * users,
        lookup=items * table.events,
    )
    return each * len(targets) + passes


def table_bytes(table: TableCounts) -> float:
    """The events by user and by item with their values, and the order by which they are sorted."""
    return (2 * (INT32 + FLOAT32) + 2 * FLOAT64) * table.events + FLOAT64 * (table.n_users + table.n_items)


def list_bytes(found: Neighbours, most: float) -> float:
    """The padded lists of the items, and the matrix that is made of them."""
    return (INT32 + FLOAT32) * (most * found.rows.n_rows + found.total(found.kept_KQ))


def matrix_bytes(found: Neighbours, sources: float) -> float:
    """The matrix alone."""
    return (INT32 + FLOAT32) * found.total(found.kept_KQ) + FLOAT64 * sources
