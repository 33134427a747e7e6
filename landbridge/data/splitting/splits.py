"""Train/validation/test splits: leave one out, leave the latest out, a cut in time, cold-start users.

Every split only divides the events: history, validation and test rows are disjoint and together are the
data, but for the events that ``leave_last_out``, or targets of one kind, leave out. A seen pair is never a
target, and none is known that was seen after a held-out event. Vocabularies stay those of the full data. N
events, of one domain or of all, U users, D domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError, unknown
from landbridge.core.rng import generator
from landbridge.core.selection import kth_smallest
from landbridge.core.types import AnyArray, Float64, Int32, Int64, Seconds, blocks
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.future_cut import Wanted, check_times, wanted_of, without_the_future
from landbridge.data.splitting.holdout import Holdout, LeftOut, Split, Targets
from landbridge.data.splitting.seen_cut import seen_before_targets, seen_until, seen_without
from landbridge.data.user_blocks import UserBlock, labelled

Mask = npt.NDArray[np.bool_]
Place: TypeAlias = Callable[[UserBlock], Mapping[str, Int64]]  # the part of each event, domain -> (N,)
Cut: TypeAlias = Callable[[MultiDomain, Mapping[str, Targets]], MultiDomain]

HISTORY, VALID, TEST = range(3)  # the parts of a split, the earlier known to the later
ORDERS = ("random", "last")
FUTURES = ("cut", "keep")
LEAST_EVENTS = 3  # of a user, of whose latest two one is held out for the test and one for validation


def leave_one_out(
    data: MultiDomain,
    *,
    order: str = "random",
    seed: int = 0,
    min_events: int = 1,
    targets: str | None = None,
) -> Split:
    """Per user and domain one test row, and one validation row before it.

    A user with ``min_events`` events in a domain gives a test row there, with one more also a validation row.
    ``order``: ``random``, or ``last`` by time (equal times: at random, seeded). ``targets``: a kind of
    events, the only ones that are held out.
    """
    if order not in ORDERS:
        raise SettingsError(unknown("order", order, ORDERS))
    _check_min_events(min_events)
    wanted = wanted_of(data, targets)
    if order == "last":
        check_times(data)
    rngs = {name: generator(seed, "split", name) for name in data.domain_names}

    def place(block: UserBlock) -> dict[str, Int64]:
        return {name: part(events, rngs[name]) for name, events in block.tables.items()}

    def part(events: Interactions, rng: np.random.Generator) -> Int64:
        time_N = events.time if order == "last" else None
        from_end_N = _place_from_end(events, time_N, rng, wanted(events))
        count_N = events.user_counts[events.user_idx]
        is_test_N = (from_end_N == 0) & (count_N >= min_events)
        is_valid_N = (from_end_N == 1) & (count_N >= min_events + 1)
        return np.where(is_test_N, TEST, np.where(is_valid_N, VALID, HISTORY))

    cut = _uncut if order == "random" else partial(seen_before_targets, together=False)
    return _divide(data, place, wanted, (cut, cut))


def leave_last_out(
    data: MultiDomain,
    *,
    future: str = "cut",
    seed: int = 0,
    min_events: int = 1,
    targets: str | None = None,
) -> Split:
    """Each user's latest event of each domain is a test row, and the latest one before that a validation row.

    ``future``: with ``cut`` no known event of a user, in any domain, is later than one of their held-out
    events. The cut is at the held-out event that leaves most of them predictable, the latest of such; what
    is later and no target is left out (``Holdout.left_out``), what is earlier stays known. With ``keep``
    nothing is left out (:func:`leave_one_out`), and a model of several domains knows the future.
    ``targets``: a kind of events, the only ones that are held out.
    """
    if future not in FUTURES:
        raise SettingsError(unknown("future", future, FUTURES))
    if future == "keep":
        return leave_one_out(data, order="last", seed=seed, min_events=min_events, targets=targets)
    _check_min_events(min_events)
    test = without_the_future(data, seed, min_events, targets)
    return _checked(Split(without_the_future(test.history, seed, min_events, targets), test))


def leave_latest_out(
    data: MultiDomain, *, seed: int = 0, min_events: int = LEAST_EVENTS, targets: str | None = None
) -> Split:
    """Per user the latest event over ALL domains is the test row, the one before it the validation row.

    Equal times: at random, seeded. Users with fewer than ``min_events`` events over all domains give no
    rows; a domain may be left without any. ``targets``: a kind of events, the only ones that are held out;
    what is later than a held-out event is then left out, and what is earlier counts towards ``min_events``.
    """
    _check_min_events(min_events)
    check_times(data)
    wanted = wanted_of(data, targets)
    rngs = {name: generator(seed, "split", name) for name in data.domain_names}

    def place(block: UserBlock) -> dict[str, Int64]:
        tables = block.tables
        time_N = np.concatenate([events.time for events in tables.values() if events.time is not None])
        chance_N = np.concatenate([rngs[name].random(len(events)) for name, events in tables.items()])
        user_N = np.concatenate([events.user_idx for events in tables.values()])
        wanted_N = np.concatenate([wanted(events) for events in tables.values()])
        count_U = np.sum([events.user_counts for events in tables.values()], axis=0)
        from_end_N = _from_end(user_N, np.append(0, np.cumsum(count_U)), time_N, chance_N)
        before_N = count_U[user_N] - 1 - from_end_N
        # the latest wanted event is the test row, the latest wanted one before it the validation row
        may_N = wanted_N & (before_N >= min_events - 1)
        test_U = _nearest(user_N, from_end_N, may_N, block.n_users)
        earlier_N = (from_end_N > test_U[user_N]) & (test_U[user_N] >= 0)
        may_N = wanted_N & earlier_N & (before_N >= min_events - 2)
        valid_U = _nearest(user_N, from_end_N, may_N, block.n_users)
        place_N = np.where(from_end_N <= valid_U[user_N], VALID, HISTORY)
        place_N = np.where(from_end_N <= test_U[user_N], TEST, place_N)
        starts = np.cumsum([len(events) for events in tables.values()])[:-1]
        return dict(zip(tables, np.split(place_N, starts), strict=True))

    cut = partial(seen_before_targets, together=True)
    return _divide(data, place, wanted, (cut, cut))


def validation_only(data: MultiDomain, *, seed: int = 0) -> Split:
    """Nothing is held out for a test: settings and weights are chosen on each user's latest event (a random
    one where times are missing), and what the chosen method is fitted on are all events."""
    timed = all(events.time is not None for events in data.domains.values())
    held = leave_latest_out(data, seed=seed) if timed else leave_one_out(data, seed=seed)
    return Split(held.test, Holdout(data, {}))


def temporal(
    data: MultiDomain, *, valid: float = 0.1, test: float = 0.1, targets: str | None = None
) -> Split:
    """One cut in time for all domains: the last ``test`` of all events, before them ``valid``.

    Events of equal time are never divided, so shares are met as nearly as the time stamps allow. ``targets``:
    a kind of events, the only ones that are held out; what is as late as they are is left out.
    """
    if not (valid > 0 and test > 0 and valid + test < 1):
        raise SettingsError(f"valid and test must be above 0 and together below 1, not {valid} and {test}.")
    check_times(data)
    valid_from, test_from = _cuts([events.time for events in data.domains.values()], valid, test)

    def place(block: UserBlock) -> dict[str, Int64]:
        return {
            name: np.searchsorted((valid_from, test_from), events.time, side="right")
            for name, events in block.tables.items()
            if events.time is not None
        }

    return _divide(data, place, wanted_of(data, targets), (_before(valid_from), _before(test_from)))


def cold_users(
    data: MultiDomain, *, keep: int = 0, share: float = 0.1, seed: int = 0, targets: str | None = None
) -> Split:
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
    rngs = {name: generator(seed, "split", name) for name in data.domain_names}
    part_U = {}
    for column, name in enumerate(data.domain_names):
        pool = rngs[name].permutation(np.flatnonzero(chosen_domain_U == column))
        # the share is of all eligible users of the domain; the pool has only those drawn for it, and serves
        # both parts
        n_chosen = min(round(share * int(eligible_UD[:, column].sum())), len(pool) // 2)
        part_U[name] = np.full(data.n_users, HISTORY)
        part_U[name][pool[:n_chosen]] = TEST
        part_U[name][pool[n_chosen : 2 * n_chosen]] = VALID

    def place(block: UserBlock) -> dict[str, Int64]:
        return {
            name: part(events, part_U[name][block.users], rngs[name]) for name, events in block.tables.items()
        }

    def part(events: Interactions, part_U: Int64, rng: np.random.Generator) -> Int64:
        from_end_N = _place_from_end(events, events.time, rng, np.ones(len(events), bool))
        hidden_N = events.user_counts[events.user_idx] - from_end_N > keep
        return np.where(hidden_N, part_U[events.user_idx], HISTORY)

    return _divide(data, place, wanted_of(data, targets), (seen_without, seen_without))


def with_candidates(split: Split, n: int, *, seed: int = 0) -> Split:
    """The split with ``n`` negatives drawn for every target, from the items with events in its domain.

    A negative is never an item of the user in that domain, held out or not; where the catalogue is too small
    for that, items of the user's history are allowed. The draw depends on ``seed`` alone, not on a model's.
    """
    from landbridge.data.splitting.candidates import draw

    return draw(split, n, seed)


def _divide(data: MultiDomain, place: Place, wanted: Wanted, cuts: tuple[Cut, Cut]) -> Split:
    """The split into the parts that ``place`` says; validation and test rows that are not ``wanted`` are left
    out.

    ``cuts`` take from the histories of validation and test the seen pairs that their targets must not know.
    """

    def label(block: UserBlock) -> dict[str, Int64]:
        return {
            name: 2 * part_N + ((part_N > HISTORY) & ~wanted(block.tables[name]))
            for name, part_N in place(block).items()
        }

    labels = labelled(data.domains, label)
    # the test history has the validation events: the final model is fitted on both
    test = _hold_out(data, data, labels, TEST, cuts[1])
    return _checked(Split(_hold_out(data, test.history, labels, VALID, cuts[0]), test))


def _hold_out(
    data: MultiDomain, known: MultiDomain, labels: Mapping[str, AnyArray], part: int, cut: Cut
) -> Holdout:
    """The events of the data in a part as targets, and those of the parts before it; seen pairs of
    ``known``."""

    def taken(*wanted: int) -> dict[str, Interactions]:
        return {
            name: events.where(partial(_among, labels[name], wanted)) for name, events in data.domains.items()
        }

    targets = {name: Targets.of(events) for name, events in taken(2 * part).items()}
    history = known.with_events(taken(*range(2 * part)))
    others = sum(
        int((label_N[block] == 2 * part + 1).sum())
        for label_N in labels.values()
        for block in blocks(len(label_N))
    )
    return Holdout(cut(history, targets), targets, left_out=LeftOut(others, 0) if others else None)


def _among(label_N: AnyArray, wanted: tuple[int, ...], block: slice) -> Mask:
    return np.isin(label_N[block], wanted)


def _uncut(data: MultiDomain, targets: Mapping[str, Targets]) -> MultiDomain:
    """All seen pairs stay: what is held out has no place in time."""
    return data


def _before(moment: float) -> Cut:
    """Of all users the seen pairs before one moment."""
    last = float(np.nextafter(moment, -np.inf))

    def cut(data: MultiDomain, targets: Mapping[str, Targets]) -> MultiDomain:
        return seen_until(data, dict.fromkeys(data.domain_names, np.full(data.n_users, last)))

    return cut


def _checked(split: Split) -> Split:
    for part, holdout in (("validation", split.valid), ("test", split.test)):
        if not any(map(len, holdout.targets.values())):
            raise DataError(f"This split leaves no {part} rows: give more events or other settings.")
    return split


def _check_min_events(min_events: int) -> None:
    if min_events < 1:
        raise SettingsError(f"min_events must be 1 or more, not {min_events}.")


def _place_from_end(
    events: Interactions, time_N: Seconds | None, rng: np.random.Generator, wanted_N: Mask
) -> Int64:
    """How many of the same user's wanted events come after each, by time and then at random, (N,); -1 for
    events that are not wanted."""
    chance_N = rng.random(len(events))
    some = events.take(wanted_N)
    place_N = np.full(len(events), -1)
    own_N = None if time_N is None else time_N[wanted_N]
    place_N[wanted_N] = _from_end(some.user_idx, some.by_user.offsets, own_N, chance_N[wanted_N])
    return place_N


def _nearest(user_N: Int32, place_N: Int64, may_N: Mask, n_users: int) -> Int64:
    """The least of the places of each user's events that may be it, (U,), -1 where none may."""
    none = np.iinfo(np.int64).max
    least_U = np.full(n_users, none)
    np.minimum.at(least_U, user_N[may_N], place_N[may_N])
    return np.where(least_U == none, -1, least_U)


