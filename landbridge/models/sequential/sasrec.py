"""SASRec: the next item from a user's latest events (Kang & McAuley, ICDM 2018).

A causal transformer reads a user's events of all domains in the order of time
(:mod:`landbridge.models.sequential.transformer`), and its state after each event is to find the next one
among all
items (:mod:`~landbridge.models.sequential.losses`). The published loss is "bce" with one item drawn per
event; "softmax" over all items does better where the catalogue is small enough for it, "gbce" (gSASRec,
Petrov & Macdonald, RecSys 2023) and "sampled" where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.sequential.method import SequenceMethod


@dataclass(frozen=True)
class SASRec(SequenceMethod):
    """A causal transformer; its settings are those of every sequence method."""

    name: ClassVar[str] = "sasrec"
    paper: ClassVar[str] = "Kang & McAuley, ICDM 2018"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "a sequence"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(3e-4, 3e-3, log=True),
            "encoder.dropout": Real(0.0, 0.5),
            "batch_size": Choice((64, 128, 256)),
        }
    )
