"""What ``import landbridge`` must not load."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"numba", "polars", "torch", "scipy", "typer", "rich", "pydantic", "numpy"}


def loaded_by(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_import_landbridge_loads_nothing_heavy() -> None:
    assert not loaded_by("import landbridge") & HEAVY


def test_using_the_store_loads_no_numba_polars_or_torch() -> None:
    assert not loaded_by("import landbridge; landbridge.load") & {"numba", "polars", "torch", "typer"}
