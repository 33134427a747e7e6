"""``landbridge demo --serve``: what it leaves in the cache can be served, with its figures and its
baseline's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import platformdirs
import pytest
from commands import run, untimed_files

from landbridge import store
from landbridge.config import validated_spec
from landbridge.demo import server as demo_serve
from landbridge.evaluation.evaluate import Evaluation
from landbridge.serving.engine.service import Service
from landbridge.serving.runtime import server


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Any]]:
    """A small data set instead of MovieLens, a cache of our own, and what would have been served."""
    files = untimed_files(tmp_path)
    source = {"books": str(files / "books.csv"), "movies": str(files / "movies.csv")}
    model = {"name": "cdimf", "settings": {"factors": 4, "epochs": 2}}
    small = validated_spec({"data": {"source": source, "users": "shared"}, "model": model})
    calls: list[tuple[Path, Any]] = []
    monkeypatch.setattr(demo_serve, "SPEC", small)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.setattr(server, "serve", lambda folder, settings: calls.append((folder, settings)))
    return calls


def test_it_fits_evaluates_and_serves(
    served: list[tuple[Path, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    run("demo", "--serve", "--port", 8123)
    run("demo", "--serve", "--port", 8124)  # the run in the cache is replaced
    (folder, first), (_, second) = served
    assert (first.port, second.port) == (8123, 8124)
    assert "http://127.0.0.1:8123/" in capsys.readouterr().out
    about = Service.open(folder).about()
    assert about["method"] == "cdimf"
    assert set(about["quality"]["ndcg@10"]) == {"books", "movies"}
    own, baseline = (Evaluation.read(store.attached(folder, role)) for role in ("evaluation", "baseline"))
    assert own.rows.select("user", "item").equals(baseline.rows.select("user", "item"))
    assert not own.rows["above"].equals(baseline.rows["above"])
