"""A method, a metric, a reader and a tracker of a package outside: the template, installed and used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from asgi import asking
from commands import answered, refused, run

import landbridge as lb
from landbridge.core.errors import SettingsError, StoreError
from landbridge.core.plugins import METHODS, plugins
from landbridge.evaluation.metrics import Metric
from landbridge.models import registry
from landbridge.serving.engine.service import Service
from landbridge.serving.http.app import create_app

TEMPLATE = Path(__file__).parents[2] / "docs" / "extending" / "template"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the template installed, as pip does it, without an index."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "installed"))
    shutil.copytree(TEMPLATE, source, dirs_exist_ok=True)  # a build writes beside the sources
    words = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target"]
    subprocess.run([sys.executable, "-m", "pip", *words, str(target), str(source)], check=True)
    return target


@pytest.fixture
def installed(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(packages)
    return packages


def declared(folder: Path, package: str, group: str, line: str) -> None:
    """The metadata of an installed package with one entry point."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line}\n")


def feather(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    events = {"user": rng.integers(0, 30, 300), "item": rng.integers(0, 20, 300), "time": np.arange(300)}
    pl.DataFrame(events).write_ipc(folder / "shop.feather")
    return folder / "shop.feather"


def test_listed_fitted_evaluated_stored_and_served(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = map(json.loads, answered(capsys, "models", "--json")[1].splitlines())
    assert "package landbridge-example" in next(row for row in rows if row["method"] == "itemmean").values()
    run_folder, steps = tmp_path / "run", tmp_path / "steps.txt"
    words = ["--model", "itemmean", "--set", "strength=2", "--out", run_folder, "--no-deploy"]
    run("fit", feather(tmp_path), *words, "--tracker", f"lines={steps}", "--threads", 1)
    assert steps.read_text().startswith("evaluate ")
    status, out, _ = answered(capsys, "evaluate", run_folder, "--metric", "f1@10", "--json")
    assert status == 0
    assert '"metric":"f1@10"' in out
    fitted = lb.load(run_folder)
    assert fitted.method.flat() == {"strength": 2.0}
    assert type(fitted).__module__ == "landbridge_example.method"
    with asking(create_app(Service.open(run_folder))) as client:
        reply = client.post("/v1/recommend", {"domains": ["shop"], "user": 3, "k": 4})
    expected = lb.recommend(fitted, "shop", [3], k=4)["item"].to_list()
    assert [entry["item"] for entry in reply.json["items"]] == expected

    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(installed)])
    with pytest.raises(
        StoreError, match="a plug-in of the package landbridge-example, which is not installed"
    ):
        lb.load(run_folder)
    with pytest.raises(SettingsError, match="Unknown metric 'f1@10'"):
        Metric.parse("f1@10")
    refused(
        answered(capsys, "recommend", run_folder, "--domain", "shop", "--user", "3"),
        "package landbridge-example",
    )


def test_the_template_keeps_the_contract(packages: Path) -> None:
    program = (
        "import sys; from landbridge.testing import MethodContract as C; "
        "[getattr(C(), name)('itemmean') for name in "
        "('test_settings_make_the_same_method', 'test_state_is_the_whole_model', "
        "'test_users_known_in_no_domain_are_all_alike')]; "
        "sys.path.insert(0, sys.argv[1]); import test_example as t; t.test_the_score_is_the_shrunk_mean()"
    )
    path = f"{packages}:{':'.join(sys.path)}"
    subprocess.run(
        [sys.executable, "-c", program, str(TEMPLATE / "tests")],
        check=True,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
    )


def test_a_broken_plugin_is_one_sentence_and_stops_no_other(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declared(
        tmp_path, "broken-shop", METHODS, "gone = no_such_module:Gone\nease = json:loads\nsum = builtins:sum"
    )
    declared(tmp_path, "wrong-name", METHODS, "othermean = landbridge_example.method:ItemMean")
    monkeypatch.syspath_prepend(tmp_path)
    status, out, err = answered(capsys, "models")
    assert status == 0
    assert "itemmean" in out
    assert len(err.splitlines()) == 4
    for sentence in (
        "'gone' (landbridge.methods) of the package broken-shop cannot be loaded: ModuleNotFoundError",
        "'ease' (landbridge.methods) of the package broken-shop has the name of a method of landbridge",
        "'sum' (landbridge.methods) of the package broken-shop is no Method",
        "'othermean' (landbridge.methods) of the package wrong-name is a method called 'itemmean'",
    ):
        assert sentence in err
    assert registry.method("ease").__module__ == "landbridge.models.linear.ease"
    (tmp_path / "shop.csv").write_text("user,item\na,1\na,2\n")
    refused(
        answered(capsys, "fit", tmp_path / "shop.csv", "--model", "gone", "--out", tmp_path / "run"),
        "package broken-shop cannot be loaded",
    )


def test_one_name_in_two_packages_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("one-shop", "two-shop"):
        declared(tmp_path, package, METHODS, "mean = json:loads")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match="The packages one-shop and two-shop both declare 'mean'"):
        registry.method("mean")


def test_nothing_is_imported_before_its_name_is_used(installed: Path) -> None:
    program = (
        "import sys; from landbridge.models import registry; assert 'itemmean' in registry.names(); "
        "assert 'landbridge_example' not in sys.modules; registry.method('itemmean'); "
        "assert 'landbridge_example' in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )
    assert "itemmean" in plugins(METHODS)


@pytest.mark.parametrize(
    ("given", "sentence"), [("lines", "NAME=PLACE"), ("tensorbord=x", "did you mean 'tensorboard'")]
)
def test_a_wrong_tracker_is_one_sentence(
    given: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop.csv").write_text("user,item\na,1\na,2\n")
    refused(
        answered(capsys, "fit", tmp_path / "shop.csv", "--tracker", given, "--out", tmp_path / "run"),
        sentence,
    )
