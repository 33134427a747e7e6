"""Networks as ONNX: in onnxruntime they give the scores and the lists of the model, of any history."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from worlds import timed, uneven

import landbridge as lb
from landbridge.core.errors import DataError, MissingExtraError
from landbridge.core.types import Ragged
from landbridge.data.sampling import sequences
from landbridge.export import export
from landbridge.models import registry
from landbridge.models.base import Queries
from landbridge.models.sequential.query_network import gaps
from landbridge.training.torch_backend import torch

pytest.importorskip("torch")
PAGE = Path(__file__).parents[2] / "docs" / "export.md"
SMALL = {
    "encoder.factors": 8,
    "encoder.blocks": 1,
    "encoder.hidden": 12,
    "encoder.max_length": 6,
    "epochs": 1,
}
# each part of the network, and each cold policy, once
NETWORKS: dict[str, dict[str, Any]] = {
    "sasrec": {},
    "cosine": {"loss.temperature": 0.5, "cold_policy": "mean"},
    "alibi": {"encoder.positions": "alibi", "encoder.norm": "post", "popularity_weight": 2.0},
    "gaps": {"encoder.time_gaps": True, "encoder.projected": True, "cold_policy": "popularity"},
    "domains": {
        "cross_domain.embeddings": True,
        "cross_domain.cross_penalty": 1.0,
        "cross_domain.own_history": True,
        "cross_domain.rank": 2,
        "cross_domain.shared_rank": 2,
        "cold_policy": "zero",
    },
    "own": {
        "cross_domain.own_history": True,
        "cross_domain.mixed_history": False,
        "encoder.time_gaps": True,
    },
}


def world() -> lb.MultiDomain:
    """Domains with users who are new in them; user 0 has no event at all."""
    return timed(uneven())


def fitted_with(changes: dict[str, Any], name: str = "sasrec") -> lb.Fitted:
    method = registry.method(name).from_settings({**SMALL, **changes})
    return method.fit(world(), lb.FitOptions(threads=1))


def padded(rows: Ragged, value_N: np.ndarray, padding: int, more: int = 0) -> np.ndarray:
    """Rows, and one without events, as a matrix of int64 that is ``more`` wider than the longest, (B, W)."""
    length_B = np.append(rows.lengths, 0)
    out_BW = np.full((len(length_B), int(length_B.max()) + more), padding, np.int64)
    out_BW[np.arange(out_BW.shape[1]) < length_B[:, None]] = value_N
    return out_BW


def everyone(data: lb.MultiDomain) -> Queries:
    """All users, and one who is new."""
    return Queries.of_users([*range(data.n_users), -1])


def histories(data: lb.MultiDomain) -> tuple[Ragged, np.ndarray]:
    """Every user's items as the model orders them, and their times, by a plain loop."""
    rows, (table, _) = sequences.user_histories(data), data.joined()
    assert table.time is not None
    times = dict(zip(zip(table.user_idx, table.item_idx, strict=True), table.time, strict=True))
    return rows, np.array([times[pair] for pair in zip(rows.entry_rows, rows.columns, strict=True)])


