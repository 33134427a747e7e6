"""CDIMF with its domains apart: the bits of one process, whichever comes first, and no one waits for ever."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from placements import sha256

import landbridge as lb
from landbridge.core.errors import DivergenceError, LandbridgeError
from landbridge.core.parallel import Executor, Processes, Serial, Threads
from landbridge.core.progress import Silent
from landbridge.core.types import Float32, Record
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.als.apart import Meeting, MeetingChannel, train_apart
from landbridge.models.als.exchange import LocalChannel, Round

METHOD = lb.CDIMF(factors=6, epochs=2)
ALONE, APART = lb.FitOptions(seed=2, threads=1), lb.FitOptions(seed=2, threads=1, executor=Threads(3, 1))


def three_domains() -> lb.MultiDomain:
    """Three: the sum of two messages is the same in any order."""
    rng = np.random.default_rng(4)
    domains = {}
    for name, items in (("books", 40), ("films", 25), ("games", 30)):
        users, chosen = np.nonzero(rng.random((150, items)) < 0.1)
        domains[name] = Interactions.from_events(users, chosen, 150, items)
    items_of = {name: Vocabulary.of(range(events.n_items)) for name, events in domains.items()}
    return lb.MultiDomain(Vocabulary.of(range(150)), items_of, domains)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"consensus.domains": "active", "consensus.reg": 0.1},
        {"consensus.every": 2, "consensus.shared_fraction": 0.5},
        {"admm.variant": "paper_code"},
        {"privacy.clip": 1.0, "privacy.noise": 0.5},
        {"admm.rho": 0.0},
    ],
)
def test_domains_apart_have_the_bits_of_one_process(settings: Record) -> None:
    data, method = three_domains(), METHOD.with_settings(settings)
    here, apart = method.fit(data, ALONE), method.fit(data, APART)
    assert sha256(apart) == sha256(here)
    assert apart.log == here.log
    assert apart.rule == here.rule


def test_messages_are_added_in_the_order_of_the_domains() -> None:
    user_M, names = np.arange(1), ("a", "b", "c")
    rows = {"a": 1e8, "b": -1e8, "c": 1.0}  # (a + b) + c is 1, and a + (b + c) is 0 in float32
    meeting = Meeting(names, 1, LocalChannel(0.0))
    found: dict[str, Float32] = {}

    def take_part(name: str) -> None:
        found[name] = meeting.consensus(name, Round(0, 1.0), user_M, np.full((1, 1), rows[name], np.float32))

    threads = [threading.Thread(target=take_part, args=(name,)) for name in ("c", "b", "a")]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert {name: float(z_UF[0, 0]) for name, z_UF in found.items()} == dict.fromkeys(
        names, float(np.float32(1 / 3))
    )


@pytest.mark.parametrize("executor", [Serial(1), Threads(2, 1), Processes(3, 1)])
def test_too_few_or_closed_workers_leave_it_in_one_process(executor: Executor) -> None:
    data = three_domains()
    assert sha256(METHOD.fit(data, replace(ALONE, executor=executor))) == sha256(METHOD.fit(data, ALONE))


def test_an_error_in_one_domain_ends_all() -> None:
    data = three_domains()

    def trained(train: lb.MultiDomain, members: Any, channel: MeetingChannel, options: lb.FitOptions) -> Any:
        if channel.name == "games":
            raise DivergenceError("It diverged.")
        return channel.meeting.sums(channel.name, 0.0, 0.0)  # waits for the others

    with pytest.raises(DivergenceError, match="It diverged"):
        train_apart(Threads(3, 1), data, METHOD.members(data, 0), LocalChannel(0.0), 0, trained)


def test_a_domain_that_begins_twice_has_lost_its_worker() -> None:
    meeting = Meeting(("a", "b"), 1, LocalChannel(0.0))
    meeting.enter("a")
    meeting.enter("b")
    with pytest.raises(LandbridgeError, match="worker of domain a was lost"):
        meeting.enter("a")
    with pytest.raises(LandbridgeError, match="worker of domain a was lost"):
        meeting.sums("b", 0.0, 0.0)


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, sentence: str) -> None:
        self.said.append(sentence)


def test_checkpoints_are_left_out_and_this_is_said(tmp_path: Path) -> None:
    data, notes = three_domains(), Notes()
    options = replace(APART, work_dir=tmp_path / "new", progress=notes)
    assert sha256(METHOD.fit(data, options)) == sha256(METHOD.fit(data, ALONE))
    assert notes.said == ["CDIMF's domains were trained apart, without checkpoints."]
    begun = tmp_path / "begun"
    METHOD.fit(data, replace(ALONE, work_dir=begun))
    again = replace(APART, work_dir=begun, progress=Notes())
    assert sha256(METHOD.fit(data, again)) == sha256(METHOD.fit(data, ALONE))
    assert again.progress.said == []  # type: ignore[attr-defined]  # resumed in this process
