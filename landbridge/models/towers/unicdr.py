"""UniCDR: users as embeddings beside masked, pooled histories, of each domain and of all domains.

Cao, Li, Yu, Guo, Liu & Wang, "Towards universal cross-domain recommendation" (WSDM 2023), and the authors'
program. The user's vectors a_u^d, of a domain, and g_u, of all domains, and the score are Eqs. (1) to (5) of
:mod:`landbridge.models.towers.aggregation`. In training histories are masked, lack the event's own item
(:mod:`landbridge.data.sampling.histories`), and both vectors and q_i pass through dropout. A discriminator of
each domain distinguishes a user's two vectors from g_u with the vector of another user v,

    D_d(a, g) = aᵀ B_d g + b_d                                                                         (1)
    C_d = mean [ -ln σ(D_d(a_u^d, g_u)) - ln σ(-D_d(a_v^d, g_u)) ]                                     (2)

and a step, with a batch of every domain and the mean losses L_d of their events, minimises

    Σ_d (L_d + γ C_d)                                                                                  (3)

Scoring takes all histories whole. The program means to leave an event's item out of its history too, but
compares an item with pairs of an item and a number: nothing is left out, and the item is in the history in
training, not at test. Its attention counts the places without an item; here it does not. It has γ = 1.5
beside a mean over events and one over negatives, a learning rate that falls by 2 % an epoch, and, with more
than two domains, ten epochs of a_u^d alone: these are left out. Its third way of pooling, by the scores of a
linear item-item model of each domain, is not built: it is a table of all pairs of items.

The program draws at most ⌊(1 - m) n⌋ of n items, which is none where there is one; here each of at most L is
masked by itself. Inferred: a_u^d is left out for users without events in d, and a new user has mean
embeddings of their own. Letters: N events, J items of an event, L places of a history, E entries, F factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from landbridge.core.rng import generator
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Int32, Int64, Record
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.histories import MaskedBatch, MaskedBatches
from landbridge.models.common.pointwise_losses import PointwiseLoss
from landbridge.models.cost import FLOAT32, Cost, Work
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.aggregation import (
    SHARED,
    AggregatedModel,
    Aggregator,
    all_user_vectors,
    kept_weights,
    own,
)
from landbridge.models.towers.cost import CALLS, KEPT, PASSES, JointSteps, dense_work, domain_rows, item_rows
from landbridge.models.towers.joint_method import JointMethod
from landbridge.models.towers.network import embed_batch
from landbridge.training import tensors
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.torch_backend import device, torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Histories(Settings):
    """How the user's events are masked and pooled."""

    pooling: Literal["mean", "attention"] = setting(
        "mean", "Whether the items of a history weigh alike or by the user's attention."
    )
    own_share: float = setting(
        0.5, "Weight of the user's own embedding beside the pooled items.", low=0, high=1, symbol="ρ"
    )
    max_length: int = setting(
        10, "Items of a domain that are pooled for an event in training.", low=1, symbol="L"
    )
    mask: float = setting(0.1, "Chance of an item to be left out in training.", low=0, below=1, symbol="m")
    domain_mask: float = setting(
        0.5,
        "Chance that the event's domain is left out of the history of all domains.",
        low=0,
        high=1,
        symbol="M",
    )


