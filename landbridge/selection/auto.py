"""``auto``: tune every candidate method, blend them where that pays off, and fit the blend.

Settings and weights are chosen on validation data only. Each method proposes its candidates for the data
(``in_auto``), and each candidate is searched within its share of the budget, quick methods first: what they
leave goes to the slower ones; or the slow methods are searched at the same time. Every candidate with its
best settings becomes a member of a guarded blend (:mod:`landbridge.selection.guard`), so that every domain
and activity group gets the model or the blend that ranks best there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from landbridge.core.deprecation import renamed_argument
from landbridge.core.errors import DivergenceError, SettingsError, unknown
from landbridge.core.parallel import beside
from landbridge.core.progress import Silent
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Split
from landbridge.models import registry
from landbridge.models.base import Fitted, Method
from landbridge.models.mixture import BlendModel
from landbridge.selection.guard import guarded
from landbridge.selection.search import SLOW, Budget, tune
from landbridge.training.options import FitOptions

UNLIMITED = 1000  # trials where only the seconds are limited
MOMENT = 0.01  # seconds of a search that has none left: it still makes one trial
SECONDS = 300.0
DEFAULT = Budget(40, SECONDS)  # trials per candidate and seconds in all, where nothing is said
LARGE, LEAST_SHARE = 100_000, 0.2  # events for which all of this is, and the least share of the seconds
LEAST_TRIALS = 12


@dataclass(frozen=True)
class Tuning:
    """How a method is tuned: at most ``trials`` within ``seconds`` (0 and None: no tuning), by the validation
    ``metric``. A killed search continues from the folder ``work_dir`` (None: it starts again)."""

    trials: int = 0
    seconds: float | None = None
    metric: str = "ndcg@10"
    work_dir: Path | None = None

    def within(self, name: str) -> Tuning:
        """The same with a subfolder of ``work_dir``, as every search needs a folder of its own."""
        return self if self.work_dir is None else replace(self, work_dir=self.work_dir / name)

    def best(self, method: Method, split: Split, options: FitOptions) -> Method:
        """The method with the best settings of a search, or unchanged where nothing is to be tuned."""
        return self.search(method, split, options)[0]

    def search(self, method: Method, split: Split, options: FitOptions) -> tuple[Method, Fitted | None]:
        """As ``best``, and the method's model on the training data, where the search has it."""
        if not self.trials and self.seconds is None:
            return method, None
        budget = Budget(self.trials or UNLIMITED, self.seconds)
        # The caller's work_dir belongs to its own fit: trials must not continue it.
        options = replace(options, work_dir=None)
        result = tune(method, split, budget, options, self.metric, work_dir=self.work_dir)
        return result.method, result.fitted


def candidates(data: MultiDomain, families: Sequence[str] = ()) -> dict[str, Method]:
    """Label -> the candidate that a search starts from: what the methods themselves propose for the data.

    ``families``: only these, by a candidate's label or the name of its method. Quick methods come first.
    """
    kinds = sorted(registry.methods()[0].values(), key=lambda kind: kind.relative_cost)
    proposed = {label: method for kind in kinds for label, method in kind.in_auto(data).items()}
    known = {*proposed, *(method.name for method in proposed.values())}
    for family in families:
        if family not in known:
            raise SettingsError(unknown("family", family, known))
    return {
        label: method
        for label, method in proposed.items()
        if not families or label in families or method.name in families
    }


def default_budget(data: MultiDomain) -> Budget:
    """What ``auto`` may spend where nothing is said, in proportion to the events: from one minute and 12
    trials for each candidate up to five minutes and 40 trials for 100,000 events and more."""
    return budget_of(data.n_events)


def budget_of(n_events: float) -> Budget:
    """As ``default_budget``, for so many events."""
    share = min(1.0, n_events / LARGE)
    trials = max(LEAST_TRIALS, round(share * DEFAULT.trials))
    return Budget(trials, max(LEAST_SHARE, share) * SECONDS)


