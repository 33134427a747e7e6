"""Fits by several ranks, each a process of its own: what they train, and how they are started as by torchrun.

As a program: ``python rank_fits.py FOLDER NAME...`` makes the named fits and writes their arrays to FOLDER.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landbridge.core.errors import DivergenceError, LandbridgeError
from landbridge.core.rng import generator
from landbridge.testing.worlds import timed, uneven
from landbridge.training.loop import run_phase
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.ranks import joined
from landbridge.training.weighting.base import Uncertainty, Uniform, Weighting
from landbridge.training.weighting.gradnorm import GradNorm

ID = {"settings": 1}
EPOCHS, BATCHES = 4, 5
FULL = 1000  # more batches than there are
WEIGHTINGS: dict[str, Weighting] = {
    "uniform": Uniform(),
    "uncertainty": Uncertainty(0.1),
    "gradnorm": GradNorm("weight", lr=0.1),
    "gradnorm_rows": GradNorm("table", lr=0.1, order="after"),
}


def network(
    weighting: str,
    rate: float = 0.0,
    at: Callable[[int], None] = lambda step: None,
    missing: int = 3,
) -> Phase[Any]:
    """Five batches an epoch over a table of 20 rows and a layer of two outputs, one per domain; domain "b" is
    missing from every third batch, or more. ``at``: is called with the number of every step of this process.

    Buffers: how often each row was seen, a total, and a mark of each row, the last batch that had it.
    """
    torch.manual_seed(0)
    table, weight, bias = torch.randn(20, 6), torch.randn(2, 6), torch.zeros(2)
    parameters = {"table": table, "weight": weight, "bias": bias}
    for tensor in parameters.values():
        tensor.requires_grad_()
    buffers = {"seen": torch.zeros(20), "mark": torch.full((20,), -np.inf)}
    steps = iter(range(1000))

    def batches(epoch: int) -> list[tuple[int, Any]]:
        rows = generator(0, "test", str(epoch)).permutation(20).reshape(BATCHES, 4)
        return [(1 + epoch * BATCHES + number, torch.from_numpy(own)) for number, own in enumerate(rows)]

    def losses(batch: tuple[int, Any]) -> dict[str, Any]:
        at(next(steps))
        number, rows = batch
        buffers["seen"][rows] += 1
        buffers["mark"][rows] = number
        out_BF = torch.nn.functional.embedding(rows, table, sparse=True)
        out = torch.nn.functional.dropout(out_BF, rate) @ weight.T + bias
        both = {"a": (out[:, 0] - 1).square().mean(), "b": (out[:, 1] + 2).square().mean()}
        return both if number % missing else {"a": both["a"]}

    return Phase(
        "small",
        EPOCHS,
        batches,
        losses,
        parameters,
        WEIGHTINGS[weighting],
        Optimizer("adam", 0.02),
        buffers,
        totals=("seen",),
        clip=5.0,
    )


def arrays(phase: Phase[Any]) -> dict[str, Any]:
    """Parameters and buffers by name."""
    both = {**phase.parameters, **phase.buffers}
    return {name: tensor.detach().numpy().copy() for name, tensor in both.items()}


def main(folder: Path, names: Sequence[str]) -> None:
    """Make the fits as one of the ranks."""
    with joined() as ranks:
        for name in names:
            kind, _, detail = name.partition(":")
            rank = os.environ["RANK"]
            out = FITS[kind](detail, FitOptions(threads=1, ranks=ranks), folder)
            np.savez(folder / f"{name.replace(':', '-')}.{rank}.npz", **out)


def _phase(weighting: str, options: FitOptions, folder: Path, missing: int = 3) -> dict[str, Any]:
    phase = network(weighting, missing=missing)
    log = run_phase(phase, options, ID)
    return {**arrays(phase), "log": np.array([[record["loss:a"], record["loss:b"]] for record in log])}


def _full(weighting: str, options: FitOptions, folder: Path) -> dict[str, Any]:
    """Every batch has both domains."""
    return _phase(weighting, options, folder, FULL)


def _killed(at: str, options: FitOptions, folder: Path) -> dict[str, Any]:
    """Rank 1 ends itself in a step, if one is given; the fit is kept in a folder of rank 0."""

    def end(step: int) -> None:
        if str(step) == at and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)

    phase = network("uncertainty", 0.5, end)
    work_dir = folder / "work" if at or (folder / "work").exists() else None
    # a validation that rank 0 alone makes: best after the second epoch
    scores = iter([0.1, 0.5, 0.3, 0.2])
    validate = (lambda model: next(scores)) if options.ranks.leads else _refused
    run_phase(phase, replace(options, work_dir=work_dir, validate=validate, patience=5), ID, dict)
    return arrays(phase)


def _refused(model: object) -> float:
    raise AssertionError("rank 0 validates")


def _masks(_: str, options: FitOptions, folder: Path) -> dict[str, Any]:
    masks: list[Any] = []

    def losses(batch: int) -> dict[str, Any]:
        masks.append(torch.nn.functional.dropout(torch.ones(100), 0.5).numpy())
        return {"a": weight.square().sum()}

    weight = torch.ones(3, requires_grad=True)
    run_phase(Phase("masks", 1, lambda epoch: range(2), losses, {"weight": weight}), options, ID)
    return {"mask": masks[0]}


def _diverged(_: str, options: FitOptions, folder: Path) -> dict[str, Any]:
    """Only the batch of rank 1 has no finite loss."""
    weight = torch.ones(3, requires_grad=True)
    phase = Phase(
        "wild", 1, lambda epoch: [1.0, np.nan], lambda b: {"a": weight.sum() * b}, {"weight": weight}
    )
    try:
        run_phase(phase, options, ID)
    except DivergenceError as error:
        return {"said": np.array(str(error))}
    raise AssertionError("a loss that is not finite must end the fit")


def _different(_: str, options: FitOptions, folder: Path) -> dict[str, Any]:
    """Another seed of data at each rank."""
    try:
        run_phase(network("uniform"), options, {"settings": os.environ["RANK"]})
    except LandbridgeError as error:
        return {"said": np.array(str(error))}
    raise AssertionError("ranks with different data must not fit together")


def _method(name: str, options: FitOptions, folder: Path) -> dict[str, Any]:
    """A method of the registry with small settings."""
    from landbridge.models import registry

    small = {"sasrec": {"epochs": 2, "batch_size": 8}, "dwl": {"epochs": 2, "batch_size": 8}}
    settings = small.get(name, {"epochs": 2})
    method = registry.method(name).from_settings(settings)
    return dict(method.fit(timed(uneven()), options).state()[0])


FITS = {
    "phase": _phase,
    "full": _full,
    "killed": _killed,
    "masks": _masks,
    "diverged": _diverged,
    "different": _different,
    "method": _method,
}


def environment(rank: int, port: int, number: int = 2) -> dict[str, str]:
    """What torchrun sets."""
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(number)}
    return {
        **os.environ,
        **own,
        "LOCAL_WORLD_SIZE": str(number),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def start(folder: Path, *names: str, number: int = 2) -> list[subprocess.Popen[str]]:
    """The ranks; the caller must wait for them."""
    command = [sys.executable, "-W", "error", __file__, str(folder), *names]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        subprocess.Popen(
            command,
            env=environment(rank, port, number),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(number)
    ]


def made(folder: Path, name: str) -> list[dict[str, Any]]:
    """What each of two ranks has written for a fit."""
    files = [folder / f"{name.replace(':', '-')}.{rank}.npz" for rank in range(2)]
    return [dict(np.load(file)) for file in files]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
