"""Losses of sequential models: softmax, sampled softmax with logQ correction, BCE and gBCE.

A target t has the query q_t, the item p_t that follows, and the score s_tc = ⟨q_t, v_c⟩ of an item c. With
target weights ω_t, biases b_c and candidates c = 1 … C:

    ℓ_t = -(s_tp + b_p) + ln Σ_c exp(s_tc + b_c),   L = Σ_t ω_t ℓ_t                                    (1)
    ∂L/∂s_tc = ω_t (π_tc - [c = p_t]),      π_t = softmax(s_t + b)                                     (2)

"softmax": all items are candidates and b = 0. "sampled": the candidates are the targets of the batch and M
items drawn uniformly. n_c of the T + M slots hold item c; with its share f_c of all training targets

    "none"       b_c = ln n_c                                                                          (3)
    "standard"   b_c = ln n_c - ln Q_c,   Q_c = T f_c + M / I                                          (4)
    "corrected"  ℓ_t = (1 - P_t) (-s_tp + ln Σ_{c≠p} exp(s_tc + b_c)),  Q_c = (T-1) f_c + M / I        (5)
                 P_t = σ(s_tp - ln Σ_{c≠p} exp(s_tc + b_c)), held constant

In (4) Σ_c exp(s + b) has the expectation Σ exp(s) over all items. A target's own slot counts once. Other
slots that hold its item are accidental hits and are left out; so are the items of the user's history, if they
are given. (4) treats the target as if it had been drawn, which it was not; (5), after Khrylchenko et al. 2025
(arXiv 2507.09331), takes it out of the sum. Items in several slots are scored once.

"bce" and "gbce" (SASRec, Kang & McAuley 2018, Section III-E; gSASRec, Petrov & Macdonald 2023) compare the
target with k items drawn uniformly among those the user does not have:

    ℓ_t = [ -β ln σ(s_tp) - Σ_k ln σ(-s_tk) ] / (1 + k),   β = 1, or for "gbce"                        (6)
    β = a (τ (1 - 1/a) + 1/a),   a = k / (I - 1),   τ = .75                                            (7)

"uniform" is a softmax over the target and the M items drawn for the batch, each of which stands for I / M
items; with M > 0 they are the drawn items of "bce" and "gbce", too:

    ℓ_t = -s_tp + ln [ exp(s_tp) + (I / M) Σ_m exp(s_tm) ]                                             (8)

With ``within_domain`` a target is compared with the items of its own domain alone: I counts these, and M
those that were drawn there. Label smoothing ε gives the mean candidate a share of the target's place,

    ℓ_t ← ℓ_t + ε (s_tp - mean_c s_tc)                                                                 (9)

Memory: the scores of (1) are computed, used for L and its gradients, and discarded, one block of rows at a
time; the T × C matrix never exists. A block has 2 MiB, or twice the size of the candidates' factors, which it
reads. Precision: products may be in bfloat16, all sums over candidates are in float32. Targets and candidates
are padded with rows of zeros to P targets and D candidates: torch compiles a CPU's 16-bit products for every
new shape and keeps them, so there must be few shapes.

Letters: T targets, C candidates, I items, F factors, K or J items of one target, R rows of a block, B
windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from landbridge.core.errors import SettingsError
from landbridge.core.settings import Settings, setting
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_NUMBERS = 1 << 19  # scores that exist at a time: 2 MiB, or for large catalogues
ROWS_PER_FACTOR = 2  # twice the numbers of all candidates' factors
PADDED_TO = 64  # targets and candidates are padded to multiples of it
LOG2_E = 1 / math.log(2)  # exp(x) = 2^(x log2 e)
LogQ = Literal["none", "standard", "corrected"]
LOG_Q = get_args(LogQ)
CALIBRATION = 0.75  # τ of Eq. (7)


@dataclass(frozen=True)
class SequenceLoss(Settings):
    """The loss of the next item, and the items it is compared with."""

    kind: Literal["softmax", "sampled", "uniform", "bce", "gbce"] = setting(
        "softmax", "Against all items, items of the batch, drawn items, or, one by one, drawn items."
    )
    log_q: LogQ = setting("standard", "Correction of the loss sampled, Eqs. (3) to (5).")
    sampled_negatives: int = setting(
        0,
        "Items drawn for the batch: beside its own in the loss sampled, for all events in others.",
        low=0,
        symbol="M",
    )
    mask_history: bool = setting(
        True, "Whether drawn items and those of the batch leave out what the user has."
    )
    negatives_per_positive: int = setting(
        1, "Items drawn per event in bce and gbce without sampled_negatives.", low=1, symbol="k"
    )
    within_domain: bool = setting(False, "Whether a target is compared with items of its domain alone.")
    label_smoothing: float = setting(
        0.0,
        "Share of the target's place that the mean candidate gets in a softmax.",
        low=0,
        below=1,
        symbol="ε",
    )
    temperature: float | None = setting(
        None, "Temperature of cosine scores; none: dot products.", above=0, symbol="T"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "uniform" and not self.sampled_negatives:
            raise SettingsError("The loss uniform compares with drawn items: set sampled_negatives.")
        if self.label_smoothing and self.binary:
            raise SettingsError(f"Label smoothing is for a softmax, not for {self.kind}.")

    @property
    def binary(self) -> bool:
        """Whether every item is compared by itself, Eq. (6)."""
        return self.kind in ("bce", "gbce")

    @property
    def draws_per_event(self) -> bool:
        """Whether every event has sampled negatives of its own, Eq. (6)."""
        return self.binary and not self.sampled_negatives

    @property
    def draws_per_batch(self) -> bool:
        """Whether all events of a batch share their negatives, and no event is one of another."""
        return self.kind == "uniform" or (self.binary and self.sampled_negatives > 0)


@dataclass(frozen=True, eq=False)
class SoftmaxCandidates:
    """Candidates that the targets of a batch are compared with.

    ``item_C``: item indices, each once. ``bias_C``: b_c. ``place_T``: index of each target's item in
    ``item_C``. ``own_T``: b_p of the target's own slot, None to leave it out, Eq. (5). ``hidden_BC``: True
    for items in the history of a window's user; ``window_T``: the window of each target.
    """

    item_C: Tensor
    bias_C: Tensor
    place_T: Tensor
    own_T: Tensor | None
    hidden_BC: Tensor | None = None
    window_T: Tensor | None = None


def all_items(items: range, target_T: Tensor) -> SoftmaxCandidates:
    """All items of a range as candidates, Eq. (1)."""
    item_C = torch.arange(items.start, items.stop, device=target_T.device)
    none_C = torch.zeros(len(items), device=target_T.device)
    own_T = torch.zeros(len(target_T), device=target_T.device)
    return SoftmaxCandidates(item_C, none_C, target_T - items.start, own_T)


def in_batch(
    target_T: Tensor, sampled_M: Tensor, share_I: Tensor, log_q: str, targets: int, items: range
) -> SoftmaxCandidates:
    """Targets of the batch and ``sampled_M`` as candidates, Eqs. (3) to (5).

    ``share_I``: f of all items, above 0 for every target; ``log_q``: one of ``LOG_Q``. ``targets``: T of the
    whole batch, of which ``target_T`` may be those of one domain; ``items``: from which M were drawn.
    """
    slots = torch.cat([target_T, sampled_M])
    item_C, place_S, count_C = slots.unique(return_inverse=True, return_counts=True)
    place_T, log_n_C = place_S[: len(target_T)], count_C.float().log()
    if log_q == "none":
        return SoftmaxCandidates(item_C, log_n_C, place_T, torch.zeros_like(log_n_C)[place_T])
    # Q of Eq. (4), or of Eq. (5), where the target itself is not drawn
    expected_C = (targets - (log_q == "corrected")) * share_I[item_C] + len(sampled_M) / len(items)
    log_q_C = expected_C.clamp(min=torch.finfo().tiny).log()
    # Eq. (4): own slot without ln n_p, as its accidental hits are left out; Eq. (5): no own slot
    own_T = -log_q_C[place_T] if log_q == "standard" else None
    return SoftmaxCandidates(item_C, log_n_C - log_q_C, place_T, own_T)


def cross_entropy(
    query_TF: Tensor,
    item_CF: Tensor,
    among: SoftmaxCandidates,
    weight_T: Tensor,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Blocked softmax cross-entropy, Eqs. (1) or (5): L, and ℓ of each target without a gradient, (T,).

    L is differentiable in queries and items. ``dtype``: number type of the products, the queries' by default.
    """
    dtype = dtype or query_TF.dtype
    return _function().apply(query_TF, item_CF, among, weight_T, dtype)  # type: ignore[no-any-return]


