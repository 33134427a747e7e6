"""``DotProductModel``: models that score by the dot product of a user and an item embedding.

Shape letters as in :mod:`landbridge.models.base`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.types import AnyArray, Arrays, Float32, Ragged, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.models.base import DotProducts, Queries
from landbridge.models.common.cold_start import ColdStartMixin, mean_embedding

NONE: Mapping[str, Ragged] = MappingProxyType({})  # of no domain


class QueryVectorsMixin(ColdStartMixin):
    """The embeddings to rank by of a model that has one for each query, :class:`DotProducts`."""

    @abstractmethod
    def query_vectors(self, domain: str, queries: Queries) -> Float32:
        """The embedding of every query, (B, F), in a new array: looked up or computed, or that of the cold
        policy."""

    def query_embeddings(
        self, domain: str, queries: Queries, *, across: bool = False
    ) -> tuple[Float32, Float32]:
        """As in :class:`~landbridge.models.base.DotProducts`.

        Where every item would have the same score ("zero"), popularity alone decides.
        """
        rows_BF = self.query_vectors(domain, queries)
        cold_B = self._cold_B(domain, queries) if across else self._no_events_B(domain, queries)
        weight_B = np.zeros(len(queries), np.float32)
        factor, weight_B[cold_B] = self.no_events
        rows_BF[cold_B] *= np.float32(factor)
        if self.cold_policy == "zero":
            only_popular_B = ~self.knows(domain, queries)
            rows_BF[only_popular_B], weight_B[only_popular_B] = 0, 1
        return rows_BF, weight_B

    @property
    def no_events(self) -> tuple[float, float]:
        """The factor of the embedding and the weight of popularity for users without events in a domain."""
        # as products: an embedding of 0 and popularity with weight 1 give the order of popularity
        products = {"blend": (1.0, self.popularity_weight), "popularity": (0.0, 1.0)}
        return products.get(self.cold_policy, (1.0, 0.0))


@dataclass(frozen=True, eq=False)
class DotProductModel(QueryVectorsMixin):
    """``user_UF`` and ``item_IF`` hold the embeddings per domain; domains that share them share the array.

    ``cold_policy`` and ``popularity_weight``: :class:`~landbridge.models.common.cold_start.ColdStartMixin`.
    """

    user_UF: Mapping[str, Float32]
    item_IF: Mapping[str, Float32]
    cold_policy: str
    popularity_weight: float

    @abstractmethod
    def fold_in(
        self, domain: str, events: Mapping[str, Ragged], size: int, disliked: Mapping[str, Ragged] = NONE
    ) -> Float32:
        """Embeddings of new users from ``size`` rows of events, and of disliked items, per domain, (B, F), at
        fixed items."""

    def warm_scores(self, domain: str, queries: Queries) -> Float32:
        """Dot products of the query embeddings with all items, (B, I)."""
        return np.asarray(self.query_vectors(domain, queries) @ self.item_IF[domain].T)

    def query_vectors(self, domain: str, queries: Queries) -> Float32:
        """The embedding of every query, (B, F): looked up, folded in, or that of the cold policy."""
        rows_BF = self.user_UF[self.history.named(domain)][queries.user_idx]
        if queries.events is not None:
            folded_BF = self.fold_in(domain, queries.events, len(queries), queries.disliked or NONE)
            # given events replace the stored history, also of known users
            rows_BF[queries.has_events_B] = folded_BF[queries.has_events_B]
        rows_BF[self._cold_B(domain, queries)] = self._cold_F[domain]
        return rows_BF

    def as_dot_products(self) -> DotProducts:
        """As in :class:`Fitted`."""
        return self

    def item_embeddings(self, domain: str, to: str) -> tuple[Float32, Float32]:
        """As in :class:`Fitted`."""
        if not self.shares_user_space(domain, to):
            raise DataError(
                f"This model learned {domain!r} and {to!r} apart, so their items cannot be compared; "
                "serve a joint model for that."
            )
        return self.item_IF[domain], self.item_IF[to]

    def check_arrays(self) -> None:
        """As in :class:`Fitted`: compiled code would read beyond the end of embeddings of a forged size."""
        for name, events in self.history.domains.items():
            users_UF, items_IF = self.user_UF[name], self.item_IF[name]
            fitting = (self.history.n_users, items_IF.shape[-1]), (events.n_items, users_UF.shape[-1])
            if (users_UF.shape, items_IF.shape) != fitting:
                raise DataError(f"its embeddings do not fit its data in {name!r}; fit it again.")
            if not all(_is_finite(rows_RF) for rows_RF in (users_UF, items_IF)):
                raise DataError(f"its embeddings are not all numbers in {name!r}; fit it again.")

    def rows_state(self) -> tuple[Arrays, Record]:
        """The distinct user arrays, the items, the array that each domain uses, and the cold policy."""
        # domains that share an array share it again after loading: it is stored once
        distinct = list({id(array): array for array in self.user_UF.values()}.values())
        place = {id(array): number for number, array in enumerate(distinct)}
        arrays: Arrays = {f"user:{n}": array for n, array in enumerate(distinct)}
        arrays |= {f"item:{name}": array for name, array in self.item_IF.items()}
        users = {name: place[id(array)] for name, array in self.user_UF.items()}
        return arrays, {
            "users": users,
            "cold_policy": self.cold_policy,
            "cold_weight": self.popularity_weight,
        }

    @cached_property
    def _cold_F(self) -> dict[str, Float32]:
        """The embedding of users without any usable event, per domain."""
        if self.cold_policy == "mean":
            return {
                name: mean_embedding(self.user_UF[name], trained) for name, trained in self._trained_U.items()
            }
        return {name: np.zeros(rows_UF.shape[1], np.float32) for name, rows_UF in self.user_UF.items()}


def embeddings_from(
    history: MultiDomain, arrays: Mapping[str, AnyArray], about: Values
) -> tuple[dict[str, Float32], dict[str, Float32], str, float]:
    """The fields of a :class:`DotProductModel`, in their order, from what ``rows_state`` returned."""
    users = {name: arrays[f"user:{about['users'][name]}"] for name in history.domain_names}
    items = {name: arrays[f"item:{name}"] for name in history.domain_names}
    return users, items, about["cold_policy"], about["cold_weight"]


def _is_finite(rows_RF: Float32) -> bool:
    # NaN and infinity survive a sum, so no mask is allocated; float32 could overflow
    return rows_RF.dtype == np.float32 and bool(np.isfinite(np.sum(rows_RF, dtype=np.float64)))
