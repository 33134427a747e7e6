"""CDIMF with its domains apart: the bits of one process, whichever comes first, and no one waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from placements import sha256

import landbridge as lb
from landbridge.core.errors import DivergenceError, StoreError
from landbridge.core.files import read_arrays
from landbridge.core.parallel import Executor, Processes, Serial, Threads
from landbridge.core.types import Float32, Record
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.als.apart import NOWHERE, Meeting, MeetingChannel, train_apart
from landbridge.models.als.exchange import LocalChannel, Round
from landbridge.training.epochs import FILE, FolderCheckpoints

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
    meeting = Meeting(names, 1, LocalChannel(0.0), NOWHERE)
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

    def trained(
        train: lb.MultiDomain, members: Any, channel: MeetingChannel, options: lb.FitOptions, kept: Any
    ) -> Any:
        if channel.name == "games":
            raise DivergenceError("It diverged.")
        return channel.meeting.sums(channel.name, 0.0, 0.0)  # waits for the others

    with pytest.raises(DivergenceError, match="It diverged"):
        train_apart(Threads(3, 1), data, METHOD.members(data, 0), LocalChannel(0.0), 0, trained, NOWHERE)


class StoppedError(Exception):
    """The fit is stopped on purpose."""


@contextmanager
def stopped_after(epochs: int) -> Iterator[None]:
    """Fits break off when so many epochs are kept."""
    keep, kept = FolderCheckpoints.keep, []

    def until(self: FolderCheckpoints, *state: Any) -> None:
        keep(self, *state)
        kept.append(state)
        if len(kept) == epochs:
            raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderCheckpoints, "keep", until)
        yield


@pytest.mark.parametrize("settings", [{}, {"admm.variant": "paper_code"}, {"privacy.clip": 1.0}])
@pytest.mark.parametrize(("begun", "resumed"), [(APART, APART), (APART, ALONE), (ALONE, APART)])
def test_a_fit_goes_on_where_it_was_kept(
    begun: lb.FitOptions, resumed: lb.FitOptions, settings: Record, tmp_path: Path
) -> None:
    data, method = three_domains(), METHOD.with_settings({"epochs": 4, **settings})
    whole = method.fit(data, ALONE)
    with stopped_after(2), pytest.raises(StoppedError):
        method.fit(data, replace(begun, work_dir=tmp_path))
    _, about = read_arrays(tmp_path / FILE)
    assert [record["epoch"] for record in about["log"]] == [0, 1]
    with stopped_after(2), pytest.raises(StoppedError):  # and no epoch is done again
        method.fit(data, replace(resumed, work_dir=tmp_path))
    assert len(read_arrays(tmp_path / FILE)[1]["log"]) == 4
    again = method.fit(data, replace(resumed, work_dir=tmp_path))
    assert sha256(again) == sha256(whole)
    assert again.log == whole.log


def test_checkpoints_are_those_of_one_process(tmp_path: Path) -> None:
    data = three_domains()
    for name, options in (("here", ALONE), ("apart", APART)):
        METHOD.fit(data, replace(options, work_dir=tmp_path / name))
    assert (tmp_path / "apart" / FILE).read_bytes() == (tmp_path / "here" / FILE).read_bytes()


def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path) -> None:
    data = three_domains()
    METHOD.fit(data, replace(APART, work_dir=tmp_path))
    with pytest.raises(StoreError, match="belongs to another fit"):
        METHOD.with_settings({"reg": 0.7}).fit(data, replace(APART, work_dir=tmp_path))


def test_a_killed_process_goes_on(tmp_path: Path) -> None:
    """Killed by the system while the third epoch is kept."""
    code = (
        "import os, signal, sys; from dataclasses import replace; from pathlib import Path;"
        "from test_apart import APART, METHOD, FolderCheckpoints, three_domains;"
        "keep = FolderCheckpoints.keep;"
        "FolderCheckpoints.keep = lambda self, state, log, best:"
        " os.kill(os.getpid(), signal.SIGKILL) if len(log) == 3 else keep(self, state, log, best);"
        "METHOD.with_settings({'epochs': 4}).fit(three_domains(), replace(APART, work_dir=Path(sys.argv[1])))"
    )
    places = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, "-c", code, str(tmp_path)]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": places}, check=False)
    assert killed.returncode == -signal.SIGKILL
    data, method = three_domains(), METHOD.with_settings({"epochs": 4})
    assert len(read_arrays(tmp_path / FILE)[1]["log"]) == 2
    assert sha256(method.fit(data, replace(APART, work_dir=tmp_path))) == sha256(method.fit(data, ALONE))


def test_a_full_disk_ends_all_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("Cannot write: the disk is full.")

    monkeypatch.setattr(FolderCheckpoints, "keep", full)
    with pytest.raises(StoreError, match="disk is full"):
        METHOD.fit(three_domains(), replace(APART, work_dir=tmp_path))
