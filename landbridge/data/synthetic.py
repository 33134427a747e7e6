"""Small synthetic data sets with known answers, which every method must get right.

``checkerboard``: for any method that learns. ``planted_transfer``: for any method that transfers preferences
from one domain to another. ``planted_walks``: for methods that use the order of events, with a sparse domain
that may be noise. Users U, items I, steps S.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError
from landbridge.core.rng import generator
from landbridge.core.types import Int64
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout, Split, Targets
from landbridge.data.vocabulary import Vocabulary

Pairs = tuple[Int64, Int64]  # users, items


@dataclass(frozen=True, eq=False)
class World:
    """Data, their split, and the right answer: ``likes[domain]``, bool (U, I), every item a user likes."""

    data: MultiDomain
    split: Split
    likes: Mapping[str, npt.NDArray[np.bool_]]


def checkerboard(domains: int = 2, users: int = 40, items: int = 20, seed: int = 0) -> World:
    """Even users like all even items, odd users all odd ones, in every domain alike.

    One liked item per user and domain is the test row and another the validation row. Right: the test
    item comes first among the unseen ones (HR@1 = 1), the validation item first or second.
    """
    if domains < 1 or users < 4 or items < 8:
        raise SettingsError("A checkerboard needs 1 domain, 4 users and 8 items or more.")
    likes_UI = np.arange(users)[:, None] % 2 == np.arange(items) % 2
    history, valid, test = {}, {}, {}
    for name in [f"board_{number}" for number in range(domains)]:
        # items that are not liked sort behind all liked ones, whose chance is below 1
        chance_UI = np.where(likes_UI, generator(seed, "checkerboard", name).random((users, items)), 2.0)
        best_U2 = np.argsort(chance_UI, axis=1)[:, :2]
        rows, columns = np.nonzero(likes_UI & (chance_UI > np.sort(chance_UI, axis=1)[:, 1:2]))
        history[name] = (rows, columns)
        valid[name] = (np.arange(users), best_U2[:, 0])
        test[name] = (np.arange(users), best_U2[:, 1])
    return _world(users, items, history, valid, test, dict.fromkeys(history, likes_UI))


def planted_transfer(
    users: int = 400, items: int = 200, groups: int = 8, domains: int = 3, sparse: int = 1, seed: int = 0
) -> World:
    """A user's taste group is evident in the ``dense_*`` domains and nearly invisible in ``sparse``.

    User ``u`` belongs to group ``u % groups`` and likes the items of that group in every domain.
    Their history holds half of them in a dense domain and ``sparse`` of them in the sparse one. All items of
    the sparse domain are nearly equally popular, so that only the other domains distinguish the groups. A
    quarter of the users have a validation row and another quarter a test row in each domain. Right: in
    ``sparse`` the unseen items of the own group come first; a method fitted on that domain alone ranks about
    one in ``groups`` of them first.
    """
    size = items // groups
    if domains < 2 or groups < 2 or not 1 <= sparse <= size // 4 or users < 8 * groups or size < 8:
        raise SettingsError(
            "A planted world needs 2 domains and 2 groups, 8 users and 8 items per group, "
            "and at most a quarter of a group's items in the sparse history."
        )
    history, valid, test, likes = {}, {}, {}, {}
    names = [*(f"dense_{number}" for number in range(domains - 1)), "sparse"]
    for name in names:
        n_known = sparse if name == "sparse" else size // 2
        ranked_US = _planted_order(users, items, groups, generator(seed, "planted", name))
        history[name] = (np.repeat(np.arange(users), n_known), ranked_US[:, :n_known].ravel())
        valid[name], test[name] = (_column(ranked_US, n_known, part) for part in (0, 1))
        likes[name] = np.zeros((users, items), bool)
        np.put_along_axis(likes[name], ranked_US, True, axis=1)
    return _world(users, items, history, valid, test, likes)


def planted_walks(
    users: int = 240, fans: int = 24, items: int = 15, steps: int = 9, noise: float = 0.0, seed: int = 0
) -> MultiDomain:
    """``users`` walk along a circle of items in ``dense``, ``fans`` others in ``sparse``, a step a day.

    A step in the sparse domain leads to a random item with probability ``noise``. Right: the next item on the
    circle comes first. With ``noise`` 1 there is nothing to learn in the sparse domain.
    """
    if not 1 <= fans <= users or not 3 <= steps < items or not 0 <= noise <= 1:
        raise SettingsError(
            "Planted walks need 1 fan or more and no more than users, 3 steps or more and fewer than items, "
            "and noise from 0 to 1."
        )
    rng, tables, first = generator(seed, "planted walks"), {}, 0
    for name, walkers in {"dense": users, "sparse": fans}.items():
        item_US = (np.arange(walkers)[:, None] + np.arange(steps)) % items
        if name == "sparse":
            random_US = rng.permuted(np.tile(np.arange(items), (walkers, 1)), axis=1)[:, :steps]
            item_US = np.where(rng.random(item_US.shape) < noise, random_US, item_US)
        user_US, step_US = np.indices(item_US.shape)
        columns = user_US.ravel() + first, item_US.ravel()
        time_N = 86_400 * step_US.ravel()
        tables[name] = Interactions.from_events(*columns, users + fans, items, time=time_N)
        first += walkers
    ids = {name: Vocabulary.of(np.arange(items)) for name in tables}
    return MultiDomain(Vocabulary.of(np.arange(users + fans)), ids, tables)


def _planted_order(users: int, items: int, groups: int, rng: np.random.Generator) -> Int64:
    """The items each user likes, (U, S).

    Group members start at different positions of one circle, so that every item of the group is in equally
    many histories.
    """
    size = items // groups
    item_GS = rng.permutation(items)[: groups * size].reshape(groups, size)
    group_U, place_U = np.arange(users) % groups, np.arange(users) // groups
    circle_US = (place_U[:, None] + _strides(users, size, rng)) % size
    return np.asarray(item_GS[group_U[:, None], circle_US])


def _strides(users: int, size: int, rng: np.random.Generator) -> Int64:
    """Each row 0 first and the other steps in random order, (U, S)."""
    rest = np.tile(np.arange(1, size), (users, 1))
    return np.concatenate([np.zeros((users, 1), np.int64), rng.permuted(rest, axis=1)], axis=1)


def _column(ranked_US: Int64, n_known: int, part: int) -> Pairs:
    """The next liked item of every fourth user in a group, users ``part`` of four in turn."""
    users = np.arange(len(ranked_US))
    chosen = users[(users * 4 // len(users)) == part]
    return chosen, ranked_US[chosen, n_known]


def _world(
    users: int,
    items: int,
    history: Mapping[str, Pairs],
    valid: Mapping[str, Pairs],
    test: Mapping[str, Pairs],
    likes: Mapping[str, npt.NDArray[np.bool_]],
) -> World:
    with_valid = {name: _joined(history[name], valid[name]) for name in history}
    full = {name: _joined(with_valid[name], test[name]) for name in history}
    data = _data(users, items, full)
    split = Split(
        Holdout(_data(users, items, history), {name: _targets(pairs) for name, pairs in valid.items()}),
        Holdout(_data(users, items, with_valid), {name: _targets(pairs) for name, pairs in test.items()}),
    )
    return World(data, split, likes)


def _data(users: int, items: int, pairs: Mapping[str, Pairs]) -> MultiDomain:
    return MultiDomain(
        Vocabulary.of(np.arange(users)),
        {name: Vocabulary.of(np.arange(items)) for name in pairs},
        {name: Interactions.from_events(*pair, users, items) for name, pair in pairs.items()},
    )


def _targets(pairs: Pairs) -> Targets:
    return Targets(pairs[0].astype(np.int32), pairs[1].astype(np.int32))


def _joined(one: Pairs, two: Pairs) -> Pairs:
    return np.concatenate([one[0], two[0]]), np.concatenate([one[1], two[1]])
