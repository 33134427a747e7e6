"""Raw id columns as dense integer codes, before domains are separated and users linked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Int32, Seconds
from landbridge.data.interactions import Interactions
from landbridge.data.kinds import EventKinds
from landbridge.data.seen import UNTIMED, Rows, Seen, divided_or_learned
from landbridge.data.vocabulary import IdArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class EncodedColumn:
    """An id column as sorted unique ``ids`` (V,) and int32 ``idx`` (N,) into them."""

    ids: pl.Series
    idx: Int32

    @classmethod
    def of(cls, column: pl.Series) -> EncodedColumn:
        """Encode a column of ids."""
        ids = column.unique().sort()
        return cls(ids, encode(column, ids))

    def take(self, mask_N: npt.NDArray[np.bool_]) -> EncodedColumn:
        """The entries where the mask is true, without the ids that no longer occur."""
        idx = self.idx[mask_N]
        used = np.bincount(idx, minlength=len(self.ids)) > 0
        new_idx = np.cumsum(used, dtype=np.int32) - np.int32(1)
        return EncodedColumn(self.ids.filter(_series(used)), new_idx[idx])


@dataclass(frozen=True, eq=False)
class Events:
    """The events of one table: coded users and items, and the optional columns (N,).

    ``where`` they come from in words. ``standing``: None where all are learned from; ``kinds`` as bits.
    """

    user: EncodedColumn
    item: EncodedColumn
    time: Seconds | None
    weight: npt.NDArray[np.float32] | None
    title: pl.Series | None
    where: str = ""
    standing: npt.NDArray[np.int8] | None = None
    kinds: npt.NDArray[np.int64] | None = None

    def take(self, mask_N: npt.NDArray[np.bool_]) -> Events:
        """The events where the mask is true."""
        return Events(
            self.user.take(mask_N),
            self.item.take(mask_N),
            None if self.time is None else self.time[mask_N],
            None if self.weight is None else self.weight[mask_N],
            None if self.title is None else self.title.filter(_series(mask_N)),
            self.where,
            None if self.standing is None else self.standing[mask_N],
            None if self.kinds is None else self.kinds[mask_N],
        )

    @property
    def titled(self) -> pl.DataFrame | None:
        """Item and title of each event; None without titles."""
        import polars as pl

        if self.title is None:
            return None
        return pl.DataFrame({"item": self.item.ids.gather(self.item.idx), "title": self.title})

    @property
    def is_timed(self) -> bool:
        """Whether the events have times."""
        return self.time is not None

    @property
    def has_kinds(self) -> bool:
        """Whether the events have kinds."""
        return self.kinds is not None

    @property
    def latest(self) -> float:
        """The latest time; -inf without times."""
        time_N = self.time
        return -np.inf if time_N is None else float(time_N[time_N < UNTIMED].max(initial=-UNTIMED))

    def faded(self, kinds: EventKinds, latest: float) -> Self:
        """The events with weights by their age at the time ``latest``."""
        assert self.time is not None
        return replace(self, weight=kinds.aged(self.weight, self.time, latest))

    def divided(self, place_V: Int32, n_users: int, rule: str) -> tuple[Interactions, Seen | None]:
        """What is learned from, and what is only known; None where all are learned from.

        ``place_V``: the dense index of each id of ``user``; ``rule``: of repeated pairs.
        """
        rows = Rows(place_V[self.user.idx], self.item.idx, self.standing, self.weight, self.time, self.kinds)
        return divided_or_learned(rows, n_users, len(self.item.ids), rule)


def encode(column: pl.Series, ids: pl.Series) -> Int32:
    """The index of each id in ``ids``, which holds them all; by hashing, since sorting text is slow."""
    import polars as pl

    if column.dtype == pl.String:
        # the physical value of an Enum is the position among its categories
        return column.cast(pl.Enum(ids)).to_physical().to_numpy().astype(np.int32)
    numbered = ids.alias("id").to_frame().with_row_index("place")
    joined = column.alias("id").to_frame().join(numbered, on="id", how="left", maintain_order="left")
    return joined["place"].to_numpy().astype(np.int32)


def id_array(column: pl.Series) -> IdArray:
    """A String column as NumPy's StringDType, a whole-number column as int64."""
    array: IdArray = column.to_numpy()
    return array.astype(np.int64 if column.dtype.is_integer() else np.dtypes.StringDType())


def _series(mask_N: npt.NDArray[np.bool_]) -> pl.Series:
    import polars as pl

    return pl.Series(mask_N)