def binary(name: str, score_TJ: Tensor, n_items: int) -> Tensor:
    """BCE or gBCE, Eq. (6), of each target, (T,); column 0 of ``score_TJ`` is the target's own score."""
    from torch.nn.functional import softplus

    k = score_TJ.shape[1] - 1
    share = k / max(n_items - 1, 1)
    power = share * (CALIBRATION * (1 - 1 / share) + 1 / share) if name == "gbce" else 1.0  # Eq. (7)
    total_T = power * softplus(-score_TJ[:, 0]) + softplus(score_TJ[:, 1:]).sum(dim=1)
    return total_T / (1 + k)  # Eq. (6)


def uniform(score_TJ: Tensor, n_items: int) -> Tensor:
    """Eq. (8) of each target, (T,); column 0 of ``score_TJ`` is its own score, -∞ hides a drawn item."""
    samples = max(score_TJ.shape[1] - 1, 1)
    bias_J = torch.full_like(score_TJ[0], math.log(n_items / samples))
    bias_J[0] = 0
    return torch.logsumexp(score_TJ + bias_J, dim=1) - score_TJ[:, 0]


def smoothing(share: float, score_TJ: Tensor) -> Tensor | float:
    """What Eq. (9) adds to each loss, (T,); the mean is over the candidates that are not hidden."""
    if not share:
        return 0.0
    shown_TJ = score_TJ > -math.inf
    mean_T = score_TJ.masked_fill(~shown_TJ, 0).sum(dim=1) / shown_TJ.sum(dim=1)
    return share * (score_TJ[:, 0] - mean_T)  # Eq. (9)


