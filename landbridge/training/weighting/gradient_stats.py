"""Statistics that GradNorm keeps per domain: weights, and moving averages of losses and gradients.

With gradients ∇_d of the domains' losses L_d at the shared parameter, x one of L_d, ‖∇_d‖ or cos(∇_d, ∇_e),
and n the number of batches in which it was measured so far,

    x̄ ← x̄ + max(1 - decay, 1/n) (x - x̄)                                                               (1)

which is the plain mean over the first 1/(1 - decay) batches and an exponential moving average afterwards, so
that no correction of the bias at the start is needed.

Letters: D domains seen so far, in the order of their first appearance; P the domains of a batch whose loss
has a gradient at the parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.types import AnyArray, Float64

DomainIndex = npt.NDArray[np.int64] | EllipsisType  # indices of some domains, or ``...`` for all of them

START_BATCHES = 20  # the initial loss of a domain is its mean over so many batches where none is given


class GradientStats(NamedTuple):
    """Weights and moving averages by domain; its fields are the state of a weighting.

    ``count_DD``: number of batches in which both domains had a gradient; the diagonal counts one domain's
    own. The averages are those of Eq. (1).
    """

    domains: AnyArray
    weight_D: Float64
    start_D: Float64
    loss_D: Float64
    norm_D: Float64
    cosine_DD: Float64
    count_DD: Float64

    @classmethod
    def of(cls, state: Mapping[str, AnyArray]) -> GradientStats:
        """The statistics stored in a state; none if the state is empty."""
        if state:
            return cls(**state)
        none_D, none_DD = np.empty(0), np.empty((0, 0))
        names = np.empty(0, np.dtypes.StringDType())
        return cls(names, none_D, none_D, none_D, none_D, none_DD, none_DD)

    def with_domains(self, domains: Sequence[str]) -> GradientStats:
        """With the domains that are new appended, at weight 1."""
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

    def indices_of(self, domains: Sequence[str]) -> DomainIndex:
        """Indices of the domains, (P,), or ``...`` if they are all, in order."""
        known = self.domains.tolist()
        # ``...`` indexes without a copy or a gather: in most steps every domain is present
        return ... if domains == known else np.array([known.index(domain) for domain in domains], np.int64)

    def observed(
        self, index_P: DomainIndex, loss_P: Float64, gram_PP: Float64, decay: float, start: float | None
    ) -> GradientStats:
        """The statistics after a batch.

        ``loss_P``: losses; ``gram_PP``: inner products of the gradients. ``start``: every domain's loss
        before training; None takes the mean over its first ``START_BATCHES`` batches.
        """
        block = ... if index_P is ... else (index_P[:, None], index_P)
        count_DD = self.count_DD.copy()
        count_DD[block] += 1
        count_PP, norm_P = count_DD[block], np.sqrt(gram_PP.diagonal())
        rate_PP = np.maximum(1 - decay, 1 / count_PP)  # Eq. (1)
        rate_P, count_P = rate_PP.diagonal(), count_PP.diagonal()
        start_P = loss_P if start is None else start
        return self._replace(
            count_DD=count_DD,
            start_D=_moved(self.start_D, index_P, start_P, (count_P <= START_BATCHES) / count_P),
            loss_D=_moved(self.loss_D, index_P, loss_P, rate_P),
            norm_D=_moved(self.norm_D, index_P, norm_P, rate_P),
            cosine_DD=_moved(self.cosine_DD, block, gram_PP / (norm_P[:, None] * norm_P), rate_PP),
        )

    def with_weights(self, index_P: DomainIndex, weight_P: Float64) -> GradientStats:
        """With other weights of the domains in ``index_P``."""
        return self._replace(weight_D=_moved(self.weight_D, index_P, weight_P, 1.0))

    def by_domain(self, value_D: Float64) -> dict[str, float]:
        """Domain -> value."""
        return dict(zip(self.domains.tolist(), value_D.tolist(), strict=True))

    def cosines(self) -> dict[str, float]:
        """``one, other`` -> mean cosine of their gradients, for domains that were in a batch together."""
        names = self.domains.tolist()
        pairs = zip(*np.nonzero(np.triu(self.count_DD, 1)), strict=True)
        return {f"{names[one]}, {names[other]}": float(self.cosine_DD[one, other]) for one, other in pairs}


def _moved(old: Float64, where: Any, new: Float64 | float, rate: Float64 | float) -> Float64:
    """A copy in which the elements ``where`` have moved by the fraction ``rate`` towards ``new``."""
    moved: Float64 = old[where] + rate * (new - old[where])
    if where is ...:
        return moved
    out = old.copy()
    out[where] = moved
    return out
