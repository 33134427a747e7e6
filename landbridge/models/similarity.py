"""Item-item similarity: the cosine of embeddings or, without embeddings, of the sets of users.

    cos(i, j) = y_i · y_j / (‖y_i‖ ‖y_j‖)        cos(i, j) = |U_i ∩ U_j| / √(|U_i| |U_j|)              (1)

Shapes: I items of the other domain, F factors, N users of one item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.types import Float32, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.ranking.rerank import ItemVectors

if TYPE_CHECKING:
    from landbridge.models.base import Fitted


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


def item_vectors(fitted: Fitted, domains: tuple[str, ...]) -> ItemVectors:
    """What lists over these domains compare items by, one domain after the other: embeddings, where the model
    has them in one space, else the items' sets of users.

    Rows of an item–item matrix are not used: of two items that stand for each other, each row holds the other
    item alone, so that their cosine would be about 0.
    """
    history, first = fitted.history, domains[0]
    users = Ragged.from_rows([])
    if all(name == first or fitted.shares_user_space(first, name) for name in domains):
        pairs = [fitted.item_embeddings(first, name) for name in domains]
        embeddings = [pair[1] for pair in pairs if pair is not None]
        if len(embeddings) == len(domains):
            item_IF = np.concatenate(embeddings)
            norm_I1 = np.sqrt(np.einsum("if,if->i", item_IF, item_IF))[:, None]
            unit_IF = item_IF / np.where(norm_I1 > 0, norm_I1, 1)
            return ItemVectors(unit_IF.astype(np.float32, copy=False), users, 0)
    rows = [history[name].by_item for name in domains]
    lengths_I = np.concatenate([each.lengths for each in rows])
    offsets = np.concatenate([[0], np.cumsum(lengths_I)]).astype(np.int64)
    users = Ragged(offsets, np.concatenate([each.columns for each in rows]).astype(np.int32))
    return ItemVectors(np.zeros((len(users), 0), np.float32), users, history.n_users)
