"""What networks of several domains share: settings, steps on a batch of each domain, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from landbridge.core.errors import SettingsError, unknown
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import NEGATIVES, Batch, DomainBatches
from landbridge.models.base import Fitted, Method
from landbridge.models.common import losses
from landbridge.models.common import pointwise_losses as objectives
from landbridge.models.common.cold_start import COLD_POLICIES
from landbridge.models.towers.network import EmbeddedBatch
from landbridge.training.epochs import Record
from landbridge.training.gradients import Losses, view
from landbridge.training.loop import run_phase
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.torch_backend import torch
from landbridge.training.weighting.base import Uniform, Weighting

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class JointMethod(Method):
    """``loss``: :mod:`~landbridge.models.common.pointwise_losses`; ``per_positive``: items per event, K.

    A domain's loss is the mean over its batch, with ``reg`` / 2 times the squares of the rows of each event.
    ``negatives`` ("domain" or "popularity") and ``batch_size``, events per step over all domains:
    :mod:`~landbridge.data.sampling.domain_batches`. ``spread``: standard deviation of rows at the start.
    ``cold_policy`` and ``popularity_weight``: :class:`~landbridge.models.common.cold_start.ColdStartMixin`.
    """

    factors: int = 32
    loss: str = "bce"
    per_positive: int = 1
    negatives: str = "domain"
    lr: float = 1e-3
    reg: float = 1e-5
    epochs: int = 60
    batch_size: int = 1024
    spread: float = 0.01
    cold_policy: str = "blend"
    popularity_weight: float = 3.0
    clip: ClassVar[float | None] = None
    objectives: ClassVar[tuple[str, ...]] = ("bce", "bpr")

    def __post_init__(self) -> None:
        Optimizer("adam", self.lr)
        choices = {"loss": self.objectives, "negatives": NEGATIVES, "cold_policy": COLD_POLICIES}
        for key, valid in choices.items():
            if getattr(self, key) not in valid:
                raise SettingsError(unknown(key, getattr(self, key), valid))
        if min(self.factors, self.per_positive, self.batch_size) < 1:
            raise SettingsError("factors, per_positive and batch_size must be 1 or more.")
        if self.reg < 0 or self.spread <= 0:
            raise SettingsError("reg must be 0 or more and spread above 0: zero rows learn nothing.")

    def weighting_of(self, train: MultiDomain) -> Weighting:
        """How the domains' losses are weighed against each other."""
        return Uniform()

    def rounds(self, train: MultiDomain, seed: int, sides: bool = False) -> DomainBatches:
        """The steps of a fit."""
        return DomainBatches(train, self.batch_size, self.negatives, self.per_positive, seed, sides)

    def phase(self, rounds: DomainBatches, weights: Mapping[str, Tensor], reader: Any, scorer: Any) -> Phase:
        """All epochs. ``reader``: (weights, domain, indices of a batch) -> ``EmbeddedBatch``; ``scorer``:
        (weights,
        domain, ``EmbeddedBatch``) -> scores (N, J)."""
        where = next(iter(weights.values())).device
        weighting = self.weighting_of(rounds.data)
        at = weighting.looks_at

        def by_domain(step: Mapping[str, Batch]) -> Losses:
            found: dict[str, Tensor] = {}
            views: dict[str, dict[str, Tensor]] = {}
            for domain, batch in step.items():
                views[domain] = {at: view(weights[at])} if at else {}
                own = {**weights, **views[domain]}
                index = [torch().from_numpy(array).long().to(where) for array in batch[:3]]
                read = reader(own, domain, *index)
                found[domain] = self._loss(scorer(own, domain, read), read, batch)
            return Losses(self.penalised(found, weights, step), weights, views)

        return Phase(
            self.name,
            self.epochs,
            rounds.steps,
            by_domain,
            weights,
            weighting=weighting,
            optimizer=Optimizer("adam", self.lr),
            clip=self.clip,
        )

    def penalised(
        self, loss: dict[str, Tensor], weights: Mapping[str, Tensor], step: Mapping[str, Batch]
    ) -> dict[str, Tensor]:
        """The losses with what the method asks of its weights."""
        return loss

    def learn(
        self, train: MultiDomain, phase: Phase, options: FitOptions, fitted: Callable[[], Fitted]
    ) -> tuple[Record, ...]:
        """Run the phase, in one thread: torch's sums differ in the last bit between counts."""
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        identity = {"settings": settings, "data": train.fingerprint, "seed": options.seed}
        return run_phase(phase, replace(options, threads=1), identity, fitted)

    def _loss(self, score_NJ: Tensor, read: EmbeddedBatch, batch: Batch) -> Tensor:
        weight_N = None if batch.weight_N is None else torch().from_numpy(batch.weight_N).to(score_NJ.device)
        loss_N = objectives.value(self.loss, score_NJ)
        if self.reg:
            loss_N = loss_N + losses.l2_penalty((read.user_NF, read.item_NJF.flatten(1)), self.reg)
        return objectives.mean(loss_N, weight_N)
