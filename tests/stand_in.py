"""A service without a model, for tests of what happens around one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from landbridge.core.errors import DataError, unknown
from landbridge.data.item_patches import NO_PATCHES, ItemPatches
from landbridge.data.kinds import EventKinds
from landbridge.serving.engine.messages import (
    AttributeValue,
    Contribution,
    Event,
    RecommendationList,
    Recommendations,
    Request,
    ScoreExplanation,
)

KNOWN = ("alien", "brazil", "dune", "emma")


class StandIn:
    """Lists made-up items that tell which model made them; ``work`` runs before every list."""

    version = run = None
    patches = NO_PATCHES

    def __init__(self, model: str = "a" * 12, work: Callable[[], None] = lambda: None) -> None:
        self.model, self.work = model, work
        self.asked: list[Request] = []
        self.explained: list[Any] = []

    def check(self) -> None:
        """All is well."""

    def with_patches(self, patches: ItemPatches) -> StandIn:
        self.patches = patches
        return self

    def count_known(self, items: Sequence[tuple[str, Any]]) -> int:
        return sum(item in KNOWN for _, item in items)

    def check_kinds(self, events: Sequence[Event]) -> None:
        """As of data without kinds of their own."""
        for event in events:
            EventKinds().standing(event.kind)

    def about(self) -> dict[str, Any]:
        sizes = {"items": 1000, "users": 1, "events": 1}
        return {
            "method": "stand-in",
            "created": "2026-01-01T00:00:00+00:00",
            "domains": {"books": sizes, "movies": sizes},
            "approximate": {},
            "gate": None,
            "privacy": None,
        }

    def recommend(self, requests: Sequence[Request]) -> list[Recommendations]:
        self.asked.extend(requests)
        self.work()
        for request in requests:
            for domain in request.domains:
                self._known(domain)
        return [self._answer(request) for request in requests]

    def page(self, requests: Sequence[Request]) -> list[Recommendations]:
        """One list for each."""
        return self.recommend(requests)

    def similar(
        self, domain: str, item: Any, k: int = 10, to: str | None = None, where: Any = None
    ) -> list[RecommendationList]:
        return self._listed(to or domain, k)

    def search(self, domain: str | None, text: str, k: int = 20) -> list[RecommendationList]:
        return self._listed(domain or "books", k)

    def popular(self, domain: str, k: int = 20, strategy: str = "popular") -> list[RecommendationList]:
        return self._listed(domain, k)

    def attribute_values(self, column: str, text: str = "", k: int = 20) -> list[AttributeValue]:
        return [AttributeValue("en", 3), AttributeValue("x" * 600, 2), AttributeValue(None, 1)][:k]

    def explain(
        self, domain: str, item: Any, user: Any = None, events: Sequence[Event] = ()
    ) -> ScoreExplanation:
        self._known(domain)
        self.explained.append(item)
        if user is None and not events:
            raise DataError("Say for whom: a user or some events.")
        parts = [Contribution(event.domain, event.item, None, 1.0) for event in events]
        rest = Contribution(domain, None, "popular in this domain", 0.5)
        return ScoreExplanation(len(parts) + 0.5, (*parts, rest), True, self.model)

    def explain_all(
        self, domain: str, items: Sequence[Any], user: Any = None, events: Sequence[Event] = ()
    ) -> list[ScoreExplanation]:
        return [self.explain(domain, item, user, events) for item in items]

    def user_id(self, user: Any) -> Any:
        return user

    def user_ids(self, users: Sequence[Any]) -> list[Any]:
        return list(users)

    def knows_user(self, user: Any) -> bool:
        return bool(user == "alice")

    def understood(self, events: Sequence[Event]) -> tuple[Event, ...]:
        return tuple(event for event in events if event.item in KNOWN)

    def _answer(self, request: Request) -> Recommendations:
        items = self._listed(request.domains[0], request.k)
        known = request.user == "alice"
        return Recommendations(
            tuple(items), "model" if known or request.events else "fallback", known, self.model
        )

    def _listed(self, domain: str, k: int) -> list[RecommendationList]:
        self._known(domain)
        return [RecommendationList(domain, f"{self.model}-{n}", None, 1 / (1 + n)) for n in range(k)]

    def _known(self, domain: str) -> None:
        if domain not in self.about()["domains"]:
            raise DataError(unknown("domain", domain, self.about()["domains"]))
