"""The data of an experiment: read, and divided into train, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from landbridge.config import Spec
from landbridge.core.errors import SettingsError
from landbridge.core.system import processors
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Split


@dataclass(frozen=True, eq=False)
class PreparedData:
    """``events``: all of them; ``split``: the same divided, or None where nothing is held out."""

    events: MultiDomain
    split: Split | None
    kind: str = "none"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know before anything is fitted: how the data were read, a random split for want of times,
        and what makes a fit senseless; one sentence each."""
        from landbridge.data.diagnostics import diagnose

        stops = [f"Stop: {finding.message}" for finding in diagnose(self.events).at_least("stop").findings]
        return (*self.events.provenance.remarks, *self._untimed(), *stops)

    def _untimed(self) -> list[str]:
        """A sentence where the usual split holds out random events, since a domain has no times."""
        without = [name for name, events in self.events.domains.items() if events.time is None]
        if self.kind != "auto" or self.split is None or not without:
            return []
        hint = self.events.provenance.time_hint(without[0])
        return [
            f"Domain {without[0]!r} has no time stamps, so random events are held out for the test, not the "
            f"latest, and no model knows an order: {hint}."
        ]


def prepare(spec: Spec) -> PreparedData:
    """The data an experiment is about."""
    from landbridge.data.splitting.splits import with_candidates

    data = _read(spec)
    if spec.split.kind == "none":
        return PreparedData(data if isinstance(data, MultiDomain) else data.test.with_targets(), None)
    if not isinstance(data, MultiDomain) and spec.split.kind != "auto":
        raise SettingsError(
            f"These data come with a split of their own: leave out split {spec.split.kind!r}, or say 'none'."
        )
    if not isinstance(data, MultiDomain) and spec.split.targets is not None:
        raise SettingsError("These data come with targets of their own: leave out targets.")
    split = _held_out(data, spec) if isinstance(data, MultiDomain) else data
    candidates = spec.split.candidates
    split = with_candidates(split, candidates, seed=spec.split.seed) if candidates else split
    split = split.across() if spec.split.across else split
    if isinstance(data, MultiDomain):
        return PreparedData(data, split, spec.split.kind)
    return PreparedData(split.test.with_targets(), split)


def prepare_data(spec: Spec) -> Split | MultiDomain:
    """The data an experiment is about: divided, or whole where nothing is held out."""
    prepared = prepare(spec)
    return prepared.events if prepared.split is None else prepared.split


def _read(spec: Spec) -> MultiDomain | Split:
    """The data; a published data set may come with its split."""
    from landbridge.data.io.readers import read
    from landbridge.datasets import catalog
    from landbridge.datasets.published import read_published

    if spec.data.dataset is None:
        return read(**{key: value for key, value in spec.data if key != "dataset" and value is not None})
    # the settings that differ from the defaults were given on purpose
    plain = type(spec.data)(dataset=spec.data.dataset)
    given = {key: value for key, value in spec.data if value != getattr(plain, key)}
    if not Path(spec.data.dataset).is_dir():
        return catalog.load(spec.data.dataset, **given)
    if given:
        raise SettingsError(f"A published folder takes no {next(iter(given))}: it is read as it is.")
    return read_published(spec.data.dataset, seed=spec.split.seed)


def _held_out(data: MultiDomain, spec: Spec) -> Split:
    from landbridge.data.splitting import splits

    kind, future, seed, targets = spec.split.kind, spec.split.future, spec.split.seed, spec.split.targets
    if future is not None and kind != "last":
        raise SettingsError(f"Only the split 'last' knows anything later, so {kind!r} takes no future.")
    ways = {
        "last": lambda: splits.leave_last_out(data, future=future or "cut", seed=seed, targets=targets),
        "latest": lambda: splits.leave_latest_out(data, seed=seed, targets=targets),
        "random": lambda: splits.leave_one_out(data, seed=seed, targets=targets),
        "temporal": lambda: splits.temporal(data, targets=targets),
        "cold": lambda: splits.cold_users(data, seed=seed, targets=targets),
    }
    return ways[_usual(data) if kind == "auto" else kind]()


def _usual(data: MultiDomain) -> str:
    """Without times a random event; else the latest one, or those of each domain where no user has three."""
    if any(events.time is None for events in data.domains.values()):
        return "random"
    from landbridge.data.splitting.splits import LEAST_EVENTS

    return "latest" if bool((data.activity_UD.sum(axis=1) >= LEAST_EVENTS).any()) else "last"


def threads(spec: Spec) -> int:
    """The threads an experiment may use: as many as it says, else all."""
    return spec.fit.threads or processors()
