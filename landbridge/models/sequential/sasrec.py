"""SASRec: self-attentive sequential recommendation (Kang & McAuley, ICDM 2018).

A causal transformer reads the events of a user from all domains in the order of time
(:mod:`landbridge.models.sequential.transformer`). Its state after each event ranks the next item among all
items (:mod:`~landbridge.models.sequential.losses`). The published loss is "bce" with one negative per event
(Section III-E). "softmax" over all items is more accurate where the catalogue is small enough; for large
catalogues use "gbce" (gSASRec, Petrov & Macdonald, RecSys 2023) or "sampled".
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.sequential.method import SequenceMethod


@dataclass(frozen=True)
class SASRec(SequenceMethod):
    """SASRec; its settings are those of every sequential method."""

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
