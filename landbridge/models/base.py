"""What every method is: frozen settings whose ``fit`` returns another object that can score.

Shape letters: U users, I items, F factors, B queries in a batch, D domains, T targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.settings import Settings
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries as Queries
from landbridge.models.search_space import Space
from landbridge.training.options import FitOptions

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Method(Settings, ABC):
    """Frozen, checked hyper-parameters; subclasses are dataclasses and implement ``fit``.

    ``space``: what a search tries for which setting; a method with nothing to try leaves it empty.
    """

    name: ClassVar[str]
    space: ClassVar[Space] = MappingProxyType({})
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({"cold_weight": "popularity_weight"})

    @abstractmethod
    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> Fitted:
        """Learn from ``train``."""

    @property
    def has_epochs(self) -> bool:
        """Whether there is a number of epochs to choose."""
        return "epochs" in {entry.name for entry in fields(self)}

    def stopped(self, log: Sequence[Mapping[str, Any]]) -> Method:
        """The method with as many epochs as the ``log`` of a validated fit found best."""
        judged = [record for record in log if "valid" in record]
        if not judged or not self.has_epochs:
            return self
        best = max(judged, key=lambda record: float(record["valid"]))
        return self.from_settings({**self.flat(), "epochs": best["epoch"] + 1})

    @classmethod
    def label(cls) -> str:
        """The method's name, as in "cdimf.reg must be ..."."""
        return cls.name


class StoredState(NamedTuple):
    """What a fitted model is made of again: all that it has beside its ``state``, and that."""

    history: MultiDomain
    method: Method
    log: tuple[Mapping[str, Any], ...]
    arrays: Mapping[str, npt.NDArray[Any]]
    about: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Fitted(ABC):
    """Arrays that can score, with all that is needed to use them later.

    ``history``: the events it was fitted on (vocabularies, titles and seen items). ``method``: the settings
    that made it. ``log``: one record of figures per training round.
    ``log_odds``: whether adding ln 2 to an item's score doubles its odds.
    Kinds: ``Factors``, ``Vectors``, ``Encoded`` (dot products), ``Counts`` (a score per item), ``Blend``.
    """

    history: MultiDomain
    method: Method
    log: tuple[Mapping[str, Any], ...]
    kind: ClassVar[str]
    log_odds: ClassVar[bool] = False

    @property
    def decisions(self) -> tuple[Mapping[str, Any], ...]:
        """What was decided about who is served by which model; nothing but in a mixture."""
        return ()

    @abstractmethod
    def score(self, domain: str, queries: Queries) -> Float32:
        """Scores of every item of ``domain`` for every query, (B, I); more is better."""

    @abstractmethod
    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """What was learned, as named arrays and a JSON-able description."""

    @classmethod
    @abstractmethod
    def from_state(cls, kept: StoredState) -> Fitted:
        """The object whose ``state`` was ``kept.arrays, kept.about``."""
