"""The HTTP interface: every route takes a validated body and answers with ready bytes.

A request holds one service from begin to end, so no answer is made of two models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypeVar
from uuid import uuid4

import orjson
from fastapi import Path, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST

from landbridge.core.errors import DataError, LandbridgeError, unknown
from landbridge.core.types import Id, Record
from landbridge.data.time_units import LATEST_SECOND
from landbridge.serving.engine.messages import (
    Contribution,
    EntryError,
    Event,
    RecommendationList,
    Recommendations,
    Request,
)
from landbridge.serving.engine.service import Service
from landbridge.serving.events.history import UserHistory
from landbridge.serving.events.store import UNNAMED
from landbridge.serving.http import schemas
from landbridge.serving.http.responses import json_response
from landbridge.serving.runtime.ab_testing import ServedRuns
from landbridge.serving.runtime.impressions import ImpressionLog
from landbridge.serving.runtime.metrics import Metrics
from landbridge.serving.runtime.micro_batching import answers_each
from landbridge.serving.runtime.model_manager import ActiveModel, ModelManager
from landbridge.serving.runtime.work_pool import Bounded, WorkPool

EntryT = TypeVar("EntryT")
MakeLists: TypeAlias = Callable[[Service, list[Request]], list[Recommendations | Exception]]
MODEL_BEHIND = "The run folder holds a newer state that cannot be served."
REASONS = 3  # events that speak for an item of a list
NO_NULL = r"^[^\x00]*$"


def _text(description: str, least: int = 1) -> Any:
    return Query(min_length=least, max_length=schemas.MAX_TEXT, pattern=NO_NULL, description=description)


Strategy = Annotated[
    schemas.Strategy,
    Query(
        description="What comes first: items with the most events; with the most of late, an event counting "
        "half after a week; or those that were first seen last, whose score is that time in seconds."
    ),
]
Words = Annotated[str, _text("The words, in any order, without regard to case and accents.")]
OptionalWords = Annotated[str, _text("Words that a value must hold; none for all values.", 0)]
Domain = Annotated[str | None, _text("The domain of the items; all domains by default.")]
Column = Annotated[str, _text("The name of a column of the items' table.")]
User = Annotated[
    str, Path(min_length=1, max_length=schemas.MAX_TEXT, pattern=NO_NULL, description="The user's id.")
]
OfUser = Annotated[str, _text("The user of the event.")]
EventId = Annotated[str | None, _text("The id that the event was sent with.")]
OfDomain = Annotated[str | None, _text("Of an event without an id: its domain.")]
OfItem = Annotated[str | None, _text("Of an event without an id: its item.")]
OfKind = Annotated[str | None, _text("Of an event without an id: its kind, if it has one.")]
Run = Annotated[str | None, _text("The run of an A/B test, a or b; a by default.")]
AtTime = Annotated[
    int | None,
    Query(
        gt=-LATEST_SECOND,
        lt=LATEST_SECOND,
        description="Of an event without an id: its time, in whole seconds since 1970.",
    ),
]
Places = Annotated[int, Query(ge=1, le=schemas.MAX_K, description="Length of the list.")]
Offset = Annotated[
    int,
    Query(
        ge=0,
        lt=schemas.MAX_K,
        description="How many entries come before this part of the list; with k at most 1,000.",
    ),
]


@dataclass(frozen=True, eq=False)
class WorkPools:
    """Where the work of requests is done that are no single list."""

    batches: WorkPool
    lookups: WorkPool
    explanations: WorkPool

    @classmethod
    def of(cls) -> WorkPools:
        """One thread each where a request may take long, so that lists keep most of the processor."""
        return cls(
            WorkPool("batches of lists", threads=1, waiting=31),
            WorkPool("searches", threads=2, waiting=62),
            WorkPool("explanations", threads=1, waiting=15),
        )

    def all(self) -> tuple[WorkPool, ...]:
        """Every pool."""
        return self.batches, self.lookups, self.explanations


@dataclass(frozen=True, eq=False)
class Routes:
    """The endpoints."""

    runs: ServedRuns
    history: UserHistory
    metrics: Metrics
    pools: WorkPools
    timeout: float
    impressions: ImpressionLog | None = None

    @property
    def current(self) -> ModelManager:
        """The run that answers what is about no user."""
        return self.runs.first

    async def recommend(self, body: schemas.RecommendBody) -> Response:
        """The best items for one user.

        A new user is served from the given events, in any domain. Without any event
        the model's cold-start policy decides, and `source` says "fallback".
        """
        async with self.runs.of(body.user).lease() as serving:
            (query,), degraded = await self.history.with_history([body.as_request()], serving.service)
            answer = _answered(await serving.batcher.recommend(query), body, degraded)
            self._log_impressions([query], [answer], [body])
            self.metrics.observe_response([answer])
            if not body.explain:
                return json_response(answer)
            return json_response(
                await self.pools.explanations.run(_with_reasons, serving.service, query, answer)
            )

    async def recommend_batch(self, body: schemas.BatchBody) -> Response:
        """Lists for several users, in their order.

        With `partial`, a request that is wrong is answered by `error` and `status` in its place.
        """
        right = [entry for entry in body.entries if not isinstance(entry, EntryError)]
        lists: dict[int, tuple[Request, Recommendations | EntryError]] = {}
        for manager, places in self.runs.divided([request.user for request in right]):
            own = [right[place] for place in places]
            made = await self._lists(manager, own, answers_each if body.partial else _all_or_none)
            lists |= zip(places, made, strict=True)
        made_in_order = [lists[place] for place in range(len(right))]
        queries, complete = [query for query, _ in made_in_order], [answer for _, answer in made_in_order]
        self._log_impressions(queries, complete, right)
        self.metrics.observe_response(each for each in complete if not isinstance(each, EntryError))
        in_order = iter(complete)
        answers = [entry if isinstance(entry, EntryError) else next(in_order) for entry in body.entries]
        return json_response({"answers": answers})

    async def _lists(
        self, manager: ModelManager, bodies: Sequence[schemas.RecommendBody], make: MakeLists
    ) -> list[tuple[Request, Recommendations | EntryError]]:
        """What was requested of a run, each with its answer."""
        async with manager.lease() as serving:
            given = [request.as_request() for request in bodies]
            queries, degraded = await self.history.with_history(given, serving.service)
            # a thread: scoring in the event loop would stall all other requests
            lists = await self.pools.batches.run(make, serving.service, queries)
        return [
            (query, _answered_or_error(answer, body, degraded))
            for query, answer, body in zip(queries, lists, bodies, strict=True)
        ]

    async def page(self, body: schemas.PageBody) -> Response:
        """Several lists of one page, without repetition: none holds an item, or its product in another
        domain, of the lists above it."""
        async with self.runs.of(body.user).lease() as serving:
            queries, degraded = await self.history.with_history(body.as_requests(), serving.service)
            lists = await self.pools.batches.run(serving.service.page, queries)
        answers = [_answered(answer, each, degraded) for answer, each in zip(lists, body.lists, strict=True)]
        self.metrics.observe_response(answers)
        self._log_impressions(queries, answers, body.lists)
        return json_response({"lists": answers})

    async def similar(self, body: schemas.SimilarBody) -> Response:
        """Items like this one, of its own domain or of another."""
        async with self.current.lease() as serving:
            result = await self.pools.lookups.run(
                serving.service.similar, body.domain, body.item, body.offset + body.k, body.to, body.where
            )
            return _listed(result[body.offset :], serving.service)

    async def explain(self, body: schemas.ExplainBody) -> Response:
        """Why an item has its score: what each event adds, what no single event explains, and what the
        features of the item add."""
        events = tuple(event.event() for event in body.events)
        given = Request((body.domain,), body.user, events)
        async with self.runs.of(body.user).lease() as serving:
            (query,), degraded = await self.history.with_history([given], serving.service)
            result = await self.pools.explanations.run(
                serving.service.explain, body.domain, body.item, query.user, query.events
            )
            return json_response({**asdict(result), "degraded": degraded})

    async def search(self, q: Words, domain: Domain = None, k: Places = 20, offset: Offset = 0) -> Response:
        """Items whose title or id contains the words, popular ones first; the score is their events."""
        async with self.current.lease() as serving:
            result = await self.pools.lookups.run(serving.service.search, domain, q, _end(offset, k))
            return _listed(result[offset:], serving.service)

    async def popular(
        self, domain: Domain = None, k: Places = 20, offset: Offset = 0, strategy: Strategy = "popular"
    ) -> Response:
        """The items of a domain, or of all, with the most events, which are the score; or those that are
        trending or latest, as of the events that the model was fitted on."""
        async with self.current.lease() as serving:
            result = await self.pools.lookups.run(serving.service.popular, domain, _end(offset, k), strategy)
            return _listed(result[offset:], serving.service)

    async def values(
        self, column: Column, q: OptionalWords = "", k: Places = 20, offset: Offset = 0
    ) -> Response:
        """Values of a column of the items' table that hold the words, those of most items first; null is the
        value of items that have none. Each may stand in `where`."""
        async with self.current.lease() as serving:
            service = serving.service
            found = await self.pools.lookups.run(service.attribute_values, column, q, _end(offset, k))
            usable = [each for each in found[offset:] if schemas.is_condition(each.value)]
            return json_response({"values": usable, "model": service.model})

    async def add_events(self, body: schemas.EventsBody) -> Response:
        """Store events of a user, or of many. The answer comes when it is on disk.

        A request that was not answered, or answered with 503, may be sent again: an event of a user with the
        same `id`, or the same domain, item, time and kind, is stored once. With `partial`, `errors` has those
        that are wrong, and the others are stored.
        """
        active = self.current.now
        checked = [_checked(entry, place, body.user, active) for place, entry in enumerate(body.entries)]
        right, wrong = _divided(checked, body.partial)
        users = active.service.user_ids([user for user, _ in right])
        events = [(user, event) for user, (_, event) in zip(users, right, strict=True)]
        stored = await self.history.append(events, self.timeout)
        self.metrics.stored(stored)
        return json_response({"stored": stored, **(_errors(wrong) if body.partial else {})})

    async def patch_items(self, body: schemas.ItemsBody) -> Response:
        """Say something of items: titles, prices, stock, any column of `where`; `hidden` ones are in no list.

        It is kept in the event store, goes before the items' table, and counts from the answer on; on other
        servers of the store within the seconds of `--poll`. With `partial`, `errors` has wrong entries.
        """
        active = self.current.now
        checked = [self._checked_item(entry, active) for entry in body.entries]
        right, wrong = _divided(checked, body.partial)
        # of two rows about one column of an item the later counts
        rows = {
            (each.domain, str(each.item), name): orjson.dumps(value).decode()
            for each in right
            for name, value in each.values.items()
        }
        if rows:
            await self.history.patch_items([(*key, value) for key, value in rows.items()])
            patches = await self.history.item_patches(self.current.patches)
            for manager in self.runs.all():
                await manager.patch_items(patches)
        unknown_items = len(right) - active.service.count_known([(each.domain, each.item) for each in right])
        kept = {"patched": len(right), "unknown": unknown_items}
        return json_response({**kept, **(_errors(wrong) if body.partial else {})})

    def _checked_item(
        self, entry: schemas.ItemBody | EntryError, active: ActiveModel
    ) -> schemas.ItemBody | EntryError:
        if isinstance(entry, EntryError):
            return entry
        known = active.about["domains"]
        if entry.domain not in known:
            return EntryError(unknown("domain", entry.domain, known))
        if len(self.current.patches.names.union(entry.values)) > schemas.MAX_NAMED:
            return EntryError(f"At most {schemas.MAX_NAMED} columns may be patched.")
        return entry

    async def delete_event(
        self,
        user: OfUser,
        id: EventId = None,
        domain: OfDomain = None,
        item: OfItem = None,
        time: AtTime = None,
        kind: OfKind = None,
    ) -> Response:
        """Delete one stored event, named as a repeated one is recognised: by its `id`, else by its domain,
        item, time and, if it has one, kind.

        What a model has learned from it stays until the model is fitted without it.
        """
        if id is None and (domain is None or item is None or time is None):
            raise DataError(UNNAMED)
        event = Event(domain or "", item or "", time, id, kind)
        user_id = self.current.now.service.user_id(user)
        return json_response({"deleted": await self.history.delete(user_id, event)})

    async def forget_user(self, user: User) -> Response:
        """Delete a user's events; from now on they are served as a new user."""
        user_id = str(self.current.now.service.user_id(user))
        if self.impressions is not None:
            self.impressions.forget(user_id)
        known = any(manager.now.service.knows_user(user) for manager in self.runs.all())
        return json_response({"forgotten": await self.history.forget(user_id, known)})

    async def model(self, run: Run = None) -> Response:
        """What serves: method, settings, domains and their sizes, decisions, quality, the gate's report."""
        async with self.runs.named(run).lease() as serving:
            service = serving.service
            facts = await self.pools.lookups.run(service.about)
            return json_response({**_identity(service), **facts})

    async def healthz(self) -> Response:
        """The process lives."""
        return json_response({"status": "ok"})

    async def readyz(self) -> Response:
        """Which model serves since when, and what is wrong with later ones, the store and the load; 503 where
        the run was found to be damaged."""
        for manager in self.runs.all():
            manager.check_whole()
        second = self.runs.second
        return json_response(
            {
                "ready": True,
                **_state(self.current),
                "against": None if second is None else _state(second),
                "problems": self._problems(),
            }
        )

    def _log_impressions(
        self,
        queries: Sequence[Request],
        answers: Sequence[Recommendations | EntryError],
        bodies: Sequence[schemas.RecommendBody],
    ) -> None:
        if self.impressions is None:
            return
        for query, answer, body in zip(queries, answers, bodies, strict=True):
            if not isinstance(answer, EntryError):
                self.impressions.record(query.user, answer, body.offset)

    def _problems(self) -> list[str]:
        """What a balancer need not act on, and an operator should: lists are answered all the same."""
        pools: tuple[Bounded, ...] = (
            *(manager.now.batcher for manager in self.runs.all()),
            *self.pools.all(),
            self.history.reading,
            self.history.writing,
        )
        return [
            *(_behind(manager) for manager in self.runs.all() if manager.failed),
            *self.history.problems,
            *([self.impressions.problem] if self.impressions and self.impressions.problem else []),
            *(f"The server is busy with {pool.kind}." for pool in pools if pool.is_full()),
        ]

    async def metrics_text(self) -> Response:
        """The metrics of this server, for Prometheus."""
        ages = {
            manager.now.service.run: datetime.now(UTC) - datetime.fromisoformat(manager.now.about["created"])
            for manager in self.runs.all()
        }
        text = self.metrics.text({run: age.total_seconds() for run, age in ages.items()})
        return Response(text, media_type=CONTENT_TYPE_LATEST)


