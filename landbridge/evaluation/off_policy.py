"""What a policy would have earned, estimated from what another one showed.

A log holds N events: user x, the item a that the deployed policy showed them, the probability p(a | x)
with which it did, and the reward r. Of a policy that shows a with probability π(a | x)

    w      = min(π(a | x) / p(a | x), clip)                                                              (1)
    IPS    = Σ w r / N                                                                                   (2)
    SNIPS  = Σ w r / Σ w                                                                                 (3)
    replay = Σ π(a | x) r / Σ π(a | x)                                                                   (4)

IPS has the right expectation (without ``clip``), SNIPS nearly so and with less variance. Replay is the mean
reward of the events that π would have shown as well; it is right if p showed all items alike. All assume

    support           p shows, now and then, everything π may show
    propensities      p(a | x) is what the deployed policy really did, not a guess
    no interference   a reward depends on the user and the item shown, not on what else was shown or when

None of this can be tested on the log itself: an estimate is a reason for an online experiment, not its
replacement. Shape letters: N events, B users of a block, T their events, I items, K places, U users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.rng import generator
from landbridge.core.threads import all_threads
from landbridge.core.types import Float32, Float64, Int32, Int64, Ragged
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.evaluation.bootstrap import mean_interval
from landbridge.evaluation.protocols import Scorer, blocks, score_queries
from landbridge.ranking.top_k import top_k

DRAWS = 1000  # bootstrap samples
ASSUMED = (
    "assumed, and false to an unknown degree: the held-out pairs are what was shown, and every user was "
    "shown items that they did not know in proportion to their events plus one"
)
RELATIVE = (
    "; all rewards are 1, so ips is relative (1: as much as that policy earned) and snips and replay say "
    "nothing"
)


@dataclass(frozen=True, eq=False)
class Logged:
    """What a deployed policy showed in one domain, N events in any order.

    ``user_idx``, ``item_idx``: int32 (N,). ``propensity``: (N,), the probability, above 0 and at most 1,
    with which the policy showed this user this item. ``reward``: (N,), anything finite.
    ``assumption``: what of this was not recorded but assumed; every estimate repeats it.
    """

    domain: str
    user_idx: Int32
    item_idx: Int32
    propensity: Float64
    reward: Float64
    assumption: str = ""

    def __post_init__(self) -> None:
        columns = (self.user_idx, self.item_idx, self.propensity, self.reward)
        if {column.shape for column in columns} != {(len(self.user_idx),)} or not len(self.user_idx):
            raise DataError(
                "A log needs one user, item, propensity and reward per event, and one event or more."
            )
        wrong_N = ~((self.propensity > 0) & (self.propensity <= 1))
        if wrong_N.any():
            raise DataError(
                f"{int(wrong_N.sum())} propensities are not above 0 and at most 1, the first of event "
                f"{int(wrong_N.argmax())}: leave out events whose probability is not known."
            )
        if not np.isfinite(self.reward).all():
            raise DataError("A reward is not a finite number: leave out events whose reward is not known.")

    def __len__(self) -> int:
        return len(self.user_idx)


class Policy(Protocol):
    """How scores become what is shown."""

    def chance(self, scores_BI: Float32, seen: Ragged, item_T: Int32, row_T: Int64) -> Float64:
        """The probability of showing each item to the user of its row, (T,); seen ones are never shown."""


@dataclass(frozen=True)
class Softmax:
    """Shows one unseen item, with probability proportional to exp(score / ``temperature``)."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise SettingsError(f"temperature must be above 0, not {self.temperature}.")

    def chance(self, scores_BI: Float32, seen: Ragged, item_T: Int32, row_T: Int64) -> Float64:
        """See :class:`Policy`."""
        logit_BI = np.array(scores_BI, np.float32)
        logit_BI[seen.entry_rows, seen.columns] = -np.inf
        top_B1 = logit_BI.max(axis=1, keepdims=True)
        if not (top_B1 < np.inf).all():
            raise DataError("Some scores are infinite or not a number; look for divergence in the fit.")
        logit_BI -= np.where(np.isfinite(top_B1), top_B1, 0)  # nothing is left for who has seen everything
        with np.errstate(over="ignore"):  # far below the best is nothing
            logit_BI /= np.float32(self.temperature)
        np.exp(logit_BI, out=logit_BI)
        # float64: a float32 sum over a large catalogue loses the small probabilities
        total_B = logit_BI.sum(axis=1, dtype=np.float64)
        return np.asarray(logit_BI[row_T, item_T] / np.where(total_B > 0, total_B, 1)[row_T])


@dataclass(frozen=True)
class TopK:
    """Shows one of the ``k`` best unseen items, each with the same probability."""

    k: int = 10

    def __post_init__(self) -> None:
        if self.k < 1:
            raise SettingsError(f"k must be 1 or more, not {self.k}.")

    def chance(self, scores_BI: Float32, seen: Ragged, item_T: Int32, row_T: Int64) -> Float64:
        """See :class:`Policy`."""
        items_BK, _ = top_k(scores_BI, self.k, seen)
        listed_B = np.maximum((items_BK >= 0).sum(axis=1), 1)
        return np.asarray((items_BK[row_T] == item_T[:, None]).any(axis=1) / listed_B[row_T])


@dataclass(frozen=True)
class Estimate:
    """A mean reward per showing with its 95 % bootstrap interval over users.

    ``effective``: how many equally weighted events say as much, (Σ w)² / Σ w². ``assumption``: the log's.
    """

    kind: str
    value: float
    low: float
    high: float
    events: int
    effective: float
    assumption: str = ""

    def __str__(self) -> str:
        estimate = f"{self.kind} {self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"
        events = f"{self.events:,} events worth {self.effective:,.0f}"
        return "; ".join(part for part in (f"{estimate} from {events}", self.assumption) if part)


