"""Sampled candidates: the negatives a target is ranked against, drawn once and kept with the split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.mapped import gathered
from landbridge.core.rng import generator
from landbridge.core.types import BLOCK, Int32, Ragged, blocks, read_only
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout, Split, Targets


def draw(split: Split, n: int, seed: int) -> Split:
    """The split with ``n`` candidates per target; see
    :func:`landbridge.data.splitting.splits.with_candidates`.
    """
    if n < 1:
        raise SettingsError(f"The number of candidates must be 1 or more, not {n}.")
    return Split(
        _drawn(split, split.valid, n, seed, "validation"), _drawn(split, split.test, n, seed, "test")
    )


def _drawn(split: Split, holdout: Holdout, n: int, seed: int, part: str) -> Holdout:
    targets = {
        name: _with_negatives(split, holdout, name, n, generator(seed, "candidates", name, part))
        for name in holdout.targets
    }
    return replace(holdout, targets=targets)


def _with_negatives(split: Split, holdout: Holdout, name: str, n: int, rng: np.random.Generator) -> Targets:
    targets, history = holdout.targets[name], holdout.history[name]
    # items without events are no candidates: any model ranks them last, so they would flatter all
    catalogue = np.flatnonzero(history.item_counts).astype(np.int32)
    held_out = _held_out(split, name)
    # items seen included; the kernel reads the users' rows where they are, in memory or mapped
    owned = [part.history.excluded(name).by_user for part in (split.valid, split.test)]
    mark_I, user_T = np.full(history.n_items, -1, np.int64), read_only(targets.user_idx)

    def drawn(block: slice) -> Int32:
        table_BC = np.full((block.stop - block.start, n), -1, np.int32)
        missed = _fill(
            table_BC, block.start, user_T[block], catalogue, mark_I,
            held_out.offsets, held_out.columns,
            owned[0].offsets, owned[0].columns, owned[1].offsets, owned[1].columns, rng,
        )  # fmt: skip
        if missed >= 0:
            raise DataError(
                f"Domain {name!r} has {len(catalogue)} items with events, too few for {n} candidates: "
                "request fewer, leave the domain out, or rank the whole catalogue."
            )
        return table_BC.reshape(-1)

    parts = map(drawn, blocks(len(targets), max(BLOCK // n, 1)))
    # as large as many columns of events: kept where these are
    table_TC = gathered(parts, history.user_idx, np.int32).reshape(len(targets), n)
    return replace(targets, candidates_TC=table_TC)


def _held_out(split: Split, name: str) -> Ragged:
    """Each user's targets in validation and test."""
    history = split.test.history[name]
    parts = [holdout.targets[name] for holdout in (split.valid, split.test) if name in holdout.targets]
    users, items = (
        np.concatenate([getattr(part, column) for part in parts]) for column in ("user_idx", "item_idx")
    )
    return Interactions.from_events(users, items, history.n_users, history.n_items).by_user


@njit(nogil=True, cache=True)
def _fill(  # type: ignore[no-untyped-def]
    table_BC, first, user_B, pool, mark_I, held_off, held_items, own_off, own_items, own2_off, own2_items, rng
):
    """Fill every row of a block, which begins with row ``first``; gives the first row that cannot be filled,
    or -1."""
    n_rows, width = table_BC.shape
    for b in range(n_rows):
        user, row = user_B[b], first + b
        mark_I[own_items[own_off[user] : own_off[user + 1]]] = 2 * row
        mark_I[own2_items[own2_off[user] : own2_off[user + 1]]] = 2 * row
        # Marks grow with the row, so the array is never cleared. Held-out items come last: they stay
        # forbidden even where items of the history are allowed.
        mark_I[held_items[held_off[user] : held_off[user + 1]]] = 2 * row + 1
        if _draw_row(table_BC[b], pool, mark_I, 2 * row, rng) == width:
            continue
        if _draw_row(table_BC[b], pool, mark_I, 2 * row + 1, rng) < width:  # items of the history allowed
            return row
    return -1


@njit(nogil=True, cache=True)
def _draw_row(out_C, pool, mark_I, forbidden, rng):  # type: ignore[no-untyped-def]
    """A partial Fisher-Yates shuffle of ``pool`` that passes over items marked ``forbidden`` or more.

    A shuffle that starts from any order is uniform, so the pool is never put back.
    """
    filled = 0
    for at in range(len(pool)):
        other = at + int(rng.random() * (len(pool) - at))
        pool[at], pool[other] = pool[other], pool[at]
        if mark_I[pool[at]] < forbidden:
            out_C[filled] = pool[at]
            filled += 1
            if filled == len(out_C):
                break
    return filled
