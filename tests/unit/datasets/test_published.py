"""Published splits: which ids are one user, what validates, what is dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from landbridge.core.errors import DataError
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.datasets import published
from landbridge.datasets.published import read_candidates, read_published


def folder(root: Path, parts: dict[str, list[tuple[int, int]]]) -> Path:
    for name, rows in parts.items():
        path = root / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{user}\t{item}\t1\n" for user, item in rows))
    return root


def held(holdout: Holdout, domain: str) -> list[tuple[object, object]]:
    targets, history = holdout.targets[domain], holdout.history
    users = history.users.ids[targets.user_idx].tolist()
    return list(zip(users, history.items[domain].ids[targets.item_idx].tolist(), strict=True))


@pytest.fixture
def warm(tmp_path: Path) -> Path:
    train = [(0, 10), (0, 11), (0, 12), (1, 10)]
    rows = {"a_b/train": train, "b_a/train": train, "a_b/test": [(1, 12), (0, 99)], "b_a/test": [(0, 10)]}
    return folder(tmp_path, rows)


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    """0 is shared, 2 is tested in a and trains in b, 3 the other way, 7 is two users."""
    return folder(
        tmp_path,
        {
            "a_b/train": [(0, 1), (0, 2), (3, 1), (7, 2)],
            "b_a/train": [(0, 1), (2, 1), (2, 5), (7, 5)],
            "a_b/test": [(2, 2)],
            "b_a/test": [(3, 5)],
            "a_b/valid": [(2, 1)],
            "b_a/valid": [(3, 1)],
        },
    )


def test_warm_users_are_shared_and_unknown_items_dropped(warm: Path) -> None:
    split = read_published(warm)
    assert split.test.history.users.ids.tolist() == [0, 1]
    assert held(split.test, "a") == [(1, 12)]
    assert published.missing_targets(warm) == {"a": 1, "b": 0}


def test_validation_is_carved_from_train_with_a_seed(warm: Path) -> None:
    split = read_published(warm, seed=3)
    assert [user for user, _ in held(split.valid, "a")] == [0]  # 1 has but one event
    assert len(split.train["a"]) == 3
    assert len(split.test.history["a"]) == 4
    targets = split.valid.targets["a"]
    assert not split.train["a"].contains(targets.user_idx, targets.item_idx).any()
    drawn = {held(read_published(warm, seed=seed).valid, "a")[0][1] for seed in range(30)}
    assert drawn == {10, 11, 12}


def test_cold_pair_asks_who_is_shared(cold: Path) -> None:
    with pytest.raises(DataError, match=r"shared_users=N.*as_published=True"):
        read_published(cold)


def test_cold_users_keep_their_history_in_other_domains(cold: Path) -> None:
    split = read_published(cold, shared_users=1)
    history = split.test.history
    assert history.users.ids.tolist() == ["0", "2", "3", "a:7", "b:7"]
    assert held(split.test, "a") == [("2", 2)]
    assert history.activity_UD.tolist() == [[2, 1], [0, 2], [1, 0], [1, 0], [0, 1]]
    assert split.valid.history is history  # cold users stay cold: validation rows are in no known


def test_as_published_joins_strangers(cold: Path) -> None:
    history = read_published(cold, as_published=True).test.history
    assert history.users.ids.tolist() == [0, 2, 3, 7]
    assert history.shared_U.tolist() == [True, False, False, True]


@pytest.mark.parametrize("content", [b"", b"1\n", b"a\tb\n", b"1\t\n", b"\xff\xfe\t1\n"])
def test_broken_files_are_named(warm: Path, content: bytes) -> None:
    (warm / "a_b" / "train.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"train\.txt"):
        read_published(warm)


def test_missing_folders_are_named(tmp_path: Path) -> None:
    for root, message in ((tmp_path / "none", "no folder"), (tmp_path, "holds no pair")):
        with pytest.raises(DataError, match=message):
            read_published(root)
    with pytest.raises(DataError, match=r"interactions\.parquet"):
        read_candidates(tmp_path)


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    events = {"user": [0, 0, 0, 1, 1], "item": [1, 2, 3, 4, 5], "domain": ["a"] * 5}
    pl.DataFrame(events | {"split": ["train", "train", "train", "train", "train"]}).vstack(
        pl.DataFrame({"user": [1], "item": [2], "domain": ["a"], "split": ["test"]})
    ).write_parquet(tmp_path / "interactions.parquet")
    pl.DataFrame({"domain": ["a"], "user": [1], "pos_item": [2], "neg_items": [[3, 2, 1]]}).write_parquet(
        tmp_path / "candidates.parquet"
    )
    return tmp_path


def test_a_positive_among_its_negatives_is_never_ranked(candidates: Path) -> None:
    split = read_candidates(candidates)
    assert split.test.protocol == "1+3"
    table = split.test.targets["a"].candidates_TC
    assert table is not None
    assert table.tolist() == [[2, -1, 0]]
    assert published.positives_among_negatives(candidates) == {"a": 1}


def test_a_share_is_carved_per_user(candidates: Path) -> None:
    history = read_candidates(candidates).test.history
    valid = published.carve(history, 0, share=0.34)
    assert np.bincount(valid.targets["a"].user_idx).tolist() == [1, 1]


def sizes(split: Split) -> dict[str, tuple[int, int, int]]:
    valid, test = split.valid.targets, split.test.targets
    return {name: (len(split.test.history[name]), len(valid[name]), len(test[name])) for name in test}


def test_the_real_warm_pair(real_data: Path) -> None:
    split = read_published(real_data / "amazon-sport-cloth-warm")
    assert sizes(split) == {"sport": (92_612, 9_928, 8_326), "cloth": (87_829, 9_928, 7_540)}
    assert split.train.n_users == 9_928


def test_the_real_cold_pair(real_data: Path) -> None:
    root = real_data / "amazon-game-video-cold"
    split = read_published(root, shared_users=1736)
    history = split.test.history
    assert sizes(split) == {"game": (155_036, 1_381, 1_304), "video": (156_091, 1_435, 1_458)}
    assert history.n_users == 24_799 + 19_240 - 1_736
    assert int(history.shared_U.sum()) == 1_736
    for name, targets in split.test.targets.items():
        activity_TD = history.activity_UD[targets.user_idx]
        here = history.domain_names.index(name)
        assert not activity_TD[:, here].any()
        assert activity_TD[:, 1 - here].all()
    assert int(read_published(root, as_published=True).test.history.shared_U.sum()) == 19_014


def test_the_real_candidates(real_data: Path) -> None:
    root = real_data / "amazon-sport-phone-99"
    split = read_candidates(root)
    assert sizes(split) == {"sport": (50_558, 4_998, 3_695), "phone": (42_446, 4_998, 4_002)}
    assert split.test.protocol == "1+99"
    found = {name: int((t.candidates_TC == -1).sum()) for name, t in split.test.targets.items()}
    assert found == published.positives_among_negatives(root) == {"sport": 13, "phone": 37}
