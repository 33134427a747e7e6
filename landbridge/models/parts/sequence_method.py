"""What sequence methods share: their settings, a batch's loss, and how they are run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from landbridge.data import sequences
from landbridge.data.batches import Pairwise
from landbridge.data.interactions import Int32, Interactions, Rows
from landbridge.data.multidomain import MultiDomain
from landbridge.data.queries import rows_of
from landbridge.data.sequences import Window, Windows
from landbridge.errors import DataError, SettingsError, unknown
from landbridge.models.base import Method
from landbridge.models.parts import sequence_losses
from landbridge.models.parts.attention import Encoder
from landbridge.models.parts.cold import COLD_POLICIES
from landbridge.models.parts.sequence_model import LEAST_NORM, Sequential
from landbridge.rng import generator
from landbridge.training import tensors
from landbridge.training.epochs import Record
from landbridge.training.loop import run_phase
from landbridge.training.neural import device, torch
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.rows import Optimizer

if TYPE_CHECKING:
    from torch import Tensor

LOSSES = ("softmax", "sampled", "bce", "gbce")


class Batch(NamedTuple):
    """Windows, with k items per place that the person has not, or M items drawn for the whole batch.

    ``own``: all that the persons have, a row per window.
    """

    window: Window
    other_BLK: Int32
    extra_M: Int32
    own: Rows


class Emphasis(Protocol):
    """How much each target counts, from epoch to epoch."""

    def begin(self, epoch: int) -> None:
        """Before the batches of an epoch."""

    def of(self, target_T: Tensor) -> Tensor:
        """The weights of targets, (T,)."""

    def seen(self, target_T: Tensor, loss_T: Tensor) -> None:
        """What the losses were."""

    def facts(self) -> Mapping[str, Any]:
        """What is put on record after an epoch."""

    @property
    def buffers(self) -> Mapping[str, Tensor]:
        """What it has to remember between epochs."""


class Even:
    """Every target counts once; on record is the mean loss by domain."""

    def __init__(self, train: MultiDomain, where: Any) -> None:
        self.names = train.names
        sizes = [events.n_items for events in train.domains.values()]
        self.domain_I = torch().repeat_interleave(torch().tensor(sizes)).to(where)
        self.buffers: dict[str, Tensor] = {}

    def begin(self, epoch: int) -> None:
        """Forget the losses of the epoch before."""
        self.total_D = torch().zeros(len(self.names), dtype=torch().float64, device=self.domain_I.device)
        self.count_D = torch().zeros_like(self.total_D)

    def of(self, target_T: Tensor) -> Tensor:
        """Ones."""
        return torch().ones(len(target_T), device=target_T.device)

    def seen(self, target_T: Tensor, loss_T: Tensor) -> None:
        """Add them up by domain."""
        domain_T = self.domain_I[target_T]
        self.total_D.index_add_(0, domain_T, loss_T.double())
        self.count_D.index_add_(0, domain_T, torch().ones_like(loss_T, dtype=torch().float64))

    def facts(self) -> Mapping[str, Any]:
        """``loss_of`` by domain."""
        mean_D = (self.total_D / self.count_D.clamp(min=1)).tolist()
        return {"loss_of": dict(zip(self.names, mean_D, strict=True))}


@dataclass(frozen=True)
class SequenceMethod(Method):
    """``factors`` to ``length``: :class:`~landbridge.models.parts.attention.Encoder`, here ``projected`` too.

    ``loss`` and ``log_q``: :mod:`~landbridge.models.parts.sequence_losses`; ``per_positive``: k of "bce" and
    "gbce"; ``extra``: M of "sampled", which hides what the person has where ``hide`` says so. ``horizon``:
    :mod:`landbridge.data.sequences`. ``temperature``: T of
    :class:`~landbridge.models.parts.sequence_model.Sequential`. ``batch_size``: windows per step.
    ``decay``: of weights, as in AdamW. ``spread``: standard deviation of weights at the start. ``clip``:
    largest norm of a gradient.
    """

    factors: int = 64
    blocks: int = 2
    heads: int = 2
    hidden: int = 256
    length: int = 50
    projected: bool = False
    dropout: float = 0.2
    loss: str = "softmax"
    log_q: str = "standard"
    extra: int = 0
    hide: bool = True
    per_positive: int = 1
    horizon: int = 1
    temperature: float | None = None
    lr: float = 1e-3
    decay: float = 0.0
    epochs: int = 100
    batch_size: int = 128
    spread: float = 0.02
    clip: float | None = 1.0
    cold_policy: str = "blend"
    cold_weight: float = 0.0
    kinds: ClassVar[tuple[str, ...]] = LOSSES

    def __post_init__(self) -> None:
        for made in (lambda: self.encoder, lambda: Optimizer("adam", self.lr, decay=self.decay)):
            made()  # they check their settings
        choices = {"loss": self.kinds, "log_q": sequence_losses.LOG_Q, "cold_policy": COLD_POLICIES}
        for key, valid in choices.items():
            if getattr(self, key) not in valid:
                raise SettingsError(unknown(key, getattr(self, key), valid))
        if min(self.per_positive, self.horizon, self.batch_size) < 1:
            raise SettingsError("per_positive, horizon and batch_size must be 1 or more.")
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"dropout must be 0 or more and below 1, not {self.dropout}.")
        if self.extra < 0 or self.decay < 0 or self.spread <= 0:
            raise SettingsError("extra and decay must be 0 or more and spread above 0.")
        for key in ("temperature", "clip"):
            if getattr(self, key) is not None and getattr(self, key) <= 0:
                raise SettingsError(f"{key} must be above 0 or None, not {getattr(self, key)}.")

    @property
    def encoder(self) -> Encoder:
        """The network's plan."""
        return Encoder(self.factors, self.blocks, self.heads, self.hidden, self.length, self.projected)

    def emphasis(self, train: MultiDomain, where: Any) -> Emphasis:
        """How much each target counts."""
        return Even(train, where)

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> Sequential:
        """Go ``epochs`` times through all events but everybody's first."""
        options = options or FitOptions()
        where = device(options.device)
        windows = Windows(sequences.in_time(train), self.length, self.batch_size, self.horizon, options.seed)
        if not len(windows):
            raise DataError("Nobody has two events: there is no sequence to learn from.")
        table, _ = train.joined()
        weights = self.encoder.initial(table.n_items, options.seed, self.spread, where)
        phase = self.phase(_Steps(self, windows, table), weights, self.emphasis(train, where))
        identity = {"settings": asdict(self), "data": train.fingerprint, "seed": options.seed}
        log = run_phase(phase, options, identity, lambda: self._fitted(train, weights, ()))
        return self._fitted(train, weights, log)

    def phase(self, steps: _Steps, weights: Mapping[str, Tensor], emphasis: Emphasis) -> Phase:
        """All epochs."""
        share_I = torch().from_numpy(steps.share_I).to(next(iter(weights.values())).device)

        def batches(epoch: int) -> Iterator[Batch]:
            emphasis.begin(epoch)
            return steps.epoch(epoch)

        return Phase(
            self.name,
            self.epochs,
            batches,
            lambda batch: self.losses(weights, batch, share_I, emphasis),
            weights,
            optimizer=Optimizer("adam", self.lr, decay=self.decay),
            buffers=emphasis.buffers,
            clip=self.clip,
            facts=emphasis.facts,
        )

    def losses(
        self, weights: Mapping[str, Tensor], batch: Batch, share_I: Tensor, emphasis: Emphasis
    ) -> dict[str, Tensor]:
        """The mean over the batch's targets, weighted: Σ ω ℓ / Σ ω."""
        input_BL, target_BL, other_BLK = (
            torch().from_numpy(array).long().to(share_I.device)
            for array in (batch.window.input_BL, batch.window.target_BL, batch.other_BLK)
        )
        given_BL = target_BL >= 0
        target_T = target_BL[given_BL]
        query_TF = self.encoder.states(weights, input_BL, self.dropout)[given_BL]
        weight_T = emphasis.of(target_T)
        weight_T = weight_T / weight_T.sum()
        if self.loss in ("bce", "gbce"):
            total, loss_T = self._binary(weights, query_TF, target_T, other_BLK[given_BL], weight_T)
        else:
            among = self._candidates(batch, given_BL, target_T, share_I)
            item_CF = weights["item"] if self.loss == "softmax" else _rows(weights["item"], among.item_C)
            total, loss_T = sequence_losses.cross_entropy(*self._scaled(query_TF, item_CF), among, weight_T)
        emphasis.seen(target_T, loss_T)
        return {"all domains": total}

    def _candidates(
        self, batch: Batch, given_BL: Tensor, target_T: Tensor, share_I: Tensor
    ) -> sequence_losses.Candidates:
        if self.loss == "softmax":
            return sequence_losses.everything(len(share_I), target_T)
        extra_M = torch().from_numpy(batch.extra_M).long().to(target_T.device)
        among = sequence_losses.in_batch(target_T, extra_M, share_I, self.log_q)
        if not self.hide:
            return among
        window_T = given_BL.nonzero()[:, 0]
        return replace(among, hidden_BC=_held(batch.own, among.item_C, len(share_I)), window_T=window_T)

    def _binary(
        self,
        weights: Mapping[str, Tensor],
        query_TF: Tensor,
        target_T: Tensor,
        other_TK: Tensor,
        weight_T: Tensor,
    ) -> tuple[Tensor, Tensor]:
        item_TJ = torch().cat([target_T[:, None], other_TK], dim=1)
        query_TF, item_TJF = self._scaled(query_TF, _rows(weights["item"], item_TJ))
        score_TJ = (item_TJF @ query_TF[:, :, None])[..., 0]
        loss_T = sequence_losses.binary(self.loss, score_TJ, len(weights["item"]))
        return (weight_T * loss_T).sum(), loss_T.detach()

    def _scaled(self, query_TF: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """What is multiplied: rows as they are, or of length 1 and 1 / T."""
        from torch.nn.functional import normalize

        if self.temperature is None:
            return query_TF, item
        return normalize(query_TF, dim=-1, eps=LEAST_NORM) / self.temperature, normalize(
            item, dim=-1, eps=LEAST_NORM
        )

    def _fitted(
        self, train: MultiDomain, weights: Mapping[str, Tensor], log: tuple[Record, ...]
    ) -> Sequential:
        arrays = tensors.arrays(weights)
        return Sequential(
            train, self, log, self.encoder, arrays, self.temperature, self.cold_policy, self.cold_weight
        )


@dataclass(frozen=True, eq=False)
class _Steps:
    """The batches of a fit. ``table``: all domains as one."""

    method: SequenceMethod
    windows: Windows
    table: Interactions

    def epoch(self, number: int) -> Iterator[Batch]:
        """A function of its number."""
        rng = generator(self.windows.seed, "extra items", str(number))
        for step, window in enumerate(self.windows.epoch(number)):
            extra_M = rng.integers(self.table.n_items, size=self._extra, dtype=np.int32)
            own = rows_of(self.table.by_user, window.row_B)
            yield Batch(window, self._others(window, number, step), extra_M, own)

    @property
    def share_I(self) -> npt.NDArray[np.float32]:
        """f of every item, (I,)."""
        return (self.table.item_counts / max(len(self.table), 1)).astype(np.float32)

    @property
    def _extra(self) -> int:
        return self.method.extra if self.method.loss == "sampled" else 0

    def _others(self, window: Window, epoch: int, step: int) -> Int32:
        """Items that the persons have not, (B, L, K)."""
        from landbridge.data.batch_kernels import negatives

        k = self.method.per_positive if self.method.loss in ("bce", "gbce") else 0
        other_BLK = np.zeros((*window.target_BL.shape, k), np.int32)
        given_BL = window.target_BL >= 0
        row_T = np.repeat(window.row_B, given_BL.sum(axis=1)).astype(np.int32)
        target_T, rows = window.target_BL[given_BL], self.table.by_user
        for column in range(k):
            key = generator(self.windows.seed, "negatives", str(epoch), str(step), str(column)).integers(
                2**63
            )
            drawn_T = np.empty_like(target_T)
            ranges = Pairwise(self.table, {}, "all").ranges
            negatives(np.uint64(key), row_T, target_T, rows.offsets, rows.columns, *ranges, drawn_T)
            other_BLK[given_BL, column] = drawn_T
        return other_BLK


def _held(own: Rows, item_C: Tensor, n_items: int) -> Tensor:
    """Whether the person of each window has each candidate, (B, C)."""
    place_I = torch().full((n_items,), -1, device=item_C.device)
    place_I[item_C] = torch().arange(len(item_C), device=item_C.device)
    place_N = place_I[torch().from_numpy(own.columns).long().to(item_C.device)]
    row_N = torch().from_numpy(np.repeat(np.arange(len(own.offsets) - 1), np.diff(own.offsets)))
    held_BC = torch().zeros(len(own.offsets) - 1, len(item_C), dtype=torch().bool, device=item_C.device)
    held_BC[row_N.to(item_C.device)[place_N >= 0], place_N[place_N >= 0]] = True
    return held_BC


def _rows(item_IF: Tensor, index: Tensor) -> Tensor:
    from torch.nn.functional import embedding

    return embedding(index, item_IF, sparse=True)
