"""The losses of a step by domain, and each loss's own gradient where a weighting needs it.

    ∇ Σ_d w_d L_d = Σ_d ∇ w_d L_d                                                                      (1)

One backward pass over the sum gives torch no more than the sum of the gradients. If every loss depends on
the parameter through a view of its own, that same pass also leaves each part at its view, at no extra cost.
Otherwise one pass per domain, down to the parameter only, runs before the pass over the sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from landbridge.training import tensors
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor


class Losses(Mapping[str, "Tensor"]):
    """Domain -> scalar tensor with its graph.

    ``parameters``: name -> leaf tensor whose ``grad`` is None. ``views``: domain -> name -> :func:`view` of
    a parameter, if this domain's loss depends on the parameter through that view alone.
    """

    def __init__(
        self,
        losses: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor],
        views: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> None:
        self._losses, self._parameters, self._views = losses, parameters, views or {}
        self._done = False

    @classmethod
    def of(cls, losses: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> Losses:
        """The losses as they are if they are ``Losses`` already, else without views."""
        return losses if isinstance(losses, Losses) else cls(losses, parameters)

    def __getitem__(self, domain: str) -> Tensor:
        return self._losses[domain]

    def __iter__(self) -> Iterator[str]:
        return iter(self._losses)

    def __len__(self) -> int:
        return len(self._losses)

    @cached_property
    def numbers(self) -> dict[str, float]:
        """Domain -> value of its loss."""
        loss_D = torch.stack(tuple(self.values())).detach()  # one transfer from the device for all domains
        return dict(zip(self, loss_D.tolist(), strict=True))

    def at(self, name: str, weights: Mapping[str, float], final: bool = False) -> dict[str, Tensor]:
        """Domain -> gradient of its weighted loss at a parameter, without losses that do not depend on it.

        ``final``: ``backward`` will be called with these same weights, so this call may run it already.
        """
        views = {domain: own[name] for domain, own in self._views.items() if name in own}
        if final and len(views) == len(self):
            for each in views.values():
                each.retain_grad()
            self.backward(weights)
            gradients = {domain: views[domain].grad for domain in self}
        else:
            gradients = {
                d: self._alone(weights[d] * loss, name) for d, loss in self.items() if loss.requires_grad
            }
        return {domain: gradient for domain, gradient in gradients.items() if gradient is not None}

    def backward(self, weights: Mapping[str, float]) -> None:
        """Put the weighted sum's gradient into ``grad`` of the parameters; a second call does nothing."""
        if not self._done:
            # sum() starts from the first loss: its 0 would be one more node of the graph
            first, *others = (weights[domain] * loss for domain, loss in self.items())
            sum(others, first).backward()  # Eq. (1)
            self._done = True

    def gradients(
        self, weights: Mapping[str, float], parameters: Mapping[str, Tensor]
    ) -> dict[str, tensors.Gradient]:
        """The weighted sum's gradient at some parameters, which is taken: their ``grad`` is None again."""
        self.backward(weights)
        return tensors.take_gradients(parameters)

    def _alone(self, loss: Tensor, name: str) -> Tensor | None:
        leaf = self._parameters[name]
        return torch.autograd.grad(loss, leaf, retain_graph=True, allow_unused=True)[0]


def view(parameter: Tensor) -> Tensor:
    """The same tensor as another node of the graph; sparse gradients pass through it as they are."""
    return parameter[...]


def gram(gradients: Mapping[str, Tensor]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The domains whose gradient is not zero, and the inner products of their gradients (P, P)."""
    if not gradients:
        return [], np.empty((0, 0))
    gram_PP = tensors.products(list(gradients.values()))
    # a gradient of 0 has no direction: its cosines would be 0/0
    nonzero_P = gram_PP.diagonal() > 0
    if nonzero_P.all():
        return list(gradients), gram_PP
    return list(compress(gradients, nonzero_P)), gram_PP[nonzero_P][:, nonzero_P]
