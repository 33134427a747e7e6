"""What an epoch of a sequential method costs (:mod:`landbridge.models.sequential.method`).

A user of n events has n - 1 inputs, each with a target; in windows of at most L inputs, the first of which
has a random length, these are

    T = Σ_u n_u - 1 targets,   W = Σ_u 1 + [n_u - 1 > L] (n_u - 2) / L windows,   W / B steps            (1)

and PADDED · T positions in each reading, as the windows of a batch are of similar length. A position costs,
forward and twice that backward, for each of b blocks with F factors, H hidden units and windows of w inputs,

    2 (4 F² + 2 F H) + 4 w F operations,   ``PASSES`` F + ``HIDDEN_PASSES`` H element-wise               (2)

A target that is compared with C candidates costs, forward and by the gradients of both factors,

    6 C F operations,   C exponentials, 2 C where the user's history is masked                        (3)

where C is I for "softmax"; for "sampled" the different items among the targets of the batch, and M drawn. For
losses on items drawn for each target or for the batch it is J = 1 + k or 1 + M numbers.

A step changes every row of a dense gradient, which is that of all I items for "softmax", else the rows of
inputs, targets and negatives; the norm of the gradients and the step pass over them: Adam and ``SWEEPS``
element-wise passes.                                                                                  (4)
The rest is ``CALLS`` operations of torch for each step, and ``BLOCK_CALLS`` for each block.            (5)
"""

from __future__ import annotations

import numpy as np

from landbridge.core.types import Float64
from landbridge.data.counts import TableCounts
from landbridge.models.cost import FLOAT32, FLOAT64, INT32, Cost, Work
from landbridge.models.sequential.losses import BLOCK_NUMBERS, SequenceLoss, block_rows
from landbridge.models.sequential.transformer import Encoder

PADDED = 1.1
PASSES, HIDDEN_PASSES, SWEEPS = 60, 6, 5  # of which the first two were set on MovieLens-1M
CALLS, BLOCK_CALLS = 150, 60


def cost(
    table: TableCounts,
    encoder: Encoder,
    loss: SequenceLoss,
    batch_size: int,
    epochs: int,
    readings: int = 1,
) -> Cost:
    """Eqs. (1) to (5); ``table``: the sequences, and the items of all domains. ``readings``: how often the
    blocks read each. In memory are the weights and their gradients, two
    moments of Adam and copies of all that for the epoch before, and the numbers of a batch that its backward
    pass needs."""
    n_K, rows_K, length = table.users.length_K, table.users.rows_K, encoder.max_length
    inputs_K = np.maximum(n_K - 1, 0.0)
    windows_K: Float64 = np.where(
        inputs_K > 0, 1 + np.where(inputs_K > length, (inputs_K - 1) / length, 0.0), 0.0
    )
    targets, windows = float(inputs_K @ rows_K), float(windows_K @ rows_K)
    batch = min(float(batch_size), max(windows, 1.0))
    steps = float(np.ceil(windows / batch))
    per_step = targets / max(steps, 1.0)
    width, positions = targets / max(windows, 1.0), readings * PADDED * targets  # Eq. (1)
    factors, hidden = encoder.factors, encoder.hidden
    layers = 2 * (4 * factors**2 + 2 * factors * hidden) + 4 * width * factors
    blocks = Work(
        network=3 * positions * encoder.blocks * layers,
        pointwise=positions * encoder.blocks * (PASSES * factors + HIDDEN_PASSES * hidden),
    )  # Eq. (2)
    items = table.n_items
    dense = loss.kind == "softmax"
    drawn = float(table.items.drawn(per_step))
    candidates = items if dense else drawn + loss.sampled_negatives
    if loss.draws_per_event:
        candidates = 1.0 + loss.negatives_per_positive
    elif loss.draws_per_batch:
        candidates = 1.0 + loss.sampled_negatives
    masked = 2.0 if loss.kind == "sampled" and loss.mask_history else 1.0
    scores = targets * candidates
    compared = Work(network=6 * scores * factors, exponential=masked * scores)  # Eq. (3)
    touched = items if dense else min(items, 2 * drawn + candidates)
    weights = encoder.blocks * (4 * factors**2 + 2 * factors * hidden) + length * factors
    numbers = factors * touched + weights
    swept = Work(adam=steps * numbers, pointwise=steps * SWEEPS * numbers)  # Eq. (4)
    called = Work(call=steps * (CALLS + BLOCK_CALLS * encoder.blocks * readings))  # Eq. (5)
    kept = factors * items + weights
    largest = PADDED * batch * min(width * 2, length)
    activations = readings * largest * (encoder.blocks * (12 * factors + 3 * hidden) + 6 * factors)
    block = min(per_step, float(block_rows(int(candidates), factors)))
    room = max(float(BLOCK_NUMBERS), 2 * candidates * block)
    return Cost(
        once=Work(sort=3 * table.events),
        epoch=blocks + compared + swept + called,
        epochs=epochs,
        peak=FLOAT32 * (kept * 7 + (2 * kept if dense else 0.0) + 2 * activations + room)
        + 2 * INT32 * table.events  # items and gaps of the histories
        + 6 * FLOAT64 * windows,
        model=FLOAT32 * kept,
        torch=True,
    )
