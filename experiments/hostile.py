"""A party with a valid certificate attacks a running coordinator, while two honest parties train.

    python -m experiments.hostile          10,000 strings, for the page of :mod:`experiments.parties`

Coordinator and parties are those of the program, over TLS on the loopback. Before every request of an honest
party, the third one sends some strings, each on a connection of its own: random bytes as they are and in a
frame, and messages of the protocol that were changed. All are known to be wrong before they are sent.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import landbridge as lb
from experiments.common import CELLS, markdown
from landbridge.core.errors import FederationError
from landbridge.core.files import read_json, write_json
from landbridge.core.threads import thread_limit
from landbridge.core.types import AnyArray, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.vocabulary import Vocabulary
from landbridge.federation import keys, party
from landbridge.federation import messages as msg
from landbridge.federation.coordinator import Coordinator
from landbridge.federation.identity import Certificate
from landbridge.federation.session import Session
from landbridge.federation.terms import Demands, Limits, Plan
from landbridge.federation.user_codes import KeyedHash, sorted_order
from landbridge.federation.wire import LENGTH, Wire
from landbridge.models.als.consensus import ADMM
from landbridge.training.options import FitOptions
from landbridge.version import __version__

STRINGS, SEED, HOST = 10_000, 15, "127.0.0.1"
HONEST, HOSTILE, OUTSIDER = ("books", "movies"), "food", "mallory"
METHOD = lb.CDIMF(4, alpha0=0.1, reg=0.2, epochs=4, admm=ADMM(rho=0.5, inner_sweeps=2))
LIMITS = Limits(join_seconds=1.0, round_seconds=1.0)
UNDERSTOOD = Demands(two_party_leak_understood=True)
ONE = FitOptions(threads=1)
MARK = 4242.4242  # in rows that must not be in the log
SHAPES = {"users": 40, "items": 25}

ABOUT = (
    "Two honest parties train over TLS 1.3 on small random data; the third party of their session has a "
    "valid certificate and sends what is in the first column, each time on a new connection, which ends with "
    "the answer. Random bytes and changed messages come before every request of an honest party, half of "
    "them before the third one has joined. Changed messages have bytes flipped, cut off, put in or doubled, "
    "or numbers that are not finite; those that happen to be valid are not sent, because a party may say "
    "what it likes within the bounds."
)


def data() -> dict[str, MultiDomain]:
    """The events of the honest parties, partly of the same users."""
    rng = np.random.default_rng(SEED)
    made = {}
    for name in HONEST:
        liked_UI = rng.random((SHAPES["users"], SHAPES["items"])) < 0.2
        user_N, item_N = np.nonzero(liked_UI)
        events = lb.Interactions.from_events(user_N, item_N, *SHAPES.values())
        users = Vocabulary(np.arange(SHAPES["users"]))
        made[name] = MultiDomain(users, {name: Vocabulary(np.arange(SHAPES["items"]))}, {name: events})
    return made


@dataclass
class Site:
    """A coordinator in a thread of this process."""

    folder: Path
    session: Session
    lines: list[str] = field(default_factory=list)
    port: int = 0

    def context(self, name: str) -> ssl.SSLContext:
        """Of a client with the certificate of a party."""
        return keys.client_context(self.folder / "keys" / name)

    def wire(self, name: str) -> Wire:
        """A connection as a party has it."""
        return Wire(HOST, self.port, self.context(name), 60.0, lambda line: None)


@contextmanager
def listening(folder: Path) -> Iterator[Site]:
    """A coordinator that serves until the honest parties have finished."""
    if not (folder / "keys").exists():
        keys.make(folder / "keys", [*HONEST, HOSTILE, OUTSIDER], [HOST])
    plan = Plan(METHOD, (*HONEST, HOSTILE), SEED, 2, LIMITS, two_party_leak_understood=True)
    site = Site(folder, Session(plan, folder / "session"))
    site.session.note = site.lines.append
    coordinator = Coordinator(site.session, site.lines.append, linger=0.0)
    context = keys.server_context(folder / "keys" / keys.COORDINATOR)
    serve = coordinator.serve(HOST, 0, context)
    # daemons: an error of this side does not wait for the others
    thread = threading.Thread(target=lambda: asyncio.run(serve), daemon=True)
    thread.start()
    while not site.lines:
        assert thread.is_alive()
    site.port = int(re.findall(r":(\d+) ", site.lines[0])[0])
    yield site
    thread.join(120)


def fitted(site: Site, before: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The models of the honest parties; ``before`` each request of the first one something else happens."""

    class Waiting(Wire):
        def request(self, *arguments: Any) -> Any:
            before()
            return super().request(*arguments)

    models: dict[str, Any] = {}

    def one(name: str, kind: type[Wire]) -> None:
        wire = kind(HOST, site.port, site.context(name), 600.0, lambda line: None)
        folder = site.folder / "keys" / name
        with closing(wire):
            models[name] = party.fit(
                data()[name], wire, Certificate(folder), KeyedHash.read(folder), ONE, demands=UNDERSTOOD
            )

    second = threading.Thread(target=one, args=(HONEST[1], Wire), daemon=True)
    second.start()
    one(HONEST[0], Waiting)
    second.join()
    return models