def _from_end(user_N: Int32, offsets: Int64, time_N: Seconds | None, chance_N: Float64) -> Int64:
    """The same for events in any order, (N,); sorted by user, those of u are ``offsets[u:u + 2]``."""
    # lexsort sorts by the last key first: user, then time, then chance
    keys = (chance_N, user_N) if time_N is None else (chance_N, time_N, user_N)
    place_N = np.empty(len(user_N), np.int64)
    place_N[np.lexsort(keys)] = np.arange(len(user_N))
    return np.asarray(offsets[user_N + 1] - 1 - place_N)


def _cuts(times: Sequence[Seconds | None], valid: float, test: float) -> tuple[float, float]:
    columns = [time_N for time_N in times if time_N is not None]
    size = sum(map(len, columns))
    # cuts are time stamps that occur, so that equal times fall on one side
    starts = [min(int(size * part), size - 1) for part in (1 - valid - test, 1 - test)]
    first, valid_from, test_from = (kth_smallest(columns, k) for k in (0, *starts)) if size else (0.0,) * 3
    if not first < valid_from < test_from:
        raise DataError("The time stamps are too alike to cut in three: use leave_one_out or other shares.")
    return valid_from, test_from


def _random_column(mask_UD: Mask, rng: np.random.Generator) -> Int64:
    """One of each row's true columns at random, -1 for a row without any, (U,)."""
    # the largest of independent draws is a uniform choice
    chance_UD = np.where(mask_UD, rng.random(mask_UD.shape), -1.0)
    return np.where(mask_UD.any(axis=1), chance_UD.argmax(axis=1), -1)
