"""Dual-stream auto-encoder: one stream encodes users' embeddings, the other has some users masked.

Source: UCLR (Yang et al., WWW 2024, Eq. 4); see docs/methods/uclr.md. A layer is x ← W x + b, with ReLU
between layers and none after the code or the reconstruction. Weights are passed in as a mapping of tensors,
so that the same functions run on trained, adapted (``lora``) and merged weights. A user is kept (k_i = 1) or
masked as a whole (k_i = 0, E_i replaced by 0), so the second stream costs one extra row:

    e_i = Enc(E_i),  Ê_i = Dec(e_i)                                                                    (1)
    e'_i = k_i e_i + (1 - k_i) Enc(0),  Ê'_i = k_i Ê_i + (1 - k_i) Dec(Enc(0))                         (2)

Biases are not initialised at 0: with Enc(0) = 0 the cosine of a masked user would be undefined.

Letters: B users, F factors of an embedding, L numbers of a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import Float32, Values
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

LAYOUTS = {"A": (128, 32), "B": (32,)}  # "hidden layer of size [128, 32]": in B 128 is the input's size
MASKS = ("exact", "bernoulli")


class Streams(NamedTuple):
    """Codes (B, L) and reconstructions (B, F) of the plain and of the masked stream."""

    code_BL: Tensor
    blanked_code_BL: Tensor
    rebuilt_BF: Tensor
    blanked_rebuilt_BF: Tensor


ArrayT = TypeVar("ArrayT", "Tensor", Float32)


@dataclass(frozen=True)
class AutoEncoder:
    """Layer ``widths`` from an embedding to its code; the decoder mirrors them."""

    widths: tuple[int, ...]

    @classmethod
    def of(cls, factors: int, layout: str = "A") -> AutoEncoder:
        """The auto-encoder of embeddings with ``factors`` numbers; SettingsError for an unknown layout."""
        if layout not in LAYOUTS:
            raise SettingsError(unknown("layout of the auto-encoder", layout, LAYOUTS))
        return cls((factors, *LAYOUTS[layout]))

    @classmethod
    def with_weights(cls, weights: Values) -> AutoEncoder:
        """The auto-encoder that these weights belong to."""
        encoder = [
            weights[name] for name in weights if name.startswith("encoder.") and name.endswith("weight")
        ]
        return cls((encoder[0].shape[1], *(weight.shape[0] for weight in encoder)))

    def initial(self, rng: np.random.Generator, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Weights (out, in) and biases (out,), uniform in ±1/√in, float32 and trainable."""
        weights: dict[str, Tensor] = {}
        for part, widths in (("encoder", self.widths), ("decoder", self.widths[::-1])):
            for number, (inner, outer) in enumerate(pairwise(widths)):
                bound = inner**-0.5
                for kind, shape in (("weight", (outer, inner)), ("bias", (outer,))):
                    drawn = rng.uniform(-bound, bound, shape).astype(np.float32)
                    weights[f"{part}.{number}.{kind}"] = torch.tensor(
                        drawn, device=device, requires_grad=True
                    )
        return weights

    def encode(self, weights: Mapping[str, ArrayT], rows_BF: ArrayT) -> ArrayT:
        """Codes of embeddings, (B, L); takes tensors or arrays."""
        return self._through("encoder", weights, rows_BF)

    def decode(self, weights: Mapping[str, ArrayT], code_BL: ArrayT) -> ArrayT:
        """Embeddings reconstructed from codes, (B, F); takes tensors or arrays."""
        return self._through("decoder", weights, code_BL)

    def blank(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Enc(0) and Dec(Enc(0)), (1, L) and (1, F): the code and the embedding of an unknown user."""
        code_1L = self.encode(weights, weights["encoder.0.weight"].new_zeros((1, self.widths[0])))
        return code_1L, self.decode(weights, code_1L)

    def streams(self, weights: Mapping[str, Tensor], rows_BF: Tensor, kept_B: Tensor) -> Streams:
        """Both streams, Eqs. (1) and (2); ``kept_B`` is bool, False where a user is masked."""
        code_BL = self.encode(weights, rows_BF)  # Eq. (1)
        rebuilt_BF = self.decode(weights, code_BL)
        code_1L, rebuilt_1F = self.blank(weights)
        kept_B1 = kept_B.unsqueeze(1)
        blanked_code_BL = code_BL.where(kept_B1, code_1L)  # Eq. (2)
        return Streams(code_BL, blanked_code_BL, rebuilt_BF, rebuilt_BF.where(kept_B1, rebuilt_1F))

    def _through(self, part: str, weights: Mapping[str, ArrayT], values_BF: ArrayT) -> ArrayT:
        for number in range(len(self.widths) - 1):
            # clip and not torch's relu: the same line runs on NumPy arrays, so serving needs no torch
            values_BF = values_BF.clip(min=0) if number else values_BF
            values_BF = values_BF @ weights[f"{part}.{number}.weight"].T + weights[f"{part}.{number}.bias"]
        return values_BF


def keep_mask(
    size: int, ratio: float, rng: np.random.Generator, sampling: str = "exact"
) -> npt.NDArray[np.bool_]:
    """Random mask of the users that the masked stream keeps, (size,); a fraction ``ratio`` is False.

    "exact" masks the nearest whole number of users, "bernoulli" each user independently. SettingsError for
    another word or a ratio outside [0, 1].
    """
    if sampling not in MASKS:
        raise SettingsError(unknown("mask sampling", sampling, MASKS))
    if not 0 <= ratio <= 1:
        raise SettingsError(f"mask_ratio must be a fraction of users between 0 and 1, not {ratio:g}.")
    if sampling == "bernoulli":
        return rng.random(size) >= ratio
    kept_B = np.ones(size, bool)
    # + 0.5: half is rounded up, where round() goes to even
    kept_B[rng.permutation(size)[: int(ratio * size + 0.5)]] = False
    return kept_B
