"""CAT: a contrastive auto-encoder over a user's embeddings of all domains, side by side.

Source: CAT-ART (Li et al., WSDM 2023). p_u^k is the embedding of user u learned in domain k alone, t a
learned pad vector. The auto-encoder sees

    x_u = [x_u^1 ; … ; x_u^D],   x_u^k = p_u^k where u has events in domain k, else t                  (1)
    x'_u  the same with t in place of one of the domains of u, for some users                          (2)
    c = Enc(x),  c' = Enc(x'),  x̂ = Dec(c),  x̂' = Dec(c')                                              (3)

with layers of 5F, 3F and F units in Enc, mirrored in Dec, and a PReLU between layers. A step minimises

    β mean_{i masked} ½ (ℓ(c_i, c') + ℓ(c'_i, c)) + (1-β)/2 mean_i (rec(x̂_i) + rec(x̂'_i))               (4)
    ℓ(c_i, c') = -log [exp(cos(c_i, c'_i)/τ) / Σ_k exp(cos(c_i, c'_k)/τ)] = log(1 + n g_i)             (5)
    rec(x̂_i) = the mean square of x̂_i - x_i over the numbers of the domains of user i                  (6)

where n = B - 1 and g is that of :mod:`landbridge.models.uclr.contrastive`, Eq. (3). Without a masked user
only rec is left. The first and the last layer are kept in blocks by domain: W x = Σ_k W^k x^k, so that no
result depends on the order of the domains. Functions take tensors or arrays: serving needs no torch.

Letters: B users, D domains, F factors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.types import Float32
from landbridge.models.uclr.contrastive import log_partition_and_kl
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = (5, 3, 1)  # of the layers of Enc, times F
SLOPE = 0.25  # of PReLU for negative numbers before training

ArrayT = TypeVar("ArrayT", "Tensor", Float32)


class UserRows(NamedTuple):
    """A batch of users by domain: embeddings (B, F), and 1 where the user has events, else 0 (B, 1)."""

    rows: Mapping[str, Tensor]
    present: Mapping[str, Tensor]


@dataclass(frozen=True)
class ConcatenationEncoder:
    """The auto-encoder of embeddings with ``factors`` numbers in each of the ``domains``."""

    domains: tuple[str, ...]
    factors: int

    def initial(self, seed: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Weights (out, in) and biases uniform in ±1/√in, slopes of PReLU, and t = 0; float32, trainable."""
        drawn = {"pad": np.zeros(self.factors, np.float32)}
        for name, shape, inner in self._shapes():
            bound = inner**-0.5
            drawn[name] = generator(seed, "cat", name).uniform(-bound, bound, shape).astype(np.float32)
        for name in ("encoder.0", "encoder.1", "decoder.0", "decoder.1"):
            drawn[f"{name}.slope"] = np.full(1, SLOPE, np.float32)
        return {name: torch.from_numpy(array).to(device).requires_grad_() for name, array in drawn.items()}

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...], int]]:
        """Name, shape and number of inputs of every layer's weight and bias."""
        wide, middle, code = (width * self.factors for width in WIDTHS)
        layers = {"encoder.1": (middle, wide), "encoder.2": (code, middle)}
        layers |= {"decoder.0": (middle, code), "decoder.1": (wide, middle)}
        for name, (outer, inner) in layers.items():
            yield f"{name}.weight", (outer, inner), inner
            yield f"{name}.bias", (outer,), inner
        inner = len(self.domains) * self.factors
        yield "encoder.0.bias", (wide,), inner
        for domain in self.domains:
            yield f"encoder.in.{domain}", (wide, self.factors), inner
            yield f"decoder.out.{domain}", (self.factors, wide), wide
            yield f"decoder.bias.{domain}", (self.factors,), wide

    def encode(
        self,
        weights: Mapping[str, ArrayT],
        rows: Mapping[str, ArrayT],
        present: Mapping[str, ArrayT],
    ) -> ArrayT:
        """Codes of users, (B, F): Eqs. (1) and (3)."""
        hidden = weights["encoder.0.bias"]
        for domain in self.domains:
            here_B1 = present[domain]
            x_BF = here_B1 * rows[domain] + (1 - here_B1) * weights["pad"]  # Eq. (1)
            part_BH: ArrayT = x_BF @ weights[f"encoder.in.{domain}"].T
            hidden = hidden + part_BH
        hidden = _dense(weights, "encoder.1", _prelu(hidden, weights["encoder.0.slope"]))
        return _dense(weights, "encoder.2", _prelu(hidden, weights["encoder.1.slope"]))

    def decode(self, weights: Mapping[str, ArrayT], code_BF: ArrayT) -> dict[str, ArrayT]:
        """Embeddings by domain reconstructed from codes, (B, F) each: Eq. (3)."""
        hidden = _prelu(_dense(weights, "decoder.0", code_BF), weights["decoder.0.slope"])
        hidden = _prelu(_dense(weights, "decoder.1", hidden), weights["decoder.1.slope"])
        return {
            domain: hidden @ weights[f"decoder.out.{domain}"].T + weights[f"decoder.bias.{domain}"]
            for domain in self.domains
        }

    def terms(
        self,
        weights: Mapping[str, Tensor],
        users: UserRows,
        kept: Mapping[str, Tensor],
        contrast_weight: float,
        temperature: float,
    ) -> dict[str, Tensor]:
        """The terms of Eq. (4); ``kept``: as ``users.present``, 0 also in the masked domain."""
        code_BF = self.encode(weights, *users)
        if all(kept[domain] is users.present[domain] for domain in self.domains):
            return {"rebuilt": (1 - contrast_weight) * self._rebuilt(weights, users, code_BF)}
        masked_B = sum(users.present[domain] - kept[domain] for domain in self.domains)[:, 0]  # type: ignore[index]
        masked_code_BF = self.encode(weights, users.rows, kept)
        streams = [self._rebuilt(weights, users, each_BF) for each_BF in (code_BF, masked_code_BF)]
        terms = {"rebuilt": (1 - contrast_weight) / 2 * (streams[0] + streams[1])}
        if len(code_BF) > 1:
            loss_B = symmetric_contrast(code_BF, masked_code_BF, temperature)
            terms["contrast"] = contrast_weight * (masked_B * loss_B).sum() / masked_B.sum()  # Eq. (4)
        return terms

    def _rebuilt(self, weights: Mapping[str, Tensor], users: UserRows, code_BF: Tensor) -> Tensor:
        """The mean of Eq. (6), a scalar."""
        rebuilt = self.decode(weights, code_BF)
        square_B = sum(
            (users.present[name] * (rebuilt[name] - users.rows[name])).square().sum(dim=1)
            for name in self.domains
        )
        numbers_B = self.factors * sum(users.present[name][:, 0] for name in self.domains)
        return (square_B / numbers_B.clip(min=1)).mean()  # type: ignore[union-attr]


def symmetric_contrast(one_BF: Tensor, other_BF: Tensor, temperature: float) -> Tensor:
    """The mean of ℓ of Eq. (5) in both directions, (B,), for two users or more."""
    from torch.nn.functional import softplus

    tau_B = one_BF.new_full((len(one_BF),), temperature)
    log_g = (log_partition_and_kl(*pair, tau_B)[0] for pair in ((one_BF, other_BF), (other_BF, one_BF)))
    first_B, second_B = (softplus(log_g_B + math.log(len(one_BF) - 1)) for log_g_B in log_g)  # Eq. (5)
    return (first_B + second_B) / 2


def _dense(weights: Mapping[str, ArrayT], name: str, below: ArrayT) -> ArrayT:
    return below @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _prelu(x: ArrayT, slope_1: ArrayT) -> ArrayT:
    # clip: the same line runs on torch and on NumPy
    below: ArrayT = slope_1 * x.clip(max=0)
    return x.clip(min=0) + below
