"""Training of sequential models: settings, batches, target weights and the loss of a batch.

SASRec and DWL share this module. A batch holds B windows of L positions. With the loss ℓ_t and the weight ω_t
of each of its T targets (:mod:`landbridge.models.sequential.losses`), a step minimises

    L = Σ_t ω_t ℓ_t / Σ_t ω_t                                                                          (1)

Scores are dot products of states and item embeddings, or with a temperature T cosines divided by it:

    s_tc = ⟨q_t, v_c⟩,   or   ⟨q_t, v_c⟩ / (‖q_t‖ ‖v_c‖ T)                                            (2)

With ``loss.within_domain`` the targets of each domain are compared with items of that domain, M of which are
drawn for each.

Letters: B windows, L positions, T targets, K sampled items per target, J = 1 + K, M sampled items per batch,
C candidates, F factors, I items of all domains, N events, D domains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.rng import generator
from landbridge.core.settings import setting
from landbridge.core.types import Arrays, Int32, Ragged, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.sampling.pairwise import Pairwise
from landbridge.data.sampling.sequences import Window, Windows
from landbridge.models.base import Method
from landbridge.models.common.cold_start import COLD_POLICY, POPULARITY_WEIGHT, ColdPolicy
from landbridge.models.sequential import losses as sequence_losses
from landbridge.models.sequential.cross_domain import CrossDomain, domains_of_items
from landbridge.models.sequential.fitted import SequenceModel
from landbridge.models.sequential.losses import SequenceLoss
from landbridge.models.sequential.transformer import LEAST_NORM, Encoder, Reading, initial
from landbridge.models.sequential.warm_start import continue_from, previous_model
from landbridge.training import tensors
from landbridge.training.loop import run_phase
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.torch_backend import device, lacks_bfloat16, torch
from landbridge.training.weighting.base import Uniform, Weighting

if TYPE_CHECKING:
    from torch import Tensor

# numbers of a batch's states for which a further thread of torch pays; threads of smaller steps wait for each
# other longer than they compute (docs/decisions/0003-engine.md)
NUMBERS_PER_THREAD = 1 << 17
EMULATED = "This processor has no 16-bit products: precision='bfloat16' is slower here than 'float32'."


class SequenceBatch(NamedTuple):
    """Windows, with K sampled negatives per position, or items drawn for the whole batch, M from each range
    of items that targets are compared with.

    ``own``: all items of the users, a row per window.
    """

    window: Window
    other_BLK: Int32
    sampled_M: Int32
    own: Ragged


class TargetWeights:
    """Weights of the targets in each epoch, here 1 for all; by domain, the mean loss and the magnitude of the
    gradient are logged.

    The magnitude of a domain is the norm of the gradient of a batch's loss at the states before its targets:
    what the domain sends into the encoder, with its weight. One backward pass measures all domains.

    ``buffers``: the state between epochs, changed in place and stored in checkpoints; ``totals``: the names
    of those that a batch adds to. ``domain_I``: the domain of each item; ``ranges``: the items of each
    domain.
    """

    totals: ClassVar[tuple[str, ...]] = ("loss_total", "loss_count")

    def __init__(self, train: MultiDomain, where: torch.device | str) -> None:
        self.names = train.domain_names
        self.ranges = _ranges(train.item_slices)
        self.domain_I = domains_of_items(train).to(where)
        none_D = torch.zeros(len(self.names), dtype=torch.float64, device=where)
        self.buffers: dict[str, Tensor] = {"loss_total": none_D, "loss_count": none_D.clone()}
        # not in checkpoints: they are of one epoch, and a fit resumes between two
        self._norm_total_D, self._batches_D = none_D.clone(), none_D.clone()
        self._square_D: Tensor | None = None

    def begin(self, epoch: int) -> None:
        """Reset the losses before the batches of an epoch."""
        self.buffers["loss_total"].zero_()
        self.buffers["loss_count"].zero_()
        self._norm_total_D.zero_()
        self._batches_D.zero_()
        self._square_D = None

    def of(self, target_T: Tensor) -> Tensor:
        """Weights of targets, (T,)."""
        return torch.ones(len(target_T), device=target_T.device)

    def seen(self, target_T: Tensor, loss_T: Tensor) -> None:
        """Add the losses to the sums by domain."""
        domain_T = self.domain_I[target_T]
        # float64: an epoch adds up millions of losses
        self.buffers["loss_total"].index_add_(0, domain_T, loss_T.double())
        self.buffers["loss_count"].index_add_(0, domain_T, torch.ones_like(loss_T, dtype=torch.float64))

    def watch(self, query_TF: Tensor, domain_T: Tensor) -> None:
        """Measure the gradient at a batch's states when it is computed."""
        self._add_norms()

        def measured(grad_TF: Tensor) -> None:
            # replaced, not added: a weighting may have taken parts of the gradient before
            square_T = grad_TF.detach().double().square().sum(dim=1)
            self._square_D = torch.zeros_like(self._norm_total_D).index_add_(0, domain_T, square_T)

        query_TF.register_hook(measured)

    def _add_norms(self) -> None:
        """Add the norms of the last batch, of the domains that had a gradient in it."""
        if self._square_D is not None:
            self._norm_total_D += self._square_D.sqrt()
            self._batches_D += self._square_D > 0
            self._square_D = None

    def loss_D(self) -> npt.NDArray[np.float64]:
        """Mean loss of each domain since the epoch began, NaN where it has no target, (D,)."""
        mean_D: npt.NDArray[np.float64] = (
            (self.buffers["loss_total"] / self.buffers["loss_count"]).cpu().numpy()
        )
        return mean_D

    def kept(self) -> Arrays:
        """What a refit goes on from; nothing by default."""
        return {}

    def log_values(self) -> Values:
        """``loss_of`` and ``gradient_of``, the mean magnitude over the batches that have it, by domain."""
        self._add_norms()
        norm_D = (self._norm_total_D / self._batches_D).cpu().tolist()
        values = {"loss_of": self.loss_D().tolist(), "gradient_of": norm_D}
        return {
            key: {name: value for name, value in zip(self.names, value_D, strict=True) if value == value}
            for key, value_D in values.items()  # NaN, of a domain without targets, is not itself
        }