def same(models: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether the honest parties have the same models, bit for bit."""
    arrays, expected = ({name: each.state()[0] for name, each in one.items()} for one in (models, others))
    return all(
        np.array_equal(arrays[name][key], expected[name][key]) for name in HONEST for key in expected[name]
    )


@dataclass
class Hostile:
    """The third party. ``answers``: what was sent -> how often, and with which words it was refused."""

    site: Site
    rng: np.random.Generator
    answers: dict[str, Counter[str]] = field(default_factory=dict)

    def strings(self, count: int) -> None:
        """Random bytes and changed messages."""
        for _ in range(count):
            kind = self.rng.integers(4)
            if kind == 0:
                self.refused("random bytes", self.rng.bytes(int(self.rng.integers(1, 400))), framed=False)
            elif kind == 1:
                self.refused("random bytes in a frame", self.rng.bytes(int(self.rng.integers(0, 400))))
            else:
                self.refused("changed messages", self.changed())

    def changed(self) -> bytes:
        """A message of the protocol that is not one any more."""
        while True:
            frame = self.valid()[self.rng.integers(len(self.valid()))]
            content = bytearray(msg.encode(*frame))
            for _ in range(int(self.rng.integers(1, 4))):
                at = int(self.rng.integers(len(content)))
                match self.rng.integers(4):
                    case 0:
                        content[at] ^= 1 << int(self.rng.integers(8))
                    case 1:
                        del content[at:]
                    case 2:
                        content[at:at] = self.rng.bytes(int(self.rng.integers(1, 9)))
                    case _:
                        content[at:at] = content[: int(self.rng.integers(1, 60))]
                content = content or bytearray(b"x")
            if self.is_wrong(bytes(content)):
                return bytes(content)

    def valid(self) -> list[tuple[msg.Header, AnyArray | None]]:
        """Messages as an honest party could send them now."""
        number = self.site.session.round
        rows_MF = np.full((7, METHOD.factors), MARK, np.float32)
        poisoned_MF = np.where(np.arange(METHOD.factors) == 1, np.float32(np.nan), rows_MF)
        header = msg.Message(round=number, rho=0.5, rows=7, factors=METHOD.factors)
        masked = msg.Masked(round=number, rho=0.5, rows=7, factors=METHOD.factors, shares={"books": "00"})
        return [
            self.users(),
            (header, rows_MF),
            (header, poisoned_MF),
            (masked, np.zeros(rows_MF.shape, np.uint64)),
            (msg.Reveal(round=number, shares={"books": {"movies": "00"}}), None),
            (msg.Report(round=number, apart=MARK, tied=1.0), None),
        ]

    def users(self) -> tuple[msg.Header, AnyArray]:
        """Those with which the hostile party joins."""
        codes = KeyedHash.read(self.site.folder / "keys" / HOSTILE).of(np.arange(10, 30))
        return msg.Users(count=len(codes)), codes[sorted_order(codes)]

    def is_wrong(self, content: bytes) -> bool:
        """Whether no state of a session without masks allows it."""
        try:
            frame = msg.decode(content, msg.FROM_PARTY)
            match frame.header:
                case msg.Message():
                    msg.check_rows(frame.array, LIMITS.max_norm)
                case msg.Users():
                    msg.check_codes(frame.array)
        except FederationError:
            return True
        # a report of a round that may be, and users or rows that may be, are only another statement
        return isinstance(frame.header, msg.Masked | msg.Reveal)

    def join(self) -> None:
        """Take part from now on, late."""
        with closing(self.site.wire(HOSTILE)) as wire:
            wire.request(msg.Match, *self.users())

    def refused(self, label: str, content: bytes, framed: bool = True, name: str = HOSTILE) -> None:
        """Send it, and note the answer."""
        plain = socket.create_connection((HOST, self.site.port), 30)
        with closing(self.site.context(name).wrap_socket(plain, server_hostname=HOST)) as connection:
            received = self.exchanged(connection, LENGTH.pack(len(content)) + content if framed else content)
        self.answers.setdefault(label, Counter())[_words(received)] += 1

    def exchanged(self, connection: ssl.SSLSocket, content: bytes) -> bytes:
        """All that comes back until the connection ends."""
        received = b""
        try:
            connection.sendall(content)
            connection.settimeout(30)
            if len(content) < LENGTH.size or LENGTH.unpack_from(content)[0] > len(content):
                received = connection.recv(1 << 16)  # the terms; what is missing never comes
                connection.settimeout(0.02)
            while part := connection.recv(1 << 16):
                received += part
        except OSError:
            pass
        return received


def _words(received: bytes) -> str:
    """Why the coordinator refused; anything else that it sent than its terms is an error."""
    kinds = set(re.findall(rb'"kind":"(\w+)"', received)) - {b"terms"}
    assert kinds <= {b"refusal"}, kinds
    reasons = re.findall(rb'"reason":"([^"]*)"', received)
    return reasons[0].decode() if reasons else "the connection ends"


def besieged(folder: Path, strings: int) -> tuple[Hostile, bool, list[str]]:
    """What was answered, whether the honest parties have the bits of an undisturbed session, and the log."""
    with listening(folder) as site:
        undisturbed = fitted(site)
    requests = 2 * (site.session.round + 1)  # with the join and the end
    (folder / "session").rename(folder / "undisturbed")
    with listening(folder) as site:
        hostile = Hostile(site, np.random.default_rng(SEED))
        done = iter(range(10**9))

        def before() -> None:
            number = next(done)
            if number == requests // 2:
                hostile.join()
                named(hostile)
            share = strings * (number + 1) // requests - strings * number // requests
            hostile.strings(min(share, strings))

        models = fitted(site, before)
    return hostile, same(models, undisturbed), site.lines


def named(hostile: Hostile) -> None:
    """One of each known attack, as a member of the session."""
    site, number = hostile.site, hostile.site.session.round
    rows_MF = np.full((len(site.session.members[HOSTILE].place_M), METHOD.factors), MARK, np.float32)
    header = msg.Message(round=number, rho=0.5, rows=len(rows_MF), factors=METHOD.factors)
    for label, value in (("NaN in a row", np.nan), ("an infinite row", np.inf), ("a huge row", 1e30)):
        wrong_MF = rows_MF.copy()
        wrong_MF[0, 0] = value
        hostile.refused(label, msg.encode(header, wrong_MF))
    short = header.model_copy(update={"rows": len(rows_MF) - 1})
    hostile.refused("a row too few", msg.encode(short, rows_MF[1:]))
    narrow = header.model_copy(update={"factors": METHOD.factors - 1})
    hostile.refused("a factor too few", msg.encode(narrow, rows_MF[:, 1:]))
    hostile.refused(
        "a round that has not begun", msg.encode(header.model_copy(update={"round": 999}), rows_MF)
    )
    hostile.refused("a message that announces 4 GiB", LENGTH.pack(2**32 - 1), framed=False)
    hostile.refused("the coordinator's own kind", msg.encode(msg.Wait()))
    hostile.refused("users of another party", msg.encode(*_others(hostile)))
    hostile.refused("a party of no session", b"", name=OUTSIDER)
    _replayed(hostile, rows_MF)
    _outsiders(hostile)
    _tampered(hostile, msg.encode(header, rows_MF))


def _others(hostile: Hostile) -> tuple[msg.Header, AnyArray]:
    _, codes = hostile.users()
    return msg.Users(count=len(codes) - 1), codes[1:]


def _replayed(hostile: Hostile, rows_MF: AnyArray) -> None:
    """A round that the party itself has had. It is present after that, and the others wait for it once."""
    site = hostile.site
    with closing(site.wire(HOSTILE)) as wire:
        for number in (0, 1):
            header = msg.Message(round=number, rho=0.0, rows=len(rows_MF), factors=METHOD.factors)
            wire.request(msg.Consensus, header, rows_MF)
    again = msg.Message(round=0, rho=0.0, rows=len(rows_MF), factors=METHOD.factors)
    hostile.refused("a round once more", msg.encode(again, rows_MF))


def _outsiders(hostile: Hostile) -> None:
    """Without TLS, without a certificate, and with one of another authority."""
    site = hostile.site
    other = site.folder / "other"
    keys.make(other, [HOSTILE], [HOST])
    (other / HOSTILE / keys.CA).write_bytes((site.folder / "keys" / HOSTILE / keys.CA).read_bytes())
    bare = ssl.create_default_context(cafile=str(other / HOSTILE / keys.CA))
    for label, context in (
        ("no certificate", bare),
        ("a certificate of another authority", keys.client_context(other / HOSTILE)),
    ):
        plain = socket.create_connection((HOST, site.port), 30)
        with closing(context.wrap_socket(plain, server_hostname=HOST)) as connection:
            received = hostile.exchanged(connection, LENGTH.pack(2) + b"xx")
        assert not received
        hostile.answers.setdefault(label, Counter())["the handshake ends"] += 1
    with closing(socket.create_connection((HOST, site.port), 30)) as plain:
        plain.sendall(hostile.rng.bytes(200))
        assert b"LBP" not in plain.recv(1 << 16)
    hostile.answers["no TLS"] = Counter({"the handshake ends": 1})


def _tampered(hostile: Hostile, content: bytes) -> None:
    """A message of which a byte is changed on its way."""
    site, incoming, outgoing = hostile.site, ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = site.context(HOSTILE).wrap_bio(incoming, outgoing, server_hostname=HOST)
    with closing(socket.create_connection((HOST, site.port), 30)) as plain:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(1 << 16))
        plain.sendall(outgoing.read())
        tls.write(LENGTH.pack(len(content)) + content)
        record = bytearray(outgoing.read())
        record[len(record) // 2] ^= 1
        plain.sendall(record)
        received = b""
        while part := plain.recv(1 << 16):
            received += part
    incoming.write(received)
    incoming.write_eof()
    clear = b""
    with suppress(ssl.SSLError):  # after the terms, the alert of the other side
        while part := tls.read(1 << 16):
            clear += part
    assert _words(clear) == "the connection ends"
    hostile.answers["a byte changed on the way"] = Counter({"the connection ends (TLS)": 1})


def attacked(strings: int = STRINGS) -> tuple[list[Record], str]:
    """A row for each attack and answer, and what became of the honest parties; computed once."""
    path = CELLS / "parties" / f"hostile-{strings}-{__version__}.json"
    if not path.exists():
        with TemporaryDirectory() as folder:
            hostile, unharmed, lines = besieged(Path(folder), strings)
        assert unharmed
        assert "4242" not in "\n".join(lines)
        same_bits = "the same bits"
        rows: list[Record] = [
            {"sent": label, "times": count, "answered": words, "the others": same_bits}
            for label, answers in hostile.answers.items()
            for words, count in answers.most_common()
        ]
        late = next(line for line in lines if "is late" in line)
        waited = f"{same_bits}, after --round-seconds"
        rows.append({"sent": "nothing (a slow party)", "times": 1, "answered": late, "the others": waited})
        refusals = [line for line in lines if line.startswith(f"{HOSTILE}: refused.")]
        kept = {"rows": rows, "refusals": len(refusals), "sentences": len(set(refusals))}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, kept)
    made = read_json(path)
    outcome = (
        f"The log has {made['refusals']} refusals in {made['sentences']} different sentences, and no number "
        "or byte of what was sent. **The honest parties end with the bits of an undisturbed session.**"
    )
    return made["rows"], outcome


if __name__ == "__main__":
    with thread_limit(1):
        print(markdown(attacked(int(sys.argv[1]) if sys.argv[1:] else STRINGS)[0]))
