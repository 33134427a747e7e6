"""RecBole's SASRec as a program of :mod:`benchmarks.sequence`, in a Python environment of its own.

Its trainer's own epoch is measured, a few batches at a time: every event but a user's first is a sample,
with the up to ``max_length`` events before it. What takes the place of a time is an event's place in the
file,
so that events of equal time are in the order that landbridge has them in.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import TrainDataLoader
from recbole.trainer import Trainer
from recbole.utils import get_model

from benchmarks.sequence_child import Turns

COLUMNS = ("user", "item", "time")
ROWS_AT_ONCE = 512


class RecBole:
    """A data set of all events and nothing held out; SASRec with landbridge's sizes."""

    def __init__(self, events: dict[str, Any], settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        self.events, self.length = events, settings["max_length"]
        self.config = _config(events, settings)
        dataset = create_dataset(self.config)
        (train,) = dataset.build()
        self.loader = TrainDataLoader(self.config, train, None, shuffle=True)
        self.model = get_model("SASRec")(self.config, train)
        self.trainer = Trainer(self.config, self.model)

    def epochs(self, batches: int) -> Iterator[int]:
        """Learns without end; gives the batches done in every turn of so many, fewer at an epoch's end."""
        epoch = 0
        while True:
            ahead, left = iter(self.loader), len(self.loader)
            while left:
                self.trainer._train_epoch(_Some(ahead, batches), epoch)
                done = min(batches, left)
                left -= done
                yield done
            epoch += 1

    def rows(self) -> tuple[Any, Any]:
        """Every user's state after the last event, and the items, in the order of the events' own numbers."""
        number_I = self.loader._dataset.field2token_id["item"]
        own_I = np.array([number_I.get(str(item), 0) for item in range(self.events["n_items"])])
        input_UL, count_U = self._latest(own_I)
        self.model.eval()
        with torch.no_grad():
            parts = [
                self.model.forward(
                    input_UL[start : start + ROWS_AT_ONCE], count_U[start : start + ROWS_AT_ONCE]
                )
                for start in range(0, len(input_UL), ROWS_AT_ONCE)
            ]
        return torch.cat(parts).numpy(), self.model.item_embedding.weight.detach().numpy()[own_I]

    def _latest(self, own_I: Any) -> tuple[Any, Any]:
        """RecBole's numbers of every user's last events, oldest first, 0 behind the end, and how many."""
        user_N, item_N = self.events["user"], own_I[self.events["item"]]
        total_U = np.bincount(user_N, minlength=self.events["n_users"])
        place_N = np.arange(len(user_N)) - np.repeat(np.cumsum(total_U) - total_U, total_U)
        place_N -= np.maximum(total_U - self.length, 0)[user_N]
        input_UL = np.zeros((len(total_U), self.length), np.int64)
        late_N = place_N >= 0
        input_UL[user_N[late_N], place_N[late_N]] = item_N[late_N]
        return torch.from_numpy(input_UL), torch.from_numpy(np.minimum(total_U, self.length))


class _Some:
    """The next batches of an epoch under way."""

    shuffle = False

    def __init__(self, ahead: Iterator[Any], batches: int) -> None:
        self.ahead, self.batches = ahead, batches

    def __iter__(self) -> Any:
        return islice(self.ahead, self.batches)


def _config(events: dict[str, Any], settings: dict[str, Any]) -> Config:
    """RecBole's settings, after the events have been written as it wants them, in the working folder."""
    folder = Path("events")
    folder.mkdir(exist_ok=True)
    columns = {"user:token": events["user"], "item:token": events["item"]}
    frame = pd.DataFrame(columns | {"time:float": np.arange(len(events["user"]))})
    frame.to_csv(folder / "events.inter", sep="\t", index=False)
    return Config(
        "SASRec",
        "events",
        config_dict={
            "data_path": os.getcwd(),
            "USER_ID_FIELD": "user",
            "ITEM_ID_FIELD": "item",
            "TIME_FIELD": "time",
            "load_col": {"inter": list(COLUMNS)},
            "MAX_ITEM_LIST_LENGTH": settings["max_length"],
            "eval_args": {"split": {"RS": [1]}, "order": "TO", "group_by": None, "mode": "full"},
            "train_neg_sample_args": None,
            "loss_type": "CE",
            "use_gpu": False,
            "show_progress": False,
            "hidden_size": settings["factors"],
            "n_layers": settings["blocks"],
            "n_heads": settings["heads"],
            "inner_size": settings["hidden"],
            "hidden_dropout_prob": settings["dropout"],
            "attn_dropout_prob": settings["dropout"],
            "train_batch_size": settings["batch_size"],
            "learning_rate": settings["lr"],
        },
    )


def main() -> None:
    settings = json.loads(sys.argv[1])
    os.chdir(Path(settings["rows"]).parent)  # it writes where it works
    arrays = np.load(settings["events"])
    events = {"user": arrays["user"], "item": arrays["item"]}
    events |= {key: int(arrays[key]) for key in ("n_users", "n_items")}
    turns = Turns(settings)
    peer = RecBole(events, settings["method"] | {"threads": settings["threads"]})
    turns.begin()
    for done in peer.epochs(settings["batches"]):
        turns.ended(lambda done=done: done / len(peer.loader), peer.rows)  # type: ignore[misc]


if __name__ == "__main__":
    main()
