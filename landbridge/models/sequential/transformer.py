"""A causal transformer encoder over item sequences: settings, named weights and the forward pass.

Sources: SASRec (Kang & McAuley, ICDM 2018, Section III) with attention as in Vaswani et al. (2017, Section
3.2.1). With the item embeddings v_i and position embeddings p_l, and blocks b = 1 … B:

    x_0 = drop(v_item + p_place + g_gap + added)                                                       (1)
    y_b = x_{b-1} + drop(W_o attend(norm(x_{b-1})))     attend: softmax(Q Kᵀ / √(F / heads) + bias) V  (2)
    x_b = y_b + drop(W_2 gelu(W_1 norm(y_b) + c_1) + c_2)                                              (3)
    q   = out(norm(x_B))                                the user's state after each event              (4)

attend sees a position and those before it. Windows start at the left and end with padding, so the causal mask
also hides the padding. Positions count from the window's last event, which has position 0 for every length
of the window. ``out`` is the identity, or W_4 gelu(W_3 x + c_3) + c_4 with ``projected``. "post" norm stands
behind the sums: y_b = norm(x_{b-1} + …), x_b = norm(y_b + …). "alibi" has no p_l; head h of H subtracts

    2^(-8h / H) · (place of the key - place of the query)                                              (5)

from its attention scores (Press et al., ICLR 2022). g_gap belongs to the time since the event before, in
powers of two (:mod:`landbridge.data.sampling.sequences`); ``time_gaps`` switches it on.

Weights by name: ``item`` (I, F), ``place`` (L, F), ``block.0.norm.scale`` (F,), ``block.0.qkv.weight`` (out,
in), ``norm.shift``, ``out.0.bias``. Letters: B windows, L positions, F factors, H hidden units of Eq. (3).

Mixed precision: dense layers multiply in the type of their weights (``layers_in``). The residual stream,
layer norm and attention stay in float32; attention's products are too small to gain from 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from landbridge.core.errors import SettingsError
from landbridge.core.rng import generator
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Float32
from landbridge.data.sampling.sequences import GAPS
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

Weights = Mapping[str, "Tensor"]
ZERO_AT_START = (".shift", ".bias", "adapter.up")
ONE_AT_START = (".scale",)
LEAST_NORM = 1e-8  # a shorter vector has no direction in float32


class Reading(NamedTuple):
    """What the transformer reads: B sequences of L events, oldest first.

    ``item_BL``: item indices, -1 at padding. ``gap_BL``: code of the time since the event before.
    ``place_BL``: positions, by default those counted from the last event. ``added_BLF``: added to the
    embeddings, Eq. (1). ``bias_BLL``: added to the attention scores of all heads, Eq. (2), -∞ to hide.
    """

    item_BL: Tensor
    gap_BL: Tensor | None = None
    place_BL: Tensor | None = None
    added_BLF: Tensor | None = None
    bias_BLL: Tensor | None = None


@dataclass(frozen=True)
class Encoder(Settings):
    """Sizes of the transformer."""

    factors: int = setting(64, "Length of an embedding; a multiple of ``heads``.", low=1, symbol="F")
    blocks: int = setting(2, "Blocks of attention and dense layers.", low=0, symbol="B")
    heads: int = setting(2, "Attention heads of a block.", low=1)
    hidden: int = setting(256, "Width of a block's dense layer.", low=1, symbol="H")
    max_length: int = setting(50, "Last events of a user that are read.", low=1, symbol="L")
    projected: bool = setting(False, "Whether the state goes through two dense layers at the end.")
    dropout: float = setting(0.2, "Share of the units left out in training.", low=0, below=1)
    norm: Literal["pre", "post"] = setting("pre", "Layer norm before each layer, or after each sum.")
    positions: Literal["learned", "alibi"] = setting(
        "learned", "Embeddings of positions, or attention that falls with the distance."
    )
    time_gaps: bool = setting(False, "Whether the time since the event before is read.")
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({"length": "max_length"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factors % self.heads:
            raise SettingsError(
                f"factors must be a multiple of heads, but {self.factors} is not a multiple of {self.heads}."
            )

    def shapes(self, n_items: int) -> dict[str, tuple[int, ...]]:
        """Shape of every weight by name."""
        size = self.factors
        shapes: dict[str, tuple[int, ...]] = {"item": (n_items, size)}
        shapes |= {"place": (self.max_length, size)} if self.positions == "learned" else {}
        shapes |= {"gap": (GAPS, size)} if self.time_gaps else {}
        for number in range(self.blocks):
            block = f"block.{number}"
            shapes |= _norm(f"{block}.norm", size) | _dense(f"{block}.qkv", size, 3 * size)
            shapes |= _dense(f"{block}.mix", size, size) | _norm(f"{block}.above", size)
            shapes |= _dense(f"{block}.up", size, self.hidden) | _dense(f"{block}.down", self.hidden, size)
        shapes |= _norm("norm", size)
        if self.projected:
            shapes |= _dense("out.0", size, size) | _dense("out.1", size, size)
        return shapes

    @staticmethod
    def layers_in(weights: Weights, dtype: torch.dtype) -> dict[str, Tensor]:
        """The weights, with those of dense layers cast to ``dtype``."""
        dense = (".weight", ".bias")
        return {name: w.to(dtype) if name.endswith(dense) else w for name, w in weights.items()}

    def states(self, weights: Weights, reading: Reading, dropout: float = 0.0) -> Tensor:
        """Hidden states after each event, Eqs. (1) to (4), (B, L, F); undefined at padding."""
        from torch.nn.functional import gelu

        place_BL = places(reading.item_BL) if reading.place_BL is None else reading.place_BL
        bias_BHLL = self._attention_bias(reading, place_BL)
        x_BLF = _dropped(self._embedded(weights, reading, place_BL), dropout)  # Eq. (1)
        before, after = (_normed, _same) if self.norm == "pre" else (_same, _normed)
        for block in (f"block.{number}" for number in range(self.blocks)):
            first, second = f"{block}.norm", f"{block}.above"
            attended_BLF = self._attend(weights, block, before(weights, first, x_BLF), bias_BHLL)
            mixed_BLF = _dropped(_through(weights, f"{block}.mix", attended_BLF), dropout)
            x_BLF = after(weights, first, x_BLF + mixed_BLF)  # Eq. (2)
            up_BLH = gelu(_through(weights, f"{block}.up", before(weights, second, x_BLF)))
            down_BLF = _dropped(_through(weights, f"{block}.down", up_BLH), dropout)
            x_BLF = after(weights, second, x_BLF + down_BLF)  # Eq. (3)
        x_BLF = _normed(weights, "norm", x_BLF)
        if self.projected:
            x_BLF = _through(weights, "out.1", gelu(_through(weights, "out.0", x_BLF)))  # Eq. (4)
        return x_BLF.float()

    def _embedded(self, weights: Weights, reading: Reading, place_BL: Tensor) -> Tensor:
        """The sum of Eq. (1), (B, L, F)."""
        from torch.nn.functional import embedding

        item_BL = reading.item_BL
        # padding reads the window's first item: its gradient there is 0, and no extra row becomes part of the
        # sparse gradient, as an own padding row would
        x_BLF = embedding(torch.where(item_BL >= 0, item_BL, item_BL[:, :1]), weights["item"], sparse=True)
        if self.positions == "learned":
            x_BLF = x_BLF + embedding(place_BL, weights["place"])
        if self.time_gaps and reading.gap_BL is not None:
            x_BLF = x_BLF + embedding(reading.gap_BL, weights["gap"])
        return x_BLF if reading.added_BLF is None else x_BLF + reading.added_BLF

    def _attention_bias(self, reading: Reading, place_BL: Tensor) -> Tensor | None:
        """What is added to attention scores, (B or 1, H or 1, L, L); None where only the future is hidden."""
        bias_BHLL = None if reading.bias_BLL is None else reading.bias_BLL[:, None]
        if self.positions == "alibi":
            head_H = torch.arange(1, self.heads + 1, device=place_BL.device)
            slope_H11 = torch.exp2(-8 * head_H / self.heads)[:, None, None]
            distance_BLL = (place_BL[:, None, :] - place_BL[:, :, None]).float()
            alibi_BHLL = -slope_H11 * distance_BLL[:, None]  # Eq. (5)
            bias_BHLL = alibi_BHLL if bias_BHLL is None else bias_BHLL + alibi_BHLL
        if bias_BHLL is None:
            return None
        later_LL = torch.ones(bias_BHLL.shape[-2:], dtype=torch.bool, device=bias_BHLL.device).triu(1)
        return bias_BHLL.masked_fill(later_LL, -torch.inf)

    def _attend(self, weights: Weights, block: str, x_BLF: Tensor, bias_BHLL: Tensor | None) -> Tensor:
        from torch.nn.functional import scaled_dot_product_attention

        size, length, factors = x_BLF.shape
        qkv_BL3HF = _through(weights, f"{block}.qkv", x_BLF).float().view(size, length, 3, self.heads, -1)
        query, key, value = qkv_BL3HF.permute(2, 0, 3, 1, 4)
        return (
            scaled_dot_product_attention(query, key, value, bias_BHLL, is_causal=bias_BHLL is None)
            .transpose(1, 2)
            .reshape(size, length, factors)
        )


def places(item_BL: Tensor) -> Tensor:
    """Positions counted from the last event, (B, L); 0 at padding."""
    count_B1 = (item_BL >= 0).sum(dim=1, keepdim=True)
    return (count_B1 - 1 - torch.arange(item_BL.shape[1], device=item_BL.device)).clamp(min=0)


def initial(
    shapes: Mapping[str, tuple[int, ...]], seed: int, init_std: float, where: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Initial weights: normal with deviation ``init_std``; scales 1; shifts, biases, adapters' ends 0."""
    # a generator per name: adding or removing a layer leaves the others' initial values as they were
    drawn = {name: _drawn(name, shape, generator(seed, name), init_std) for name, shape in shapes.items()}
    return {name: torch.from_numpy(array).to(where).requires_grad_() for name, array in drawn.items()}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.scale": (size,), f"{name}.shift": (size,)}


