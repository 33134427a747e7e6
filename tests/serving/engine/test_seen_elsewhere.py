"""Requests that want no product which their user has in another domain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from shops import opened
from worlds import uneven

from landbridge.data.dataset import MultiDomain
from landbridge.data.products import equal_ids, products_of
from landbridge.inference import ListRules, recommend
from landbridge.models.als.ials import IALS
from landbridge.models.linear.ease import EASE
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.engine.service import Service


@pytest.fixture(scope="module", params=[IALS(factors=4, epochs=2, sharing="joined"), EASE()])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """Ids 0 to 24 are in all three domains."""
    data = uneven()
    products = products_of(data.items, equal_ids(data.items), by_id=True)
    return opened(request.param.fit(replace(data, products=products)), tmp_path_factory.mktemp("run"))


def listed(shop: Service, *requests: Request) -> list[set[int]]:
    return [{int(entry.item) for entry in answer.items} for answer in shop.recommend(list(requests))]


def had(data: MultiDomain, user: int, *domains: str) -> set[int]:
    return {int(item) for name in domains for item in data[name].by_user.take([user]).columns}


def test_known_users_get_the_librarys_lists(shop: Service) -> None:
    users = range(20)
    answers = listed(shop, *(Request(("a",), user, k=40, seen_elsewhere=False) for user in users))
    frame = recommend(shop.fitted, "a", list(users), k=40, rules=ListRules(seen_elsewhere=False))
    for user, items in zip(users, answers, strict=True):
        assert items == set(frame.filter(user=user)["item"].to_list())
        assert not items & had(shop.fitted.history, user, "b", "c")


@pytest.mark.parametrize("seen", [False, True])
def test_each_request_of_a_batch_gets_what_it_wants(shop: Service, seen: bool) -> None:
    """With events of theirs and without, strangers among them; by ``seen`` own items stay listed."""
    event = (Event("b", 7),)
    plain, apart, live, stranger, unmoved = listed(
        shop,
        Request(("a",), 1, k=40, seen=seen),
        Request(("a",), 1, k=40, seen=seen, seen_elsewhere=False),
        Request(("a",), 1, event, k=40, seen=seen, seen_elsewhere=False),
        Request(("a",), None, event, k=40, seen=seen, seen_elsewhere=False),
        Request(("a",), None, event, k=40, seen=seen),
    )
    elsewhere = had(shop.fitted.history, 1, "b", "c")
    assert elsewhere & plain
    assert apart == plain - elsewhere
    assert live == plain - elsewhere - {7}
    assert stranger == unmoved - {7}
    assert 7 in unmoved


def test_one_list_over_several_domains(shop: Service) -> None:
    (answer,) = shop.recommend([Request(("a", "b"), 1, k=200, seen_elsewhere=False)])
    for entry in answer.items:
        others = {"a": ("b", "c"), "b": ("a", "c")}[entry.domain]
        assert int(entry.item) not in had(shop.fitted.history, 1, *others)
