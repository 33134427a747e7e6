"""Two runs at once: who is served by which, that everything says so, and what came of both."""

from __future__ import annotations

import json
import shutil
import time
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from asgi import Client, asking
from commands import answered, refused
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from served_runs import save_run
from worlds import uneven

from landbridge.core.errors import DataError, StoreError
from landbridge.evaluation.ab_testing import compare_runs, split_p
from landbridge.models.popularity import Popularity
from landbridge.serving.events.store import EventStore
from landbridge.serving.http.app import create_app
from landbridge.serving.runtime.ab_testing import Assignment
from landbridge.serving.runtime.settings import ServeSettings
from landbridge.store import save

USERS = range(60)
SHARE = 0.3


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9])
def test_the_share_is_kept(share: float) -> None:
    users = 20_000
    served = sum(Assignment(share, "spring").run_of(f"user {n}") == "b" for n in range(users))
    assert abs(served - share * users) < 4.5 * (users * share * (1 - share)) ** 0.5


def test_the_assignment_is_the_documented_hash() -> None:
    """Written down, so that no version of the program and no machine assigns otherwise."""
    for user in ("alice", 17, "Ä", ""):
        digest = blake2b(str(user).encode(), key=sha256(b"spring").digest(), digest_size=8).hexdigest()
        place = int(digest, 16) / 2**64
        assert Assignment(place * 1.0001, "spring").run_of(user) == "b"
        assert Assignment(place * 0.9999, "spring").run_of(user) == "a"
    assert [Assignment(0.5, "ab").run_of(n) for n in range(12)] == [*GOLDEN]
    assert Assignment(0.5, "ab").run_of(5) == Assignment(0.5, "ab").run_of("5")


GOLDEN = "babbbbbbabba"


