"""CMF: collective matrix factorisation, one user embedding for all domains (Singh & Gordon, KDD 2008).

A step takes a batch of each domain (:mod:`landbridge.data.sampling.domain_batches`). With the mean loss L_d
of the scores x_u · y_i there (:mod:`~landbridge.models.common.pointwise_losses`, "bce" or "squared"),

    min Σ_d α_d L_d                                                                                    (1)

A domain with α_d = 0 is left out of training: it costs nothing, and its item embeddings keep their random
start. Least squares over all items, with or without events, is joined iALS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.settings import setting
from landbridge.core.types import Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import DomainBatches
from landbridge.models.common.pointwise_losses import PointwiseLoss
from landbridge.models.pairwise.fitted import EmbeddingModel, FoldInSpec
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.joint_method import JointMethod
from landbridge.models.towers.network import EmbeddedBatch, TowerNetwork
from landbridge.training import tensors
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.torch_backend import device
from landbridge.training.weighting.base import Fixed, Weighting

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ProductLoss(PointwiseLoss):
    """The losses that products of embeddings can be trained with."""

    kind: Literal["bce", "squared"] = setting("bce", "Loss of an event and its negatives.")


@dataclass(frozen=True)
class CMF(JointMethod):
    """Products of embeddings, one of each user for all domains."""

    factors: int = 64
    loss: ProductLoss = setting(ProductLoss(), "The loss of an event.")
    reg: float = 1e-4
    weights: Mapping[str, float] = setting(
        {}, "Weight of a domain's loss; 1 where none is given.", low=0, symbol="α"
    )
    name: ClassVar[str] = "cmf"
    paper: ClassVar[str] = "Singh & Gordon, KDD 2008"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "steps"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "loss.negatives_per_positive": Choice((1, 4)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def weighting_of(self, train: MultiDomain) -> Weighting:
        """α of every domain."""
        return Fixed({name: self.weights.get(name, 1.0) for name in train.domain_names})

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> EmbeddingModel:
        """Train for ``epochs`` passes over all events of the domains with α > 0."""
        options = options or FitOptions()
        towers = TowerNetwork(train.domain_names, "user", 0, (), (), self.factors)
        drawn = towers.initial(train, options.seed, self.init_std, device(options.device))
        rows = {name: weight for name, weight in drawn.items() if name.startswith(("user", "item."))}
        phase = self.phase(self._trained_batches(train, options.seed), rows, towers.embed, _scores)
        log = self.learn(train, phase, options, lambda: self._fitted(train, rows, ()))
        return self._fitted(train, rows, log)

    def _trained_batches(self, train: MultiDomain, seed: int) -> DomainBatches:
        for domain in self.weights:
            if domain not in train.domain_names:
                raise SettingsError(unknown("domain in weights", domain, train.domain_names))
        # a domain of weight 0 would cost its batches and change nothing
        names = [name for name in train.domain_names if self.weights.get(name, 1.0) > 0]
        if not names:
            raise SettingsError("weights must be above 0 for one domain or more.")
        return self.batches(train.select(names), seed)

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
