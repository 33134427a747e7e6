"""Lists over several domains that are compared: by calibrated scores, by raw ones, and interleaved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from landbridge.core.types import Bool, Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.evaluation.protocols import Scorer
from landbridge.models.base import Fitted, Method
from landbridge.models.mixture import BlendModel


@dataclass(frozen=True, eq=False)
class Raw:
    """The scores of a model as they are, its cold policy included."""

    model: Fitted

    @property
    def history(self) -> MultiDomain:
        """As of the model."""
        return self.model.history

    @property
    def method(self) -> Method:
        """As of the model."""
        return self.model.method

    def score(self, domain: str, queries: Queries) -> Float32:
        """As of the model."""
        return self.model.score(domain, queries)

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """As ``score``."""
        return self.model.score(domain, queries)

    def unlisted(self, domain: str) -> Bool:
        """As of the model."""
        return self.model.unlisted(domain)


@dataclass(frozen=True, eq=False)
class Interleaved(Raw):
    """The lists of a blend, interleaved so that each domain has its share of the user's events."""

    model: BlendModel

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """- (rank of the unseen item in its domain) / share of the domain."""
        scores_BI = self.model.score(domain, queries)
        seen = queries.histories(self.history, domain)
        scores_BI[seen.entry_rows, seen.columns] = -np.inf
        rank_BI = np.argsort(np.argsort(-scores_BI, axis=1, kind="stable"), axis=1) + 0.5
        place = self.history.domain_names.index(domain)
        share_B = self.model.domain_shares(queries)[:, place]
        return np.asarray(-rank_BI / share_B[:, None], np.float32)


def lists(blend: BlendModel, fitted: Mapping[str, Fitted]) -> dict[str, Scorer]:
    """Label -> the lists of a calibrated blend and of the joined models in ``fitted``."""
    return {
        "auto, calibrated": blend,
        "auto, raw": replace(blend, method=replace(blend.method, slopes={})),
        "auto, interleaved": Interleaved(blend),
        "joined ALS": fitted["joined"],
        "joined ALS, with cold policy": Raw(fitted["joined"]),
        "joined EASE": fitted["ease joined"],
        "joined EASE, with cold policy": Raw(fitted["ease joined"]),
    }