def target_probabilities(
    fitted: Scorer,
    logged: Logged,
    policy: Policy,
    *,
    threads: int | None = None,
    block: int | None = None,
) -> Float64:
    """π(a | x) of every logged event, (N,), for ``ips``, ``snips`` and ``replay``.

    Items that ``fitted`` knows of a user are never shown to them. DataError for NaN scores and for users
    or items the model does not have.
    """
    history = fitted.history[logged.domain]
    for what, index_N, size in (
        ("user", logged.user_idx, history.n_users),
        ("item", logged.item_idx, history.n_items),
    ):
        if index_N.min() < 0 or index_N.max() >= size:
            raise DataError(f"A logged {what} lies outside 0..{size - 1} of the model in {logged.domain!r}.")
    chance_N = np.empty(len(logged))
    with all_threads(threads):
        for part in blocks(Targets(logged.user_idx, logged.item_idx), history.n_items, block):
            scores_BI = score_queries(fitted, logged.domain, part.users_B, history.n_items)
            seen = fitted.history.excluded(logged.domain).by_user.take(part.users_B)
            item_T = logged.item_idx[part.targets_T]
            chance_N[part.targets_T] = policy.chance(scores_BI, seen, item_T, part.row_T)
    return chance_N


def ips(
    logged: Logged, chance_N: Float64, *, clip: float | None = None, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Eq. (2). ``clip``: no event weighs more, for less variance and some bias."""
    weight_N = _weights(logged, chance_N, clip)
    return _estimate("ips", logged, weight_N, np.ones(len(logged)), draws, seed)


def snips(
    logged: Logged, chance_N: Float64, *, clip: float | None = None, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Eq. (3): never outside the range of the rewards."""
    weight_N = _weights(logged, chance_N, clip)
    return _estimate("snips", logged, weight_N, weight_N, draws, seed)


def replay(logged: Logged, chance_N: Float64, *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Eq. (4): the mean reward of the events the policy would have shown as well."""
    weight_N = _checked(logged, chance_N)
    return _estimate("replay", logged, weight_N, weight_N, draws, seed)


def estimates(
    fitted: Scorer,
    logged: Logged,
    policy: Policy,
    *,
    clip: float | None = None,
    threads: int | None = None,
) -> tuple[Estimate, ...]:
    """All three estimates of a policy made of a model's scores. Errors: those of ``target_probabilities``
    and of the estimates."""
    chance_N = target_probabilities(fitted, logged, policy, threads=threads)
    return (
        ips(logged, chance_N, clip=clip),
        snips(logged, chance_N, clip=clip),
        replay(logged, chance_N),
    )


def popularity_logger(holdout: Holdout, domain: str, reward: npt.ArrayLike | None = None) -> Logged:
    """The held-out pairs of ``domain`` as if a policy had shown items in proportion to their popularity.

    For data without a log. p(a | x) = (n_a + 1) / Σ (n_b + 1) over the items b that x does not know, n the
    known events. ``reward``: (T,) in the order of the targets, such as 1 for a good rating and 0 for a bad
    one; all 1 by default. What is assumed stands in every estimate.
    """
    history, targets = holdout.history[domain], holdout.targets[domain]
    mass_I, excluded = history.item_counts + 1.0, holdout.history.excluded(domain)
    seen_U = np.bincount(excluded.user_idx, mass_I[excluded.item_idx], minlength=history.n_users)
    own_T = mass_I[targets.item_idx]
    known_T = excluded.contains(targets.user_idx, targets.item_idx)  # some published splits have such pairs
    unseen_T = mass_I.sum() - seen_U[targets.user_idx] + own_T * known_T
    reward_T = np.ones(len(targets)) if reward is None else np.asarray(reward, np.float64)
    text = ASSUMED + (RELATIVE if reward is None else "")
    return Logged(domain, targets.user_idx, targets.item_idx, own_T / unseen_T, reward_T, text)


def _checked(logged: Logged, chance_N: Float64) -> Float64:
    if chance_N.shape != (len(logged),):
        raise DataError(
            f"Expected one target probability per event, but there are {len(logged)} events and "
            f"{len(chance_N)} probabilities."
        )
    if not ((chance_N >= 0) & (chance_N <= 1)).all():
        raise DataError("Target probabilities must lie between 0 and 1.")
    return chance_N


def _weights(logged: Logged, chance_N: Float64, clip: float | None) -> Float64:
    if clip is not None and not clip > 0:
        raise SettingsError(f"clip must be above 0, not {clip}.")
    # finite: propensities are above 0
    weight_N = _checked(logged, chance_N) / logged.propensity
    return weight_N if clip is None else np.minimum(weight_N, clip)  # Eq. (1)


def _estimate(
    kind: str, logged: Logged, weight_N: Float64, count_N: Float64, draws: int, seed: int
) -> Estimate:
    """Σ weight · reward / Σ count, users drawn with all their events."""
    if not weight_N.any():
        raise DataError(
            f"The policy would have shown none of the logged items of {logged.domain!r}: the log says "
            "nothing about it."
        )
    place_N = np.unique(logged.user_idx, return_inverse=True)[1]
    count_U = np.bincount(place_N, count_N)
    counts_U = count_U > 0  # who adds to neither sum would only make some draws empty
    total_U = np.bincount(place_N, weight_N * logged.reward)[counts_U].astype(np.float64)
    count_U = count_U[counts_U]
    low, high = mean_interval(total_U, count_U, draws, generator(seed, "off-policy", kind))
    value, effective = total_U.sum() / count_U.sum(), weight_N.sum() ** 2 / (weight_N**2).sum()
    return Estimate(kind, float(value), low, high, len(logged), float(effective), logged.assumption)
