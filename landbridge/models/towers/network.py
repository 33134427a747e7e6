"""Towers (multi-layer perceptrons) on user and item embeddings, one per domain, and what domains share.

The embeddings e_u = [e'_u ; p_u] and q_i = [q'_i ; y_i] have M columns for the tower and G for a product. In
domain d, with the layers l = 1 … L of the tower and those of the domain's head after them,

    a_0 = [e'_u ; q'_i]                                                                                (1)
    a_l = ReLU(W_l a_{l-1} + b_l)                                                                      (2)
    ŷ_ui = h · [a ; p_u ⊙ y_i]      a: of the last layer                                               (3)

``sharing`` says what domains have in common: nothing ("separate"), user embeddings ("user"), these and the
tower ("tower"), everything but items ("joined"), or user embeddings and cross units ("cross"). With cross
units the towers of all domains run together, each on the user and an item of its domain, and

    a^d_l = ReLU(W^d_l a^d_{l-1} + b^d_l + H_l mean_{s≠d} a^s_{l-1})      l ≤ L                         (4)

where H is the same for all pairs of domains in both directions, and s runs over the other domains in which
the user has an item; an empty mean is zero. With two domains (4) is the cross unit of CoNet.

Weights by name: ``user``, ``item.books``, ``shared.0.weight`` (out, in), ``tower.books.0.bias``,
``cross.1.weight``, ``head.books.0.weight``, ``head.books.out``. Letters: N events, J items of an event, S
other domains, F = M + G columns of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor, device

SHARING = ("separate", "user", "tower", "cross", "joined")
Weights = Mapping[str, "Tensor"]


class EmbeddedBatch(NamedTuple):
    """The embeddings of a batch: users, items, an item in every other domain, and whether there is one."""

    user_NF: Tensor
    item_NJF: Tensor
    side_NSF: Tensor
    has_NS: Tensor


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
        return tuple(name for name in self.domains if name != domain) if self.sharing == "cross" else ()

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
        for level in range(len(self.tower) if self.sharing == "cross" else 0):
            shapes[f"cross.{level}.weight"] = (widths[level + 1], widths[level])
        return shapes

    def initial(
        self, data: MultiDomain, seed: int, init_std: float, where: device | str = "cpu"
    ) -> dict[str, Tensor]:
        """Weights before the first step: rows and H of deviation ``init_std``, layers uniform in
        ±√(6 / in)."""
        drawn = {
            name: _drawn(name, shape, generator(seed, name), init_std)
            for name, shape in self.shapes(data).items()
        }
        return {name: torch.from_numpy(array).to(where).requires_grad_() for name, array in drawn.items()}

    def logits(self, weights: Weights, domain: str, batch: EmbeddedBatch, dropout: float = 0.0) -> Tensor:
        """Scores of the items of every event, (N, J), Eqs. (1) to (4)."""
        user_N1M, item_NJM = batch.user_NF[:, None, : self.width], batch.item_NJF[..., : self.width]
        runs = {domain: _concatenated(user_N1M, item_NJM)}  # Eq. (1)
        mask = {domain: batch.user_NF.new_ones(len(batch.user_NF), 1, 1)}
        for column, other in enumerate(self.others(domain)):
            runs[other] = _concatenated(user_N1M, batch.side_NSF[:, column, None, : self.width])
            mask[other] = batch.has_NS[:, column, None, None]
        for level, name in enumerate(self.layers(domain)):
            if level < len(self.tower) and len(runs) > 1:
                runs = self._cross(weights, level, runs, mask)
            else:
                runs = {domain: _dense(weights, name, runs[domain]).relu()}  # Eq. (2)
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

    def _cross(
        self, weights: Weights, level: int, runs: Mapping[str, Tensor], mask: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Eq. (4) for all towers; in the last crossed layer only for the first, which alone goes on."""
        from torch.nn.functional import linear

        # towers of domains without an event of the user add nothing to the mean
        seen = {name: mask[name] * run for name, run in runs.items()}
        total, others = sum(seen.values()), (torch.stack(list(mask.values())).sum(dim=0) - 1).clamp(min=1)
        running = list(runs) if level + 1 < len(self.tower) else list(runs)[:1]
        return {
            name: (
                _dense(weights, self.layers(name)[level], runs[name])
                + linear((total - seen[name]) / others, weights[f"cross.{level}.weight"])  # Eq. (4)
            ).relu()
            for name in running
        }


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


def _dense(weights: Weights, name: str, below: Tensor) -> Tensor:
    from torch.nn.functional import linear

    return linear(below, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _dropout(run: Tensor, dropout: float) -> Tensor:
    return torch.nn.functional.dropout(run, dropout) if dropout else run


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator, init_std: float) -> Float32:
    if name.startswith(("user", "item", "cross")):
        return rng.standard_normal(shape, np.float32) * np.float32(init_std)
    if name.endswith(".bias"):
        return np.zeros(shape, np.float32)
    return he_uniform(rng, shape)
