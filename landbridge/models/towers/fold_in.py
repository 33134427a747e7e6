"""New people in a network: their own rows move, nothing else does; forward and back through towers in NumPy.

The towers are those of :mod:`.towers`, whose equations are meant here, with the mean of a person's items as
the side input of every other domain. N pairs of a person and an item, T towers that run together (the asked
domain's first), B people, F columns of a row, J items of an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Float32, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.models.common import pointwise_losses
from landbridge.models.towers.network import TowerNetwork
from landbridge.training.optimizers import Optimizer

STEPS = 100
LR = 0.02


@dataclass(frozen=True)
class FoldIn:
    """What new people's rows make small: the fit's loss, items per event, how they are drawn, and λ."""

    loss: str
    per_positive: int
    negatives: str
    reg: float


class SideInputs(NamedTuple):
    """The mean row (B, S, M) of each query's items in the other domains, and where there is any, (B, S)."""

    mean_BSM: Float32
    has_BS: npt.NDArray[np.bool_]


class FoldInQueries(NamedTuple):
    """What B people did in one domain, as pairs of a person and an item with a weight, and in the others."""

    rows: Ragged
    owner_N: npt.NDArray[np.int64]
    weight_N: Float32
    sides: SideInputs

    @classmethod
    def of(cls, rows: Ragged, sides: SideInputs, n_items: int) -> FoldInQueries:
        """The events of people who lack an item; there is nothing to tell the others' items from."""
        rows = rows.take(np.where(rows.lengths < n_items, np.arange(len(rows)), -1))
        return cls(rows, rows.entry_rows, rows.weights, sides)


class ForwardCache(NamedTuple):
    """What the way back needs: activations per level (T, N, H), who has which tower, 1 / other towers."""

    levels: list[Float32]
    mask_TN1: Float32
    share_N1: Float32


def optimise_users(
    towers: TowerNetwork,
    weights: Mapping[str, Float32],
    rule: FoldIn,
    history: MultiDomain,
    asked: Mapping[str, FoldInQueries],
    rows_BF: Float32,
) -> None:
    """``STEPS`` steps on the rows, in place; people without an event keep theirs."""
    asked = {name: own for name, own in asked.items() if len(own.owner_N)}
    optimizer, slots = Optimizer("adam", LR), Optimizer("adam", LR).slots(rows_BF)
    total_B = np.zeros(len(rows_BF))
    for own in asked.values():
        total_B += np.bincount(own.owner_N, own.weight_N, len(rows_BF))
    moving_B = np.flatnonzero(total_B).astype(np.int32)
    for step in range(STEPS if len(moving_B) else 0):
        grad_BF = np.zeros_like(rows_BF)
        for domain, own in asked.items():
            item_NJ = _items(rule, history, domain, own.rows, step)
            slope_NF = _slope(towers, weights, rule.loss, domain, own, rows_BF, item_NJ)
            np.add.at(grad_BF, own.owner_N, own.weight_N[:, None] * slope_NF)
        grad_MF = grad_BF[moving_B] / total_B[moving_B, None] + rule.reg * rows_BF[moving_B]
        optimizer.step(rows_BF, slots, moving_B, grad_MF.astype(np.float32))


def forward(
    towers: TowerNetwork, weights: Mapping[str, Float32], domain: str, x_TNI: Float32, mask_TN: Any
) -> ForwardCache:
    """All layers of the towers' Eqs. (2) and (4)."""
    names, mask_TN1 = (domain, *towers.others(domain)), np.asarray(mask_TN, np.float32)[..., None]
    share_N1 = 1 / np.maximum(mask_TN1.sum(axis=0) - 1, 1)
    levels = [x_TNI]
    for level in range(len(towers.layers(domain))):
        below, running = levels[-1], _running(towers, level, names)
        layers = [towers.layers(name)[level] for name in running]
        z = np.stack(
            [below[t] @ weights[f"{n}.weight"].T + weights[f"{n}.bias"] for t, n in enumerate(layers)]
        )
        if _crossed(towers, level, names):
            seen = mask_TN1 * below
            rest = (seen.sum(axis=0) - seen[: len(running)]) * share_N1
            z += rest @ weights[f"cross.{level}.weight"].T
        levels.append(np.maximum(z, 0))
    return ForwardCache(levels, mask_TN1, share_N1)