def _listed(items: Sequence[RecommendationList], service: Service) -> Response:
    return json_response({"items": items, **_identity(service)})


def _identity(service: Service) -> Record:
    return {"model": service.model, "version": service.version, "run": service.run}


def _state(manager: ModelManager) -> Record:
    """What serves of a run since when, and what became of later models."""
    return {
        **_identity(manager.now.service),
        "since": manager.now.since,
        "swaps": manager.swaps,
        "rollbacks": manager.rollbacks,
        "failed": manager.failed,
    }


def _behind(manager: ModelManager) -> str:
    run = manager.now.service.run
    return MODEL_BEHIND if run is None else f"Run {run}: {MODEL_BEHIND}"


def _divided(
    checked: Sequence[EntryT | EntryError], partial: bool
) -> tuple[list[EntryT], list[tuple[int, EntryError]]]:
    """The right entries, and the wrong ones with their places; DataError for one unless ``partial``."""
    wrong = [(place, each) for place, each in enumerate(checked) if isinstance(each, EntryError)]
    if wrong and not partial:
        raise DataError(wrong[0][1].error)
    return [each for each in checked if not isinstance(each, EntryError)], wrong


def _errors(wrong: Sequence[tuple[int, EntryError]]) -> Record:
    return {"errors": [{"entry": place, **asdict(each)} for place, each in wrong]}


