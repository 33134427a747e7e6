"""MV-DNN: one tower of users for all domains, a tower of items for each (Elkahky, Song & He, WWW 2015).

A user has one embedding p_u, an item q_i one of its domain. With layers W z + b below tanh

    x_u = T(p_u),   y_i = T_d(q_i)                                                                     (1)
    r_ui = κ cos(x_u, y_i)                                                                             (2)

and a step minimises the sum over domains of the mean over events of -ln softmax of r over the item and K
sampled negatives ("softmax" of :mod:`~landbridge.models.common.pointwise_losses`).

The paper's views are texts: of users what they searched and visited, of items their words. From events alone
their inputs are embeddings by id. Its full text was not at hand: inferred are all domains in every step, κ, K
and the widths. This is no setting of ADC's network, whose tower reads user and item together: here they meet
in (2) alone, so that catalogues are ranked as products. A new user is folded in by steps on x at fixed y.
Letters: R rows, N events, J items of an event, F numbers of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.settings import setting
from landbridge.core.types import Float32, Record
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.models.common.pointwise_losses import PointwiseLoss
from landbridge.models.cost import FLOAT32, Cost, Work
from landbridge.models.pairwise.fitted import EmbeddingModel, FoldInSpec
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.combination import unit_length
from landbridge.models.towers.cost import JointSteps, dense_work, item_rows
from landbridge.models.towers.joint_method import JointMethod
from landbridge.models.towers.network import EmbeddedBatch, TowerNetwork, Weights
from landbridge.training import tensors
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.torch_backend import device, torch

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_ROWS = 8192  # bounds the memory of the towers when all users or items go through them


@dataclass(frozen=True)
class SoftmaxLoss(PointwiseLoss):
    """The loss of an event among its negatives."""

    kind: Literal["softmax"] = setting("softmax", "Loss of an event and its negatives.")


@dataclass(frozen=True)
class MVDNN(JointMethod):
    """Cosines of a tower of users and one of each domain's items."""

    factors: int = 64
    loss: SoftmaxLoss = setting(SoftmaxLoss(negatives_per_positive=4), "The loss of an event.")
    layers: tuple[int, ...] = setting((64, 64), "Widths of every tower's layers.", low=1)
    init_std: float = 0.1
    scale: float = setting(10.0, "Factor of the cosines in the softmax.", above=0, symbol="κ")
    name: ClassVar[str] = "mvdnn"
    paper: ClassVar[str] = "Elkahky, Song & He, WWW 2015"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "steps"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "scale": Choice((5.0, 10.0, 20.0)),
            "loss.negatives_per_positive": Choice((1, 4)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def cost(self, counts: Counts) -> Cost:
        """Steps of all domains, with the user, the item and the negatives of each event through the towers
        (:mod:`landbridge.models.towers.cost`)."""
        negatives = self.loss.negatives_per_positive
        steps = JointSteps(counts, self.factors, self.batch_size, negatives)
        rows, widths = counts.joined.n_users + item_rows(counts), (self.factors, *self.layers)
        layers = sum((inner + 1) * outer for inner, outer in pairwise(widths)) * (1 + len(counts.domains))
        return Cost(
            once=Work(normal=self.factors * rows) + dense_work(rows, widths, 1),
            epoch=steps.pairs()
            + steps.rows(rows + layers / self.factors, steps.touched_in_all() + layers / self.factors)
            + dense_work(counts.events * (2 + negatives), widths),
            epochs=self.epochs,
            peak=steps.memory(rows + layers / self.factors, sum(widths)),
            model=FLOAT32 * widths[-1] * rows,
            torch=True,
        )

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> EmbeddingModel:
        """Train for ``epochs`` passes over all events of all domains."""
        options = options or FitOptions()
        plain = TowerNetwork(train.domain_names, "user", 0, (), (), self.factors)
        where = device(options.device)
        drawn = plain.initial(train, options.seed, self.init_std, where)
        weights = {name: weight for name, weight in drawn.items() if name.startswith(("user", "item."))}
        layers = self.initial_layers(train, options.seed)
        weights |= {name: torch.from_numpy(a).to(where).requires_grad_() for name, a in layers.items()}
        phase = self.phase(self.batches(train, options.seed), weights, plain.embed, self.scores)
        log = self.learn(train, phase, options, lambda: self._fitted(train, weights, ()))
        return self._fitted(train, weights, log)

    def initial_layers(self, train: MultiDomain, seed: int) -> dict[str, Float32]:
        """Matrices (out, in) uniform in ±√(6 / (in + out)), biases 0."""
        drawn: dict[str, Float32] = {}
        for tower in ("users", *(f"items.{name}" for name in train.domain_names)):
            for level, (inner, outer) in enumerate(pairwise((self.factors, *self.layers))):
                name, bound = f"{tower}.{level}", np.sqrt(6 / (inner + outer))
                rng = generator(seed, name)
                drawn[f"{name}.weight"] = rng.uniform(-bound, bound, (outer, inner)).astype(np.float32)
                drawn[f"{name}.bias"] = np.zeros(outer, np.float32)
        return drawn

    def scores(self, weights: Weights, domain: str, batch: EmbeddedBatch) -> Tensor:
        """r of Eq. (2), (N, J)."""
        x_NF = self.through(weights, "users", batch.user_NF)
        y_NJF = self.through(weights, f"items.{domain}", batch.item_NJF)
        return self.scale * (y_NJF @ x_NF[:, :, None]).squeeze(2)

    def through(self, weights: Weights, tower: str, rows_RF: Tensor) -> Tensor:
        """Rows of Eq. (1), divided by their length."""
        from torch.nn.functional import linear

        for level in range(len(self.layers)):
            name = f"{tower}.{level}"
            rows_RF = linear(rows_RF, weights[f"{name}.weight"], weights[f"{name}.bias"]).tanh()
        return unit_length(rows_RF)

    def _fitted(self, train: MultiDomain, weights: Weights, log: tuple[Record, ...]) -> EmbeddingModel:
        blocks = partial(self._whole, weights)
        users = dict.fromkeys(train.domain_names, blocks("users", "user") * np.float32(self.scale))
        items = {name: blocks(f"items.{name}", f"item.{name}") for name in train.domain_names}
        rule = FoldInSpec("joined", self.loss.negatives, self.reg, self.epochs, Optimizer("adam", self.lr))
        return EmbeddingModel(train, self, log, users, items, self.cold_policy, self.popularity_weight, rule)

    def _whole(self, weights: Mapping[str, Tensor], tower: str, table: str) -> Float32:
        """All rows of a table through a tower."""
        with torch.no_grad():
            parts = [self.through(weights, tower, rows_RF) for rows_RF in weights[table].split(BLOCK_ROWS)]
            return tensors.arrays({table: torch.cat(parts)})[table]
