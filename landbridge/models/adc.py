"""ADC: one network for all domains, whose losses can be weighed while it learns (Rafailidis & Weiss, 2019).

Everybody has one row for all domains, every item a row of its domain. A tower shared by the domains and a
head of each domain's own (:mod:`landbridge.models.parts.towers`) make the score ŷ_ui of a person and an item.
With the mean loss L_d of a batch of domain d (:mod:`~landbridge.models.parts.objectives`) a step makes small

    L = Σ_d w_d L_d                                                                                    (1)

``sharing`` is the architecture: "tower"; "user", a tower per domain on shared rows of people, which is MLP++;
"cross", these with cross units, which is CoNet. How the weights w_d come about is the weighting's business
(:mod:`landbridge.training.weighting`). No equation of ADC was published: docs/methods/towers.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from landbridge.data.multidomain import MultiDomain
from landbridge.errors import SettingsError, unknown
from landbridge.models.parts.tower_method import TowerMethod
from landbridge.models.parts.towers import Towers
from landbridge.models.space import Choice, Real, Space

SHARING = ("user", "tower", "cross")


@dataclass(frozen=True)
class ADC(TowerMethod):
    """``factors``: columns of a row; other settings: ``TowerMethod`` and ``JointMethod``."""

    sharing: str = "tower"
    name: ClassVar[str] = "adc"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "per_positive": Choice((1, 4)),
            "cold_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sharing not in SHARING:
            raise SettingsError(unknown("sharing", self.sharing, SHARING))

    def towers(self, train: MultiDomain) -> Towers:
        """One tower for all, or one each."""
        return Towers(train.names, self.sharing, self.factors, self.tower, self.head)