@given(st.text(max_size=20) | st.integers(), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_larger_share_keeps_its_users(user: str | int, one: float, other: float) -> None:
    small, large = sorted((one, other))
    if Assignment(small, "x").run_of(user) == "b":
        assert Assignment(large, "x").run_of(user) == "b"


def test_another_name_divides_anew() -> None:
    """Of the users of run b in one test, the share is in run b of another."""
    own = [n for n in range(20_000) if Assignment(0.5, "one").run_of(n) == "b"]
    again = sum(Assignment(0.2, "other").run_of(n) == "b" for n in own)
    assert abs(again / len(own) - 0.2) < 4.5 * (0.16 / len(own)) ** 0.5


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return save_run(folder / "one"), save_run(folder / "two", seed=1)


def settings(runs: tuple[Path, Path], **others: Any) -> ServeSettings:
    return ServeSettings(against=runs[1], share=SHARE, test="spring", **{"poll": 3600, **others})


def run_of(user: int | None) -> str:
    return "a" if user is None else Assignment(SHARE, "spring").run_of(user)


def lists(client: Client) -> dict[int, Any]:
    return {user: client.post("/v1/recommend", {"domains": ["books"], "user": user}).json for user in USERS}


def test_every_answer_about_a_user_is_of_their_run(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with asking(create_app(runs[0], settings(runs, impressions=tmp_path))) as client:
        alone = lists(client)
        assert {user: each["run"] for user, each in alone.items()} == {user: run_of(user) for user in USERS}
        models = {name: client.get(f"/v1/model?run={name}").json["model"] for name in "ab"}
        assert models["a"] != models["b"]
        assert all(each["model"] == models[each["run"]] for each in alone.values())
        users = [None, *USERS][:40]
        requests = [{"domains": ["books"], **({} if user is None else {"user": user})} for user in users]
        batch = client.post("/v1/recommend/batch", {"requests": requests}).json["answers"]
        assert [each["run"] for each in batch] == [run_of(user) for user in users]
        assert [each["items"] for each in batch[1:]] == [
            alone[user]["items"] for user in users[1:] if user is not None
        ]
        for user in USERS[:10]:
            page = client.post("/v1/page", {"user": user, "lists": [{"domains": ["books"]}]}).json
            why = client.post("/v1/explain", {"domain": "books", "item": 1, "user": user}).json
            assert page["lists"][0]["run"] == why["run"] == run_of(user)
        assert client.get("/v1/popular").json["run"] == "a"
        assert client.get("/v1/model?run=c").status == 422
        client.app.state.impressions.close()
    rows = [json.loads(line) for file in tmp_path.glob("*.jsonl") for line in file.read_text().splitlines()]
    logged = {row["recommendation_id"]: row["run"] for row in rows}
    assert {(row["test"], row["share"]) for row in rows} == {("spring", SHARE)}
    assert {
        each["recommendation_id"]: each["run"] for each in (*alone.values(), *batch)
    }.items() <= logged.items()
    # another server, or the same after a restart
    with asking(create_app(runs[0], settings(runs))) as replica:
        assert {user: each["run"] for user, each in lists(replica).items()} == {
            user: run_of(user) for user in USERS
        }


def test_a_wrong_entry_of_a_batch_is_in_its_place(runs: tuple[Path, Path]) -> None:
    requests = [{"domains": ["bookz" if user == 7 else "books"], "user": user} for user in USERS[:20]]
    with asking(create_app(runs[0], settings(runs))) as client:
        answers = client.post("/v1/recommend/batch", {"requests": requests, "partial": True}).json["answers"]
        assert [place for place, each in enumerate(answers) if "error" in each] == [7]
        assert client.post("/v1/recommend/batch", {"requests": requests}).status == 422
        empty = {"requests": [{"domains": [""]}], "partial": True}
        assert "error" in client.post("/v1/recommend/batch", empty).json["answers"][0]


def test_a_new_model_of_one_run_is_swapped_there_alone(runs: tuple[Path, Path], tmp_path: Path) -> None:
    own = Path(shutil.copytree(runs[1], tmp_path / "two"))
    with asking(create_app(runs[0], settings((runs[0], own), poll=0.05))) as client:
        before = client.get("/readyz").json
        assert (before["run"], before["against"]["run"]) == ("a", "b")
        save_run(own, seed=2)
        deadline = time.monotonic() + 60
        while client.get("/readyz").json["against"]["swaps"] == 0 and time.monotonic() < deadline:
            client.run(_pause())
        after = client.get("/readyz").json
        assert (after["swaps"], after["against"]["swaps"]) == (0, 1)
        assert after["model"] == before["model"]
        assert after["against"]["model"] != before["against"]["model"]
        client.post("/v1/recommend", {"domains": ["books"]})
        text = client.get("/metrics").body.decode()
        assert 'landbridge_swaps_total{run="a"} 0.0' in text
        assert 'landbridge_swaps_total{run="b"} 1.0' in text
        assert 'landbridge_model_age_seconds{run="b"}' in text
        assert 'run="a",source="fallback"' in text
        (own / "manifest.json").write_text("no run")
        while not client.get("/readyz").json["problems"] and time.monotonic() < deadline:
            client.run(_pause())
        ready = client.get("/readyz").json
        assert ready["problems"] == ["Run b: The run folder holds a newer state that cannot be served."]
        assert (ready["failed"], ready["against"]["rollbacks"]) == (None, 1)


async def _pause() -> None:
    import asyncio

    await asyncio.sleep(0.05)


def test_runs_of_other_domains_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    save(Popularity().fit(uneven({"books": (40, 55)}, users=60)), tmp_path / "books")
    with pytest.raises(StoreError, match="need the same domains"):
        create_app(runs[0], settings((runs[0], tmp_path / "books")))


def test_a_share_needs_another_run(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    refused(answered(capsys, "serve", runs[0], "--share", 0.2), "give --against")


def test_what_came_of_the_runs_is_compared(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every list of run b leads to a purchase, and one in four of run a."""
    store, log = tmp_path / "events.sqlite", tmp_path / "log"
    kept = EventStore.open(str(store))
    with asking(create_app(runs[0], settings(runs, impressions=log), kept)) as client:
        for user, each in lists(client).items():
            if each["run"] == "b" or user % 4 == 0:
                led, item = each["recommendation_id"], each["items"][0]["item"]
                event = {"domain": "books", "item": item, "kind": "buy", "recommendation_id": led}
                assert client.post("/v1/events", {"user": user, "events": [event]}).status == 200
        client.app.state.impressions.close()
    words = "ab", runs[0], log, "--events", store, "--json"
    status, said, err = answered(capsys, *words)
    (of_lists, of_users) = map(json.loads, said.splitlines())
    own = [user for user in USERS if run_of(user) == "a"]
    expected = sum(user % 4 == 0 for user in own) / len(own)
    assert status == 0
    assert (of_lists["rate"], of_lists["users_a"], of_lists["users_b"]) == (
        "lists",
        len(own),
        len(USERS) - len(own),
    )
    assert (of_lists["a"], of_lists["b"]) == (pytest.approx(expected), 1)
    assert of_users["difference"] == pytest.approx(1 - expected)
    assert 0 < of_lists["low"] < 1 - expected < of_lists["high"]
    _, said, _ = answered(capsys, *words, "--outcome", "like")
    assert {json.loads(line)["difference"] for line in said.splitlines()} == {0.0}
    assert f"Test spring: run b has {60 - len(own)} of {len(own)} + {60 - len(own)} users" in err
    assert "sample-ratio" not in err
    # lists of most users of run a do not arrive
    (file,) = log.iterdir()
    kept = [
        line for line in file.read_text().splitlines() if int(json.loads(line)["user"]) < 30 or '"b"' in line
    ]
    file.write_text("\n".join(kept).replace('"share":0.3', '"share":0.05') + "\n")
    status, _, err = answered(capsys, *words)
    assert status == 1
    assert "stated is a share of 0.05" in err
    assert "sample-ratio mismatch" in err


def world(folder: Path, rate_b: float, seed: int, domains: tuple[str, ...] = ("x", "y")) -> pl.DataFrame:
    """A log of 240 users, of whom a third is of run b, and its outcomes: users differ much in what they buy,
    and the lists of one do not."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, str]] = []
    outcomes: list[dict[str, str]] = []
    for user in range(240):
        run = "b" if user % 3 == 0 else "a"
        own_rate = rng.beta(0.5, 0.5 / {"a": 0.2, "b": rate_b}[run] - 0.5)
        for number in range(rng.integers(1, 9)):
            led = f"{user}-{number}"
            bought = rng.random() < own_rate
            for place in range(2):
                row = {"user": str(user), "domain": domains[number % len(domains)], "item": str(place)}
                row |= {"recommendation_id": led}
                rows.append({**row, "run": run})
                if bought and place == 0:
                    outcomes += [row, row]  # of two outcomes of a list one counts
    folder.mkdir(exist_ok=True)
    pl.DataFrame(rows).write_ndjson(folder / "impressions-1.jsonl")
    return pl.DataFrame(outcomes)


@pytest.mark.parametrize("rate_b", [0.2, 0.35])
def test_the_interval_covers_the_planted_difference(rate_b: float, tmp_path: Path) -> None:
    covered = seen = 0
    for seed in range(40):
        outcomes = world(tmp_path / "log", rate_b, seed, domains=("x",))
        frame = compare_runs(tmp_path / "log", outcomes, draws=200, seed=seed).rates
        row = frame.row(by_predicate=pl.col("rate") == "lists", named=True)
        covered += row["low"] <= rate_b - 0.2 <= row["high"]
        seen += row["p"] < 0.05
    assert covered >= 33  # 38 expected, 3.6 standard deviations
    assert seen >= 24 if rate_b > 0.2 else seen <= 7


def test_rates_are_those_of_a_slow_count(tmp_path: Path) -> None:
    outcomes = world(tmp_path / "log", 0.3, seed=1)
    log = pl.read_ndjson(tmp_path / "log" / "impressions-1.jsonl").rows(named=True)
    led = {row["recommendation_id"] for row in outcomes.rows(named=True)}
    frame, splits, left_out = compare_runs(tmp_path / "log", outcomes, draws=50)
    assert left_out == 0
    assert splits.is_empty()  # a log of an earlier version
    assert frame.select("domain", "rate").rows() == [
        (domain, rate) for domain in ("all", "x", "y") for rate in ("lists", "users")
    ]
    for row in frame.rows(named=True):
        for run in "ab":
            own = [each for each in log if each["run"] == run and row["domain"] in ("all", each["domain"])]
            name = "recommendation_id" if row["rate"] == "lists" else "user"
            of_whom = {each[name] for each in own}
            good = {each[name] for each in own if each["recommendation_id"] in led}
            assert row[run] == pytest.approx(len(good) / len(of_whom))
        assert row["difference"] == pytest.approx(row["b"] - row["a"])


def test_users_of_both_runs_are_left_out(tmp_path: Path) -> None:
    outcomes = world(tmp_path, 0.3, seed=1)
    expected = compare_runs(tmp_path, outcomes, draws=50).rates.filter(domain="all")
    row = {"user": "stranger", "domain": "x", "item": "0"}
    both = [{**row, "recommendation_id": f"s-{run}", "run": run} for run in "ab"]
    with open(tmp_path / "impressions-2.jsonl", "w") as file:
        file.writelines(json.dumps(each) + "\n" for each in both)
    found = compare_runs(tmp_path, outcomes, draws=50)
    assert found.left_out == 1
    assert found.rates.filter(domain="all").drop("p_holm").equals(expected.drop("p_holm"))


@given(st.integers(0, 5000), st.integers(1, 5000), st.floats(0.01, 0.99))
def test_the_split_is_checked_by_pearsons_statistic(users_a: int, users_b: int, share: float) -> None:
    users = users_a + users_b
    expected = chisquare([users_a, users_b], [users * (1 - share), users * share]).pvalue
    assert split_p(users_a, users_b, share) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_the_share_of_the_log_is_that_of_its_users(tmp_path: Path) -> None:
    """A third of the users is of run b. The share was another before; each is checked for itself."""
    outcomes = world(tmp_path, 0.3, seed=1)
    log = pl.read_ndjson(tmp_path / "impressions-1.jsonl")
    early = log.filter(pl.col("user").cast(pl.Int32) < 120)
    early.with_columns(test=pl.lit("spring"), share=0.8).write_ndjson(tmp_path / "impressions-0.jsonl")
    log.with_columns(test=pl.lit("spring"), share=1 / 3).write_ndjson(tmp_path / "impressions-1.jsonl")
    splits = compare_runs(tmp_path, outcomes, draws=50).splits
    assert splits.drop("p").rows() == [
        ("spring", 1 / 3, 160, 80, False),
        ("spring", 0.8, 80, 40, True),
    ]
    assert splits["p"].to_list() == pytest.approx([1, chisquare([80, 40], [24, 96]).pvalue])


def test_a_log_of_one_run_is_refused(tmp_path: Path) -> None:
    outcomes = world(tmp_path, 0.3, seed=1)
    file = tmp_path / "impressions-1.jsonl"
    log = pl.read_ndjson(file)
    for table, sentence in (
        (log.filter(run="a"), "0 of run b"),
        (log.drop("run"), "written without --against"),
    ):
        table.write_ndjson(file)
        with pytest.raises(DataError, match=sentence):
            compare_runs(tmp_path, outcomes)
    with pytest.raises(DataError, match="no folder that a server wrote"):
        compare_runs(tmp_path / "none", outcomes)
