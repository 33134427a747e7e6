"""``landbridge plan``: from files, from cached files and from totals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from commands import answered, event_files, refused

from landbridge.planning import calibration, machine

TOTALS = ("--users", 6040, "--items", 3706, "--events", 1_000_209)
JSON = ("--threads", 1, "--json")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path / "cache"))


def rows(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    status, out, err = answered(capsys, "plan", *words, *JSON)
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def test_methods_factors_and_nodes_are_crossed(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, *TOTALS, "--domains", 3, "--factors", "32,64", "--nodes", "1,2")
    assert [(row["method"], row["factors"], row["nodes"]) for row in found if row["factors"]] == [
        (name, factors, nodes) for name in ("cdimf", "ials") for factors in (32, 64) for nodes in (1, 2)
    ]
    assert all(row["epoch_seconds"] > 0 for row in found if row["epochs"])


def test_files_are_planned_as_they_are_estimated_and_mapped_events_take_no_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [*event_files(tmp_path), "--users", "shared", "--model", "ials"]
    counted = rows(capsys, *paths, "--nodes", 1)
    (found,), (mapped,) = counted, rows(capsys, *paths, "--nodes", 1, "--memory", "1GB")
    memory = {"node_bytes", "first_node_bytes"}  # what is mapped is not in memory
    assert all(mapped[name] < found[name] for name in memory)
    assert all(mapped[name] == value for name, value in found.items() if name not in memory)
    estimated = json.loads(answered(capsys, "estimate", *paths, "--json")[1])
    assert found["fit_seconds"] == pytest.approx(estimated["fit_seconds"])
    assert found["node_bytes"] == estimated["memory_bytes"]


def test_the_table_says_what_it_rests_on(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = answered(capsys, "plan", *TOTALS, "--node-memory", "1MB", "--nodes", "1,2")
    assert status == 0
    assert "first" in out
    assert "Lengths of rows are assumed" in err
    assert "--calibrate measures them here" in err
    assert "10 Gbit/s" in err


def test_constants_go_to_a_file_and_come_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = machine.Machine(machine.DEFAULT.unit * 2, machine.DEFAULT.process, True)
    monkeypatch.setattr(calibration, "measured", lambda: twice)
    file = tmp_path / "far" / "node.json"
    words = (*TOTALS, "--model", "ials", "--nodes", 1)
    before = rows(capsys, *words)[0]["fit_seconds"]
    assert answered(capsys, "plan", "--calibrate", "--machine", file)[:2] == (0, "")
    assert rows(capsys, *words)[0]["fit_seconds"] == before
    assert rows(capsys, *words, "--machine", file)[0]["fit_seconds"] == pytest.approx(2 * before)
    estimated = answered(capsys, "estimate", *TOTALS, "--model", "ials", "--json", "--machine", file)[1]
    assert json.loads(estimated)["fit_seconds"] == pytest.approx(2 * before)


def test_what_cannot_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(answered(capsys, "plan", *TOTALS, "--nodes", "1,x"), "--nodes takes whole numbers")
    refused(answered(capsys, "plan", *TOTALS, "--nodes", "0"), "nodes must be 1 or more")
    refused(answered(capsys, "plan", *TOTALS, "--network", "0"), "network must be above 0")
    refused(answered(capsys, "plan", *TOTALS, "--node-memory", "much"), "no amount of memory")
    refused(answered(capsys, "plan", "--users", 3), "Give event files, or --users")
    refused(answered(capsys, "plan", *TOTALS, "--machine", tmp_path / "none.json"), "There is no file")
