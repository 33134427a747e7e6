"""Item-kNN against a slow twin over dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import dense, uneven

from landbridge.data.queries import Queries
from landbridge.models.linear.item_knn import K1, LENGTH, ItemKNN


def twin(x_UJ: np.ndarray, method: ItemKNN, part: slice) -> np.ndarray:
    """Eq. (1) with all pairs, (J, I)."""
    counts_U, counts_J = (x_UJ > 0).sum(axis=1), (x_UJ > 0).sum(axis=0)
    if method.similarity == "none":
        x_UJ = x_UJ * (np.maximum(counts_U, 1) ** -method.user_exponent)[:, None]
    else:
        rarity_U1 = np.log1p(x_UJ.shape[1] / np.maximum(counts_U, 1))[:, None]
        if method.similarity == "bm25":
            length_J = 1 - LENGTH + LENGTH * counts_J / counts_J.mean()
            x_UJ = x_UJ * (K1 + 1) / (x_UJ + K1 * length_J)
        x_UJ = x_UJ * rarity_U1
    gram_JJ = x_UJ.T @ x_UJ
    square_J = np.where(np.diag(gram_JJ) > 0, np.diag(gram_JJ), 1)
    norm_JJ = square_J[:, None] ** method.source_exponent * square_J**method.target_exponent
    similar_JJ = (gram_JJ / (norm_JJ + method.shrinkage)) ** method.power
    outside = np.ones(len(gram_JJ), bool)
    outside[part] = False
    if method.sharing == "cross":
        similar_JJ[outside] *= method.cross_weight
    np.fill_diagonal(similar_JJ, 0)
    kept_JI = np.zeros_like(similar_JJ[:, part])
    for column, j in enumerate(range(part.start, part.stop)):
        best = np.argsort(-similar_JJ[:, j], kind="stable")[: method.neighbours]
        kept_JI[best, column] = similar_JJ[best, j]
    return kept_JI


@pytest.mark.parametrize("similarity", ["none", "tfidf", "bm25"])
@pytest.mark.parametrize("sharing", ["joined", "cross"])
@pytest.mark.parametrize(
    "others", [{}, {"power": 1.7, "target_exponent": 0.3, "neighbours": 7, "shrinkage": 0.0}]
)
def test_the_neighbours_are_those_of_all_pairs(
    similarity: str, sharing: str, others: dict[str, float]
) -> None:
    data = uneven()
    method = ItemKNN.from_settings(
        {"similarity": similarity, "sharing": sharing, "cross_weight": 0.4, **others}
    )
    fitted = method.fit(data)
    _, slices = data.joined()
    x_UJ = np.concatenate([dense(events) for events in data.domains.values()], axis=1)
    for target, part in slices.items():
        rows = [fitted.matrices[s][target].row(i) for s in data.domain_names for i in range(data[s].n_items)]
        np.testing.assert_allclose(np.array(rows), twin(x_UJ, method, part), atol=1e-6)


def test_a_domain_alone_is_a_table_of_its_own() -> None:
    data = uneven()
    alone = ItemKNN(sharing="separate").fit(data)
    only = ItemKNN(sharing="separate").fit(data.select(["b"]))
    users = Queries.of_users(np.arange(data.n_users))
    assert np.array_equal(alone.score("b", users), only.score("b", users))
    assert "b" not in alone.matrices["a"]
