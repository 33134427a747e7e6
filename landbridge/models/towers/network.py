"""Towers (multi-layer perceptrons) on user and item embeddings, one per domain, and what domains share.

The embeddings e_u = [e'_u ; p_u] and q_i = [q'_i ; y_i] have M columns for the tower and G for a product. In
domain d, with the layers l = 1 … L of the tower and those of the domain's head after them,

    a_0 = [e'_u ; q'_i]                                                                                (1)
    a_l = ReLU(W_l a_{l-1} + b_l)                                                                      (2)
    ŷ_ui = h · [a ; p_u ⊙ y_i]      a: of the last layer                                               (3)

``sharing`` says what domains have in common: nothing ("separate"), user embeddings ("user"), these and the
tower ("tower"), everything but items ("joined"), or user embeddings and units that connect the towers, cross
units ("cross") or cross-stitch units ("cross_stitch"). Connected towers of all domains run together, each on
the user and an item of its domain; with cross units

    a^d_l = ReLU(W^d_l a^d_{l-1} + b^d_l + H_l mean_{s≠d} a^s_{l-1})      l ≤ L                         (4)

where H is the same for all pairs of domains in both directions, and s runs over the other domains in which
the user has an item; an empty mean is zero. With two domains (4) is the cross unit of CoNet. Cross-stitch
units (Misra et al., CVPR 2016) mix activations by two numbers of a domain and layer, but in the first layer:

    a^d_l = ReLU(W^d_l (α^d_l a^d_{l-1} + β^d_l mean_{s≠d} a^s_{l-1}) + b^d_l)      1 < l ≤ L          (5)

which is (4) with α^d_l W^d_l in place of W^d_l and β^d_l W^d_l in place of H_l. With two domains it is the
paper's unit, one for all units of a layer.

Weights by name: ``user``, ``item.books``, ``shared.0.weight`` (out, in), ``tower.books.0.bias``,
``cross.1.weight``, ``stitch.books.1`` (α and β), ``head.books.0.weight``, ``head.books.out``. Letters: N
events, J items of an event, S other domains, F = M + G columns of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor, device

STITCH = (1.0, 0.0)  # α and β at the start: every tower is itself, as with H near 0
Weights = Mapping[str, "Tensor"]
ArrayT = TypeVar("ArrayT", "Tensor", Float32)


class EmbeddedBatch(NamedTuple):
    """The embeddings of a batch: users, items, an item in every other domain, and whether there is one."""

    user_NF: Tensor
    item_NJF: Tensor
    side_NSF: Tensor
    has_NS: Tensor


class TowerLayer(NamedTuple, Generic[ArrayT]):
    """What a layer multiplies the activations of its own tower by, (out, in), its bias, and what it
    multiplies the mean of the other towers by, Eqs. (4) and (5); None where no unit is."""

    own: ArrayT
    bias: ArrayT
    cross: ArrayT | None


@dataclass(frozen=True)
class TowerNetwork:
    """The architecture. ``width``: M. ``tower`` and ``head``: widths of the layers. ``product``: G."""

    domains: tuple[str, ...]
    sharing: str
    width: int
    tower: tuple[int, ...]
    head: tuple[int, ...] = ()
    product: int = 0

    def users(self, domain: str) -> str:
        """The name of the user embeddings of a domain."""
        return f"user.{domain}" if self.sharing == "separate" else "user"

    def layers(self, domain: str) -> tuple[str, ...]:
        """The names of the layers, tower and head."""
        tower = "shared" if self.sharing in ("tower", "joined") else f"tower.{domain}"
        lower = (f"{tower}.{level}" for level in range(len(self.tower)))
        return (*lower, *(f"{self._head(domain)}.{level}" for level in range(len(self.head))))

    def out(self, domain: str) -> str:
        """The name of h."""
        return f"{self._head(domain)}.out"

    def _head(self, domain: str) -> str:
        return "head" if self.sharing == "joined" else f"head.{domain}"

    def others(self, domain: str) -> tuple[str, ...]:
        """The domains whose towers run together with that of ``domain``."""
        return tuple(name for name in self.domains if name != domain) if self.run_together else ()

    @property
    def run_together(self) -> bool:
        """Whether units connect the towers of the domains."""
        return self.sharing in ("cross", "cross_stitch")

    @property
    def crossed(self) -> range:
        """The layers that take activations of the other towers."""
        return range(self.sharing == "cross_stitch", len(self.tower) if self.run_together else 0)

    def layer(self, weights: Mapping[str, ArrayT], domain: str, level: int) -> TowerLayer[ArrayT]:
        """A layer of a domain's tower or head."""
        name = self.layers(domain)[level]
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        if level not in self.crossed:
            return TowerLayer(weight, bias, None)
        if self.sharing == "cross":
            return TowerLayer(weight, bias, weights[f"cross.{level}.weight"])
        alpha, beta = weights[f"stitch.{domain}.{level}"]
        return TowerLayer(alpha * weight, bias, beta * weight)  # Eq. (5)

    @property
    def last_shared(self) -> str:
        """The name of the last weights that the losses of all domains depend on, for gradient balancing."""
        return {
            "tower": f"shared.{len(self.tower) - 1}.weight",
            "joined": "head.out",
            "cross": f"cross.{len(self.tower) - 1}.weight",
        }.get(self.sharing, "user")

    def shapes(self, data: MultiDomain) -> dict[str, tuple[int, ...]]:
        """Every weight's shape by name, once where it is shared."""
        columns = self.width + self.product
        widths = (2 * self.width, *self.tower, *self.head)
        shapes: dict[str, tuple[int, ...]] = {}
        for domain in self.domains:
            shapes[self.users(domain)] = (data.n_users, columns)
            shapes[f"item.{domain}"] = (data[domain].n_items, columns)
            for level, name in enumerate(self.layers(domain)):
                shapes[f"{name}.weight"] = (widths[level + 1], widths[level])
                shapes[f"{name}.bias"] = (widths[level + 1],)
            shapes[self.out(domain)] = (widths[-1] + self.product,)
        for level in self.crossed:
            if self.sharing == "cross":
                shapes[f"cross.{level}.weight"] = (widths[level + 1], widths[level])
            else:
                shapes |= {f"stitch.{domain}.{level}": (2,) for domain in self.domains}
        return shapes

    def initial(
        self, data: MultiDomain, seed: int, init_std: float, where: device | str = "cpu"
    ) -> dict[str, Tensor]:
        """Weights before the first step: rows and H of deviation ``init_std``, layers uniform in
        ±√(6 / in), α and β ``STITCH``."""
        drawn = {
            name: _drawn(name, shape, generator(seed, name), init_std)
            for name, shape in self.shapes(data).items()
        }
        return {name: torch.from_numpy(array).to(where).requires_grad_() for name, array in drawn.items()}

    def logits(self, weights: Weights, domain: str, batch: EmbeddedBatch, dropout: float = 0.0) -> Tensor:
        """Scores of the items of every event, (N, J), Eqs. (1) to (5)."""
        user_N1M, item_NJM = batch.user_NF[:, None, : self.width], batch.item_NJF[..., : self.width]
        runs = {domain: _concatenated(user_N1M, item_NJM)}  # Eq. (1)
        mask = {domain: batch.user_NF.new_ones(len(batch.user_NF), 1, 1)}
        for column, other in enumerate(self.others(domain)):
            runs[other] = _concatenated(user_N1M, batch.side_NSF[:, column, None, : self.width])
            mask[other] = batch.has_NS[:, column, None, None]
        for level in range(len(self.layers(domain))):
            runs = self._through(weights, level, runs, mask)
            runs = {name: _dropout(run, dropout) for name, run in runs.items()}
        product_NJG = batch.user_NF[:, None, self.width :] * batch.item_NJF[..., self.width :]
        return torch.cat([runs[domain], product_NJG], dim=2) @ weights[self.out(domain)]  # Eq. (3)

    def embed(
        self, weights: Weights, domain: str, user_N: Tensor, item_NJ: Tensor, side_NS: Tensor
    ) -> EmbeddedBatch:
        """The embeddings of a batch; ``side_NS`` is an item index in every other domain, or -1."""
        user_NF = embed_batch(weights[self.users(domain)], user_N)
        sides = [embed_batch(weights[f"item.{s}"], side_NS[:, n]) for n, s in enumerate(self.others(domain))]
        side_NSF = torch.stack(sides, dim=1) if sides else user_NF.new_zeros(len(user_N), 0, 0)
        item_NJF = embed_batch(weights[f"item.{domain}"], item_NJ)
        return EmbeddedBatch(user_NF, item_NJF, side_NSF, (side_NS >= 0).to(user_NF.dtype))

    def running(self, level: int, names: Sequence[str]) -> Sequence[str]:
        """Those of some towers that have this layer: from the last one of towers on only the first."""
        return names if level + 1 < len(self.tower) else names[:1]

    def _through(
        self, weights: Weights, level: int, runs: Mapping[str, Tensor], mask: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The activations of a layer above those of the one below it, by domain."""
        from torch.nn.functional import linear

        layers = {n: self.layer(weights, n, level) for n in self.running(level, list(runs))}
        above = {n: linear(runs[n], layer.own, layer.bias) for n, layer in layers.items()}  # Eq. (2)
        if len(runs) > 1 and level in self.crossed:
            # towers of domains without an event of the user add nothing to the mean
            seen = {name: mask[name] * run for name, run in runs.items()}
            total, others = sum(seen.values()), (torch.stack(list(mask.values())).sum(dim=0) - 1).clamp(min=1)
            for name, layer in layers.items():
                if layer.cross is not None:
                    above[name] = above[name] + linear((total - seen[name]) / others, layer.cross)  # Eq. (4)
        return {name: z.relu() for name, z in above.items()}


def embed_batch(table_RF: Tensor, index: Tensor) -> Tensor:
    """Embeddings by index, (…) -> (…, F), zero at -1; the gradient is sparse, so other rows cost nothing."""
    from torch.nn.functional import embedding

    known = index.reshape(-1) >= 0
    # the usual case, without the copy below
    if bool(known.all()):
        return embedding(index, table_RF, sparse=True)
    rows_RF = table_RF.new_zeros(len(known), table_RF.shape[1])
    rows_RF = rows_RF.index_put((known.nonzero()[:, 0],), embed_batch(table_RF, index.reshape(-1)[known]))
    return rows_RF.view(*index.shape, -1)


def he_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Float32:
    """Weights (out, in) that keep the variance through ReLU layers (He et al., ICCV 2015)."""
    bound = np.sqrt(6 / shape[-1])
    return np.asarray(rng.uniform(-bound, bound, shape), np.float32)


def _concatenated(user_N1M: Tensor, item_NJM: Tensor) -> Tensor:
    return torch.cat([user_N1M.expand(-1, item_NJM.shape[1], -1), item_NJM], dim=2)


def _dropout(run: Tensor, dropout: float) -> Tensor:
    return torch.nn.functional.dropout(run, dropout) if dropout else run


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator, init_std: float) -> Float32:
    if name.startswith(("user", "item", "cross")):
        return rng.standard_normal(shape, np.float32) * np.float32(init_std)
    if name.startswith("stitch"):
        return np.array(STITCH, np.float32)
    if name.endswith(".bias"):
        return np.zeros(shape, np.float32)
    return he_uniform(rng, shape)
