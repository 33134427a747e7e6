"""``TowerMethod``: base class of ADC, CoNet and NeuMF, which score by towers on user and item embeddings.

It adds the network and the fitted :class:`~landbridge.models.towers.fitted.TowerModel` to the training
steps of :class:`~landbridge.models.towers.joint_method.JointMethod`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from landbridge.core.errors import SettingsError
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import DomainBatches
from landbridge.models.common.pointwise_losses import PointwiseLoss
from landbridge.models.towers.fitted import TowerModel
from landbridge.models.towers.fold_in import FoldIn
from landbridge.models.towers.joint_method import DomainPhase, JointMethod
from landbridge.models.towers.network import TowerNetwork, Weights
from landbridge.training import tensors
from landbridge.training.options import FitOptions
from landbridge.training.torch_backend import device

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TowerLoss(PointwiseLoss):
    """The losses that networks of towers can be trained with."""

    kind: Literal["bce", "bpr"] = setting("bce", "Loss of an event and its negatives.")


@dataclass(frozen=True)
class Layers(Settings):
    """The layers between the embeddings and the score."""

    tower: tuple[int, ...] = setting((32, 16), "Widths of the shared layers.", low=1)
    head: tuple[int, ...] = setting((8,), "Widths of each domain's own layers.", low=1)
    dropout: float = setting(0.0, "Share of a layer's units left out in training.", low=0, below=1)


@dataclass(frozen=True)
class TowerMethod(JointMethod):
    """Settings and training of networks with a tower on the embeddings of user and item."""

    loss: TowerLoss = setting(TowerLoss(), "The loss of an event.")
    network: Layers = setting(Layers(), "The layers.")
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {**JointMethod.renamed, **{name: f"network.{name}" for name in ("tower", "head", "dropout")}}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.network.tower:
            raise SettingsError(f"{self.name}.network.tower must have one layer or more.")

    @abstractmethod
    def towers(self, train: MultiDomain) -> TowerNetwork:
        """The architecture of the network."""

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> TowerModel:
        """Train for ``epochs`` passes over all events of all domains."""
        options = options or FitOptions()
        towers = self.towers(train)
        weights = towers.initial(train, options.seed, self.init_std, device(options.device))
        phase = self.steps(towers, weights, self.batches(train, options.seed, towers.run_together))
        log = self.learn(train, phase, options, lambda: self._fitted(train, towers, weights, ()))
        return self._fitted(train, towers, weights, log)

    def steps(self, towers: TowerNetwork, weights: dict[str, Tensor], batches: DomainBatches) -> DomainPhase:
        """The training phase of the fit."""
        return self.phase(
            batches, weights, towers.embed, partial(towers.logits, dropout=self.network.dropout)
        )

    def _fitted(
        self, train: MultiDomain, towers: TowerNetwork, weights: Weights, log: tuple[Record, ...]
    ) -> TowerModel:
        loss = self.loss
        rule = FoldIn(loss.kind, loss.negatives_per_positive, loss.negatives, self.reg)
        return TowerModel(
            train, self, log, towers, tensors.arrays(weights), rule, self.cold_policy, self.popularity_weight
        )
