"""Item features: what a shop knows of its items (category, brand, price, words), as sparse matrices.

Row i of F is an item, column v a feature, such as "brand = acme"; features are shared by all domains. Items
without events may have features: they are **new**, and methods that use features can list them.
Letters: I items, V features, N entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.types import AnyArray, Bool, Float32, Float64, Int32, Ragged
from landbridge.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import hashlib

    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """``columns_V``, ``values_V``: the column of the table that a feature is of, and its value, as text.
    ``rows``: domain -> F, (I, V); an item without a row in the table has an empty one. ``weight_V`` and
    ``bounds`` say how rows of a later table are read (:mod:`landbridge.data.io.feature_table`): what a
    feature weighs before a row has norm 1, None where that is unknown, and column -> the bounds of its bins.
    """

    columns_V: AnyArray
    values_V: AnyArray
    rows: Mapping[str, Ragged]
    weight_V: Float32 | None = None
    bounds: Mapping[str, Float64] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_vocabulary(self.columns_V, self.values_V)
        if self.weight_V is not None and self.weight_V.shape != self.columns_V.shape:
            raise DataError("Every feature needs a weight, or none has one.")
        for name, rows in self.rows.items():
            check_rows(self.n_features, rows, f"item features of domain {name!r}")
        object.__setattr__(self, "rows", MappingProxyType(dict(self.rows)))

    @property
    def n_features(self) -> int:
        """V."""
        return len(self.columns_V)

    def matrix(self, domain: str) -> csr_array:
        """F of a domain, float64 (I, V)."""
        return as_matrix(self.rows[domain], self.n_features)

    def matrix_of(self, item_J: Mapping[str, Int32], n_columns: int) -> csr_array:
        """F of a table of events, float64 (J, V): ``item_J`` says where a domain's items are in it. Items of
        one place, as of one product, have the mean of their rows."""
        from scipy.sparse import coo_array, csr_array, diags_array

        total = csr_array((n_columns, self.n_features))
        count_J = np.zeros(n_columns)
        for name, place_I in item_J.items():
            own = self.matrix(name).tocoo()
            row_N, column_N = own.coords
            total = total + coo_array((own.data, (place_I[row_N], column_N)), total.shape).tocsr()
            count_J[place_I[self.rows[name].lengths > 0]] += 1
        return csr_array(diags_array(1 / np.maximum(count_J, 1)) @ total)

    def label(self, feature: int) -> str:
        """A feature in words: ``brand = acme``."""
        return f"{self.columns_V[feature]} = {self.values_V[feature]}"

    def select(self, names: Iterable[str]) -> ItemFeatures:
        """Of the named domains, in this order."""
        return replace(self, rows={name: self.rows[name] for name in names})

    def take(self, mask_I: Mapping[str, Bool]) -> ItemFeatures:
        """Of the items where the domain's mask is true."""
        return replace(
            self, rows={name: rows.take(np.flatnonzero(mask_I[name])) for name, rows in self.rows.items()}
        )

    def grown(self, before: Mapping[str, Vocabulary], items: Mapping[str, Vocabulary]) -> ItemFeatures:
        """Of ``items``, in their order; those that are not in ``before`` have no features."""
        return replace(
            self,
            rows={name: own.take(before[name].index(items[name].ids)) for name, own in self.rows.items()},
        )

    def update(self, digest: hashlib._Hash) -> None:
        """Add everything to a digest."""
        update_texts(digest, b"features", self.columns_V, self.values_V)
        for rows in self.rows.values():
            for array in (rows.offsets, rows.columns, rows.weights):
                digest.update(np.ascontiguousarray(array).tobytes())


def check_vocabulary(columns_V: AnyArray, values_V: AnyArray) -> None:
    """DataError where a feature has no column or no value."""
    if columns_V.shape != values_V.shape:
        raise DataError("Every feature needs a column and a value.")


def check_rows(n_features: int, rows: Ragged, what: str) -> None:
    """DataError where rows of features do not fit their vocabulary, as of a damaged or forged file."""
    entries, n_entries = rows.columns, rows.offsets[-1]
    sound = rows.offsets[0] == 0 and (rows.lengths >= 0).all() and n_entries == len(entries)
    # compiled code indexes with these numbers and checks no bounds
    inside = not len(entries) or (entries.min() >= 0 and entries.max() < n_features)
    if not (sound and inside and rows.weights.shape == entries.shape):
        raise DataError(f"The {what} do not fit their vocabulary.")
    if not np.isfinite(rows.weights).all():
        raise DataError(f"The {what} are not all numbers.")


def update_texts(digest: hashlib._Hash, kind: bytes, *texts: AnyArray) -> None:
    """Add the columns and values of features to a digest."""
    for texts_V in texts:
        digest.update(kind + "\x00".join(texts_V.tolist()).encode())


def unit_rows(rows: Ragged) -> Ragged:
    """The rows with norm 1; those that are zero stay so."""
    square_R = np.bincount(rows.entry_rows, np.square(rows.weights, dtype=np.float64), minlength=len(rows))
    root_R = np.sqrt(np.where(square_R > 0, square_R, 1))
    weight_N: Float32 = (rows.weights / root_R[rows.entry_rows]).astype(np.float32)
    return Ragged(rows.offsets, rows.columns, weight_N)


def as_matrix(rows: Ragged, n_columns: int) -> Any:
    """Rows as a sparse float64 matrix."""
    from scipy.sparse import csr_array

    weight_N = rows.weights.astype(np.float64)
    return csr_array((weight_N, rows.columns, rows.offsets), shape=(len(rows), n_columns))
