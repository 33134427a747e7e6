"""GA-MTCDR: the user's embeddings of all domains, combined by attention for each domain, under a tower each.

Source: Zhu et al., *A Graphical and Attentional Framework for Dual-Target Cross-Domain Recommendation*, IJCAI
2020, and *A Unified Framework for Cross-Domain and Cross-System Recommendations*, TKDE 2023, and the authors'
program. A model of every domain alone gives embeddings; the score r_ui of an item is the cosine of two towers
(:mod:`landbridge.models.towers.combination`). With p = max(r, 1e-6), y = 1 for an event and 0 for each of its
K sampled negatives, a step minimises over the domains d

    Σ_d mean_events [ -Σ_j (y_j ln p_j + (1 - y_j) ln(1 - p_j)) / (1 + K) + λ/2 (‖x_u‖² + Σ_j ‖y_j‖²) ]  (1)
       + γ Σ_d mean_events ‖ũ_u^d - sg(ũ_u^r)‖²                                                         (2)

with x and y the outputs of the towers. (2), in -P, pulls a user's embedding in a poorer domain d toward that
in r, the one of their domains that has most events in all, to which no gradient goes (sg).

The papers are for two domains or several; their program, for two, has w free and 1 - w for the other domain.
Here w is a softmax over any number of domains, among those in which the user has events. The papers embed a
graph that also has edges by the similarity of reviews; from events alone LightGCN takes its place. Inferred:
which domain is the rich one of (2), and that items are as many in λ as they are in the batch. Ours: M starts
as the identity, the last layer of a tower has no dead units, and serving ranks by r itself.

Letters: U users, N events, J = 1 + K items of an event, F factors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Float32, Record, Values
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import Batch
from landbridge.models.base import Method
from landbridge.models.common.dot_product import DotProductModel
from landbridge.models.common.phase_log import best_epochs, phase_records
from landbridge.models.common.pointwise_losses import PointwiseLoss
from landbridge.models.common.pretraining import Pretraining, migrated_pretraining, pretrained
from landbridge.models.cost import FLOAT32, Cost
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.combination import (
    CombinationNetwork,
    CombinedModel,
    UserInputs,
    all_user_vectors,
    item_vectors,
    unit_length,
)
from landbridge.models.towers.cost import JointSteps, common_users, dense_work, domain_rows
from landbridge.models.towers.joint_method import JointMethod
from landbridge.models.towers.network import EmbeddedBatch, Weights
from landbridge.training import tensors
from landbridge.training.options import FitOptions
from landbridge.training.torch_backend import device, torch

if TYPE_CHECKING:
    from torch import Tensor

PRETRAIN, NETWORK = "pretrain", "network"
BOUND = 1e-6  # of p and 1 - p


@dataclass(frozen=True)
class CosineLoss(PointwiseLoss):
    """The loss of cosines, Eq. (1)."""

    kind: Literal["bce"] = setting("bce", "Loss of an event and its negatives.")


@dataclass(frozen=True)
class Combination(Settings):
    """How the embeddings of all domains are combined and what is above them."""

    attention: Literal["user", "domain", "own"] = setting(
        "user", "Weights of the domains for each user, for all users alike, or only the own domain."
    )
    tower: tuple[int, ...] = setting((2, 4, 8, 4, 2, 1), "Widths of the layers, times ``factors``.", low=1)
    embeddings: Literal["frozen", "free"] = setting(
        "frozen", "Whether the pretrained embeddings are trained further."
    )
    alignment: float = setting(
        0.0,
        "Pull of a user's embedding in poorer domains toward their richest, Eq. (2); above 0: GA-MTCDR-P.",
        low=0,
        symbol="γ",
    )


@dataclass(frozen=True)
class GAMTCDR(JointMethod):
    """Pretrained embeddings of every domain, combined element by element, under a tower per domain."""

    loss: CosineLoss = setting(CosineLoss(negatives_per_positive=7), "The loss of an event.")
    reg: float = setting(
        1e-4, "L2 penalty of the towers' outputs for each event, Eq. (1).", low=0, high=1e12, symbol="λ"
    )
    epochs: int = 50
    batch_size: int = 4096
    pretrain: Pretraining = setting(
        Pretraining("lightgcn", {}), "The method that makes the embeddings of every domain."
    )
    network: Combination = setting(Combination(), "The network.")
    name: ClassVar[str] = "gamtcdr"
    paper: ClassVar[str] = "Zhu et al., IJCAI 2020, TKDE 2023"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "as its pretrainer"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 1e-2, log=True),
            "reg": Real(1e-6, 1e-2, log=True),
            "network.attention": Choice(("user", "domain")),
            "network.embeddings": Choice(("frozen", "free")),
            "network.alignment": Choice((0.0, 1e-3, 1e-2, 1e-1)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.network.tower or self.network.tower[-1] != 1:
            raise SettingsError("gamtcdr.network.tower must end with 1: its output has ``factors`` numbers.")
        self.pretrainer()  # refuses settings that the pretrainer does not know

    @classmethod
    def migrated(cls, settings: Values) -> Record:
        """``settings`` with today's names, those of the pretrainer included."""
        return migrated_pretraining(super().migrated(settings), cls.pretrain)

    @property
    def single_domain(self) -> bool:
        """Whether nothing of other domains is combined."""
        return self.network.attention == "own"

    def cost(self, counts: Counts) -> Cost | None:
        """The pretraining, and in every step the different users and items of each domain through their
        towers (:mod:`landbridge.models.towers.cost`); the maps and the attention are counted as passes over
        the embeddings of all domains. None where the pretrainer says no cost."""
        base = self.pretrainer().cost(counts)
        if base is None:
            return None
        steps = JointSteps(counts, self.factors, self.batch_size, self.loss.negatives_per_positive)
        domains, factors = len(counts.domains), self.factors
        widths = (factors, *(factors * width for width in self.network.tower))
        weights = sum(inner * outer for inner, outer in pairwise(widths))
        attended = domains * common_users(counts) if self.network.attention == "user" else 1.0
        trained = attended * domains + (2 * domains * weights) / factors
        if self.network.embeddings == "free":
            trained += domain_rows(counts)
        through = steps.number * sum(steps.touched(table) for table in counts.domains.values())
        mixed = dense_work(through, (domains * factors, factors))
        return Cost(
            once=base.work + dense_work(domain_rows(counts), widths, 1),
            epoch=steps.pairs() + steps.rows(trained, trained) + dense_work(through, widths) + mixed,
            epochs=self.epochs,
            peak=max(base.peak, steps.memory(trained, sum(widths)) + base.model),
            model=base.model + FLOAT32 * factors * (domain_rows(counts) + trained + domains * factors),
            torch=True,
        )

    def pretrainer(self) -> Method:
        """The method of the embeddings, each domain alone."""
        return self.pretrain.chosen(self.factors, "separate")

    def stopped(self, log: Sequence[Values]) -> Method:
        """With the best number of epochs of both phases."""
        best = best_epochs(log)
        epochs = {"epochs": best[NETWORK]} if NETWORK in best else {}
        return self.with_settings({**self.pretrain.stopped(self.pretrainer(), best, PRETRAIN), **epochs})

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> CombinedModel:
        """Pretrain every domain, then train the network for ``epochs`` passes over all events."""
        options = options or FitOptions()
        return self.fit_on(pretrained(self.pretrainer(), train, options.within(PRETRAIN)), options)

    def fit_on(self, base: DotProductModel, options: FitOptions | None = None) -> CombinedModel:
        """The network on a given pretrained model; several fits may share it."""
        options, train = options or FitOptions(), base.history
        where, rule = device(options.device), self.network
        network = CombinationNetwork(train.domain_names, self.factors, rule.attention, rule.tower)
        arrays = network.initial(train, options.seed, self.init_std)
        rows = {f"user.{name}": rows_UF for name, rows_UF in base.user_UF.items()}
        rows |= {f"item.{name}": item_IF for name, item_IF in base.item_IF.items()}
        free = rows if rule.embeddings == "free" else {}
        # copies: training changes tensors in place
        weights = {
            k: torch.from_numpy(a.copy()).to(where).requires_grad_() for k, a in (arrays | free).items()
        }
        fixed = {name: torch.from_numpy(rows[name]).to(where) for name in rows if name not in free}
        inputs = UserInputs.of(train, where)

        def embed(
            own: Weights, domain: str, user_N: Tensor, item_NJ: Tensor, side_NS: Tensor
        ) -> EmbeddedBatch:
            return network.embed({**fixed, **own}, domain, inputs, (user_N, item_NJ, side_NS))

        def fitted(log: tuple[Record, ...] = ()) -> CombinedModel:
            return self._fitted(base, network, rows | tensors.arrays(weights), log)

        phase = self.phase(self.batches(train, options.seed), weights, embed, _logits)
        if rule.alignment:
            align = Alignment(network, inputs, {**fixed, **weights}, train, rule.alignment)
            phase = replace(phase, losses=partial(align.added, phase.losses))
        log = self.learn(train, phase, options, fitted)
        before = tuple(phase_records(PRETRAIN, base.log, 0))
        return fitted((*before, *phase_records(NETWORK, log, len(before))))

    def _fitted(
        self,
        base: DotProductModel,
        network: CombinationNetwork,
        arrays: dict[str, Float32],
        log: tuple[Record, ...],
    ) -> CombinedModel:
        names = network.domains
        users = {name: arrays.pop(f"user.{name}") for name in names}
        items = {name: arrays.pop(f"item.{name}") for name in names}
        return CombinedModel(
            base.history,
            self,
            log,
            {name: all_user_vectors(network, arrays, name, users, base.history) for name in names},
            {name: item_vectors(network, arrays, name, items[name]) for name in names},
            self.cold_policy,
            self.popularity_weight,
            base,
            network,
            arrays,
        )