def _checked(
    entry: schemas.UserEventBody | EntryError, place: int, everyone: Id | None, active: ActiveModel
) -> tuple[Id, Event] | EntryError:
    """An event and its user, or what is wrong with it."""
    if isinstance(entry, EntryError):
        return entry
    user = everyone if entry.user is None else entry.user
    if user is None:
        return EntryError(f"events.{place}: name the user of the event, or one user for all events.")
    event, known = entry.event(), active.about["domains"]
    if event.domain not in known:
        return EntryError(unknown("domain", event.domain, known))
    try:
        active.service.check_kinds([event])
    except DataError as error:
        return EntryError(str(error))
    return user, event


def _end(offset: int, k: int) -> int:
    """How many places of the whole list this part ends at."""
    try:
        schemas.check_depth(offset, k)
    except ValueError as error:
        raise DataError(f"The query: {error}.") from None
    return offset + k


def _answered(answer: Recommendations, body: schemas.RecommendBody, degraded: bool) -> Recommendations:
    """The part of a list that was requested, with an id of its own."""
    items = answer.items[body.offset :]
    return replace(answer, items=items, degraded=degraded, recommendation_id=uuid4().hex)


def _answered_or_error(
    answer: Recommendations | Exception, body: schemas.RecommendBody, degraded: bool
) -> Recommendations | EntryError:
    if isinstance(answer, LandbridgeError):
        return EntryError(str(answer))
    if isinstance(answer, Exception):
        raise answer
    return _answered(answer, body, degraded)


