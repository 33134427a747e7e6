"""Cross-listed items against sets in plain Python, and against the published measurement."""

from pathlib import Path

import numpy as np
import pytest

from landbridge.core.errors import SettingsError
from landbridge.data import cross_listed as crosslisted
from landbridge.data.cross_listed import cross_listed, has_duplicate
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary


def random_world(seed: int, users: int = 30, items: int = 25) -> MultiDomain:
    """Three domains of random events, where the first ten items of b and c repeat those of a, nearly."""
    rng = np.random.default_rng(seed)
    a = rng.random((users, items)) < rng.uniform(0.05, 0.5, items)
    domains = {"a": a}
    for name in "bc":
        domains[name] = rng.random((users, items)) < 0.2
        domains[name][:, :10] = a[:, :10] ^ (rng.random((users, 10)) < 0.04)
    return MultiDomain(
        Vocabulary.of(np.arange(users)),
        {name: Vocabulary.of(np.arange(items)) for name in domains},
        {name: Interactions.from_events(*np.nonzero(x), users, items) for name, x in domains.items()},
    )


def users_of(data: MultiDomain, domain: str, item: int) -> set[int]:
    events = data[domain]
    return set(events.user_idx[events.item_idx == item].tolist())


@pytest.mark.parametrize(("seed", "jaccard", "block"), [(0, 0.8, 2**23), (1, 0.5, 40), (2, 1.0, 200)])
def test_pairs_are_those_of_plain_sets(
    seed: int, jaccard: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crosslisted, "BLOCK", block)
    data = random_world(seed)
    found = cross_listed(data, jaccard=jaccard)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    for (first, second), pairs in found.items():
        naive = []
        for i in range(data[first].n_items):
            for j in range(data[second].n_items):
                one, two = users_of(data, first, i), users_of(data, second, j)
                if len(one & two) >= 3 and len(one & two) / len(one | two) >= jaccard:
                    naive.append((i, j, len(one & two), len(one & two) / len(one | two)))
        rows = zip(pairs.first_item, pairs.second_item, pairs.common, strict=True)
        assert list(rows) == [row[:3] for row in naive]
        np.testing.assert_allclose(pairs.jaccard, [row[3] for row in naive], rtol=1e-6)
    assert sum(map(len, found.values())) > 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("jaccard", "min_users"), [(0.8, 3), (0.5, 2), (1.0, 4)])
def test_has_duplicate_is_that_of_plain_sets(seed: int, jaccard: float, min_users: int) -> None:
    data = random_world(seed)
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 30, 300), rng.integers(0, 15, 300)
    naive = []
    for user, item in zip(users.tolist(), items.tolist(), strict=True):
        own = users_of(data, "a", item) | {user}
        others = [users_of(data, name, j) for name in "bc" for j in range(data[name].n_items)]
        naive.append(
            any(
                user in o and len(o & own) >= min_users and len(o & own) / len(o | own) >= jaccard
                for o in others
            )
        )
    found = has_duplicate(data, "a", users, items, jaccard=jaccard, min_users=min_users)
    assert found.tolist() == naive
    assert 0 < sum(naive) < 300


def test_no_rows_and_one_domain_have_no_duplicate() -> None:
    data = random_world(0)
    assert has_duplicate(data, "a", [], []).shape == (0,)
    assert not has_duplicate(data.select(["a"]), "a", [0, 1], [0, 1]).any()
    assert cross_listed(data.select(["a"])) == {}


def test_impossible_thresholds_are_refused() -> None:
    with pytest.raises(SettingsError, match="jaccard"):
        cross_listed(random_world(0), jaccard=0)
    with pytest.raises(SettingsError, match="min_users 2 or more"):
        has_duplicate(random_world(0), "a", [0], [0], min_users=1)


def test_warm_sport_cloth_has_the_measured_share_of_duplicates(real_data: Path) -> None:
    folder = real_data / "amazon-sport-cloth-warm"
    rows = {
        (domain, part): np.loadtxt(folder / pair / f"{part}.txt", dtype=np.int64)
        for domain, pair in (("sport", "sport_cloth"), ("cloth", "cloth_sport"))
        for part in ("train", "test")
    }
    users = Vocabulary.of(np.concatenate([table[:, 0] for table in rows.values()]))
    items = {
        name: Vocabulary.of(np.concatenate([rows[name, part][:, 1] for part in ("train", "test")]))
        for name in ("sport", "cloth")
    }
    train = {
        name: Interactions.from_events(
            users.index(rows[name, "train"][:, 0]),
            vocabulary.index(rows[name, "train"][:, 1]),
            len(users),
            len(vocabulary),
        )
        for name, vocabulary in items.items()
    }
    history = MultiDomain(users, items, train)
    for name, share in (("sport", 0.091), ("cloth", 0.081)):
        user_T, item_T = users.index(rows[name, "test"][:, 0]), items[name].index(rows[name, "test"][:, 1])
        assert has_duplicate(history, name, user_T, item_T).mean() == pytest.approx(share, abs=0.0006)
        strangers = np.random.default_rng(0).integers(0, len(items[name]), len(user_T))
        assert has_duplicate(history, name, user_T, strangers).mean() < 0.001
