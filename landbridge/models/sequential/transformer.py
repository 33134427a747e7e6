"""A causal transformer on sequences of items (pre-LN), as a plan and named weights.

With the rows v_i of items and p_l of places, counted from the end of the window, block b = 1 … B of

    x_0 = drop(v_item + p_place)                                                                       (1)
    y_b = x_{b-1} + _dropped(W_o attend(norm(x_{b-1})))       attend: softmax(Q Kᵀ / √(F / heads)) V       (2)
    x_b = y_b + _dropped(W_2 gelu(W_1 norm(y_b) + c_1) + c_2)                                              (3)
    q   = out(norm(x_B))                                  the user after each event                  (4)

where attend sees a place and those before it. Windows begin at the left and end with padding, so the causal
mask keeps padding out, and a place counts from the window's end: the last event has place 0 however long the
window is. ``out`` is nothing, or W_4 gelu(W_3 x + c_3) + c_4. Weights by name: ``item``, ``place``,
``block.0.norm.scale``, ``block.0.qkv.weight`` (out, in), ``norm.shift``, ``out.0.bias``.
Letters: B windows, L places, F factors, H units of Eq. (3).

Layers whose weights are of another type multiply in it (``layers_in``); the rest, attention with it, is in
float32: its products are too small to gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from landbridge.core.errors import SettingsError
from landbridge.core.rng import generator
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Float32
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

Weights = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class Encoder(Settings):
    """The network's sizes."""

    factors: int = setting(64, "Length of an embedding; a multiple of ``heads``.", low=1, symbol="F")
    blocks: int = setting(2, "Blocks of attention and dense layers.", low=0, symbol="B")
    heads: int = setting(2, "Attention heads of a block.", low=1)
    hidden: int = setting(256, "Width of a block's dense layer.", low=1, symbol="H")
    max_length: int = setting(50, "Last events of a user that are read.", low=1, symbol="L")
    projected: bool = setting(False, "Whether the state goes through two dense layers at the end.")
    dropout: float = setting(0.2, "Share of the units left out in training.", low=0, below=1)
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({"length": "max_length"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factors % self.heads:
            raise SettingsError(
                f"factors must be a multiple of heads: {self.factors} is none of {self.heads}."
            )

    def shapes(self, n_items: int) -> dict[str, tuple[int, ...]]:
        """Every weight's shape by name."""
        size = self.factors
        found: dict[str, tuple[int, ...]] = {"item": (n_items, size), "place": (self.max_length, size)}
        for number in range(self.blocks):
            block = f"block.{number}"
            found |= _norm(f"{block}.norm", size) | _dense(f"{block}.qkv", size, 3 * size)
            found |= _dense(f"{block}.mix", size, size) | _norm(f"{block}.above", size)
            found |= _dense(f"{block}.up", size, self.hidden) | _dense(f"{block}.down", self.hidden, size)
        found |= _norm("norm", size)
        if self.projected:
            found |= _dense("out.0", size, size) | _dense("out.1", size, size)
        return found

    def initial(self, n_items: int, seed: int, init_std: float, where: Any = "cpu") -> dict[str, Tensor]:
        """Weights before the first step: all of deviation ``init_std``, scales 1, shifts and biases 0."""
        shapes = self.shapes(n_items).items()
        drawn = {name: _drawn(name, shape, generator(seed, name), init_std) for name, shape in shapes}
        return {name: torch.from_numpy(array).to(where).requires_grad_() for name, array in drawn.items()}

    @staticmethod
    def layers_in(weights: Weights, dtype: Any) -> dict[str, Tensor]:
        """The same weights, those of dense layers in another type of numbers."""
        dense = (".weight", ".bias")
        return {name: w.to(dtype) if name.endswith(dense) else w for name, w in weights.items()}

    def states(self, weights: Weights, input_BL: Tensor, dropout: float = 0.0) -> Tensor:
        """The user after each event, Eqs. (1) to (4), (B, L, F); behind the end it means nothing."""
        from torch.nn.functional import embedding, gelu

        count_B1 = (input_BL >= 0).sum(dim=1, keepdim=True)
        place_BL = (count_B1 - 1 - torch.arange(input_BL.shape[1], device=input_BL.device)).clamp(min=0)
        filled_BL = torch.where(input_BL >= 0, input_BL, input_BL[:, :1])  # padding touches no row of its own
        item_BLF = embedding(filled_BL, weights["item"], sparse=True)
        x_BLF = _dropped(item_BLF + embedding(place_BL, weights["place"]), dropout)  # Eq. (1)
        for block in (f"block.{number}" for number in range(self.blocks)):
            seen_BLF = self._attend(weights, block, _normed(weights, f"{block}.norm", x_BLF))
            x_BLF = x_BLF + _dropped(_through(weights, f"{block}.mix", seen_BLF), dropout)  # Eq. (2)
            up_BLH = gelu(_through(weights, f"{block}.up", _normed(weights, f"{block}.above", x_BLF)))
            x_BLF = x_BLF + _dropped(_through(weights, f"{block}.down", up_BLH), dropout)  # Eq. (3)
        x_BLF = _normed(weights, "norm", x_BLF)
        if self.projected:
            x_BLF = _through(weights, "out.1", gelu(_through(weights, "out.0", x_BLF)))  # Eq. (4)
        return x_BLF.float()

    def _attend(self, weights: Weights, block: str, x_BLF: Tensor) -> Tensor:
        from torch.nn.functional import scaled_dot_product_attention

        size, length, factors = x_BLF.shape
        qkv_BL3HF = _through(weights, f"{block}.qkv", x_BLF).float().view(size, length, 3, self.heads, -1)
        query, key, value = qkv_BL3HF.permute(2, 0, 3, 1, 4)
        return (
            scaled_dot_product_attention(query, key, value, is_causal=True)
            .transpose(1, 2)
            .reshape(size, length, factors)
        )


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.scale": (size,), f"{name}.shift": (size,)}


def _dense(name: str, below: int, above: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (above, below), f"{name}.bias": (above,)}


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator, init_std: float) -> Float32:
    if name.endswith((".shift", ".bias")):
        return np.zeros(shape, np.float32)
    if name.endswith(".scale"):
        return np.ones(shape, np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(init_std)


def _dropped(x_BLF: Tensor, dropout: float) -> Tensor:
    """Each number is 0 with the chance ``dropout``, decided by 16 random bits: four to a draw, where torch's
    own dropout makes one slow draw for each on the CPU."""
    if not dropout:
        return x_BLF
    draws = torch.empty(-(-x_BLF.numel() // 4), dtype=torch.int64, device=x_BLF.device)
    bits_BLF = draws.random_(-(2**63), None).view(torch.int16)[: x_BLF.numel()].view_as(x_BLF)
    kept_BLF = (bits_BLF >= round(dropout * 2**16) - 2**15).to(x_BLF.dtype)
    return x_BLF * kept_BLF.div_(1 - dropout)


def _normed(weights: Weights, name: str, x_BLF: Tensor) -> Tensor:
    from torch.nn.functional import layer_norm

    return layer_norm(x_BLF, x_BLF.shape[-1:], weights[f"{name}.scale"], weights[f"{name}.shift"])


def _through(weights: Weights, name: str, below: Tensor) -> Tensor:
    from torch.nn.functional import linear

    weight = weights[f"{name}.weight"]
    return linear(below.to(weight.dtype), weight, weights[f"{name}.bias"])