@renamed_argument("work", "work_dir")
def auto(
    split: Split,
    options: FitOptions | None = None,
    trials: int | None = None,
    seconds: float | None = None,
    work_dir: Path | None = None,
    metric: str = "ndcg@10",
    families: Sequence[str] = (),
    jobs: int = 1,
) -> BlendModel:
    """Tune all candidate methods, blend them on validation data, and fit the blend on all training data.

    ``trials``: per candidate; 0 keeps the candidates' own settings. ``seconds``: for all searches together.
    With neither, what :func:`default_budget` says. A limit in seconds makes the result depend on the speed of
    the machine; trials alone do not. ``work_dir``: a folder that keeps the searches, so that a killed call
    continues them. ``families``: only these methods or candidates. ``jobs``: with 2, slow methods are
    searched in a process of their own beside the quick ones, both within ``seconds``; a script then needs
    ``if __name__ == "__main__"``.
    """
    options = options or FitOptions()
    if trials is None and seconds is None:
        budget = default_budget(split.train)
        trials, seconds = budget.trials, budget.seconds
    proposed = candidates(split.train, families)
    tuning = Tuning(trials or 0, seconds, metric, work_dir)
    members, fitted = tuned_candidates(proposed, split, options, tuning, jobs)
    return guarded(members, split, options, metric, simple_members(members), fitted)


def simple_members(members: Mapping[str, Method]) -> list[str]:
    """The labels of those that learn each domain alone; the first member where there is none."""
    return [label for label, method in members.items() if method.single_domain] or [next(iter(members))]


def tuned_candidates(
    proposed: Mapping[str, Method], split: Split, options: FitOptions, tuning: Tuning, jobs: int = 1
) -> tuple[dict[str, Method], dict[str, Fitted]]:
    """Every candidate with its best settings, and the models of those that the searches have kept.

    ``jobs``: 2 to search slow methods beside the quick ones. Steps of a network are too small for many
    threads, so that both lose little.
    """
    both = Turn(proposed, split, options, tuning)
    found = both.found() if jobs == 1 else _at_once(both)
    if not found:
        raise DivergenceError("Every trial of every candidate diverged; look at the weights of the events.")
    # in the order of the candidates, whichever was found first
    members = {label: found[label][0] for label in proposed if label in found}
    kept = {label: model for label in members if (model := found[label][1]) is not None}
    return members, kept


@dataclass(frozen=True)
class Turn:
    """Candidates that are searched one after the other, within the seconds of ``tuning``."""

    proposed: Mapping[str, Method]
    split: Split
    options: FitOptions
    tuning: Tuning

    def __str__(self) -> str:
        return ", ".join(self.proposed)

    def part(self, slow: bool, threads: int) -> Turn:
        """The slow candidates, or the quick ones, with their share of the threads."""
        some = {label: each for label, each in self.proposed.items() if (each.relative_cost >= SLOW) == slow}
        return replace(self, proposed=some, options=replace(self.options, threads=threads))

    def found(self) -> dict[str, tuple[Method, Fitted | None]]:
        """Label -> the method with its best settings, and its model, where the search has kept it.

        Each search gets a share of the seconds that are left, the larger the longer a fit of its method
        takes. A candidate that diverges in every trial is left out.
        """
        found: dict[str, tuple[Method, Fitted | None]] = {}
        left, parts = self.tuning.seconds, sum(_parts(method) for method in self.proposed.values())
        for label, method in self.proposed.items():
            share = None if left is None else max(left, MOMENT) * _parts(method) / parts
            parts -= _parts(method)
            began = time.perf_counter()
            own = replace(self.tuning.within(label), seconds=share)
            with suppress(DivergenceError):
                found[label] = own.search(method, self.split, self.options)
            left = None if left is None else left - (time.perf_counter() - began)
        return found


def _at_once(both: Turn) -> dict[str, tuple[Method, Fitted | None]]:
    """Both parts at the same time; in turn where there is only one part, or one thread."""
    half = both.options.threads // 2
    slow, quick = both.part(True, half or 1), both.part(False, both.options.threads - half)
    if not (half and slow.proposed and quick.proposed):
        return both.found()
    silent = replace(slow, options=replace(slow.options, progress=Silent()))  # one process writes
    with beside(Turn.found, silent, half) as result:
        found = quick.found()
        with both.options.progress.task(f"tuning {slow}, which goes on", 1):
            return found | result()


def _parts(method: Method) -> int:
    """A search's part of the seconds, in units of the quickest method's."""
    return 1 + method.relative_cost
