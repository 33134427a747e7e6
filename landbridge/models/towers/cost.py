"""What steps on a batch of every domain cost (:mod:`landbridge.models.towers.joint_method`).

An epoch over N events has S steps (:mod:`landbridge.data.sampling.domain_batches`). With K negatives and rows
of F numbers it draws N K items, and passes over the rows of users, items and negatives, forward and backward,

    ``PASSES`` N (2 + K) F element-wise                                                                (1)

Of domain d a step has N_d / S events and steps the rows that it touches, users where they are common once:

    S T F numbers of Adam, T as in :mod:`landbridge.models.pairwise.cost`, Eq. (2)                      (2)

A dense layer of a × b weights takes 2 a b operations forward and twice that backward for each row.    (3)
Each step has ``CALLS`` operations of torch for a domain.                                              (4)
An epoch copies all rows with two moments three times.                                                 (5)

In memory are the rows with two moments, the same of the best epoch and of the present one, and the fitted
rows; the pairs of an epoch; and ``KEPT`` copies of the rows of a batch for the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from landbridge.data.counts import Counts, TableCounts
from landbridge.models.cost import FLOAT32, INT32, Work
from landbridge.models.pairwise.cost import touched_rows

PASSES, CALLS, COPIES, KEPT = 10, 60, 9, 6
STATE = 10  # copies of the rows in memory: three states of three, and the fitted ones


@dataclass(frozen=True)
class JointSteps:
    """The steps of a fit on data of such ``counts``."""

    counts: Counts
    factors: int
    batch_size: int
    negatives: int

    @property
    def number(self) -> float:
        """S."""
        most = max((table.events for table in self.counts.domains.values()), default=1.0)
        return max(min(-(-self.counts.events // self.batch_size), most), 1.0)

    def share(self, table: TableCounts) -> float:
        """The events of a domain in a step; a domain with fewer events than there are steps misses some."""
        return max(table.events / self.number, 1.0)

    def touched(self, table: TableCounts) -> float:
        """Rows of a domain that one step changes, T of Eq. (2)."""
        return touched_rows(table, self.share(table), self.negatives)

    def pairs(self) -> Work:
        """Eqs. (1) and (4), and the negatives."""
        events, domains = self.counts.events, len(self.counts.domains)
        return Work(
            draw=events * self.negatives,
            pointwise=PASSES * events * (2 + self.negatives) * self.factors,
            call=CALLS * self.number * domains,
        )

    def rows(self, rows: float, touched: float) -> Work:
        """Eqs. (2) and (5) for ``rows`` of which a step touches so many."""
        numbers = self.factors * rows
        return Work(
            adam=self.number * self.factors * min(touched, rows), stream=COPIES * 2 * FLOAT32 * numbers
        )

    def touched_in_all(self) -> float:
        """T over all domains, a user of several domains once."""
        tables = self.counts.domains.values()
        users = sum(float(table.users.drawn(self.share(table))) for table in tables)
        common = float(self.counts.joined.users.drawn(sum(self.share(table) for table in tables)))
        return sum(self.touched(table) for table in tables) - users + min(users, common)

    def memory(self, rows: float, width: float | None = None) -> float:
        """Bytes beside the data, of so many rows; ``width``: numbers that a pair keeps, F by default."""
        batch = min(float(self.batch_size), max(self.counts.events, 1.0))
        each = (2 + self.negatives) * (self.factors if width is None else width)
        return (
            FLOAT32 * (STATE * self.factors * rows + KEPT * batch * each)
            + 2 * INT32 * (2 + self.negatives) * self.counts.events
        )


def item_rows(counts: Counts) -> float:
    """The items of all domains."""
    return sum(table.n_items for table in counts.domains.values())


def domain_rows(counts: Counts) -> float:
    """The users and items of every domain, a user once for each."""
    return len(counts.domains) * counts.joined.n_users + item_rows(counts)


def common_users(counts: Counts) -> float:
    """Users with events in several domains; with more than two domains, at most so many."""
    filled = sum(table.users.filled for table in counts.domains.values())
    return max(min(filled - counts.joined.users.filled, counts.joined.users.filled), 0.0)


def dense_work(rows: float, widths: Sequence[float], passes: int = 3) -> Work:
    """Eq. (3) for layers of these widths; ``passes``: 3 with a backward pass, 1 without."""
    weights = sum(inner * outer for inner, outer in pairwise(widths))
    return Work(network=2.0 * passes * rows * weights, pointwise=passes * rows * sum(widths[1:]))
