"""A small stand-in for the server: the routes of the page over three planted catalogues.

Works share themes. An item's score is what it shares with each liked one, so every list is known in
advance: who likes tales of the sea gets the sea in films, books and music.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import landbridge.serving

WEB = Path(landbridge.serving.__file__).parent / "web"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
FIRST_BOOK = 9_007_199_254_740_993  # no number of JavaScript is exact from here on
HOSTILE = '<img src=x onerror="document.title=\'broken into\'"><b>Bold</b> & \u202e"quoted"'

QUALITY = {"films": 0.1, "books": 0.2, "music": 0.05}  # NDCG@10

FILMS = """Twenty Thousand Leagues Under the Sea (1916): sea, adventure
A Trip to the Moon (1902): space, adventure
Metropolis (1927): future, city
Nosferatu (1922): night, fear
The Phantom of the Opera (1925): night, love
The Sea Hawk (1924): sea, war
Woman in the Moon (1929): space, future
Battleship Potemkin (1925): sea, war, city
The Cabinet of Dr. Caligari (1920): fear, crime
Sherlock Jr. (1924): crime, laughter
The General (1926): war, laughter
Sunrise: A Song of Two Humans (1927): love, city
City Lights (1931): city, love, laughter
The Lodger: A Story of the London Fog (1927): crime, city, night
Wings (1927): war, love
Safety Last! (1923): laughter, city
The Lost World (1925): adventure, fear
Captain Blood (1924): sea, adventure"""

BOOKS = """Twenty Thousand Leagues Under the Seas: sea, adventure, future
From the Earth to the Moon: space, adventure
The War of the Worlds: space, war, fear
Dracula: night, fear, love
Moby-Dick; or, The Whale: sea, fear
The Time Machine: future, adventure
The Hound of the Baskervilles: crime, fear, night
A Study in Scarlet: crime, city
Three Men in a Boat: laughter, adventure
Treasure Island: sea, adventure, crime
War and Peace: war, love
Persuasion: love, sea
We: future, city, love
The Phantom of the Opera: night, love, crime
Frankenstein: fear, night
The Diary of a Nobody: laughter, city
Lord Jim: sea, war
Somnium: space, night"""

MUSIC = """The Planets: space, war
La mer: sea
Scheherazade: sea, adventure, love
Night on Bald Mountain: night, fear
A London Symphony: city
Danse macabre: night, fear, laughter
The Flying Dutchman: sea, love, fear
1812 Overture: war
Clair de lune: night, love
The Sorcerer’s Apprentice: laughter, fear
A Sea Symphony: sea
The Isle of the Dead: sea, fear, night
Pacific 231: future, city
The Thieving Magpie: crime, laughter
Romeo and Juliet: love, crime
Also sprach Zarathustra: space, future
The Hebrides: sea, adventure
Till Eulenspiegel’s Merry Pranks: laughter, crime"""


@dataclass(frozen=True)
class Work:
    """``item``: films have texts as ids, books numbers of 64 bits."""

    domain: str
    item: str | int
    title: str | None
    themes: frozenset[str]
    events: int


@dataclass
class World:
    """What is served, and how it misbehaves.

    ``hold``: called with a path and what is given to it, before it is answered. ``status``: gives what
    is answered with. ``key``: what is wanted in x-api-key. ``asked``: every request, in order.
    """

    model: str = "3f9c1d7ab204"
    works: tuple[Work, ...] = ()
    people: dict[str, tuple[Work, ...]] = field(default_factory=dict)
    hold: Callable[[str, dict[str, Any]], object] = lambda path, given: None
    key: str | None = None
    status: Callable[[str, dict[str, Any]], int] = lambda path, given: 200
    asked: list[tuple[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def of(self, domain: str) -> list[Work]:
        """A domain's works, the popular ones first."""
        return sorted((work for work in self.works if work.domain == domain), key=lambda work: -work.events)

    def work(self, domain: str, item: Any) -> Work:
        """Ids are found as texts, too, like the real vocabularies do."""
        return next(work for work in self.of(domain) if str(work.item) == str(item))


def world() -> World:
    """The planted catalogues, and two users that the model knows."""
    made = World(works=(*_works("films", FILMS), *_works("books", BOOKS), *_works("music", MUSIC)))
    sailor = [work for work in made.works if "sea" in work.themes and work.domain == "films"]
    dreamer = [work for work in made.works if "night" in work.themes and work.domain == "music"]
    made.people = {"ada": tuple(sailor[:3]), "42": tuple(dreamer[:3])}
    made.about = about(made)
    return made


