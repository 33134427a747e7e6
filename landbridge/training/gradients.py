"""The losses of a step, and the gradient of each at a parameter where a weighting asks for it.

    ∇ Σ_d w_d L_d = Σ_d ∇ w_d L_d                                                                      (1)

Torch goes back through the graphs of all losses at once, and gives no more than the sum. Where every loss
depends on the parameter through a view of its own, the parts pass by there on their way and cost nothing.
Elsewhere a pass for every domain, which ends at the parameter, goes before the one through all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from landbridge.training import tensors
from landbridge.training.torch_backend import torch


class Losses(Mapping[str, Any]):
    """Domain -> scalar tensor with its graph.

    ``parameters``: name -> leaf tensor, without ``grad`` so far. ``views``: domain -> name -> :func:`view` of
    a parameter on which this domain's loss depends through it alone.
    """

    def __init__(
        self,
        losses: Mapping[str, Any],
        parameters: Mapping[str, Any],
        views: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._losses, self._parameters, self._views = losses, parameters, views or {}
        self._done = False

    @classmethod
    def of(cls, losses: Mapping[str, Any], parameters: Mapping[str, Any]) -> Losses:
        """Without views, unless it has been made with them."""
        return losses if isinstance(losses, Losses) else cls(losses, parameters)

    def __getitem__(self, domain: str) -> Any:
        return self._losses[domain]

    def __iter__(self) -> Iterator[str]:
        return iter(self._losses)

    def __len__(self) -> int:
        return len(self._losses)

    @cached_property
    def numbers(self) -> dict[str, float]:
        """Domain -> value."""
        loss_D = torch().stack(tuple(self.values())).detach()
        return dict(zip(self, loss_D.tolist(), strict=True))

    def at(self, name: str, weights: Mapping[str, float], final: bool = False) -> dict[str, Any]:
        """Domain -> gradient of its weighted loss at a parameter, without losses that do not depend on it.

        ``final``: ``backward`` will be called with these weights, so that it may be done already.
        """
        views = {domain: own[name] for domain, own in self._views.items() if name in own}
        if final and len(views) == len(self):
            for each in views.values():
                each.retain_grad()
            self.backward(weights)
            found = {domain: views[domain].grad for domain in self}
        else:
            found = {
                d: self._alone(weights[d] * loss, name) for d, loss in self.items() if loss.requires_grad
            }
        return {domain: gradient for domain, gradient in found.items() if gradient is not None}

    def backward(self, weights: Mapping[str, float]) -> None:
        """Put the gradient of the weighted sum into ``grad`` of the parameters, once."""
        if not self._done:
            sum(weights[domain] * loss for domain, loss in self.items()).backward()  # Eq. (1)
            self._done = True

    def _alone(self, loss: Any, name: str) -> Any:
        leaf = self._parameters[name]
        return torch().autograd.grad(loss, leaf, retain_graph=True, allow_unused=True)[0]


def view(parameter: Any) -> Any:
    """The same by another name: gradients pass by on their way to the parameter, sparse ones as they are."""
    return parameter[...]


def gram(found: Mapping[str, Any]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The domains whose gradient is not zero, and the inner products of their gradients (P, P)."""
    if not found:
        return [], np.empty((0, 0))
    gram_PP = tensors.products(list(found.values()))
    some_P = gram_PP.diagonal() > 0
    if some_P.all():
        return list(found), gram_PP
    return list(compress(found, some_P)), gram_PP[some_P][:, some_P]
