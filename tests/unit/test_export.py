"""Exported vectors list what the model lists: by brute force, and in exact indexes of faiss and usearch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import answered, refused
from worlds import uneven

import landbridge as lb
from landbridge.core.errors import DataError, MissingExtraError, SettingsError
from landbridge.export import METRICS, Metric, export, vectors_of
from landbridge.models.base import Queries

ONE = lb.FitOptions(threads=1)
METHODS = (lb.CDIMF(factors=6, epochs=3), lb.IALS(factors=6, epochs=3), lb.BPRMF(factors=6, epochs=3))


def world() -> lb.MultiDomain:
    """Some users are new in domain b; titles that COPY must escape."""
    titles = [f"a\\b\t{number}\nä" for number in range(25)]
    return replace(uneven(), titles={"b": np.array(titles, np.dtypes.StringDType())})


@pytest.fixture(scope="module")
def fitted() -> lb.Fitted:
    return METHODS[0].fit(world(), ONE)


def distances(user_UF: np.ndarray, item_IF: np.ndarray, metric: Metric) -> np.ndarray:
    """What an index sorts by, smaller first, in float64, (U, I)."""
    user_UF, item_IF = user_UF.astype(float), item_IF.astype(float)
    if metric == "l2":
        return ((user_UF[:, None] - item_IF) ** 2).sum(axis=2)
    if metric == "cosine":
        user_UF = user_UF / np.linalg.norm(user_UF, axis=1, keepdims=True)
        item_IF = item_IF / np.linalg.norm(item_IF, axis=1, keepdims=True)
    return -(user_UF @ item_IF.T)


def without_seen(order_UI: np.ndarray, fitted: lb.Fitted, k: int = 10) -> list[list[int]]:
    """The first k items of each user's row that they do not have."""
    seen = fitted.history["b"].by_user
    return [
        [int(item) for item in order_I if item not in set(seen.take([user]).columns)][:k]
        for user, order_I in enumerate(order_UI)
    ]


def same_but_for_ties(lists: list[list[int]], fitted: lb.Fitted) -> bool:
    """Whether every list has the scores of our own, place by place: rounding may reorder equal scores."""
    scores_UI = fitted.score("b", Queries.of_users(np.arange(60)))
    one, other = (
        np.take_along_axis(scores_UI, np.array(each), axis=1) for each in (lists, own_lists(fitted))
    )
    return np.allclose(one, other, rtol=1e-6, atol=1e-7)


def own_lists(fitted: lb.Fitted) -> list[list[int]]:
    lists = lb.recommend(fitted, "b", list(range(60)), k=10)
    return [lists.filter(user=user)["item"].to_list() for user in range(60)]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_brute_force_over_the_vectors_gives_our_lists(method: Any, metric: Metric) -> None:
    fitted = method.fit(world(), ONE)
    assert (fitted.history["b"].user_counts == 0).any()  # cold-start users are among them
    vectors = vectors_of(fitted, "b", metric)
    order_UI = np.argsort(distances(vectors.user_UF, vectors.item_IF, metric), axis=1, kind="stable")
    listed = without_seen(order_UI, fitted)
    assert listed == own_lists(fitted) if metric == "dot" else same_but_for_ties(listed, fitted)


