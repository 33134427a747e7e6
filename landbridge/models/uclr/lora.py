"""LoRA: low-rank adaptation of trained weights (Hu et al., ICLR 2022, Section 4.1).

A trained weight W₀ (R, C) stays fixed; the product of two thin matrices is trained:

    W = W₀ + B A,   B (R, K) = 0,  A (K, C) ~ N(0, 1/K) at the start                                   (1)

B = 0 makes W = W₀ before the first step, while A ≠ 0 gives B a gradient. Rows of an embedding table are W₀[i]
+ B[i] A, so a step costs only the rows that a batch touches. R C trainable numbers become (R + C) K. A frozen
weight has rank 0; a free one has rank 0 and a trainable W₀.

Letters: U users, I items, F factors, B rows of a batch, R rows, C columns, K rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import SettingsError, unknown

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = {  # scope -> treatment of the user table, the item table and the layers
    "users": ("adapted", "frozen", "frozen"),
    "all": ("adapted", "adapted", "adapted"),
    "items_free": ("adapted", "free", "free"),
    "full": ("free", "free", "free"),
    "none": ("frozen", "frozen", "frozen"),
}


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight of Eq. (1); trainable tensors have ``requires_grad``. A bias is a base (R,) of rank 0."""

    base: Tensor
    left_RK: Tensor
    right_KC: Tensor

    def rows(self, idx_B: Tensor) -> Tensor:
        """Rows of the effective table, (B, C), with sparse gradients: a step touches no other row."""
        from torch.nn.functional import embedding

        base_BC, left_BK = (embedding(idx_B, table, sparse=True) for table in (self.base, self.left_RK))
        return base_BC + left_BK @ self.right_KC  # Eq. (1)

    def whole(self) -> Tensor:
        """The effective weight in the shape of its base."""
        return self.base + (self.left_RK @ self.right_KC).view_as(self.base)  # Eq. (1)

    def parameters(self) -> dict[str, Tensor]:
        """Trainable tensors by name: "base", or "left" and "right", or none."""
        named = {"base": self.base, "left": self.left_RK, "right": self.right_KC}
        return {name: value for name, value in named.items() if value.requires_grad}


@dataclass(frozen=True, eq=False)
class LoraAdapter:
    """The adapted weights of one domain, over a base that all domains share."""

    users: Weight
    items: Weight
    layers: Mapping[str, Weight]

    def parameters(self) -> dict[str, Tensor]:
        """Trainable tensors by dotted name ("users.left", "layers.encoder.0.weight.right")."""
        weights = {"users": self.users, "items": self.items}
        weights |= {f"layers.{name}": weight for name, weight in self.layers.items()}
        return {
            f"{name}.{kind}": v for name, weight in weights.items() for kind, v in weight.parameters().items()
        }

    def n_trainable(self) -> int:
        """Number of trainable parameters."""
        return sum(value.numel() for value in self.parameters().values())

    def effective_layers(self) -> dict[str, Tensor]:
        """The layers' effective weights by name."""
        return {name: weight.whole() for name, weight in self.layers.items()}


def adapt(
    users_UF: Tensor,
    items_IF: Tensor,
    layers: Mapping[str, Tensor],
    scope: str,
    rank: int,
    rng: np.random.Generator,
) -> LoraAdapter:
    """Adapters over trained weights for a ``scope``; SettingsError for an unknown scope or a rank below 1.

    "users": the user table adapted, the rest frozen. "all": both tables and every layer adapted, biases
    frozen. "items_free": users adapted, items and layers trained in full. Controls: "full" and "none".
    Weights trained in full are copied: the given tensors never change. A weight with fewer rows or columns
    than ``rank`` gets its full rank.
    """
    if scope not in TARGETS:
        raise SettingsError(unknown("scope", scope, TARGETS))
    if rank < 1:
        raise SettingsError(f"rank must be 1 or more, not {rank}.")
    for_users, for_items, for_layers = TARGETS[scope]
    return LoraAdapter(
        _weight(users_UF, for_users, rank, rng),
        _weight(items_IF, for_items, rank, rng),
        {name: _weight(layer, for_layers, rank, rng) for name, layer in layers.items()},
    )


def _weight(base: Tensor, treatment: str, rank: int, rng: np.random.Generator) -> Weight:
    import torch

    base = base.detach()
    base = base.clone().requires_grad_() if treatment == "free" else base
    n_rows, n_columns = base.shape if base.ndim == 2 else (len(base), 1)
    # a bias has no rank to reduce
    width = min(rank, n_rows, n_columns) if treatment == "adapted" and base.ndim == 2 else 0
    drawn_KC = rng.standard_normal((width, n_columns), np.float32) * np.float32(max(width, 1) ** -0.5)
    left_RK = base.new_zeros((n_rows, width))
    right_KC = torch.as_tensor(drawn_KC).to(base)
    return Weight(base, left_RK.requires_grad_(width > 0), right_KC.requires_grad_(width > 0))
