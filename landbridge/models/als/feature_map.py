"""Embeddings from item features: a linear map that is learned with the factorisation.

With the features f_i of item i, a row of F, an item's embedding is y_i = Aᵀf_i + e_i. The objective of
:mod:`landbridge.models.als.ials` has, in place of its penalty Σ λ_i ‖y_i‖² of the items,

    Σ_i λ_i ‖y_i - Aᵀf_i‖² + κ ‖A‖²,   κ = feature_reg · mean λ_i                                     (1)

over the items with events, so that an item with few events stays near what its features say. At a fixed map
the items are the usual half step with the pull λ_i Aᵀf_i. At fixed items the map is a ridge regression,

    (FᵀΛF + κI) A = FᵀΛY                                                                               (2)

by a few steps of conjugate gradients from the last map, preconditioned by the diagonal. An item without
events is new; it has

    y_i = Aᵀf_i                                                                                        (3)

and takes no part in (1), nor in the users' half step: that no user has it says nothing. feature_reg counts
in items: a feature of so many items is halfway between none and what they say.
Features of users are the same problem with users in the place of items: x_u = Bᵀg_u + e_u, the pull λ_u Bᵀg_u
in their half step, and x_u = Bᵀg_u for a user without events.
Letters: J items, or users, of all tables under one map, V features, F factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.types import Bool, Float32, Float64
from landbridge.data.dataset import MultiDomain

if TYPE_CHECKING:
    from scipy.sparse import csr_array

OFF = 1e9  # from here on there is no map
USER_FEATURE_REG = "Penalty of the map from user features to embeddings, in users of a feature; 1e9: no map."
FEATURE_REG = "Penalty of the map from item features to embeddings, in items of a feature; 1e9: no map."
TOLERANCE = 1e-3  # of the residual of Eq. (2), relative to the right-hand side
STEPS = 10  # of one half step: the next one goes on where it ends
FIRST_STEPS = 100  # from no map to one that fits given items


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """``features_JV``: F, zero for items without events; ``ridge_J``: λ_i; ``reg``: κ."""

    features_JV: csr_array
    ridge_J: Float32
    reg: float

    @classmethod
    def of(cls, features_JV: csr_array, learned_J: Bool, ridge_J: Float32, feature_reg: float) -> FeatureMap:
        """``learned_J``: which items have events."""
        from scipy.sparse import csr_array, diags_array

        mean = float(ridge_J[learned_J].mean(dtype=np.float64)) if learned_J.any() else 1.0
        learned_JV = csr_array(diags_array(learned_J.astype(np.float32)) @ features_JV.astype(np.float32))
        return cls(learned_JV, ridge_J, feature_reg * mean)

    @property
    def n_features(self) -> int:
        """V."""
        return int(self.features_JV.shape[1])

    def pull(self, map_VF: Float32) -> Float32:
        """λ_i Aᵀf_i of every item, (J, F)."""
        return np.asarray(self.ridge_J[:, None] * (self.features_JV @ map_VF), np.float32)

    def fit(self, item_JF: Float32, start_VF: Float32, steps: int = STEPS) -> Float32:
        """The map of Eq. (2), (V, F), by at most so many steps from another."""
        map_VF = start_VF
        right_VF = self._weighted_VJ @ item_JF
        residual_VF = right_VF - self._system(map_VF)
        scaled_VF = residual_VF / self._diagonal_V1
        step_VF, size_F = scaled_VF, _dot(residual_VF, scaled_VF)
        enough_F = TOLERANCE**2 * _dot(right_VF, right_VF / self._diagonal_V1)
        for _ in range(steps):
            if (size_F <= enough_F).all():
                break
            ahead_VF = self._system(step_VF)
            length_F = _ratio(size_F, _dot(step_VF, ahead_VF))
            map_VF = map_VF + length_F * step_VF
            residual_VF = residual_VF - length_F * ahead_VF
            scaled_VF = residual_VF / self._diagonal_V1
            new_F = _dot(residual_VF, scaled_VF)
            step_VF, size_F = scaled_VF + _ratio(new_F, size_F) * step_VF, new_F
        return np.asarray(map_VF, np.float32)

    def _system(self, a_VF: Float32) -> Float32:
        """The left-hand side of Eq. (2)."""
        return np.asarray(self._weighted_VJ @ (self.features_JV @ a_VF) + np.float32(self.reg) * a_VF)

    @cached_property
    def _weighted_VJ(self) -> csr_array:
        """FᵀΛ."""
        from scipy.sparse import diags_array

        return (diags_array(self.ridge_J) @ self.features_JV).T.tocsr()

    @cached_property
    def _diagonal_V1(self) -> Float32:
        square_V = self._weighted_VJ.multiply(self.features_JV.T).sum(axis=1)
        return np.asarray(square_V + self.reg, np.float32)[:, None]


def mapped_items(data: MultiDomain, products: bool) -> dict[str, Bool]:
    """The items that have the embedding of their features, Eq. (3), domain -> (I,): new ones, and where
    ``products`` have the embeddings, only those of which no domain has events."""
    new_I = {name: data.new_items(name) for name in data.domain_names}
    if not products or data.products is None:
        return new_I
    count_P = np.zeros(data.products.n_products, np.int64)
    for name, product_I in data.products.product_I.items():
        count_P[product_I] += data[name].item_counts
    return {name: new & (count_P[data.products.product_I[name]] == 0) for name, new in new_I.items()}


def with_mapped(
    data: MultiDomain, item_IF: Mapping[str, Float32], map_VF: Mapping[str, Float32], products: bool
) -> dict[str, Float32]:
    """The embeddings with those of new items, Eq. (3); ``map_VF``: domain -> its map."""
    assert data.item_features is not None
    result = {}
    for name, mapped_I in mapped_items(data, products).items():
        rows_IF = item_IF[name].copy()
        rows_IF[mapped_I] = (data.item_features.matrix(name)[mapped_I] @ map_VF[name]).astype(np.float32)
        result[name] = rows_IF
    return result


def with_mapped_users(data: MultiDomain, domain: str | None, user_UF: Float32, map_VF: Float32) -> Float32:
    """The embeddings with those of users without events in a domain, or in any, Eq. (3)."""
    assert data.user_features is not None
    without_U = ~(data.activity_UD.any(axis=1) if domain is None else data[domain].user_counts > 0)
    mapped_U = data.described_U & without_U
    rows_UF = user_UF.copy()
    rows_UF[mapped_U] = (data.user_features.matrix()[mapped_U] @ map_VF).astype(np.float32)
    return rows_UF


def without_mapped(item_IF: Float32, mapped_I: Bool) -> Float32:
    """The embeddings with 0 for new items, as the users' half step sees them."""
    return np.where(mapped_I[:, None], np.float32(0), item_IF)


def stacked(data: MultiDomain) -> csr_array:
    """F of the items of all domains, one after the other."""
    from scipy.sparse import csr_array, vstack

    assert data.item_features is not None
    return csr_array(vstack([data.item_features.matrix(name) for name in data.domain_names]))


def _dot(one_VF: Float32, two_VF: Float32) -> Float64:
    # float64: sums over many features
    return np.asarray((one_VF * two_VF).sum(axis=0, dtype=np.float64))


def _ratio(one_F: Float64, two_F: Float64) -> Float32:
    """0 where a column is solved exactly."""
    return np.divide(one_F, two_F, out=np.zeros_like(one_F), where=two_F > 0).astype(np.float32)
