"""Small run folders to serve."""

from __future__ import annotations

from pathlib import Path

from worlds import uneven

from landbridge.models.als.ials import IALS
from landbridge.store import save
from landbridge.training.options import FitOptions


def save_run(folder: Path, seed: int = 0) -> Path:
    """Books and movies of the same 60 users; ids are whole numbers from 0. The folder itself."""
    data = uneven({"books": (40, 55), "movies": (25, 40)}, users=60)
    save(IALS(factors=4, epochs=2, sharing="joined").fit(data, FitOptions(seed=seed, threads=1)), folder)
    return folder
