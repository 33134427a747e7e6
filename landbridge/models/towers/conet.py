"""CoNet: a tower per domain, and cross units that pass activations between them (Hu et al., CIKM 2018).

A user has one embedding for all domains. In all layers but those of the head, a tower adds H times the mean
activation of the other towers to its own (:mod:`landbridge.models.towers.network`, Eq. (4)), with the same
H in both directions and for any number of domains. With N events, a step minimises

    Σ_d L_d + λ |H|₁ / N                                                                               (1)

λ = 0 is CoNet; λ > 0 is SCoNet, whose H is sparse. H = 0 is MLP++: ADC with ``sharing="user"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from landbridge.core.settings import setting
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import Batch
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.network import TowerNetwork
from landbridge.models.towers.tower_method import TowerMethod

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CoNet(TowerMethod):
    """A tower per domain with cross units between them."""

    sparsity: float = setting(
        0.0, "L1 penalty of the cross units, Eq. (1); above 0: SCoNet.", low=0, symbol="λ"
    )
    clip: ClassVar[float | None] = 10.0
    name: ClassVar[str] = "conet"
    paper: ClassVar[str] = "Hu, Zhang & Yang, CIKM 2018"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "steps"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "sparsity": Choice((0.0, 0.1, 1.0, 5.0)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def towers(self, train: MultiDomain) -> TowerNetwork:
        """A tower per domain, with cross units."""
        return TowerNetwork(train.domain_names, "cross", self.factors, self.network.tower, self.network.head)

    def penalised(
        self, loss: dict[str, Tensor], weights: Mapping[str, Tensor], step: Mapping[str, Batch]
    ) -> dict[str, Tensor]:
        """Eq. (1); every domain of the step carries an equal part of the penalty."""
        if not self.sparsity:
            return loss
        size = sum(weight.abs().sum() for name, weight in weights.items() if name.startswith("cross."))
        # divided by the events of the step, like the losses, so that λ does not depend on the batch size
        share = self.sparsity / (len(loss) * sum(len(batch.user_N) for batch in step.values()))
        return {domain: own + share * size for domain, own in loss.items()}
