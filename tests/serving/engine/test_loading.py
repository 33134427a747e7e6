"""What a service refuses to open or to serve: damaged, forged and useless run folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from shops import MIXTURE, fit, opened

from landbridge import store
from landbridge.core.errors import StoreError
from landbridge.core.files import read_arrays, write_arrays
from landbridge.models import registry
from landbridge.models.als.ials import IALS
from landbridge.models.popularity import Popularity
from landbridge.serving.engine.service import Service

Arrays = dict[str, npt.NDArray[Any]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    store.save(fit(IALS(factors=3, epochs=1, sharing="joined")), tmp_path / "run")
    return tmp_path / "run"


def refused(folder: Path, sentence: str) -> None:
    with pytest.raises(StoreError, match=sentence) as refusal:
        Service.open(folder).check()
    assert "\n" not in str(refusal.value)


def manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest in place."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def forge(folder: Path, role: str, change: Callable[[Arrays, dict[str, Any]], object]) -> None:
    """Change a file of the run and the manifest with it, so that every checksum is right."""
    arrays, about = read_arrays(next(folder.glob(f"{role}-*")))
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(arrays, about)
    store.attach(folder, role, "safetensors", lambda file: write_arrays(file, arrays, about))


def test_files_outside_the_folder_are_never_read(run: Path) -> None:
    """Not even when they are there and their checksum is right."""
    inside = next(run.glob("arrays-*"))
    outside = run.parent / inside.name
    shutil.move(inside, outside)
    for name in (f"../{inside.name}", str(outside), f"x/../../{inside.name}", f"{inside.name}\0"):
        manifest(run, lambda content, name=name: content["files"]["arrays"].update(name=name))
        refused(run, "names a file")


def test_forged_sizes_and_checksums_are_refused(run: Path) -> None:
    manifest(run, lambda content: content["files"]["arrays"].update(bytes=1))
    refused(run, "checksum differs")
    manifest(run, lambda content: content["files"]["arrays"].update(bytes=10**18))
    refused(run, "checksum differs")
    manifest(run, lambda content: content["files"].update(arrays="all"))
    refused(run, "list of files cannot be read")
    manifest(run, lambda content: content.pop("files"))
    refused(run, "list of files cannot be read")


def test_a_changed_byte_is_refused(run: Path) -> None:
    path = next(run.glob("arrays-*"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refused(run, "damaged")
    path.unlink()
    refused(run, "lacks its file")


def cut(name: str, by: tuple[slice, ...]) -> Callable[[Arrays, Any], object]:
    return lambda arrays, about: arrays.update({name: np.ascontiguousarray(arrays[name][by])})


def with_value(name: str, place: Any, value: Any) -> Callable[[Arrays, Any], object]:
    return lambda arrays, about: arrays[name].__setitem__(place, value)


FORGERIES: dict[str, tuple[str, Callable[[Arrays, Any], object], str]] = {
    "few items": ("arrays", cut("item:films", (slice(50),)), "do not fit its data in 'films'"),
    "few people": ("arrays", cut("user:0", (slice(3),)), "do not fit its data in 'books'"),
    "few factors": ("arrays", cut("item:books", (slice(None), slice(2))), "do not fit its data in 'books'"),
    "no numbers": ("arrays", with_value("item:films", (3, 1), np.nan), "not all numbers in 'films'"),
    "endless": ("arrays", with_value("user:0", (3, 1), np.inf), "not all numbers in 'books'"),
    "without": ("arrays", lambda arrays, about: arrays.pop("item:books"), "cannot be loaded: KeyError"),
    "other": ("arrays", lambda arrays, about: about.clear(), "cannot be loaded: KeyError"),
    "double": (
        "arrays",
        lambda arrays, about: arrays.update({"user:0": arrays["user:0"].astype(float)}),
        "not all numbers",
    ),
    "item": ("data", with_value("0/item_idx", 0, 10**6), "cannot be loaded: .*outside 0"),
    "negative": ("data", with_value("1/user_idx", 0, -1), "cannot be loaded: "),
    "ids": ("data", cut("0/items", (slice(4),)), "cannot be loaded: .*outside 0"),
    "repeated": ("data", with_value("0/items", 1, 0), "cannot be loaded: .*sorted and unique"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_contents_with_right_checksums_are_refused(run: Path, name: str) -> None:
    role, change, sentence = FORGERIES[name]
    forge(run, role, change)
    refused(run, sentence)


def test_what_is_no_number_in_a_member_of_a_mixture_is_refused(tmp_path: Path) -> None:
    """A list of this member alone might be requested long after the opening."""
    run = tmp_path / "run"
    store.save(fit(registry.method("mixture").from_settings(MIXTURE)), run)
    arrays, _ = read_arrays(next(run.glob("arrays-*")))
    name = next(name for name in arrays if "item:films" in name)
    forge(run, "arrays", with_value(name, (3, 1), np.nan))
    refused(run, "member 'joint': its embeddings are not all numbers in 'films'")


def test_files_that_are_no_arrays_are_refused(run: Path) -> None:
    for content in (b"", b"\xff" * 100, b"\x08" + bytes(7) + b'{"a":[1]'):
        store.attach(run, "arrays", "safetensors", lambda file, content=content: file.write_bytes(content))
        refused(run, "is damaged")


@pytest.mark.parametrize("created", [None, "yesterday", 3, "2020-13-01"])
def test_a_time_that_is_none_is_refused(run: Path, created: Any) -> None:
    manifest(run, lambda content: content.update(created=created))
    refused(run, "cannot be served: ")


def test_a_model_whose_scores_are_no_numbers_fails_its_check(tmp_path: Path) -> None:
    store.save(fit(Popularity()), tmp_path)
    Service.open(tmp_path).check()
    forge(tmp_path, "arrays", with_value("score:films", 4, np.nan))
    refused(tmp_path, "scores in 'films' are not numbers")
    forge(tmp_path, "arrays", cut("score:films", (slice(8),)))
    refused(tmp_path, "scores in 'films' are not numbers for its items")


def test_a_network_that_cannot_score_fails_its_check(tmp_path: Path) -> None:
    store.save(fit(registry.method("conet")(epochs=1)), tmp_path)
    forge(
        tmp_path, "arrays", lambda arrays, about: arrays.update({name: arrays[name][:1] for name in arrays})
    )
    refused(tmp_path, "This model cannot serve|scores in|cannot be served")


def test_the_table_of_items_may_be_anywhere(tmp_path: Path) -> None:
    """Strings are paths, too."""
    service = opened(fit(Popularity()), tmp_path)
    (tmp_path / "items.csv").write_text("domain,item,colour\nbooks,10,red\n")
    again = Service.open(str(tmp_path / "run"), str(tmp_path / "items.csv"))
    assert again.about()["filters"] == ["colour"]
    assert again.model == service.model