def _dense(name: str, below: int, above: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (above, below), f"{name}.bias": (above,)}


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator, init_std: float) -> Float32:
    if name.endswith(ZERO_AT_START):
        return np.zeros(shape, np.float32)
    if name.endswith(ONE_AT_START):
        return np.ones(shape, np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(init_std)


def _dropped(x_BLF: Tensor, dropout: float) -> Tensor:
    """Dropout: each number becomes 0 with probability ``dropout``, others are divided by 1 - ``dropout``."""
    if not dropout:
        return x_BLF
    # 16 random bits decide each number, four numbers per draw: torch's own dropout draws once per number,
    # which is slow on the CPU. The probability is thereby a multiple of 2^-16.
    draws = torch.empty(-(-x_BLF.numel() // 4), dtype=torch.int64, device=x_BLF.device)
    bits_BLF = draws.random_(-(2**63), None).view(torch.int16)[: x_BLF.numel()].view_as(x_BLF)
    kept_BLF = (bits_BLF >= round(dropout * 2**16) - 2**15).to(x_BLF.dtype)
    return x_BLF * kept_BLF.div_(1 - dropout)


def _normed(weights: Weights, name: str, x_BLF: Tensor) -> Tensor:
    from torch.nn.functional import layer_norm

    return layer_norm(x_BLF, x_BLF.shape[-1:], weights[f"{name}.scale"], weights[f"{name}.shift"])


def _same(weights: Weights, name: str, x_BLF: Tensor) -> Tensor:
    return x_BLF


def _through(weights: Weights, name: str, below: Tensor) -> Tensor:
    from torch.nn.functional import linear

    weight = weights[f"{name}.weight"]
    return linear(below.to(weight.dtype), weight, weights[f"{name}.bias"])