def _works(domain: str, text: str) -> Iterator[Work]:
    for place, line in enumerate(text.splitlines()):
        title, _, themes = line.rpartition(": ")
        item = FIRST_BOOK + place if domain == "books" else f"{domain[0]}{place}"
        yield Work(domain, item, title, frozenset(themes.split(", ")), 1900 - 83 * place - len(domain))


def about(world: World) -> dict[str, Any]:
    """What the real service says of itself, for the planted catalogues."""
    sizes = {
        name: {"items": 18, "users": 1200 - 300 * n, "events": 20_000 - 4_000 * n}
        for n, name in enumerate(QUALITY)
    }
    return {
        "method": "cdimf",
        "settings": {"factors": 32, "alpha0": 0.1, "reg": 0.01, "sharing": None},
        "kind": "factors",
        "created": "2026-11-21T20:14:10+00:00",
        "age": 12_600.0,
        "domains": sizes,
        "comparable": True,
        "filters": [],
        "decisions": [],
        "quality": {
            "protocol": "full",
            "ndcg@10": QUALITY,
            "hr@10": {name: 2 * value for name, value in QUALITY.items()},
        },
    }


def decision(domain: str, group: str, weights: dict[str, float], alone: float) -> dict[str, Any]:
    """What a guard decides for one group: its figure is 0.2, its twin's ``alone``."""
    return {
        "domain": domain,
        "group": group,
        "pairs": 100,
        "weights": weights,
        "simple": "alone",
        "estimate": 0.2,
        "simple_estimate": alone,
        "lower": 0.0,
        "protected": False,
        "members": {"popularity": 0.05, "alone": alone, "cdimf": 0.19},
    }


def likeness(one: Work, other: Work) -> float:
    """Shared themes against all of both."""
    return len(one.themes & other.themes) / len(one.themes | other.themes)


def parts(work: Work, liked: list[Work]) -> list[dict[str, Any]]:
    """What each liked work adds to the score, and what popularity does; largest first."""
    found = [
        {"domain": each.domain, "item": each.item, "title": each.title, "value": likeness(work, each)}
        for each in liked
    ]
    popular = {
        "domain": work.domain,
        "item": None,
        "title": "popular in this domain",
        "value": work.events / 1e4,
    }
    return sorted([*found, popular], key=lambda part: -part["value"])