@cache
def _function() -> type[torch.autograd.Function]:
    """Eqs. (1), (2) and (5) as an autograd function; the class is made when torch is first needed."""

    class CrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any,
            query_TF: Tensor,
            item_CF: Tensor,
            among: SoftmaxCandidates,
            weight_T: Tensor,
            dtype: torch.dtype,
        ) -> tuple[Tensor, Tensor]:
            query_PF, item_DF = _padded(query_TF), _padded(item_CF)
            low_PF, low_DF = query_PF.to(dtype), item_DF.to(dtype)
            grad_PF, grad_DF = torch.empty_like(query_PF), torch.zeros_like(item_DF)
            loss_T, slope_P1 = torch.empty_like(weight_T), weight_T.new_zeros(len(query_PF), 1)
            bias_BC = _biases(among)
            # Reused by all blocks. Padding adds nothing: its scores are 0 and are never exponentiated.
            room_RD = item_CF.new_empty(block_rows(*item_DF.shape), len(item_DF))
            for start in range(0, len(query_TF), len(room_RD)):
                rows = slice(start, start + len(room_RD))
                here = slice(start, min(rows.stop, len(query_TF)))
                all_RD = room_RD[: len(query_PF) - start]
                _multiply(low_PF[rows], low_DF.T, all_RD)
                score_RC = all_RD[: here.stop - start, : len(item_CF)]
                total_R, loss_T[here], missed_R = _shares(score_RC, among, bias_BC, here)
                slope_P1[here, 0] = weight_T[here] * missed_R
                # π is exp(s + b - top) / total: dividing R factors is cheaper than R × C numbers
                scale_R1 = slope_P1[rows].clone()
                scale_R1[: len(score_RC), 0] /= total_R
                low_RD = all_RD.to(dtype)
                _multiply(low_RD, low_DF, grad_PF[rows]).mul_(scale_R1)
                _add_product(low_RD.T, (scale_R1 * query_PF[rows]).to(dtype), grad_DF)
            slope_T1 = slope_P1[: len(query_TF)]
            # the term [c = p_t] of Eq. (2), added in float32 for queries and items
            grad_TF = grad_PF[: len(query_TF)].sub_(slope_T1 * item_CF[among.place_T])
            grad_CF = grad_DF[: len(item_CF)]
            grad_CF.index_add_(0, among.place_T, slope_T1 * query_TF, alpha=-1)
            # both gradients are kept, (T + C) F numbers, so that backward is a product with a scalar
            ctx.save_for_backward(grad_TF, grad_CF)
            ctx.mark_non_differentiable(loss_T)
            return (weight_T * loss_T).sum(), loss_T

        @staticmethod
        def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
            grad_TF, grad_CF = ctx.saved_tensors
            return grad * grad_TF, grad * grad_CF, None, None, None

    return CrossEntropy


