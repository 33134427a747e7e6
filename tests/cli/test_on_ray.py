"""``--executor ray``: methods of `tune` and cells of `benchmark` give on Ray what one process gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import tomli_w
from benches import small_spec
from commands import answered, untimed_files

from landbridge.config import validated_spec
from landbridge.core.parallel import Executor, Serial
from landbridge.core.ray_executor import Ray
from landbridge.selection.compare_methods import MethodComparison, compare_methods


@pytest.fixture(scope="module")
def here() -> Iterator[Ray]:
    """Two workers of a cluster on this machine."""
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'landbridge[ray]' brings it.")
    yield Ray(2, 1)
    ray.shutdown()


def test_tune_finds_the_same_in_all_trials(here: Ray, tmp_path: Path) -> None:
    untimed_files(tmp_path)
    spec = validated_spec(
        {
            "data": {
                "source": [str(tmp_path / f"{name}.csv") for name in ("books", "movies")],
                "users": "shared",
            },
            "model": {"name": "ials", "settings": {"factors": 4, "epochs": 3}, "trials": 3},
            "fit": {"threads": 1, "seed": 3},
        }
    )

    def searched(executor: Executor) -> MethodComparison:
        return compare_methods(spec, ("popularity", "ials", "cdimf"), executor=executor)

    one, other = searched(Serial(1)), searched(here)
    assert other.spec == one.spec
    assert list(other.results) == ["popularity", "ials", "cdimf"]
    for name, result in one.results.items():
        assert other.results[name].method == result.method
        assert other.results[name].value == result.value
        assert other.results[name].trials.drop("seconds").equals(result.trials.drop("seconds"))


def test_the_cells_of_a_benchmark_are_the_same(
    here: Ray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "bench.toml"
    spec.write_text(tomli_w.dumps(small_spec(tmp_path)))
    for name, words in (("serial", ("--jobs", 1)), ("ray", ("--jobs", 2))):
        status, _, err = answered(
            capsys, "benchmark", spec, "--out", tmp_path / name, "--executor", name, "--leak-check", *words
        )
        assert status == 0, err
    for name in ("results", "comparisons", "leak"):
        one, other = (pl.read_csv(tmp_path / place / f"{name}.csv") for place in ("serial", "ray"))
        assert other.equals(one)
    assert len(list((tmp_path / "ray").glob("cells/*/*/*/cell.json"))) == 6
