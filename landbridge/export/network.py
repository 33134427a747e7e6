"""A model's query network as an ONNX file, made by the exporter of torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from landbridge.core.errors import DataError, MissingExtraError
from landbridge.models.base import QueryNetwork
from landbridge.training.torch_backend import torch

LARGEST = 2**31 - 2**20  # bytes of weights: a file of ONNX holds less than 2 GiB


def write_network(network: QueryNetwork, zeros: int, path: Path) -> None:
    """Write the network to ``path``, with so many ``zeros`` behind its vectors.

    Its inputs have the names of ``network.inputs`` and any number of rows and columns; its output is float32,
    ``vectors``. DataError where the weights are too large for one file.
    """
    if find_spec("onnxscript") is None or find_spec("onnx") is None:
        raise MissingExtraError("ONNX needs its packages: pip install 'landbridge[onnx]'.")
    size = sum(array.nbytes for array in network.weights.values())
    if size > LARGEST:
        raise DataError(f"The network has {size / 2**30:.1f} GiB of weights, but an ONNX file holds 2 GiB.")
    names = network.inputs
    # not 0 or 1, which torch takes for constants; unlike each other, so that they are two dimensions
    given = tuple(torch.zeros((2, 3), dtype=torch.int64) for _ in names)
    users, events = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC
    with _quiet():
        program = torch.onnx.export(
            _module(network, zeros).eval(),
            given,
            dynamo=True,
            dynamic_shapes={"inputs": tuple({0: users, 1: events} for _ in names)},
            input_names=names,
            output_names=["vectors"],
            verbose=False,
        )
        assert program is not None  # as the older exporter would return
        program.save(str(path), external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of its own parts, and of packages that it does without."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _module(network: QueryNetwork, zeros: int) -> torch.nn.Module:
    class QueryModule(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, array in network.weights.items():
                self.register_buffer(_plain(name), torch.from_numpy(array))

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            weights = {name: getattr(self, _plain(name)) for name in network.weights}
            vector_BG = network.vectors(weights, *inputs)
            return torch.nn.functional.pad(vector_BG, (0, zeros))

    return QueryModule()


def _plain(name: str) -> str:
    """The name without dots, which torch does not allow."""
    return name.replace(".", "_")
