"""The four signs by which dynamic weights fail, as summaries of DWL name them, each with its likely cause.

No gain in sparse domains, harm in dense ones, a training loss that oscillates, and lists that collapse to
popular items. With ℓ_e the mean training loss of a domain in epoch e, unweighted, a loss oscillates where

    Σ max(ℓ_{e+1} - ℓ_e, 0) > .25 Σ |ℓ_{e+1} - ℓ_e|   and   > .02 ℓ_0                              (1)

A loss that falls steadily has 0 on the left, one that swings around a level half of the sum, and one that
diverges all of it. The second condition leaves out the noise of a loss that has settled. Lists collapse where
the part of the catalogue that fills 90 % of their places is less than half of what it is without weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from landbridge.core.types import Values

RISES, VISIBLE = 0.25, 0.02  # of Eq. (1)
COLLAPSED = 0.5


def no_gain(outcome: str, gain: str) -> str:
    """``outcome``: of the weights in the sparse domains; ``gain``: in per cent, as text."""
    return (
        f"No gain in sparse domains: {outcome} in the sparsest quartile ({gain}); the weights may be too "
        "small, be updated too rarely, or amplify noise."
    )


def harm(gains: Mapping[str, str]) -> str:
    """``gains``: in per cent, as text, of the dense domains that are significantly worse."""
    lost = ", ".join(f"{name} ({gain})" for name, gain in gains.items())
    return f"Harm in dense domains: {lost}; max_weight or kappa may be too high."


def oscillation(logs: Iterable[Sequence[Values]]) -> str | None:
    """The domain whose loss oscillates most, Eq. (1), in the log of any fit; None without one."""
    worst: tuple[float, str] | None = None
    for log in logs:
        for name in dict.fromkeys(name for record in log for name in record.get("loss_of", {})):
            losses = [record["loss_of"][name] for record in log if name in record.get("loss_of", {})]
            share = oscillating_share(losses)
            if share is not None and (worst is None or share > worst[0]):
                worst = share, name
    if worst is None:
        return None
    return (
        f"Oscillation: {100 * worst[0]:.0f} % of the movement of the training loss of {worst[1]} is upwards; "
        "momentum or the learning rate may be wrong, or the bounds of the weights too wide."
    )


def oscillating_share(losses: Sequence[float]) -> float | None:
    """The part of a loss's movement that is upwards where Eq. (1) holds, else None."""
    steps = np.diff(np.asarray(losses, np.float64))
    rises, movement = float(np.maximum(steps, 0).sum()), float(np.abs(steps).sum())
    if not movement or rises <= RISES * movement or rises <= VISIBLE * abs(losses[0]):
        return None
    return rises / movement


def collapse(own: float, generic: float) -> str | None:
    """``own`` and ``generic``: the parts of the catalogue that fill 90 % of the places; None if it holds."""
    if own >= COLLAPSED * generic:
        return None
    return (
        f"Collapse to popular items: {100 * own:.1f} % of the catalogue fills 90 % of the places, without "
        f"weights {100 * generic:.1f} %; the weights may not reach the embeddings of items, or be too large."
    )
