"""The matrix X of an item–item model: users by items of one table, with values, by row and by column.

Letters: U users, J items, N events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.row_blocks import transposed, with_values
from landbridge.core.types import Float32, Float64, Int32, Int64, Ragged, blocks
from landbridge.data.interactions import Interactions
from landbridge.data.item_features import ItemFeatures
from landbridge.models.linear.event_values import EventValues

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Compressed = tuple[Int64, "np.ndarray[tuple[int], np.dtype[np.int32]]", Float32]


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """The features below a table: √w F, (J, V), G_jj of the whole, (J,), and the columns of a domain's
    items."""

    feature_JV: csr_array
    diagonal_J: Float64
    items: Mapping[str, Int32]


@dataclass(frozen=True, eq=False)
class UserItemTable:
    """``rows``: X by user, ``columns``: X by item, with equal values; ``items``: the columns of a
    domain's items, int32 (I,); where items are shared, those of several domains."""

    rows: Ragged
    columns: Ragged
    items: Mapping[str, Int32]

    @classmethod
    def of(
        cls, table: Interactions, items: Mapping[str, Int32], values: EventValues, user_exponent: float
    ) -> UserItemTable:
        """x_ui = value_ui · n_u^-a with the number n_u of events that the user has in the table."""
        scale_U = np.maximum(table.user_counts, 1).astype(np.float64) ** -user_exponent

        def value(part: Ragged, block: slice) -> Float32:
            scale_N = scale_U[block][part.entry_rows]
            return (values.of_weights(part).weights * scale_N).astype(np.float32)

        rows = with_values(table.by_user, value)
        return cls(rows, transposed(rows, table.n_items), items)

    def weighted(self, value: Callable[[Ragged, slice], Float32]) -> UserItemTable:
        """The same events with the values of each block of rows, and which rows these are."""
        rows = with_values(self.rows, value)
        return UserItemTable(rows, transposed(rows, len(self.columns)), self.items)

    def with_features(self, features: ItemFeatures, weight: float) -> UserItemTable:
        """The table with a row √w f_v beside those of the users for each feature v of its items."""
        from scipy.sparse import csr_array

        side_VJ = csr_array(features.matrix_of(self.items, self.n_items).T)
        side_VJ.sort_indices()
        value_N = (np.sqrt(weight) * side_VJ.data).astype(np.float32)
        offsets = np.append(self.rows.offsets, self.rows.offsets[-1] + side_VJ.indptr[1:].astype(np.int64))
        columns = np.append(self.rows.columns, side_VJ.indices.astype(np.int32))
        rows = Ragged(offsets, columns, np.append(self.rows.weights, value_N))
        return UserItemTable(rows, transposed(rows, self.n_items), self.items)

    @property
    def n_items(self) -> int:
        """J, over all domains of the table."""
        return len(self.columns)

    @property
    def n_users(self) -> int:
        """U, and the features where they are rows."""
        return len(self.rows)

    @property
    def by_user(self) -> Compressed:
        """Rows as compiled code takes them: offsets, items, values."""
        return self.rows.offsets, self.rows.columns, self.rows.weights

    @property
    def by_item(self) -> Compressed:
        """Columns as compiled code takes them: offsets, users, values."""
        return self.columns.offsets, self.columns.columns, self.columns.weights

    @cached_property
    def diagonal_J(self) -> Float64:
        """G_ii = Σ_u x_ui², (J,)."""
        diagonal_J = np.zeros(self.n_items)
        for block in blocks(len(self.rows.columns)):
            squares_B = np.square(self.rows.weights[block], dtype=np.float64)
            np.add.at(diagonal_J, self.rows.columns[block], squares_B)
        return diagonal_J
