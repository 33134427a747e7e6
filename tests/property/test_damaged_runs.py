"""A damaged run folder is refused in one sentence, or gives exactly the model that was saved."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import is_sentence, outcome
from strategies import ANY_TEXT, Damage, damages
from worlds import uneven

import landbridge as lb
from landbridge import store
from landbridge.core.errors import StoreError
from landbridge.models import registry
from landbridge.models.base import Fitted, Queries
from landbridge.serving.engine.service import Service

DATA = uneven({"a": (8, 14), "b": (6, 10)}, users=16)
SPLIT = lb.leave_last_out(DATA, seed=0)
MODELS = [lb.Popularity(), lb.IALS(factors=2, epochs=1), lb.EASE(), lb.BPRMF(factors=2, epochs=1)]


def scores(fitted: Fitted) -> list[Any]:
    queries = Queries.of_users(np.arange(-1, DATA.n_users))
    return [fitted.score(name, queries).tolist() for name in DATA.domain_names]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, list[Any]]]:
    """Run folders with a test part, and what their models score."""
    saved = []
    for method in MODELS:
        folder = tmp_path_factory.mktemp(method.name) / "run"
        fitted = method.fit(SPLIT.test.history, lb.FitOptions(threads=1))
        lb.save(fitted, folder)
        store.save_holdout(folder, SPLIT.test)
        saved.append((folder, scores(fitted)))
    return saved


def loaded(load: Any, folder: Path) -> Any:
    """What was loaded; None where it was refused in one sentence."""
    value, sentence = outcome(lambda: load(folder), StoreError)
    assert not sentence or is_sentence(sentence)
    return value


@settings(max_examples=60)
@given(
    role=ANY_TEXT | st.sampled_from(["notes", "a-b"]), suffix=ANY_TEXT | st.sampled_from(["txt", "tar.gz"])
)
def test_a_file_of_any_role_is_attached_or_refused_and_the_run_stays(
    runs: list[tuple[Path, list[Any]]], role: str, suffix: str
) -> None:
    run, expected = runs[0]
    attach = partial(store.attach, run, role, suffix, lambda file: file.write_text("mine"))
    _, sentence = outcome(attach, StoreError)
    assert not sentence or is_sentence(sentence)
    assert scores(lb.load(run)) == expected
    assert sentence or store.attached(run, role).read_text() == "mine"


@settings(max_examples=150)
@given(number=st.integers(0, len(MODELS) - 1), damage=damages())
def test_a_damaged_run_is_refused_or_gives_the_same_model(
    runs: list[tuple[Path, list[Any]]], number: int, damage: Damage
) -> None:
    run, expected = runs[number]
    folder = run.with_name("damaged")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder)
    damage(folder)
    fitted = loaded(lb.load, folder)
    if fitted is not None:
        assert fitted.history.fingerprint == SPLIT.test.history.fingerprint
        assert scores(fitted) == expected
    service = loaded(Service.open, folder)
    if service is not None:
        assert scores(service.fitted) == expected
    history = SPLIT.test.history
    holdout = loaded(lambda place: store.load_holdout(place, history), folder)
    if holdout is not None:
        assert holdout.fingerprint == SPLIT.test.fingerprint
    assert loaded(store.deployed, folder) in (None, False, True)
    assert loaded(store.lacks_test_events, folder) in (None, False, True)


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_run_said_to_be_of_another_kind_is_refused(
    runs: list[tuple[Path, list[Any]]], kind: str, tmp_path: Path
) -> None:
    for run, expected in runs:
        folder = tmp_path / run.parent.name
        shutil.copytree(run, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"kind": kind}))
        fitted = loaded(lb.load, folder)
        assert fitted is None or scores(fitted) == expected


def test_a_run_without_its_kind_is_refused_in_one_sentence(
    runs: list[tuple[Path, list[Any]]], tmp_path: Path
) -> None:
    shutil.copytree(runs[0][0], tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    del manifest["kind"]
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="cannot be loaded: KeyError, 'kind'; fit it again"):
        lb.load(tmp_path / "run")
