"""The HTTP interface: every route takes a validated body and answers with ready bytes.

A request holds one service from begin to end, so no answer is made of two models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import Record
from landbridge.serving.engine.messages import Contribution, RecommendationList, Recommendations, Request
from landbridge.serving.engine.service import Service
from landbridge.serving.events.history import UserHistory
from landbridge.serving.http import schemas
from landbridge.serving.http.responses import json_response
from landbridge.serving.runtime.metrics import Metrics
from landbridge.serving.runtime.model_manager import ModelManager

REASONS = 3  # events that speak for an item of a list
NO_NULL = r"^[^\x00]*$"

Text = Annotated[str, Query(min_length=1, max_length=schemas.MAX_TEXT, pattern=NO_NULL)]
User = Annotated[str, Path(min_length=1, max_length=schemas.MAX_TEXT, pattern=NO_NULL)]
Places = Annotated[int, Query(ge=1, le=schemas.MAX_K)]


@dataclass(frozen=True, eq=False)
class Routes:
    """The endpoints."""

    current: ModelManager
    history: UserHistory
    metrics: Metrics

    async def recommend(self, body: schemas.RecommendBody) -> Response:
        """The best items for one user.

        A new user is served from the given events, in any domain. Without any event
        the model's cold-start policy decides, and `source` says "fallback".
        """
        async with self.current.lease() as serving:
            (query,) = await self.history.with_history([body.as_request()], serving.service)
            answer = await serving.batcher.recommend(query)
            self.metrics.observe_response([answer])
            if not body.explain:
                return json_response(answer)
            return json_response(await asyncio.to_thread(_with_reasons, serving.service, query, answer))

    async def recommend_batch(self, body: schemas.BatchBody) -> Response:
        """Lists for several users, in their order."""
        given = [request.as_request() for request in body.requests]
        async with self.current.lease() as serving:
            query = await self.history.with_history(given, serving.service)
            # a thread: scoring in the event loop would stall all other requests
            answers = await asyncio.to_thread(serving.service.recommend, query)
        self.metrics.observe_response(answers)
        return json_response({"answers": answers})

    async def similar(self, body: schemas.SimilarBody) -> Response:
        """Items like this one, of its own domain or of another."""
        async with self.current.lease() as serving:
            result = await asyncio.to_thread(serving.service.similar, body.domain, body.item, body.k, body.to)
            return _listed(result, serving.service)

    async def explain(self, body: schemas.ExplainBody) -> Response:
        """Why an item has its score: what each event adds, and what no single event explains."""
        events = tuple(event.event() for event in body.events)
        given = Request((body.domain,), body.user, events)
        async with self.current.lease() as serving:
            (query,) = await self.history.with_history([given], serving.service)
            explain = serving.service.explain
            result = await asyncio.to_thread(explain, body.domain, body.item, query.user, query.events)
            return json_response(result)

    async def search(self, q: Text, domain: Text | None = None, k: Places = 20) -> Response:
        """Items whose title (or id) contains the words, popular ones first; the score is their events."""
        async with self.current.lease() as serving:
            result = await asyncio.to_thread(serving.service.search, domain, q, k)
            return _listed(result, serving.service)

    async def popular(self, domain: Text | None = None, k: Places = 20) -> Response:
        """The items of a domain, or of all, with the most events, which are the score."""
        async with self.current.lease() as serving:
            result = await asyncio.to_thread(serving.service.popular, domain, k)
            return _listed(result, serving.service)

    async def add_events(self, body: schemas.EventsBody) -> Response:
        """Store events of a user. The answer comes when it is on disk."""
        known = self.current.now.about["domains"]
        if strange := [event.domain for event in body.events if event.domain not in known]:
            raise DataError(unknown("domain", strange[0], known))
        stored = await self.history.append(body.user, [event.event() for event in body.events])
        self.metrics.stored(stored)
        return json_response({"stored": stored})

    async def forget_user(self, user: User) -> Response:
        """Delete a user's events; from now on they are served as a new user."""
        return json_response({"forgotten": await self.history.forget(user)})

    async def model(self) -> Response:
        """What serves: method, settings, domains and their sizes, decisions, quality."""
        async with self.current.lease() as serving:
            return json_response(
                {"model": serving.service.model, **await asyncio.to_thread(serving.service.about)}
            )

    async def healthz(self) -> Response:
        """The process lives."""
        return json_response({"status": "ok"})

    async def readyz(self) -> Response:
        """Which model serves since when, and why the last state of the run folder was refused, if it was."""
        current = self.current
        return json_response(
            {
                "ready": True,
                "model": current.now.service.model,
                "since": current.now.since,
                "swaps": current.swaps,
                "rollbacks": current.rollbacks,
                "failed": current.failed,
            }
        )

    async def metrics_text(self) -> Response:
        """The metrics of this server, for Prometheus."""
        created = datetime.fromisoformat(self.current.now.about["created"])
        age = (datetime.now(UTC) - created).total_seconds()
        return Response(self.metrics.text(age), media_type=CONTENT_TYPE_LATEST)


def _listed(items: Sequence[RecommendationList], service: Service) -> Response:
    return json_response({"items": items, "model": service.model})


def _with_reasons(service: Service, query: Request, answer: Recommendations) -> Record:
    items = [{**asdict(item), "because": _reasons(service, query, item)} for item in answer.items]
    return {**asdict(answer), "items": items}


def _reasons(service: Service, query: Request, item: RecommendationList) -> list[Contribution]:
    """The events that speak most for the item; none where scores do not split by events."""
    try:
        parts = service.explain(item.domain, item.item, query.user, query.events).parts
    except DataError:
        return []
    return [part for part in parts if part.item is not None and part.value > 0][:REASONS]
