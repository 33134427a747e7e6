"""PEPNet on ids: user embeddings for all domains, scaled by a gate of the domain and a gate of the user.

Chang et al. (KDD 2023), without features. [· ; ·] is concatenation and sg(·) stops the gradient:

    NU(z) = γ σ(W₂ ReLU(W₁ z + b₁) + b₂),   γ = 2                                                      (1)
    o_u^d = NU_ep([p_d ; sg(e_u)]) ⊙ e_u                                                               (2)
    h_u^d = NU_pp([q_u ; sg(o_u^d)]) ⊙ o_u^d                                                           (3)

with an embedding e_u and a prior q_u of every user and a prior p_d of every domain. For a user u, an item i
of their events in domain d and a sampled item j, training minimises the mean over the pairs of a batch of

    -w ln σ(h_u^d·y_i - h_u^d·y_j) + λ/2 (‖h_u^d‖² + ‖q_u‖² + ‖y_i‖² + ‖y_j‖²)                         (4)

where w is the weight of the event, together with

    λ/2 (‖W₂‖² + ‖b₂‖²)   of both gates.                                                               (5)

The penalty is on h, not on e: with e all gates open to γ, which makes h longer at no cost and distinguishes
nothing. By (5) a gate stays at 1 unless the data require another value. At the start W₂ = b₂ = 0, and the
model is BPRMF with ``sharing="joined"``. Without item features a score is a dot product, h_u^d·y_i.
Shape letters: U users, I items, D domains, F factors, P prior, H hidden, B batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.settings import setting
from landbridge.core.types import Float32, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.pairwise import Pairs, Pairwise
from landbridge.models.base import Method
from landbridge.models.common import losses
from landbridge.models.common.cold_start import COLD_POLICY, POPULARITY_WEIGHT, ColdPolicy
from landbridge.models.pairwise.fitted import EmbeddingModel, FoldInSpec
from landbridge.models.search_space import Choice, Real, Space
from landbridge.training.loop import run_phase, threads
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.torch_backend import device, torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as torch_device

GAMMA = 2.0  # γ of Eq. (1): a gate of 1, which changes nothing, is the middle of its range
LABEL = "all"  # that of the joined table: rows start, and pairs are drawn, as in joined BPRMF
CHUNK = 65_536  # users gated at once: bounds memory


@dataclass(frozen=True, eq=False)
class GatedNetwork:
    """``weights``: leaf tensors by name, those of a gate as ``ep.w1`` (out, in), ``ep.b1``, …, ``pp.b2``."""

    weights: Mapping[str, Tensor]

    def gate(self, name: str, prior_BP: Tensor, row_BF: Tensor) -> Tensor:
        """Factors between 0 and γ, (B, F); the gradient goes to the prior, not to the row."""
        from torch.nn.functional import linear

        w1, b1, w2, b2 = (self.weights[f"{name}.{key}"] for key in ("w1", "b1", "w2", "b2"))
        hidden_BH = linear(torch.cat([prior_BP, row_BF.detach()], dim=1), w1, b1).relu()
        gate_BF: Tensor = GAMMA * linear(hidden_BH, w2, b2).sigmoid()  # Eq. (1)
        return gate_BF

    def gated_users(self, user_B: Tensor, domain_B: Tensor) -> tuple[Tensor, Tensor]:
        """Gated embeddings h (B, F) of users in domains, and the users' priors q (B, P)."""
        row_BF, prior_BP = self._rows("users", user_B), self._rows("user_prior", user_B)
        chosen_BF = self.gate("ep", self._rows("domain_prior", domain_B), row_BF) * row_BF  # Eq. (2)
        return self.gate("pp", prior_BP, chosen_BF) * chosen_BF, prior_BP  # Eq. (3)

    def pair_losses(self, index_3B: Tensor, domain_B: Tensor, weight: Tensor | float, reg: float) -> Tensor:
        """Eq. (4), (B,), of (user, positive, negative) triples; ``weight`` is 1 or a tensor (B,)."""
        user_BF, prior_BP = self.gated_users(index_3B[0], domain_B)
        positive_BF, negative_BF = self._rows("items", index_3B[1:])
        scores = ((user_BF * item_BF).sum(dim=1) for item_BF in (positive_BF, negative_BF))
        touched = (user_BF, prior_BP, positive_BF, negative_BF)
        return weight * losses.bpr(*scores) + losses.l2_penalty(touched, reg)  # Eq. (4)

    def gate_penalty(self, reg: float) -> Tensor:
        """Eq. (5), a scalar: the penalty of gates that are not 1."""
        last = (self.weights[f"{name}.{key}"] for name in ("ep", "pp") for key in ("w2", "b2"))
        return losses.l2_penalty(tuple(layer.view(len(layer), -1) for layer in last), reg).sum()  # Eq. (5)

    def all_gated_users(self, domain: int) -> Float32:
        """The gated embeddings of all users in a domain, (U, F)."""
        users = self.weights["users"]
        with torch.no_grad(), threads(1):
            rows = [
                self.gated_users(user_B, torch.full_like(user_B, domain))[0]
                for user_B in torch.arange(len(users), device=users.device).split(CHUNK)
            ]
            gated_UF: Float32 = torch.cat(rows).cpu().numpy()
        return gated_UF

    def _rows(self, name: str, index_B: Tensor) -> Tensor:
        from torch.nn.functional import embedding

        return embedding(index_B, self.weights[name], sparse=True)


