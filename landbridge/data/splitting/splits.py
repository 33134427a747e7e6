"""Train/validation/test splits: leave one out, leave the latest out, a cut in time, cold-start users.

Every split only divides the events: history, validation and test rows are disjoint and together are the
data, but for the events that ``leave_last_out`` leaves out. Vocabularies stay those of the full data. N
events, of one domain or of all, U users, D domains.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError, unknown
from landbridge.core.rng import generator
from landbridge.core.types import Float64, Int32, Int64, Seconds
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.future_cut import times_of, without_the_future
from landbridge.data.splitting.holdout import Holdout, Split, Targets

Mask = npt.NDArray[np.bool_]

ORDERS = ("random", "last")
FUTURES = ("cut", "keep")
LEAST_EVENTS = 3  # of a user, of whose latest two one is held out for the test and one for validation


def leave_one_out(data: MultiDomain, *, order: str = "random", seed: int = 0, min_events: int = 1) -> Split:
    """Per user and domain one test row, and one validation row before it.

    A user with ``min_events`` events in a domain gives a test row there, with one more also a
    validation row. ``order``: ``random``, or ``last`` by time (equal times: at random, seeded).
    """
    if order not in ORDERS:
        raise SettingsError(unknown("order", order, ORDERS))
    _check_min_events(min_events)
    valid, test = {}, {}
    for name, events in data.domains.items():
        time_N = times_of(data, name) if order == "last" else None
        from_end_N = _place_from_end(events, time_N, generator(seed, "split", name))
        count_N = events.user_counts[events.user_idx]
        test[name] = (from_end_N == 0) & (count_N >= min_events)
        valid[name] = (from_end_N == 1) & (count_N >= min_events + 1)
    return _divide(data, valid, test)


def leave_last_out(data: MultiDomain, *, future: str = "cut", seed: int = 0, min_events: int = 1) -> Split:
    """Each user's latest event of each domain is a test row, and the latest one before that a validation row.

    ``future``: with ``cut`` no known event of a user, in any domain, is later than one of their held-out
    events. The cut is at the held-out event that leaves most of them predictable, the latest of such; what
    is later and no target is left out (``Holdout.left_out``), what is earlier stays known. With ``keep``
    nothing is left out (:func:`leave_one_out`), and a model of several domains knows the future.
    """
    if future not in FUTURES:
        raise SettingsError(unknown("future", future, FUTURES))
    if future == "keep":
        return leave_one_out(data, order="last", seed=seed, min_events=min_events)
    _check_min_events(min_events)
    test = without_the_future(data, seed, min_events)
    return _checked(Split(without_the_future(test.history, seed, min_events), test))


def leave_latest_out(data: MultiDomain, *, seed: int = 0, min_events: int = LEAST_EVENTS) -> Split:
    """Per user the latest event over ALL domains is the test row, the one before it the validation row.

    Equal times: at random, seeded. Users with fewer than ``min_events`` events over all domains give no
    rows; a domain may be left without any.
    """
    _check_min_events(min_events)
    tables = data.domains
    time_N = np.concatenate([times_of(data, name) for name in tables])
    chance_N = np.concatenate([generator(seed, "split", name).random(len(e)) for name, e in tables.items()])
    user_N = np.concatenate([events.user_idx for events in tables.values()])
    count_U = data.activity_UD.sum(axis=1)
    from_end_N = _from_end(user_N, np.append(0, np.cumsum(count_U)), time_N, chance_N)
    enough_N = count_U[user_N] >= min_events
    starts = np.cumsum([len(events) for events in tables.values()])[:-1]
    valid, test = (
        dict(zip(tables, np.split(enough_N & (from_end_N == place), starts), strict=True)) for place in (1, 0)
    )
    return _divide(data, valid, test)


def validation_only(data: MultiDomain, *, seed: int = 0) -> Split:
    """Nothing is held out for a test: settings and weights are chosen on each user's latest event (a random
    one where times are missing), and what the chosen method is fitted on are all events."""
    timed = all(events.time is not None for events in data.domains.values())
    held = leave_latest_out(data, seed=seed) if timed else leave_one_out(data, seed=seed)
    return Split(held.test, Holdout(data, {}))


def temporal(data: MultiDomain, *, valid: float = 0.1, test: float = 0.1) -> Split:
    """One cut in time for all domains: the last ``test`` of all events, before them ``valid``.

    Events of equal time are never divided, so shares are met as nearly as the time stamps allow.
    """
    if not (valid > 0 and test > 0 and valid + test < 1):
        raise SettingsError(f"valid and test must be above 0 and together below 1, not {valid} and {test}.")
    times = {name: times_of(data, name) for name in data.domain_names}
    valid_from, test_from = _cuts(np.concatenate(list(times.values())), valid, test)
    return _divide(
        data,
        {name: (time_N >= valid_from) & (time_N < test_from) for name, time_N in times.items()},
        {name: time_N >= test_from for name, time_N in times.items()},
    )


def cold_users(data: MultiDomain, *, keep: int = 0, share: float = 0.1, seed: int = 0) -> Split:
    """Users with events in two domains or more are made cold in one of them.

    Only ``keep`` of a chosen user's events in that domain stay in the history (the earliest, or random ones
    without time stamps); the rest are targets. Per domain ``share`` of the users with more than
    ``keep`` events there are chosen for test and as many others for validation, fewer where users
    run out: no user is chosen twice, and all keep their events in the other domains.
    """
    if keep < 0:
        raise SettingsError(f"keep must be 0 or more, not {keep}.")
    if not 0 < share <= 0.5:
        raise SettingsError(f"share must be above 0 and at most 0.5, not {share}.")
    eligible_UD = data.shared_U[:, None] & (data.activity_UD > keep)
    chosen_domain_U = _random_column(eligible_UD, generator(seed, "split", "cold home"))
    valid, test = {}, {}
    for column, (name, events) in enumerate(data.domains.items()):
        rng = generator(seed, "split", name)
        pool = rng.permutation(np.flatnonzero(chosen_domain_U == column))
        # the share is of all eligible users of the domain; the pool has only those drawn for it, and serves
        # both parts
        n_chosen = min(round(share * int(eligible_UD[:, column].sum())), len(pool) // 2)
        hidden_N = events.user_counts[events.user_idx] - _place_from_end(events, events.time, rng) > keep
        test[name] = hidden_N & np.isin(events.user_idx, pool[:n_chosen])
        valid[name] = hidden_N & np.isin(events.user_idx, pool[n_chosen : 2 * n_chosen])
    return _divide(data, valid, test)


def with_candidates(split: Split, n: int, *, seed: int = 0) -> Split:
    """The split with ``n`` negatives drawn for every target, from the items with events in its domain.

    A negative is never an item of the user in that domain, held out or not; where the catalogue is too small
    for that, items of the user's history are allowed. The draw depends on ``seed`` alone, not on a model's.
    """
    from landbridge.data.splitting.candidates import draw

    return draw(split, n, seed)


def _divide(data: MultiDomain, valid: Mapping[str, Mask], test: Mapping[str, Mask]) -> Split:
    """The split whose validation and test rows are marked."""
    tables = data.domains
    # the test history has the validation events: the final model is fitted on both
    test_history = {name: events.take(~test[name]) for name, events in tables.items()}
    valid_history = {name: events.take(~(test[name] | valid[name])) for name, events in tables.items()}
    return _checked(
        Split(
            Holdout(data.with_events(valid_history), _targets(data, valid)),
            Holdout(data.with_events(test_history), _targets(data, test)),
        )
    )


def _checked(split: Split) -> Split:
    for part, holdout in (("validation", split.valid), ("test", split.test)):
        if not any(map(len, holdout.targets.values())):
            raise DataError(f"This split leaves no {part} rows: give more events or other settings.")
    return split


def _targets(data: MultiDomain, masks: Mapping[str, Mask]) -> dict[str, Targets]:
    return {name: Targets.of(events, masks[name]) for name, events in data.domains.items()}


def _check_min_events(min_events: int) -> None:
    if min_events < 1:
        raise SettingsError(f"min_events must be 1 or more, not {min_events}.")


def _place_from_end(events: Interactions, time_N: Seconds | None, rng: np.random.Generator) -> Int64:
    """How many of the same user's events come after each, by time and then at random, (N,)."""
    return _from_end(events.user_idx, events.by_user.offsets, time_N, rng.random(len(events)))