@pytest.mark.parametrize("metric", METRICS)
def test_faiss_gives_our_lists(fitted: lb.Fitted, metric: Metric, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    export(fitted, "b", "faiss", tmp_path, metric)
    index = faiss.read_index(str(tmp_path / "items.faiss"))
    users = pl.read_parquet(tmp_path / "users.parquet")["vector"].to_numpy()
    items = pl.read_parquet(tmp_path / "items.parquet")["item"].to_numpy()
    order_UI = items[index.search(np.ascontiguousarray(users), len(items))[1]]
    assert same_but_for_ties(without_seen(order_UI, fitted), fitted)


@pytest.mark.parametrize("metric", METRICS)
def test_usearch_gives_our_lists(fitted: lb.Fitted, metric: Metric, tmp_path: Path) -> None:
    index_module = pytest.importorskip("usearch.index")
    export(fitted, "b", "usearch", tmp_path, metric)
    index = index_module.Index.restore(str(tmp_path / "items.usearch"))
    users = pl.read_parquet(tmp_path / "users.parquet")["vector"].to_numpy()
    order_UI = index.search(np.ascontiguousarray(users), 25, exact=True).keys.astype(int)
    assert same_but_for_ties(without_seen(order_UI, fitted), fitted)


def test_numpy_and_parquet_hold_the_same(fitted: lb.Fitted, tmp_path: Path) -> None:
    vectors = vectors_of(fitted, "b")
    export(fitted, "b", "numpy", tmp_path)
    export(fitted, "b", "parquet", tmp_path)
    with np.load(tmp_path / "vectors.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["item_vectors"], vectors.item_IF)
        assert np.array_equal(arrays["users"], fitted.history.users.ids)
    items = pl.read_parquet(tmp_path / "items.parquet")
    assert np.array_equal(items["vector"].to_numpy(), vectors.item_IF)
    assert items["title"].to_list() == fitted.history.titles["b"].tolist()


def unescaped(text: str) -> str:
    """As COPY reads a field."""
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape")


def test_pgvector_rows_are_the_vectors(fitted: lb.Fitted, tmp_path: Path) -> None:
    export(fitted, "b", "pgvector", tmp_path, "l2")
    text = (tmp_path / "items.sql").read_text()
    assert 'CREATE TABLE items ("item" bigint PRIMARY KEY, "title" text, vector vector(8));' in text
    assert "USING hnsw (vector vector_l2_ops)" in text
    lines = text.partition("FROM stdin;\n")[2].partition("\n\\.\n")[0].split("\n")
    items, titles, vectors = zip(*(line.split("\t") for line in lines), strict=True)
    assert [int(item) for item in items] == list(range(25))
    assert [unescaped(title) for title in titles] == fitted.history.titles["b"].tolist()
    read_IF = np.array([json.loads(vector) for vector in vectors], np.float32)
    assert np.array_equal(read_IF, vectors_of(fitted, "b", "l2").item_IF)


def test_qdrant_points_are_the_vectors(fitted: lb.Fitted, tmp_path: Path) -> None:
    export(fitted, "b", "qdrant", tmp_path)
    assert json.loads((tmp_path / "collection.json").read_text()) == {
        "vectors": {"size": 7, "distance": "Dot"}
    }
    points = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert [point["id"] for point in points] == list(range(25))
    assert points[3]["payload"] == {"item": 3, "title": "a\\b\t3\nä"}
    read_IF = np.array([point["vector"] for point in points], np.float32)
    assert np.array_equal(read_IF, vectors_of(fitted, "b").item_IF)


def test_text_ids_are_kept(tmp_path: Path) -> None:
    data = uneven({"shop": (20, 30)})
    names = np.array([f"i{number:02}" for number in range(20)], np.dtypes.StringDType())
    data = replace(data, items={"shop": lb.Vocabulary.of(names)})
    model = METHODS[1].fit(data, ONE)
    export(model, "shop", "numpy", tmp_path)
    export(model, "shop", "pgvector", tmp_path)
    with np.load(tmp_path / "vectors.npz", allow_pickle=False) as arrays:
        assert arrays["items"].tolist() == names.tolist()
    assert '"item" text PRIMARY KEY' in (tmp_path / "items.sql").read_text()


def test_what_has_no_vectors_is_one_sentence(fitted: lb.Fitted, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of a ease model is no product of a user's and an item's vector"):
        export(lb.EASE().fit(world(), ONE), "b", "parquet", tmp_path)
    with pytest.raises(SettingsError, match="did you mean 'parquet'"):
        export(fitted, "b", "parqet", tmp_path)
    with pytest.raises(SettingsError, match="Unknown metric of an index"):
        vectors_of(fitted, "b", "dott")


def test_a_missing_package_is_one_sentence(
    fitted: lb.Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module in (("faiss", "faiss"), ("usearch", "usearch.index")):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(MissingExtraError, match="pip install 'landbridge"):
            export(fitted, "b", name, tmp_path)


def test_the_verb(fitted: lb.Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lb.save(fitted, tmp_path / "run")
    words = "export", tmp_path / "run", "--out", tmp_path / "out"
    status, out, _ = answered(capsys, *words, "--domain", "b", "--to", "qdrant")
    assert status == 0
    assert [Path(line).name for line in out.split()] == ["collection.json", "items.jsonl", "users.jsonl"]
    refused(answered(capsys, *words), "Give --domain, one of a, b, c.")
