"""``landbridge serve``: what it says when something is wrong, how it ends, and what survives a kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import answered
from prometheus_client.parser import text_string_to_metric_families
from served_runs import save_run
from serving_process import Server, serving

from landbridge.core.errors import SettingsError
from landbridge.serving.events.store import EventStore
from landbridge.serving.runtime.settings import ServeSettings, key_from, serve_settings

BODY = {"domains": ["books"], "user": 3, "k": 3}
KEY = "a very secret key"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("serve") / "run")


def test_it_serves_answers_and_ends_on_a_signal(run: Path, tmp_path: Path) -> None:
    with serving(run, "--events", tmp_path / "events.sqlite") as server:
        reply = server.post("/v1/recommend", BODY)
        assert (reply.status, len(reply.json["items"])) == (200, 3)
        assert server.get("/").status == server.get("/readyz").status == 200
        assert "server" not in reply.headers
        assert (
            server.post("/v1/events", {"user": 3, "events": [{"domain": "books", "item": 1}]}).status == 200
        )
        with server.connection() as connection:
            reply = server.ask("POST", "/v1/recommend", b"x" * 300_000, connection)
            assert (reply.status, reply.headers["connection"]) == (413, "close")
    assert server.process.returncode in (0, -signal.SIGTERM)
    events = [line["event"] for line in server.lines]
    assert events.count("request") == 5
    assert all({"time", "level", "event"} <= set(line) for line in server.lines)


@pytest.mark.parametrize("key", [" secret", "secret\n", "se\ncret", "se\x00cret", "\u2003secret", "\x7f"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(SettingsError, match="which no header can carry; choose another one"):
        key_from({"SHOP_KEY": key}, "SHOP_KEY")
    for good in ("a secret key", "schlüssel", "ключ"):
        assert key_from({"SHOP_KEY": good}, "SHOP_KEY") == good


def test_the_key_comes_from_the_environment(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)
    with serving(run, "--api-key-env", "SHOP_KEY") as server:
        assert server.post("/v1/recommend", BODY).status == 401
        assert server.post("/v1/recommend", BODY, x_api_key=KEY).status == 200
    assert KEY not in str(server.lines)


def test_several_workers_add_up_their_values(run: Path) -> None:
    with serving(run, "--workers", 2) as server:
        wait_until_ready(server)
        for _ in range(20):
            assert server.post("/v1/recommend", BODY).status == 200
        text = server.get("/metrics").body.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    (answers,) = [sample.value for sample in samples if sample.name == "landbridge_answers_total"]
    assert answers == 20


def wait_until_ready(server: Server) -> None:
    for _ in range(1200):
        try:
            if server.get("/healthz").status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(server.lines)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--port", "99999"], "--port: "),
        (["--workers", "0"], "--workers: "),
        (["--poll", "0"], "--poll: "),
        (["--api-key-env", "NO_SUCH_VARIABLE_HERE"], "NO_SUCH_VARIABLE_HERE is empty"),
        (["--events", "mysql://somewhere/db"], "kind of event store"),
        (["--items", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(
    run: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    status, out, err = answered(capsys, "serve", run, *words)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("--workers", 2)):
        status, _, err = answered(capsys, "serve", tmp_path, *words)
        assert status == 2
        assert "is not a run folder" in err


def test_it_listens_to_this_machine_alone_by_default() -> None:
    assert ServeSettings().host == "127.0.0.1"
    assert ServeSettings().cors == ()
    with pytest.raises(SettingsError, match="did you mean 'port'"):
        serve_settings({"prt": 1})
    shown = repr(ServeSettings(api_key=KEY, events="postgresql://u:pass@h/d"))
    assert KEY not in shown
    assert "pass" not in shown


def test_a_client_that_leaves_between_its_requests_is_no_failure(run: Path) -> None:
    """Of requests that are sent ahead of their answers, any may find that the client has gone."""
    body = json.dumps(BODY).encode()
    head = "POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    ask = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with serving(run) as server:
        for _ in range(40):
            with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as own:
                own.sendall(ask * 10)
                assert own.recv(100).startswith(b"HTTP/1.1 200")
        assert server.get("/healthz").status == 200
    assert [line for line in server.lines if line["level"] == "error"] == []


@pytest.mark.slow
def test_no_acknowledged_event_is_lost_in_fifty_kills(run: Path, tmp_path: Path) -> None:
    """Killed at random moments while four clients write; whatever was acknowledged is there afterwards."""
    rng = np.random.default_rng(0)
    path = tmp_path / "events.sqlite"
    acknowledged: list[tuple[str, int]] = []
    for round_ in range(50):
        with serving(run, "--events", path) as server:
            writers = [
                threading.Thread(target=write, args=(server, f"u{number}", round_, acknowledged))
                for number in range(4)
            ]
            for writer in writers:
                writer.start()
            time.sleep(rng.uniform(0.02, 0.4))
            os.kill(server.process.pid, signal.SIGKILL)
            for writer in writers:
                writer.join()
    store = EventStore.open(str(path))
    kept = {(f"u{number}", event.item) for number in range(4) for event in store.of(f"u{number}")}
    store.close()
    assert len(acknowledged) > 500
    assert set(acknowledged) <= kept
    assert max(Counter(acknowledged).values()) == 1


def write(server: Server, user: str, round_: int, acknowledged: list[tuple[str, Any]]) -> None:
    """Events with numbers of their own until the server is gone."""
    number = round_ * 1_000_000
    with server.connection() as connection:
        while True:
            number += 1
            body = b'{"user":"%s","events":[{"domain":"books","item":%d}]}' % (user.encode(), number)
            try:
                reply = server.ask("POST", "/v1/events", body, connection)
            except (OSError, HTTPException):  # cut off before or within an answer
                return
            assert (reply.status, reply.json) == (200, {"stored": 1})
            acknowledged.append((user, number))