def reasons(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The works that speak most for another, and popularity."""
    speaking = [part for part in found if part["item"] is not None and part["value"] > 0][:3]
    return [part for part in found if part in speaking or part["item"] is None]


def listed(work: Work, score: float) -> dict[str, Any]:
    """An item of a list."""
    return {"domain": work.domain, "item": work.item, "title": work.title, "score": score}


class Routes:
    """Path -> answer: the body or the query in, JSON out."""

    def __init__(self, served: World) -> None:
        self.world = served

    def recommend(self, given: dict[str, Any]) -> dict[str, Any]:
        liked, known = self._liked(given)
        domain = given["domains"][0]
        scored = [(sum(p["value"] for p in parts(work, liked)), work) for work in self.world.of(domain)]
        allowed = given.get("allow", {}).get(domain)
        best = sorted(
            (pair for pair in scored if given.get("seen") or pair[1] not in liked), key=lambda pair: -pair[0]
        )
        if allowed is not None:
            best = [pair for pair in best if str(pair[1].item) in allowed]
        items = [listed(work, score) for score, work in best[: given.get("k", 10)]]
        if given.get("explain"):
            for item, (_, work) in zip(items, best, strict=False):
                item["because"] = reasons(parts(work, liked))
        source = "model" if liked else "fallback"
        return {"items": items, "source": source, "known": known, "model": self.world.model}

    def explain(self, given: dict[str, Any]) -> dict[str, Any]:
        liked, _ = self._liked(given)
        found = parts(self.world.work(given["domain"], given["item"]), liked)
        score = sum(part["value"] for part in found)
        return {"score": score, "parts": found, "exact": True, "features": [], "model": self.world.model}

    def search(self, query: dict[str, str]) -> dict[str, Any]:
        words = query["q"].lower().split()
        named = [work for work in self.world.works if work.title]
        found = [work for work in named if all(word in work.title.lower() for word in words)]
        best = sorted(found, key=lambda work: -work.events)[: int(query.get("k", 20))]
        return {"items": [listed(work, work.events) for work in best], "model": self.world.model}

    def similar(self, given: dict[str, Any]) -> dict[str, Any]:
        one = self.world.work(given["domain"], given["item"])
        others = [work for work in self.world.of(given["to"]) if work is not one]
        best = sorted(((likeness(one, work), work) for work in others), key=lambda pair: -pair[0])
        items = [listed(work, score) for score, work in best[: given["k"]] if score > 0]
        return {"items": items, "model": self.world.model}

    def popular(self, query: dict[str, str]) -> dict[str, Any]:
        best = self.world.of(query["domain"])[: int(query.get("k", 20))]
        return {"items": [listed(work, work.events) for work in best], "model": self.world.model}

    def model(self, _: dict[str, str]) -> dict[str, Any]:
        return self.world.about | {"model": self.world.model}

    def healthz(self, _: dict[str, str]) -> dict[str, Any]:
        return {"status": "ok"}

    def readyz(self, _: dict[str, str]) -> dict[str, Any]:
        return {
            "ready": True,
            "model": self.world.model,
            "since": "2026-11-21T20:15:00+00:00",
            "swaps": 3,
            "rollbacks": 0,
            "failed": None,
        }

    def _liked(self, given: dict[str, Any]) -> tuple[list[Work], bool]:
        known = self.world.people.get(str(given.get("user")))
        events = [self.world.work(event["domain"], event["item"]) for event in given.get("events", ())]
        return [*(known or ()), *events], known is not None


class _Handler(BaseHTTPRequestHandler):
    world: World
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(where.query).items()}
        name = where.path.rpartition("/")[2]
        if where.path.startswith("/v1/") or name in ("healthz", "readyz"):
            self._answer(where.path, name, query)
        elif name == "metrics":
            self._send(200, "text/plain", METRICS.encode())
        else:
            self._file(where.path.lstrip("/") or "index.html")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._answer(self.path, self.path.rpartition("/")[2], body)

    def _answer(self, path: str, name: str, given: dict[str, Any]) -> None:
        self.world.asked.append((path, given))
        self.world.hold(path, given)
        locked = self.world.key not in (None, self.headers["x-api-key"]) and path != "/readyz"
        status = 401 if locked else self.world.status(path, given)
        said = {"error": "The planted server was told to fail."}
        answer = getattr(Routes(self.world), name)(given) if status == 200 else said
        self._send(status, "application/json", json.dumps(answer).encode())

    def _file(self, name: str) -> None:
        path = WEB / name
        if path.is_file():
            self._send(200, KINDS[path.suffix], path.read_bytes())
        else:
            self._send(404, "application/json", b'{"error": "There is no such page."}')

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in (HEADERS | {"content-type": kind, "content-length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


METRICS = """# HELP landbridge_request_seconds Response time
# TYPE landbridge_request_seconds histogram
landbridge_request_seconds_bucket{le="0.001",route="/v1/recommend"} 120.0
landbridge_request_seconds_bucket{le="0.002",route="/v1/recommend"} 800.0
landbridge_request_seconds_bucket{le="0.003",route="/v1/recommend"} 970.0
landbridge_request_seconds_bucket{le="0.005",route="/v1/recommend"} 990.0
landbridge_request_seconds_bucket{le="0.01",route="/v1/recommend"} 1000.0
landbridge_request_seconds_bucket{le="+Inf",route="/v1/recommend"} 1000.0
landbridge_request_seconds_count{route="/v1/recommend"} 1000.0
landbridge_request_seconds_sum{route="/v1/recommend"} 1.9
landbridge_request_seconds_bucket{le="0.001",route="/v1/search"} 40.0
landbridge_request_seconds_bucket{le="0.002",route="/v1/search"} 50.0
landbridge_request_seconds_bucket{le="+Inf",route="/v1/search"} 50.0
landbridge_request_seconds_count{route="/v1/search"} 50.0
landbridge_request_seconds_sum{route="/v1/search"} 0.04
landbridge_requests_total{route="/v1/recommend",status="200"} 997.0
landbridge_requests_total{route="/v1/recommend",status="503"} 3.0
landbridge_requests_total{route="/v1/search",status="200"} 50.0
landbridge_answers_total{user="known",source="model"} 700.0
landbridge_answers_total{user="new",source="model"} 250.0
landbridge_answers_total{user="new",source="fallback"} 50.0
landbridge_model_age_seconds 12600.0
"""


@contextmanager
def served(shown: World, port: int = 0) -> Iterator[str]:
    """The address of a server that lives as long as the block."""
    handler = type("Handler", (_Handler,), {"world": shown})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
