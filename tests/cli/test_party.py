"""``landbridge party``: real processes and real TLS on the loopback, against CDIMF in one process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import answered
from parties import NAMES, Site, finished, in_one_process

import landbridge as lb
from landbridge.federation.audit import COORDINATOR, view
from landbridge.federation.transcript import Recording
from landbridge.models.als.privacy import Privacy


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Three parties in a folder; what still runs at the end is killed."""
    made = Site(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def wait_for(path: Path, seconds: float = 300) -> None:
    """Until a file is there."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} never came"
        time.sleep(0.005)


def differences(site: Site) -> list[float]:
    """How far the parties' embeddings are from those of one process, by party and side."""
    place, together = in_one_process(site.paths, site.folder / "keys/books", site.settings)
    found = []
    for name in site.names:
        own: Any = lb.load(site.folder / "runs" / name)
        place_U = np.array([place[user] for user in own.history.users.ids.tolist()])
        found.append(np.abs(own.user_UF[name] - together.user_UF[name][place_U]).max())
        found.append(np.abs(own.item_IF[name] - together.item_IF[name]).max())
    return [float(each) for each in found]


def test_three_parties_learn_what_one_process_learns(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    coordinator, lines = site.coordinate("--record", site.folder / "transcript")
    status, _, error = answered(
        capsys, "party", "join", site.paths["books"], "--coordinator", f"127.0.0.1:{site.port}", "--cert",
        site.folder / "keys/books", "--out", site.folder / "runs/books", "--require-masks",
    )  # fmt: skip
    assert status == 2
    assert "the coordinator must be started with --masks" in error
    own = ("--record", site.folder / "own")
    for party in [site.join(name, *(own if name == "food" else ())) for name in NAMES]:
        finished(party)
    finished(coordinator)
    assert max(differences(site)) < 1e-6
    assert_recorded(site.folder / "transcript", site.folder / "own")
    assert any("from movies:" in line and "bytes" in line for line in lines)
    # an ordinary run folder
    run = site.folder / "runs/books"
    user = str(lb.load(run).history.users.ids[0])
    status, out, error = answered(capsys, "recommend", run, "--domain", "books", "--user", user, "--json")
    assert status == 0, error
    assert f'"{user}"' in out
    assert not (site.folder / "runs/books.checkpoint").exists()


def assert_recorded(everything: Path, own: Path) -> None:
    """The coordinator's record is one that an audit reads; that of a party is its part of it."""
    recording = Recording.read(everything)
    assert set(recording.rounds) == set(NAMES)
    assert [each.dual for each in recording.rounds["food"][:2]] == [False, True]  # after the warm-up
    assert recording.rounds["food"][0].rho == 0 < recording.rounds["food"][1].rho
    for path in everything.glob("*food.npz"):
        with np.load(path) as theirs, np.load(own / path.name) as kept:
            assert set(theirs) == set(kept)
            for key in theirs:
                np.testing.assert_array_equal(theirs[key], kept[key])
    assert not list(own.glob("*books.npz"))
    # x follows from it, also over the changes of ρ: at the end it agrees with z
    last_MF = recording.rounds["food"][-1].received_MF
    x_MF = view(recording, "food", COORDINATOR).rows()[-1]
    assert np.linalg.norm(x_MF - last_MF) < 1e-3 * np.linalg.norm(last_MF)


def test_killed_and_started_again_they_learn_the_same(site: Site) -> None:
    site.settings |= {"epochs": 8}
    record = site.folder / "transcript"
    coordinator, _ = site.coordinate("--record", record)
    books, movies, food = (site.join(name) for name in NAMES)
    wait_for(record / "round-00007.books.npz")
    movies.kill()
    movies.wait()
    movies = site.join("movies")
    wait_for(record / "round-00013.books.npz")
    coordinator.kill()
    coordinator.wait()
    assert books.poll() is None
    coordinator, _ = site.coordinate("--record", record)
    for process in (books, movies, food, coordinator):
        finished(process)
    assert max(differences(site)) < 1e-6


def test_with_masks_and_killed_in_mid_round_they_learn_the_same(site: Site) -> None:
    coordinator, lines = site.coordinate("--masks")
    own = site.folder / "own"
    books, movies, food = (site.join(name, "--require-masks", "--record", own) for name in NAMES)
    wait_for(own / "round-00002.books.npz")
    for process in (movies, coordinator):
        process.kill()
        process.wait()
    movies = site.join("movies", "--require-masks", "--record", own)
    coordinator, _ = site.coordinate("--masks")
    for process in (books, movies, food, coordinator):
        finished(process)
    # masks change a sum by less than the resolution of float32
    assert max(differences(site)) < 1e-5
    assert any("despite the masks" in line for line in lines)
    assert not (site.folder / "runs/books.checkpoint").exists()


def test_with_an_intersection_no_party_needs_the_secret(
    site: Site,
) -> None:
    pytest.importorskip("private_set_intersection.python", reason="openmined-psi is not installed")
    users = [set(lb.read({name: str(path)}).users.ids.tolist()) for name, path in site.paths.items()]
    for name in NAMES:
        (site.folder / "keys" / name / "users.secret").unlink()
    coordinator, _ = site.coordinate("--psi")
    books, movies, food = (site.join(name, "--require-psi") for name in NAMES)
    wait_for(site.folder / "session" / "list-00.movies.safetensors")
    for process in (movies, coordinator):
        process.kill()
        process.wait()
    movies = site.join("movies", "--require-psi")
    coordinator, lines = site.coordinate("--psi")
    for process in (books, movies, food, coordinator):
        finished(process)
    several = {each for one, other in combinations(users, 2) for each in one & other}
    assert any(f"3 parties, {len(several)} users of 2 or more" in line for line in lines)
    assert lb.load(site.folder / "runs/food").log[-1]["psi"]


def test_the_manifest_says_what_the_rows_of_a_party_reveal(site: Site) -> None:
    site.settings |= {"privacy.clip": 0.5, "privacy.noise": 4.0, "admm.inner_sweeps": 1}
    coordinator, _ = site.coordinate("--masks")
    parties = [site.join(name, "--max-epsilon", 9) for name in NAMES]
    for process in (*parties, coordinator):
        finished(process)
    privacy = json.loads((site.folder / "runs/food/manifest.json").read_text())["privacy"]
    assert privacy["rounds"] == 3
    assert privacy["epsilon"] == Privacy(0.5, 4.0).guarantee(3).epsilon < 9


def test_without_a_party_that_is_gone_the_others_finish(site: Site) -> None:
    site.settings |= {"epochs": 8}
    record = site.folder / "transcript"
    more = ("--quorum", 2, "--two-party-leak-understood", "--round-seconds", 5, "--record", record)
    coordinator, lines = site.coordinate(*more, "--linger", 1)
    books, movies, food = (site.join(name, "--two-party-leak-understood") for name in NAMES)
    wait_for(record / "round-00007.books.npz")
    food.kill()
    food.wait()
    for process in (books, movies, coordinator):
        finished(process)
    assert any("food is late" in line for line in lines)
    last = max(record.glob("round-*.books.npz")).name.split(".")[0]
    assert not (record / f"{last}.food.npz").exists()
    # back after all, it finishes against the last consensus
    coordinator, _ = site.coordinate(*more)
    food = site.join("food", "--two-party-leak-understood")
    finished(food)
    finished(coordinator)
    model: Any = lb.load(site.folder / "runs/food")
    assert np.isfinite(model.user_UF["food"]).all()


def test_two_parties_are_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = answered(capsys, "party", "keys", tmp_path / "keys", "--parties", "books,movies", "--host", "::1")
    assert made[0] == 0
    assert [line.rpartition("/")[2] for line in made[1].split()] == ["ca", "coordinator", "books", "movies"]
    words = ("party", "coordinate", "--parties", "books,movies", "--cert", tmp_path / "keys/coordinator")
    status, _, error = answered(capsys, *words, "--out", tmp_path / "session")
    assert status == 2
    assert "computes the other's rows" in error
    assert not (tmp_path / "session").exists()
    status, _, error = answered(
        capsys,
        *words,
        "--out",
        tmp_path / "session",
        "--masks",
        "--record",
        "x",
        "--two-party-leak-understood",
    )
    assert status == 2
    assert "the coordinator sees no message" in error


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("coordinate", "--parties", "a,b,c", "--cert", "nowhere", "--out", "x"), "landbridge party keys"),
        (
            ("coordinate", "--parties", "a,b,c", "--cert", "x", "--out", "x", "--set", "factor=1"),
            "did you mean",
        ),
        (
            ("join", "a.csv", "--coordinator", "host:1", "--cert", "nowhere", "--out", "x"),
            "must hold cert.pem, key.pem",
        ),
        (("keys", "x", "--parties", "A b", "--host", "h"), "names no party"),
    ],
)
def test_wrong_input_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, error = answered(capsys, "party", *words)
    assert status == 2
    assert sentence in error
    assert error.startswith("landbridge: ")
    assert "Traceback" not in error