@dataclass(frozen=True)
class PEPNet(Method):
    """Pairwise matrix factorisation with gates of the domain and of the user."""

    factors: int = setting(64, "Length of an embedding.", low=1, symbol="F")
    hidden: int = setting(64, "Width of the gates' first layer.", low=1, symbol="H")
    prior: int = setting(16, "Length of a domain's and a user's prior.", low=1, symbol="P")
    lr: float = setting(1e-3, "Learning rate of Adam.", above=0, symbol="η")
    reg: float = setting(
        1e-2, "L2 penalty of the gated embeddings, Eqs. (4) and (5).", low=0, high=1e12, symbol="λ"
    )
    epochs: int = setting(60, "Passes over all events.", low=1)
    batch_size: int = setting(2048, "Pairs per step.", low=1)
    negatives: Literal["domain", "all", "popularity"] = setting(
        "domain", "Where negatives are drawn: the event's domain, all domains, or by popularity."
    )
    init_std: float = setting(
        0.01, "Standard deviation of the embeddings and of the users' priors at the start.", above=0
    )
    cold_policy: ColdPolicy = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(3.0, POPULARITY_WEIGHT, low=0)
    pretrains: ClassVar[bool] = True
    name: ClassVar[str] = "pepnet"
    paper: ClassVar[str] = "Chang et al., KDD 2023"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "steps"
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"spread": "init_std", "cold_weight": "popularity_weight"}
    )
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(1e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> EmbeddingModel:
        """Train for ``epochs`` passes over all events of all domains."""
        options = options or FitOptions()
        events, slices = train.joined()
        pairs = Pairwise(events, slices, self.negatives, options.seed, LABEL)
        network = self.start(pairs, device(options.device))
        log = run_phase(
            self.phase(network, pairs),
            replace(options, threads=1),  # sums of torch depend on the number of threads in their last bit
            {"settings": asdict(self), "data": train.fingerprint, "seed": options.seed},
            lambda: self._fitted(train, network, slices, ()),
        )
        return self._fitted(train, network, slices, log)

    def start(self, pairs: Pairwise, where: torch_device | str = "cpu") -> GatedNetwork:
        """The network before the first step, on the device ``where``: every gate is 1."""
        sizes = {"users": pairs.events.n_users, "items": pairs.events.n_items}
        drawn = {
            name: self._drawn(pairs, name, (rows, self.factors), self.init_std)
            for name, rows in sizes.items()
        }
        drawn["user_prior"] = self._drawn(pairs, "user_prior", (sizes["users"], self.prior), self.init_std)
        # of length 1: user embeddings start near zero, so without this a gate could not distinguish domains
        drawn["domain_prior"] = self._drawn(
            pairs, "domain_prior", (len(pairs.slices), self.prior), self.prior**-0.5
        )
        for name in ("ep", "pp"):
            drawn |= self._layers(name, generator(pairs.seed, name, pairs.label))
        weights = {name: torch.from_numpy(array).to(where).requires_grad_() for name, array in drawn.items()}
        return GatedNetwork(weights)

    def phase(self, network: GatedNetwork, pairs: Pairwise) -> Phase[Pairs]:
        """All epochs over the pairs; the domains' losses sum to the mean over a batch."""
        starts = [here.start for here in pairs.slices.values()]
        where = network.weights["users"].device

        def by_domain(batch: Pairs) -> dict[str, Tensor]:
            index_3B = torch.from_numpy(np.stack(batch[:3])).long().to(where)
            domain_B = torch.from_numpy(np.searchsorted(starts, batch.positive_N, side="right") - 1).to(where)
            weight = 1.0 if batch.weight_N is None else torch.from_numpy(batch.weight_N).to(where)
            loss_B = network.pair_losses(index_3B, domain_B, weight, self.reg) + network.gate_penalty(
                self.reg
            )
            # divided by the whole batch and not by the domain's part: the domains' losses then sum to its
            # mean
            loss_B = loss_B / len(domain_B)
            return {name: (loss_B * (domain_B == d)).sum() for d, name in enumerate(pairs.slices)}

        return Phase(
            self.name,
            self.epochs,
            lambda epoch: pairs.batches(epoch, self.batch_size),
            by_domain,
            network.weights,
            optimizer=Optimizer("adam", self.lr),
        )

    def _drawn(self, pairs: Pairwise, name: str, shape: tuple[int, int], init_std: float) -> Float32:
        drawn = generator(pairs.seed, name, pairs.label).standard_normal(shape, np.float32)
        return drawn * np.float32(init_std)

    def _layers(self, name: str, rng: np.random.Generator) -> dict[str, Float32]:
        """A gate's two layers: the first uniform in ±1/√in, the second zero, so that all factors are γ/2."""
        inner = self.prior + self.factors
        bound = inner**-0.5
        return {
            f"{name}.w1": rng.uniform(-bound, bound, (self.hidden, inner)).astype(np.float32),
            f"{name}.b1": rng.uniform(-bound, bound, self.hidden).astype(np.float32),
            f"{name}.w2": np.zeros((self.factors, self.hidden), np.float32),
            f"{name}.b2": np.zeros(self.factors, np.float32),
        }

    def _fitted(
        self, train: MultiDomain, network: GatedNetwork, slices: Mapping[str, slice], log: tuple[Record, ...]
    ) -> EmbeddingModel:
        users = {name: network.all_gated_users(number) for number, name in enumerate(slices)}
        item_IF = network.weights["items"].detach().cpu().numpy()
        items = {name: item_IF[here].copy() for name, here in slices.items()}  # training goes on in place
        rule = FoldInSpec("joined", self.negatives, self.reg, self.epochs, Optimizer("adam", self.lr))
        return EmbeddingModel(train, self, log, users, items, self.cold_policy, self.popularity_weight, rule)
