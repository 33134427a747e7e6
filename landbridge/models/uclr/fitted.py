"""``AutoencoderModel``: rows that went through an auto-encoder of each domain, and how new rows go the same
way.

With Enc and Dec the domain's layers and W_u a user's embedding before them,

    Ê_u = Dec(Enc(W_u)),   r_ui = x_u · I_i,   x_u = Ê_u ("rebuilt") or (Ê_u + W_u)/2 ("mean")          (1)

A new user's embedding is folded in by the model that was there before the auto-encoder, ``base``, and then
goes through (1); a user without events has the embedding Dec(Enc(0)). Scoring needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Float32, Ragged
from landbridge.models.base import StoredState
from landbridge.models.common.dot_product import DotProductModel, embeddings_from
from landbridge.models.uclr.autoencoder import AutoEncoder

BLOCK_ROWS = 8192
Layers = Mapping[str, Float32]


@dataclass(frozen=True, eq=False)
class AutoencoderModel(DotProductModel):
    """``user_UF`` holds x_u of Eq. (1) for every user, so a known user costs a look-up.

    ``layers``: domain -> the auto-encoder's weights by name, none where rows are served as they are.
    """

    base: DotProductModel
    layers: Mapping[str, Layers]
    scored: str
    kind: ClassVar[str] = "encoded"

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Those of the model before."""
        return self.base.parties(domain, counts_BD)

    def fold_in(self, domain: str, events: Mapping[str, Ragged], size: int) -> Float32:
        """Embeddings of users given by ``size`` rows of events per domain, (B, F): only they are learned."""
        return encode_users(self.layers[domain], self.scored, self.base.fold_in(domain, events, size))

    @cached_property
    def _cold_F(self) -> dict[str, Float32]:
        """Dec(Enc(0)), unless the cold policy says otherwise."""
        if self.cold_policy in ("mean", "zero"):
            return super()._cold_F
        return {
            name: encode_users(self.layers[name], "rebuilt", np.zeros((1, rows_UF.shape[1]), np.float32))[0]
            for name, rows_UF in self.user_UF.items()
        }

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """The rows, every distinct set of layers once, and the model before."""
        arrays, about = self.rows_state()
        own, description = self.base.state()
        arrays |= {f"base/{name}": array for name, array in own.items()}
        arrays |= {
            f"layer:{domain}|{name}": array
            for domain, layers in self.layers.items()
            for name, array in layers.items()
        }
        method = self.base.method
        base = {"kind": self.base.kind, "method": method.name, "settings": method.flat()}
        return arrays, {**about, "scored": self.scored, "base": {**base, "about": description}}

    @classmethod
    def from_state(cls, kept: StoredState) -> AutoencoderModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        from landbridge.models import registry

        base = about["base"]
        own = {key.removeprefix("base/"): array for key, array in arrays.items() if key.startswith("base/")}
        first_kind = registry.method(base["method"])
        first = first_kind.from_settings(first_kind.migrated(base["settings"]))
        before = registry.kind(base["kind"]).from_state(StoredState(history, first, (), own, base["about"]))
        assert isinstance(before, DotProductModel)
        layers = {
            domain: {
                key.removeprefix(f"layer:{domain}|"): array
                for key, array in arrays.items()
                if key.startswith(f"layer:{domain}|")
            }
            for domain in history.domain_names
        }
        return cls(
            history, method, log, *embeddings_from(history, arrays, about), before, layers, about["scored"]
        )


def encode_users(layers: Layers, scored: str, rows_BF: Float32) -> Float32:
    """x of Eq. (1) for rows W, (B, F); as they are where there are no layers."""
    if not layers:
        return rows_BF
    encoder = AutoEncoder.with_weights(layers)
    out_BF = np.empty_like(rows_BF)
    for start in range(0, len(rows_BF), BLOCK_ROWS):
        block_BF = rows_BF[start : start + BLOCK_ROWS]
        rebuilt_BF = encoder.decode(layers, encoder.encode(layers, block_BF))  # Eq. (1)
        out_BF[start : start + BLOCK_ROWS] = (
            rebuilt_BF if scored == "rebuilt" else (rebuilt_BF + block_BF) / 2
        )
    return out_BF


def over_domains(base: DotProductModel) -> Float32:
    """Every user's embeddings of all domains as one, each in proportion to their events there, (U, F).

    Where all domains share a row it is that row; without events it is zero.
    """
    distinct = {id(rows_UF): rows_UF for rows_UF in base.user_UF.values()}
    activity_UD = base.history.activity_UD
    if len(distinct) == 1:
        known_U1 = np.asarray(activity_UD.sum(axis=1) > 0)[:, None].astype(np.float32)
        return np.asarray(next(iter(distinct.values())) * known_U1)
    share_UD = (activity_UD / np.maximum(activity_UD.sum(axis=1), 1)[:, None]).astype(np.float32)
    return np.asarray(
        sum(share_UD[:, d, None] * base.user_UF[name] for d, name in enumerate(base.history.domain_names)),
        np.float32,
    )
