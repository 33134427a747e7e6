"""The sides of a session in processes of their own, each in a network of its own where that is allowed.

    the coordinator's network            a party's network
    10.77.N.1/24  ---- veth pair ----    10.77.N.2/24

A party's network has one cable, to the coordinator: parties cannot reach each other. Where the system allows
no network namespaces, all sides are on the loopback.

A side gets the plan and its events as files, and leaves a run folder and what it measured.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from landbridge.core.files import read_arrays, read_json, write_json
from landbridge.core.threads import thread_limit
from landbridge.core.types import Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.event_cache import open_mapped, write_mapped
from landbridge.federation import keys, party
from landbridge.federation.coordinator import Coordinator
from landbridge.federation.identity import Certificate
from landbridge.federation.session import STATE, Session
from landbridge.federation.terms import Demands, Limits, Plan
from landbridge.federation.user_codes import KeyedHash
from landbridge.federation.wire import Wire
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.base import Fitted
from landbridge.store.runs import load, save
from landbridge.training.options import FitOptions

LOOPBACK = "127.0.0.1"
SECONDS = 500  # for which a side may run
UNDERSTOOD = Demands(two_party_leak_understood=True)


@dataclass(frozen=True)
class Place:
    """What runs a command in a side's network, and where the coordinator is from there."""

    prefix: tuple[str, ...]
    coordinator: str


def addresses(n_parties: int) -> list[str]:
    """Of the coordinator, for its certificate."""
    return [LOOPBACK, *(f"10.77.{number}.1" for number in range(n_parties))]


@contextmanager
def networks(names: Sequence[str]) -> Iterator[Mapping[str, Place]]:
    """A place for the coordinator and for every party."""
    with ExitStack() as stack:
        try:
            places = _namespaces(names, stack)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"All sides are on the loopback: {error}", flush=True)
            places = dict.fromkeys([keys.COORDINATOR, *names], Place((), LOOPBACK))
        yield places


def _namespaces(names: Sequence[str], stack: ExitStack) -> Mapping[str, Place]:
    hub = _holder(["unshare", "--map-root-user", "--net"], stack)
    enter = ("nsenter", "--preserve-credentials", "--user", "--net", f"--target={hub}")
    subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True, capture_output=True)
    places = {keys.COORDINATOR: Place(enter, LOOPBACK)}
    for number, name in enumerate(names):
        own = _holder([*enter, "unshare", "--net"], stack)
        inside = ("nsenter", "--preserve-credentials", "--user", "--net", f"--target={own}")
        cable = f"party{number}"
        for command in (
            (*enter, "ip", "link", "add", cable, "type", "veth", "peer", "name", "uplink", "netns", str(own)),
            (*enter, "ip", "address", "add", f"10.77.{number}.1/24", "dev", cable),
            (*enter, "ip", "link", "set", cable, "up"),
            (*inside, "ip", "address", "add", f"10.77.{number}.2/24", "dev", "uplink"),
            (*inside, "ip", "link", "set", "uplink", "up"),
        ):
            subprocess.run(command, check=True, capture_output=True)
        places[name] = Place(inside, f"10.77.{number}.1")
    return places


