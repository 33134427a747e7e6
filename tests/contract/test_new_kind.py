"""A kind of model that the package has never seen: a class, two lines in the registry, and nothing else.

It is fitted, stored, blended, recommended from, folded in, explained, served over HTTP and benchmarked.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from asgi import asking
from worlds import uneven

import landbridge as lb
from landbridge.core.parallel import Serial
from landbridge.core.types import AnyArray, Arrays, Float32, Int32, Ragged, Record
from landbridge.data.dataset import MultiDomain
from landbridge.models import registry
from landbridge.models.base import Fitted, Method, Queries, StoredState
from landbridge.models.explanation import Explanation
from landbridge.models.mixture import Mixture
from landbridge.reports.write import report
from landbridge.serving.engine.service import Service
from landbridge.serving.http.app import create_app
from landbridge.studies.benchmark.runner import benchmark
from landbridge.studies.benchmark.spec import benchmark_spec
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)


@dataclass(frozen=True, eq=False)
class CountsModel(Fitted):
    """Counts of users who have both items, within each domain: score = Σ_{i in the history} count_ij."""

    count_II: Mapping[str, Float32]
    kind: ClassVar[str] = "together"
    explains: ClassVar[bool] = True

    def score(self, domain: str, queries: Queries) -> Float32:
        rows = queries.histories(self.history, self.history.named(domain))
        scores_BI = np.zeros((len(queries), self.history[domain].n_items), np.float32)
        np.add.at(scores_BI, rows.entry_rows, self.count_II[domain][rows.columns])
        return scores_BI

    def uses(self, domain: str, counts_BD: np.ndarray) -> np.ndarray:
        return np.asarray(counts_BD[:, self.history.domain_names.index(domain)] > 0)

    def similar(self, domain: str, item: int, to: str) -> Float32:
        return self.count_II[domain][item] if domain == to else super().similar(domain, item, to)

    def explain(self, domain: str, query: Queries, item_N: Int32) -> list[Explanation]:
        own = query.histories_by_domain(self.history)
        nothing = {name: np.zeros(len(rows.columns), np.float32) for name, rows in own.items()}
        return [
            Explanation(nothing | {domain: self.count_II[domain][own[domain].columns, item]}, 0.0, 0.0)
            for item in item_N
        ]

    def state(self) -> tuple[Arrays, Record]:
        return {f"count:{name}": count_II for name, count_II in self.count_II.items()}, {}

    @classmethod
    def from_state(cls, kept: StoredState) -> CountsModel:
        counts = {name: kept.arrays[f"count:{name}"] for name in kept.history.domain_names}
        return cls(kept.history, kept.method, kept.log, counts)


@dataclass(frozen=True)
class Counts(Method):
    """Nothing to choose."""

    name: ClassVar[str] = "counts_together"

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> CountsModel:
        counts: dict[str, AnyArray] = {}
        for name, events in train.domains.items():
            x_UI = np.zeros((events.n_users, events.n_items), np.float32)
            x_UI[events.user_idx, events.item_idx] = 1
            counts[name] = x_UI.T @ x_UI
            np.fill_diagonal(counts[name], 0)
        return CountsModel(train, self, (), counts)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sys.modules[__name__].__name__
    monkeypatch.setattr(registry, "METHODS", {**registry.METHODS, Counts.name: f"{here}:Counts"})
    monkeypatch.setattr(registry, "KINDS", {**registry.KINDS, CountsModel.kind: f"{here}:CountsModel"})


@pytest.fixture
def fitted() -> Fitted:
    return registry.method(Counts.name)().fit(uneven(), ONE)


def blend() -> Fitted:
    members: dict[str, dict[str, Any]] = {
        "new": {"method": Counts.name, "settings": {}},
        "popularity": {"method": "popularity", "settings": {}},
    }
    return Mixture(members).fit(uneven(), ONE)


@pytest.mark.parametrize("make", ["alone", "blended"])
def test_it_is_stored_and_loaded_with_equal_lists(make: str, fitted: Fitted, tmp_path: Path) -> None:
    model = fitted if make == "alone" else blend()
    lb.save(model, tmp_path / "run")
    again = lb.load(tmp_path / "run")
    for domain in model.history.domain_names:
        assert lb.recommend(again, domain, k=5).equals(lb.recommend(model, domain, k=5))


def test_new_users_are_folded_in(fitted: Fitted) -> None:
    listed = lb.fold_in(fitted, {"a": [1, 5]}, "a", k=3)
    query = Queries(np.array([-1], np.int32), {"a": Ragged.from_rows([[1, 5]])})
    scores_I = fitted.score("a", query)[0]
    scores_I[[1, 5]] = -np.inf
    assert listed["item"][0] == int(scores_I.argmax())


def test_events_of_a_query_replace_the_stored_history(fitted: Fitted) -> None:
    row = {"a": Ragged.from_rows([[1, 5]])}
    for model in (fitted, blend()):
        known_BI = model.score("a", Queries(np.array([3], np.int32), row))
        new_BI = model.score("a", Queries(np.array([-1], np.int32), row))
        np.testing.assert_allclose(known_BI, new_BI, rtol=1e-5)
        assert not np.allclose(known_BI, model.score("a", Queries.of_users([3])))


def test_its_own_explanation_is_exact_alone_and_in_a_blend(fitted: Fitted) -> None:
    for model in (fitted, blend()):
        parts = lb.explain(model, "a", 3, 7)
        score = float(model.score("a", Queries.of_users([3]))[0, 7])
        assert parts["contribution"].sum() == pytest.approx(score, rel=1e-4)


def test_it_is_served_over_http(fitted: Fitted, tmp_path: Path) -> None:
    lb.save(fitted, tmp_path / "run")
    with asking(create_app(Service.open(tmp_path / "run"))) as client:
        reply = client.post("/v1/recommend", {"domains": ["a"], "user": 3, "k": 4})
        assert reply.status == 200, reply.body
        expected = lb.recommend(fitted, "a", [3], k=4)["item"].to_list()
        assert [entry["item"] for entry in reply.json["items"]] == expected
        reply = client.post("/v1/explain", {"domain": "a", "user": 3, "item": 7})
        assert reply.status == 200, reply.body
        assert reply.json["exact"] is True


def test_it_takes_part_in_a_benchmark_and_its_report(tmp_path: Path) -> None:
    for name, events in uneven().domains.items():
        table = pl.DataFrame({"user": events.user_idx, "item": events.item_idx, "time": events.time})
        table.write_csv(tmp_path / f"{name}.csv")
    spec = {
        "data": [{"name": "shops", "source": [str(tmp_path / f"{n}.csv") for n in "abc"], "users": "shared"}],
        "methods": [{"label": "new", "name": Counts.name}, {"label": "popular", "name": "popularity"}],
        "seeds": [1],
        "metrics": ["ndcg@10"],
        "by": ["domain"],
        "reference": "popular",
    }
    benchmark(benchmark_spec(spec), tmp_path / "out", Serial(1))
    report(tmp_path / "out", tmp_path / "report.html")
    assert "new" in (tmp_path / "report.html").read_text()