@dataclass(frozen=True, eq=False)
class Alignment:
    """Eq. (2), of a network with these ``weights``, the embeddings included. ``strength``: γ."""

    network: CombinationNetwork
    inputs: UserInputs
    weights: Weights
    history: MultiDomain
    strength: float

    def added(
        self, losses: Callable[[Mapping[str, Batch]], Mapping[str, Tensor]], step: Mapping[str, Batch]
    ) -> dict[str, Tensor]:
        """The losses of a step with the penalty of every domain."""
        return {domain: loss + self.penalty(domain, step[domain]) for domain, loss in losses(step).items()}

    def penalty(self, domain: str, batch: Batch) -> Tensor | float:
        """γ times the mean of Eq. (2) over the events of a batch; 0 where no user has a richer domain."""
        rich_N = self._richest_U[batch.user_N]
        total: Tensor | float = 0.0
        for number, name in enumerate(self.network.domains):
            chosen_N = batch.user_N[rich_N == number]
            if len(chosen_N) and len(self.history[name]) > len(self.history[domain]):
                user_B = torch.from_numpy(chosen_N).long().to(self.inputs.row_U.device)
                own_BF, rich_BF = (
                    self.network.combine_batch(self.weights, d, self.inputs, user_B) for d in (domain, name)
                )
                total = total + (own_BF - rich_BF.detach()).square().sum()
        return self.strength * total / len(batch.user_N)

    @cached_property
    def _richest_U(self) -> npt.NDArray[np.int64]:
        """The number of each user's domain with most events of all users, (U,); by name where equal."""
        names = self.history.domain_names
        order = sorted(range(len(names)), key=lambda d: (-len(self.history[names[d]]), names[d]))
        first_U = (self.history.activity_UD[:, order] > 0).argmax(axis=1)
        return np.asarray(np.array(order, np.int64)[first_U])


def _logits(weights: Weights, domain: str, batch: EmbeddedBatch) -> Tensor:
    """ln p - ln(1 - p) of p, the bounded cosines of Eq. (1), (N, J): "bce" of these is that of p."""
    cosine_NJ = (unit_length(batch.user_NF)[:, None] * unit_length(batch.item_NJF)).sum(dim=2)
    return cosine_NJ.clip(BOUND, 1 - BOUND).logit()
