"""The weights of items from those of their domains, from epoch to epoch: ``SparsityWeights`` and
``MultiObjectiveWeights``.

The weights of domains are those of a schedule (:mod:`landbridge.training.weighting.schedule`), fixed, or,
where there
are several objectives, Eq. (1) of :mod:`landbridge.training.weighting.multi_objective` at every update of
that schedule. Of
the three kinds of weights in it "sparsity" are the schedule's; with f_d the shares and L_d an epoch's losses

    "worst_group"   w ← renormalised(Eq. (2) of trade_off with η = .1, w and L, f)      every epoch     (1)
    "exposure"      n_d ← μ n_d + domain d's part of the first 10 places of 100 people  every update    (2)
                    w = renormalised(Eq. (3) of trade_off with n and equal t, f)        every update    (3)

All three keep to the same bounds and have mean 1, so that their λ compare. η is larger than in group DRO,
where a step is one batch. μ is the schedule's momentum. The lists are those that the network as it is would
give to people drawn anew each time; an item of several domains counts in equal parts in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from landbridge.core.rng import generator
from landbridge.core.threads import all_threads
from landbridge.core.types import Float64
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.models.sequential.method import TargetWeights
from landbridge.ranking.top_k import top_k
from landbridge.training.torch_backend import torch
from landbridge.training.weighting.multi_objective import exposure, worst_group
from landbridge.training.weighting.sparsity import DomainCounts, item_weights, memberships_of, renormalised

if TYPE_CHECKING:
    from torch import Tensor

    from landbridge.models.sequential.dwl import DWL

STEP = 0.1  # η
PEOPLE, PLACES = 100, 10


class SparsityWeights(TargetWeights):
    """The weights of domains are the schedule's, or fixed."""

    def __init__(self, method: DWL, train: MultiDomain, where: Any) -> None:
        super().__init__(train, where)
        self.method, self.schedule = method, method.schedule
        self.belongs_ID = np.concatenate([memberships_of(train, name) for name in train.domain_names])
        self.share_I = train.joined()[0].item_counts.astype(np.float64)
        self.windows = self.schedule.windows(train, method.epochs)
        begun = {name: torch.from_numpy(array).to(where) for name, array in self._begun(train).items()}
        self.buffers |= {f"schedule.{name}": tensor.clone() for name, tensor in begun.items()}

    def begin(self, epoch: int) -> None:
        """Update the weights where it is time for it."""
        self.update(epoch)
        super().begin(epoch)
        self.weight_I = torch.from_numpy(self.item_weights().astype(np.float32)).to(self.domain_I.device)

    def update(self, epoch: int) -> None:
        """What changes before an epoch, while the losses of the one before are still known."""
        if self.method.domain_weighting == "fixed":
            return
        before = self._state()
        due = min(int(before["updates_1"][0]), len(self.windows) - 1)
        measured = {"window": self.windows[due] if self.windows else None, "loss": self.loss_D()}
        after = self.schedule.at_epoch(before, epoch, measured.get(self.schedule.signal))
        for name, array in after.items():
            self.buffers[f"schedule.{name}"].copy_(torch.from_numpy(np.asarray(array)))

    def of(self, target_T: Tensor) -> Tensor:
        """w of each target's item."""
        return self.weight_I[target_T]

    def item_weights(self) -> Float64:
        """w_i of the joined catalogue, (I,)."""
        weight_I = item_weights(self.of_domains(), self.belongs_ID, self.method.combine)
        if not self.schedule.renorm or self.method.domain_weighting == "fixed":
            return weight_I
        return renormalised(weight_I, self.share_I, *self.schedule.weight_map.bounds)

    def of_domains(self) -> Float64:
        """w_d, (D,)."""
        return self._state()["weight_D"]

    def log_values(self) -> Mapping[str, Any]:
        """``weight`` and ``sparsity`` by domain, beside the losses."""
        return {**super().log_values(), **self.schedule.log_values(self._state(), self.names)}

    def _begun(self, train: MultiDomain) -> dict[str, npt.NDArray[Any]]:
        state = self.schedule.begin(DomainCounts.of(train))
        if self.method.domain_weighting != "fixed":
            return state
        fixed_D = np.array([self.method.weights.get(name, 1.0) for name in train.domain_names])
        return {**state, "weight_D": fixed_D}

    def _state(self) -> dict[str, npt.NDArray[Any]]:
        own = {name: tensor for name, tensor in self.buffers.items() if name.startswith("schedule.")}
        return {name.removeprefix("schedule."): tensor.cpu().numpy().copy() for name, tensor in own.items()}


