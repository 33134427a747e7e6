"""Products of a constant sparse matrix with a table of rows, forward and backward; imports torch.

y = M x,   ∂L/∂x = Mᵀ ∂L/∂y                                                                        (1)
"""

from __future__ import annotations

from typing import Any

import torch
from scipy.sparse import csr_array
from torch import Tensor


class SparseMatrix:
    """A matrix (R, C) and its transpose, on the device that its products run on."""

    def __init__(self, matrix: csr_array, where: torch.device | str) -> None:
        self.forward = _placed(matrix, where)
        self.backward = _placed(matrix.T.tocsr(), where)

    def __matmul__(self, rows_CF: Tensor) -> Tensor:
        """M x, (R, F)."""
        result: Tensor = _Product.apply(self, rows_CF)  # type: ignore[no-untyped-call]
        return result


class _Product(torch.autograd.Function):
    """Eq. (1). torch's own sparse product would compute the transpose anew at every step."""

    @staticmethod
    def forward(ctx: Any, matrix: SparseMatrix, rows_CF: Tensor) -> Tensor:
        ctx.matrix = matrix
        return _times(matrix.forward, rows_CF)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, _times(ctx.matrix.backward, gradients[0])


def _placed(matrix: csr_array, where: torch.device | str) -> csr_array | Tensor:
    """On the CPU as it is: its product takes no second thread and gives the same bits every time."""
    if torch.device(where).type == "cpu":
        return matrix
    coo = matrix.tocoo()
    index_2N = torch.stack([torch.from_numpy(axis).long() for axis in (coo.row, coo.col)])
    return torch.sparse_coo_tensor(index_2N, torch.from_numpy(coo.data), coo.shape).coalesce().to(where)


def _times(matrix: csr_array | Tensor, rows_CF: Tensor) -> Tensor:
    if isinstance(matrix, Tensor):
        return torch.sparse.mm(matrix, rows_CF)
    return torch.from_numpy(matrix @ rows_CF.detach().numpy())
