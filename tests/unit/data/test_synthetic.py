"""The planted worlds have the answers they claim, shown with a plain neighbourhood score."""

import numpy as np
import pytest

from landbridge.core.errors import SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.synthetic import World, checkerboard, planted_transfer


def matrix(data: MultiDomain, name: str) -> np.ndarray:
    events = data[name]
    out = np.zeros((events.n_users, events.n_items))
    out[events.user_idx, events.item_idx] = 1
    return out


def neighbour_scores(data: MultiDomain, name: str, seen_by: tuple[str, ...]) -> np.ndarray:
    """Users alike in the ``seen_by`` domains vote for their items of ``name``; known items last."""
    alike = sum(matrix(data, other) @ matrix(data, other).T for other in seen_by)
    assert isinstance(alike, np.ndarray)
    np.fill_diagonal(alike, 0)
    events = matrix(data, name)
    noise = np.random.default_rng(0).random(events.shape) * 1e-6  # ties at random
    return np.where(events > 0, -np.inf, alike @ events + noise)


def test_checkerboard_is_solved_by_neighbours() -> None:
    world = checkerboard()
    for name, targets in world.split.test.targets.items():
        scores = neighbour_scores(world.split.test.history, name, (name,))
        assert np.array_equal(scores.argmax(axis=1)[targets.user_idx], targets.item_idx)
        assert np.array_equal(world.likes[name], matrix(world.data, name) > 0)
    for name, targets in world.split.valid.targets.items():
        scores = neighbour_scores(world.split.valid.history, name, (name,))[targets.user_idx]
        best_two = np.argsort(-scores, axis=1)[:, :2]
        assert (best_two == targets.item_idx[:, None]).any(axis=1).all()


def group_share(world: World, seen_by: tuple[str, ...]) -> float:
    """Share of the ten first recommendations in the sparse domain that the test users like."""
    users = world.split.test.targets["sparse"].user_idx
    scores = neighbour_scores(world.split.test.history, "sparse", seen_by)[users]
    top = np.argsort(-scores, axis=1)[:, :10]
    return float(np.take_along_axis(world.likes["sparse"][users], top, axis=1).mean())


@pytest.mark.parametrize("seed", range(3))
def test_planted_taste_is_seen_only_across_domains(seed: int) -> None:
    world = planted_transfer(seed=seed)
    assert group_share(world, world.data.domain_names) > 0.99
    assert group_share(world, ("sparse",)) < 0.25  # chance is 1/8


def test_planted_sparse_items_are_known_equally_often() -> None:
    world = planted_transfer()
    assert set(world.split.train["sparse"].item_counts.tolist()) == {2}
    assert len(world.split.test.targets["sparse"]) == len(world.split.valid.targets["sparse"]) == 100


def test_planted_targets_are_liked_and_unknown() -> None:
    world = planted_transfer(sparse=2, seed=5)
    for holdout in (world.split.valid, world.split.test):
        for name, targets in holdout.targets.items():
            assert world.likes[name][targets.user_idx, targets.item_idx].all()
            assert not holdout.history[name].contains(targets.user_idx, targets.item_idx).any()
            assert (np.diff(targets.user_idx) > 0).all()


def test_worlds_depend_on_the_seed_alone() -> None:
    prints = [planted_transfer(seed=seed).data.fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_worlds_too_small_are_refused() -> None:
    with pytest.raises(SettingsError):
        checkerboard(items=4)
    with pytest.raises(SettingsError):
        planted_transfer(sparse=20)
