"""The matrix X of an item–item model: users by items of one table, with values, by row and by column.

Letters: U users, J items, N events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.types import Float32, Float64, Int32, Int64, Ragged
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
        rows = values.of_weights(table.by_user)
        scale_U = np.maximum(rows.lengths, 1).astype(np.float64) ** -user_exponent
        value_N = (rows.weights * scale_U[rows.entry_rows]).astype(np.float32)
        rows = Ragged(rows.offsets, rows.columns, value_N)
        return cls(rows, Ragged.from_index(rows.columns, table.user_idx, table.n_items, value_N), items)

    def weighted(self, weight_N: Float32) -> UserItemTable:
        """The same events with other values, (N,) in the order of ``rows``."""
        rows = Ragged(self.rows.offsets, self.rows.columns, weight_N)
        columns = Ragged.from_index(rows.columns, rows.entry_rows, len(self.columns), weight_N)
        return UserItemTable(rows, columns, self.items)

    def with_features(self, features: ItemFeatures, weight: float) -> UserItemTable:
        """The table with a row √w f_v beside those of the users for each feature v of its items."""
        from scipy.sparse import csr_array

        side_VJ = csr_array(features.matrix_of(self.items, self.n_items).T)
        side_VJ.sort_indices()
        value_N = (np.sqrt(weight) * side_VJ.data).astype(np.float32)
        offsets = np.append(self.rows.offsets, self.rows.offsets[-1] + side_VJ.indptr[1:].astype(np.int64))
        columns = np.append(self.rows.columns, side_VJ.indices.astype(np.int32))
        whole = UserItemTable(Ragged(offsets, columns), self.columns, self.items)
        return whole.weighted(np.append(self.rows.weights, value_N))

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
        squares_N = np.square(self.rows.weights, dtype=np.float64)
        return np.bincount(self.rows.columns, squares_N, minlength=self.n_items).astype(np.float64)
