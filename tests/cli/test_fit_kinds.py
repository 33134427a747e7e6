"""``landbridge fit`` with kinds of events, seen tables, low ratings and targets of one kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import answered, refused

import landbridge as lb
from landbridge import store

COUNTING = ("--model", "popularity", "--seed", 3, "--no-deploy")


def shop(folder: Path) -> Path:
    """``shop.csv``: user, item, time, rating, kind."""
    rng, size = np.random.default_rng(1), 600
    table = {
        "user": rng.integers(0, 40, size),
        "item": rng.integers(0, 25, size),
        "time": rng.permutation(size) * 86_400,
        "rating": rng.integers(1, 6, size),
        "kind": rng.choice(["view", "buy", "wink", "dislike"], size, p=(0.5, 0.3, 0.1, 0.1)),
    }
    pl.DataFrame(table).write_csv(folder / "shop.csv")
    pl.DataFrame({"user": [0, 1, 2, 99], "item": [0, 1, 2, 3]}).write_csv(folder / "returned.csv")
    return folder / "shop.csv"


def test_kinds_seen_tables_and_targets_reach_the_run_and_its_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = shop(tmp_path), tmp_path / "run"
    options = ("--kind", "view=0.1,wink=seen", "--half-life", 90, "--seen", tmp_path / "returned.csv")
    status, _, said = answered(capsys, "fit", source, *options, *COUNTING, "--targets", "buy", "--out", out)
    assert status == 0, said
    history = store.load(out).history
    assert history.kinds.values["view"] == 0.1
    assert history.kinds.half_life_days == 90
    pairs, disliked = len(history.seen["shop"]), int(history.seen["shop"].disliked_N.sum())
    assert f"{pairs:,} pairs of user and item are seen and not learned from, {disliked:,} of them" in said
    assert 0 < disliked < pairs
    targets = store.load_holdout(out, history).targets["shop"]
    users, items = history.users.ids[targets.user_idx], history.items["shop"].ids[targets.item_idx]
    table = pl.read_csv(source)
    bought = set(table.filter(pl.col("kind") == "buy").select("user", "item").rows())
    assert set(zip(users.tolist(), items.tolist(), strict=True)) <= bought
    lists = lb.recommend(store.load(out), "shop", k=25)
    assert not {(0, 0), (1, 1), (2, 2), (99, 3)} & set(lists.select("user", "item").rows())


def test_low_ratings_are_counted_and_never_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = shop(tmp_path), tmp_path / "run"
    plain = tmp_path / "plain.csv"
    pl.read_csv(source).drop("kind").write_csv(plain)
    status, _, said = answered(
        capsys, "fit", plain, "--min-rating", 4, "--model", "popularity", "--split", "none", "--out", out
    )
    assert status == 0, said
    assert "pairs of user and item are seen and not learned from" in said
    last = pl.read_csv(plain).sort("time").unique(("user", "item"), keep="last")
    low = set(last.filter(pl.col("rating") < 4).select("user", "item").rows())
    lists = lb.recommend(store.load(out), "plain", k=25)
    assert not low & set(lists.select("user", "item").rows())
    assert len(low) == len(store.load(out).history.seen["plain"])


def test_an_experiment_file_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shop(tmp_path)
    (tmp_path / "shop.toml").write_text(
        f"""
[data]
source = "{source.as_posix()}"
kinds = {{view = 0.1, wink = "seen", dislike = "against"}}
half_life_days = 90
seen = "{(tmp_path / "returned.csv").as_posix()}"
[split]
targets = "buy"
[model]
name = "popularity"
[fit]
seed = 3
deploy = false
"""
    )
    options = ("--kind", "view=0.1", "--kind", "wink=seen", "--half-life", 90)
    seen = ("--seen", tmp_path / "returned.csv", "--targets", "buy")
    assert answered(capsys, "fit", tmp_path / "shop.toml", "--out", tmp_path / "one")[0] == 0
    assert answered(capsys, "fit", source, *options, *seen, *COUNTING, "--out", tmp_path / "two")[0] == 0
    one, two = (store.load(tmp_path / name).history for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "Unknown kind of event 'wink'"),
        (("--kind", "wink"), "'wink' names no kind. Write kind=value"),
        (("--kind", "wink=never"), "Kind 'wink' has the value 'never'"),
        (("--kind", "wink=0.1", "--targets", "gaze"), "No event is of kind 'gaze', so none can be a target"),
        (("--kind", "wink=0.1", "--seen", "nowhere.csv"), "There is no file nowhere.csv"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], sentence: str
) -> None:
    out = tmp_path / "run"
    refused(answered(capsys, "fit", shop(tmp_path), *options, *COUNTING, "--out", out), sentence)
    assert not out.exists()