def run(folder: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        (folder / "network.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]
    assert [each.name for each in session.get_outputs()] == ["vectors"]
    (vector_BG,) = session.run(None, {name: inputs[name] for name in names})
    return np.asarray(vector_BG)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_scores_and_lists_are_those_of_the_model(name: str, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    fitted = fitted_with(NETWORKS[name])
    data, (rows, time_N) = fitted.history, histories(fitted.history)
    assert rows.lengths.max() > 6 > rows.lengths.min()  # longer and shorter than what is read
    assert (data["b"].user_counts == 0).any()  # cold-start users are among them
    export(fitted, "b", "onnx", tmp_path)
    items = pl.read_parquet(tmp_path / "items.parquet")
    ours_UI = fitted.score("b", everyone(data))
    flat_U = ours_UI.max(axis=1) == ours_UI.min(axis=1)  # all alike: popularity gives the order
    for more in (0, 5):  # padding changes nothing
        inputs = {"items": padded(rows, rows.columns, -1, more), "times": padded(rows, time_N, 0, more)}
        vector_UG = run(tmp_path, inputs)
        theirs_UI = vector_UG @ items["vector"].to_numpy().T
        assert np.allclose(theirs_UI[~flat_U], ours_UI[~flat_U], rtol=1e-4, atol=1e-5)
        few = {key: value_BW[:1] for key, value_BW in inputs.items()}
        assert np.allclose(run(tmp_path, few), vector_UG[:1], rtol=1e-4, atol=1e-5)
    # recall 1 at 10, but for the places of scores that are equal up to rounding
    best_UK = np.argsort(-theirs_UI[~flat_U], axis=1)[:, :10]
    own_UK = -np.sort(-ours_UI[~flat_U], axis=1)[:, :10]
    assert np.allclose(np.take_along_axis(ours_UI[~flat_U], best_UK, axis=1), own_UK, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_gives_the_embeddings_of_the_model(name: str) -> None:
    fitted = fitted_with(NETWORKS[name])
    rows, time_N = histories(fitted.history)
    model = fitted.as_dot_products()
    assert model is not None
    inputs = [torch.from_numpy(padded(rows, rows.columns, -1)), torch.from_numpy(padded(rows, time_N, 0))]
    for domain in fitted.history.domain_names:
        network = fitted.query_network(domain)
        assert network is not None
        weights = {key: torch.from_numpy(array) for key, array in network.weights.items()}
        with torch.inference_mode():
            vector_UG = network.vectors(weights, *inputs[: len(network.inputs)]).numpy()
        expected_UG = np.column_stack(model.query_embeddings(domain, everyone(fitted.history)))
        assert np.allclose(vector_UG, expected_UG, rtol=1e-4, atol=1e-5)


def test_distances_append_a_zero_and_numbers_name_every_item(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    fitted = fitted_with({})
    export(fitted, "b", "onnx", tmp_path, "l2")
    vector_BG = run(tmp_path, {"items": np.array([[3, 4, -1]])})
    assert (
        vector_BG.shape[1] == pl.read_parquet(tmp_path / "items.parquet")["vector"].to_numpy().shape[1] == 10
    )
    assert vector_BG[0, -1] == 0
    numbers = pl.read_parquet(tmp_path / "numbers.parquet")
    for name, own in fitted.history.joined()[1].items():
        part = numbers.filter(domain=name)
        assert part["number"].to_list() == list(range(own.start, own.stop))
        assert part["item"].to_list() == fitted.history.items[name].ids.tolist()


def test_the_block_of_the_page_gives_the_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    fitted = fitted_with({})
    export(fitted, "b", "onnx", tmp_path / "network")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    shown: dict[str, Any] = {}
    exec(block, shown)
    # of domain "a", whose items come first; events without times follow each other as given
    events = {"a": Ragged.from_rows([[3, 17, 4]])}
    expected_1I = fitted.score("b", Queries(np.array([-1], np.int32), events))
    assert np.allclose(shown["scores"], expected_1I, rtol=1e-4, atol=1e-5)


def test_gaps_are_those_of_training() -> None:
    rng = np.random.default_rng(0)
    # around all powers of two, where a rounded logarithm would err
    passed = np.concatenate([[0, 1, 2], *(2 ** np.arange(1, 37) + shift for shift in (-2, -1, 0))])
    time_W = np.cumsum(rng.permutation(passed)) % 2**40
    time_W.sort()
    expected_W = sequences._gaps(np.zeros(len(time_W), np.int64), time_W)
    assert gaps(torch.from_numpy(time_W)[None])[0].tolist() == expected_W.tolist()
    steps = torch.from_numpy(np.array([[0, d] for d in passed]))
    expected_B = [sequences._gaps(np.zeros(2, np.int64), np.array([0, d]))[1] for d in passed]
    assert gaps(steps)[:, 1].tolist() == expected_B


def test_what_has_no_network_is_one_sentence(tmp_path: Path) -> None:
    fitted = lb.IALS(factors=4, epochs=1).fit(world(), lb.FitOptions(threads=1))
    with pytest.raises(DataError, match="A ials model computes no user's vector from events by a network"):
        export(fitted, "b", "onnx", tmp_path)


def test_a_missing_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landbridge.export.network.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'landbridge\[onnx\]'"):
        export(fitted_with({}), "b", "onnx", tmp_path)


def test_too_many_weights_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("landbridge.export.network.LARGEST", 100)
    with pytest.raises(DataError, match="an ONNX file holds 2 GiB"):
        export(fitted_with({}), "b", "onnx", tmp_path)
