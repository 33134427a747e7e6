"""A planted world as event files and a store, for refits that must be served, and for one that must not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl

from landbridge.data.synthetic import World, planted_transfer
from landbridge.serving.engine.messages import Event
from landbridge.serving.events.store import EventStore

USERS, ITEMS = 320, 160
SETTINGS = ("sharing=joined", "factors=8", "epochs=15", "alpha0=0.1", "reg=0.1")
FIT = ("--users", "shared", "--model", "ials", *(word for setting in SETTINGS for word in ("--set", setting)))
FIT += ("--split", "none", "--threads", "1")


def planted() -> World:
    """Tastes in a dense domain and in a sparse one."""
    return planted_transfer(users=USERS, items=ITEMS, domains=2, seed=1)


def planted_files(folder: Path) -> list[Path]:
    """What the users did before, a file per domain."""
    paths = []
    for name, events in planted().split.train.domains.items():
        paths.append(folder / f"{name}.csv")
        pl.DataFrame({"user": events.user_idx, "item": events.item_idx}).write_csv(paths[-1])
    return paths


def good_events() -> list[tuple[int, Event]]:
    """What half of the users did since, after their tastes: one event in each domain."""
    parts = planted().split
    return [
        (user, Event(name, item))
        for holdout in (parts.valid, parts.test)
        for name, pairs in holdout.targets.items()
        for user, item in zip(pairs.user_idx.tolist(), pairs.item_idx.tolist(), strict=True)
    ]


def add_good_events(store: str) -> None:
    """Store them."""
    with closing(EventStore.open(store)) as opened:
        for user, event in good_events():
            opened.append(user, [event])


def add_bots(store: str, bots: int = 1000, events: int = 24) -> None:
    """New accounts with thousands of random events in both domains, enough to hide the tastes."""
    rng, names = np.random.default_rng(0), planted().data.domain_names
    with closing(EventStore.open(store)) as opened:
        for bot in range(USERS, USERS + bots):
            items = rng.permuted(np.tile(np.arange(ITEMS), (len(names), 1)), axis=1)[:, :events].tolist()
            opened.append(
                bot, [Event(name, item) for name, own in zip(names, items, strict=True) for item in own]
            )
