"""Some entries of rows of a sparse matrix, drawn anew at every step of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor


def sampled_entries(offsets_R: Tensor, row_M: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The positions of at most S = ``size`` entries of each row, (M, S), and which of them there are, (M, S).

    All entries of a row that has no more; else S at even distances from a random start, so that none comes
    twice. A position that is not there is that of some other entry. The matrix must have one at least.
    """
    start_M1 = offsets_R[row_M][:, None]
    degree_M1 = offsets_R[row_M + 1][:, None] - start_M1
    part_S = torch.arange(size, device=row_M.device)
    chance_M1 = torch.rand(len(row_M), 1, device=row_M.device, dtype=torch.float64)
    drawn_MS = ((part_S + chance_M1) * degree_M1 / size).long().clamp(max=degree_M1 - 1)
    place_MS = torch.where(degree_M1 > size, drawn_MS, part_S.expand_as(drawn_MS))
    return torch.minimum(start_M1 + place_MS, offsets_R[-1] - 1), part_S < degree_M1
