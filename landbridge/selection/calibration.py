"""Calibration of a blend for lists over several domains, on validation data.

The slope a_d of a domain and the smoothing κ of the domains' shares, Eq. (3) of
:mod:`landbridge.models.mixture`, are those that make the held-out events most probable. The probability of a
held-out event is that of its domain, π_d, times that of its item within the domain, so both are fitted apart:

    a_d = argmax_a Σ_t ln softmax(a s_t)[i_t],    κ = argmax_κ Σ_t ln π_{d(t)}                          (1)

over the pairs t of the domain, and of all domains. Letters: T pairs, I items, D domains.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from landbridge.core.types import Float32, Int32
from landbridge.data.splitting.holdout import Holdout
from landbridge.models.base import Queries
from landbridge.models.mixture import BlendModel, Mixture

PAIRS = 400  # of a domain: a slope is one number
SLOPES = np.geomspace(0.05, 20, 40)
SMOOTHINGS = np.geomspace(0.1, 1000, 25)


def calibrated(blend: BlendModel, valid: Holdout, seed: int) -> Mixture:
    """The blend's method with a slope for every domain that has validation pairs, and the best κ."""
    some = valid.sample(PAIRS, seed)
    slopes = {
        name: _slope(blend.score(name, Queries.of_users(targets.user_idx)), targets.item_idx)
        for name, targets in some.targets.items()
        if len(targets)
    }
    # a domain without pairs is treated like the average one
    missing = float(np.exp(np.mean(np.log(list(slopes.values()))))) if slopes else 1.0
    slopes |= {name: missing for name in blend.history.domain_names if name not in slopes}
    return replace(blend.method, slopes=slopes, smoothing=_smoothing(blend, some))


def _slope(scores_TI: Float32, item_T: Int32) -> float:
    """a_d of Eq. (1)."""
    own_T = scores_TI[np.arange(len(item_T)), item_T].astype(np.float64)
    top_T1 = scores_TI.max(axis=1, keepdims=True)
    below_TI, below_T = scores_TI - top_T1, own_T - top_T1[:, 0]
    fit = [
        float(np.sum(slope * below_T - np.log(np.exp(np.float32(slope) * below_TI).sum(axis=1))))
        for slope in SLOPES
    ]
    return float(SLOPES[int(np.argmax(fit))])


def _smoothing(blend: BlendModel, valid: Holdout) -> float:
    """κ of Eq. (1)."""
    names = blend.history.domain_names
    fit = np.zeros(len(SMOOTHINGS))
    for place, smoothing in enumerate(SMOOTHINGS):
        tried = replace(blend, method=replace(blend.method, smoothing=float(smoothing)))
        for name, targets in valid.targets.items():
            share_TD = tried.domain_shares(Queries.of_users(targets.user_idx))
            fit[place] += np.log(share_TD[:, names.index(name)]).sum()
    return float(SMOOTHINGS[int(np.argmax(fit))])