def backward(
    towers: TowerNetwork, weights: Mapping[str, Float32], domain: str, tape: ForwardCache, slope_1NH: Float32
) -> Float32:
    """From the slope by the last layer's activations to that by the towers' inputs, (T, N, 2M)."""
    names, slope = (domain, *towers.others(domain)), slope_1NH
    for level in reversed(range(len(towers.layers(domain)))):
        running = len(slope)
        slope = slope * (tape.levels[level + 1] > 0)
        below = np.zeros_like(tape.levels[level])
        for t, name in enumerate(names[:running]):
            below[t] = slope[t] @ weights[f"{towers.layers(name)[level]}.weight"]
        if _crossed(towers, level, names):
            through = (slope @ weights[f"cross.{level}.weight"]) * tape.share_N1
            below += tape.mask_TN1 * through.sum(axis=0)
            below[:running] -= tape.mask_TN1[:running] * through
        slope = below
    return slope


def _slope(
    towers: TowerNetwork,
    weights: Mapping[str, Float32],
    loss: str,
    domain: str,
    own: FoldInQueries,
    rows_BF: Float32,
    item_NJ: npt.NDArray[np.int32],
) -> Float32:
    """The slope of each event's loss by its person's row, (N, F)."""
    width, out_H = towers.width, weights[towers.out(domain)]
    shape, owner_P = item_NJ.shape, np.repeat(own.owner_N, item_NJ.shape[1])
    item_PF, row_PF = weights[f"item.{domain}"][item_NJ.ravel()], rows_BF[owner_P]
    inner_TPM = [item_PF[:, :width], *own.sides.mean_BSM[owner_P].swapaxes(0, 1)]
    x_TPI = np.stack([np.concatenate([row_PF[:, :width], q_PM], axis=1) for q_PM in inner_TPM])
    mask_TP = np.concatenate([np.ones((1, len(owner_P)), bool), own.sides.has_BS[owner_P].T])
    tape = forward(towers, weights, domain, x_TPI, mask_TP)
    split = len(out_H) - towers.product
    score_P = tape.levels[-1][0] @ out_H[:split] + (row_PF[:, width:] * item_PF[:, width:]) @ out_H[split:]
    slope_P1 = pointwise_losses.score_gradients(loss, score_P.reshape(shape)).reshape(-1, 1)
    inputs_TPI = backward(towers, weights, domain, tape, (slope_P1 * out_H[:split])[None])
    found_PF = np.concatenate(
        [inputs_TPI[..., :width].sum(axis=0), slope_P1 * out_H[split:] * item_PF[:, width:]], axis=1
    )
    return np.asarray(found_PF.reshape(*shape, -1).sum(axis=1))


def _items(rule: FoldIn, history: MultiDomain, domain: str, rows: Ragged, step: int) -> npt.NDArray[np.int32]:
    """Each event's item and those drawn for it, (N, J): equal events have equal draws, whoever asks."""
    from landbridge.models.towers.kernels import draw_negatives

    by_popularity = rule.negatives == "popularity"
    pool_M = history[domain].item_idx if by_popularity else np.empty(0, np.int32)
    columns = [rows.columns]
    for column in range(rule.per_positive):
        key = np.uint64(step * rule.per_positive + column)
        columns.append(np.empty_like(rows.columns))
        draw_negatives(key, rows.offsets, rows.columns, history[domain].n_items, pool_M, columns[-1])
    return np.stack(columns, axis=1)


def _running(towers: TowerNetwork, level: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """The towers that have this layer: from the last crossed one on only that of the asked domain."""
    return names if level + 1 < len(towers.tower) else names[:1]


def _crossed(towers: TowerNetwork, level: int, names: tuple[str, ...]) -> bool:
    return len(names) > 1 and level < len(towers.tower)
