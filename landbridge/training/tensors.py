"""Torch tensors as tables of rows: their gradients, and optimiser steps on the touched rows only.

A sparse gradient (``torch.nn.functional.embedding(..., sparse=True)``) touches the rows of its batch, a
dense one all rows; a vector is one row. On the CPU, steps run in the compiled kernels of
:mod:`landbridge.training.optimizers` on the tensors' own memory; on CUDA, the same equations run in torch.
P gradients of one tensor, R rows, T touched rows, F columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from landbridge.core.types import AnyArray
from landbridge.training.epochs import State
from landbridge.training.optimizers import Optimizer, summed
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

Slots = Mapping[str, "Tensor"]
Gradient = tuple["Tensor", "Tensor"]  # rows (T,), gradients (T, F)


def arrays(named: Mapping[str, Tensor]) -> State:
    """Copies of the tensors' values by name, as NumPy arrays."""
    # without the copy the arrays would share memory with tensors that training goes on to change
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in named.items()}


def as_rows(tensor: Tensor) -> Tensor:
    """A view (R, F) of the tensor's values."""
    rows = len(tensor) if tensor.ndim > 1 else 1
    # not -1 for the columns: it has no meaning in a table without rows
    return tensor.detach().view(rows, math.prod(tensor.shape[tensor.ndim > 1 :]))


def slots_of(optimizer: Optimizer, tensor: Tensor) -> dict[str, Tensor]:
    """The optimiser's state for the tensor before the first step, on the tensor's device."""
    empty = optimizer.slots(as_rows(tensor).cpu().numpy())
    return {key: torch.from_numpy(array).to(tensor.device) for key, array in empty.items()}


def take_gradients(parameters: Mapping[str, Tensor]) -> dict[str, Gradient]:
    """Name -> gradient as distinct rows, for parameters that have one; every ``grad`` is reset to None."""
    taken = {name: tensor.grad for name, tensor in parameters.items()}
    for tensor in parameters.values():
        # not zero: a parameter that the next batch does not use must get no step
        tensor.grad = None
    return {name: rows_of(grad) for name, grad in taken.items() if grad is not None}


def rows_of(grad: Tensor) -> Gradient:
    """The gradient as distinct rows; all rows where it is dense."""
    if not grad.is_sparse:
        return all_rows(as_rows(grad.contiguous()))
    if grad.device.type != "cpu":
        # sums repeated rows: the optimiser needs distinct ones
        merged = grad.coalesce()
        return merged.indices()[0], merged.values()
    # on the CPU ``coalesce`` sorts, which costs more than the compiled grouping
    rows_T, grad_TF = summed(grad._indices()[0].numpy(), grad._values().numpy(), len(grad))
    return torch.from_numpy(rows_T), torch.from_numpy(grad_TF)


def all_rows(grad_RF: Tensor) -> Gradient:
    """A dense gradient as rows."""
    return torch.arange(len(grad_RF), device=grad_RF.device), grad_RF


def merged(parts: Sequence[tuple[AnyArray, AnyArray]], tensor: Tensor) -> Gradient:
    """The sum of gradients of one tensor at the rows that any of them touches, added in their order."""
    rows_N = torch.from_numpy(np.concatenate([rows_T for rows_T, _ in parts])).long()
    grad_NF = torch.from_numpy(np.concatenate([grad_TF for _, grad_TF in parts]))
    shape = as_rows(tensor).shape
    return rows_of(
        torch.sparse_coo_tensor(rows_N[None], grad_NF, shape, check_invariants=False).to(tensor.device)
    )


def as_gradient(gradient: Gradient, tensor: Tensor) -> Tensor:
    """The gradient in the tensor's shape: sparse unless it has all rows."""
    rows_T, grad_TF = gradient
    if len(rows_T) < len(as_rows(tensor)):
        return torch.sparse_coo_tensor(rows_T.long()[None], grad_TF, tensor.shape, check_invariants=False)
    dense = torch.empty_like(tensor, requires_grad=False)
    as_rows(dense)[rows_T.long()] = grad_TF
    return dense