def _padded(x_NF: Tensor) -> Tensor:
    """Pad with rows of zeros to a multiple of ``PADDED_TO``."""
    from torch.nn.functional import pad

    return pad(x_NF, (0, 0, 0, -len(x_NF) % PADDED_TO))


def block_rows(candidates: int, factors: int) -> int:
    """Targets per block: a power of two, so that the last blocks have few different sizes."""
    # a block reads all candidates' factors and adds to their gradients: with few rows that is all it does
    most = max(BLOCK_NUMBERS // max(candidates, 1), ROWS_PER_FACTOR * factors)
    return 1 << (most.bit_length() - 1)


def _multiply(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """Write left · right to ``out``; the factors may have a shorter number type than ``out``."""
    if left.dtype == out.dtype:
        return torch.mm(left, right, out=out)
    return out.copy_(left @ right)


def _add_product(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Add left · right to ``out``, in place where the number types are the same."""
    if left.dtype == out.dtype:
        out.addmm_(left, right)
    else:
        out.add_(left @ right)


def _biases(among: SoftmaxCandidates) -> Tensor:
    """Biases by window, (B, C), -∞ for items in the user's history; (1, C) where nothing is masked."""
    if among.hidden_BC is None:
        return among.bias_C[None]
    # by window and not by target: a window has up to L targets, so (T, C) would be L times as large
    return among.bias_C.masked_fill(among.hidden_BC, -math.inf)


def _shares(
    score_RC: Tensor, among: SoftmaxCandidates, bias_BC: Tensor, here: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """Turn s into exp(s + b - top) in place; return its row sums, ℓ, and 1 - P of Eq. (5) or 1, each (R,)."""
    place_R1 = among.place_T[here, None]
    own_R1 = score_RC.gather(1, place_R1)
    score_RC += bias_BC if among.window_T is None else bias_BC[among.window_T[here]]
    slot_R1 = own_R1 - math.inf if among.own_T is None else own_R1 + among.own_T[here, None]
    # the target's column holds its own slot only: neither accidental hits nor the history mask count there
    score_RC.scatter_(1, place_R1, slot_R1)
    # the bound keeps -inf - (-inf) = NaN away where a target has no candidate left
    top_R1 = score_RC.amax(dim=1, keepdim=True).clamp(min=torch.finfo().min)
    # exp2: torch's exp may be MKL's, which is slow on CPUs of other makers than Intel
    score_RC.sub_(top_R1).mul_(LOG2_E).exp2_()
    total_R = score_RC.sum(dim=1)
    all_R = top_R1[:, 0] + total_R.log()
    total_R.clamp_(min=torch.finfo().tiny)
    if among.own_T is not None:
        return total_R, all_R - slot_R1[:, 0], torch.ones_like(total_R)
    behind_R = all_R - own_R1[:, 0]
    missed_R = behind_R.sigmoid()  # 1 - P of Eq. (5)
    return total_R, missed_R * behind_R.clamp(min=torch.finfo().min), missed_R
