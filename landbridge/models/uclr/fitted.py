"""``AutoencoderModel``: user embeddings passed through each domain's auto-encoder, and fold-in of new users.

Source: UCLR (Yang et al., WWW 2024); which embedding is scored is not published, see docs/methods/uclr.md.
With Enc and Dec the domain's layers and W_u the user's pretrained embedding,

    Ê_u = Dec(Enc(W_u)),   r_ui = x_u · I_i,   x_u = c Ê_u + (1 - c) W_u                               (1)

with c = 1 ("rebuilt"), 1/2 ("mean") or 0 ("pretrained": W_u · I_i, as the paper writes the score).

Fold-in: the pretrained model, ``base``, folds in a new user's embedding, which then passes through Eq. (1).
Cold start: a user without events has the embedding Dec(Enc(0)). Scoring needs no torch.

Letters: U users, B rows of a batch, F factors, I items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Arrays, Float32, Ragged, Record
from landbridge.models.base import StoredState
from landbridge.models.common.dot_product import NONE, DotProductModel, embeddings_from
from landbridge.models.common.pretraining import base_from, base_state
from landbridge.models.uclr.autoencoder import AutoEncoder

REBUILT_SHARE: Mapping[str, float] = MappingProxyType({"rebuilt": 1.0, "mean": 0.5, "pretrained": 0.0})  # c
BLOCK_ROWS = 8192  # bounds the memory of the hidden layers when all users are encoded
Layers = Mapping[str, Float32]


@dataclass(frozen=True, eq=False)
class AutoencoderModel(DotProductModel):
    """``user_UF`` holds x_u of Eq. (1) for every user, so a known user costs a look-up.

    ``layers``: domain -> the auto-encoder's weights by name, empty where embeddings are used unchanged.
    """

    base: DotProductModel
    layers: Mapping[str, Layers]
    scored: str
    kind: ClassVar[str] = "encoded"
    unexplained: ClassVar[str] = "an auto-encoder rebuilds the user's embedding"

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """The domains that the pretrained model uses."""
        return self.base.parties(domain, counts_BD)

    def fold_in(
        self, domain: str, events: Mapping[str, Ragged], size: int, disliked: Mapping[str, Ragged] = NONE
    ) -> Float32:
        """Embeddings of ``size`` users given by rows of events per domain, (B, F); all else stays fixed."""
        return encode_users(
            self.layers[domain], self.scored, self.base.fold_in(domain, events, size, disliked)
        )

    @cached_property
    def _cold_F(self) -> dict[str, Float32]:
        """Embedding of a cold user by domain: Dec(Enc(0)), unless the cold policy sets another."""
        if self.cold_policy in ("mean", "zero"):
            return super()._cold_F
        return {
            name: encode_users(self.layers[name], "rebuilt", np.zeros((1, rows_UF.shape[1]), np.float32))[0]
            for name, rows_UF in self.user_UF.items()
        }

    def state(self) -> tuple[Arrays, Record]:
        """The embeddings, the layers by domain, and the pretrained model."""
        arrays, about = self.rows_state()
        own, base = base_state(self.base)
        arrays |= own
        arrays |= {
            f"layer:{domain}|{name}": array
            for domain, layers in self.layers.items()
            for name, array in layers.items()
        }
        return arrays, {**about, "scored": self.scored, **base}

    @classmethod
    def from_state(cls, kept: StoredState) -> AutoencoderModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        before = base_from(history, arrays, about)
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
    """x of Eq. (1) for embeddings W, (B, F); W itself where there are no layers."""
    if not layers:
        return rows_BF
    encoder, share = AutoEncoder.with_weights(layers), np.float32(REBUILT_SHARE[scored])
    out_BF = np.empty_like(rows_BF)
    for start in range(0, len(rows_BF), BLOCK_ROWS):
        block_BF = rows_BF[start : start + BLOCK_ROWS]
        rebuilt_BF = encoder.decode(layers, encoder.encode(layers, block_BF))  # Eq. (1)
        out_BF[start : start + BLOCK_ROWS] = share * rebuilt_BF + (1 - share) * block_BF
    return out_BF


def over_domains(base: DotProductModel) -> Float32:
    """One embedding per user: the mean over domains, weighted by the user's events in each, (U, F).

    It is the common embedding where domains share one table, and zero for a user without events.
    """
    # one joined table is one array: the mean of equal rows would only round
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
