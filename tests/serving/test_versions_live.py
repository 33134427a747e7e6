"""A server on a versions folder through refits that are good, bad and killed, and a rollback."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import run, start
from planted import FIT, add_bots, good_events, planted, planted_files
from serving_process import Server, serving

from landbridge import store

pytestmark = pytest.mark.slow
BODY = {"domains": ["sparse"], "user": 3, "k": 5}
WAIT = 300  # seconds


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("live")
    run("fit", *planted_files(work), *FIT, "--out", work / "shop", "--versioned")
    return work / "shop"


@pytest.fixture
def shop(fitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted, tmp_path / "shop"))


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Status and standard error of a command."""
    _, err = process.communicate()
    return process.returncode, err


def ready(server: Server, done: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """What /readyz says once ``done`` holds of it."""
    deadline = time.monotonic() + WAIT
    while not done(said := server.get("/readyz").json):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return dict(said)


def post_good_events(server: Server) -> None:
    for user, event in good_events():
        body = {"user": user, "events": [{"domain": event.domain, "item": event.item}]}
        assert server.post("/v1/events", body).json == {"stored": 1}


def test_the_server_follows_what_is_good_and_goes_back(shop: Path, tmp_path: Path) -> None:
    events, first = tmp_path / "events.sqlite", store.run_folder(shop).name
    words = ("refit", shop, "--events", events, "--threads", 1)
    with serving(shop, "--events", events, "--poll", 0.05) as server:
        before = server.post("/v1/recommend", BODY).json
        assert before["version"] == server.get("/v1/model").json["version"] == first
        post_good_events(server)
        status, err = ended(start(*words))
        assert status == 0, err
        second = store.run_folder(shop).name
        said = ready(server, lambda said: said["version"] == second)
        after = server.post("/v1/recommend", BODY).json
        assert (after["version"], after["model"]) == (second, said["model"])
        assert after["model"] != before["model"]
        about = server.get("/v1/model").json
        assert (about["version"], about["gate"]["decision"], about["gate"]["pairs"]) == (
            second,
            "passed",
            320,
        )
        assert about["gate"] == store.versions(shop)[-1]["gate"]
        for answer in (
            server.post("/v1/similar", {"domain": "sparse", "item": 3}),
            server.post("/v1/explain", {"domain": "sparse", "item": 3, "user": 3}),
            server.get("/v1/popular?domain=sparse"),
        ):
            assert answer.json["version"] == second

        store.rollback(shop)
        ready(server, lambda said: said["version"] == first)
        assert server.post("/v1/recommend", BODY).json["model"] == before["model"]

        add_bots(str(events))
        status, err = ended(start(*words))
        assert (status, "The gate refused the refitted model" in err) == (1, True), err
        time.sleep(1)
        said = ready(server, lambda said: said["ready"])
        assert (said["version"], said["swaps"], said["rollbacks"], said["failed"]) == (first, 2, 0, None)
        assert store.run_folder(shop).name == first


def test_a_version_served_by_its_path_is_neither_removed_nor_left(shop: Path, tmp_path: Path) -> None:
    events, first = tmp_path / "events.sqlite", store.run_folder(shop)
    with serving(first, "--events", events, "--poll", 0.05) as server:
        for _ in range(3):
            run("refit", shop, "--events", events, "--epochs", 1, "--keep", 2, "--threads", 1)
        names = [version["version"] for version in store.versions(shop)]
        assert names[0] == first.name
        assert len(names) == 3
        assert server.post("/v1/recommend", BODY).json["version"] == first.name
    run("refit", shop, "--events", events, "--epochs", 1, "--keep", 2, "--threads", 1)
    assert not first.exists()


def test_a_refit_killed_at_any_moment_leaves_a_current_version_that_serves(
    shop: Path, tmp_path: Path
) -> None:
    events, moments = tmp_path / "events.sqlite", random.Random(3)
    words = ("refit", shop, "--events", events, "--threads", 1, "--keep", 2, "--epochs", 1)
    with serving(shop, "--events", events, "--poll", 0.05) as server:
        post_good_events(server)
        started = time.monotonic()
        assert ended(start(*words))[0] == 0
        seconds = time.monotonic() - started
        for turn in range(8):
            process = start(*words)
            if turn % 2:  # while the version is written, published and the old one removed
                while process.poll() is None and not list(shop.glob(".new.*.tmp")):
                    time.sleep(0.001)
                time.sleep(moments.uniform(0, 0.1))
            else:
                time.sleep(moments.uniform(0, seconds))
            process.send_signal(signal.SIGKILL)
            ended(process)
            current = store.load(shop)
            assert current.history.n_events >= planted().split.train.n_events
            said = ready(server, lambda said: said["version"] == store.run_folder(shop).name)
            assert said["failed"] is None
            assert server.post("/v1/recommend", BODY).status == 200
        assert ended(start(*words))[0] == 0
        names = [version["version"] for version in store.versions(shop)]
        assert sorted(path.name for path in shop.iterdir()) == [*sorted(names), "current.json"]
        assert names[-1] == store.run_folder(shop).name


def test_of_two_refits_at_once_one_is_refused_or_both_follow_each_other(shop: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.sqlite"
    with serving(shop, "--events", events) as server:
        post_good_events(server)
    both = [start("refit", shop, "--events", events, "--threads", 1) for _ in range(2)]
    results = [ended(process) for process in both]
    assert 0 in {status for status, _ in results}
    assert all(status == 0 or "Another fit is writing" in err for status, err in results), results
    made = sum(status == 0 for status, _ in results)
    assert len(store.versions(shop)) == 1 + made
