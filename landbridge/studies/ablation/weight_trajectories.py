"""The weights that a DWL will have in every epoch, without training it; and which of several have the same.

They follow from the data and the settings alone where the signal is "static" or "window". Items that belong
to the same domains have one weight, so they are taken together as one of P kinds. With v_P their weight as
:func:`~landbridge.training.weighting.sparsity.item_weights` gives it and f_P the kinds' shares of all
events, a
kind has

    w_P = renormalised(v_P, f_P)   or, without ``renorm``,   w_P = v_P                                  (1)

which is the items' own Eq. (9) of sparsity, as it knows no more of an item than v and f. Methods that differ
in nothing but how they weigh are one run where, for every kind in every epoch,

    |w_P - w'_P| < .01 min(w_P, w'_P)                                                                  (2)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from landbridge.core.types import Bool, Float64
from landbridge.data.dataset import MultiDomain
from landbridge.models.sequential.dwl import DWL
from landbridge.training.weighting.sparsity import DomainCounts, item_weights, memberships_of, renormalised

PREDICTABLE_SIGNALS = ("static", "window")
SAME = 0.01  # of Eq. (2)


@dataclass(frozen=True, eq=False)
class WeightInputs:
    """What weights follow from: the training events, their counts, and the kinds of items that have any.

    ``belongs_PD``: the domains of each kind; ``events_P``: its events.
    """

    train: MultiDomain
    counts: DomainCounts
    belongs_PD: Bool
    events_P: Float64

    @classmethod
    def of(cls, train: MultiDomain) -> WeightInputs:
        """Counted once for any number of methods."""
        belongs_ID = np.concatenate([memberships_of(train, name) for name in train.domain_names])
        count_I = np.concatenate([events.item_counts for events in train.domains.values()])
        here_I = count_I > 0
        # items with the same domains have the same weight: a few kinds stand for all items
        belongs_PD, kind_I = np.unique(belongs_ID[here_I], axis=0, return_inverse=True)
        events_P = np.bincount(kind_I.ravel(), count_I[here_I]).astype(np.float64)
        return cls(train, DomainCounts.of(train), belongs_PD, events_P)

    @property
    def by_events(self) -> tuple[str, ...]:
        """The domains that have events, the sparsest first."""
        events_D = self.counts.events_D
        return tuple(self.counts.names[d] for d in np.argsort(events_D, kind="stable") if events_D[d])

    @property
    def sparsest(self) -> tuple[str, ...]:
        """Their lowest quartile by events, rounded up."""
        names = self.by_events
        return names[: ceil(len(names) / 4)]


def trajectory(method: DWL, ground: WeightInputs) -> Float64 | None:
    """The weight of every kind of item in each of E epochs, (E, P); None where only training will tell."""
    if method.domain_weighting in ("several", "online") or (
        method.domain_weighting == "sparsity" and method.schedule.signal not in PREDICTABLE_SIGNALS
    ):
        return None
    return np.stack([_of_kinds(method, ground, weight_D) for weight_D in _of_domains(method, ground)])


def runs_with_equal_weights(methods: Mapping[str, DWL], ground: WeightInputs) -> dict[str, str]:
    """Label -> the label of the run that stands for it: its own, or an earlier one's by Eq. (2)."""
    result: dict[str, str] = {}
    weights = {label: trajectory(method, ground) for label, method in methods.items()}
    for label, method in methods.items():
        runs = [run for run in result if result[run] == run]
        same = (run for run in runs if method == methods[run] or _alike(weights[label], weights[run]))
        result[label] = next(same, label)
    return result


def _of_domains(method: DWL, ground: WeightInputs) -> Iterator[Float64]:
    """w_d epoch by epoch, as :class:`~landbridge.models.sequential.item_weights.SparsityWeights` has them."""
    names, schedule = ground.counts.names, method.schedule
    if method.domain_weighting != "sparsity":
        fixed_D = np.array([method.weights.get(name, 1.0) for name in names])
        yield from [fixed_D] * method.epochs
        return
    state, windows = schedule.begin(ground.counts), schedule.windows(ground.train, method.epochs)
    for epoch in range(method.epochs):
        due = min(int(state["updates_1"][0]), len(windows) - 1)
        state = schedule.at_epoch(state, epoch, windows[due] if windows else None)
        yield schedule.weights(state)


def _of_kinds(method: DWL, ground: WeightInputs, weight_D: Float64) -> Float64:
    weight_P = item_weights(weight_D, ground.belongs_PD, method.combine)
    if method.domain_weighting != "sparsity" or not method.schedule.renorm:
        return weight_P
    return renormalised(weight_P, ground.events_P, *method.schedule.weight_map.bounds)  # Eq. (1)


def _alike(one_EP: Float64 | None, other_EP: Float64 | None) -> bool:
    if one_EP is None or other_EP is None:
        return False
    return bool(np.all(np.abs(one_EP - other_EP) < SAME * np.minimum(one_EP, other_EP)))  # Eq. (2)