def _from_end(user_N: Int32, offsets: Int64, time_N: Seconds | None, chance_N: Float64) -> Int64:
    """The same for events in any order, (N,); sorted by user, those of u are ``offsets[u:u + 2]``."""
    # lexsort sorts by the last key first: user, then time, then chance
    keys = (chance_N, user_N) if time_N is None else (chance_N, time_N, user_N)
    place_N = np.empty(len(user_N), np.int64)
    place_N[np.lexsort(keys)] = np.arange(len(user_N))
    return np.asarray(offsets[user_N + 1] - 1 - place_N)


def _cuts(times: Seconds, valid: float, test: float) -> tuple[float, float]:
    ordered = np.sort(times)
    # cuts are time stamps that occur, so that equal times fall on one side
    starts = [min(int(len(ordered) * part), len(ordered) - 1) for part in (1 - valid - test, 1 - test)]
    if not len(ordered) or not ordered[0] < ordered[starts[0]] < ordered[starts[1]]:
        raise DataError("The time stamps are too alike to cut in three: use leave_one_out or other shares.")
    return ordered[starts[0]].item(), ordered[starts[1]].item()


def _random_column(mask_UD: Mask, rng: np.random.Generator) -> Int64:
    """One of each row's true columns at random, -1 for a row without any, (U,)."""
    # the largest of independent draws is a uniform choice
    chance_UD = np.where(mask_UD, rng.random(mask_UD.shape), -1.0)
    return np.where(mask_UD.any(axis=1), chance_UD.argmax(axis=1), -1)
