"""``landbridge estimate``, and the line that ``fit`` says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import platformdirs
import pytest
from commands import answered, event_files, refused

from landbridge import pipeline
from landbridge.data.counts import Counts
from landbridge.data.io.readers import read
from landbridge.models import registry
from landbridge.planning import calibration, estimate, machine

TOTALS = ("--users", 6040, "--items", 3706, "--events", 1_000_209)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path / "cache"))


def test_files_are_estimated_as_the_data_that_they_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = event_files(tmp_path)
    words = ("--users", "shared", "--model", "ials", "--set", "factors=16", "--json")
    status, out, err = answered(capsys, "estimate", *paths, *words)
    assert (status, err) == (0, "")
    method = registry.method("ials").from_settings({"factors": 16})
    data = read([str(path) for path in paths], users="shared")
    expected = estimate.estimate(method, Counts.of(data), machine.DEFAULT)
    assert json.loads(out) == pytest.approx(expected.record())


def test_counts_alone(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = answered(capsys, "estimate", *TOTALS, "--domains", 3, "--model", "ease")
    assert status == 0
    assert "memory at its peak" in out
    assert "Lengths of rows are assumed" in err
    assert "--calibrate measures them here" in err
    seconds = []
    for factors in (32, 128):
        words = ("--model", "ials", "--set", f"factors={factors}", "--json")
        seconds.append(json.loads(answered(capsys, "estimate", *TOTALS, *words)[1])["fit_seconds"])
    assert seconds[1] > 2 * seconds[0] > 0


def test_auto_says_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(answered(capsys, "estimate", *TOTALS, "--json")[1])
    assert (found["method"], found["search_seconds"]) == ("auto", 300)
    assert found["total_seconds"] > 300


def test_what_cannot_be_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(answered(capsys, "estimate", *TOTALS, "--model", "neumf"), "neumf does not say what a fit costs")
    refused(answered(capsys, "estimate", "--users", 3), "Give event files, or --users, --items and --events")
    refused(answered(capsys, "estimate", "--users", "shared", *TOTALS[2:]), "as whole numbers")
    refused(answered(capsys, "estimate", *TOTALS, "--set", "factors=3"), "auto chooses the settings itself")
    refused(answered(capsys, "estimate", *event_files(tmp_path), "--model", "ials"), "Say which user ids")


def test_calibration_is_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    twice = machine.Machine(machine.DEFAULT.unit * 2, machine.DEFAULT.process, True)
    monkeypatch.setattr(calibration, "measured", lambda: twice)
    words = ("estimate", *TOTALS, "--model", "bprmf", "--json")
    before = json.loads(answered(capsys, *words)[1])
    status, out, err = answered(capsys, "estimate", "--calibrate")
    assert (status, out) == (0, "")
    assert machine.FILE in err
    after = json.loads(answered(capsys, *words)[1])
    assert after["fit_seconds"] == pytest.approx(2 * before["fit_seconds"])
    assert (before["measured_machine"], after["measured_machine"]) == (False, True)


@pytest.mark.parametrize(("long", "said"), [(0.0, 1), (1e9, 0)])
def test_fit_says_a_long_fit_in_one_line(
    long: float,
    said: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimate, "LONG", long)
    words = ("--users", "shared", "--model", "ials", "--set", "epochs=1", "--out", tmp_path / "run")
    status, _, err = answered(capsys, "fit", *event_files(tmp_path), *words)
    assert status == 0
    assert err.count("for one fit on one thread") == said


@pytest.mark.parametrize(("process", "said"), [(1e9, 1), (0.0, 0)])
def test_fit_says_where_it_takes_more_than_memory(
    process: float,
    said: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``--memory`` bounds the reading of the events, which `fit` says beside what it will take."""
    here = replace(machine.DEFAULT, process=machine.Process(0.0, process, 0.0, 0.0))
    monkeypatch.setattr(pipeline, "of_this_machine", lambda: here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ("--users", "shared", "--model", "ials", "--set", "epochs=1", "--memory", "512MiB")
    status, _, err = answered(capsys, "fit", *event_files(tmp_path), *words, "--out", tmp_path / "run")
    assert status == 0, err
    assert err.count("above the 512 MiB of --memory") == said
