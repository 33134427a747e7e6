"""Item-item similarity: the cosine of embeddings or, without embeddings, of the sets of users.

    cos(i, j) = y_i · y_j / (‖y_i‖ ‖y_j‖)        cos(i, j) = |U_i ∩ U_j| / √(|U_i| |U_j|)              (1)

Shapes: I items of the other domain, F factors, N users of one item.
"""

from __future__ import annotations

import numpy as np

from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain


def embedding_cosines(item_F: Float32, item_IF: Float32) -> Float32:
    """Eq. (1), left: one item against all, (I,); 0 for an item without length."""
    norm_I = np.sqrt(np.einsum("if,if->i", item_IF, item_IF) * (item_F @ item_F))
    return np.asarray(item_IF @ item_F / np.where(norm_I > 0, norm_I, 1))  # Eq. (1)


def co_occurrence_cosines(history: MultiDomain, domain: str, item: int, to: str) -> Float32:
    """Eq. (1), right: one item of ``domain`` against all of ``to``, (I,); 0 for items without users."""
    user_N = history[domain].by_item.take([item]).columns
    both_I = np.bincount(history[to].by_user.take(user_N).columns, minlength=history[to].n_items)
    size_I = history[to].item_counts * len(user_N)
    return (both_I / np.sqrt(np.maximum(size_I, 1))).astype(np.float32)  # Eq. (1)
