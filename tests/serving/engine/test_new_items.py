"""Service: new items in lists, marked; and none where the model cannot know them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from worlds import shelves

from landbridge import explain_features, store
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.mixture import Mixture
from landbridge.models.popularity import Popularity
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.engine.service import Service
from landbridge.training.options import FitOptions


def service(folder: Path, method: Method) -> Service:
    store.save(method.fit(shelves(), FitOptions(threads=1)), folder)
    return Service.open(folder)


def test_new_items_are_listed_and_marked(tmp_path: Path) -> None:
    own = service(tmp_path / "run", IALS(8, "joined"))
    own.check()
    answer = own.recommend([Request(("food",), 0, (), k=40)])[0]
    assert {entry.item for entry in answer.items if entry.cold} == set(range(20, 40))
    # an event of a new item counts as any other's
    request = Request(("food",), None, (Event("food", 21),), k=5)
    assert all(int(entry.item) % 4 == 1 for entry in own.recommend([request])[0].items)


def test_a_model_without_features_lists_none(tmp_path: Path) -> None:
    own = service(tmp_path / "run", IALS(8, "joined", feature_reg=1e9))
    own.check()
    requests = [Request(("food",), 0, (), k=40), Request(("food",), 0, (), k=40, allow={"food": [1, 21]})]
    for answer in own.recommend(requests):
        assert answer.items
        assert not any(entry.cold or int(entry.item) >= 20 for entry in answer.items)


def test_a_blend_lists_items_of_a_later_table(tmp_path: Path) -> None:
    """As ``auto`` makes them: of members of which some use features."""
    methods: list[Method] = [Popularity(), EASE(), ItemKNN(), CDIMF(4, epochs=2), IALS(4, feature_reg=1e9)]
    members = {str(n): {"method": each.name, "settings": each.flat()} for n, each in enumerate(methods)}
    data = shelves()
    assert data.item_features is not None
    features = replace(data.item_features, weight_V=np.ones(4, np.float32))
    fitted = Mixture(members).fit(replace(data, item_features=features), FitOptions(threads=1))
    store.save(fitted, tmp_path / "run")
    later = {"domain": "food", "item": [40, 41, 42, 43], "kind": [*"abcd"]}
    pl.DataFrame(later).write_csv(tmp_path / "later.csv")
    own = Service.open(tmp_path / "run", item_features=tmp_path / "later.csv")
    own.check()
    assert not Service.open(tmp_path / "run").count_known([("food", 40)])
    rows = own.recommend([Request(("food",), user, (), k=44) for user in range(8)])
    first = [next(entry for entry in each.items if int(entry.item) >= 40) for each in rows]
    assert all(entry.cold for entry in first)
    assert [int(entry.item) % 4 for entry in first] == [user % 4 for user in range(8)]
    assert own.explain("food", 40, 0).features


@pytest.mark.parametrize("method", [IALS(8, "joined"), EASE(), ItemKNN()], ids=str)
def test_reasons_name_the_features_of_an_item(method: Method, tmp_path: Path) -> None:
    own = service(tmp_path / "run", method)
    parts = {part.feature: part.value for part in own.explain("food", 20, 0).features}
    assert parts == pytest.approx(dict(explain_features(own.fitted, "food", 0, 20).rows()))
    assert parts.keys() == {"kind = a"}
    assert parts["kind = a"] > 0
    # of a new user by their events, and of nobody
    assert own.explain("food", 20, None, (Event("food", 0),)).features[0].value > 0
    assert not own.explain("food", 20).features
