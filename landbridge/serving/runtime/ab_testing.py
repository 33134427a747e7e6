"""Two runs at once (an A/B test): which of them serves whom.

A test has a name and a share. With the text u of a user's id, as run a writes it, run b serves the user if

    h(u) < share,   h(u) = BLAKE2b(u; key = SHA-256(name), 8 bytes, big-endian) / 2^64                   (1)

So it is the same run on every worker and server, after every restart, and for every model that comes into a
run. A larger share keeps the users that run b has, and another name divides the users anew, independently.
What is about no user, an anonymous list among it, is answered by run a.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path

from landbridge.core.errors import DataError, StoreError, unknown
from landbridge.core.types import Id
from landbridge.serving.runtime.metrics import Metrics
from landbridge.serving.runtime.model_manager import ModelManager, RunSource
from landbridge.serving.runtime.settings import ServeSettings

RUN_A, RUN_B = "a", "b"


@dataclass(frozen=True)
class Assignment:
    """Which run serves a user; ``share``: of the users that run b serves, ``name``: of the test."""

    share: float
    name: str

    def run_of(self, user: Id) -> str:
        """Eq. (1)."""
        text = str(user).encode("utf-8", "surrogatepass")
        digest = blake2b(text, key=sha256(self.name.encode()).digest(), digest_size=8).digest()
        return RUN_B if int.from_bytes(digest, "big") < self.share * 2**64 else RUN_A


@dataclass(frozen=True, eq=False)
class ServedRuns:
    """The run that serves and, during an A/B test, the one that it is compared with and who is served by
    which."""

    first: ModelManager
    second: ModelManager | None = None
    assignment: Assignment | None = None

    @classmethod
    def open(cls, run: Path, settings: ServeSettings, metrics: Metrics) -> ServedRuns:
        """The runs of the settings; StoreError where one cannot be served, or where they have not the same
        domains."""
        first, *others = (ModelManager.of(source, metrics) for source in sources_of(run, settings))
        if not others:
            return cls(first)
        (second,) = others
        of_first, of_second = (sorted(each.now.about["domains"]) for each in (first, second))
        if of_first != of_second:
            raise StoreError(
                f"Runs of an A/B test need the same domains: {run} has {', '.join(of_first)}, and "
                f"{settings.against} has {', '.join(of_second)}; fit both on the same domains."
            )
        return cls(first, second, Assignment(settings.share, settings.test))

    def of(self, user: Id | None) -> ModelManager:
        """The run that serves a user; None: an anonymous one."""
        if self.assignment is None or user is None:
            return self.first
        # of folded ids every spelling is one user
        return self.named(self.assignment.run_of(self.first.now.service.user_id(user)))

    def named(self, run: str | None) -> ModelManager:
        """Run a or b; DataError for one that is not served."""
        managers = {manager.now.service.run: manager for manager in self.all()}
        if run is None:
            return self.first
        if run not in managers:
            raise DataError(unknown("run", run, [name for name in managers if name]))
        return managers[run]

    def all(self) -> tuple[ModelManager, ...]:
        """Every run."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def divided(self, users: Sequence[Id | None]) -> list[tuple[ModelManager, list[int]]]:
        """Each run with the places of the users that it serves, without runs that serve none of them."""
        own = [self.of(user) for user in users]
        places = [[place for place, run in enumerate(own) if run is each] for each in self.all()]
        return [(run, served) for run, served in zip(self.all(), places, strict=True) if served]


def sources_of(run: Path, settings: ServeSettings) -> tuple[RunSource, ...]:
    """Where the runs of a server come from."""
    if settings.against is None:
        return (RunSource.of(run, settings),)
    return RunSource.of(run, settings, RUN_A), RunSource.of(settings.against, settings, RUN_B)
