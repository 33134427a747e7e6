"""Constants of a machine: kept, read again, refused where they are not ours; and that they are measured."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import platformdirs
import pytest

from landbridge.core.errors import StoreError
from landbridge.models.cost import Work
from landbridge.planning import calibration, machine

# a fit of several kinds at once may give one of them nothing
TOGETHER = {*calibration.ROW_KINDS, *calibration.LIST_KINDS}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path / "cache"))
    return tmp_path / "cache" / machine.FILE


def test_defaults_until_something_is_measured(cache: Path) -> None:
    assert machine.of_this_machine() == machine.DEFAULT
    assert not machine.of_this_machine().measured
    assert all(each > 0 for kind, each in asdict(machine.DEFAULT.unit).items() if kind not in TOGETHER)
    ours = replace(machine.DEFAULT, unit=machine.DEFAULT.unit * 2)
    assert machine.keep(ours) == cache
    assert machine.of_this_machine() == replace(ours, measured=True)


@pytest.mark.parametrize("text", ["{}", '{"unit": {"product": 1}, "process": {}}', "[1]"])
def test_a_file_of_another_version_is_refused(text: str, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text(text)
    with pytest.raises(StoreError, match="run landbridge estimate --calibrate"):
        machine.of_this_machine()


def test_every_kind_of_work_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(calibration, "REPETITIONS", 1)
    monkeypatch.setattr(calibration, "ROW_FACTORS", (32,))
    monkeypatch.setattr(calibration, "_started", lambda *methods: (1.0 + len(methods), 5.0 * len(methods)))
    found = calibration.measured()
    assert found.measured
    assert found.process == machine.Process(2.0, 5.0, 1.0, 5.0)
    unit = asdict(found.unit)
    assert all(each > 0 for kind, each in unit.items() if kind not in TOGETHER)
    assert all(each >= 0 for each in unit.values())
    assert sum(unit[kind] for kind in calibration.ROW_KINDS) > 0
    assert Work(**unit) == found.unit
