"""DWL's weights that follow the stream of events from a fit to its refits.

A fit takes the shares of its events as a long stream. A refit goes on from the state of the previous model
(:class:`landbridge.training.weighting.online.OnlineWeights`): the events that the previous model did not have
are fed to it in the order of their times, ``events`` in each update. During a fit the weights stay as they
are; an item has the weight of its own domain.

Letters: D domains, N events, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.settings import Settings, setting
from landbridge.core.types import AnyArray, Arrays, Int64, Values
from landbridge.data.dataset import MultiDomain
from landbridge.models.sequential.method import TargetWeights
from landbridge.models.sequential.warm_start import domain_places
from landbridge.training.epochs import State
from landbridge.training.torch_backend import torch
from landbridge.training.weighting.online import OnlineWeights
from landbridge.training.weighting.schedule import WeightSchedule

if TYPE_CHECKING:
    from torch import Tensor

    from landbridge.models.sequential.fitted import SequenceModel

BY_DOMAIN = {"mass_D": 0.0, "weight_D": 1.0, "reference_D": 0.0, "recent_D": 0.0}  # and what a new one has


@dataclass(frozen=True)
class Stream(Settings):
    """How weights follow a stream of events; the map, its bounds and ``renorm`` are the schedule's."""

    half_life: float = setting(10_000.0, "Events after which an event counts half.", above=0, symbol="h")
    change: float = setting(0.1, "Largest relative change of a weight in an update.", above=0)
    events: int = setting(1_000, "Events of an update.", low=1, symbol="N")

    def weights(self, schedule: WeightSchedule) -> OnlineWeights:
        """The weights with the schedule's map."""
        return OnlineWeights(self.half_life, schedule.weight_map, schedule.renorm, self.change)


class StreamWeights(TargetWeights):
    """The weight of each target's own domain, constant during a fit."""

    def __init__(
        self, online: OnlineWeights, state: State, train: MultiDomain, where: torch.device | str
    ) -> None:
        super().__init__(train, where)
        self.online, self.state = online, state
        self.weight_D = torch.from_numpy(online.weights(state).astype(np.float32)).to(where)

    def of(self, target_T: Tensor) -> Tensor:
        """w of the domain of each target's item."""
        return self.weight_D[self.domain_I[target_T]]

    def kept(self) -> Arrays:
        """The state that a refit goes on from."""
        return dict(self.state)

    def log_values(self) -> Values:
        """``weight`` and ``share`` by domain, ``chance`` and ``alarms``, beside the losses."""
        return {**super().log_values(), **self.online.log_values(self.state, self.names)}


def stream_state(
    online: OnlineWeights, events: int, train: MultiDomain, previous: SequenceModel | None
) -> State:
    """The state after the events of ``train``; with a previous model, its state after those new since."""
    if previous is None or not previous.domain_weights:
        return online.begin([len(own) for own in train.domains.values()])
    state = _aligned(previous, train)
    domain_N = new_events(previous.history, train)
    for start in range(0, len(domain_N), events):
        state = online.seen(state, domain_N[start : start + events])
    return state


def new_events(before: MultiDomain, now: MultiDomain) -> Int64:
    """The number of its domain for each event of ``now`` that is not in ``before``, in the order of time
    where all have times, (N,)."""
    user_U = before.users.index(now.users.ids)
    numbers: list[Int64] = [np.empty(0, np.int64)]
    times: list[AnyArray] = [np.empty(0)]
    for number, (name, events) in enumerate(now.domains.items()):
        fresh_N = np.ones(len(events), bool)
        if name in before.domains:
            user_N = user_U[events.user_idx]
            item_N = before.items[name].index(now.items[name].ids)[events.item_idx]
            known_N = np.flatnonzero((user_N >= 0) & (item_N >= 0))
            fresh_N[known_N] = ~before[name].contains(user_N[known_N], item_N[known_N])
        numbers.append(np.full(int(fresh_N.sum()), number, np.int64))
        times.append(np.zeros(len(numbers[-1])) if events.time is None else events.time[fresh_N])
    has_times = all(events.time is not None for events in now.domains.values())
    domain_N = np.concatenate(numbers)
    return domain_N[np.argsort(np.concatenate(times), kind="stable")] if has_times else domain_N


def _aligned(previous: SequenceModel, train: MultiDomain) -> State:
    """The previous state in the order of these domains."""
    place_D = domain_places(previous, train)
    state = dict(previous.domain_weights)
    for name, absent in BY_DOMAIN.items():
        state[name] = np.where(place_D >= 0, state[name][place_D], absent)
    return state
