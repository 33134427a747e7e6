"""The energy of a fit: the estimate by hand, and counters of a machine made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from landbridge.core import energy


def counter(folder: Path, name: str, value: int, largest: int = 10**9) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{value}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{largest}\n")


def test_without_counters_seconds_and_the_stated_watts_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "COUNTERS", tmp_path / "absent")
    used = energy.Meter(started=energy._processor_seconds() - 360).read()
    assert used.joules is None
    assert used.kwh == pytest.approx(0.001, rel=0.05)  # 360 s at 10 W
    assert used.sentence().startswith("1 Wh, estimated as 360.")
    assert "10 W a core" in used.sentence()


def test_counters_of_all_packages_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second package's counter began anew at 900; parts of a package and foreign folders do not count."""
    monkeypatch.setattr(energy, "COUNTERS", tmp_path)
    counter(tmp_path, "intel-rapl:0", 1_000_000)
    counter(tmp_path, "intel-rapl:1", 800, largest=900)
    counter(tmp_path, "intel-rapl:0:0", 5)
    counter(tmp_path, "dtpm", 5)
    meter = energy.Meter()
    counter(tmp_path, "intel-rapl:0", 4_000_000)
    counter(tmp_path, "intel-rapl:1", 300, largest=900)
    counter(tmp_path, "intel-rapl:0:0", 10**8)
    counter(tmp_path, "dtpm", 10**8)
    used = meter.read()
    assert used.joules == pytest.approx(3 + 400e-6)
    assert used.kwh == pytest.approx(3.0004 / 3.6e6)
    assert "measured by RAPL" in used.sentence()


def test_counters_that_may_not_be_read_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "COUNTERS", tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir(parents=True)  # reading it fails for every user
    assert energy.Meter().read().joules is None
