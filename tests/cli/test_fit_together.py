"""Two processes that save into one run folder at once: at any moment, whoever was last, the run is whole."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from commands import event_files, start

from landbridge import store
from landbridge.models.popularity import PopularityModel

TIMES = 6


def test_two_fits_at_once_leave_a_loadable_run(tmp_path: Path) -> None:
    sources, out = event_files(tmp_path), tmp_path / "run"
    words = ["fit", *sources, "--users", "shared", "--model", "popularity", "--split", "random", "--out", out]
    both = [start(*words, "--seed", seed, times=TIMES) for seed in (1, 2)]
    seen = set()
    try:
        while any(process.poll() is None for process in both):
            if (out / "manifest.json").exists():
                seen.add(whole(out))
            time.sleep(0.01)
    finally:
        for process in both:
            process.kill()
    said = [process.communicate()[1] for process in both]
    ended = [process.returncode for process in both]
    assert 0 in ended, said
    assert all(code == 0 or "Another fit is writing" in told for code, told in zip(ended, said, strict=True))
    assert seen | {whole(out)}


def whole(out: Path) -> str:
    """Which data the run holds; its scores must be the counts of these very data."""
    fitted = store.load(out)
    assert isinstance(fitted, PopularityModel)
    for name, events in fitted.history.domains.items():
        assert np.array_equal(fitted.score_I[name], events.item_counts)
    return fitted.history.fingerprint