@dataclass(frozen=True)
class UniCDR(JointMethod):
    """Users as embeddings beside masked, pooled histories, of each domain and of all domains."""

    factors: int = 64
    loss: PointwiseLoss = setting(PointwiseLoss(negatives_per_positive=10), "The loss of an event.")
    epochs: int = 50
    init_std: float = 0.1
    histories: Histories = setting(Histories(), "How the user's events are masked and pooled.")
    contrast: float = setting(0.1, "Weight of the discriminators, Eq. (3).", low=0, high=1e12, symbol="γ")
    dropout: float = setting(0.3, "Share of a vector's numbers left out in training.", low=0, below=1)
    name: ClassVar[str] = "unicdr"
    paper: ClassVar[str] = "Cao et al., WSDM 2023"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "its pooled events"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "histories.pooling": Choice(("mean", "attention")),
            "contrast": Real(1e-3, 3.0, log=True),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def cost(self, counts: Counts) -> Cost:
        """Steps of all domains (:mod:`landbridge.models.towers.cost`), each event with the items of two
        histories and the matrices of both vectors. A step calls torch three times as often as one without
        histories, and their items are counted as those of the events once more."""
        steps = JointSteps(counts, self.factors, self.batch_size, self.loss.negatives_per_positive)
        size, domains, most = self.factors, len(counts.domains), self.histories.max_length
        mean = counts.events / max(counts.joined.users.filled, 1.0)
        pooled = counts.events * (min(mean, most) + min(mean, most * domains))
        rows = sum(table.users.filled for table in counts.domains.values())
        rows += counts.joined.n_users + item_rows(counts)
        touched = steps.touched_in_all() + sum(steps.touched(table) for table in counts.domains.values())
        attentive = self.histories.pooling == "attention"
        matrices = (1 + domains) * size * (1 + (1 + attentive) * size + attentive)
        batch = pooled * min(self.batch_size / max(counts.events, 1.0), 1.0)
        return Cost(
            once=Work(normal=size * rows, vector=2 * size * counts.events),
            epoch=steps.pairs()
            + steps.rows(rows, touched)
            + dense_work(3 * counts.events + attentive * pooled, (size, size))
            + Work(
                draw=pooled,
                pointwise=PASSES * pooled * size,
                call=2 * CALLS * steps.number * domains,
            ),
            epochs=self.epochs,
            peak=steps.memory(rows) + FLOAT32 * size * (KEPT * batch + domain_rows(counts)),
            model=FLOAT32 * (size * domain_rows(counts) + matrices),
            torch=True,
        )

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> AggregatedModel:
        """Train for ``epochs`` passes over all events of all domains."""
        options = options or FitOptions()
        network = UniNetwork(self, train, self.initial(train, options))
        batches = self.masked_batches(train, options.seed)
        phase = Phase(
            self.name,
            self.epochs,
            batches.steps,
            network.losses,
            network.weights,
            optimizer=Optimizer("adam", self.lr),
        )
        log = self.learn(train, phase, options, partial(self._fitted, network, ()))
        return self._fitted(network, log)

    def masked_batches(self, train: MultiDomain, seed: int) -> MaskedBatches:
        """The batches of a fit, with masked histories."""
        rule = self.histories
        return MaskedBatches(self.batches(train, seed), rule.max_length, rule.mask, rule.domain_mask)

    def initial(self, train: MultiDomain, options: FitOptions) -> dict[str, Tensor]:
        """Embeddings of deviation ``init_std``, matrices uniform in ±1/√F, biases 0."""
        size, seed = self.factors, options.seed
        rows = {f"{SHARED}.user": train.n_users}
        for name, events in train.domains.items():
            rows |= {f"{own(name)}.user": int((events.user_counts > 0).sum()), f"item.{name}": events.n_items}
        drawn = {
            label: generator(seed, label).standard_normal((n, size), np.float32) * np.float32(self.init_std)
            for label, n in rows.items()
        }
        names, attentive = train.domain_names, self.histories.pooling == "attention"
        parts = (SHARED, *map(own, names))
        matrices = [f"{part}.pool" for part in parts] + [f"critic.{name}.weight" for name in names]
        matrices += [f"{part}.key.weight" for part in parts] if attentive else []
        for label in matrices:
            drawn[label] = generator(seed, label).uniform(-1, 1, (size, size)).astype(np.float32) / size**0.5
        drawn |= {f"critic.{name}.bias": np.zeros(1, np.float32) for name in names}
        drawn |= {f"{part}.key.bias": np.zeros(size, np.float32) for part in parts} if attentive else {}
        where = device(options.device)
        return {label: torch.from_numpy(a).to(where).requires_grad_() for label, a in drawn.items()}

    def _fitted(self, network: UniNetwork, log: tuple[Record, ...]) -> AggregatedModel:
        train, weights = network.data, tensors.arrays(network.weights)
        aggregator = Aggregator(self.histories.pooling, self.histories.own_share)
        return AggregatedModel(
            train,
            self,
            log,
            all_user_vectors(aggregator, weights, train),
            {name: weights[f"item.{name}"] for name in train.domain_names},
            self.cold_policy,
            self.popularity_weight,
            aggregator,
            kept_weights(weights, train),
        )


