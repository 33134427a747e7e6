"""Users whom the service has never seen, from what they did in the other catalogue, over HTTP.

    python -m experiments.served

The cold pair game-video. Its test users have events in one domain and are held out in the other one. Here
they are taken out of the training data altogether, and every list is requested by their events alone; beside
it the same users by their ids from a model that knows them, and popularity. Settings are those of
docs/results/cold.md, chosen there on validation.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import uvicorn

from experiments.cold import SHARED_USERS
from experiments.common import SEEDS, intervals, markdown, page, root
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import FULL, Holdout
from landbridge.datasets.published import read_published
from landbridge.evaluation.evaluate import Evaluation, over_seeds
from landbridge.evaluation.significance import compare
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.base import Method
from landbridge.models.popularity import Popularity
from landbridge.serving.http.app import create_app
from landbridge.store import save
from landbridge.training.options import FitOptions

K = 10
TUNED = CDIMF(factors=128, alpha0=0.3, reg=0.3, popularity_weight=0.0)


def main() -> None:
    """Fit, serve, ask, compare over users."""
    test = read_published(root() / "amazon-game-video-cold", shared_users=SHARED_USERS).test
    strangers = _without(test.history, _test_users(test))
    requested = {
        "by events, unseen": (TUNED, strangers, _by_events),
        "by id": (TUNED, test.history, _by_id),
        "popularity": (Popularity(), strangers, _by_events),
    }
    evaluated = {}
    for name, (method, history, query_of) in requested.items():
        each = {seed: _evaluated(method, history, test, query_of, seed) for seed in SEEDS}
        evaluated[name] = replace(over_seeds(each), name=name)
    own, *others = evaluated.values()
    page(
        "served",
        "Users of another catalogue, through the service",
        [
            "CDIMF on game-video. Test users have events in one domain, and what they have in the other one "
            f"is held out. Lists of {K} of all unseen items, by `POST /v1/recommend`; a pair at a time; a "
            f"user's figure is the mean over {len(SEEDS)} seeds. `by events, unseen`: the model was fitted "
            "without any event of these users. `by id`: it knows their events in the one domain. Settings "
            "from [cold](cold.md).",
            markdown(intervals(evaluated, ("ndcg@10", "hr@10"), "query")),
            "```\n" + "\n\n".join(str(compare(own, other)) for other in others) + "\n```",
        ],
    )


def _test_users(test: Holdout) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.unique(np.concatenate([each.user_idx for each in test.targets.values()]))


def _without(history: MultiDomain, gone_N: np.ndarray[Any, np.dtype[np.int32]]) -> MultiDomain:
    tables = {name: table.take(~np.isin(table.user_idx, gone_N)) for name, table in history.domains.items()}
    return replace(history, domains=tables)


def _by_id(test: Holdout, user: int) -> dict[str, Any]:
    return {"user": test.history.users.ids[user : user + 1].tolist()[0]}


def _by_events(test: Holdout, user: int) -> dict[str, Any]:
    events = []
    for name, table in test.history.domains.items():
        start, end = table.by_user.offsets[user : user + 2]
        ids = test.history.items[name].ids[table.by_user.columns[start:end]].tolist()
        events += [{"domain": name, "item": item} for item in ids]
    return {"events": events}


def _evaluated(method: Method, history: MultiDomain, test: Holdout, query_of: Any, seed: int) -> Evaluation:
    """Where each held-out item is in the list that the service gives."""
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        _served(method, history, seed, Path(folder) / "run") as server,
    ):
        for name, targets in test.targets.items():
            lists: dict[int, list[Any]] = {}
            for user, item in zip(targets.user_idx.tolist(), targets.item_idx.tolist(), strict=True):
                if user not in lists:
                    lists[user] = _request(server, {"domains": [name], "k": K, **query_of(test, user)})
                wanted = test.history.items[name].ids[item : item + 1].tolist()[0]
                above = lists[user].index(wanted) if wanted in lists[user] else K
                row = {"domain": name, "user": user, "item": item, "above": above, "ties": 0}
                rows.append({**row, "candidates": history[name].n_items})
    return Evaluation(pl.DataFrame(rows), method.name, FULL)


@contextmanager
def _served(method: Method, history: MultiDomain, seed: int, run: Path) -> Iterator[HTTPConnection]:
    """A connection to a server of the fitted method."""
    save(method.fit(history, FitOptions(seed=seed)), run)
    server = uvicorn.Server(uvicorn.Config(create_app(run), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    connection = HTTPConnection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1])
    try:
        yield connection
    finally:
        connection.close()
        server.should_exit = True
        thread.join()


def _request(server: HTTPConnection, body: Mapping[str, Any]) -> list[Any]:
    server.request("POST", "/v1/recommend", json.dumps(body), {"content-type": "application/json"})
    answer = json.loads(server.getresponse().read())
    return [entry["item"] for entry in answer["items"]]


if __name__ == "__main__":
    main()
