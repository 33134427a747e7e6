"""SASRec: self-attentive sequential recommendation (Kang & McAuley, ICDM 2018).

A causal transformer reads the events of a user from all domains in the order of time
(:mod:`landbridge.models.sequential.transformer`). Its state after each event ranks the next item among all
items (:mod:`~landbridge.models.sequential.losses`). The published loss is "bce" with one negative per event
(Section III-E). "softmax" over all items is more accurate where the catalogue is small enough; for large
catalogues use "gbce" (gSASRec, Petrov & Macdonald, RecSys 2023) or "sampled".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import ClassVar

from landbridge.data.counts import Counts, TableCounts
from landbridge.data.dataset import MultiDomain
from landbridge.models.base import Method
from landbridge.models.cost import Cost
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.sequential import cost as sequence_cost
from landbridge.models.sequential.method import SequenceMethod

IN_AUTO = {
    "encoder.dropout": 0.5,
    "loss.kind": "sampled",
    "loss.sampled_negatives": 512,
    "batch_size": 32,
    "epochs": 60,
}


@dataclass(frozen=True)
class SASRec(SequenceMethod):
    """SASRec; its settings are those of every sequential method."""

    relative_cost: ClassVar[int] = 20
    name: ClassVar[str] = "sasrec"
    paper: ClassVar[str] = "Kang & McAuley, ICDM 2018"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "a sequence"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-3, log=True),
            "encoder.dropout": Real(0.0, 0.5),
            "batch_size": Choice((16, 32, 64, 128)),
        }
    )

    @classmethod
    def in_auto(cls, data: MultiDomain) -> Mapping[str, Method]:
        """Where events have times and torch is there: with sampled items and much dropout, which generalises
        better than the published setting on every data set tried."""
        if find_spec("torch") is None or any(events.time is None for events in data.domains.values()):
            return {}
        return {cls.name: cls.from_settings(IN_AUTO)}

    def cost(self, counts: Counts) -> Cost:
        """An epoch of all sequences; embeddings and adapters of domains are not counted
        (:mod:`landbridge.models.sequential.cost`)."""
        table = TableCounts(self.cross_domain.row_lengths(counts), counts.joined.items)
        readings = self.cross_domain.readings
        return sequence_cost.cost(
            table, self.encoder, self.loss, self.batch_size, self.epochs, readings=readings
        )
