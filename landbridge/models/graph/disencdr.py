"""DisenCDR: of a user one code for each domain and one for all, both variational and made by graph networks.

Cao, Lin, Cong, Ya, Liu & Wang, "DisenCDR: learning disentangled representations for cross-domain
recommendation" (SIGIR 2022), and the authors' program. With the encoders of
:mod:`landbridge.models.graph.variational` a user u has in each of their domains d a code of the domain, and
an item i one

    z_u^d ~ q(z_u^d) = N(μ, σ²),   z_i ~ q(z_i)                                                        (1)

and one of all domains. Its encoders of the domains S_u of u are mixed after each layer, with the user's share
of events r_u^s = n_u^s / Σ n_u,

    x_k = Σ_{s ∈ S_u} r_u^s x_k^s,   μ_u = Σ r_u^s μ_u^s,   ρ_u = Σ r_u^s ρ_u^s,   c_u ~ q(c_u)        (2)

A pair scores (z_u^d + c_u) · z_i. A step takes a batch of every domain and minimises the sum over domains of
the loss of its events and, with p = N(0, I) and q_d(c_u) what a further encoder makes of the domain d alone,

    γ [ mean_u KL(q(z_u^d) ‖ p) + mean_i KL(q(z_i) ‖ p)                                                (3)
        + β mean_u KL(q(c_u) ‖ q_d(c_u)) + (1 - β) / D · mean_u KL(q(c_u) ‖ p) ]                       (4)

over the users and items of d. The first epochs, ``warmup``, train without c and (4). Scoring takes the means
of all codes.

The paper has two domains, all of whose users are in both. Inferred for any number, and for users of some:
(2) is over the user's domains, (4) over the users of each, and a D-th of its last term goes to each domain;
with two full domains these are the paper's. A user without events in d scores by c_u alone.

From the program: r, β and the warm-up. It has two layers, with which a checkerboard was not learned here. It
has σ = exp(.1 + .9 ψ(ρ)), never below 1, and scales its noise by e^σ: here σ is (4) of the encoders, and
scales it. It has γ = 1; here γ is a setting, because a loss that is a mean over events is small beside sums
over F numbers, and the codes stay near 0. Its schedule of the learning rate and its weight decay are never
used: the penalty here is of the rows x_0, as in the other graph networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from landbridge.core.settings import setting
from landbridge.core.threads import thread_limit
from landbridge.core.types import Float32, Int64, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import Batch
from landbridge.models.base import Method
from landbridge.models.common.phase_log import best_epochs, phase_records
from landbridge.models.common.pointwise_losses import PointwiseLoss
from landbridge.models.graph.fitted import GraphModel
from landbridge.models.graph.method import GraphMethod, ScoredBatch, dots, drawn
from landbridge.models.search_space import Choice, Real, Space
from landbridge.training.options import FitOptions
from landbridge.training.torch_backend import device, torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as torch_device

    from landbridge.models.graph.variational import Encoder, Normal, Sides

WARMUP = "warmup"  # the phase without the code of all domains
# what each encoder of a domain reads, and of which side: rows by the names of their weights
READS = {"specific": "user", "item": "item", "common": "common", "alone": "user"}


@dataclass(frozen=True)
class DisenCDR(GraphMethod):
    """Variational graph networks: a code of every domain and one of all domains for each user."""

    layers: int = setting(1, "Layers of an encoder.", low=1, symbol="K")
    divergence_weight: float = setting(
        1e-4, "Weight of the divergences, Eqs. (3) and (4).", low=0, high=1e12, symbol="γ"
    )
    domain_weight: float = setting(
        0.9, "Pull of the common code toward those of single domains, Eq. (4).", low=0, high=1, symbol="β"
    )
    warmup: int = setting(10, "Epochs without the common code, before ``epochs``.", low=0)
    dropout: float = setting(0.3, "Share of a layer's inputs left out in training.", low=0, below=1)
    loss: PointwiseLoss = setting(PointwiseLoss(), "The loss of an event.")
    epochs: int = 50
    lr: float = 0.01
    batch_size: int = 8192
    init_std: float = 1.0
    name: ClassVar[str] = "disencdr"
    paper: ClassVar[str] = "Cao et al., SIGIR 2022"
    space: ClassVar[Space] = MappingProxyType(
        {
            **GraphMethod.space,
            "divergence_weight": Real(1e-5, 1e-2, log=True),
            "domain_weight": Choice((0.5, 0.7, 0.9)),
            "layers": Choice((1, 2, 3)),
        }
    )

    def stopped(self, log: Sequence[Values]) -> Method:
        """With the best number of epochs after the warm-up."""
        best = best_epochs(log)
        return self.with_settings({"epochs": best[self.name]} if self.name in best else {})

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> GraphModel:
        """Warm up, then train for ``epochs`` passes over all events of all domains."""
        options = options or FitOptions()
        with thread_limit(options.threads):
            network = self.network(train, options.seed, device(options.device))
            batches = self.batches(train, options.seed)
            whole = self.steps(network, batches)
            own = partial(self.losses, network.own_scores)
            first = replace(whole, name=WARMUP, epochs=self.warmup, losses=own)
            # other epochs than those of the warm-up: it ends in the middle of one fit
            whole = replace(whole, batches=lambda number: batches.steps(self.warmup + number))
            fitted = partial(self._fitted, train, network)
            # never validated: users without events in a domain are scored by the common code, still random
            without = replace(options, validate=None, patience=None)
            log = tuple(phase_records(WARMUP, self.learn(train, first, without, lambda: fitted(())), 0))
            later = self.learn(train, whole, options, lambda: fitted(()))
            return fitted((*log, *phase_records(self.name, later, len(log))))

    def network(self, train: MultiDomain, seed: int, where: torch_device | str = "cpu") -> DisenNetwork:
        """Gaussian rows x_0 of the users, twice, and items of every domain, and the encoders."""
        weights: dict[str, Tensor] = {}
        network = DisenNetwork(self, DomainGraphs(train, where), weights, self.dropout)
        for name, events in train.domains.items():
            users = len(network.graphs.users[name])
            for side, rows in {"user": users, "common": users, "item": events.n_items}.items():
                label = f"{side}.{name}"
                weights[label] = drawn(label, rows, self, seed, where).requires_grad_()
        for encoder in network.encoders.values():
            for label, array in encoder.initial(seed).items():
                weights[label] = torch.from_numpy(array).to(where).requires_grad_()
        return network


@dataclass(frozen=True, eq=False)
class DomainGraphs:
    """The graph of every domain, over its users and its items, on a device."""

    data: MultiDomain
    where: torch_device | str

    @cached_property
    def users(self) -> dict[str, Int64]:
        """The users of every domain, in the order of their rows."""
        return {name: np.flatnonzero(events.user_counts) for name, events in self.data.domains.items()}

    @cached_property
    def index(self) -> dict[str, Tensor]:
        """The same on the device, (P,)."""
        return {name: torch.from_numpy(user_P).to(self.where) for name, user_P in self.users.items()}

    @cached_property
    def share(self) -> dict[str, Tensor]:
        """r of the users of every domain, (P, 1)."""
        activity_UD = self.data.activity_UD
        share_UD = (activity_UD / np.maximum(activity_UD.sum(axis=1, keepdims=True), 1)).astype(np.float32)
        return {
            name: torch.from_numpy(share_UD[user_P][:, [d]]).to(self.where)
            for d, (name, user_P) in enumerate(self.users.items())
        }

    @cached_property
    def sides(self) -> dict[str, dict[str, Sides]]:
        """Every domain as seen from its users and from its items."""
        from landbridge.models.graph.variational import sides_of

        return {name: sides_of(self.data[name], users, self.where) for name, users in self.users.items()}

    def mixed(self, rows: Mapping[str, Tensor]) -> Tensor:
        """The users' rows of all domains weighted by their shares of events, (U, F): Eq. (2)."""
        first_PF = next(iter(rows.values()))
        mixed_UF = first_PF.new_zeros(self.data.n_users, first_PF.shape[1])
        for name, rows_PF in rows.items():
            mixed_UF = mixed_UF.index_add(0, self.index[name], self.share[name] * rows_PF)
        return mixed_UF


