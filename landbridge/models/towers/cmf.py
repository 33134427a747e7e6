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
from typing import ClassVar, Literal

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.settings import setting
from landbridge.data.dataset import MultiDomain
from landbridge.models.common.pointwise_losses import PointwiseLoss
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.product_method import ProductMethod
from landbridge.training.weighting.base import Fixed, Weighting


@dataclass(frozen=True)
class ProductLoss(PointwiseLoss):
    """The losses that products of embeddings can be trained with."""

    kind: Literal["bce", "squared"] = setting("bce", "Loss of an event and its negatives.")


@dataclass(frozen=True)
class CMF(ProductMethod):
    """Products of embeddings, one of each user for all domains."""

    loss: ProductLoss = setting(ProductLoss(), "The loss of an event.")
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

    def trained(self, train: MultiDomain) -> MultiDomain:
        """The domains with α > 0."""
        for domain in self.weights:
            if domain not in train.domain_names:
                raise SettingsError(unknown("domain in weights", domain, train.domain_names))
        # a domain of weight 0 would cost its batches and change nothing
        names = [name for name in train.domain_names if self.weights.get(name, 1.0) > 0]
        if not names:
            raise SettingsError("weights must be above 0 for one domain or more.")
        return train.select(names)
