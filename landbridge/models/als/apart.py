"""CDIMF with every domain at a worker of its own: where messages meet, and the channel that leads there.

A worker holds the events, users and items of one domain, and trains them as if it were alone
(:meth:`landbridge.models.als.cdimf.CDIMF.train_in`). In every round it waits at a :class:`Meeting` until the
messages of all domains are there. They are added in the order of the domains, as in one process
(:class:`landbridge.models.als.exchange.LocalChannel`), so that all numbers have the same bits.

After an epoch the states of all domains are kept together, in the checkpoint of a fit in one process, so that
a fit that was killed goes on either way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from landbridge.core.parallel import Executor, in_order
from landbridge.core.types import Float32, Int64, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.models.als.exchange import Channel, LocalChannel, Residuals, Round, change, consensus_of
from landbridge.models.als.participants import DomainState, Membership
from landbridge.training.epochs import Checkpoints, FolderCheckpoints, State
from landbridge.training.options import FitOptions

Train = Callable[
    [MultiDomain, Membership, Channel, FitOptions, Checkpoints], tuple[State, tuple[Record, ...]]
]

NOWHERE = FolderCheckpoints(None, {})


class Meeting:
    """Waits for all domains in every step of a round, and answers all of them alike. One per fit."""

    def __init__(self, names: tuple[str, ...], n_users: int, local: LocalChannel, kept: Checkpoints) -> None:
        self._names, self._n_users, self._local, self._kept = names, n_users, local, kept
        self._changed = threading.Condition()
        self._given: dict[str, Any] = {}
        self._answer: Any = None
        self._steps = 0
        self._error: Exception | None = None

    def fail(self, error: Exception) -> None:
        """End the waiting of all with an error."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def consensus(self, name: str, current: Round, user_M: Int64, message_MF: Float32) -> Float32:
        """z, (U, F), from the messages of all domains."""
        return np.asarray(self._together(name, (user_M, message_MF), partial(self._consensus, current)))

    def sums(self, name: str, apart: float, tied: float) -> tuple[float, float]:
        """The sums over all domains."""
        apart, tied = self._together(name, (apart, tied), _sums)
        return apart, tied

    def keep(self, name: str, state: State, log: list[Record]) -> None:
        """Keep an epoch, when all domains have ended it."""
        self._together(name, state, partial(self._keep, log))

    def _keep(self, log: list[Record], states: Sequence[State]) -> None:
        self._kept.keep(_whole(states), log, {})

    def _consensus(self, current: Round, messages: Sequence[tuple[Int64, Float32]]) -> Float32:
        sum_UF = np.zeros((self._n_users, messages[0][1].shape[1]), np.float32)
        count_U = np.zeros(self._n_users, np.float32)
        for user_M, message_MF in messages:
            sum_UF[user_M] += message_MF
            count_U[user_M] += 1
        z_UF = consensus_of(sum_UF, count_U, self._local.reg, current.rho)
        return self._local.privacy.shrunk(z_UF, count_U)

    def _together(self, name: str, value: Any, combine: Callable[[list[Any]], Any]) -> Any:
        with self._changed:
            self._given[name] = value
            if len(self._given) == len(self._names):
                self._answer = combine([self._given[each] for each in self._names])
                self._given, self._steps = {}, self._steps + 1
                self._changed.notify_all()
            else:
                step = self._steps
                # the next step cannot end before this domain takes part in it, so the answer stays
                self._changed.wait_for(lambda: self._steps > step or self._error is not None)
            if self._error is not None:
                raise self._error
            return self._answer


def _whole(states: Iterable[State]) -> State:
    """One state out of those of all domains."""
    whole: State = {}
    for state in states:  # z and the gap are the same in all
        whole |= state
    return whole


def _sums(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    apart = tied = 0.0
    for own_apart, own_tied in pairs:
        apart, tied = apart + own_apart, tied + own_tied
    return apart, tied


@dataclass(frozen=True, eq=False)
class MeetingChannel:
    """The channel of the domain ``name``, see :class:`landbridge.models.als.exchange.Channel`."""

    meeting: Meeting
    name: str
    local: LocalChannel

    @property
    def identity(self) -> Values:
        """Nothing else."""
        return {}

    def consensus(self, domains: Mapping[str, DomainState], state: State, current: Round) -> Float32:
        """As in :class:`Channel`."""
        domain = domains[self.name]
        message_MF = self.local.message(self.name, domain, state, current)
        return self.meeting.consensus(self.name, current, domain.users[domain.tied], message_MF)

    def residuals(
        self, current: Round, apart: float, tied: float, before_UF: Float32, after_UF: Float32
    ) -> Residuals:
        """As in :class:`Channel`."""
        return Residuals(*self.meeting.sums(self.name, apart, tied), *change(before_UF, after_UF))


@dataclass(frozen=True)
class _MeetingCheckpoints:
    """Those of one domain, which go to the meeting; ``begun``: the epochs that were kept before."""

    meeting: Meeting
    name: str
    begun: tuple[State, list[Record], State] | None

    def last(self) -> tuple[State, list[Record], State] | None:
        """As in :class:`Checkpoints`."""
        return self.begun

    def keep(self, state: State, log: list[Record], best: State) -> None:
        """As in :class:`Checkpoints`."""
        self.meeting.keep(self.name, state, log)


@dataclass(frozen=True, eq=False)
class _Domain:
    """The data of one domain, and its part of a checkpoint."""

    name: str
    data: MultiDomain
    begun: tuple[State, list[Record], State] | None

    def __str__(self) -> str:
        return self.name


def train_apart(
    executor: Executor,
    train: MultiDomain,
    members: Membership,
    local: LocalChannel,
    seed: int,
    method: Train,
    kept: FolderCheckpoints,
) -> tuple[State, tuple[Record, ...]] | None:
    """The state of all domains and the log, each domain trained by ``method`` in a call of its own.

    ``kept``: the checkpoints of all domains, from which the fit goes on. None where the executor cannot have
    all at work at one time. LandbridgeError where a worker is lost.
    """
    names = train.domain_names
    with executor.shared(partial(Meeting, names, train.n_users, local, kept), len(names)) as shared:
        if shared is None:
            return None
        meeting, workers = shared
        options, keeps = FitOptions(seed=seed, threads=executor.threads_each), kept.folder is not None
        fn = partial(_trained, method, members, meeting, local, options, keeps)
        last = kept.last()
        domains = [_Domain(name, train.select([name]), _part(last, name, names)) for name in names]
        states, logs = zip(*in_order(workers, fn, domains), strict=True)
    return _whole(states), logs[0]


def _part(
    last: tuple[State, list[Record], State] | None, name: str, names: Sequence[str]
) -> tuple[State, list[Record], State] | None:
    """What a domain needs of a checkpoint of all."""
    if last is None:
        return None
    others = {f"{kind}:{other}" for other in names if other != name for kind in "xty"}
    state, log, _ = last
    return {key: array for key, array in state.items() if key not in others}, list(log), {}


def _trained(
    method: Train,
    members: Membership,
    meeting: Meeting,
    local: LocalChannel,
    options: FitOptions,
    keeps: bool,
    domain: _Domain,
) -> tuple[State, tuple[Record, ...]]:
    channel = MeetingChannel(meeting, domain.name, local)
    # without a folder, states do not travel
    kept = _MeetingCheckpoints(meeting, domain.name, domain.begun) if keeps else NOWHERE
    try:
        return method(domain.data, members, channel, options, kept)
    except Exception as error:
        meeting.fail(error)
        raise