class TargetBatch(NamedTuple):
    """T targets of a batch: the state before each, its item and window, and what it is compared with.

    That is K items of its own, or M items drawn for the batch, or the candidates ``among``. ``hidden_BM``:
    drawn items that a window's user has. ``n_items``: the items that could be drawn.
    """

    query_TF: Tensor
    target_T: Tensor
    window_T: Tensor
    n_items: int
    other_TK: Tensor
    sampled_M: Tensor
    hidden_BM: Tensor | None
    among: sequence_losses.SoftmaxCandidates | None

    def take(self, rows_T: Tensor) -> TargetBatch:
        """Some of the targets, with the same candidates."""
        among = self.among
        if among is not None:
            own_T = None if among.own_T is None else among.own_T[rows_T]
            window_T = None if among.window_T is None else among.window_T[rows_T]
            among = replace(among, place_T=among.place_T[rows_T], own_T=own_T, window_T=window_T)
        return self._replace(
            query_TF=self.query_TF[rows_T],
            target_T=self.target_T[rows_T],
            window_T=self.window_T[rows_T],
            other_TK=self.other_TK[rows_T],
            among=among,
        )


@dataclass(frozen=True)
class SequenceMethod(Method):
    """Settings, loss and training of transformers on a user's events in the order of time."""

    encoder: Encoder = setting(Encoder(), "The transformer.")
    cross_domain: CrossDomain = setting(CrossDomain(), "What the transformer knows of domains.")
    loss: SequenceLoss = setting(SequenceLoss(), "The loss of a batch.")
    horizon: int = setting(1, "Events after each one that are its targets.", low=1)
    lr: float = setting(1e-3, "Learning rate of Adam.", above=0, symbol="η")
    weight_decay: float = setting(0.0, "Decay of weights, as in AdamW.", low=0)
    epochs: int = setting(100, "Passes over all events.", low=1)
    batch_size: int = setting(128, "Windows of events per step.", low=1)
    init_std: float = setting(0.02, "Standard deviation of weights at the start.", above=0)
    clip: float | None = setting(1.0, "Largest norm of a gradient.", above=0)
    precision: Literal["float32", "bfloat16"] = setting(
        "float32",
        "Numbers multiplied in training; bfloat16 is for processors that have it (AVX-512 BF16, AMX, CUDA).",
    )
    cold_policy: ColdPolicy = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(0.0, POPULARITY_WEIGHT, low=0)
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            **{name: f"encoder.{name}" for name in ("factors", "blocks", "heads", "hidden")},
            **{name: f"encoder.{name}" for name in ("projected", "dropout")},
            "length": "encoder.max_length",
            "loss": "loss.kind",
            "log_q": "loss.log_q",
            "temperature": "loss.temperature",
            "extra": "loss.sampled_negatives",
            "hide": "loss.mask_history",
            "per_positive": "loss.negatives_per_positive",
            "decay": "weight_decay",
            "spread": "init_std",
            "cold_weight": "popularity_weight",
        }
    )
    uses_order: ClassVar[bool] = True
    warm_starts: ClassVar[bool] = True
    thread_invariant: ClassVar[bool] = False  # torch's sums depend on the number of threads

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lr * self.weight_decay >= 1:  # a step would turn the sign of the weights
            raise SettingsError(
                f"{self.name}.weight_decay must be below 1 / lr, which is {1 / self.lr:g}, not "
                f"{self.weight_decay:g}."
            )

    def target_weights(
        self,
        train: MultiDomain,
        weights: Mapping[str, Tensor],
        seed: int,
        previous: SequenceModel | None = None,
    ) -> TargetWeights:
        """Weights of the targets. ``weights``: the network's, which change in place as it learns;
        ``previous``: the model that a refit goes on from."""
        return TargetWeights(train, weights["item"].device)

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> SequenceModel:
        """Train on all events but every user's first; DataError if no user has two events."""
        options = options or FitOptions()
        where = device(options.device)
        if self.precision == "bfloat16" and lacks_bfloat16(where):
            options.progress.note(EMULATED)
        windows = Windows(
            self.cross_domain.sequences(train),
            self.encoder.max_length,
            self.batch_size,
            self.horizon,
            options.seed,
        )
        if not len(windows):
            raise DataError("No user has two events: there is no sequence to learn from.")
        table, slices = train.joined()
        weights = initial(self.shapes(train), options.seed, self.init_std, where)
        if (previous := previous_model(options, self.name)) is not None:
            continue_from(previous, train, weights)
        target_weights = self.target_weights(train, weights, options.seed, previous)
        phase = self.phase(_Steps(self, windows, table, slices), weights, target_weights)
        identity = {"settings": asdict(self), "data": train.fingerprint, "seed": options.seed}
        own = replace(options, threads=self._useful_threads(options.threads, windows))
        log = run_phase(phase, own, identity, lambda: self.fitted(train, weights, ()))
        return replace(self.fitted(train, weights, log), domain_weights=target_weights.kept())

    def _useful_threads(self, given: int, windows: Windows) -> int:
        """How many of the given threads of torch a step is large enough for."""
        numbers = windows.inputs_per_batch * self.encoder.factors
        return max(1, min(given, int(numbers / NUMBERS_PER_THREAD)))

    def shapes(self, train: MultiDomain) -> dict[str, tuple[int, ...]]:
        """Shape of every weight by name."""
        n_items = sum(events.n_items for events in train.domains.values())
        parts = self.cross_domain.shapes(len(train.domain_names), self.encoder.factors)
        return self.encoder.shapes(n_items) | parts

    def weighting(self, weights: Mapping[str, Tensor]) -> Weighting:
        """How the losses of ``losses`` are weighted against each other."""
        return Uniform()

    def phase(
        self, steps: _Steps, weights: Mapping[str, Tensor], target_weights: TargetWeights
    ) -> Phase[SequenceBatch]:
        """The one phase of a fit: all its epochs."""
        share_I = torch.from_numpy(steps.share_I).to(next(iter(weights.values())).device)

        def batches(epoch: int) -> Iterator[SequenceBatch]:
            target_weights.begin(epoch)
            return steps.epoch(epoch)

        return Phase(
            self.name,
            self.epochs,
            batches,
            lambda batch: self.losses(weights, batch, share_I, target_weights),
            weights,
            self.weighting(weights),
            optimizer=Optimizer("adam", self.lr, decay=self.weight_decay),
            buffers=target_weights.buffers,
            totals=target_weights.totals,
            clip=self.clip,
            log_values=target_weights.log_values,
        )

    def losses(
        self,
        weights: Mapping[str, Tensor],
        batch: SequenceBatch,
        share_I: Tensor,
        target_weights: TargetWeights,
    ) -> dict[str, Tensor]:
        """The losses of a batch by domain, or one of all; they are given to ``target_weights``."""
        return self.losses_of(
            weights, self.target_batches(weights, batch, share_I, target_weights), target_weights
        )

    def losses_of(
        self, weights: Mapping[str, Tensor], parts: Sequence[TargetBatch], target_weights: TargetWeights
    ) -> dict[str, Tensor]:
        """The weighted mean over the targets of all parts, Eq. (1)."""
        weights_of = [target_weights.of(part.target_T) for part in parts]
        scale, totals = self.scale(weights_of), []
        for part, weight_T in zip(parts, weights_of, strict=True):
            total, loss_T = self.total(weights, part, weight_T / scale)  # Eq. (1)
            target_weights.seen(part.target_T, loss_T)
            totals.append(total)
        return {"all domains": torch.stack(totals).sum()}

    def scale(self, weights_of: Sequence[Tensor]) -> Tensor | float:
        """What the sum of weighted losses is divided by: Σ ω keeps the size of a step."""
        return sum(weight_T.sum() for weight_T in weights_of)

    def target_batches(
        self,
        weights: Mapping[str, Tensor],
        batch: SequenceBatch,
        share_I: Tensor,
        target_weights: TargetWeights,
    ) -> list[TargetBatch]:
        """States, target items and candidates of a batch; a part for each domain with ``within_domain``."""
        input_BL, gap_BL, target_BL, other_BLK, sampled_M = (
            torch.from_numpy(array).long().to(share_I.device)
            for array in (
                batch.window.input_BL,
                batch.window.gap_BL,
                batch.window.target_BL,
                batch.other_BLK,
                batch.sampled_M,
            )
        )
        given_BL = target_BL >= 0
        target_T, domain_I = target_BL[given_BL], target_weights.domain_I
        window_T, position_T = given_BL.nonzero().unbind(dim=1)
        layers = self.encoder.layers_in(weights, self._dtype)
        at = window_T, position_T, domain_I[target_T]
        events = Reading(input_BL, gap_BL)
        query_TF = self.cross_domain.states(self.encoder, layers, events, domain_I, at, self.encoder.dropout)
        if query_TF.requires_grad:
            target_weights.watch(query_TF, at[2])
        everything = TargetBatch(
            query_TF, target_T, window_T, len(share_I), other_BLK[given_BL], sampled_M, None, None
        )
        if not self.loss.within_domain:
            items = range(len(share_I))
            return [self._compared(everything, batch.own, share_I, len(target_T), items)]
        parts = []
        for number in at[2].unique().tolist():
            items = target_weights.ranges[number]
            part = everything.take((at[2] == number).nonzero()[:, 0])
            part = part._replace(sampled_M=sampled_M[domain_I[sampled_M] == number], n_items=len(items))
            parts.append(self._compared(part, batch.own, share_I, len(target_T), items))
        return parts

    def _compared(
        self, part: TargetBatch, own: Ragged, share_I: Tensor, targets: int, items: range
    ) -> TargetBatch:
        """The part with its candidates out of ``items``; ``targets``: of the whole batch."""
        if self.loss.draws_per_event:
            return part
        if self.loss.draws_per_batch:
            sampled_M = part.sampled_M.unique()
            hidden_BM = _in_history(own, sampled_M, len(share_I)) if self.loss.mask_history else None
            return part._replace(sampled_M=sampled_M, hidden_BM=hidden_BM)
        if self.loss.kind == "softmax":
            return part._replace(among=sequence_losses.all_items(items, part.target_T))
        among = sequence_losses.in_batch(
            part.target_T, part.sampled_M, share_I, self.loss.log_q, targets, items
        )
        if self.loss.mask_history:
            held_BC = _in_history(own, among.item_C, len(share_I))
            among = replace(among, hidden_BC=held_BC, window_T=part.window_T)
        return part._replace(among=among)

    def total(
        self, weights: Mapping[str, Tensor], part: TargetBatch, weight_T: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Σ ω ℓ, and ℓ of each target without a gradient, (T,)."""
        if part.among is None:
            score_TJ = self._scores_drawn(weights["item"], part)
            if self.loss.binary:
                loss_T = sequence_losses.binary(self.loss.kind, score_TJ, part.n_items)
            else:
                loss_T = sequence_losses.uniform(score_TJ, part.n_items)
                loss_T = loss_T + sequence_losses.smoothing(self.loss.label_smoothing, score_TJ)
            return (weight_T * loss_T).sum(), loss_T.detach()
        rows = part.among.item_C
        whole = len(rows) == len(weights["item"])
        item_CF = weights["item"] if whole else _rows(weights["item"], rows)
        query_TF, item_CF = self._scaled(part.query_TF, item_CF)
        total, loss_T = sequence_losses.cross_entropy(query_TF, item_CF, part.among, weight_T, self._dtype)
        if not self.loss.label_smoothing:
            return total, loss_T
        own_T = (query_TF * item_CF[part.among.place_T]).sum(dim=1)
        extra_T = self.loss.label_smoothing * (own_T - query_TF @ item_CF.mean(dim=0))  # Eq. (9) of losses
        return total + (weight_T * extra_T).sum(), loss_T + extra_T.detach()

    def _scores_drawn(self, item_IF: Tensor, part: TargetBatch) -> Tensor:
        """Scores of targets and of the items drawn for them, Eq. (2), (T, J); -∞ for those left out."""
        if self.loss.draws_per_event:
            item_TJ = torch.cat([part.target_T[:, None], part.other_TK], dim=1)
            query_TF, item_TJF = self._scaled(part.query_TF, _rows(item_IF, item_TJ))
            return (item_TJF @ query_TF[:, :, None])[..., 0]
        rows = torch.cat([part.target_T, part.sampled_M])
        query_TF, row_NF = self._scaled(part.query_TF, _rows(item_IF, rows))
        size = len(part.target_T)
        own_T1 = (query_TF * row_NF[:size]).sum(dim=1, keepdim=True)
        left_out_TM = part.sampled_M == part.target_T[:, None]
        if part.hidden_BM is not None:
            left_out_TM = left_out_TM | part.hidden_BM[part.window_T]
        drawn_TM = (query_TF @ row_NF[size:].T).masked_fill(left_out_TM, -torch.inf)
        return torch.cat([own_T1, drawn_TM], dim=1)

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.precision)
        return dtype

    def _scaled(self, query_TF: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """The factors of Eq. (2): rows as they are, or of length 1 / T and 1."""
        from torch.nn.functional import normalize

        if self.loss.temperature is None:
            return query_TF, item
        return normalize(query_TF, dim=-1, eps=LEAST_NORM) / self.loss.temperature, normalize(
            item, dim=-1, eps=LEAST_NORM
        )

    def fitted(
        self, train: MultiDomain, weights: Mapping[str, Tensor], log: tuple[Record, ...]
    ) -> SequenceModel:
        """The model with the current weights."""
        arrays = tensors.arrays(weights)
        return SequenceModel(
            train,
            self,
            log,
            self.encoder,
            self.cross_domain,
            arrays,
            self.loss.temperature,
            self.cold_policy,
            self.popularity_weight,
        )


@dataclass(frozen=True, eq=False)
class _Steps:
    """The batches of a fit. ``table``: the events of all domains in one table; ``slices``: their items."""

    method: SequenceMethod
    windows: Windows
    table: Interactions
    slices: Mapping[str, slice]

    def epoch(self, number: int) -> Iterator[SequenceBatch]:
        """Batches of an epoch; they depend only on its number and the seed, so a fit can resume anywhere."""
        rng = generator(self.windows.seed, "extra items", str(number))
        for step, of_rows in enumerate(self.windows.epoch(number)):
            # sequences of one domain each: every domain has a row for each user
            window = of_rows._replace(row_B=of_rows.row_B % self.table.n_users)
            drawn = [
                rng.integers(items.start, items.stop, self.method.loss.sampled_negatives, np.int32)
                for items in self._drawn_from
            ]
            sampled_M = np.concatenate(drawn)
            own = self.table.by_user.take(window.row_B)
            yield SequenceBatch(window, self._others(window, number, step), sampled_M, own)

    @property
    def share_I(self) -> npt.NDArray[np.float32]:
        """f: each item's share of all events, (I,)."""
        return (self.table.item_counts / max(len(self.table), 1)).astype(np.float32)

    @property
    def _drawn_from(self) -> list[range]:
        """Ranges of items from each of which M are drawn."""
        return _ranges(self.slices) if self.method.loss.within_domain else [range(self.table.n_items)]

    def _others(self, window: Window, epoch: int, step: int) -> Int32:
        """Sampled items that the users do not have, (B, L, K)."""
        from landbridge.data.sampling.kernels import negatives

        loss = self.method.loss
        k = loss.negatives_per_positive if loss.draws_per_event else 0
        other_BLK = np.zeros((*window.target_BL.shape, k), np.int32)
        given_BL = window.target_BL >= 0
        row_T = np.repeat(window.row_B, given_BL.sum(axis=1)).astype(np.int32)
        target_T, rows = window.target_BL[given_BL], self.table.by_user
        for column in range(k):
            # a key per column, so that K negatives of an event are independent draws
            key = generator(self.windows.seed, "negatives", str(epoch), str(step), str(column)).integers(
                2**63
            )
            drawn_T = np.empty_like(target_T)
            # "domain" draws from the domain of the target, "all" from all items
            kind = "domain" if loss.within_domain else "all"
            ranges = Pairwise(self.table, self.slices, kind).ranges
            negatives(np.uint64(key), 0, row_T, target_T, rows.offsets, rows.columns, *ranges, drawn_T)
            other_BLK[given_BL, column] = drawn_T
        return other_BLK


def _ranges(slices: Mapping[str, slice]) -> list[range]:
    """The items of each domain in the joined catalogue."""
    return [range(part.start, part.stop) for part in slices.values()]


def _in_history(own: Ragged, item_C: Tensor, n_items: int) -> Tensor:
    """Whether each candidate is in the history of each window's user, (B, C)."""
    # a table of all items gives each event's candidate in O(1); -1 where the item is no candidate
    place_I = torch.full((n_items,), -1, device=item_C.device)
    place_I[item_C] = torch.arange(len(item_C), device=item_C.device)
    place_N = place_I[torch.tensor(own.columns, dtype=torch.int64, device=item_C.device)]
    row_N = torch.from_numpy(own.entry_rows)
    held_BC = torch.zeros(len(own.offsets) - 1, len(item_C), dtype=torch.bool, device=item_C.device)
    held_BC[row_N.to(item_C.device)[place_N >= 0], place_N[place_N >= 0]] = True
    return held_BC


def _rows(item_IF: Tensor, index: Tensor) -> Tensor:
    from torch.nn.functional import embedding

    # sparse: the gradient holds the rows of the batch only, and the optimiser updates no others
    return embedding(index, item_IF, sparse=True)
