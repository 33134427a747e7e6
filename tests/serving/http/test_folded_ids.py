"""Runs whose ids were folded when they were read: every spelling of an id is one user, one item."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from asgi import asking

from landbridge import read, recommend, store
from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.models.als.ials import IALS
from landbridge.serving.engine.service import Service
from landbridge.serving.events.store import EventStore
from landbridge.serving.http.app import create_app
from landbridge.training.options import FitOptions

USERS = [" Ann", "ANN", "bob", "Bob ", "cy"]
BOOKS = pl.DataFrame({"user": USERS, "item": ["A", "b", "a", "C", "c"]})
FILMS = pl.DataFrame({"user": USERS, "item": ["X", "y", "x", "Y", "z"]})


def folded(users: str = "shared") -> MultiDomain:
    return read({"Books": BOOKS, "Films": FILMS}, users=users, fold_ids=True)


def test_a_saved_run_still_folds(tmp_path: Path) -> None:
    fitted = IALS(factors=2).fit(folded(), FitOptions(threads=1))
    store.save(fitted, tmp_path / "run")
    loaded = store.load(tmp_path / "run")
    lists = [recommend(loaded, "Books", [spelling])["item"].to_list() for spelling in ("ann", " ANN ")]
    assert lists[0] == lists[1] == ["c"]
    assert loaded.history.items["Books"].index(["A ", "nothing"]).tolist() == [0, -1]


def test_local_users_fold_with_the_names_of_their_domains() -> None:
    data = folded("local")
    assert data.users.index(["Books:ANN", "books:ann", "Films:Bob "]).tolist() == [0, 0, 4]
    with pytest.raises(DataError, match="are one when ids are folded"):
        read({"Books": BOOKS, "books": FILMS}, users="local", fold_ids=True)


def test_events_of_one_spelling_are_known_to_another(tmp_path: Path) -> None:
    fitted = IALS(factors=2).fit(folded(), FitOptions(threads=1))
    store.save(fitted, tmp_path / "run")
    events = EventStore.open(str(tmp_path / "events.sqlite"))
    with asking(create_app(Service.open(tmp_path / "run"), store=events)) as client:
        body = {"user": "DORA ", "events": [{"domain": "Books", "item": "A"}]}
        assert client.post("/v1/events", body).json == {"stored": 1}
        answer = client.post("/v1/recommend", {"user": "dora", "domains": ["Books"], "k": 5}).json
        assert {item["item"] for item in answer["items"]} == {"b", "c"}
        assert client.delete("/v1/users/Dora").json == {"forgotten": 1}
        client.delete("/v1/users/BOB")
        assert events.forgotten() == {"bob", "dora"}
