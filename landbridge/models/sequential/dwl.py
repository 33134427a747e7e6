"""DWL: dynamic weighted loss; a sequential model whose targets weigh more in sparse domains.

Source: Mittal et al., arXiv 2510.04375; see docs/methods/dwl-weights.md and docs/methods/sequences.md. A
transformer reads the latest events of a user in any domain (:mod:`landbridge.models.sequential.transformer`).
With the loss ℓ_t of target t (:mod:`~landbridge.models.sequential.losses`) and the weight w of its item p_t,
a step minimises

    L = Σ_t w_{p_t} ℓ_t / Σ_t w_{p_t}      ("literal": / T)                                            (1)

An item's weight w_i combines the weights w_d of its domains (``combine``). w_d follows from the domains'
sparsity (:mod:`landbridge.training.weighting.sparsity`) and changes during training
(:mod:`landbridge.training.weighting.schedule`). ``domain_weighting`` may mix it with the weights of other
objectives (:mod:`landbridge.models.sequential.item_weights`), or take weights that follow the stream of
events from refit to refit (:mod:`landbridge.models.sequential.online_weights`). With ``renorm`` the mean of
w_i over all training events is 1, Eq. (9) of sparsity. With the signal "gradient" there is one loss per
domain,

    L = Σ_d w_d mean_{t in d} ℓ_t                                                                      (2)

and GradNorm sets w_d at the last layer of the last block (:mod:`landbridge.training.weighting.gradnorm`).

Letters: T targets, F factors, I items, C candidates, B windows, K sampled items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.settings import setting
from landbridge.data.dataset import MultiDomain
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.sequential.item_weights import MultiObjectiveWeights, SparsityWeights, WeightRule
from landbridge.models.sequential.losses import SequenceLoss
from landbridge.models.sequential.method import SequenceMethod, TargetBatch, TargetWeights
from landbridge.models.sequential.online_weights import Stream, StreamWeights, stream_state
from landbridge.models.sequential.transformer import Encoder
from landbridge.training.torch_backend import torch
from landbridge.training.weighting.base import Uniform, Weighting
from landbridge.training.weighting.gradnorm import GradNorm
from landbridge.training.weighting.multi_objective import OBJECTIVES, MultiObjective
from landbridge.training.weighting.schedule import WeightSchedule
from landbridge.training.weighting.sparsity import SparsityScore, WeightMap

if TYPE_CHECKING:
    from torch import Tensor

    from landbridge.models.sequential.fitted import SequenceModel


@dataclass(frozen=True)
class DWL(SequenceMethod):
    """Sequential model with a dynamic weighted loss: targets in sparse domains weigh more."""

    loss: SequenceLoss = setting(SequenceLoss("sampled"), "The loss of a batch.")
    domain_weighting: Literal["sparsity", "several", "online", "fixed", "none"] = setting(
        "sparsity",
        "Weights by sparsity, by several objectives, of the stream of events, fixed ones, or none.",
    )
    weights: Mapping[str, float] = setting(
        {}, "Weight of a domain with domain_weighting fixed; 1 where none is given.", low=0
    )
    objectives: Mapping[str, float] = setting(
        {}, "Exponent of sparsity, worst_group and exposure with domain_weighting several.", low=0, symbol="λ"
    )
    schedule: WeightSchedule = setting(
        WeightSchedule(initial_weights="computed"), "How weights follow the sparsity of domains."
    )
    online: Stream = setting(Stream(), "How weights follow events with domain_weighting online.")
    combine: Literal["max", "mean", "product"] = setting(
        "max", "The weight of an item of several domains, out of theirs."
    )
    literal: bool = setting(False, "Whether Eq. (1) divides by the number of targets, as published.")
    name: ClassVar[str] = "dwl"
    paper: ClassVar[str] = "arXiv 2510.04375, 2025"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "a sequence"
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            **SequenceMethod.renamed,
            "weigh": "domain_weighting",
            **{name: f"schedule.sparsity.{name}" for name in ("alpha", "beta", "gamma")},
            **{name: f"schedule.sparsity.{name}" for name in ("entropy", "standardise")},
            "counting": "schedule.sparsity.count_unit",
            "map": "schedule.weight_map.kind",
            "low": "schedule.weight_map.min_weight",
            "high": "schedule.weight_map.max_weight",
            "kappa": "schedule.weight_map.kappa",
            **{name: f"schedule.{name}" for name in ("renorm", "momentum", "bias_correction")},
            **{name: f"schedule.{name}" for name in ("signal", "window_days")},
            "period": "schedule.update_every",
            "start": "schedule.initial_weights",
        }
    )
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-3, log=True),
            "encoder.dropout": Real(0.0, 0.5),
            "schedule.weight_map.kappa": Choice((0.25, 0.5, 1.0)),
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, given, kind in (
            ("weights", self.weights, "fixed"),
            ("objectives", self.objectives, "several"),
        ):
            if bool(given) != (self.domain_weighting == kind):
                raise SettingsError(
                    f"domain_weighting={kind!r} and {key} belong together: give both or neither."
                )
        by_gradient = self.schedule.signal == "gradient"
        if self.domain_weighting == "several" and (by_gradient or not self.schedule.renorm):
            raise SettingsError(
                "domain_weighting='several' needs schedule.renorm and a schedule.signal other than gradient."
            )
        if self.encoder.blocks == 0 and by_gradient:
            raise SettingsError(
                "schedule.signal='gradient' measures gradients at a block: set encoder.blocks to 1 or more."
            )
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise SettingsError(unknown("objective", name, OBJECTIVES))

    @property
    def trade_off(self) -> MultiObjective:
        """Coefficients and bounds for several objectives."""
        counts = {name: self.objectives.get(name, 0.0) for name in OBJECTIVES}
        low, high = self.schedule.weight_map.bounds
        return MultiObjective(**counts, low=low, high=high)

    @property
    def weight_rule(self) -> WeightRule:
        """The part of the settings that determines item weights."""
        fixed = self.weights if self.domain_weighting == "fixed" else None
        return WeightRule(self.schedule, self.epochs, self.combine, fixed, self.trade_off)

    @property
    def by_gradient(self) -> bool:
        """Whether GradNorm weights the domains' losses, Eq. (2)."""
        return self.domain_weighting == "sparsity" and self.schedule.signal == "gradient"

    def target_weights(
        self,
        train: MultiDomain,
        weights: Mapping[str, Tensor],
        seed: int,
        previous: SequenceModel | None = None,
    ) -> TargetWeights:
        """Weights by sparsity, by several objectives, by the stream of events, fixed, or 1; SettingsError for
        an unknown domain. Sparsity weights that began at 1 go on from those of ``previous``."""
        for domain in self.weights:
            if domain not in train.domain_names:
                raise SettingsError(unknown("domain in weights", domain, train.domain_names))
        if self.domain_weighting == "none" or self.schedule.signal == "gradient":
            return super().target_weights(train, weights, seed)
        device = weights["item"].device
        if self.domain_weighting == "online":
            online = self.online.weights(self.schedule)
            state = stream_state(online, self.online.events, train, previous)
            return StreamWeights(online, state, train, device)
        if self.domain_weighting == "several":
            current_model = partial(self.fitted, train, weights, ())
            return MultiObjectiveWeights(self.weight_rule, train, device, current_model, seed)
        last = previous.log[-1].get("weight", {}) if previous is not None and previous.log else {}
        return SparsityWeights(self.weight_rule, train, device, last)

    def weighting(self, weights: Mapping[str, Tensor]) -> Weighting:
        """GradNorm if the signal is "gradient", else equal weights."""
        if not self.by_gradient:
            return Uniform()
        return GradNorm(f"block.{self.encoder.blocks - 1}.down.weight", start=None)

    def losses_of(
        self, weights: Mapping[str, Tensor], parts: Sequence[TargetBatch], target_weights: TargetWeights
    ) -> dict[str, Tensor]:
        """Eq. (1) as one loss, or the losses of Eq. (2) by domain."""
        if self.by_gradient:
            return self._by_domain(weights, parts, target_weights)
        return super().losses_of(weights, parts, target_weights)

    def scale(self, weights_of: Sequence[Tensor]) -> Tensor | float:
        """As in :class:`SequenceMethod`, or the number of targets, as published."""
        return sum(map(len, weights_of)) if self.literal else super().scale(weights_of)

    def _by_domain(
        self, weights: Mapping[str, Tensor], parts: Sequence[TargetBatch], target_weights: TargetWeights
    ) -> dict[str, Tensor]:
        losses = {}
        for part in parts:
            domain_T = target_weights.domain_I[part.target_T]
            for number in domain_T.unique().tolist():
                one = part.take((domain_T == number).nonzero()[:, 0])
                even_T = torch.full_like(one.query_TF[:, 0], 1 / len(one.target_T)).detach()
                losses[target_weights.names[number]], loss_T = self.total(weights, one, even_T)  # Eq. (2)
                target_weights.seen(one.target_T, loss_T)
        return losses


PUBLISHED = DWL(
    encoder=Encoder(256, blocks=4, heads=8, hidden=1024, max_length=100, projected=True, dropout=0.1),
    loss=SequenceLoss("sampled", temperature=0.1),
    weight_decay=0.01,
    epochs=10,
    batch_size=256,
    schedule=WeightSchedule(SparsityScore(entropy="items"), WeightMap("literal"), renorm=False),
    literal=True,
)
"""What the paper says, with our defaults where it is silent: its sizes, Eqs. (1) to (4) of sparsity as
printed, weights of one at the start, in-batch items with log Q, and a mean that ignores the weights."""
