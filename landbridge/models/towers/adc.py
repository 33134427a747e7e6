"""ADC: one network for all domains, with weights that balance their losses (Rafailidis & Weiss, 2019).

A user has one embedding for all domains, an item one of its domain. A tower shared by the domains and a
head per domain (:mod:`landbridge.models.towers.network`) compute the score ŷ_ui of a user and an item. With
the mean loss L_d of a batch of domain d (:mod:`~landbridge.models.common.pointwise_losses`) a step
minimises

    L = Σ_d w_d L_d                                                                                    (1)

``sharing`` selects the architecture: "tower"; "user", a tower per domain on shared user embeddings, which is
MLP++; or "cross", the same with cross units, which is CoNet. The weights w_d balance the gradients of the
domains at the last layer they share (:mod:`landbridge.training.weighting.gradnorm`), unless ``balance``
selects another weighting. No equation of ADC was published; docs/methods/adc.md and towers.md give the
reasons for our reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar, Literal

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.settings import setting
from landbridge.data.dataset import MultiDomain
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.network import TowerNetwork
from landbridge.models.towers.tower_method import TowerMethod
from landbridge.training.weighting.base import Fixed, Uncertainty, Uniform, Weighting
from landbridge.training.weighting.gradnorm import GradNorm
from landbridge.training.weighting.schedule import DynamicSparsity, WeightSchedule

SHARING = ("user", "tower", "cross")
BALANCE = ("none", "fixed", "gradnorm", "uncertainty", "sparsity")


@dataclass(frozen=True)
class ADC(TowerMethod):
    """One network for all domains with weighted losses, Eq. (1)."""

    sharing: Literal["user", "tower", "cross"] = setting(
        "tower", "One tower for all domains, one each on shared users, or these with cross units."
    )
    balance: Literal["none", "fixed", "gradnorm", "uncertainty", "sparsity"] = setting(
        "gradnorm", "Where the weights of the domains' losses come from; none: equal, but measured."
    )
    complexity: Literal["rate", "data", "loss", "step"] = setting(
        "rate", "What gradnorm takes for a domain's complexity.", symbol="r"
    )
    balance_alpha: float = setting(0.5, "How much gradnorm follows the complexity.", low=0, symbol="α")
    balance_lr: float = setting(0.025, "Step of the weights in gradnorm and uncertainty.", low=0, symbol="η")
    weights: Mapping[str, float] = setting(
        {}, "Weight of a domain's loss with balance fixed; 1 where none is given.", low=0, symbol="w"
    )
    name: ClassVar[str] = "adc"
    paper: ClassVar[str] = "Rafailidis & Weiss, 2019"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "steps"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "negatives_per_positive": Choice((1, 4)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.weights) != (self.balance == "fixed"):
            raise SettingsError("balance='fixed' and weights belong together: give both or neither.")

    def towers(self, train: MultiDomain) -> TowerNetwork:
        """One tower for all domains, or one per domain."""
        return TowerNetwork(train.domain_names, self.sharing, self.factors, self.tower, self.head)

    def weighting_of(self, train: MultiDomain) -> Weighting:
        """The weighting that ``balance`` selects; with one domain the weight is 1."""
        for domain in self.weights:
            if domain not in train.domain_names:
                raise SettingsError(unknown("domain in weights", domain, train.domain_names))
        if len(train.domain_names) == 1:
            return Uniform()
        if self.balance == "fixed":
            return Fixed({name: self.weights.get(name, 1.0) for name in train.domain_names})
        if self.balance == "uncertainty":
            return Uncertainty(self.balance_lr)
        if self.balance == "sparsity":
            return DynamicSparsity.of(WeightSchedule(), train, self._steps(train), self.epochs)
        return self._gradnorm(train)

    def _steps(self, train: MultiDomain) -> int:
        """Steps of an epoch, as in :mod:`~landbridge.data.sampling.domain_batches`, Eq. (1)."""
        most = max(len(events) for events in train.domains.values())
        return min(-(-train.n_events // self.batch_size), most)

    def _gradnorm(self, train: MultiDomain) -> GradNorm:
        """GradNorm; for "none" one that measures only and changes neither weights nor step lengths."""
        towers, idle = self.towers(train), self.balance == "none"
        return GradNorm(
            towers.last_shared,
            self.balance_alpha,
            0.0 if idle else self.balance_lr,
            # "step" would change learning rates even with fixed weights
            "rate" if idle and self.complexity == "step" else self.complexity,
            sizes={name: len(events) for name, events in train.domains.items()},
            own=_own(towers, train),
        )


def _own(towers: TowerNetwork, train: MultiDomain) -> dict[str, set[str]]:
    """Domain -> the names of the weights that no other domain uses."""
    names = {domain: set(replace(towers, domains=(domain,)).shapes(train)) for domain in towers.domains}
    return {
        domain: own.difference(*(names[other] for other in names if other != domain))
        for domain, own in names.items()
    }
