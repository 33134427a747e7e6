"""A run folder as a service without any framework: requests in, lists, likenesses and reasons out.

Opening compares every checksum, so every byte is read once, unless that is left for later; nothing is
unpickled. A service never changes and may be used by several threads at once. A new state of the folder is a
new service.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np

from landbridge.core.errors import DataError, StoreError, as_store_error
from landbridge.core.files import locked
from landbridge.core.threads import thread_limit
from landbridge.core.types import Float32, Id, Int32, Ragged, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.item_attributes import ItemAttributes, read_items
from landbridge.data.item_patches import NO_PATCHES, ItemPatches
from landbridge.data.item_rules import rule_of
from landbridge.inference import same_products, with_later_items
from landbridge.models.base import Fitted, Queries
from landbridge.ranking.strategies import POPULAR
from landbridge.ranking.top_k import top_k
from landbridge.serving.engine.approximate import approximate_ranker
from landbridge.serving.engine.attribute_values import AttributeValues
from landbridge.serving.engine.cancellation import checkpoint
from landbridge.serving.engine.catalog import ItemCatalog, catalog_of, indices_of
from landbridge.serving.engine.explanations import Explainer
from landbridge.serving.engine.loading import load_model
from landbridge.serving.engine.messages import (
    AttributeValue,
    Event,
    RecommendationList,
    Recommendations,
    Request,
    ScoreExplanation,
)
from landbridge.serving.engine.query_builder import QueryBatch, QueryGroup, list_length
from landbridge.serving.engine.rankers import Ranker, ranker_of
from landbridge.serving.engine.reordering import Reorderer
from landbridge.serving.runtime.logging import log
from landbridge.store import load, load_unverified, run_folder, version_of
from landbridge.store.folder import MANIFEST, read_manifest

MODEL, FALLBACK = "model", "fallback"
FIRST_ITEM = np.zeros(1, np.int32)
PROBES = 3  # known users per domain in the self-check
AGREEMENT = 1e-3  # of two ways to compute a score, as a share of the largest


@dataclass(frozen=True, eq=False)
class Service:
    """Open one with :meth:`open`. ``model``: the state of the run folder it answers from; ``version``: its
    name in a versions folder; ``gate``: what the gate of the refit reported of it; ``run``: its name in an
    A/B test."""

    fitted: Fitted
    model: str
    version: str | None
    created: datetime
    quality: Values | None
    gate: Values | None
    catalogues: Mapping[str, ItemCatalog]
    ranker: Ranker
    approximate: Mapping[str, float]
    patches: ItemPatches = NO_PATCHES
    run: str | None = None

    @classmethod
    def open(
        cls,
        folder: str | Path,
        items: str | Path | None = None,
        approximate: bool = False,
        where: str = "",
        item_features: str | Path | None = None,
        verified: bool = True,
    ) -> Service:
        """The service of the present state of a run folder, or of a versions folder's current version.

        ``items``: a table of its items (Parquet, CSV, JSON lines) with the columns domain, item and any to
        filter by. ``approximate``: search large catalogues by :mod:`.approximate`, where that pays.
        ``where``: a rule about the table that every listed item obeys. ``item_features``: a table of item
        features whose new items are listed, too. ``verified``: compare the checksums of big files, too, which
        else are left to :func:`landbridge.store.verify`.
        StoreError where the folder is damaged, foreign or forged; DataError for a table, and for new items
        where the model needs a refit for them.
        """
        path = run_folder(folder)
        read_manifest(path)
        # a shared lock: a refit must not replace files between the manifest and the arrays
        with locked(path, shared=True):
            digest = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
            manifest = read_manifest(path)
            fitted, created, quality = load_model(path, manifest, load if verified else load_unverified)
        if item_features is not None:
            fitted = with_later_items(fitted, item_features)
        catalogues = _catalogues(fitted, items, where)
        ranker, recalls = ranker_of(fitted, catalogues), dict[str, float]()
        if approximate:
            with thread_limit(1):
                ranker, recalls = approximate_ranker(ranker)
        return cls(
            fitted,
            digest[:12],
            version_of(path),
            created,
            quality,
            manifest.get("gate"),
            catalogues,
            ranker,
            recalls,
        )

    def with_items(self, items: str | Path, where: str = "") -> Service:
        """The same model with another state of its items' table; DataError for the table or the rule."""
        # the ranker keeps its catalogues: it reads only what the table does not say
        return replace(self, catalogues=_catalogues(self.fitted, items, where), patches=NO_PATCHES)

    def with_patches(self, patches: ItemPatches) -> Service:
        """The same model with what was said of items since their table; the cost is that of the columns that
        differ from the present ones."""
        history = self.fitted.history
        catalogues = {
            name: each.with_columns(
                each.columns.patched(patches.of(name), self.patches.of(name), each.items),
                history.titles.get(name),
            )
            for name, each in self.catalogues.items()
        }
        return replace(self, catalogues=catalogues, patches=patches)

    def check(self) -> None:
        """Score a few users and answer some requests in every domain; StoreError where that fails."""
        with as_store_error("This model cannot serve"):
            for domain in self.fitted.history.domain_names:
                self._check(domain)

    def about(self) -> Record:
        """What serves: method, settings, kind, when it was made and how many seconds ago, its domains with
        their items, users and events, the columns to filter by, a mixture's decisions, its metrics on the
        run's test part, what the gate reported, and what noise guarantees. ``comparable``: whether the scores
        of all domains are on one scale; elsewhere a list over several domains holds side by side what is not
        measured alike. ``approximate``: the domains that are searched approximately, and the recall measured
        in each."""
        fitted = self.fitted
        return {
            "method": fitted.method.name,
            "settings": fitted.method.flat(),
            "kind": fitted.kind,
            "created": self.created.isoformat(),
            "age": (datetime.now(UTC) - self.created).total_seconds(),
            "domains": {name: self._size(name) for name in fitted.history.domain_names},
            "comparable": fitted.comparable,
            "filters": sorted({name for each in self.catalogues.values() for name in each.columns.columns}),
            "approximate": dict(self.approximate),
            "decisions": list(fitted.decisions),
            "quality": self.quality,
            "gate": self.gate,
            "privacy": fitted.privacy_facts,
        }

    def recommend(self, requests: Sequence[Request]) -> list[Recommendations]:
        """A list for each request, computed together; DataError for a domain or an item of an event that the
        model does not know, before anything is computed."""
        batch = QueryBatch.of(self.fitted.history, self.catalogues, requests)
        by_strategy = [place for place, each in enumerate(requests) if _has_strategy(each)]
        if not self.fitted.log_odds and any(request.weights for request in requests):
            raise DataError("Weights need a model whose scores are log-odds: dwl or sasrec.")
        self._reorderer.check(requests)
        by_score = [place for place, each in enumerate(requests) if each.order.by_score and not each.strategy]
        parts = batch.parts(by_score)
        lists: list[list[tuple[RecommendationList, ...]]] = [[] for _ in requests]
        source_B = np.array([each.strategy or FALLBACK for each in requests], object)
        for part in batch.parts(by_strategy):
            for place, entries in self._strategy_lists(part, requests):
                lists[place].append(entries)
        with thread_limit(1):
            results = [self._best(part) for part in parts]
        for part, best in zip(parts, results, strict=True):
            source_B[part.place_B[self.fitted.knows(part.domain, part.queries)]] = MODEL
            named_lists = self.catalogues[part.domain].listed(*best)
            for place, entries in zip(part.place_B.tolist(), named_lists, strict=True):
                lists[place].append(entries)
        merged = [merge_lists(own, each.k, each.weights) for own, each in zip(lists, requests, strict=True)]
        for block in self._reorderer.blocks(requests):
            parts = batch.parts(block)
            with thread_limit(1):
                reordered = self._reorderer.lists(batch, parts)
            for part in parts:
                source_B[part.place_B[self.fitted.knows(part.domain, part.queries)]] = MODEL
            for place, entries in reordered.items():
                merged[place] = entries
        history = batch.known_B.tolist()
        return [
            Recommendations(
                entries,
                str(source),
                knows,
                self.model,
                version=self.version,
                run=self.run,
            )
            for entries, source, knows in zip(merged, source_B, history, strict=True)
        ]

    def _strategy_lists(
        self, part: QueryGroup, requests: Sequence[Request]
    ) -> Iterator[tuple[int, tuple[RecommendationList, ...]]]:
        """Each place of a group with its list."""
        catalogue, events = self.catalogues[part.domain], self.fitted.history[part.domain]
        hidden, mask_MI, mask_B, k_B = part.constraints
        for b, place in enumerate(part.place_B.tolist()):
            mask_I = None if mask_B[b] < 0 else mask_MI[mask_B[b]]
            hidden_N = hidden.columns[hidden.offsets[b] : hidden.offsets[b + 1]]
            strategy = requests[place].strategy or POPULAR
            yield place, catalogue.ranked_among(strategy, events, int(k_B[b]), mask_I, hidden_N)

    def page(self, requests: Sequence[Request]) -> list[Recommendations]:
        """Several lists of one page, each without the items of those above it and without their products in
        other domains."""
        answers: list[Recommendations] = []
        shown: dict[str, tuple[Id, ...]] = {}
        for request in requests:
            own = {name: (*request.deny.get(name, ()), *items) for name, items in shown.items()}
            (answer,) = self.recommend([replace(request, deny={**request.deny, **own})])
            answers.append(answer)
            for domain in {entry.domain for entry in answer.items}:
                items = [entry.item for entry in answer.items if entry.domain == domain]
                for name, same in self._same_products(domain, items).items():
                    shown[name] = (*shown.get(name, ()), *same)
        return answers

    def similar(
        self,
        domain: str,
        item: Id,
        k: int = 10,
        to: str | None = None,
        where: str | Values = MappingProxyType({}),
    ) -> list[RecommendationList]:
        """The items of a domain (of its own, where ``to`` is None) most like this one, by the cosine; with
        ``where`` those of them that a rule is true of."""
        catalogue, target = self._catalogue(domain), self._catalogue(to or domain)
        place = catalogue.find(item)
        # the item itself is hidden only in its own domain
        self_N = np.array([place][: catalogue is target], np.int32)
        hidden = Ragged.from_rows([self_N])
        matches_I = target.matching(rule_of(where))
        with thread_limit(1):
            cosine_I = np.where(matches_I, self.fitted.similar(domain, place, target.domain), np.float32(-1))
            best = top_k(cosine_I[None], list_length(k, len(cosine_I)), hidden)
        return [entry for entry in target.listed(*best)[0] if entry.score > 0]

    def explain(
        self, domain: str, item: Id, user: Id | None = None, events: Sequence[Event] = ()
    ) -> ScoreExplanation:
        """What each event, and each feature of the item, adds to its score for a known user, a new one, or
        both together."""
        (explained,) = self.explain_all(domain, [item], user, events)
        place = self._catalogue(domain).find(item)
        with thread_limit(1):
            features = self._explainer.features(domain, self._query(domain, user, events), place)
        return replace(explained, features=tuple(features))

    def explain_all(
        self, domain: str, items: Sequence[Id], user: Id | None = None, events: Sequence[Event] = ()
    ) -> list[ScoreExplanation]:
        """As :meth:`explain` for several items of a domain, in one pass and by events alone."""
        item_N = self._catalogue(domain).find_all(items).astype(np.int32)
        with thread_limit(1):
            explained = self._explainer.explain(domain, self._query(domain, user, events), item_N)
        return [
            ScoreExplanation(each.score, tuple(each.parts), each.exact, self.model, self.version, self.run)
            for each in explained
        ]

    def search(self, domain: str | None, text: str, k: int = 20) -> list[RecommendationList]:
        """Items of a domain, or of all, whose title or id holds all words, popular ones first; the score
        is their events."""
        lists = [each.search(text, list_length(k, len(each.items))) for each in self._searched(domain)]
        return list(merge_lists(lists, k))

    def popular(self, domain: str | None, k: int = 20, strategy: str = POPULAR) -> list[RecommendationList]:
        """The items of a domain, or of all, with the most events, which are the score; or those that are
        trending or latest (:mod:`.strategies`). DataError for these where the data have no times."""
        history = self.fitted.history
        lists = [
            each.ranked(strategy, history[each.domain], list_length(k, len(each.items)))
            for each in self._searched(domain)
        ]
        return list(merge_lists(lists, k))

    def attribute_values(self, column: str, text: str = "", k: int = 20) -> list[AttributeValue]:
        """Of the values that hold all words of a text, the ``k`` of most items; DataError for a column that
        the items' table does not have."""
        if column not in self._attribute_values:
            columns = [each.columns.column(column) for each in self.catalogues.values()]
            self._attribute_values[column] = AttributeValues.of(columns)
        return self._attribute_values[column].search(text, k)

    def user_id(self, user: Id) -> Id:
        """A user's id as the model writes it: of folded ids every spelling is one user."""
        return self.user_ids([user])[0]

    def user_ids(self, users: Sequence[Id]) -> list[Id]:
        """As :meth:`user_id` for several, in their order."""
        known = self.fitted.history.users
        return known.spelled(users).tolist() if known.folded else list(users)

    def knows_user(self, user: Id) -> bool:
        """Whether the model was fitted with this user."""
        return bool(indices_of(self.fitted.history.users, [user])[0] >= 0)

    def count_known(self, items: Sequence[tuple[str, Id]]) -> int:
        """How many of these items, each with its domain, the model knows."""
        by_domain: dict[str, list[Id]] = {}
        for domain, item in items:
            by_domain.setdefault(domain, []).append(item)
        return sum(len(self._catalogue(name).places(own)) for name, own in by_domain.items())

    def check_kinds(self, events: Sequence[Event]) -> None:
        """DataError for a kind of event that the model does not know."""
        for event in events:
            self.fitted.history.kinds.standing(event.kind)

    def understood(self, events: Sequence[Event]) -> tuple[Event, ...]:
        """Those of the events whose domain, item and kind the model knows: newer ones wait for a fit."""
        knows = self.fitted.history.kinds.knows
        here = [event for event in events if event.domain in self.catalogues and knows(event.kind)]
        place_N = np.empty(len(here), np.int64)
        for domain in {event.domain for event in here}:
            own = [place for place, event in enumerate(here) if event.domain == domain]
            place_N[own] = indices_of(self.catalogues[domain].items, [here[place].item for place in own])
        return tuple(event for event, place in zip(here, place_N.tolist(), strict=True) if place >= 0)

    def _same_products(self, domain: str, items: Sequence[Id]) -> dict[str, list[Id]]:
        """Domain -> its items that are one of these, or a product of one."""
        place_N = self.catalogues[domain].find_all(items)
        same = same_products(self.fitted.history, domain, place_N[None].astype(np.int32))
        return {name: self.catalogues[name].items.ids[rows.columns].tolist() for name, rows in same.items()}

    def _best(self, part: QueryGroup) -> tuple[Int32, Float32]:
        checkpoint()
        return self.ranker.best(part)

    @cached_property
    def _attribute_values(self) -> dict[str, AttributeValues]:
        return {}

    @cached_property
    def _reorderer(self) -> Reorderer:
        return Reorderer(self.fitted, self.ranker, self.catalogues)

    def _query(self, domain: str, user: Id | None, events: Sequence[Event]) -> Queries:
        request = Request((domain,), user, tuple(events))
        return QueryBatch.of(self.fitted.history, self.catalogues, [request]).parts()[0].queries

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.fitted, self.ranker, self.catalogues)

    def _catalogue(self, domain: str) -> ItemCatalog:
        return catalog_of(self.catalogues, domain)

    def _searched(self, domain: str | None) -> list[ItemCatalog]:
        return [*self.catalogues.values()] if domain is None else [self._catalogue(domain)]

    def _size(self, domain: str) -> dict[str, int]:
        events = self.fitted.history[domain]
        active_users = int((events.user_counts > 0).sum())
        return {"items": events.n_items, "users": active_users, "events": len(events)}

    def _check(self, domain: str) -> None:
        events = self.fitted.history[domain]
        user_N = np.flatnonzero(events.user_counts)[:PROBES]
        queries = Queries.of_users(np.append(user_N, -1))
        with thread_limit(1):
            scores_NI = self.fitted.score(domain, queries)
        if scores_NI.shape != (len(queries), events.n_items) or not np.isfinite(scores_NI).all():
            raise StoreError(
                f"This model's scores in {domain!r} are not numbers for its items; fit it again."
            )
        with thread_limit(1):
            ours_N = self.ranker.score(domain, queries, FIRST_ITEM)[:, 0]
        # the last query is the anonymous user, whose score may be popularity on purpose
        if not np.allclose(ours_N[:-1], scores_NI[:-1, 0], atol=AGREEMENT * np.abs(scores_NI).max()):
            raise StoreError(
                f"This model's scores in {domain!r} differ from those of its rows; fit it again."
            )
        active_users = self.fitted.history.users.ids[user_N].tolist()
        first = self.catalogues[domain].popular(1)
        new = Request((domain,), None, tuple(Event(domain, entry.item) for entry in first))
        self.recommend([new, Request((domain,)), *(Request((domain,), user_id) for user_id in active_users)])


