"""Items like another one, items by words and by popularity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shops import (
    SIZES,
    USERS,
    by_hand,
    fit,
    opened,
    world,
)

from landbridge.core.errors import DataError
from landbridge.models.popularity import Popularity
from landbridge.serving.engine.service import Service


def test_like_items_by_their_rows(tmp_path: Path) -> None:
    data = world()
    rng = np.random.default_rng(0)
    user_UF, book_IF, film_IF = (rng.standard_normal((n, 3)) for n in (USERS, *SIZES.values()))
    film_IF[5] = 0
    fitted = by_hand(data, {"books": (user_UF, book_IF), "films": (user_UF, film_IF)}, factors=3)
    fitted = replace(fitted, rule=replace(fitted.rule, tie="pooled"))
    service = opened(fitted, tmp_path)
    for to, items_IF in (("films", film_IF), ("books", book_IF)):
        with np.errstate(invalid="ignore"):
            cosine_I = items_IF @ film_IF[9] / np.linalg.norm(items_IF, axis=1) / np.linalg.norm(film_IF[9])
        expected = [n for n in np.argsort(-cosine_I, kind="stable") if to != "films" or n != 9][:4]
        found = service.similar("films", "f09", 4, to)
        assert [entry.item for entry in found] == data.items[to].ids[expected].tolist()
        assert [entry.score for entry in found] == pytest.approx(cosine_I[expected], rel=1e-5)
    assert service.similar("films", "f09", 4) == service.similar("films", "f09", 4, "films")
    assert service.similar("films", "f05") == []


def test_models_without_rows_compare_items_by_users(tmp_path: Path) -> None:
    service = opened(fit(Popularity()), tmp_path)
    dense = {}
    for name, table in service.fitted.history.domains.items():
        dense[name] = np.zeros((USERS, table.n_items))
        dense[name][table.user_idx, table.item_idx] = 1
    for to in SIZES:
        both_I = dense["films"][:, 8] @ dense[to]
        cosine_I = both_I / np.sqrt(dense["films"][:, 8].sum() * np.maximum(dense[to].sum(axis=0), 1))
        found = service.similar("films", "f08", 90, to)
        own = {f"f{n:02d}": n for n in range(90)} if to == "films" else {10 * n: n for n in range(15)}
        assert [entry.score for entry in found] == pytest.approx([cosine_I[own[e.item]] for e in found])
        assert len(found) == (cosine_I > 0).sum() - (to == "films")


def test_likeness_across_domains_needs_a_joint_model(service: Service) -> None:
    name, item = service.fitted.method.name, service.popular("films", 1)[0].item
    assert service.similar("films", item, 3)
    if name in ("ials", "bprmf"):
        with pytest.raises(DataError, match="'films' and 'books' apart"):
            service.similar("films", item, 3, "books")
    else:
        assert {entry.domain for entry in service.similar("films", item, 3, "books")} == {"books"}
    assert service.about()["comparable"] == (name in ("cdimf", "uclr", "conet", "sasrec"))


def test_search_and_popular_items(joint: Service) -> None:
    counts = joint.fitted.history["films"].item_counts
    order = [f"f{n:02d}" for n in np.argsort(-counts, kind="stable")]
    assert [entry.item for entry in joint.popular("films", 90)] == order
    assert joint.popular("films", 1)[0].score == counts.max()
    found = joint.search("films", "  LIGHTS of 5 ", 90)
    assert [e.item for e in found] == [
        i for i in order if "5" in f"Film {int(i[1:])} of {int(i[1:]) % 7} Lights"
    ]
    assert [entry.item for entry in joint.search(None, "120", 3)] == [120]
    assert joint.search("books", "a.b[") == []
    assert len({entry.domain for entry in joint.popular(None, 30)}) == 2


@pytest.mark.parametrize("item", ["10", 10])
def test_numbers_may_be_given_as_text(joint: Service, item: Any) -> None:
    assert joint.similar("books", item, 2) == joint.similar("books", 10, 2)
    for strange in ("010", " 10", "1_0", "10.0", "٣", 2**70, "-"):
        with pytest.raises(DataError, match="has no item"):
            joint.similar("books", strange)