def clip(gradients: Mapping[str, Gradient], max_norm: float | None) -> float:
    """The norm of all gradients together; where it exceeds ``max_norm`` they are scaled down to it."""
    # float64: the squares of millions of numbers are added
    norm = float(sum(float(grad_TF.double().square().sum()) for _, grad_TF in gradients.values()) ** 0.5)
    if max_norm is not None and norm > max_norm:
        for _, grad_TF in gradients.values():
            grad_TF.mul_(max_norm / norm)
    return norm


def step(optimizer: Optimizer, tensor: Tensor, slots: Slots, gradient: Gradient) -> None:
    """Update the touched rows of the tensor and its slots in place."""
    rows_T, grad_TF = gradient
    table_RF = as_rows(tensor)
    if tensor.device.type == "cpu":
        # NumPy views of the tensors' memory, which the kernel updates in place
        arrays = {key: slot.numpy() for key, slot in slots.items()}
        optimizer.step(table_RF.numpy(), arrays, rows_T.int().numpy(), grad_TF.contiguous().numpy())
    else:
        _step_anywhere(optimizer, table_RF, slots, rows_T.long(), grad_TF)


def products(gradients: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    """The inner products of gradients of one tensor, (P, P)."""
    sparse = all(grad.is_sparse for grad in gradients)
    if sparse and gradients[0].device.type == "cpu":
        return _sparse_products(gradients)
    each = _stacked_rows(gradients) if sparse else torch.stack([grad.to_dense() for grad in gradients])
    flat_PX = each.flatten(1)
    return np.asarray((flat_PX @ flat_PX.T).cpu().numpy(), np.float64)


def _sparse_products(gradients: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    from landbridge.training.gram_kernels import row_products

    index = [grad._indices() for grad in gradients]
    index_1N, grad_NF = torch.cat(index, dim=1), torch.cat([grad._values() for grad in gradients])
    ends_P = np.array(list(accumulate(index_1N.shape[1] for index_1N in index)))
    return row_products(index_1N.numpy()[0], grad_NF.numpy(), ends_P, len(gradients[0]))  # type: ignore[no-any-return]


def _stacked_rows(gradients: Sequence[Tensor]) -> Tensor:
    """Each sparse gradient at the rows that any of them touches, (P, T, F)."""
    index = [grad._indices()[0] for grad in gradients]
    rows_T, position_N = torch.cat(index).unique(return_inverse=True)
    out_PTF = gradients[0]._values().new_zeros(len(gradients), len(rows_T), gradients[0].shape[1])
    positions = position_N.split([len(index_N) for index_N in index])
    for out_TF, own_N, grad in zip(out_PTF, positions, gradients, strict=True):
        out_TF.index_add_(0, own_N, grad._values())
    return out_PTF


def _step_anywhere(
    optimizer: Optimizer, table_RF: Tensor, slots: Slots, rows_T: Tensor, grad_TF: Tensor
) -> None:
    """Eqs. (1)-(5) of :mod:`landbridge.training.optimizers` in torch."""
    lr, beta1, beta2, eps, decay = optimizer.constants
    slots["count"][rows_T] += 1
    table_RF[rows_T] *= 1 - lr * decay  # Eq. (4)
    move_TF = grad_TF
    if optimizer.kind == "adam":
        n_T1 = slots["count"][rows_T, None].to(grad_TF.dtype)
        m_TF = beta1 * slots["first"][rows_T] + (1 - beta1) * grad_TF
        v_TF = beta2 * slots["second"][rows_T] + (1 - beta2) * grad_TF.square()
        slots["first"][rows_T], slots["second"][rows_T] = m_TF, v_TF
        move_TF = m_TF / (1 - beta1**n_T1) / ((v_TF / (1 - beta2**n_T1)).sqrt() + eps)  # Eq. (1)
    elif optimizer.kind == "adagrad":
        v_TF = slots["second"][rows_T] + grad_TF.square()
        slots["second"][rows_T] = v_TF
        move_TF = grad_TF / (v_TF.sqrt() + eps)  # Eq. (2)
    elif optimizer.kind == "momentum":
        move_TF = beta1 * slots["first"][rows_T] + (1 - beta1) * grad_TF
        slots["first"][rows_T] = move_TF  # Eq. (5)
    table_RF[rows_T] -= lr * move_TF  # Eqs. (3), (5)
