"""What a fit costs: operations by kind and bytes, which a method derives from counts and settings.

A kind of operation is work whose speed is the same wherever it occurs, such as the multiply-adds of large
matrix products, or single additions at random places. How long one takes is a constant of the machine
(:mod:`landbridge.planning.machine`), so that

    seconds = Σ_k amount_k · seconds per unit_k                                                       (1)

and a method that says its amounts needs to know no machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

FLOAT32, FLOAT64, INT32 = 4, 8, 4  # bytes


@dataclass(frozen=True)
class Work:
    """Amounts of every kind of operation, or the seconds of one of each."""

    product: float = 0.0  # operations of large float32 matrix products
    factorisation: float = 0.0  # operations of large float64 factorisations, inverses and products
    eigen: float = 0.0  # F³ of small symmetric eigenproblems in float64
    tile: float = 0.0  # operations of products between rows that stay in the cache
    cholesky: float = 0.0  # operations, n³/3, of small float32 factorisations
    triangle: float = 0.0  # numbers, n², of a small system that is filled, factorised and solved
    vector: float = 0.0  # numbers of rows of a table, each multiplied and added
    step: float = 0.0  # the same of rows that were read before, four at once
    find: float = 0.0  # rows of a table found at random places
    adam: float = 0.0  # numbers of a step of Adam
    normal: float = 0.0  # normal random numbers
    stream: float = 0.0  # bytes read or written in order
    scatter: float = 0.0  # additions at random places of a row of numbers
    lookup: float = 0.0  # numbers read at random places of a table larger than the cache
    meet: float = 0.0  # events of neighbours put in a local Gramian, and pairs of a user's that meet there
    power: float = 0.0  # powers of numbers
    offer: float = 0.0  # numbers that are met, offered to a list of the largest, and cleared
    list: float = 0.0  # lists of the largest begun and put in order
    sort: float = 0.0  # events sorted by user or item
    draw: float = 0.0  # negative items drawn
    row: float = 0.0  # rows for which a compiled loop is begun
    network: float = 0.0  # operations of dense layers in torch
    pointwise: float = 0.0  # numbers through an element-wise operation of torch
    exponential: float = 0.0  # scores of a softmax: biased, exponentiated, summed
    call: float = 0.0  # operations of torch, however small

    def __add__(self, other: Work) -> Work:
        return Work(*(mine + yours for mine, yours in zip(self.amounts(), other.amounts(), strict=True)))

    def __mul__(self, times: float) -> Work:
        return Work(*(times * amount for amount in self.amounts()))

    def amounts(self) -> tuple[float, ...]:
        """All amounts, in the order of the kinds."""
        return tuple(getattr(self, entry.name) for entry in fields(self))

    def seconds(self, unit: Work) -> float:
        """Eq. (1); ``unit``: seconds of one operation of each kind."""
        return sum(amount * each for amount, each in zip(self.amounts(), unit.amounts(), strict=True))


def total(works: Iterable[Work]) -> Work:
    """Their sum."""
    return sum(works, Work())


@dataclass(frozen=True)
class Division:
    """How an epoch, or a fit without epochs, divides among nodes.

    ``parts``: works that stay together, such as domains; none where all divides evenly. ``repeated``: work
    that every node does again. ``whole``: bytes that every node holds, however many there are; ``moved``:
    bytes that come to one node from all others, and go back to them.
    """

    parts: tuple[Work, ...] = ()
    repeated: Work = Work()
    whole: float = 0.0
    moved: float = 0.0

    def share(self, nodes: int, unit: Work) -> float:
        """The share of the busiest of so many nodes, where the longest parts are given out first."""
        if not self.parts:
            return 1 / nodes
        load_N = [0.0] * nodes
        for seconds in sorted((part.seconds(unit) for part in self.parts), reverse=True):
            load_N[load_N.index(min(load_N))] += seconds
        return max(load_N) / (sum(load_N) or 1.0)


@dataclass(frozen=True)
class Cost:
    """What a fit costs. ``once``: its work before the first epoch and after the last; ``epoch``: that of one
    of ``epochs``. ``peak``: bytes beside the data while it runs; ``model``: bytes of the fitted arrays.
    ``torch``: whether it needs torch, whose libraries take memory of their own; ``division``: how it divides
    among nodes, None where one node does it all."""

    once: Work
    epoch: Work
    epochs: int
    peak: float
    model: float
    torch: bool = False
    division: Division | None = None

    @property
    def work(self) -> Work:
        """That of the whole fit."""
        return self.once + self.epoch * self.epochs
