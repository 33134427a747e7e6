"""The measurements of the parts of a sequence model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from experiments import common, sequence_parts
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.models.sequential.sasrec import SASRec
from landbridge.testing.worlds import timed, uneven


def test_a_measurement_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its third validation; what the two before it found is still known."""
    split = leave_latest_out(timed(uneven()))
    settings = {"epochs": 24, "encoder.factors": 4, "batch_size": 16, "lr": 0.01}
    method = SASRec.from_settings(settings)
    monkeypatch.setattr(sequence_parts, "CELLS", tmp_path / "cells")
    monkeypatch.setattr(common, "PAGES", tmp_path)
    whole = sequence_parts.measured(method, split)
    (tmp_path / "sequence-parts.jsonl").unlink()
    means, calls = sequence_parts.means, []

    def dying(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return means(*given)

    with monkeypatch.context() as killed:
        killed.setattr(sequence_parts, "means", dying)
        with pytest.raises(KeyboardInterrupt):
            sequence_parts.measured(method, split)
    assert sequence_parts.measured(method, split) == whole
    assert not list((tmp_path / "cells" / "sequence-parts").iterdir())
