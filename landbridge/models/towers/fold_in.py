"""Cold-start fold-in for tower networks: gradient steps on the embeddings of new users, in NumPy.

All other weights are fixed. Equation numbers are those of :mod:`landbridge.models.towers.network`; the side
input of every other domain is the mean of the user's items there. NumPy keeps serving independent of torch.
N events of new users, P = NJ pairs of a user and an item, T towers that run together (that of the requested
domain first), B new users, F columns of an embedding, J items of an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Float32, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.models.common import pointwise_losses
from landbridge.models.towers.network import TowerNetwork
from landbridge.training.optimizers import Optimizer

STEPS = 100  # of Adam; enough for new users to be served as well as those of the fit
LR = 0.02


@dataclass(frozen=True)
class FoldIn:
    """The objective of the fold-in: loss and λ of the fit, negatives per event, and how they are drawn."""

    loss: str
    per_positive: int
    negatives: str
    reg: float


class SideInputs(NamedTuple):
    """The mean embedding of each query's items in every other domain, and whether there is any item."""

    mean_BSM: Float32
    has_BS: npt.NDArray[np.bool_]


class FoldInQueries(NamedTuple):
    """The events of B new users in one domain, with owner and weight, and their side inputs."""

    rows: Ragged
    owner_N: npt.NDArray[np.int64]
    weight_N: Float32
    sides: SideInputs

    @classmethod
    def of(cls, rows: Ragged, sides: SideInputs, n_items: int) -> FoldInQueries:
        """The events of users who lack an item of the domain: for the others there is no negative."""
        # place -1 takes an empty row
        rows = rows.take(np.where(rows.lengths < n_items, np.arange(len(rows)), -1))
        return cls(rows, rows.entry_rows, rows.weights, sides)


class ForwardCache(NamedTuple):
    """What ``backward`` needs: activations per level (T, N, H), the towers in use, 1 / other towers."""

    levels: list[Float32]
    mask_TN1: Float32
    share_N1: Float32


def optimise_users(
    towers: TowerNetwork,
    weights: Mapping[str, Float32],
    rule: FoldIn,
    history: MultiDomain,
    queries: Mapping[str, FoldInQueries],
    rows_BF: Float32,
) -> None:
    """Take ``STEPS`` steps on the embeddings, in place; users without an event keep theirs.

    ``queries``: the events per domain, of the domains that share the user embeddings.
    """
    queries = {name: own for name, own in queries.items() if len(own.owner_N)}
    optimizer, slots = Optimizer("adam", LR), Optimizer("adam", LR).slots(rows_BF)
    total_B = np.zeros(len(rows_BF))
    for own in queries.values():
        total_B += np.bincount(own.owner_N, own.weight_N, len(rows_BF))
    active_B = np.flatnonzero(total_B).astype(np.int32)
    for step in range(STEPS if len(active_B) else 0):
        grad_BF = np.zeros_like(rows_BF)
        for domain, own in queries.items():
            item_NJ = _with_negatives(rule, history, domain, own.rows, step)
            at = _Pairs(own, rows_BF, item_NJ)
            gradient_NF = _event_gradients(towers, weights, rule.loss, domain, at)
            # add.at and not +=, which would keep only the last event of each user
            np.add.at(grad_BF, own.owner_N, own.weight_N[:, None] * gradient_NF)
        # the mean over a user's events: λ weighs the same for long and for short histories
        grad_AF = grad_BF[active_B] / total_B[active_B, None] + rule.reg * rows_BF[active_B]
        optimizer.step(rows_BF, slots, active_B, grad_AF.astype(np.float32))


def forward(
    towers: TowerNetwork,
    weights: Mapping[str, Float32],
    domain: str,
    x_TNI: Float32,
    mask_TN: npt.NDArray[np.bool_],
) -> ForwardCache:
    """The activations of all layers, Eqs. (2) and (4)."""
    names, mask_TN1 = (domain, *towers.others(domain)), np.asarray(mask_TN, np.float32)[..., None]
    share_N1 = 1 / np.maximum(mask_TN1.sum(axis=0) - 1, 1)
    levels = [x_TNI]
    for level in range(len(towers.layers(domain))):
        below = levels[-1]
        layers = [towers.layer(weights, name, level) for name in towers.running(level, names)]
        z = np.stack([below[t] @ layer.own.T + layer.bias for t, layer in enumerate(layers)])
        if _crossed(towers, level, names):
            seen = mask_TN1 * below
            rest = (seen.sum(axis=0) - seen[: len(layers)]) * share_N1
            crosses = [layer.cross for layer in layers if layer.cross is not None]
            z += np.stack([rest_NH @ cross_KH.T for rest_NH, cross_KH in zip(rest, crosses, strict=True)])
        levels.append(np.maximum(z, 0))
    return ForwardCache(levels, mask_TN1, share_N1)


