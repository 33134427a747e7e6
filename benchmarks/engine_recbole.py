"""RecBole's BPR and LightGCN as a program of :mod:`benchmarks.engine`, in a Python environment of its own.

Its trainer's own epoch is measured: sampling, forward, backward and Adam over all rows.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import TrainDataLoader
from recbole.sampler import Sampler
from recbole.trainer import Trainer
from recbole.utils import get_model

from benchmarks.engine_child import Events, serve

COLUMNS = ("user", "item")


class RecBole:
    """A data set of all events and nothing held out; the model's settings are RecBole's own but for sizes."""

    def __init__(self, events: Events, settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        self.events, self.epoch, self.config = events, 0, _config(events, settings)
        dataset = create_dataset(self.config)
        (train,) = dataset.build()
        sampler = Sampler(["train"], [train], "uniform").set_phase("train")
        self.loader = TrainDataLoader(self.config, train, sampler, shuffle=True)
        self.model = get_model(settings["model"])(self.config, train)
        self.trainer = Trainer(self.config, self.model)

    def learn(self, epochs: int, steps: int | None) -> float:
        for _ in range(epochs):
            loader = self.loader if steps is None else _Some(self.loader, steps)
            self.trainer._train_epoch(loader, self.epoch)
            self.epoch += 1
        return 1.0 if steps is None else min(steps / len(self.loader), 1.0)

    def rows(self) -> tuple[Any, Any]:
        """In the order of the events' own numbers; zeros for whom RecBole has not seen."""
        model = self.model
        with torch.no_grad():
            learned = model() if self.config["model"] == "LightGCN" else None
        tables = learned or (model.user_embedding.weight, model.item_embedding.weight)
        sizes = self.events.n_users, self.events.n_items
        return tuple(
            _ordered(table.detach().numpy(), self.loader._dataset.field2id_token[column], size)
            for table, column, size in zip(tables, COLUMNS, sizes, strict=True)
        )


class _Some:
    """The first batches of an epoch."""

    shuffle = False

    def __init__(self, loader: TrainDataLoader, steps: int) -> None:
        self.loader, self.steps = loader, steps

    def __iter__(self) -> Any:
        return islice(iter(self.loader), self.steps)


def _config(events: Events, settings: dict[str, Any]) -> Config:
    """RecBole's settings, after the events have been written as it wants them, in the working folder."""
    folder = Path("events")
    folder.mkdir(exist_ok=True)
    frame = pd.DataFrame({"user:token": events.user_N, "item:token": events.item_N})
    frame.to_csv(folder / "events.inter", sep="\t", index=False)
    return Config(
        settings["model"],
        "events",
        config_dict={
            "data_path": os.getcwd(),
            "USER_ID_FIELD": "user",
            "ITEM_ID_FIELD": "item",
            "load_col": {"inter": list(COLUMNS)},
            "eval_args": {"split": {"RS": [1]}, "order": "RO", "group_by": None, "mode": "full"},
            "use_gpu": False,
            "show_progress": False,
            "embedding_size": settings["factors"],
            "n_layers": settings.get("layers", 0),
            "train_batch_size": settings["batch_size"],
            "learning_rate": settings["lr"],
            "reg_weight": settings["reg"],
        },
    )


def _ordered(table_RF: Any, token_R: Any, size: int) -> Any:
    """RecBole numbers by first appearance and keeps row 0 for padding."""
    out_RF = np.zeros((size, table_RF.shape[1]), np.float32)
    out_RF[token_R[1:].astype(np.int64)] = table_RF[1:]
    return out_RF


if __name__ == "__main__":
    serve(RecBole)
