"""Service: new items in lists, marked; and none where the model cannot know them."""

from __future__ import annotations

from pathlib import Path

import pytest
from worlds import shelves

from landbridge import explain_features, store
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
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
