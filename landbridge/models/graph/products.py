"""Products of a constant sparse matrix with a table of rows, forward and backward; imports torch.

y = M x,   ∂L/∂x = Mᵀ ∂L/∂y                                                                        (1)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from scipy.sparse import csr_array
from torch import Tensor

Times = Callable[[Tensor], Tensor]


class SparseMatrix:
    """A matrix (R, C) and its transpose, on the device that its products run on."""

    def __init__(self, matrix: csr_array, where: torch.device | str) -> None:
        placed = _on_cpu if torch.device(where).type == "cpu" else partial(on_device, where=where)
        self.forward, self.backward = placed(matrix), placed(matrix.T.tocsr())

    def __matmul__(self, rows_CF: Tensor) -> Tensor:
        """M x, (R, F)."""
        result: Tensor = _Product.apply(self, rows_CF)  # type: ignore[no-untyped-call]
        return result


class _Product(torch.autograd.Function):
    """Eq. (1). torch's own sparse product would compute the transpose anew at every step."""

    @staticmethod
    def forward(ctx: Any, matrix: SparseMatrix, rows_CF: Tensor) -> Tensor:
        ctx.matrix = matrix
        return matrix.forward(rows_CF)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, ctx.matrix.backward(gradients[0])


def on_device(matrix: csr_array, where: torch.device | str) -> Times:
    """The product as torch computes it on any device."""
    coo = matrix.tocoo()
    index_2N = torch.stack([torch.from_numpy(axis).long() for axis in (coo.row, coo.col)])
    value_N = torch.from_numpy(coo.data)
    # checked once here: torch warns where nothing is said
    placed = torch.sparse_coo_tensor(index_2N, value_N, coo.shape, check_invariants=True).coalesce()
    return partial(torch.sparse.mm, placed.to(where))


def _on_cpu(matrix: csr_array) -> Times:
    """SciPy's product: in one thread, the same bits every time, and quicker there than torch's."""
    return lambda rows_CF: torch.from_numpy(matrix @ rows_CF.detach().numpy())