@dataclass(frozen=True, eq=False)
class DisenNetwork:
    """The network. ``weights``: x_0 as ``user.books`` (the domain's users), ``common.books`` (the same, for
    the code of all domains) and ``item.books``, and those of the encoders."""

    method: DisenCDR
    graphs: DomainGraphs
    weights: Mapping[str, Tensor]
    dropout: float

    @property
    def own(self) -> int:
        """0: both codes of a user score by the same codes of items."""
        return 0

    @cached_property
    def encoders(self) -> dict[tuple[str, str], Encoder]:
        """By what they are for, a key of ``READS``, and domain."""
        from landbridge.models.graph.variational import Encoder

        return {
            (kind, name): Encoder(
                f"{kind}.{name}.encoder", self.method.layers, self.method.factors, self.dropout
            )
            for kind in READS
            for name in self.graphs.users
        }

    def scores(self, step: Mapping[str, Batch]) -> dict[str, ScoredBatch]:
        """A step's scores by both codes, with the penalties (3) and (4)."""
        common = self.common_code()
        common_UF = common.sample()
        return {
            name: self._scored(name, batch, common_UF, self.common_penalty(name, common))
            for name, batch in step.items()
        }

    def own_scores(self, step: Mapping[str, Batch]) -> dict[str, ScoredBatch]:
        """The same by the code of the domain alone, with the penalty (3): the warm-up."""
        return {name: self._scored(name, batch) for name, batch in step.items()}

    def common_penalty(self, domain: str, common: Normal) -> Tensor:
        """Eq. (4) without γ."""
        from landbridge.models.graph.variational import divergence

        beta, here = self.method.domain_weight, common.rows(self.graphs.index[domain])
        pull = divergence(here, self.encoded("alone", domain)).mean()
        return beta * pull + (1 - beta) / len(self.graphs.users) * divergence(here).mean()

    def common_code(self) -> Normal:
        """q(c) of all users, (U, F): Eq. (2). Means are 0 for users without any event."""
        from landbridge.models.graph.variational import Normal

        encoders = {name: self.encoders["common", name] for name in self.graphs.users}
        sides = {name: here["user"] for name, here in self.graphs.sides.items()}
        rows = {name: self.weights[f"common.{name}"] for name in encoders}
        for level in range(self.method.layers - 1):
            layer = {
                name: encoder.hidden(self.weights, sides[name], level, rows[name])
                for name, encoder in encoders.items()
            }
            mixed_UF = self.graphs.mixed(layer)  # Eq. (2)
            rows = {name: mixed_UF[user_P] for name, user_P in self.graphs.index.items()}
        last = {
            name: encoder.last(self.weights, sides[name], rows[name]) for name, encoder in encoders.items()
        }
        mean_UF, raw_UF = (self.graphs.mixed({n: pair[part] for n, pair in last.items()}) for part in (0, 1))
        return Normal.of(mean_UF, raw_UF)

    def encoded(self, kind: str, domain: str) -> Normal:
        """What an encoder of one domain makes of all its users or items, (R, F)."""
        reads = READS[kind]
        sides = self.graphs.sides[domain]["item" if reads == "item" else "user"]
        return self.encoders[kind, domain].through(self.weights, sides, self.weights[f"{reads}.{domain}"])

    def embeddings(self) -> tuple[dict[str, Float32], dict[str, Float32]]:
        """The means of z_u^d + c_u and of z_i, of all users and items."""
        users, items, plain = {}, {}, replace(self, dropout=0.0)
        with torch.no_grad():
            common_UF = plain.common_code().mean_RF.cpu().numpy()
            for name, user_P in self.graphs.users.items():
                users[name] = common_UF.copy()
                users[name][user_P] += plain.encoded("specific", name).mean_RF.cpu().numpy()
                items[name] = plain.encoded("item", name).mean_RF.cpu().numpy()
        return users, items

    def _scored(
        self, domain: str, batch: Batch, common_UF: Tensor | None = None, penalty: Tensor | float = 0.0
    ) -> ScoredBatch:
        """A batch scored by the domain's codes and, where given, that of all domains; with γ times (3) and
        the ``penalty``."""
        from landbridge.models.graph.variational import divergence

        place_N = np.searchsorted(self.graphs.users[domain], batch.user_N)
        place, user, item = (
            torch.from_numpy(index).long().to(self.graphs.where)
            for index in (place_N, batch.user_N, batch.item_NJ)
        )
        users, items = self.encoded("specific", domain), self.encoded("item", domain)
        user_NF = users.sample()[place]
        if common_UF is not None:
            user_NF = user_NF + common_UF[user]
        score_NJ = dots(user_NF, items.sample()[item])
        rows = self.weights[f"user.{domain}"][place], self.weights[f"item.{domain}"][item].flatten(1)
        own = divergence(users).mean() + divergence(items).mean()  # Eq. (3)
        return ScoredBatch(score_NJ, rows, self.method.divergence_weight * (own + penalty))
