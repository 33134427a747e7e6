"""ADC: one network for all domains, with weights that balance their losses (Rafailidis & Weiss, 2019).

A user has one embedding for all domains, an item one of its domain. A tower shared by the domains and a
head per domain (:mod:`landbridge.models.towers.network`) compute the score ŷ_ui of a user and an item. With
the mean loss L_d of a batch of domain d (:mod:`~landbridge.models.common.pointwise_losses`) a step
minimises

    L = Σ_d w_d L_d                                                                                    (1)

``sharing`` selects the architecture: "tower"; "user", a tower per domain on shared user embeddings, which is
MLP++; "cross", the same with cross units, which is CoNet; or "cross_stitch", with cross-stitch units. The
weights w_d balance the gradients of the domains at the last layer they share
(:mod:`landbridge.training.weighting.gradnorm`), unless ``balance.kind`` selects another weighting. No
equation of ADC was published; docs/methods/adc.md and towers.md give the reasons for our reading.
``PUBLISHED`` is the balance of GradNorm as printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log
from types import MappingProxyType
from typing import ClassVar, Literal

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.settings import Settings, setting
from landbridge.data.dataset import MultiDomain
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.network import TowerNetwork
from landbridge.models.towers.tower_method import TowerMethod
from landbridge.training.weighting.base import DomainRates, Fixed, Uncertainty, Uniform, Weighting
from landbridge.training.weighting.gradnorm import GradNorm
from landbridge.training.weighting.schedule import DynamicSparsity, WeightSchedule

SHARING = ("user", "tower", "cross", "cross_stitch")
BALANCE = ("none", "fixed", "rates", "gradnorm", "uncertainty", "sparsity")


@dataclass(frozen=True)
class Balance(Settings):
    """The weights w_d of Eq. (1)."""

    kind: Literal["none", "fixed", "rates", "gradnorm", "uncertainty", "sparsity"] = setting(
        "gradnorm", "Where the weights of the domains' losses come from; none: equal, but measured."
    )
    complexity: Literal["rate", "data", "loss", "step"] = setting(
        "rate", "What gradnorm takes for a domain's complexity.", symbol="r"
    )
    alpha: float = setting(0.5, "How much gradnorm follows the complexity.", low=0, symbol="α")
    lr: float = setting(0.025, "Step of the weights in gradnorm and uncertainty.", low=0, symbol="η")
    weights: Mapping[str, float] = setting(
        {}, "Weight of a domain's loss with the kind fixed; 1 where none is given.", low=0, symbol="w"
    )
    rates: Mapping[str, float] = setting(
        {}, "Factor of the learning rate of a domain's own parameters with the kind rates; else 1.", above=0
    )
    rule: Literal["proximal", "literal"] = setting(
        "proximal", "The step of gradnorm: ours, which stops at its target, or the published one."
    )
    order: Literal["before", "after"] = setting(
        "before", "Whether a step of the network takes the weights from before or after gradnorm's."
    )
    start: float | None = setting(
        log(2), "Loss before training in gradnorm; none: the mean of 20 batches.", above=0, symbol="L(0)"
    )
    decay: float = setting(
        0.9, "Of gradnorm's moving averages of losses and norms; 0: none, as published.", low=0, below=1
    )
    at: Literal["layer", "users"] = setting(
        "layer", "Where gradnorm measures gradients: the last shared layer, or user embeddings.", symbol="W"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind, key in (("fixed", "weights"), ("rates", "rates")):
            if bool(getattr(self, key)) != (self.kind == kind):
                raise SettingsError(
                    f"balance.kind={kind!r} and balance.{key} belong together: give both or neither."
                )


PUBLISHED = Balance(rule="literal", order="before", decay=0.0)
"""GradNorm as printed: the losses and norms of each batch, the literal rule, weights from before the step.
α and η have no published value for ADC."""


@dataclass(frozen=True)
class ADC(TowerMethod):
    """One network for all domains with weighted losses, Eq. (1)."""

    sharing: Literal["user", "tower", "cross", "cross_stitch"] = setting(
        "tower",
        "One tower for all domains, one each on shared users, or these with cross or cross-stitch units.",
    )
    balance: Balance = setting(Balance(), "How the losses of the domains are weighted.")
    name: ClassVar[str] = "adc"
    paper: ClassVar[str] = "Rafailidis & Weiss, 2019"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "steps"
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            **TowerMethod.renamed,
            "balance": "balance.kind",
            "complexity": "balance.complexity",
            "balance_alpha": "balance.alpha",
            "balance_lr": "balance.lr",
            "weights": "balance.weights",
        }
    )
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "loss.negatives_per_positive": Choice((1, 4)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def towers(self, train: MultiDomain) -> TowerNetwork:
        """One tower for all domains, or one per domain."""
        return TowerNetwork(
            train.domain_names, self.sharing, self.factors, self.network.tower, self.network.head
        )

    def weighting_of(self, train: MultiDomain) -> Weighting:
        """The weighting that ``balance.kind`` selects; with one domain the weight is 1."""
        kind, weights, names = self.balance.kind, self.balance.weights, train.domain_names
        for key in ("weights", "rates"):
            for domain in getattr(self.balance, key):
                if domain not in names:
                    raise SettingsError(unknown(f"domain in balance.{key}", domain, names))
        if len(names) == 1:
            return Uniform()
        if kind == "fixed":
            return Fixed({name: weights.get(name, 1.0) for name in names})
        if kind == "rates":
            return DomainRates(self.balance.rates, _own(self.towers(train), train))
        if kind == "uncertainty":
            return Uncertainty(self.balance.lr)
        if kind == "sparsity":
            return DynamicSparsity.of(WeightSchedule(), train, self._steps(train), self.epochs)
        return self._gradnorm(train)

    def _steps(self, train: MultiDomain) -> int:
        """Steps of an epoch, as in :mod:`~landbridge.data.sampling.domain_batches`, Eq. (1)."""
        most = max(len(events) for events in train.domains.values())
        return min(-(-train.n_events // self.batch_size), most)

    def _gradnorm(self, train: MultiDomain) -> GradNorm:
        """GradNorm; for "none" one that measures only and changes neither weights nor step lengths."""
        towers, balance = self.towers(train), self.balance
        idle = balance.kind == "none"
        return GradNorm(
            towers.last_shared if balance.at == "layer" else towers.users(train.domain_names[0]),
            balance.alpha,
            0.0 if idle else balance.lr,
            # "step" would change learning rates even with fixed weights
            "rate" if idle and balance.complexity == "step" else balance.complexity,
            sizes={name: len(events) for name, events in train.domains.items()},
            own=_own(towers, train),
            start=balance.start,
            decay=balance.decay,
            order=balance.order,
            rule=balance.rule,
        )


def _own(towers: TowerNetwork, train: MultiDomain) -> dict[str, set[str]]:
    """Domain -> the names of the weights that no other domain uses."""
    names = {domain: set(replace(towers, domains=(domain,)).shapes(train)) for domain in towers.domains}
    return {
        domain: own.difference(*(names[other] for other in names if other != domain))
        for domain, own in names.items()
    }
