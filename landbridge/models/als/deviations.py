"""Deviations of a domain's items from their product, Eq. (3) of :mod:`landbridge.models.als.ials`.

Letters as in :mod:`landbridge.models.base`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from landbridge.core.types import Float32, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.products import Products
from landbridge.models.als import solver as als
from landbridge.models.als.fitted import RidgeSpec, product_gramians


@dataclass(frozen=True, eq=False)
class Deviations:
    """``train``: data with shared items; ``rule``: of the model's users; ``reg``: γ."""

    train: MultiDomain
    rule: RidgeSpec
    reg: float

    def of(
        self,
        user_UF: Float32,
        product_IF: Mapping[str, Float32],
        threads: int,
        pull_UF: Float32 | None = None,
    ) -> tuple[Float32, dict[str, Float32]]:
        """The users at the domains' own items, (U, F), and these, (I, F); ``product_IF``: the embeddings of
        their products; ``pull_UF``: of the users' features."""
        item_IF = {name: self._own(name, user_UF, rows_IF, threads) for name, rows_IF in product_IF.items()}
        return self._users(item_IF, threads, pull_UF), item_IF

    def _own(self, name: str, user_UF: Float32, product_IF: Float32, threads: int) -> Float32:
        """Eq. (3) for the items of one domain."""
        events, reg = self.train[name], np.float32(self.reg)
        own = als.basis(user_UF[events.user_counts > 0], threads)
        fixed = als.Basis(own.rotation_FF, own.spectrum_F, als.rotate(user_UF, own.rotation_FF, threads))
        rows = als.with_dislikes(events.by_item, self._disliked[name].by_item, self.rule.dislike_weight)
        ridge_I = np.full(events.n_items, reg)
        pull_IF = reg * als.rotate(product_IF, own.rotation_FF, threads)
        solved_IF = als.solve(rows, fixed, self.rule.alpha0, ridge_I, pull_IF)
        return als.rotate(solved_IF, np.ascontiguousarray(own.rotation_FF.T), threads)

    def _users(self, item_IF: Mapping[str, Float32], threads: int, pull_UF: Float32 | None) -> Float32:
        """The optimum of every user's events in all domains, (U, F), as the model's fold-in computes it."""
        with als.singular_systems():
            spectrum_F, rotation_FF = np.linalg.eigh(
                sum(product_gramians(self._products, item_IF, threads).values())
            )
        rotation_FF = np.ascontiguousarray(rotation_FF, np.float32)
        items_JF = np.concatenate([als.rotate(rows_IF, rotation_FF, threads) for rows_IF in item_IF.values()])
        fixed = als.Basis(rotation_FF, np.maximum(spectrum_F, 0), items_JF)
        counts_UD = self.train.activity_UD
        ridge_U = self.rule.ridge(counts_UD, np.ones_like(counts_UD, bool))
        rotated_UF = None if pull_UF is None else als.rotate(pull_UF, rotation_FF, threads)
        solved_UF = als.solve(self._events, fixed, self.rule.alpha0, ridge_U, rotated_UF)
        return als.rotate(solved_UF, np.ascontiguousarray(rotation_FF.T), threads)

    @cached_property
    def _events(self) -> Ragged:
        """Of every user, with items counted through the domains; disliked ones, too."""
        table, disliked = self.train.joined()[0], self._disliked.joined()[0]
        return als.with_dislikes(table.by_user, disliked.by_user, self.rule.dislike_weight)

    @cached_property
    def _disliked(self) -> MultiDomain:
        return self.train.only_disliked()

    @property
    def _products(self) -> Products:
        assert self.train.products is not None  # else there are no deviations
        return self.train.products
