"""``GraphMethod``: base class of methods whose embeddings are made of the neighbours in a graph.

BiTGCF, DisenCDR and HeroGRAPH are such methods.
A step takes a batch of every domain, as in :class:`~landbridge.models.towers.joint_method.JointMethod`. The
network scores all of them at once, because the domains meet in the graph.
Shape letters: N events, J items of an event, the positive first; F factors.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.threads import thread_limit
from landbridge.core.types import Float32, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import Batch, DomainBatches
from landbridge.models.graph.fitted import GraphModel
from landbridge.models.pairwise.fitted import FoldInSpec
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.joint_method import DomainPhase, JointMethod
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.torch_backend import device, torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as torch_device


class ScoredBatch(NamedTuple):
    """Scores of the items of a domain's events, ``rows`` of embeddings, (N, …), that are penalised, and a
    ``penalty`` of the domain besides."""

    score_NJ: Tensor
    rows: tuple[Tensor, ...]
    penalty: Tensor | float = 0.0


Scores = Callable[[Mapping[str, Batch]], dict[str, ScoredBatch]]


class GraphNetwork(Protocol):
    """What is trained. ``own``: the length of the domain's own part of an embedding."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Leaf tensors by name."""

    @property
    def own(self) -> int:
        """The length of the domain's own part of an embedding."""

    def scores(self, step: Mapping[str, Batch]) -> dict[str, ScoredBatch]:
        """The scores of a step's batches, by domain."""

    def embeddings(self) -> tuple[dict[str, Float32], dict[str, Float32]]:
        """The embeddings of all users (U, F) and items (I, F), by domain."""


@dataclass(frozen=True)
class GraphMethod(JointMethod):
    """Settings and training of networks on graphs."""

    factors: int = 64
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

    @abstractmethod
    def network(self, train: MultiDomain, seed: int, where: torch_device) -> GraphNetwork:
        """The network before the first step, on the device ``where``."""

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> GraphModel:
        """Train for ``epochs`` passes over all events of all domains."""
        options = options or FitOptions()
        with thread_limit(options.threads):
            network = self.network(train, options.seed, device(options.device))
            phase = self.steps(network, self.batches(train, options.seed))
            log = self.learn(train, phase, options, lambda: self._fitted(train, network, ()))
            return self._fitted(train, network, log)

    def steps(self, network: GraphNetwork, batches: DomainBatches) -> DomainPhase:
        """The training phase of the fit."""
        losses, optimizer = partial(self.losses, network.scores), Optimizer("adam", self.lr)
        return Phase(self.name, self.epochs, batches.steps, losses, network.weights, optimizer=optimizer)

    def losses(self, scores: Scores, step: Mapping[str, Batch]) -> dict[str, Tensor]:
        """The losses of a step by domain, with its items scored by ``scores``."""
        return {
            domain: self.domain_loss(scored.score_NJ, scored.rows, step[domain]) + scored.penalty
            for domain, scored in scores(step).items()
        }

    def _fitted(self, train: MultiDomain, network: GraphNetwork, log: tuple[Record, ...]) -> GraphModel:
        rule = FoldInSpec("joined", self.loss.negatives, self.reg, self.epochs, Optimizer("adam", self.lr))
        cold = self.cold_policy, self.popularity_weight
        return GraphModel(train, self, log, *network.embeddings(), *cold, rule, network.own)


def dots(user_NF: Tensor, item_NJF: Tensor) -> Tensor:
    """Dot products of each user with their items, (N, J)."""
    return (item_NJF @ user_NF[:, :, None]).squeeze(2)


def drawn(name: str, rows: int, method: GraphMethod, seed: int, where: torch_device | str = "cpu") -> Tensor:
    """A table of Gaussian embeddings of deviation ``init_std``, (rows, F)."""
    table_RF = generator(seed, name).standard_normal((rows, method.factors), np.float32)
    return torch.from_numpy(table_RF * np.float32(method.init_std)).to(where)
