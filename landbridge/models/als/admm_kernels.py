"""Numba kernels of an ADMM consensus round, one pass over memory each, parallel over users.

R users of a domain, U users of the common vocabulary, F factors. A user is at most once in a domain, so no
two rows write to one place, and sums are kept per row (float32 within it): the result does not depend on the
number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from landbridge.core.fast_math import FAST
from landbridge.core.threads import over_rows
from landbridge.core.types import Bool, Float32, Float64, Int64


@over_rows
@njit(cache=True, nogil=True)
def pull(begin, end, users_R, rho_R, z_UF, t_RF, out_RF):
    """ρ (z - t) of every row into ``out_RF``: the pull of Eq. (1) towards the consensus."""
    for row in range(begin, end):
        z_F = z_UF[users_R[row]]
        for f in range(t_RF.shape[1]):
            out_RF[row, f] = rho_R[row] * (z_F[f] - t_RF[row, f])


@over_rows
@njit(cache=True, nogil=True)
def add_messages(begin, end, users_R, tied_R, x_RF, t_RF, sum_UF):
    """Add the messages x + t of tied users, Eq. (2), to ``sum_UF``."""
    for row in range(begin, end):
        # users are distinct within a domain, so no two threads write to one row of the sum
        if tied_R[row]:
            sum_F = sum_UF[users_R[row]]
            for f in range(x_RF.shape[1]):
                sum_F[f] += x_RF[row, f] + t_RF[row, f]


@over_rows
@njit(cache=True, nogil=True)
def update_duals(begin, end, users_R, tied_R, x_RF, z_UF, t_RF):
    """Eq. (4) for tied users, in ``t_RF``; t stays for the others."""
    for row in range(begin, end):
        if tied_R[row]:
            z_F = z_UF[users_R[row]]
            for f in range(x_RF.shape[1]):
                t_RF[row, f] += x_RF[row, f] - z_F[f]


def residuals(users_R: Int64, tied_R: Bool, x_RF: Float32, z_UF: Float32) -> tuple[Float64, Float64]:
    """‖x - z‖² and ‖z‖² of each row, 0 if untied."""
    away_R, norm_R = np.zeros((2, len(users_R)))
    _residuals(len(users_R), users_R, tied_R, x_RF, z_UF, away_R, norm_R)
    return away_R, norm_R


@over_rows
@njit(cache=True, nogil=True, fastmath=FAST)
def _residuals(begin, end, users_R, tied_R, x_RF, z_UF, away_R, norm_R):
    for row in range(begin, end):
        if not tied_R[row]:
            continue
        x_F, z_F = x_RF[row], z_UF[users_R[row]]
        # without a store, beside which LLVM would choose the order of these sums by memory addresses
        away = norm = np.float32(0)
        for f in range(len(x_F)):
            away += (x_F[f] - z_F[f]) ** 2
            norm += z_F[f] * z_F[f]
        away_R[row], norm_R[row] = away, norm


def squared_change(before_UF: Float32, after_UF: Float32) -> tuple[Float64, Float64]:
    """‖after - before‖² and ‖after‖² of each row."""
    moved_U, norm_U = np.zeros((2, len(after_UF)))
    _squared_change(len(after_UF), before_UF, after_UF, moved_U, norm_U)
    return moved_U, norm_U


@over_rows
@njit(cache=True, nogil=True, fastmath=FAST)
def _squared_change(begin, end, before_UF, after_UF, moved_U, norm_U):
    for row in range(begin, end):
        before_F, after_F = before_UF[row], after_UF[row]
        step = norm = np.float32(0)
        for f in range(len(after_F)):
            step += (after_F[f] - before_F[f]) ** 2
            norm += after_F[f] * after_F[f]
        moved_U[row], norm_U[row] = step, norm
