"""Which items are alike: by the angle between their rows or, without rows, by the people they share.

    cos(i, j) = y_i · y_j / (‖y_i‖ ‖y_j‖)        cos(i, j) = |U_i ∩ U_j| / √(|U_i| |U_j|)              (1)

Rows of two domains can be compared where one row per person scores both. I items, F factors, N people.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Float32
from landbridge.data.queries import rows_of
from landbridge.models.base import Fitted
from landbridge.models.common.cold_start import ColdStartMixin
from landbridge.models.common.dot_product import DotProductModel
from landbridge.models.mixture import BlendModel
from landbridge.models.sequential.fitted import SequenceModel


def cosine_similarities(fitted: Fitted, domain: str, item: int, to: str) -> Float32:
    """How like one item every item of the domain ``to`` is, (I,); zero for what nobody had.

    DataError where the model has rows and those of the two domains say nothing of each other.
    """
    rows = _rows(fitted, domain, to)
    if rows is None:
        return _by_people(fitted.history, domain, item, to)
    wanted_F, item_IF = rows[domain][item], rows[to]
    norm_I = np.sqrt(np.einsum("if,if->i", item_IF, item_IF) * (wanted_F @ wanted_F))
    return np.asarray(item_IF @ wanted_F / np.where(norm_I > 0, norm_I, 1))  # Eq. (1)


def shares_user_space(fitted: Fitted, domain: str, to: str) -> bool:
    """Whether one row per person scores both domains."""
    if not isinstance(fitted, ColdStartMixin):
        return False
    everything_1D = np.ones((1, len(fitted.history.domain_names)), np.int64)
    return bool(fitted.parties(domain, everything_1D)[0, fitted.history.domain_names.index(to)])


def _rows(fitted: Fitted, domain: str, to: str) -> Mapping[str, Float32] | None:
    """Items' rows by domain; None for a model without any."""
    if isinstance(fitted, BlendModel):
        fitting = (
            member
            for member in fitted.members.values()
            if domain == to or shares_user_space(member, domain, to)
        )
        return next((rows for member in fitting if (rows := _rows(member, domain, to)) is not None), None)
    if isinstance(fitted, SequenceModel):
        slices = fitted.history.joined()[1]
        return {name: fitted.weights["item"][slices[name]] for name in (domain, to)}
    if not isinstance(fitted, DotProductModel):
        return None
    if not shares_user_space(fitted, domain, to):
        raise DataError(
            f"This model learned {domain!r} and {to!r} apart, so their items cannot be compared; "
            "serve a joint model for that."
        )
    return fitted.item_IF


def _by_people(history: MultiDomain, domain: str, item: int, to: str) -> Float32:
    people_N = rows_of(history[domain].by_item, [item]).columns
    both_I = np.bincount(rows_of(history[to].by_user, people_N).columns, minlength=history[to].n_items)
    size_I = history[to].item_counts * len(people_N)
    return (both_I / np.sqrt(np.maximum(size_I, 1))).astype(np.float32)  # Eq. (1)
