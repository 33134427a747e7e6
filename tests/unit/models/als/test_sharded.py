"""One SHA-256 of a fit, wherever and in whichever blocks it is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from placements import METHOD, USERS, fitted, sha256, two_domains

import landbridge as lb
from landbridge.core.parallel import Executor, Processes, Serial, Threads
from landbridge.core.types import Record
from landbridge.models.als import sharded, solver


@pytest.fixture(scope="module")
def data() -> lb.MultiDomain:
    return two_domains()


@pytest.fixture(scope="module")
def alone(data: lb.MultiDomain) -> str:
    """Of a fit in this process, on one thread."""
    return sha256(METHOD.fit(data, lb.FitOptions(threads=1)))


def test_the_fit_has_short_and_long_rows_and_several_blocks(data: lb.MultiDomain) -> None:
    lengths = data["books"].item_counts
    assert lengths.min() >= 48 > solver.AUTO.steps_from - 1
    assert USERS > 4 * solver.BLOCK_ROWS


@pytest.mark.parametrize("threads", [1, 2])
def test_threads(data: lb.MultiDomain, alone: str, threads: int) -> None:
    assert sha256(METHOD.fit(data, lb.FitOptions(threads=threads))) == alone


@pytest.mark.parametrize("blocks", [1, 2, 4, 32])
def test_blocks(data: lb.MultiDomain, alone: str, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "ROWS", blocks * solver.BLOCK_ROWS)
    assert fitted(data, Serial(1)) == alone


@pytest.mark.parametrize("executor", [Serial(2), Threads(2, 1), Processes(1, 2), Processes(2, 1)])
def test_executors(
    data: lb.MultiDomain, alone: str, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded, "ROWS", solver.BLOCK_ROWS)
    assert fitted(data, executor) == alone


class StoppedError(Exception):
    """A fit that is stopped between two epochs."""


def stop_at(epoch: int) -> Callable[[object], float]:
    """A validation that stops the fit."""
    seen: list[object] = []

    def validate(model: object) -> float:
        seen.append(model)
        if len(seen) > epoch:
            raise StoppedError
        return 0.0

    return validate


@pytest.mark.parametrize(("first", "then"), [(None, Serial(1)), (Serial(1), None)])
def test_a_fit_that_goes_on_elsewhere(
    data: lb.MultiDomain,
    alone: str,
    first: Executor | None,
    then: Executor | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharded, "ROWS", 2 * solver.BLOCK_ROWS)
    options = lb.FitOptions(threads=1, executor=first, validate=stop_at(1), work_dir=tmp_path)
    with pytest.raises(StoppedError):
        METHOD.fit(data, options)
    assert list(tmp_path.iterdir())
    assert sha256(METHOD.fit(data, replace(options, executor=then, validate=None))) == alone


@pytest.mark.parametrize(
    "settings", [{"sharing": "separate"}, {"solver": "exact"}, {"dislike_weight": 0.5}, {"epochs": 1}]
)
def test_other_settings(data: lb.MultiDomain, settings: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "ROWS", solver.BLOCK_ROWS)
    method = METHOD.with_settings(settings)
    here, blocks = (
        sha256(method.fit(data, lb.FitOptions(threads=1, executor=each))) for each in (None, Serial(1))
    )
    assert blocks == here