def _holder(command: Sequence[str], stack: ExitStack) -> int:
    """A process that keeps a new network as long as the stack; its number."""
    process = subprocess.Popen([*command, "sleep", "infinity"], stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    started = time.monotonic()
    while Path(f"/proc/{process.pid}/comm").read_text().strip() != "sleep":
        if process.poll() is not None or time.monotonic() - started > 20:
            raise TimeoutError("no network of its own")
        time.sleep(0.01)
    return process.pid


@dataclass
class Sides:
    """The processes of one session. ``folder`` has the keys, and gets the rest."""

    folder: Path
    plan: Plan
    parts: Mapping[str, MultiDomain]  # party -> its one domain
    places: Mapping[str, Place]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    port: int = 0

    def start(self, *names: str) -> None:
        """The named sides, the coordinator first; one that was killed goes on from its folder."""
        for name in names:
            work = self.folder / f"work-{name}"
            if not work.exists():
                self._give(name, work)
            place = self.places[name]
            command = [*place.prefix, sys.executable, "-m", "experiments.sides"]
            command += [str(self.folder), name, place.coordinator, str(self.port)]
            with (work / "log").open("wb") as log:
                self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)
            if name == keys.COORDINATOR:
                self.port = self._port(work / "log")

    def kill(self, name: str) -> None:
        """As a power cut does."""
        self.running.pop(name).kill()

    def round(self) -> int:
        """The coordinator's round; -1 before the match."""
        state = self.folder / "session" / STATE
        return int(read_arrays(state)[1]["round"]) if state.exists() else -1

    def wait_for(self, number: int) -> None:
        """Until the coordinator is in this round."""
        while self.round() < number:
            self._check()
            time.sleep(0.05)

    def results(self) -> dict[str, tuple[Fitted | None, Record]]:
        """The model of every party that was not killed, none of the coordinator, and what they measured."""
        for name, process in self.running.items():
            assert process.wait(SECONDS) == 0, self._log(name)
        return {name: _result(self.folder / f"work-{name}") for name in self.running}

    def _give(self, name: str, work: Path) -> None:
        (work / "data").mkdir(parents=True)
        about = {**asdict(self.plan), "method": self.plan.settings}
        write_json(work / "plan.json", about)
        if name != keys.COORDINATOR:
            write_mapped(self.parts[name], work / "data")

    def _check(self) -> None:
        for name, process in self.running.items():
            assert process.poll() in (None, 0), self._log(name)

    def _log(self, name: str) -> str:
        return f"{name}: {(self.folder / f'work-{name}' / 'log').read_text()}"

    def _port(self, log: Path) -> int:
        while True:
            self._check()
            if found := re.search(r"Listening on .*:(\d+) ", log.read_text()):
                return int(found[1])
            time.sleep(0.05)


def _coordinate(folder: Path, plan: Plan, port: int) -> Record:
    """Seconds of the processor, rounds, and bytes per round and matched user."""
    started = time.process_time()
    session = Session(plan, folder / "session", note=_say)
    coordinator = Coordinator(session, _say, linger=3.0)
    asyncio.run(coordinator.serve("0.0.0.0", port, keys.server_context(folder / keys.COORDINATOR)))
    seconds = time.process_time() - started
    matched = sum(len(member.place_M) for member in session.members.values())
    way = {
        way: sum(size for key, size in coordinator.traffic.items() if key.startswith(word))
        for way, word in (("up", "from "), ("down", "to "))
    }
    per = {key: size / session.round / matched for key, size in way.items()}
    return {"seconds": seconds, "rounds": session.round, **per}


def _join(folder: Path, name: str, plan: Plan, options: FitOptions, host: str, port: int) -> Record:
    """Leave the model in a run folder; seconds of the processor."""
    data = open_mapped(folder / f"work-{name}" / "data")
    certificate = folder / name
    wire = Wire(host, port, keys.client_context(certificate), 120.0, _say)
    method = party.agreed_method(wire.terms, UNDERSTOOD)
    method.with_settings({"epochs": 1}).fit(data, options)  # compiles
    started = time.process_time()
    model = party.fit(
        data,
        wire,
        Certificate(certificate),
        KeyedHash.read(certificate),
        replace(options, work_dir=folder / f"work-{name}" / "journal"),
        demands=replace(UNDERSTOOD, masks=plan.masks),
    )
    wire.close()
    seconds = time.process_time() - started
    save(model, folder / f"work-{name}" / "run")
    return {"seconds": seconds}


def _result(work: Path) -> tuple[Fitted | None, Record]:
    run = work / "run"
    facts: Record = read_json(work / "facts.json")
    return load(run) if run.exists() else None, facts


def _plan(work: Path) -> Plan:
    kept = read_json(work / "plan.json")
    method, limits = CDIMF.from_settings(kept.pop("method")), Limits(**kept.pop("limits"))
    return Plan(method, tuple(kept.pop("parties")), limits=limits, **kept)


def _say(line: str) -> None:
    print(line, flush=True)


def main(folder: Path, name: str, host: str, port: int) -> None:
    """Run one side to its end."""
    work = folder / f"work-{name}"
    plan = _plan(work)
    facts = (
        _coordinate(folder, plan, port)
        if name == keys.COORDINATOR
        else _join(folder, name, plan, FitOptions(threads=1), host, port)
    )
    write_json(work / "facts.json", facts)


if __name__ == "__main__":
    with thread_limit(1):
        main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