def _all_or_none(service: Service, requests: list[Request]) -> list[Recommendations | Exception]:
    return [*service.recommend(requests)]


def _with_reasons(service: Service, query: Request, answer: Recommendations) -> Record:
    reasons = _reasons(service, query, answer.items)
    items = [{**asdict(item), "because": reasons[item.domain, item.item]} for item in answer.items]
    return {**asdict(answer), "items": items}


def _reasons(
    service: Service, query: Request, items: Sequence[RecommendationList]
) -> Mapping[tuple[str, Id], list[Contribution]]:
    """What speaks for each item; nothing where scores do not split by events."""
    reasons: dict[tuple[str, Id], list[Contribution]] = defaultdict(list)
    with suppress(DataError):
        for domain in {item.domain for item in items}:
            own = [item.item for item in items if item.domain == domain]
            for item, explained in zip(
                own, service.explain_all(domain, own, query.user, query.events), strict=True
            ):
                reasons[domain, item] = _speaking(explained.parts)
    return reasons


def _speaking(parts: Sequence[Contribution]) -> list[Contribution]:
    """The events that speak most for an item, and what no event explains, such as popularity: without it a
    list would give the credit for a popular item to the user's events."""
    positive = [part for part in parts if part.value > 0]
    events = [part for part in positive if part.item is not None][:REASONS]
    return [part for part in positive if part.item is None or part in events]
