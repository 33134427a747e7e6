"""``landbridge demo --serve``: the run it leaves in the cache can be served, with its quality and that of the
best single-domain models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import platformdirs
import pytest
from commands import event_files, run

import landbridge as lb
from landbridge import store
from landbridge.demo import comparison
from landbridge.demo import server as demo_serve
from landbridge.evaluation.evaluate import Evaluation
from landbridge.selection.auto import Tuning
from landbridge.serving.engine.service import Service
from landbridge.serving.runtime import server


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Any]]:
    """A small data set instead of MovieLens, a cache of our own, and what would have been served."""
    books, movies = event_files(tmp_path)
    calls: list[tuple[Path, Any]] = []
    data = lb.read({"books": books, "movies": movies}, users="shared")
    monkeypatch.setattr(demo_serve, "movielens_genres", lambda: data)
    monkeypatch.setattr(comparison, "FAMILIES", ("popularity", "itemknn", "ials"))
    monkeypatch.setattr(comparison, "BUDGET", Tuning(trials=1))
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
    printed = capsys.readouterr().out
    assert "http://127.0.0.1:8123/" in printed
    about = Service.open(folder).about()
    assert about["method"] == "mixture"
    own, baseline = (Evaluation.read(store.attached(folder, role)) for role in ("evaluation", "baseline"))
    assert own.rows.select("user", "item").equals(baseline.rows.select("user", "item"))
    assert about["quality"]["ndcg@10"] == own.means("ndcg@10")
    single = about["quality"]["single_domain"]
    assert single["ndcg@10"] == baseline.means("ndcg@10")
    assert set(single["models"]) == {"books", "movies"}
    assert set(single["models"].values()) <= {"popularity", "itemknn", "alone"}
    for domain, model in single["models"].items():  # the page and the terminal say the same
        (line,) = [line for line in printed.splitlines() if line.split()[:1] == [domain]][:1]
        assert line.split()[2] == model
    assert store.deployed(folder)
