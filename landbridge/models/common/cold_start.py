"""Cold start: the scores of users without events in a domain, or without any usable event.

Shape letters as in :mod:`landbridge.models.base`.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import Float32
from landbridge.models.base import Fitted, Queries

ColdPolicy = Literal["blend", "mean", "popularity", "zero"]
COLD_POLICIES = get_args(ColdPolicy)
# one text for the two settings that every method with a cold start has
COLD_POLICY = (
    "Scores of users without events in a domain: what their other events say with popularity added "
    "(blend), popularity alone, or, where no event can be used, the mean embedding or zero."
)
POPULARITY_WEIGHT = "Weight of an item's popularity (share of users) in the cold policy blend."


class ColdStartMixin(Fitted):
    """Scores of a model, adjusted by ``cold_policy`` for cold-start users of a domain (no events in it).

    "blend" adds ``popularity_weight`` times an item's popularity (the share of the domain's users who have
    it) to the score from their events in other domains; "popularity" uses popularity alone. "mean" (the mean
    trained embedding) and "zero" (equal scores) apply only to users without any usable event.
    """

    cold_policy: str
    popularity_weight: float

    def __post_init__(self) -> None:
        if self.cold_policy not in COLD_POLICIES:
            raise SettingsError(unknown("cold_policy", self.cold_policy, COLD_POLICIES))

    @abstractmethod
    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """The domains whose events make up the embedding of each query in ``domain``, (B, D)."""

    @abstractmethod
    def warm_scores(self, domain: str, queries: Queries) -> Float32:
        """The scores before popularity is added, (B, I), in a new array that ``score`` may change."""

    def uses(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """As in :class:`Fitted`: events in the domains that make up the user's embedding."""
        return np.asarray(((counts_BD > 0) & self.parties(domain, counts_BD)).any(axis=1))

    def shares_user_space(self, domain: str, to: str) -> bool:
        """As in :class:`Fitted`: events in ``to`` make up the embedding for ``domain``."""
        names = self.history.domain_names
        everything_1D = np.ones((1, len(names)), np.int64)
        return bool(self.parties(domain, everything_1D)[0, names.index(to)])

    def score(self, domain: str, queries: Queries) -> Float32:
        """Scores of all items, (B, I); those of cold-start users follow the cold policy."""
        scores_BI = self.warm_scores(self.history.named(domain), queries)
        cold_B = self._no_events_B(domain, queries)
        if self.cold_policy == "blend":
            scores_BI[cold_B] += np.float32(self.popularity_weight) * self._popularity_I[domain]
        elif self.cold_policy == "popularity":
            scores_BI[cold_B] = self._popularity_I[domain]
        return scores_BI

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """As in :class:`Fitted`: popularity is added for users without any usable event only.

        Added for users who have events elsewhere, it would fill their lists with the domains they never use.
        """
        scores_BI = self.warm_scores(self.history.named(domain), queries)
        cold_B = np.flatnonzero(self._cold_B(domain, queries))
        if len(cold_B):
            scores_BI[cold_B] = self.score(domain, queries.take(cold_B))
        return scores_BI

    @cached_property
    def _trained_U(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Which users have an embedding trained on events, per domain."""
        return {name: self.uses(name, self.history.activity_UD) for name in self.history.domain_names}

    @cached_property
    def _popularity_I(self) -> dict[str, Float32]:
        """The share of a domain's users who have each item."""
        return {
            # a share, so that its weight means the same in domains of any size
            name: (events.item_counts / max(int((events.user_counts > 0).sum()), 1)).astype(np.float32)
            for name, events in self.history.domains.items()
        }

    def _no_events_B(self, domain: str, queries: Queries) -> npt.NDArray[np.bool_]:
        """Which queries have no event in the domain, (B,)."""
        return np.asarray(queries.counts_in(self.history, domain) == 0)

    def _cold_B(self, domain: str, queries: Queries) -> npt.NDArray[np.bool_]:
        """Which queries have no usable event at all, (B,): events given with a query replace the history."""
        return np.asarray(~self.knows(domain, queries))


def mean_embedding(rows_UF: Float32, chosen_U: npt.NDArray[np.bool_]) -> Float32:
    """The mean of the chosen embeddings, (F,); zero if none is chosen."""
    return np.asarray(rows_UF[chosen_U].sum(axis=0) / np.float32(max(chosen_U.sum(), 1)))
