"""Parties and a coordinator for tests: keys, event files, processes on the loopback, and the same in one."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from commands import start
from worlds import by_rounds

import landbridge as lb
from landbridge.data.dataset import MultiDomain
from landbridge.data.vocabulary import Vocabulary
from landbridge.federation import keys
from landbridge.federation import messages as msg
from landbridge.federation.aggregation import FIXED, group_of
from landbridge.federation.agreement import public_key
from landbridge.federation.masks import SHARE_BYTES, MaskingParty
from landbridge.federation.session import Session
from landbridge.federation.terms import Limits, Plan
from landbridge.federation.user_codes import KeyedHash, in_several, sorted_order
from landbridge.models.als.consensus import ADMM

NAMES = ("books", "movies", "food")
SETTINGS = {"factors": 4, "epochs": 3, "alpha0": 0.1, "reg": 0.2, "admm.rho": 0.5, "admm.tolerance": 1e-3}


def side_by_side(one: Callable[[str], None], names: Iterable[str]) -> None:
    """Every party in a thread of its own, until all have ended."""
    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def event_files(folder: Path, names: tuple[str, ...] = NAMES, users: int = 40) -> dict[str, Path]:
    """Random events of partly the same users: a user is in each domain with a chance of 0.7."""
    rng, paths = np.random.default_rng(4), {}
    for name in names:
        liked_UI = rng.random((users, 20)) < 0.2
        liked_UI[rng.random(users) > 0.7] = False
        user_N, item_N = np.nonzero(liked_UI)
        paths[name] = folder / f"{name}.csv"
        table = pl.DataFrame({"user": user_N, "item": item_N})
        table.with_columns(pl.format("u{}", "user").alias("user")).write_csv(paths[name])
    return paths


def in_one_process(paths: dict[str, Path], secret: Path, settings: dict[str, Any]) -> Any:
    """The data of all parties, users in the order of a session, and CDIMF fitted on them here."""
    codes = KeyedHash.read(secret)
    tables = {name: lb.read({name: str(path)}) for name, path in paths.items()}
    own = {}
    for name, table in tables.items():
        code_U4 = codes.of(table.users.ids)
        order_U = sorted_order(code_U4)
        own[name] = table.users.ids[order_U].tolist(), code_U4[order_U]
    shared = {tuple(row) for row in in_several([code_U4 for _, code_U4 in own.values()]).tolist()}
    pairs = [pair for ids, code_U4 in own.values() for pair in zip(code_U4.tolist(), ids, strict=True)]
    matched = sorted({(tuple(code), user) for code, user in pairs})
    order = [user for code, user in matched if code in shared]
    for ids, code_U4 in own.values():
        order += [user for user, code in zip(ids, code_U4.tolist(), strict=True) if tuple(code) not in shared]
    place = {user: number for number, user in enumerate(order)}
    domains = {}
    for name, table in tables.items():
        events = table[name]
        user_N = np.array([place[user] for user in table.users.ids.tolist()])[events.user_idx]
        domains[name] = lb.Interactions.from_events(user_N, events.item_idx, len(order), events.n_items)
    items = {name: table.items[name] for name, table in tables.items()}
    data = MultiDomain(Vocabulary(np.arange(len(order))), items, domains)
    method = lb.CDIMF.from_settings({**settings, "consensus.domains": "active"})
    return place, by_rounds(method, data, lb.FitOptions(seed=3, threads=1))


def as_options(settings: dict[str, Any]) -> list[str]:
    """Settings as ``--set``."""
    return [f"--set={key}={value}" for key, value in settings.items()]


@dataclass
class Site:
    """A folder with keys and event files, and the processes that were started in it."""

    folder: Path
    names: tuple[str, ...] = NAMES
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    port: int = 0
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        keys.make(self.folder / "keys", self.names, ["127.0.0.1"])
        self.paths = event_files(self.folder, self.names)

    def coordinate(self, *more: object) -> tuple[subprocess.Popen[str], list[str]]:
        """A coordinator that listens, and the lines that it writes."""
        process = start(
            "party", "coordinate", "--parties", ",".join(self.names),
            "--cert", self.folder / "keys/coordinator", "--out", self.folder / "session",
            "--port", self.port, "--seed", 3,
            *as_options(self.settings), *more,
        )  # fmt: skip
        self.processes.append(process)
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if listening := re.match(r"Listening on .*:(\d+) ", line):
                self.port = int(listening[1])  # a coordinator that comes back has the same
                break
        threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True).start()
        assert self.port, lines
        return process, lines

    def join(self, name: str, *more: object, run: str | None = None) -> subprocess.Popen[str]:
        """A party."""
        process = start(
            "party", "join", self.paths[name], "--coordinator", f"127.0.0.1:{self.port}",
            "--cert", self.folder / "keys" / name, "--out", self.folder / "runs" / (run or name),
            "--split", "none", "--threads", 1, "--patience", 120, *more,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def finished(process: subprocess.Popen[str], seconds: float = 500) -> None:
    """Wait for a process that must succeed."""
    process.wait(seconds)
    error = process.stderr.read() if process.returncode and process.stderr is not None else ""
    assert process.returncode == 0, error
    sys.stdout.flush()


# parties without data, which send what a test can compute
METHOD = lb.CDIMF(2, epochs=2, admm=ADMM(rho=0.5, inner_sweeps=2))
USERS = {"books": (1, 2, 3, 5), "movies": (2, 3, 4), "food": (3, 4, 5, 9)}
MATCHED = {"books": (2, 3, 5), "movies": (2, 3, 4), "food": (3, 4, 5)}
JOINT = (2, 3, 4, 5)


MASK_KEYS = {name: bytes([1 + number]) * 32 for number, name in enumerate(NAMES)}
PUBLIC = {name: public_key(key) for name, key in MASK_KEYS.items()}


def plan_of(quorum: int | None = None, masks: bool = False, **limits: float) -> Plan:
    return Plan(METHOD, NAMES, 0, quorum, Limits(**limits), quorum == 2, masks)


def users_of(name: str, masks: bool = False) -> msg.Frame:
    code_U4 = np.array([(user, 0, 0, 0) for user in USERS[name]], np.uint64)
    key = msg.SignedKey(key=PUBLIC[name].hex(), certificate="", signature="") if masks else None
    return msg.Frame(msg.Users(count=len(code_U4), key=key), code_U4)


def rows_of(name: str, number: int) -> Any:
    """What a party sends in a round: numbers that are exact in float32, in any order of summing."""
    start = 100 * number + 10 * NAMES.index(name)
    return np.arange(start, start + 6, dtype=np.float32).reshape(3, 2)


def message_of(name: str, number: int, rho: float | None = None) -> msg.Frame:
    wanted = (0.0, 0.5, 0.5)[min(number, 2)] if rho is None else rho
    return msg.Frame(msg.Message(round=number, rho=wanted, rows=3, factors=2), rows_of(name, number))


def _masking(session: Session, name: str, number: int) -> MaskingParty:
    group = group_of(session.members, session.id, number, session.plan.needed)
    return MaskingParty(group, name, MASK_KEYS[name], PUBLIC)


def masked_of(session: Session, name: str, plain: msg.Frame) -> msg.Frame:
    """The message of a round with masks."""
    header, place_M = plain.header, session.members[name].place_M
    assert isinstance(header, msg.Message)
    rows_JF = np.zeros_like(session.z_MF)
    rows_JF[place_M] = plain.array
    party = _masking(session, name, header.round)
    shares = {other: sealed.hex() for other, sealed in party.sealed_shares().items()}
    about = {"round": header.round, "rho": header.rho, "rows": len(rows_JF), "factors": rows_JF.shape[1]}
    return msg.Frame(msg.Masked(**about, shares=shares), party.masked(rows_JF, FIXED))


def reveal_of(session: Session, name: str, survivors: msg.Survivors) -> msg.Frame:
    """What a party answers to a report of survivors."""
    received = {sender: bytes.fromhex(sealed) for sender, sealed in survivors.shares.items()}
    party = _masking(session, name, survivors.round)
    revealed = {
        sender: {about: share.to_bytes(SHARE_BYTES).hex() for about, share in own.items()}
        for sender, own in party.reveal(received, survivors.names).items()
    }
    return msg.Frame(msg.Reveal(round=survivors.round, shares=revealed), np.empty(0))


def report_of(name: str, number: int) -> msg.Frame:
    return msg.Frame(msg.Report(round=number, apart=1.0 + NAMES.index(name), tied=8.0), np.empty(0))


def mean_of(names: set[str], number: int) -> dict[int, Any]:
    """Eq. (2) with λ_z = 0, written out: the mean of the rows that were sent of each user."""
    rows: dict[int, list[Any]] = {user: [] for user in JOINT}
    for name in names:
        for user, row in zip(MATCHED[name], rows_of(name, number), strict=True):
            rows[user].append(row)
    return {user: np.mean(sent, axis=0) if sent else np.zeros(2) for user, sent in rows.items()}
