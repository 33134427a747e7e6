"""Text vectors: what they are, what has none, and that nothing is fetched."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import answered

import landbridge as lb
from landbridge.core.errors import DataError, MissingExtraError, SettingsError
from landbridge.core.types import Float32
from landbridge.data.io.text_vectors import COLUMN, with_text_vectors

TABLE = pl.DataFrame(
    {
        "item": ["pan", "skillet", "tea", "unknown", "blank"],
        "title": ["Frying pan of iron", "Cast iron skillet", "Green tea", None, "  "],
        "description": [None, "12 inch", "", None, ""],
    }
)


@pytest.fixture
def embedding() -> None:
    """Skips where the extra is not installed."""
    pytest.importorskip("wordllama", reason="needs the extra text")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refused(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)


def vectors_NF(table: pl.DataFrame) -> Float32:
    return table[COLUMN].drop_nulls().to_numpy()


@pytest.mark.usefixtures("embedding", "no_network")
@pytest.mark.parametrize("size", [64, 256])
def test_a_vector_is_the_mean_of_the_tokens_vectors(size: int) -> None:
    """Against the weights and the tokenizer as they lie in the package."""
    import wordllama
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = Path(wordllama.__file__).parent
    token_VF = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    texts = ["Frying pan of iron", "Cast iron skillet 12 inch", "Green tea"]
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    expected_NF = np.stack([token_VF[own, :size].astype(np.float64).mean(axis=0) for own in ids])
    np.testing.assert_allclose(vectors_NF(with_text_vectors(TABLE, size=size)), expected_NF, atol=1e-5)


@pytest.mark.usefixtures("embedding")
def test_rows_without_text_have_no_vector_and_nothing_else_changes() -> None:
    found = with_text_vectors(TABLE)
    assert found[COLUMN].is_null().to_list() == [False, False, False, True, True]
    assert found.drop(COLUMN).equals(TABLE)
    assert with_text_vectors(TABLE.tail(1))[COLUMN].null_count() == 1


@pytest.mark.usefixtures("embedding")
def test_like_texts_have_like_vectors_also_without_a_common_word() -> None:
    table = TABLE.with_columns(title=pl.Series(["frying pan", "skillet", "green tea", None, ""]))
    unit_NF = vectors_NF(with_text_vectors(table, ["title"]))
    unit_NF = unit_NF / np.linalg.norm(unit_NF, axis=1, keepdims=True)
    pan, skillet, tea = unit_NF
    assert pan @ skillet > max(pan @ tea, skillet @ tea) + 0.1


@pytest.mark.usefixtures("embedding")
def test_a_row_has_the_vector_that_it_has_alone() -> None:
    """So that a later table says the same of its items."""
    rows = [with_text_vectors(TABLE[place : place + 1]) for place in range(TABLE.height)]
    np.testing.assert_allclose(vectors_NF(pl.concat(rows)), vectors_NF(with_text_vectors(TABLE)), rtol=1e-5)


@pytest.mark.usefixtures("embedding")
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_the_command_writes_a_table_of_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    TABLE.write_csv(tmp_path / "items.csv")
    out = tmp_path / f"items.{suffix}"
    words = ("data", "text-vectors", tmp_path / "items.csv", "--out", out)
    status, said, _ = answered(capsys, *words)
    assert (status, said) == (0, f"Vectors of 3 texts are in {out}; 2 rows have none.\n")
    status, said, _ = answered(capsys, *words, "--json")
    assert (status, json.loads(said)) == (0, {"rows": 5, "without_text": 2, "file": str(out)})
    events = pl.DataFrame({"user": [1, 2], "item": ["pan", "tea"]})
    data = lb.read(events.with_columns(domain=pl.lit("shop")), item_features=out)
    assert data.item_features is not None
    assert Counter(data.item_features.columns_V.tolist()) == {COLUMN: 64, "title": 1}  # iron
    assert data.new_items("shop").sum() == 1  # two rows say nothing


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(MissingExtraError, match=r"landbridge\[text\]"):
        with_text_vectors(TABLE)


def test_bad_requests_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match="64, 128, 256, not 65"):
        with_text_vectors(TABLE, size=65)
    with pytest.raises(DataError, match="No column title, text, description"):
        with_text_vectors(TABLE.select("item"))
    with pytest.raises(DataError, match="descriptin"):
        with_text_vectors(TABLE, ["descriptin"])
    (tmp_path / "items.json").write_text(json.dumps({"item": 1, "title": "x"}))
    words = ("data", "text-vectors", tmp_path / "items.json", "--out", tmp_path / "items.csv")
    status, _, said = answered(capsys, *words)
    assert status == 2
    assert "kind of file with vectors '.csv'" in said
