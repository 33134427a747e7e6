"""Filters of lists: seen, allowed, denied, and what a table of the items says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shops import (
    FEW,
    SIZES,
    USERS,
    by_hand,
    fit,
    lists,
    opened,
    pairs,
    world,
)

from landbridge.core.errors import DataError
from landbridge.data.interactions import Interactions
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.base import Fitted
from landbridge.models.popularity import Popularity
from landbridge.serving.engine.messages import Request
from landbridge.serving.engine.service import Service


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return opened(fit(CDIMF(**FEW)), tmp_path_factory.mktemp("joint"))


def test_filters_by_hand(tmp_path: Path) -> None:
    """Person u00 likes film n as much as n says."""
    service = opened(liking_late_films(), tmp_path, items_table(tmp_path))
    noir, some = {"genre": "noir"}, {"films": ("f03", "f04", "f06")}
    asked = {
        "top": (Request(("films",), "u00", k=2), ["f89", "f88"]),
        "deny": (Request(("films",), "u00", k=2, deny={"films": ("f89", "nothing", 7)}), ["f88", "f87"]),
        "allow": (Request(("films",), "u00", allow={"films": ("f3", "f80", "f04")}), ["f80", "f04"]),
        "none": (Request(("films",), "u00", allow={"films": ()}), []),
        "elsewhere": (Request(("films",), "u00", k=1, allow={"books": ()}, deny={"books": (10,)}), ["f89"]),
        "where": (Request(("films",), "u00", k=2, where={"genre": "noir"}), ["f87", "f84"]),
        "either": (Request(("films",), "u00", k=3, where={"genre": ["noir", "war"]}), ["f88", "f87", "f85"]),
        "both": (Request(("films",), "u00", k=2, where={"genre": "noir", "stock": True}), ["f84", "f78"]),
        "number": (Request(("films",), "u00", k=1, where={"year": 1950}), ["f50"]),
        "no such": (Request(("films",), "u00", where={"genre": "opera"}), []),
        "all": (Request(("films",), "u00", where=noir, allow=some, deny={"films": ("f06",)}), ["f03"]),
    }  # fmt: skip
    answers = service.recommend([request for request, _ in asked.values()])
    for (name, (_, expected)), answer in zip(asked.items(), answers, strict=True):
        assert [item for _, item in pairs(answer.items)] == expected, name


def liking_late_films() -> Fitted:
    """Nobody has a film but u23, who has the first."""
    data = world()
    films = Interactions.from_events([23], [0], USERS, SIZES["films"])
    data = data.with_events({"books": data["books"], "films": films})
    rows = {"films": (np.ones((USERS, 1)), np.arange(SIZES["films"])[:, None])}
    rows["books"] = np.ones((USERS, 1)), np.ones((SIZES["books"], 1))
    return by_hand(data, rows, factors=1, cold_policy="mean")


def items_table(folder: Path) -> Path:
    number = np.arange(SIZES["films"])
    table = pl.DataFrame(
        {
            "domain": "films",
            "item": [f"f{n:02d}" for n in number],
            "genre": [("noir", "war", None)[n % 3] for n in number],
            "stock": number % 2 == 0,
            "year": (1900.0 + number).tolist(),
        }
    )
    strange = pl.DataFrame({"domain": ["games", "films"], "item": ["g", "new"], "genre": ["noir", "noir"]})
    pl.concat([table, strange], how="diagonal").write_parquet(folder / "items.parquet")
    return folder / "items.parquet"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_filters_leave_the_best_of_what_is_left(joint: Service, data: st.DataObject) -> None:
    ids = [f"f{n:02d}" for n in range(SIZES["films"])]
    some = st.lists(st.sampled_from([*ids, "unknown"]), max_size=90)
    user = data.draw(st.sampled_from(joint.fitted.history.users.ids.tolist()))
    deny, allow = data.draw(some), data.draw(st.none() | some)
    seen, k = data.draw(st.booleans()), data.draw(st.integers(1, 100))
    allowed = {} if allow is None else {"films": tuple(allow)}
    request = Request(("films",), user, (), k, seen, allowed, {"films": tuple(deny)})
    every = lists(joint, Request(("films",), user, k=90, seen=seen))[0]
    left = [pair for pair in every if pair[1] not in deny and (allow is None or pair[1] in allow)]
    assert lists(joint, request)[0] == left[:k]


def test_tables_of_items_may_be_text(tmp_path: Path) -> None:
    """CSV knows no types; ids of the model are found as numbers, of a repeated item the last row counts."""
    path = tmp_path / "items.csv"
    path.write_text("domain,item,shelf,title\nbooks,10,3,Ten\nbooks,20,4,Twenty\nbooks,10,4,\nfilms,f01,,\n")
    service = opened(fit(Popularity()), tmp_path, path)
    found = service.recommend(
        [Request(("books",), where={"shelf": 4}), Request(("films",), where={"shelf": 4})]
    )
    assert {item for _, item in pairs(found[0].items)} == {10, 20}
    assert pairs(found[1].items) == []
    titles = {entry.item: entry.title for entry in service.popular("books", 15)}
    assert (titles[10], titles[20], titles[30]) == (None, "Twenty", None)
    assert service.about()["filters"] == ["shelf", "title"]
    assert service.search("films", "lights 13")[0].title == "Film 13 of 6 Lights"


def test_bad_filters_are_refused(tmp_path: Path) -> None:
    service = opened(fit(Popularity()), tmp_path, items_table(tmp_path))
    with pytest.raises(DataError, match=r"Unknown column of the items' table 'gener': did you mean 'genre'"):
        service.recommend([Request(("films",), where={"gener": "noir"})])
    with pytest.raises(DataError, match="A value in 'where' is text, a number"):
        service.recommend([Request(("films",), where={"genre": {"noir": 1}})])
    (tmp_path / "bad.csv").write_text("item,genre\n1,a\n")
    with pytest.raises(DataError, match="no column 'domain'"):
        Service.open(tmp_path / "run", tmp_path / "bad.csv")
