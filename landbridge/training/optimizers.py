"""Lazy Adam, Adagrad, SGD and momentum on tables of rows: a step costs only the rows that have a gradient.

For a row x with gradient g that is touched for the n-th time

    adam      m = β₁m + (1-β₁)g,  v = β₂v + (1-β₂)g²,  x -= lr · m/(1-β₁ⁿ) / (√(v/(1-β₂ⁿ)) + ε)      (1)
    adagrad   v = v + g²,  x -= lr · g / (√v + ε)                                                      (2)
    sgd       x -= lr · g                                                                              (3)
    before    x -= lr · decay · x      "adamw" is adam with a decay                                    (4)
    momentum  m = β₁m + (1-β₁)g,  x -= lr · m                                                          (5)

This is "lazy" Adam: a row keeps m, v and n while it is not touched, where dense Adam would go on moving it
by its momentum. n counts the row's own steps, so the first step of a rare row has length lr at any time; a
global count would make it (1-β₁)/√(1-β₂) = 3.2 times as long. On rows touched at every step
both are the same. Momentum is lazy in the same way; its m starts at 0, without Adam's correction for that.

R rows, T touched rows, N gradients, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import AnyArray, Arrays, Float32

Slots = Arrays

KINDS = {"adam": 0, "adagrad": 1, "sgd": 2, "momentum": 3}
WITH_FIRST, WITH_SECOND = ("adam", "momentum"), ("adam", "adagrad")  # kinds that remember m, and v


@dataclass(frozen=True)
class Optimizer:
    """``kind``: one of ``KINDS``; what it remembers of a table is an argument and a result."""

    kind: str = "adam"
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    decay: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingsError(unknown("optimizer", self.kind, KINDS))
        if not 0 < self.lr < np.inf:
            raise SettingsError(f"lr must be above 0 and finite, not {self.lr}.")
        # at 1 a step would set the weights to 0, beyond it turn their sign
        if not 0 <= self.lr * self.decay < 1:
            raise SettingsError(f"decay must be 0 or more and below 1 / lr, not {self.decay}.")

    @property
    def constants(self) -> tuple[float, float, float, float, float]:
        """lr, β₁, β₂, ε and decay, as the kernels take them."""
        return self.lr, self.beta1, self.beta2, self.eps, self.decay

    def slots(self, table_RF: Float32) -> Slots:
        """m, v and n before the first step; arrays that the kind does not need are empty."""
        none_RF = np.empty((0, table_RF.shape[1]), np.float32)
        return {
            "first": np.zeros_like(table_RF) if self.kind in WITH_FIRST else none_RF,
            "second": np.zeros_like(table_RF) if self.kind in WITH_SECOND else none_RF,
            "count": np.zeros(len(table_RF), np.int32),
        }

    def step(self, table_RF: Float32, slots: Slots, rows_T: npt.NDArray[np.int32], grad_TF: Float32) -> None:
        """Update the rows and their slots in place; ``rows_T`` must be distinct."""
        from landbridge.training.optimizer_kernels import update

        slot = (slots["first"], slots["second"], slots["count"])
        update(KINDS[self.kind], table_RF, slot, rows_T, grad_TF, self.constants)


def summed(index_N: AnyArray, grad_NF: Float32, n_rows: int) -> tuple[npt.NDArray[np.int32], Float32]:
    """The distinct rows in ``index_N`` and the sum of each one's gradients: (T,), (T, F)."""
    from landbridge.training.optimizer_kernels import add_up, group

    room = min(len(index_N), n_rows)
    rows_T, starts_T = np.empty(room, np.int32), np.empty(room + 2, np.int64)
    order_N = np.empty(len(index_N), np.int64)
    touched = group(index_N, np.full(n_rows, -1, np.int32), rows_T, starts_T, order_N)
    out_TF = np.empty((touched, grad_NF.shape[1]), np.float32)
    add_up(grad_NF, starts_T, order_N, out_TF)
    return rows_T[:touched], out_TF
