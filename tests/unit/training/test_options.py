"""Options that cannot be are refused when they are made."""

from __future__ import annotations

import pytest

from landbridge.core.errors import SettingsError
from landbridge.training.options import FitOptions


def test_there_is_at_least_one_thread() -> None:
    assert FitOptions().threads >= 1
    with pytest.raises(SettingsError, match="threads must be 1 or more, not 0"):
        FitOptions(threads=0)


def test_patience_needs_something_to_be_patient_about() -> None:
    with pytest.raises(SettingsError, match="patience requires validate"):
        FitOptions(patience=2)
    assert FitOptions(patience=2, validate=lambda fitted: 0.0).patience == 2
