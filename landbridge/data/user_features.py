"""User features: what a shop knows of its users (age group, region, plan), as one sparse matrix.

Row u of G is a user, column v a feature, such as "region = north". Users without events may have features:
methods that use them score such users by what they say. Letters: U users, V features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.types import AnyArray, Int32, Ragged
from landbridge.data.item_features import as_matrix, check_rows, check_vocabulary, update_texts

if TYPE_CHECKING:
    import hashlib

    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class UserFeatures:
    """``columns_V``, ``values_V``: the column of the table that a feature is of, and its value, as text.
    ``rows``: G, (U, V); a user without a row in the table has an empty one."""

    columns_V: AnyArray
    values_V: AnyArray
    rows: Ragged

    def __post_init__(self) -> None:
        check_vocabulary(self.columns_V, self.values_V)
        check_rows(self.n_features, self.rows, "user features")

    @property
    def n_features(self) -> int:
        """V."""
        return len(self.columns_V)

    def matrix(self) -> csr_array:
        """G, float64 (U, V)."""
        return as_matrix(self.rows, self.n_features)

    def take(self, user_U: Int32) -> UserFeatures:
        """Of the users with these numbers, in their order; -1: a user without features."""
        return replace(self, rows=self.rows.take(user_U))

    def update(self, digest: hashlib._Hash) -> None:
        """Add everything to a digest."""
        update_texts(digest, b"user features", self.columns_V, self.values_V)
        for array in (self.rows.offsets, self.rows.columns, self.rows.weights):
            digest.update(np.ascontiguousarray(array).tobytes())
