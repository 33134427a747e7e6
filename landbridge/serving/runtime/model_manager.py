"""Hot reload: the model that serves now, and its replacement when the run folder changes.

A start reads what it uses: the checksums of big files are compared in a thread while the model serves. Where
one differs, the server answers from that model no more, until the folder holds a whole one.

The manager polls the manifest, in a versions folder that of the current version, and the tables of items. It
opens and checks a new model in a thread while the old one serves. Then new requests get the new model, and
the old one is closed when its last request is done. A model that cannot be opened or fails its check never
serves: the old one stays, and the failed state is tried again after pauses that double, as a run that is
copied file by file is complete some time after its manifest. Where only the items' table has changed, the
model is kept and the table read again; a changed table of item features opens the model again. What was said
of items since (patches) is laid over every service that serves.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import ParamSpec

from fastapi import HTTPException

from landbridge.core.errors import LandbridgeError, StoreError
from landbridge.data.item_patches import NO_PATCHES, ItemPatches
from landbridge.serving.engine.service import Service
from landbridge.serving.runtime.logging import log
from landbridge.serving.runtime.metrics import Metrics
from landbridge.serving.runtime.micro_batching import MicroBatcher
from landbridge.serving.runtime.settings import ServeSettings
from landbridge.serving.runtime.work_pool import RETRY_AFTER
from landbridge.store import run_folder, verify
from landbridge.store.folder import MANIFEST

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds
NO_MANIFEST, DAMAGED = "none", "damaged"  # states that no folder has
P = ParamSpec("P")


@dataclass(frozen=True)
class RunSource:
    """A run folder or a versions folder, the table of its items, whether large catalogues are searched
    approximately, a rule that every listed item obeys, a table of item features with new items, and the run's
    name in an A/B test."""

    folder: Path
    items: Path | None = None
    approximate: bool = False
    where: str = ""
    item_features: Path | None = None
    run: str | None = None

    @classmethod
    def of(cls, folder: Path, settings: ServeSettings, run: str | None = None) -> RunSource:
        """As the settings say."""
        return cls(folder, settings.items, settings.approximate, settings.where, settings.item_features, run)

    def state(self) -> str:
        """12 hex digits that differ between the states of the folder and of the table."""
        manifest = self._manifest()
        return NO_MANIFEST if manifest is None else _digest(manifest + self._table_state())

    def opened(self, now: Service | None = None) -> Service:
        """The service of the present state, checked; StoreError where it cannot serve. Where only the table
        differs from what serves ``now``, the model is kept."""
        manifest = self._manifest()
        # with new items there are other embeddings, too
        same = now is not None and manifest is not None and now.model == _digest(manifest)
        if now is not None and same and self.items is not None and self.item_features is None:
            return now.with_items(self.items, self.where)
        return self._opened(verified=True)

    def opened_unverified(self) -> Service:
        """As :meth:`opened`, but the checksums of big files are left to :meth:`verify`."""
        return self._opened(verified=False)

    def verify(self, model: str) -> None:
        """Compare all checksums of the folder's state that a service is of; StoreError where one differs.

        A state that has come in its place since is verified before it serves.
        """
        if (manifest := self._manifest()) is not None and _digest(manifest) == model:
            verify(self.folder)

    def _opened(self, *, verified: bool) -> Service:
        words = self.items, self.approximate, self.where, self.item_features
        service = replace(Service.open(self.folder, *words, verified=verified), run=self.run)
        service.check()
        return service

    def without_paths(self, sentence: str) -> str:
        """A sentence for answers that anyone may read: names instead of the server's paths."""
        for path in (self.folder, *self._tables):
            sentence = sentence.replace(str(path), path.name)
        return sentence

    def _manifest(self) -> bytes | None:
        try:
            return (run_folder(self.folder) / MANIFEST).read_bytes()
        except (OSError, StoreError):
            return None

    def _table_state(self) -> bytes:
        """What changes with the table's content, without reading it."""
        return b"".join(map(_state_of, self._tables))

    @property
    def _tables(self) -> tuple[Path, ...]:
        return tuple(table for table in (self.items, self.item_features) if table is not None)


@dataclass(frozen=True)
class LoadFailure:
    """A state of the run folder that was refused, why and when."""

    state: str
    why: str
    at: str


class RunDamaged(HTTPException):
    """What serves was found to be damaged; the sentence says which file."""

    def __init__(self, sentence: str) -> None:
        super().__init__(503, sentence, RETRY_AFTER)


