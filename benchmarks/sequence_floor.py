"""How little time an epoch of a sequence model could take: its products, at the pace of this machine's BLAS.

With T targets, B blocks, F factors, H hidden units, I items, and A pairs of a place and one that it sees, an
epoch multiplies and adds at least (two operations each; gradients of both sides take twice the forward pass)

    encoder   3 [ T B (8 F² + 4 F H) + 4 A B F ]    queries, keys, values, mixing; up, down; attention   (1)
    softmax   6 T F I                                                                                   (2)

Every window of c targets has c (c + 1) / 2 pairs. A program that makes a sample of every prefix and fills it
up to L places goes through L places for each target: T L for T in Eq. (1), and A = T L².
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling import sequences
from landbridge.data.sampling.sequences import Windows
from landbridge.models.sequential.transformer import Encoder
from landbridge.training.loop import threads

Product = tuple[int, int, int]  # rows, inner numbers, columns
REPEATS = 5
SECONDS = 0.2  # of products in a row, at least


def floor(history: MultiDomain, encoder: Encoder, batch_size: int, n_threads: int) -> dict[str, float]:
    """10⁹ operations of an epoch, of one with a sample of every prefix, and the paces in 10⁹ per second."""
    windows = Windows(sequences.user_histories(history), encoder.max_length, batch_size)
    counts = [(window.target_BL >= 0).sum(axis=1) for window in windows.epoch(0)]
    targets = sum(int(count_B.sum()) for count_B in counts)
    pairs = sum(int((count_B * (count_B + 1) // 2).sum()) for count_B in counts)
    n_items, length = history.joined()[0].n_items, encoder.max_length
    rows = targets // len(counts)
    with threads(n_threads):
        paces = {
            "encoder_pace": pace(_encoder(encoder, rows)),
            "softmax_pace": pace(_softmax(encoder, n_items)),
        }
    return {
        "encoder": _operations(encoder, targets, pairs),
        "softmax": 6 * targets * encoder.factors * n_items / 1e9,  # Eq. (2)
        "prefixes_encoder": _operations(encoder, targets * length, targets * length**2),
        **paces,
    }


def pace(products: Sequence[Product]) -> float:
    """10⁹ operations per second of these products in turn, the best of some repeats."""
    pairs = [(torch.ones(rows, inner), torch.ones(inner, columns)) for rows, inner, columns in products]
    out = [left @ right for left, right in pairs]
    operations = 2 * sum(rows * inner * columns for rows, inner, columns in products) / 1e9
    return max(operations / _seconds(pairs, out) for _ in range(REPEATS))


def _seconds(pairs: Sequence[tuple[Any, Any]], out: Sequence[Any]) -> float:
    """Of all products once, the mean over a while."""
    start, rounds = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        for (left, right), room in zip(pairs, out, strict=True):
            torch.mm(left, right, out=room)
        rounds += 1
    return (time.perf_counter() - start) / rounds


def _operations(encoder: Encoder, places: int, pairs: int) -> float:
    """Eq. (1) in 10⁹."""
    size = encoder.factors
    dense = places * (8 * size**2 + 4 * size * encoder.hidden)
    return 3 * encoder.blocks * (dense + 4 * pairs * size) / 1e9


def _encoder(encoder: Encoder, rows: int) -> list[Product]:
    """A block's layers for the targets of a batch: forward, and the gradients of both sides."""
    size, hidden = encoder.factors, encoder.hidden
    layers = ((size, 3 * size), (size, size), (size, hidden), (hidden, size))
    return [product for below, above in layers for product in _three(rows, below, above)]


def _softmax(encoder: Encoder, n_items: int) -> list[Product]:
    """A block of scores."""
    from landbridge.models.sequential.losses import block_rows

    return _three(block_rows(n_items, encoder.factors), encoder.factors, n_items)


def _three(rows: int, below: int, above: int) -> list[Product]:
    return [(rows, below, above), (rows, above, below), (below, rows, above)]
