"""``JointMethod``: base class of methods that take a batch of every domain in each step.

CMF inherits from it directly; ADC, CoNet and NeuMF through
:class:`~landbridge.models.towers.tower_method.TowerMethod`, which adds the network of towers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, TypeVar

from landbridge.core.settings import setting
from landbridge.core.types import Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import Batch, DomainBatches
from landbridge.models.base import Fitted, Method
from landbridge.models.common import losses, pointwise_losses
from landbridge.models.common.cold_start import COLD_POLICY, POPULARITY_WEIGHT, ColdPolicy
from landbridge.models.common.pointwise_losses import PointwiseLoss
from landbridge.models.towers.network import EmbeddedBatch
from landbridge.training.gradients import Losses, view
from landbridge.training.loop import run_phase
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.torch_backend import torch
from landbridge.training.weighting.base import Uniform, Weighting

if TYPE_CHECKING:
    from torch import Tensor

Step = TypeVar("Step")
DomainPhase = Phase[Mapping[str, Batch]]  # a batch of every domain in the step


# (weights, domain, user_N, item_NJ, side_NS) -> the embeddings of a batch
Embed = Callable[[Mapping[str, "Tensor"], str, "Tensor", "Tensor", "Tensor"], EmbeddedBatch]
# (weights, domain, embeddings of a batch) -> scores (N, J)
Score = Callable[[Mapping[str, "Tensor"], str, EmbeddedBatch], "Tensor"]


@dataclass(frozen=True)
class JointMethod(Method):
    """Settings and training steps of models that are trained on one batch of every domain per step."""

    factors: int = setting(32, "Length of an embedding.", low=1, symbol="F")
    loss: PointwiseLoss = setting(PointwiseLoss(), "The loss of an event.")
    lr: float = setting(1e-3, "Learning rate of Adam.", above=0, symbol="η")
    reg: float = setting(1e-5, "L2 penalty of the embeddings of each event.", low=0, high=1e12, symbol="λ")
    epochs: int = setting(60, "Passes over all events of all domains.", low=1)
    batch_size: int = setting(1024, "Events per step over all domains.", low=1)
    init_std: float = setting(0.01, "Standard deviation of the embeddings at the start.", above=0)
    cold_policy: ColdPolicy = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(3.0, POPULARITY_WEIGHT, low=0)
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "loss": "loss.kind",
            "per_positive": "loss.negatives_per_positive",
            "negatives_per_positive": "loss.negatives_per_positive",
            "negatives": "loss.negatives",
            "spread": "init_std",
            "cold_weight": "popularity_weight",
        }
    )
    clip: ClassVar[float | None] = None

    def weighting_of(self, train: MultiDomain) -> Weighting:
        """How the losses of the domains are weighted against each other."""
        return Uniform()

    def batches(self, train: MultiDomain, seed: int, sides: bool = False) -> DomainBatches:
        """The batches of a fit: one per domain and step."""
        loss = self.loss
        return DomainBatches(train, self.batch_size, loss.negatives, loss.negatives_per_positive, seed, sides)

    def phase(
        self, batches: DomainBatches, weights: Mapping[str, Tensor], embed: Embed, score: Score
    ) -> DomainPhase:
        """The training phase: all epochs, with ``embed`` and ``score`` as the model."""
        device = next(iter(weights.values())).device
        weighting = self.weighting_of(batches.data)
        at = weighting.gradient_parameter

        def by_domain(step: Mapping[str, Batch]) -> Losses:
            loss: dict[str, Tensor] = {}
            views: dict[str, dict[str, Tensor]] = {}
            for domain, batch in step.items():
                # a view per domain: one backward pass then leaves every domain's own gradient
                views[domain] = {at: view(weights[at])} if at else {}
                own = {**weights, **views[domain]}
                index = [torch.from_numpy(array).long().to(device) for array in batch[:3]]
                embedded = embed(own, domain, *index)
                rows = embedded.user_NF, embedded.item_NJF.flatten(1)
                loss[domain] = self.domain_loss(score(own, domain, embedded), rows, batch)
            return Losses(self.penalised(loss, weights, step), weights, views)

        return Phase(
            self.name,
            self.epochs,
            batches.steps,
            by_domain,
            weights,
            weighting=weighting,
            optimizer=Optimizer("adam", self.lr),
            clip=self.clip,
        )

    def penalised(
        self, loss: dict[str, Tensor], weights: Mapping[str, Tensor], step: Mapping[str, Batch]
    ) -> dict[str, Tensor]:
        """The losses of a step with the penalties of the method; none by default."""
        return loss

    def learn(
        self,
        train: MultiDomain,
        phase: Phase[Step],
        options: FitOptions,
        fitted: Callable[[], Fitted],
    ) -> tuple[Record, ...]:
        """Run the phase in one thread: sums of torch depend on the number of threads in their last bit."""
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in self.flat().items()}
        identity = {"settings": settings, "data": train.fingerprint, "seed": options.seed}
        return run_phase(phase, replace(options, threads=1), identity, fitted)

    def domain_loss(self, score_NJ: Tensor, rows: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """The loss of a domain's batch, a scalar, with the penalty of its ``rows`` of embeddings, (N, …)."""
        weight_N = None if batch.weight_N is None else torch.from_numpy(batch.weight_N).to(score_NJ.device)
        loss_N = pointwise_losses.event_losses(self.loss.kind, score_NJ)
        if self.reg:
            loss_N = loss_N + losses.l2_penalty(rows, self.reg)
        return pointwise_losses.batch_loss(loss_N, weight_N)