def _catalogues(fitted: Fitted, items: str | Path | None, where: str = "") -> dict[str, ItemCatalog]:
    history = fitted.history
    attributes = {} if items is None else _attributes(Path(items), history)
    rule = rule_of(where or {})
    unlisted = {name: fitted.unlisted(name) for name in history.domain_names}
    return {
        name: ItemCatalog.of(
            history, name, attributes.get(name), unlisted_I if unlisted_I.any() else None, rule
        )
        for name, unlisted_I in unlisted.items()
    }


def _attributes(path: Path, history: MultiDomain) -> Mapping[str, ItemAttributes]:
    """Domain -> its part of the items' table; the log says how many of its rows count."""
    table = read_items(path, history)
    complete = sum(table.used.values()) == table.rows
    log(
        logging.INFO if complete else logging.WARNING,
        "items' table",
        rows=table.rows,
        items=dict(table.used),
        why="" if complete else "the other rows are repeated or about items that the model does not know",
    )
    return table.parts


def _has_strategy(request: Request) -> bool:
    """Whether a request wants a strategy's order; DataError where it wants another beside it."""
    if request.strategy and (request.weights or not request.order.by_score):
        raise DataError(
            f"A list of {request.strategy} items has an order of its own; leave out strategy, or what else "
            "decides over the order (weights, max_per, boosts, pins, diversity, tail)."
        )
    return bool(request.strategy)


def merge_lists(
    lists: Sequence[Sequence[RecommendationList]], k: int, weights: Mapping[str, float] | None = None
) -> tuple[RecommendationList, ...]:
    """One list of several, best first by score + ln w; equal ones in the order of the lists."""
    if len(lists) == 1:
        return tuple(lists[0][:k])
    ahead = {domain: math.log(weight) for domain, weight in (weights or {}).items()}
    return tuple(
        sorted(chain.from_iterable(lists), key=lambda entry: -entry.score - ahead.get(entry.domain, 0.0))[:k]
    )
