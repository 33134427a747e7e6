"""What balancing remembers of the domains: weights, and moving averages of their losses and gradients.

D domains seen so far, in the order of their appearance; P those of a batch whose loss has a gradient there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Float64

Places = npt.NDArray[np.int64] | EllipsisType  # of some domains, or all of them

FIRST = 20  # batches whose mean loss is a domain's start where none is given


class GradientStats(NamedTuple):
    """Weights and moving averages by domain; its fields are the state of a weighting.

    ``count_DD``: batches with a gradient of both domains, on the diagonal of the one. An average is plain
    over the first batches and exponential afterwards.
    """

    domains: npt.NDArray[Any]
    weight_D: Float64
    start_D: Float64
    loss_D: Float64
    norm_D: Float64
    cosine_DD: Float64
    count_DD: Float64

    @classmethod
    def of(cls, state: Mapping[str, npt.NDArray[Any]]) -> GradientStats:
        """What a state remembers: nothing if it is empty."""
        if state:
            return cls(**state)
        none_D, none_DD = np.empty(0), np.empty((0, 0))
        names = np.empty(0, np.dtypes.StringDType())
        return cls(names, none_D, none_D, none_D, none_D, none_DD, none_DD)

    def grown(self, domains: Sequence[str]) -> GradientStats:
        """With the new ones among the domains at the end, at weight 1."""
        known = self.domains.tolist()
        new = [domain for domain in domains if domain not in known]
        if not new:
            return self
        more = (0, len(new))
        return self._replace(
            domains=np.concatenate([self.domains, np.array(new, np.dtypes.StringDType())]),
            weight_D=np.pad(self.weight_D, more, constant_values=1.0),
            **{name: np.pad(getattr(self, name), more) for name in ("start_D", "loss_D", "norm_D")},
            **{name: np.pad(getattr(self, name), more) for name in ("cosine_DD", "count_DD")},
        )

    def places(self, domains: Sequence[str]) -> Places:
        """Where the domains are, (P,), or that they are all."""
        known = self.domains.tolist()
        return ... if domains == known else np.array([known.index(domain) for domain in domains], np.int64)

    def observed(
        self, here_P: Places, loss_P: Float64, gram_PP: Float64, decay: float, start: float | None
    ) -> GradientStats:
        """After a batch. ``start``: every domain's loss before training, None: the mean of its first ones."""
        block = ... if here_P is ... else (here_P[:, None], here_P)
        count_DD = self.count_DD.copy()
        count_DD[block] += 1
        count_PP, norm_P = count_DD[block], np.sqrt(gram_PP.diagonal())
        rate_PP = np.maximum(1 - decay, 1 / count_PP)
        rate_P, count_P = rate_PP.diagonal(), count_PP.diagonal()
        start_P = loss_P if start is None else start
        return self._replace(
            count_DD=count_DD,
            start_D=_moved(self.start_D, here_P, start_P, (count_P <= FIRST) / count_P),
            loss_D=_moved(self.loss_D, here_P, loss_P, rate_P),
            norm_D=_moved(self.norm_D, here_P, norm_P, rate_P),
            cosine_DD=_moved(self.cosine_DD, block, gram_PP / (norm_P[:, None] * norm_P), rate_PP),
        )

    def with_weights(self, here_P: Places, weight_P: Float64) -> GradientStats:
        """With other weights here."""
        return self._replace(weight_D=_moved(self.weight_D, here_P, weight_P, 1.0))

    def by_domain(self, figure_D: Float64) -> dict[str, float]:
        """Domain -> figure."""
        return dict(zip(self.domains.tolist(), figure_D.tolist(), strict=True))

    def cosines(self) -> dict[str, float]:
        """``one, other`` -> cosine of their gradients, for pairs that were in a batch together."""
        names = self.domains.tolist()
        pairs = zip(*np.nonzero(np.triu(self.count_DD, 1)), strict=True)
        return {f"{names[one]}, {names[other]}": float(self.cosine_DD[one, other]) for one, other in pairs}


def _moved(old: Float64, where: Any, new: Any, rate: Any) -> Float64:
    """A copy, at some places moved towards new values by a part ``rate`` of the way."""
    moved: Float64 = old[where] + rate * (new - old[where])
    if where is ...:
        return moved
    out = old.copy()
    out[where] = moved
    return out
