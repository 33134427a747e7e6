"""What balancing sees of the domains: their gradients at one shared parameter, and moving averages of it.

D domains seen so far, in the order of their appearance; P those of a batch whose loss has a gradient there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from landbridge.training.neural import torch

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

FIRST = 20  # batches whose mean loss is a domain's start where none is given


def gradients(losses: Mapping[str, Any], parameter: Any) -> dict[str, Any]:
    """Domain -> gradient of its loss at the parameter, without those that do not depend on it."""
    found = {
        domain: torch().autograd.grad(loss, parameter, retain_graph=True, allow_unused=True)[0]
        for domain, loss in losses.items()
        if loss.requires_grad
    }
    return {domain: gradient for domain, gradient in found.items() if gradient is not None}


def gram(found: Mapping[str, Any]) -> tuple[list[str], Float64]:
    """The domains whose gradient is not zero, and the inner products of their gradients (P, P)."""
    if not found:
        return [], np.empty((0, 0))
    flat_PX = _side_by_side(list(found.values()))
    gram_PP = (flat_PX @ flat_PX.T).double().cpu().numpy()
    kept_P = np.flatnonzero(np.diag(gram_PP) > 0)
    return [list(found)[place] for place in kept_P], gram_PP[np.ix_(kept_P, kept_P)]


def _side_by_side(found: Sequence[Any]) -> Any:
    """One row per gradient; of sparse ones only the rows that any of them touches."""
    if not all(gradient.is_sparse for gradient in found):
        return torch().stack([gradient.to_dense().flatten() for gradient in found])
    merged = [gradient.coalesce() for gradient in found]
    rows_T = torch().cat([gradient.indices()[0] for gradient in merged]).unique()
    shape = (len(merged), len(rows_T), *merged[0].values().shape[1:])
    out_PTF = torch().zeros(shape, dtype=merged[0].dtype, device=rows_T.device)
    for place, gradient in enumerate(merged):
        out_PTF[place, torch().searchsorted(rows_T, gradient.indices()[0])] = gradient.values()
    return out_PTF.flatten(1)


@dataclass(frozen=True, eq=False)
class Seen:
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
    def of(cls, state: Mapping[str, npt.NDArray[Any]]) -> Seen:
        """What a state remembers: nothing if it is empty."""
        if state:
            return cls(**state)
        none_D, none_DD = np.empty(0), np.empty((0, 0))
        names = np.empty(0, np.dtypes.StringDType())
        return cls(names, none_D, none_D, none_D, none_D, none_DD, none_DD)

    def grown(self, domains: Sequence[str]) -> Self:
        """With the new ones among the domains at the end, at weight 1."""
        known = self.domains.tolist()
        new = [domain for domain in domains if domain not in known]
        if not new:
            return self
        more = (0, len(new))
        return replace(
            self,
            domains=np.concatenate([self.domains, np.array(new, np.dtypes.StringDType())]),
            weight_D=np.pad(self.weight_D, more, constant_values=1.0),
            **{name: np.pad(getattr(self, name), more) for name in ("start_D", "loss_D", "norm_D")},
            **{name: np.pad(getattr(self, name), more) for name in ("cosine_DD", "count_DD")},
        )

    def places(self, domains: Sequence[str]) -> Int64:
        """Where the domains are, (P,)."""
        known = self.domains.tolist()
        return np.array([known.index(domain) for domain in domains], np.int64)

    def observed(
        self, here_P: Int64, loss_P: Float64, gram_PP: Float64, decay: float, start: float | None
    ) -> Self:
        """After a batch. ``start``: every domain's loss before training, None: the mean of its first ones."""
        block = np.ix_(here_P, here_P)
        count_DD = self.count_DD.copy()
        count_DD[block] += 1
        rate_PP = np.maximum(1 - decay, 1 / count_DD[block])
        rate_P, count_P = np.diag(rate_PP), np.diag(count_DD[block])
        start_P = loss_P if start is None else np.full(len(here_P), start)
        norm_P = np.sqrt(np.diag(gram_PP))
        return replace(
            self,
            count_DD=count_DD,
            start_D=_moved(self.start_D, here_P, start_P, np.where(count_P <= FIRST, 1 / count_P, 0)),
            loss_D=_moved(self.loss_D, here_P, loss_P, rate_P),
            norm_D=_moved(self.norm_D, here_P, norm_P, rate_P),
            cosine_DD=_moved(self.cosine_DD, block, gram_PP / np.outer(norm_P, norm_P), rate_PP),
        )

    def weighing(self, here_P: Int64, weight_P: Float64) -> Self:
        """With other weights here."""
        return replace(self, weight_D=_moved(self.weight_D, here_P, weight_P, 1.0))

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
    out = old.copy()
    out[where] += rate * (new - out[where])
    return out
