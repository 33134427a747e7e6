"""Torch tensors as tables of rows: their gradients, and steps that touch no other row.

A sparse gradient (``torch.nn.functional.embedding(..., sparse=True)``) touches the rows of its batch, a
dense one all rows; a vector is one row. On the CPU steps run in the compiled kernels of
:mod:`landbridge.training.optimizers` on the tensors' own memory, on CUDA by the same equations in torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from landbridge.training.optimizers import Optimizer, summed
from landbridge.training.torch_backend import torch

Slots = Mapping[str, Any]
Gradient = tuple[Any, Any]  # rows (T,), gradients (T, F)


def arrays(named: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of the tensors' values by name, on the CPU: training goes on in place."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in named.items()}


def as_rows(tensor: Any) -> Any:
    """A view (R, F) of the tensor's values."""
    return tensor.detach().view(len(tensor) if tensor.ndim > 1 else 1, -1)


def slots_of(optimizer: Optimizer, tensor: Any) -> dict[str, Any]:
    """What the optimiser remembers of the tensor before the first step, on its device."""
    empty = optimizer.slots(as_rows(tensor).cpu().numpy())
    return {key: torch().from_numpy(array).to(tensor.device) for key, array in empty.items()}


def take_gradients(parameters: Mapping[str, Any]) -> dict[str, Gradient]:
    """Each gradient as distinct rows, by name where there is one; the tensors are left without."""
    found = {name: tensor.grad for name, tensor in parameters.items() if tensor.grad is not None}
    for tensor in parameters.values():
        tensor.grad = None
    return {name: _rows(grad) for name, grad in found.items()}


def clip(gradients: Mapping[str, Gradient], largest: float | None) -> float:
    """The norm of all gradients together; where it is above ``largest`` they are scaled down to it."""
    norm = float(sum(float(grad_TF.double().square().sum()) for _, grad_TF in gradients.values()) ** 0.5)
    if largest is not None and norm > largest:
        for _, grad_TF in gradients.values():
            grad_TF.mul_(largest / norm)
    return norm


def step(optimizer: Optimizer, tensor: Any, slots: Slots, gradient: Gradient) -> None:
    """Update the touched rows of tensor and slots in place."""
    rows_T, grad_TF = gradient
    table_RF = as_rows(tensor)
    if tensor.device.type == "cpu":
        arrays = {key: slot.numpy() for key, slot in slots.items()}
        optimizer.step(table_RF.numpy(), arrays, rows_T.int().numpy(), grad_TF.contiguous().numpy())
    else:
        _step_anywhere(optimizer, table_RF, slots, rows_T.long(), grad_TF)


def products(found: Sequence[Any]) -> npt.NDArray[np.float64]:
    """The inner products of gradients of one tensor, (P, P)."""
    sparse = all(grad.is_sparse for grad in found)
    if sparse and found[0].device.type == "cpu":
        return _sparse_products(found)
    each = _side_by_side(found) if sparse else torch().stack([grad.to_dense() for grad in found])
    flat_PX = each.flatten(1)
    return (flat_PX @ flat_PX.T).cpu().numpy().astype(np.float64)  # type: ignore[no-any-return]


def _sparse_products(found: Sequence[Any]) -> npt.NDArray[np.float64]:
    from landbridge.training.gram_kernels import row_products

    index = [grad._indices() for grad in found]
    index_1N, grad_NF = torch().cat(index, dim=1), torch().cat([grad._values() for grad in found])
    ends_P = np.array(list(accumulate(index_1N.shape[1] for index_1N in index)))
    return row_products(index_1N.numpy()[0], grad_NF.numpy(), ends_P, len(found[0]))  # type: ignore[no-any-return]


def _side_by_side(found: Sequence[Any]) -> Any:
    """What each sparse gradient has in the rows that any of them touches, (P, T, F)."""
    index = [grad._indices()[0] for grad in found]
    rows_T, place_N = torch().cat(index).unique(return_inverse=True)
    out_PTF = found[0]._values().new_zeros(len(found), len(rows_T), found[0].shape[1])
    places = place_N.split([len(index_N) for index_N in index])
    for out_TF, place_N, grad in zip(out_PTF, places, found, strict=True):
        out_TF.index_add_(0, place_N, grad._values())
    return out_PTF


def _rows(grad: Any) -> Gradient:
    if not grad.is_sparse:
        grad_RF = as_rows(grad.contiguous())
        return torch().arange(len(grad_RF), device=grad.device), grad_RF
    if grad.device.type != "cpu":
        merged = grad.coalesce()
        return merged.indices()[0], merged.values()
    rows_T, grad_TF = summed(grad._indices()[0].numpy(), grad._values().numpy(), len(grad))
    return torch().from_numpy(rows_T), torch().from_numpy(grad_TF)


def _step_anywhere(optimizer: Optimizer, table_RF: Any, slots: Slots, rows_T: Any, grad_TF: Any) -> None:
    """Eqs. (1)-(4) of :mod:`landbridge.training.optimizers` in torch."""
    lr, beta1, beta2, eps, decay = optimizer.constants
    slots["count"][rows_T] += 1
    table_RF[rows_T] *= 1 - lr * decay
    move_TF = grad_TF
    if optimizer.kind == "adam":
        n_T1 = slots["count"][rows_T, None].to(grad_TF.dtype)
        m_TF = beta1 * slots["first"][rows_T] + (1 - beta1) * grad_TF
        v_TF = beta2 * slots["second"][rows_T] + (1 - beta2) * grad_TF.square()
        slots["first"][rows_T], slots["second"][rows_T] = m_TF, v_TF
        move_TF = m_TF / (1 - beta1**n_T1) / ((v_TF / (1 - beta2**n_T1)).sqrt() + eps)
    elif optimizer.kind == "adagrad":
        v_TF = slots["second"][rows_T] + grad_TF.square()
        slots["second"][rows_T] = v_TF
        move_TF = grad_TF / (v_TF.sqrt() + eps)
    table_RF[rows_T] -= lr * move_TF
