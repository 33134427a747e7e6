"""DWL: a sequence model whose targets count the more, the sparser their domain is (arXiv 2510.04375).

A transformer reads what somebody did last in any domain (:mod:`landbridge.models.sequential.transformer`).
With the
loss ℓ_t of finding target t (:mod:`~landbridge.models.sequential.losses`) and the weight w of its item, a
step makes small

    L = Σ_t w_{p_t} ℓ_t / Σ_t w_{p_t}      ("literal": / T)                                            (1)

w_i comes from the weights w_d of the domains that item i belongs to (``combine``), w_d from how sparse they
are (:mod:`landbridge.training.weighting.sparsity`), and moves while the model learns
(:mod:`landbridge.training.weighting.schedule`). ``weigh`` may mix w_d with what other objectives ask for
(:mod:`landbridge.models.sequential.item_weights`). With ``renorm`` the mean of w_i over all training events
is 1, Eq. (9) of sparsity. With the signal "gradient"

    L = Σ_d w_d mean_{t in d} ℓ_t                                                                      (2)

and w_d is GradNorm's, at the last block's last layer (:mod:`landbridge.training.weighting.gradnorm`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from landbridge.core.errors import SettingsError, unknown
from landbridge.data.dataset import MultiDomain
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.sequential.item_weights import MultiObjectiveWeights, SparsityWeights
from landbridge.models.sequential.losses import SoftmaxCandidates
from landbridge.models.sequential.method import SequenceBatch, SequenceMethod, TargetBatch, TargetWeights
from landbridge.training.torch_backend import torch
from landbridge.training.weighting.base import Fixed, Uniform, Weighting
from landbridge.training.weighting.gradnorm import GradNorm
from landbridge.training.weighting.multi_objective import OBJECTIVES, MultiObjective
from landbridge.training.weighting.schedule import WeightSchedule
from landbridge.training.weighting.sparsity import COMBINE, SparsityScore, WeightMap

if TYPE_CHECKING:
    from torch import Tensor

WEIGH = ("sparsity", "several", "fixed", "none")


@dataclass(frozen=True)
class DWL(SequenceMethod):
    """``weigh``: "sparsity", as below; "several", ``objectives`` with their λ, 0 where none is given
    (:class:`~landbridge.training.weighting.multi_objective.MultiObjective`); "fixed", ``weights`` by domain,
    1
    where none is given; or "none".

    ``alpha``, ``beta``, ``gamma``, ``counting``, ``entropy``, ``standardise``:
    :class:`~landbridge.training.weighting.sparsity.SparsityScore`; ``map``, ``low``, ``high``, ``kappa``:
    :class:`~landbridge.training.weighting.sparsity.WeightMap`; ``renorm`` to ``window_days``:
    :class:`~landbridge.training.weighting.schedule.WeightSchedule`. ``combine``: "max", "mean" or "product"
    over an item's domains. ``literal``: Eq. (1) with T. Other settings: ``SequenceMethod``.
    """

    loss: str = "sampled"
    weigh: str = "sparsity"
    weights: Mapping[str, float] = field(default_factory=dict)
    objectives: Mapping[str, float] = field(default_factory=dict)
    alpha: float = 1.0
    beta: float = 0.6
    gamma: float = 0.2
    counting: str = "events"
    entropy: str = "normalised"
    standardise: bool = False
    map: str = "exponential"
    low: float = 0.2
    high: float = 5.0
    kappa: float = 0.5
    renorm: bool = True
    momentum: float = 0.9
    period: int = 2
    bias_correction: bool = False
    start: str = "computed"
    signal: str = "static"
    window_days: float | None = None
    combine: str = "max"
    literal: bool = False
    name: ClassVar[str] = "dwl"
    space: ClassVar[Space] = MappingProxyType(
        {"lr": Real(3e-4, 3e-3, log=True), "dropout": Real(0.0, 0.5), "kappa": Choice((0.25, 0.5, 1.0))}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, valid in (("weigh", WEIGH), ("combine", COMBINE)):
            if getattr(self, key) not in valid:
                raise SettingsError(unknown(key, getattr(self, key), valid))
        Fixed(self.weights)  # refuses negative ones
        if bool(self.weights) != (self.weigh == "fixed"):
            raise SettingsError("weigh='fixed' and weights belong together: give both or neither.")
        if bool(self.objectives) != (self.weigh == "several"):
            raise SettingsError("weigh='several' and objectives belong together: give both or neither.")
        if self.weigh == "several" and (self.signal == "gradient" or not self.renorm):
            raise SettingsError("weigh='several' needs renorm and another signal than 'gradient'.")
        if self.blocks == 0 and self.signal == "gradient":
            raise SettingsError("signal='gradient' looks at the last block: give blocks 1 or more.")
        self.schedule, self.trade_off  # noqa: B018  they check their settings

    @property
    def schedule(self) -> WeightSchedule:
        """How weights follow the domains' scores."""
        return WeightSchedule(
            SparsityScore(self.alpha, self.beta, self.gamma, self.counting, self.entropy, self.standardise),
            WeightMap(self.map, self.low, self.high, self.kappa),
            self.renorm,
            self.momentum,
            self.period,
            self.bias_correction,
            self.start,
            self.signal,
            self.window_days,
        )

    @property
    def trade_off(self) -> MultiObjective:
        """How much each objective counts where there are several."""
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise SettingsError(unknown("objective", name, OBJECTIVES))
        counts = {name: self.objectives.get(name, 0.0) for name in OBJECTIVES}
        return MultiObjective(**counts, low=self.low, high=self.high)

    def emphasis(self, train: MultiDomain, weights: Mapping[str, Tensor], seed: int) -> TargetWeights:
        """By sparsity, by several objectives, fixed, or alike."""
        for domain in self.weights:
            if domain not in train.domain_names:
                raise SettingsError(unknown("domain in weights", domain, train.domain_names))
        if self.weigh == "none" or self.signal == "gradient":
            return super().emphasis(train, weights, seed)
        if self.weigh == "several":
            return MultiObjectiveWeights(self, train, weights, seed)
        return SparsityWeights(self, train, weights["item"].device)

    def weighting(self, weights: Mapping[str, Tensor]) -> Weighting:
        """GradNorm for the signal "gradient"."""
        if self.weigh != "sparsity" or self.signal != "gradient":
            return Uniform()
        return GradNorm(f"block.{self.blocks - 1}.down.weight", start=None)

    def losses(
        self, weights: Mapping[str, Tensor], batch: SequenceBatch, share_I: Tensor, emphasis: TargetWeights
    ) -> dict[str, Tensor]:
        """Eq. (1) as one loss, or those of Eq. (2) by domain."""
        told = self.told(weights, batch, share_I)
        if self.weigh == "sparsity" and self.signal == "gradient":
            return self._by_domain(weights, told, emphasis)
        weight_T = emphasis.of(told.target_T)
        scale = len(weight_T) if self.literal else weight_T.sum()
        total, loss_T = self.total(weights, told, weight_T / scale)  # Eq. (1)
        emphasis.seen(told.target_T, loss_T)
        return {"all domains": total}

    def _by_domain(
        self, weights: Mapping[str, Tensor], told: TargetBatch, emphasis: TargetWeights
    ) -> dict[str, Tensor]:
        domain_T, found = emphasis.domain_I[told.target_T], {}
        for number in domain_T.unique().tolist():
            part = _part(told, domain_T == number)
            even_T = torch().full_like(part.query_TF[:, 0], 1 / len(part.target_T)).detach()
            found[emphasis.names[number]], loss_T = self.total(weights, part, even_T)  # Eq. (2)
            emphasis.seen(part.target_T, loss_T)
        return found


def _part(told: TargetBatch, chosen_T: Tensor) -> TargetBatch:
    """Some of the targets, told from the same candidates."""
    query_TF, target_T, other_TK, among = told
    if among is not None:
        own_T = None if among.own_T is None else among.own_T[chosen_T]
        window_T = None if among.window_T is None else among.window_T[chosen_T]
        place_T = among.place_T[chosen_T]
        among = SoftmaxCandidates(among.item_C, among.bias_C, place_T, own_T, among.hidden_BC, window_T)
    return TargetBatch(query_TF[chosen_T], target_T[chosen_T], other_TK[chosen_T], among)


PAPER = DWL(
    factors=256, blocks=4, heads=8, hidden=1024, length=100, projected=True, dropout=0.1,
    temperature=0.1, decay=0.01, epochs=10, batch_size=256, start="ones",
)  # fmt: skip
"""The published sizes and settings, as far as they are told."""
