"""The peer: a plain service of the same factors, as one writes it in an afternoon with FastAPI and NumPy.

    python -m benchmarks.serving_peer RUN --port 8701

The same users get the same lists: rows of known users, the optimum of a new one's events at fixed items,
and nothing a user has.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from landbridge import load


class Event(BaseModel):
    domain: str
    item: int


class Body(BaseModel):
    domains: list[str]
    user: int | None = None
    events: list[Event] = []
    k: int = 10


def main() -> None:
    """Load and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    uvicorn.run(application(given.run), port=given.port, access_log=False, log_level="warning")


def application(run: str) -> FastAPI:
    """One route."""
    fitted: Any = load(run)
    item_IF, user_UF = dict(fitted.item_IF), fitted.user_UF["books"]
    seen = fitted.history["books"].by_user
    settings = fitted.method
    gram_FF = settings.alpha0 * sum(rows_IF.T @ rows_IF for rows_IF in item_IF.values())
    catalogue = sum(events.catalogue for events in fitted.history.domains.values())
    app = FastAPI()

    def folded(events: list[Event]) -> np.ndarray:
        rows_NF = np.array([item_IF[event.domain][event.item] for event in events])
        ridge = settings.reg * (len(events) / catalogue + settings.alpha0) ** (
            2 * settings.frequency_exponent
        )
        system_FF = gram_FF + rows_NF.T @ rows_NF + ridge * np.eye(gram_FF.shape[0])
        return np.linalg.solve(system_FF, rows_NF.sum(axis=0)).astype(np.float32)

    @app.post("/v1/recommend")
    def recommend(body: Body) -> dict[str, Any]:
        if body.events:
            row_F, own = folded(body.events), [e.item for e in body.events if e.domain == "books"]
        else:
            row_F = user_UF[body.user]
            own = seen.columns[seen.offsets[body.user] : seen.offsets[body.user + 1]]
        scores_I = item_IF["books"] @ row_F
        scores_I[own] = -np.inf
        best_K = np.argpartition(-scores_I, body.k)[: body.k]
        best_K = best_K[np.argsort(-scores_I[best_K])]
        items = [{"domain": "books", "item": int(i), "score": float(scores_I[i])} for i in best_K]
        return {"items": items}

    return app


if __name__ == "__main__":
    main()