class Verification:
    """A check of what serves already, in a thread of its own, which ends with the process. ``error``: what it
    found, None until then."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def start(self, check: Callable[[], None]) -> None:
        """Begin the check."""
        # no pool: the process would wait for its threads
        Thread(target=self._run, args=(check,), name="checksums", daemon=True).start()

    def _run(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Exception as error:
            self.error = error


class Retry:
    """When a refused state is tried again: after 1, 2, 4 seconds and so on, at most 60."""

    def __init__(self) -> None:
        self._pause, self._due = FIRST_PAUSE, 0.0

    def failed(self) -> None:
        """Begin the next pause."""
        self._due = monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def is_due(self) -> bool:
        """Whether the pause is over."""
        return monotonic() >= self._due


class ActiveModel:
    """One service, what it says of itself, and how many requests it is answering."""

    def __init__(self, service: Service, since: str | None = None) -> None:
        self.service = service
        self.batcher = MicroBatcher(service)
        self.about = service.about()
        self.since = since or _time()
        self.uses = 0


class ModelManager:
    """Gives every request the service of the moment, and replaces it when the source changes.

    It belongs to one event loop; only opening and checking a model happen in a thread.
    """

    def __init__(
        self, first: Service, metrics: Metrics, source: RunSource | None = None, state: str = NO_MANIFEST
    ) -> None:
        self.now = ActiveModel(first)
        self.swaps = self.rollbacks = 0
        self.failed: LoadFailure | None = None
        self._metrics, self._source = metrics, source
        self._leaving: set[asyncio.Task[None]] = set()
        self._state = self._tried = state
        self._retry = Retry()
        self._verification = Verification()
        self.patches = NO_PATCHES
        metrics.serves(first.run)

    @classmethod
    def of(cls, source: RunSource, metrics: Metrics) -> ModelManager:
        """Serving what the source holds now; what a start does not read is verified meanwhile."""
        state = source.state()
        manager = cls(_opened(source.opened_unverified), metrics, source, state)
        manager._verification.start(partial(source.verify, manager.now.service.model))
        return manager

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[ActiveModel]:
        """The service for one request, from its begin to its end; RunDamaged where there is none."""
        self.check_whole()
        serving = self.now
        serving.uses += 1
        try:
            yield serving
        finally:
            serving.uses -= 1
            self._let_go(serving)

    def check_whole(self) -> None:
        """RunDamaged where what serves was found to be damaged, and no other state can be served."""
        if self._verification.error is not None:
            raise RunDamaged(self._sentence(self._verification.error))

    async def check_for_update(self) -> None:
        """Serve the source's present state, unless it serves already or has just been refused."""
        source = self._source
        state = NO_MANIFEST if source is None else await asyncio.to_thread(source.state)
        if self._verification.error is not None and self._state != DAMAGED:
            self._note_damage(self._verification.error)
        if source is None or (state == self._tried and not (self.failed and self._retry.is_due())):
            return
        if state != self._tried:
            self._retry = Retry()
        # set before loading: a state that fails is not loaded again at every poll
        self._tried = state
        if state == self._state:  # a bad state has come and gone
            self.failed = None
            return
        # of a damaged model nothing is kept
        now = None if self._state == DAMAGED else self.now.service
        try:
            service = await asyncio.to_thread(_opened, source.opened, now)
        except Exception as error:
            self._refuse(state, error)
        else:
            self._replace(await self._patched(service), state)

    def begin_with(self, patches: ItemPatches) -> None:
        """What was said of items before the first request."""
        if patches is not NO_PATCHES:
            self.patches, self.now = patches, ActiveModel(self.now.service.with_patches(patches))

    async def patch_items(self, patches: ItemPatches) -> None:
        """Let every request from now on know what was said of items."""
        self.patches = max(self.patches, patches, key=lambda each: each.revision)
        while (active := self.now).service.patches is not self.patches:
            service = await self._patched(active.service)
            if active is self.now:  # else another model has come meanwhile
                self._put(service)

    async def close(self) -> None:
        """Answer what waits, and no more."""
        await asyncio.gather(self.now.batcher.close(), *self._leaving)

    async def _patched(self, service: Service) -> Service:
        """The service with all that was said of items until now."""
        while self.patches is not NO_PATCHES and service.patches is not self.patches:
            service = await asyncio.to_thread(service.with_patches, self.patches)
        return service

    def _put(self, service: Service) -> None:
        """The same model with other knowledge of its items."""
        old, self.now = self.now, ActiveModel(service, self.now.since)
        self._let_go(old)

    def _replace(self, service: Service, state: str) -> None:
        # one assignment on the event loop: a request gets the old model or the new one, never a mixture
        old, self.now = self.now, ActiveModel(service)
        if self._state == DAMAGED or service.model != old.service.model:
            self._verification = Verification()  # all of it was compared before
        self._state, self.failed = state, None
        self.swaps += 1
        self._metrics.swapped(service.run)
        before = old.service.model
        log(
            logging.INFO,
            "swapped",
            model=service.model,
            version=service.version,
            before=before,
            run=service.run,
        )
        self._let_go(old)

    def _note_damage(self, error: Exception) -> None:
        """What serves is damaged: the same state is tried again like one that was refused."""
        self.failed = LoadFailure(self._state, self._sentence(error), _time())
        self._retry.failed()
        self._state = DAMAGED
        service = self.now.service
        log(logging.ERROR, "damaged", why=_sentence(error), model=service.model, run=service.run)

    def _refuse(self, state: str, error: Exception) -> None:
        why, before = _sentence(error), self.failed
        self.failed = LoadFailure(state, self._sentence(error), _time())
        self._retry.failed()
        if before is None or before.state != state:
            self.rollbacks += 1
            self._metrics.rolled_back(self.now.service.run)
        if before is None or (before.state, before.why) != (state, self.failed.why):
            service = self.now.service
            log(logging.ERROR, "rolled back", state=state, why=why, model=service.model, run=service.run)

    def _sentence(self, error: Exception) -> str:
        """For answers."""
        return _sentence(error) if self._source is None else self._source.without_paths(_sentence(error))

    def _let_go(self, serving: ActiveModel) -> None:
        """Close services without a request in flight; the last request does not wait for that."""
        if serving is not self.now and not serving.uses:
            leaving = asyncio.create_task(serving.batcher.close())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)


def _opened(open_run: Callable[P, Service], *words: P.args, **more: P.kwargs) -> Service:
    """What a source holds; a StoreError even where compiled code of a reader panics."""
    try:
        return open_run(*words, **more)
    except Exception:
        raise
    except BaseException as error:  # a panic is no Exception, and would end the watch for new models
        raise StoreError(f"The run cannot be read: {type(error).__name__}, {error}; fit it again.") from error


def _state_of(table: Path) -> bytes:
    try:
        status = table.stat()
    except OSError:
        return b"no table"
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}".encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _sentence(error: Exception) -> str:
    """What to say of it: our own errors are sentences already."""
    return str(error) if isinstance(error, LandbridgeError) else f"{type(error).__name__}: {error}"


def _time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
