"""Dynamic domain weights: sparsity weights that are updated between epochs while a network trains (DWL).

Source: Mittal et al., arXiv 2510.04375, second algorithm; the differences are in docs/methods/dwl-weights.md.
Every ``update_every`` epochs the domains' scores s become target weights c by map and renormalisation (Eqs.
(4)-(9) of :mod:`landbridge.training.weighting.sparsity`), and the weights w move towards them:

    c = renormalised(map(s), f)                                                                        (1)
    w ← w + (1 - μ) (c - w);              with constant c   w_k = c + μ^k (w_0 - c)                    (2)
    w ← w + (1 - μ) / (1 - μ^k) (c - w)   with bias correction, at the k-th update                     (3)

Eq. (3) is the moving average that starts at zero, divided by 1 - μ^k; it forgets w_0 at the first update.
Renormalisation comes *before* the average: the bounds and the mean of 1 hold for every c and for w_0, hence
for every average of them, and w needs no correction afterwards.

``signal`` says what the scores follow:

    "static"   s_d of all events: c is constant and w approaches it from w_0 "window"   s_d of the events of
    the last ``window_days`` days. Training replays the history: at the k-th of K
               updates the window ends at the time by which k/K of all events had happened
    "loss"     s_d = ln(L_d / L_d of the first update), L_d the mean loss since the previous update    (4)
    "gradient" is not handled here: use :class:`landbridge.training.weighting.gradnorm.GradNorm`

A domain that was not measured since the previous update (no event in the window, or no loss) keeps its score.

For a network with one loss per domain (:class:`DynamicSparsity`), each the mean L_d over the domain's own
part of a batch, weights w_d of *samples* become weights of the losses:

    Σ_d D f_d w_d L_d,   Σ_d D f_d w_d = D                                                             (5)

A plain Σ L_d counts every domain alike, so a sample of a small domain counts more: it equals w_d = 1/(D f_d).

Letters: D domains, K updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError, unknown
from landbridge.core.selection import kth_smallest
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Float64
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import DAY
from landbridge.training.epochs import State
from landbridge.training.gradients import Losses
from landbridge.training.weighting.base import LogValues, Weighting
from landbridge.training.weighting.sparsity import DomainCounts, SparsityScore, WeightMap, alike

if TYPE_CHECKING:
    from torch import Tensor

Signal = Literal["static", "window", "loss", "gradient"]
SIGNALS = get_args(Signal)
LEAST_LOSS = 1e-8  # so that the logarithm of a loss of 0 is finite


@dataclass(frozen=True)
class WeightSchedule(Settings):
    """How domain weights follow the domains' scores during training, Eqs. (1)-(4).

    The state is a mapping of small arrays, (D,) or (1,), so that a checkpoint can store it; no function
    changes the state it is given.
    """

    sparsity: SparsityScore = setting(SparsityScore(), "From counts to scores.")
    weight_map: WeightMap = setting(WeightMap(), "From scores to weights with their bounds.")
    renorm: bool = setting(True, "Whether the weights' mean over the samples is 1, Eq. (1).")
    momentum: float = setting(
        0.9, "How much of the weights an update keeps, Eq. (2).", low=0, below=1, symbol="μ"
    )
    update_every: int = setting(2, "Epochs from one update to the next.", low=1)
    bias_correction: bool = setting(False, "Whether Eq. (3) takes the place of Eq. (2).")
    initial_weights: Literal["ones", "computed"] = setting(
        "ones", "Weights before the first update: 1, or Eq. (1) at once.", symbol="w_0"
    )
    signal: Signal = setting("static", "What the scores follow while the model learns.")
    window_days: float | None = setting(None, "Days that the signal window looks back.", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.window_days is not None) != (self.signal == "window"):
            raise SettingsError("signal='window' and window_days belong together: give both or neither.")

    def windows(self, data: MultiDomain, epochs: int) -> tuple[DomainCounts, ...]:
        """The event counts for every update of a fit of ``epochs``; empty unless the signal is "window"."""
        number = (epochs - 1) // self.update_every
        if self.window_days is None or number < 1:
            return ()
        ends = _quantiles(data, np.arange(1, number + 1) / number)
        return tuple(DomainCounts.of(data, end - int(self.window_days * DAY), end) for end in ends)

    def begin(self, counts: DomainCounts, share_D: Float64 | None = None) -> State:
        """The state before the first epoch.

        ``counts``: of all training events; ``share_D``: f_d, if it differs from theirs.
        """
        if self.signal == "gradient":
            raise SettingsError(
                "signal='gradient' has no schedule: use landbridge.training.weighting.gradnorm.GradNorm as "
                "the network's weighting."
            )
        score_D = self.sparsity.score(counts)
        state: State = {
            "weight_D": np.ones(len(score_D)),
            # no loss has been measured yet; 0 * keeps NaN for domains without events
            # no loss has been measured yet; 0 * keeps NaN for domains without events
            "score_D": 0 * score_D if self.signal == "loss" else score_D,
            "share_D": counts.share_D if share_D is None else share_D,
            "updates_1": np.zeros(1, np.int64),
            **dict.fromkeys(("loss_D", "losses_D", "first_D"), np.zeros(len(score_D))),
        }
        return {**state, "weight_D": self._computed(state)} if self.initial_weights == "computed" else state

    def at_epoch(
        self, state: State, epoch: int, measured: DomainCounts | npt.ArrayLike | None = None
    ) -> State:
        """The state at the start of epoch number ``epoch``, updated after every ``update_every`` epochs.

        ``measured``: the window's counts for "window", needed only at an update; the domains' mean losses
        (D,) in the epoch before for "loss", NaN where there was none; nothing for "static", or new counts.
        """
        if epoch == 0:
            return state
        if isinstance(measured, DomainCounts) or measured is None:
            counts = measured
        else:
            counts, state = None, self.observed(state, measured)
        return state if epoch % self.update_every else self.updated(state, counts)

    def observed(self, state: State, loss_D: npt.ArrayLike) -> State:
        """The state with one mean loss per domain added, (D,), NaN where there is none."""
        loss_D = np.asarray(loss_D, np.float64)
        return {
            **state,
            "loss_D": state["loss_D"] + np.nan_to_num(loss_D),
            "losses_D": state["losses_D"] + ~np.isnan(loss_D),
        }

    def updated(self, state: State, counts: DomainCounts | None = None) -> State:
        """The state after one update. ``counts``: new event counts; None keeps the scores."""
        if self.signal == "window" and counts is None:
            raise SettingsError("signal='window' needs the counts of the window at every update.")
        state = self._slowness(state) if self.signal == "loss" else self._counted(state, counts)
        number = state["updates_1"] + 1
        rate = 1 - self.momentum
        if self.bias_correction:
            rate = rate / (1 - self.momentum ** int(number[0]))  # Eq. (3)
        weight_D = state["weight_D"]
        moved_D = weight_D + rate * (self._computed(state) - weight_D)  # Eq. (2)
        return {**state, "weight_D": moved_D, "updates_1": number}

    def weights(self, state: State) -> Float64:
        """The weights to learn with now, (D,)."""
        return state["weight_D"]

    def log_values(self, state: State, names: Sequence[str]) -> LogValues:
        """``weight`` and ``sparsity``, the score, by domain, and the number of ``updates``."""
        score = dict(zip(names, state["score_D"].tolist(), strict=True))
        return {
            "weight": dict(zip(names, state["weight_D"].tolist(), strict=True)),
            "sparsity": {name: value for name, value in score.items() if not np.isnan(value)},
            "updates": int(state["updates_1"][0]),
        }

    def _computed(self, state: State) -> Float64:
        return self.weight_map.weights(state["score_D"], state["share_D"] if self.renorm else None)  # Eq. (1)

    def _counted(self, state: State, counts: DomainCounts | None) -> State:
        if counts is None:
            return state
        score_D = self.sparsity.score(counts)
        return {**state, "score_D": np.where(np.isnan(score_D), state["score_D"], score_D)}

    def _slowness(self, state: State) -> State:
        """The state with the scores of Eq. (4) and with the sum of losses reset."""
        seen_D = state["losses_D"] > 0
        # the bound keeps the logarithm finite for losses that reach 0
        mean_D = np.maximum(state["loss_D"] / np.maximum(state["losses_D"], 1), LEAST_LOSS)
        first_D = np.where(seen_D & (state["first_D"] == 0), mean_D, state["first_D"])
        score_D = np.log(mean_D / np.where(seen_D, first_D, mean_D))  # Eq. (4)
        return {
            **state,
            "score_D": np.where(seen_D, score_D, state["score_D"]),
            "first_D": first_D,
            **dict.fromkeys(("loss_D", "losses_D"), np.zeros(len(seen_D))),
        }


@dataclass(frozen=True, eq=False)
class DynamicSparsity(Weighting):
    """Dynamic weights for any network with one loss per domain, Eq. (5).

    The losses must be means over each domain's own part of a batch. ``counts``: of the training data;
    ``share_D``: f_d, the domains' shares of all samples, if they differ from the shares in the counts;
    ``windows``: those of ``schedule.windows``. The weights are updated every ``schedule.update_every`` times
    ``steps_per_epoch`` steps.
    """

    schedule: WeightSchedule
    counts: DomainCounts
    steps_per_epoch: int
    windows: tuple[DomainCounts, ...] = ()
    share_D: Float64 | None = None

    def __post_init__(self) -> None:
        if self.steps_per_epoch < 1:
            raise SettingsError(f"steps_per_epoch must be 1 or more, not {self.steps_per_epoch}.")
        self.schedule.begin(self.counts)  # refuses "gradient" before the fit has begun

    @classmethod
    def of(cls, schedule: WeightSchedule, data: MultiDomain, steps_per_epoch: int, epochs: int) -> Self:
        """For a fit of ``epochs`` in which every event is a sample of its own domain only."""
        own_D = np.array([len(events) for events in data.domains.values()]) / max(data.n_events, 1)
        return cls(schedule, DomainCounts.of(data), steps_per_epoch, schedule.windows(data, epochs), own_D)

    def weights(
        self, losses: Mapping[str, Tensor], parameters: Mapping[str, Tensor], state: State
    ) -> tuple[dict[str, float], State]:
        """Eq. (5) for this step; SettingsError for a domain that was not counted."""
        for domain in losses:
            if domain not in self.counts.names:
                raise SettingsError(unknown("domain in the counts", domain, self.counts.names))
        state = self._due(state) if state else self._begun()
        weight, names = self._of_losses(state), self.counts.names
        numbers = Losses.of(losses, parameters).numbers
        loss_D = [numbers.get(name, np.nan) for name in names]
        after = {**self.schedule.observed(state, loss_D), "steps_1": state["steps_1"] + 1}
        return {domain: weight[domain] for domain in losses}, after

    def log_values(self, state: State) -> LogValues:
        """By domain ``weight`` of the loss, ``sample_weight`` w_d and ``sparsity``; and ``updates``."""
        if not state:
            return {}
        values = self.schedule.log_values(state, self.counts.names)
        return {**values, "weight": self._of_losses(state), "sample_weight": values["weight"]}

    def _begun(self) -> State:
        return {**self.schedule.begin(self.counts, self.share_D), "steps_1": np.zeros(1, np.int64)}

    def _due(self, state: State) -> State:
        """The state after an update if one is due; a fit longer than planned keeps the last window."""
        if state["steps_1"][0] % (self.schedule.update_every * self.steps_per_epoch):
            return state
        place = min(int(state["updates_1"][0]), len(self.windows) - 1)
        return self.schedule.updated(state, self.windows[place] if self.windows else None)

    def _of_losses(self, state: State) -> dict[str, float]:
        here_D, factor_D = state["share_D"] > 0, np.ones(len(self.counts.names))
        share_D = state["share_D"][here_D]
        if share_D.size and not alike(share_D / share_D.max()):
            factor_D[here_D] = share_D / share_D.mean()  # D f_d over the domains that have samples
        weight_D = factor_D * state["weight_D"]  # Eq. (5)
        return dict(zip(self.counts.names, weight_D.tolist(), strict=True))


def _quantiles(data: MultiDomain, part_K: Float64) -> list[int]:
    """The times by which the fractions ``part_K`` of all events had happened."""
    for name, events in data.domains.items():
        if events.time is None:
            raise DataError(f"signal='window' needs times, and the events of domain {name!r} have none.")
    columns = [events.time for events in data.domains.values() if events.time is not None]
    # the inverse of the cumulative distribution is a time that occurs; interpolation would invent one
    # between two sessions
    place_K = np.maximum(np.ceil(sum(map(len, columns)) * part_K - 1), 0).astype(np.int64)
    return [int(kth_smallest(columns, place)) for place in place_K.tolist()]
