"""``ProductMethod``: base class of CMF and RecSys-DAN: scores x_u · y_i, one x of each user for all domains.

It adds the embeddings and the fitted :class:`~landbridge.models.pairwise.fitted.EmbeddingModel` to the
training steps of :class:`~landbridge.models.towers.joint_method.JointMethod`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from landbridge.core.types import Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import DomainBatches
from landbridge.models.pairwise.fitted import EmbeddingModel, FoldInSpec
from landbridge.models.towers.joint_method import DomainPhase, JointMethod
from landbridge.models.towers.network import EmbeddedBatch, TowerNetwork
from landbridge.training import tensors
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.torch_backend import device

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ProductMethod(JointMethod):
    """Products of embeddings, one of each user for all domains."""

    factors: int = 64
    reg: float = 1e-4

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> EmbeddingModel:
        """Train for ``epochs`` passes over all events of the domains that are trained."""
        options = options or FitOptions()
        towers = TowerNetwork(train.domain_names, "user", 0, (), (), self.factors)
        drawn = towers.initial(train, options.seed, self.init_std, device(options.device))
        rows = {name: weight for name, weight in drawn.items() if name.startswith(("user", "item."))}
        phase = self.steps(towers, rows, self.batches(self.trained(train), options.seed))
        log = self.learn(train, phase, options, lambda: self._fitted(train, rows, ()))
        return self._fitted(train, rows, log)

    def trained(self, train: MultiDomain) -> MultiDomain:
        """The domains whose events are learned from; all by default."""
        return train

    def steps(self, towers: TowerNetwork, rows: dict[str, Tensor], batches: DomainBatches) -> DomainPhase:
        """The training phase of the fit. ``rows``: the embeddings by name."""
        return self.phase(batches, rows, towers.embed, _scores)

    def _fitted(
        self, train: MultiDomain, rows: Mapping[str, Tensor], log: tuple[Record, ...]
    ) -> EmbeddingModel:
        arrays = tensors.arrays(rows)
        users = dict.fromkeys(train.domain_names, arrays["user"])
        items = {name: arrays[f"item.{name}"] for name in train.domain_names}
        rule = FoldInSpec("joined", self.loss.negatives, self.reg, self.epochs, Optimizer("adam", self.lr))
        return EmbeddingModel(train, self, log, users, items, self.cold_policy, self.popularity_weight, rule)


def _scores(weights: Mapping[str, Tensor], domain: str, batch: EmbeddedBatch) -> Tensor:
    """x · y, (N, J)."""
    return (batch.user_NF[:, None] * batch.item_NJF).sum(dim=2)
