"""NeuMF: a product and a tower side by side (He et al., WWW 2017), each domain alone or all as one table.

Users and items have two embeddings, p'_u, q'_i for the tower and p_u, y_i for the product. The score is
ŷ_ui = h · [tower([p'_u ; q'_i]) ; p_u ⊙ y_i] (:mod:`landbridge.models.towers.network`, Eqs. (1) to (3)).
``sharing="separate"`` trains a model per domain, ``"joined"`` one on the table [R_1 | … | R_D], whose
objective is the mean over all events:

    L = Σ_d (N_d / N) L_d                                                                              (1)
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from landbridge.core.settings import setting
from landbridge.data.dataset import MultiDomain
from landbridge.models.common.sharing import Sharing
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.network import TowerNetwork
from landbridge.models.towers.tower_method import Layers, TowerLoss, TowerMethod
from landbridge.training.weighting.base import Fixed, Weighting


@dataclass(frozen=True)
class NeuMF(TowerMethod):
    """A product of embeddings and a tower on others, ``factors`` long each."""

    factors: int = 64
    loss: TowerLoss = setting(TowerLoss(negatives_per_positive=4), "The loss of an event.")
    reg: float = 0.03
    network: Layers = setting(Layers(tower=(64, 32, 16), head=()), "The layers.")
    sharing: Sharing = setting("separate", "A network for each domain, or one for all domains joined.")
    name: ClassVar[str] = "neumf"
    paper: ClassVar[str] = "He et al., WWW 2017"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "steps"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(1e-4, 1e-2, log=True),
            "reg": Real(1e-4, 0.3, log=True),
            "network.dropout": Choice((0.0, 0.2, 0.5)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def weighting_of(self, train: MultiDomain) -> Weighting:
        """Eq. (1) for the joined table; separate models need no weights, as they share nothing."""
        if self.sharing == "separate":
            return super().weighting_of(train)
        total = max(train.n_events, 1)
        # each loss is a mean over its domain: these weights make their sum the mean over all events
        return Fixed({name: len(events) / total for name, events in train.domains.items()})

    def towers(self, train: MultiDomain) -> TowerNetwork:
        """One tower beside a product of the same number of factors."""
        return TowerNetwork(
            train.domain_names,
            self.sharing,
            self.factors,
            self.network.tower,
            self.network.head,
            product=self.factors,
        )
