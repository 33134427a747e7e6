"""A fit keeps the threads that it was given: validations and evaluations leave every library as it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numba
import pytest
import torch
from threadpoolctl import threadpool_info
from worlds import uneven

import landbridge as lb
from landbridge.core.progress import Silent, Task
from landbridge.core.settings import schema
from landbridge.models import registry

SPLIT = lb.leave_last_out(uneven({"a": (10, 16), "b": (8, 12)}, users=16), seed=0)
NETWORKS = (
    "adc",
    "bitgcf",
    "catart",
    "cmf",
    "conet",
    "disencdr",
    "dwl",
    "gamtcdr",
    "herograph",
    "mvdnn",
    "neumf",
    "pepnet",
    "recsysdan",
    "sasrec",
    "uclr",
    "unicdr",
)
OTHERS = ("cdimf", "ease", "emcdr", "ials", "lightgcn")
SMALL = {"factors": 2, "encoder.factors": 2, "epochs": 2, "batch_size": 16}
MANY = 3  # of torch's threads around the fit, which gets one


class Threads(NamedTuple):
    """How many threads each library would use now; BLAS by the path of the library.

    MKL, which is part of torch, has a number of its own.
    """

    torch: int
    mkl: int
    numba: int
    blas: dict[str, int]


def mkl_threads() -> int:
    """0 where torch is built without MKL."""
    found = re.search(r"mkl_get_max_threads\(\) : (\d+)", torch.__config__.parallel_info())
    return int(found[1]) if found else 0


def threads_now() -> Threads:
    found = {
        each["filepath"]: each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"
    }
    return Threads(torch.get_num_threads(), mkl_threads(), numba.get_num_threads(), found)


def as_before(around: Threads) -> bool:
    """Whether all has the threads from before; of a library that was loaded since nothing is expected."""
    now = threads_now()
    return now[:3] == around[:3] and {path: now.blas[path] for path in around.blas} == around.blas


class Watch(Silent):
    """Notes the threads at every step of a task, which ends with the epoch's validation."""

    def __init__(self) -> None:
        self.seen: list[Threads] = []

    @contextmanager
    def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Task]:
        # pretraining is no network's: torch is not in use
        pretraining = title.startswith(("BPRMF", "LightGCN"))
        yield Silent().task(title, total).__enter__() if pretraining else self

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        self.seen.append(threads_now())


@pytest.fixture
def around() -> Iterator[Threads]:
    """More threads of torch than the fit gets; what there was before is restored."""
    before = torch.get_num_threads()
    numba.get_num_threads()  # starts its threads: the last test is about that
    torch.set_num_threads(MANY)
    yield threads_now()
    torch.set_num_threads(before)


def fitted(name: str, watch: Watch) -> lb.Fitted:
    kind = registry.method(name)
    method = kind.from_settings({key: value for key, value in SMALL.items() if key in schema(kind)})
    validate = lb.Validator(SPLIT.valid, threads=2)
    return method.fit(SPLIT.valid.history, lb.FitOptions(threads=1, validate=validate, progress=watch))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_validation_leaves_a_fit_its_threads(name: str, around: Threads) -> None:
    watch = Watch()
    model = fitted(name, watch)
    assert len(watch.seen) >= 2
    assert {seen.torch for seen in watch.seen} == {1}
    assert {seen.mkl for seen in watch.seen} <= {0, 1}
    assert all(seen[1:] == watch.seen[0][1:] for seen in watch.seen)
    assert as_before(around)
    lb.evaluate(model, SPLIT.valid, threads=2)
    assert as_before(around)


@pytest.mark.parametrize("name", OTHERS)
def test_a_fit_without_torch_leaves_its_threads(name: str, around: Threads) -> None:
    watch = Watch()
    model = fitted(name, watch)
    assert all(seen[1:] == watch.seen[0][1:] for seen in watch.seen)
    lb.evaluate(model, SPLIT.valid, threads=2)
    assert as_before(around)


def test_what_a_failing_validation_leaves(around: Threads) -> None:
    """The error comes through, and the threads are those from before the fit."""

    def fails(_: object) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lb.SASRec(epochs=1).fit(SPLIT.valid.history, lb.FitOptions(threads=1, validate=fails))
    assert as_before(around)


FIRST = """
import sys
import torch
torch.set_num_threads(3)
from landbridge.core.threads import thread_limit
assert "numba" not in sys.modules
with thread_limit(1):
    pass
import numba
assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
assert torch.get_num_threads() == 3, torch.get_num_threads()
"""
FIRST_WITHIN_A_FIT = """
import torch
from landbridge.core.threads import all_threads
from landbridge.training.loop import threads
with threads(1):
    with all_threads(2), threads(1):
        pass
    about = torch.__config__.parallel_info()
assert "mkl_get_max_threads" not in about or "mkl_get_max_threads() : 1" in about, about
"""


@pytest.mark.parametrize("program", [FIRST, FIRST_WITHIN_A_FIT])
def test_the_start_of_numba_leaves_torch_its_threads(program: str) -> None:
    """In a new process: numba's first call sets the number of all OpenMP threads, in the middle of a fit.

    The second program is a first validation. The epochs after it ran MKL on all processors, which beside
    other work took twenty times as long.
    """
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "NUMBA_NUM_THREADS": "2"})
