"""Atomic files, and arrays that come back as they were."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core import files
from landbridge.core.errors import StoreError
from landbridge.core.files import (
    atomic_write,
    is_temporary,
    read_arrays,
    read_json,
    sha256,
    write_arrays,
    write_hashed,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def half() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            assert is_temporary(temporary)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_replaces_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with atomic_write(path) as temporary:
            temporary.write_text(text)
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_hashed_names_follow_the_content(tmp_path: Path) -> None:
    def write(text: str) -> str:
        return write_hashed(tmp_path, "log", "txt", lambda file: file.write_text(text)).name

    assert write("a") == write("a") != write("b")
    name = write("abc")
    # SHA-256 of "abc", from FIPS 180-2
    assert name == "log-ba7816bf8f01cfea.txt"
    assert sha256(tmp_path / name).endswith("f20015ad")
    assert len(list(tmp_path.iterdir())) == 3


def test_json_round_trip(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"n": np.int64(3), "x": [1.5, None, "é"]})
    assert read_json(tmp_path / "a.json") == {"n": 3, "x": [1.5, None, "é"]}


TEXTS = st.text(st.characters(codec="utf-8"))  # null characters included


@given(st.lists(TEXTS), st.integers(0, 5), st.sets(TEXTS | st.sampled_from(["a|text", "a|ends", "text:a"])))
def test_arrays_round_trip(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int, names: set[str]
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.safetensors"
    arrays = {
        **{f"{name}{number}": np.arange(number) for number, name in enumerate(names)},
        **{name: np.array([name], np.dtypes.StringDType()) for name in names},
        "text": np.array(texts, np.dtypes.StringDType()),
        "bool": np.arange(size) % 2 == 0,
        "turned": np.arange(size * 3, dtype=np.float32).reshape(size, 3).T,
        "empty/idx": np.empty((0, 4), np.int32),
    }
    write_arrays(path, arrays, {"domains": ["a", "b"], "none": None})
    back, about = read_arrays(path)
    assert about == {"domains": ["a", "b"], "none": None}
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    arrays = {"b": np.arange(3), "a": np.ones(2, np.float32)}
    write_arrays(tmp_path / "1", arrays, {"x": 1, "y": 2})
    write_arrays(tmp_path / "2", dict(reversed(arrays.items())), {"y": 2, "x": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("content", [b"", bytes(40), b"\x08" + bytes(7) + b"{}      ", b"no such file"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    write_arrays(path, {"a": np.arange(9)}, {"x": 1})
    whole = path.read_bytes()
    path.write_bytes(content)
    if content != b"\x08" + bytes(7) + b"{}      ":  # an empty file of arrays is sound
        with pytest.raises(StoreError, match="is damaged"):
            read_arrays(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(StoreError, match="is damaged"):
        read_arrays(path)


def test_files_of_version_0_1_are_read(tmp_path: Path) -> None:
    from safetensors.numpy import save

    text, ends = np.frombuffer("aböc".encode(), np.uint8), np.array([2, 4])
    content = save({"t|text": text, "t|ends": ends, "n": np.arange(3)}, metadata={"about": "[1]"})
    (tmp_path / "old").write_bytes(content)
    arrays, about = read_arrays(tmp_path / "old")
    assert (about, arrays["t"].tolist(), arrays["n"].tolist()) == ([1], ["ab", "öc"], [0, 1, 2])


def some_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "b": rng.random((700, 3)).astype(np.float32),
        "turned": rng.random((5, 900)).T,
        "none": np.empty((0, 4), np.int32),
        "one": np.array(3),
        "flags": rng.random(11) < 0.5,
        "né\x01": np.arange(7, dtype=np.uint8),
    }


def test_the_bytes_are_those_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import save

    monkeypatch.setattr(files, "BLOCK", 64)
    write_arrays(tmp_path / "a", some_arrays(), {"x": 'é"\u2028'})
    plain = {f"array:{name}": np.ascontiguousarray(array) for name, array in some_arrays().items()}
    description = '{"x":"é\\"\u2028"}'
    assert (tmp_path / "a").read_bytes() == save(plain, metadata={"description": description})


def test_arrays_of_a_big_file_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_arrays(path, some_arrays(), ["about"])
    expected, before = read_arrays(path), path.read_bytes()
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    arrays, about = read_arrays(path)
    assert about == expected[1]
    assert arrays.keys() == expected[0].keys()
    for name, array in expected[0].items():
        assert array.dtype == arrays[name].dtype
        assert np.array_equal(array, arrays[name])
        assert arrays[name].flags.aligned
        assert is_mapped(arrays[name])
        assert type(arrays[name]) is np.ndarray
    arrays["b"][:] = 7  # of this process alone
    assert path.read_bytes() == before
    path.write_bytes(before[:-1])
    with pytest.raises(StoreError, match="is damaged"):
        read_arrays(path)


def test_where_mapped_files_cannot_go_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_arrays(tmp_path / "a", some_arrays())
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    monkeypatch.setattr(files, "MAPPED_MAY_GO", False)
    assert not is_mapped(read_arrays(tmp_path / "a")[0]["b"])


def test_unaligned_arrays_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As other programs may write them: a header of any length."""
    write_arrays(tmp_path / "a", {"x": np.arange(4.0)})
    content = (tmp_path / "a").read_bytes()
    size = int.from_bytes(content[:8], "little")
    (tmp_path / "b").write_bytes(
        (size + 1).to_bytes(8, "little") + content[8 : 8 + size] + b" " + content[8 + size :]
    )
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    (array,) = read_arrays(tmp_path / "b")[0].values()
    assert array.flags.aligned
    assert array.tolist() == [0, 1, 2, 3]


def test_neither_writing_nor_mapping_makes_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    monkeypatch.setattr(files, "BLOCK", 1 << 10)
    arrays = {"x": np.zeros((10_000, 50), np.float32), "turned": np.zeros((50, 10_000), np.float32).T}
    write_arrays(tmp_path / "a", {"x": np.zeros(1)})  # loads what it needs
    tracemalloc.start()
    write_arrays(tmp_path / "a", arrays)
    assert read_arrays(tmp_path / "a")[0]["x"].shape == (10_000, 50)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < arrays["x"].nbytes / 10


def is_mapped(array: np.ndarray) -> bool:
    base: object = array
    while type(base) is np.ndarray:
        base = base.base
    return isinstance(base, np.memmap)
