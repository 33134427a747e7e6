"""Cache of scores that several protocols and metrics need."""

from __future__ import annotations

from dataclasses import dataclass, field

from landbridge.core.types import Bool, Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.evaluation.protocols import Named, Scorer

MOST_BYTES = 1 << 30  # 1 GiB


@dataclass(frozen=True, eq=False)
class ScoreCache:
    """A fitted model that scores a block of known users once, as far as ``most`` bytes go.

    Blocks that come after memory is full are scored anew each time. Scores must not be changed.
    """

    fitted: Scorer
    most: int = MOST_BYTES
    kept: dict[tuple[str, bytes], Float32] = field(default_factory=dict)

    @property
    def history(self) -> MultiDomain:
        """The events it was fitted on."""
        return self.fitted.history

    @property
    def method(self) -> Named:
        """What made it."""
        return self.fitted.method

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """As of the model, never kept: a list over all domains is ranked once."""
        return self.fitted.list_scores(domain, queries)

    def unlisted(self, domain: str) -> Bool:
        """As of the model."""
        return self.fitted.unlisted(domain)

    def score(self, domain: str, queries: Queries) -> Float32:
        """Scores of every item for every query, (B, I)."""
        # queries with own events are not repeated, and their key would be as large as the events
        if queries.events is not None:
            return self.fitted.score(domain, queries)
        key = (domain, queries.user_idx.tobytes())
        if key in self.kept:
            return self.kept[key]
        scores_BI = self.fitted.score(domain, queries)
        if scores_BI.nbytes + sum(array.nbytes for array in self.kept.values()) <= self.most:
            self.kept[key] = scores_BI
        return scores_BI