@dataclass(frozen=True, eq=False)
class UniNetwork:
    """The network. ``weights``: those of :mod:`~landbridge.models.towers.aggregation`, and B and b of Eq. (1)
    as ``critic.books.weight`` and ``critic.books.bias``."""

    method: UniCDR
    data: MultiDomain
    weights: Mapping[str, Tensor]

    def losses(self, step: Mapping[str, MaskedBatch]) -> dict[str, Tensor]:
        """The domains' parts of Eq. (3) in a step."""
        return {domain: self._loss(domain, masked) for domain, masked in step.items()}

    def _loss(self, domain: str, masked: MaskedBatch) -> Tensor:
        batch, weights = masked.batch, self.weights
        place_N = np.searchsorted(self._users[domain], batch.user_N)
        e_NF = embed_batch(weights[f"{own(domain)}.user"], self._placed(place_N))
        c_NF = embed_batch(weights[f"{SHARED}.user"], self._placed(batch.user_N))
        item_NJF = embed_batch(weights[f"item.{domain}"], self._placed(batch.item_NJ))
        own_NF = self._dropped(self.aggregated(own(domain), e_NF, {domain: masked.own_NL}))
        shared_NF = self._dropped(self.aggregated(SHARED, c_NF, masked.every))
        score_NJ = (self._dropped(item_NJF) @ (own_NF + shared_NF)[:, :, None]).squeeze(2)
        loss = self.method.domain_loss(score_NJ, (e_NF, c_NF, item_NJF.flatten(1)), batch)
        return loss + self.method.contrast * self.contrast(domain, own_NF, shared_NF, batch.user_N)  # Eq. (3)

    def aggregated(self, part: str, user_NF: Tensor, history: Mapping[str, Int32]) -> Tensor:
        """a or g of events, (N, F): Eqs. (1) to (4) of the aggregators, over items by domain."""
        entries = {of: np.nonzero(item_NL >= 0) for of, item_NL in history.items()}
        row_E = self._placed(np.concatenate([row_M for row_M, _ in entries.values()]))
        item_EF = torch.cat(
            [
                embed_batch(self.weights[f"item.{of}"], self._placed(history[of][at]))
                for of, at in entries.items()
            ]
        )
        share_E = self._shares(part, user_NF, row_E, item_EF)
        pooled_NF = torch.zeros_like(user_NF).index_add(0, row_E, share_E[:, None] * item_EF)
        share = self.method.histories.own_share
        return share * user_NF + (1 - share) * (pooled_NF @ self.weights[f"{part}.pool"].T)

    def _shares(self, part: str, user_NF: Tensor, row_E: Tensor, item_EF: Tensor) -> Tensor:
        """The weights of entries in the mean of their rows, (E,)."""
        none_N = user_NF.new_zeros(len(user_NF))
        power_E = item_EF.new_ones(len(row_E))
        if self.method.histories.pooling == "attention":
            key_EF = (
                item_EF @ self.weights[f"{part}.key.weight"].T + self.weights[f"{part}.key.bias"]
            ).tanh()
            score_E = (user_NF[row_E] * key_EF).sum(dim=1)
            top_N = none_N.scatter_reduce(0, row_E, score_E.detach(), "amax", include_self=False)
            power_E = (score_E - top_N[row_E]).exp()
        return power_E / none_N.index_add(0, row_E, power_E)[row_E]

    def contrast(self, domain: str, own_NF: Tensor, shared_NF: Tensor, user_N: Int32) -> Tensor | float:
        """C of Eq. (2); 0 for a batch of one user."""
        from torch.nn.functional import softplus

        if not self.method.contrast or not (user_N != user_N[0]).any():
            return 0.0
        shift = int(torch.randint(1, len(user_N), ()))
        other_N = torch.from_numpy(np.roll(user_N, shift) != user_N).to(own_NF.device)
        seen_NF = shared_NF @ self.weights[f"critic.{domain}.weight"].T
        bias = self.weights[f"critic.{domain}.bias"]
        true_N = (own_NF * seen_NF).sum(dim=1) + bias  # Eq. (1)
        false_N = (own_NF.roll(shift, 0) * seen_NF).sum(dim=1) + bias
        # a user's own vector, of another event, is no false one
        return softplus(-true_N).mean() + (softplus(false_N) * other_N).sum() / other_N.sum().clamp(min=1)

    def _dropped(self, vector: Tensor) -> Tensor:
        rate = self.method.dropout
        return torch.nn.functional.dropout(vector, rate) if rate else vector

    def _placed(self, index: npt.NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(index).long().to(self.weights[f"{SHARED}.user"].device)

    @cached_property
    def _users(self) -> dict[str, Int64]:
        """The users of every domain, in the order of their embeddings."""
        return {name: np.flatnonzero(events.user_counts) for name, events in self.data.domains.items()}
