"""RecSys-DAN: embeddings whose interactions do not betray their domain (Wang, Niepert & Li, TNNLS 2020).

A user has one embedding p_u for all domains, an item y_i one of its domain. The interaction of a pair, its
score, and what a discriminator with the class k for every domain makes of it are

    z_ui = p_u ⊙ y_i,   r_ui = Σ_f z_uif                                                               (1)
    C(z) = softmax_k(c_k · h + a_k),   h: layers ReLU(W z + b)                                         (2)

With the mean loss L_d of a batch of every domain (:mod:`~landbridge.models.common.pointwise_losses`) and sg
for "no gradient", a step takes one step of the discriminator and one of the embeddings, on

    discriminator    Σ_d mean -ln C_d(sg z)                                                            (3)
    embeddings       Σ_d L_d + λ Σ_{d ∈ T} mean A_d(z)                                                 (4)

over the events' own items. The adversary A is one of

    adversarial      A_d = -ln(1 - C_d(z)): the labels of other domains (with two, inverted labels)    (5)
    reversal         A_d = ln C_d(z): the gradient of (3), reversed                                    (6)

"bilateral": T holds all domains, and all embeddings move. "unilateral": the domain with most events is the
source, T holds the others, and only their items move, p_u being fixed in (4). λ = 0 is matrix factorisation
of all domains with common users; so is one domain, as there is nothing to tell it from.

The paper encodes the reviews of a source and a target, trains the source's encoder first, and has variants by
what the two share (users, items, both, neither). Its full text was not available; inferred are (1) from ids
alone, one discriminator for any number of domains, the joint training of all, the source, and λ. Domains
have equal weight in (3) and (4). Letters: N events, F factors, D domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Float32, Int32
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import Batch, DomainBatches
from landbridge.models.cost import FLOAT32, Cost, Work
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.cost import JointSteps, dense_work, item_rows
from landbridge.models.towers.joint_method import DomainPhase
from landbridge.models.towers.network import TowerNetwork, Weights, embed_batch, he_uniform
from landbridge.models.towers.product_method import ProductMethod
from landbridge.models.towers.tower_method import TowerLoss
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 2048  # events of a domain on which the discriminator's accuracy is measured


@dataclass(frozen=True)
class Adversary(Settings):
    """The discriminator and what embeddings do against it."""

    direction: Literal["bilateral", "unilateral"] = setting(
        "bilateral", "Who moves: all embeddings, or the items of all domains but the one with most events."
    )
    form: Literal["adversarial", "reversal"] = setting(
        "adversarial", "The labels of other domains, Eq. (5), or the reversed gradient, Eq. (6)."
    )
    strength: float = setting(0.1, "Weight of the adversary; 0: none.", low=0, symbol="λ")
    layers: tuple[int, ...] = setting((64,), "Widths of the discriminator's layers.", low=1)


@dataclass(frozen=True)
class RecSysDAN(ProductMethod):
    """Products of embeddings, trained against a discriminator of domains."""

    loss: TowerLoss = setting(TowerLoss("bpr"), "The loss of an event.")
    init_std: float = 0.1
    adversary: Adversary = setting(Adversary(), "The adversary.")
    name: ClassVar[str] = "recsysdan"
    paper: ClassVar[str] = "Wang, Niepert & Li, TNNLS 2020"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "steps"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "adversary.strength": Real(1e-3, 3.0, log=True),
            "adversary.direction": Choice(("bilateral", "unilateral")),
            "adversary.form": Choice(("adversarial", "reversal")),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def cost(self, counts: Counts) -> Cost:
        """Steps of all domains, with the discriminator passed forward twice and backward twice for every
        event (:mod:`landbridge.models.towers.cost`)."""
        steps = JointSteps(counts, self.factors, self.batch_size, self.loss.negatives_per_positive)
        rows, widths = counts.joined.n_users + item_rows(counts), (self.factors, *self.adversary.layers)
        several = len(counts.domains) > 1
        against = dense_work(counts.events, (*widths, len(counts.domains)), 6 * several)
        return Cost(
            once=Work(normal=self.factors * rows),
            epoch=steps.pairs() + steps.rows(rows, steps.touched_in_all()) + against,
            epochs=self.epochs,
            peak=steps.memory(rows),
            model=FLOAT32 * self.factors * rows,
            torch=True,
        )

    def steps(self, towers: TowerNetwork, rows: dict[str, Tensor], batches: DomainBatches) -> DomainPhase:
        """The training phase, with Eqs. (3) and (4) added to the loss of every domain."""
        phase = super().steps(towers, rows, batches)
        if len(batches.data.domain_names) == 1:
            return phase
        discriminator = Discriminator(batches.data, self.adversary)
        where, drawn = rows["user"].device, discriminator.initial(self.factors, batches.seed)
        layers = {name: torch.from_numpy(a).to(where).requires_grad_() for name, a in drawn.items()}
        weights = rows | layers
        return replace(
            phase,
            losses=partial(discriminator.added, weights, phase.losses),
            parameters=weights,
            log_values=lambda: {"discriminator": discriminator.accuracy(weights)},
        )


@dataclass(frozen=True, eq=False)
class Discriminator:
    """C of Eq. (2) over the domains of the data."""

    data: MultiDomain
    adversary: Adversary

    @property
    def source(self) -> str | None:
        """The domain that is not in T; by name where several have as many events."""
        if self.adversary.direction == "bilateral":
            return None
        return min(self.data.domain_names, key=lambda name: (-len(self.data[name]), name))

    def initial(self, factors: int, seed: int) -> dict[str, Float32]:
        """Layers uniform in ±√(6 / in), c of every domain by its name, biases 0."""
        widths, names = (factors, *self.adversary.layers), self.data.domain_names
        drawn = {
            f"discriminator.{level}.weight": he_uniform(generator(seed, "discriminator", str(level)), shape)
            for level, shape in enumerate((outer, inner) for inner, outer in pairwise(widths))
        }
        drawn |= {
            f"{name.removesuffix('weight')}bias": np.zeros(len(array), np.float32)
            for name, array in drawn.items()
        }
        rows = [he_uniform(generator(seed, "discriminator", name), (1, widths[-1])) for name in names]
        out = {"weight": np.concatenate(rows), "bias": np.zeros(len(names), np.float32)}
        return drawn | {f"discriminator.out.{name}": array for name, array in out.items()}

    def logits(self, weights: Weights, z_NF: Tensor) -> Tensor:
        """The scores of the domains before the softmax of Eq. (2), (N, D)."""
        from torch.nn.functional import linear

        for level in range(len(self.adversary.layers)):
            name = f"discriminator.{level}"
            z_NF = linear(z_NF, weights[f"{name}.weight"], weights[f"{name}.bias"]).relu()
        return linear(z_NF, weights["discriminator.out.weight"], weights["discriminator.out.bias"])

    def added(
        self,
        weights: Weights,
        losses: Callable[[Mapping[str, Batch]], Mapping[str, Tensor]],
        step: Mapping[str, Batch],
    ) -> dict[str, Tensor]:
        """The losses of a step with Eqs. (3) and (4)."""
        fixed = {name: weight.detach() for name, weight in weights.items()}
        total = {}
        for domain, loss in losses(step).items():
            place = self.data.domain_names.index(domain)
            pairs = step[domain].user_N, step[domain].item_NJ[:, 0]
            z_NF = interactions(fixed, domain, *pairs)
            log_NC = self.logits(weights, z_NF).log_softmax(dim=1)
            total[domain] = loss - log_NC[:, place].mean()  # Eq. (3)
            if self.adversary.strength and domain != self.source:
                users = fixed if self.source else weights
                z_NF = interactions({**weights, "user": users["user"]}, domain, *pairs)
                # the discriminator's own weights are fixed: they get no gradient of the adversary
                against_N = self.against(self.logits(fixed, z_NF), place)
                total[domain] = total[domain] + self.adversary.strength * against_N.mean()  # Eq. (4)
        return total

    def against(self, logit_ND: Tensor, place: int) -> Tensor:
        """A of Eqs. (5) and (6) for interactions of the domain number ``place``, (N,)."""
        whole_N = logit_ND.logsumexp(dim=1)
        if self.adversary.form == "reversal":
            return logit_ND[:, place] - whole_N  # Eq. (6)
        others_NS = torch.cat([logit_ND[:, :place], logit_ND[:, place + 1 :]], dim=1)
        return whole_N - others_NS.logsumexp(dim=1)  # Eq. (5)

    def accuracy(self, weights: Weights) -> float:
        """The share of interactions whose domain C names, the mean over domains; 1 / D is chance.

        Measured on events at equal distances in the data, at most ``SAMPLE`` of a domain.
        """
        shares = []
        for place, (domain, events) in enumerate(self.data.domains.items()):
            if len(events):
                some_N = np.linspace(0, len(events) - 1, min(len(events), SAMPLE)).astype(np.int64)
                pairs = events.user_idx[some_N], events.item_idx[some_N]
                with torch.no_grad():
                    logit_ND = self.logits(weights, interactions(weights, domain, *pairs))
                shares.append(float((logit_ND.argmax(dim=1) == place).double().mean()))
        return float(np.mean(shares))


def interactions(weights: Weights, domain: str, user_N: Int32, item_N: Int32) -> Tensor:
    """z of Eq. (1), (N, F)."""
    users, items = (torch.from_numpy(index).long().to(weights["user"].device) for index in (user_N, item_N))
    return embed_batch(weights["user"], users) * embed_batch(weights[f"item.{domain}"], items)
