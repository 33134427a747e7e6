"""Item weights for DWL's loss, derived from domain weights and updated between epochs.

Domain weights follow a schedule (:mod:`landbridge.training.weighting.schedule`), are fixed, or mix several
objectives by Eq. (1) of :mod:`landbridge.training.weighting.multi_objective` at every update of the schedule.
In the mixture "sparsity" is the schedule's weight. With the shares f_d and the mean losses L_d of an epoch,
the other two objectives are

    "worst_group"   w ← renormalised(Eq. (2) of multi_objective with η = .1, w and L, f)   every epoch   (1)
    "exposure"      n_d ← μ n_d + domain d's part of 100 users' lists of 10 items          every update  (2)
                    w = renormalised(Eq. (3) of multi_objective with n and equal t, f)     every update  (3)

All three have the same bounds and mean 1, so their λ are comparable. η is larger than in group DRO because a
step is an epoch here and a batch there. μ is the schedule's momentum. The lists come from the current
network, for users sampled anew at each update; an item of several domains counts in equal parts for each of
them.

Letters: D domains, I items of all domains, T targets, B users, K places of a list, N listed items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.threads import all_threads
from landbridge.core.types import Float64
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.models.base import Fitted
from landbridge.models.sequential.method import TargetWeights
from landbridge.ranking.top_k import top_k
from landbridge.training.epochs import State
from landbridge.training.torch_backend import torch
from landbridge.training.weighting.base import LogValues
from landbridge.training.weighting.multi_objective import MultiObjective, exposure, worst_group
from landbridge.training.weighting.schedule import WeightSchedule
from landbridge.training.weighting.sparsity import DomainCounts, item_weights, memberships_of, renormalised

if TYPE_CHECKING:
    from torch import Tensor

STEP = 0.1  # η of Eq. (1)
SAMPLED_USERS, LIST_LENGTH = 100, 10  # of Eq. (2)


@dataclass(frozen=True)
class WeightRule:
    """Settings of item weights, independent of the method.

    ``schedule``: the weights of domains over ``epochs``. ``fixed``: constant weights by domain instead of
    the schedule's, 1 where none is given; None for the schedule's. ``combine``: an item's weight out of
    those of its domains. ``objectives``: exponents of the mixture, for ``MultiObjectiveWeights``.
    """

    schedule: WeightSchedule
    epochs: int
    combine: str = "max"
    fixed: Mapping[str, float] | None = None
    objectives: MultiObjective = field(default_factory=MultiObjective)


class SparsityWeights(TargetWeights):
    """Item weights from domain weights that follow the schedule or are fixed.

    ``last``: the weights by domain at the end of the fit that a refit goes on from. They replace weights of 1
    at the start, which would undo what the moving average has reached.
    """

    def __init__(
        self,
        rule: WeightRule,
        train: MultiDomain,
        device: torch.device,
        last: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(train, device)
        self.last = last or {}
        self.rule, self.schedule = rule, rule.schedule
        self.belongs_ID = np.concatenate([memberships_of(train, name) for name in train.domain_names])
        self.share_I = train.joined()[0].item_counts.astype(np.float64)
        self.windows = self.schedule.windows(train, rule.epochs)
        initial = {name: torch.from_numpy(array).to(device) for name, array in self._initial(train).items()}
        # the state's arrays may share memory; buffers are changed in place, so each needs its own
        self.buffers |= {f"schedule.{name}": tensor.clone() for name, tensor in initial.items()}

    def begin(self, epoch: int) -> None:
        """Update the weights if an update is due."""
        self.update(epoch)
        super().begin(epoch)
        self.weight_I = torch.from_numpy(self.item_weights().astype(np.float32)).to(self.domain_I.device)

    def update(self, epoch: int) -> None:
        """Change the weights before an epoch, from the losses of the previous one."""
        if self.rule.fixed is not None:
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
        """w_i of every item of all domains, (I,)."""
        weight_I = item_weights(self.of_domains(), self.belongs_ID, self.rule.combine)
        if not self.schedule.renorm or self.rule.fixed is not None:
            return weight_I
        return renormalised(weight_I, self.share_I, *self.schedule.weight_map.bounds)

    def of_domains(self) -> Float64:
        """w_d, (D,)."""
        return self._state()["weight_D"]

    def log_values(self) -> LogValues:
        """``weight`` and ``sparsity`` by domain, beside the losses."""
        return {**super().log_values(), **self.schedule.log_values(self._state(), self.names)}

    def _initial(self, train: MultiDomain) -> State:
        state = self.schedule.begin(DomainCounts.of(train))
        if self.rule.fixed is None:
            if self.schedule.initial_weights == "computed":
                return state
            last_D = [
                self.last.get(name, one) for name, one in zip(self.names, state["weight_D"], strict=True)
            ]
            return {**state, "weight_D": np.array(last_D)}
        fixed_D = np.array([self.rule.fixed.get(name, 1.0) for name in train.domain_names])
        return {**state, "weight_D": fixed_D}

    def _state(self) -> State:
        own = {name: tensor for name, tensor in self.buffers.items() if name.startswith("schedule.")}
        return {name.removeprefix("schedule."): tensor.cpu().numpy().copy() for name, tensor in own.items()}


class MultiObjectiveWeights(SparsityWeights):
    """Item weights from domain weights that mix several objectives.

    ``current_model``: returns the model with the network's current weights; ``seed``: of the sampled users.
    Both are used only where exposure is an objective.
    """

    def __init__(
        self,
        rule: WeightRule,
        train: MultiDomain,
        device: torch.device,
        current_model: Callable[[], Fitted],
        seed: int,
    ) -> None:
        super().__init__(rule, train, device)
        self.train, self.current_model, self.seed = train, current_model, seed
        ones_D = torch.ones(len(self.names), dtype=torch.float64, device=device)
        self.buffers |= {"mixed_D": ones_D, "worst_group_D": ones_D.clone(), "shown_D": 0 * ones_D}

    def update(self, epoch: int) -> None:
        """Step the worst group's weights; compute a new mixture if the schedule has an update."""
        super().update(epoch)
        if epoch:
            loss_D = np.nan_to_num(self.loss_D())
            before_D = self._now("worst_group_D")
            after_D = self._bounded(worst_group(before_D, loss_D, self._state()["share_D"], STEP))  # Eq. (1)
            self._set("worst_group_D", after_D)
        if epoch % self.schedule.update_every:
            return
        if epoch and self.rule.objectives.exposure:
            decayed_D = self.schedule.momentum * self._now("shown_D")
            self._set("shown_D", decayed_D + self.exposure(epoch))  # Eq. (2)
        self._set("mixed_D", self.rule.objectives.mixed(self.objective_weights(), self._state()["share_D"]))

    def objective_weights(self) -> dict[str, Float64]:
        """Objective -> its own weights of the domains, (D,)."""
        shown_D = self._now("shown_D")
        return {
            "sparsity": super().of_domains(),
            "worst_group": self._now("worst_group_D"),
            "exposure": self._bounded(exposure(np.ones_like(shown_D), shown_D)),  # Eq. (3)
        }

    def exposure(self, epoch: int) -> Float64:
        """Number of items of each domain in the sampled users' current lists, (D,)."""
        table, _ = self.train.joined()
        active = np.flatnonzero(table.user_counts)
        rng = generator(self.seed, "exposure", str(epoch))
        # a sample is enough for the domains' shares; ranking all users would score the whole matrix
        users = rng.choice(active, min(SAMPLED_USERS, len(active)), replace=False)
        model, queries = self.current_model(), Queries.of_users(users)
        # training has limited the threads; scoring and ranking use those of torch
        with all_threads(torch.get_num_threads()):
            scores_BI = np.concatenate([model.score(name, queries) for name in self.names], axis=1)
            excluded = self.train.all_excluded().joined()[0] if self.train.seen else table
            items_BK, _ = top_k(scores_BI, LIST_LENGTH, excluded.by_user.take(users))
        member_ND = self.belongs_ID[items_BK[items_BK >= 0]]
        return np.asarray((member_ND / member_ND.sum(axis=1, keepdims=True)).sum(axis=0))

    def of_domains(self) -> Float64:
        """The mixture of the last update, (D,)."""
        return self._now("mixed_D")

    def log_values(self) -> LogValues:
        """By domain ``weight``, and ``requested_sparsity`` and so on for objectives with an exponent."""
        counting = {
            name: own_D
            for name, own_D in self.objective_weights().items()
            if getattr(self.rule.objectives, name)
        }
        values = {f"requested_{name}": own_D for name, own_D in counting.items()}
        values["weight"] = self.of_domains()
        by_domain = {key: dict(zip(self.names, own_D.tolist(), strict=True)) for key, own_D in values.items()}
        return {**super().log_values(), **by_domain}

    def _bounded(self, weight_D: Float64) -> Float64:
        return renormalised(weight_D, self._state()["share_D"], *self.schedule.weight_map.bounds)

    def _now(self, name: str) -> Float64:
        return np.array(self.buffers[name].cpu().numpy(), np.float64)

    def _set(self, name: str, value_D: Float64) -> None:
        self.buffers[name].copy_(torch.from_numpy(value_D))