class MultiObjectiveWeights(SparsityWeights):
    """The weights of domains are a mixture of what several objectives ask for.

    ``weights``: the network's, which change in place as it learns. ``seed``: of the people whose lists are
    looked at, where exposure counts.
    """

    def __init__(self, method: DWL, train: MultiDomain, weights: Mapping[str, Tensor], seed: int) -> None:
        where = weights["item"].device
        super().__init__(method, train, where)
        self.train, self.weights, self.seed, self.trade_off = train, weights, seed, method.trade_off
        ones_D = torch.ones(len(self.names), dtype=torch.float64, device=where)
        self.buffers |= {"mixed_D": ones_D, "worst_group_D": ones_D.clone(), "shown_D": 0 * ones_D}

    def update(self, epoch: int) -> None:
        """A step of the worst group's weights, and a new mixture where the schedule has an update."""
        super().update(epoch)
        if epoch:
            loss_D = np.nan_to_num(self.loss_D())
            before_D = self._now("worst_group_D")
            after_D = self._bounded(worst_group(before_D, loss_D, self._state()["share_D"], STEP))  # Eq. (1)
            self._set("worst_group_D", after_D)
        if epoch % self.schedule.update_every:
            return
        if epoch and self.trade_off.exposure:
            kept_D = self.schedule.momentum * self._now("shown_D")
            self._set("shown_D", kept_D + self.shown(epoch))  # Eq. (2)
        self._set("mixed_D", self.trade_off.mixed(self.asked(), self._state()["share_D"]))

    def asked(self) -> dict[str, Float64]:
        """Objective -> its weights of the domains, (D,)."""
        shown_D = self._now("shown_D")
        return {
            "sparsity": super().of_domains(),
            "worst_group": self._now("worst_group_D"),
            "exposure": self._bounded(exposure(np.ones_like(shown_D), shown_D)),  # Eq. (3)
        }

    def shown(self, epoch: int) -> Float64:
        """How many of the first places of some people's lists each domain has now, (D,)."""
        table, _ = self.train.joined()
        some = np.flatnonzero(table.user_counts)
        rng = generator(self.seed, "exposure", str(epoch))
        people = rng.choice(some, min(PEOPLE, len(some)), replace=False)
        model, queries = self.method.fitted(self.train, self.weights, ()), Queries.of_users(people)
        with all_threads(torch.get_num_threads()):
            scores_BI = np.concatenate([model.score(name, queries) for name in self.names], axis=1)
            items_BK, _ = top_k(scores_BI, PLACES, table.by_user.take(people))
        member_ND = self.belongs_ID[items_BK[items_BK >= 0]]
        return np.asarray((member_ND / member_ND.sum(axis=1, keepdims=True)).sum(axis=0))

    def of_domains(self) -> Float64:
        """The mixture of the last update, (D,)."""
        return self._now("mixed_D")

    def log_values(self) -> Mapping[str, Any]:
        """By domain ``weight``, and ``asked_sparsity`` and so on for the objectives that count."""
        counting = {name: own_D for name, own_D in self.asked().items() if getattr(self.trade_off, name)}
        told = {"weight": self.of_domains(), **{f"asked_{name}": own_D for name, own_D in counting.items()}}
        by_domain = {key: dict(zip(self.names, own_D.tolist(), strict=True)) for key, own_D in told.items()}
        return {**super().log_values(), **by_domain}

    def _bounded(self, weight_D: Float64) -> Float64:
        return renormalised(weight_D, self._state()["share_D"], *self.schedule.weight_map.bounds)

    def _now(self, name: str) -> Float64:
        found_D: Float64 = self.buffers[name].cpu().numpy().copy()
        return found_D

    def _set(self, name: str, value_D: Float64) -> None:
        self.buffers[name].copy_(torch.from_numpy(value_D))