def backward(
    towers: TowerNetwork, weights: Mapping[str, Float32], domain: str, cache: ForwardCache, grad_1NH: Float32
) -> Float32:
    """The gradient by the towers' inputs, (T, N, 2M), from that by the activations of the last layer."""
    names, grad = (domain, *towers.others(domain)), grad_1NH
    for level in reversed(range(len(towers.layers(domain)))):
        running = len(grad)
        grad = grad * (cache.levels[level + 1] > 0)
        below = np.zeros_like(cache.levels[level])
        layers = [towers.layer(weights, name, level) for name in names[:running]]
        for t, layer in enumerate(layers):
            below[t] = grad[t] @ layer.own
        if _crossed(towers, level, names):
            crosses = [layer.cross for layer in layers if layer.cross is not None]
            each = [grad_NK @ cross_KH for grad_NK, cross_KH in zip(grad, crosses, strict=True)]
            through = np.stack(each) * cache.share_N1
            below += cache.mask_TN1 * through.sum(axis=0)
            # a tower's cross input is the mean of the *other* towers: its own part comes off again
            below[:running] -= cache.mask_TN1[:running] * through
        grad = below
    return grad


class _Pairs(NamedTuple):
    """A step's pairs in one domain: events, the embeddings of their users, and the items of each event."""

    queries: FoldInQueries
    rows_BF: Float32
    item_NJ: npt.NDArray[np.int32]


def _event_gradients(
    towers: TowerNetwork, weights: Mapping[str, Float32], loss: str, domain: str, pairs: _Pairs
) -> Float32:
    """The gradient of each event's loss by the embedding of its user, (N, F)."""
    own, rows_BF, item_NJ = pairs
    width, out_H = towers.width, weights[towers.out(domain)]
    shape, owner_P = item_NJ.shape, np.repeat(own.owner_N, item_NJ.shape[1])
    item_PF, row_PF = weights[f"item.{domain}"][item_NJ.ravel()], rows_BF[owner_P]
    inner_TPM = [item_PF[:, :width], *own.sides.mean_BSM[owner_P].swapaxes(0, 1)]
    x_TPI = np.stack([np.concatenate([row_PF[:, :width], q_PM], axis=1) for q_PM in inner_TPM])
    mask_TP = np.concatenate([np.ones((1, len(owner_P)), bool), own.sides.has_BS[owner_P].T])
    cache = forward(towers, weights, domain, x_TPI, mask_TP)
    split = len(out_H) - towers.product
    score_P = cache.levels[-1][0] @ out_H[:split] + (row_PF[:, width:] * item_PF[:, width:]) @ out_H[split:]
    grad_P1 = pointwise_losses.score_gradients(loss, score_P.reshape(shape)).reshape(-1, 1)
    inputs_TPI = backward(towers, weights, domain, cache, (grad_P1 * out_H[:split])[None])
    grad_PF = np.concatenate(
        [inputs_TPI[..., :width].sum(axis=0), grad_P1 * out_H[split:] * item_PF[:, width:]], axis=1
    )
    return np.asarray(grad_PF.reshape(*shape, -1).sum(axis=1))


def _with_negatives(
    rule: FoldIn, history: MultiDomain, domain: str, rows: Ragged, step: int
) -> npt.NDArray[np.int32]:
    """Each event's item and its negatives, (N, J); equal events of any two users get equal negatives."""
    from landbridge.models.towers.kernels import draw_negatives

    by_popularity = rule.negatives == "popularity"
    pool_M = history[domain].item_idx if by_popularity else np.empty(0, np.int32)
    columns = [rows.columns]
    for column in range(rule.per_positive):
        key = np.uint64(step * rule.per_positive + column)
        columns.append(np.empty_like(rows.columns))
        draw_negatives(key, rows.offsets, rows.columns, history[domain].n_items, pool_M, columns[-1])
    return np.stack(columns, axis=1)


def _crossed(towers: TowerNetwork, level: int, names: tuple[str, ...]) -> bool:
    return len(names) > 1 and level in towers.crossed
