"""cornac's BPR as a program of :mod:`benchmarks.engine`: Hogwild SGD, two threads, no batches."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from cornac.data import Dataset
from cornac.models import BPR

from benchmarks.engine_child import Events, serve


class Cornac:
    """A seed would leave cornac one thread, so it has none."""

    def __init__(self, events: Events, settings: dict[str, Any]) -> None:
        users, items = (OrderedDict((row, row) for row in range(n)) for n in events[2:])
        triples = events.user_N, events.item_N, np.ones(len(events.user_N))
        self.data = Dataset(len(users), len(items), users, items, triples)
        self.model = BPR(
            k=settings["factors"],
            learning_rate=settings["lr"],
            lambda_reg=settings["reg"],
            num_threads=settings["threads"],
        )

    def learn(self, epochs: int, steps: int | None) -> float:
        self.model.max_iter = epochs
        self.model.fit(self.data)  # goes on from its own rows
        return 1.0

    def rows(self) -> tuple[Any, Any]:
        """The item's bias is a factor whose user's row is 1."""
        model = self.model
        ones_U1 = np.ones((len(model.u_factors), 1), np.float32)
        return np.hstack([model.u_factors, ones_U1]), np.hstack([model.i_factors, model.i_biases[:, None]])


if __name__ == "__main__":
    serve(Cornac)
