"""A fit that was killed: ``--resume`` ends where the uninterrupted fit ends, bit for bit."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from commands import event_files, run, start, stored

from landbridge.core.files import read_arrays, write_arrays

EPOCHS = 40  # enough that none is over before it is killed
WAIT = 60.0  # seconds until a fit must have left a checkpoint
CASES = {
    "consensus": ("fit", ["--model", "cdimf"]),
    "joined": ("fit", ["--model", "ials", "--set", "sharing=joined"]),
    "deployed": ("deploy", ["--model", "ials"]),
    "choosing": ("choose", ["--model", "ials", "--patience", "1000"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_killed_fit_resumes_bit_for_bit(case: str, tmp_path: Path) -> None:
    phase, model = CASES[case]
    words = ["fit", *event_files(tmp_path), "--users", "shared", *model, "--threads", 1, "--seed", 3]
    words += ["--set", "factors=8", "--set", f"epochs={EPOCHS}"]
    words += [] if phase == "deploy" else ["--no-deploy"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    checkpoint = tmp_path / "killed.checkpoint" / phase / "checkpoint.safetensors"
    kill_at(checkpoint, [*words, "--out", killed])
    assert not killed.exists()
    epochs_done = mark(checkpoint)
    run(*words, "--out", killed, "--resume")
    run(*words, "--out", whole)
    assert 0 < epochs_done < EPOCHS
    assert stored(killed, "arrays").name == stored(whole, "arrays").name  # named after the content
    assert stored(killed, "arrays").read_bytes() == stored(whole, "arrays").read_bytes()
    if phase != "choose":
        assert "marked" in stored(killed, "log").read_text().splitlines()[0]
    assert not checkpoint.parent.parent.exists()


def test_without_resume_a_fit_begins_anew(tmp_path: Path) -> None:
    words = ["fit", *event_files(tmp_path), "--users", "shared", "--model", "ials", "--threads", 1]
    words += ["--set", "factors=4", "--set", f"epochs={EPOCHS}", "--out", tmp_path / "run", "--no-deploy"]
    checkpoint = tmp_path / "run.checkpoint" / "fit" / "checkpoint.safetensors"
    kill_at(checkpoint, words)
    mark(checkpoint)
    run(*words)
    assert "marked" not in stored(tmp_path / "run", "log").read_text()


def kill_at(checkpoint: Path, words: list[object]) -> None:
    """Start the command and kill it as soon as it has left a checkpoint."""
    process = start(*words)
    try:
        deadline = time.monotonic() + WAIT
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        process.kill()
        _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said


def mark(checkpoint: Path) -> int:
    """Note in the checkpoint's log that it was used; gives the epochs done so far."""
    arrays, about = read_arrays(checkpoint)
    about["log"][0]["marked"] = 1.0
    write_arrays(checkpoint, arrays, about)
    return len(about["log"])
