"""What is released: wheel and source archive, the pages of the project, and what they say of licences."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from landbridge.version import __version__

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "dependencies.py"
LARGEST = 2 * 2**20  # bytes of a wheel or an archive
BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]  # building changes the arguments
build_meta.build_wheel(out)
build_meta.build_sdist(out)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive, made from a copy: building writes beside it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("landbridge", "tests", "docs", "tools"):
        unwanted = shutil.ignore_patterns("__pycache__", "results", "assets", "pictures")
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, source)
    (source / "runs").mkdir()
    (source / "runs" / "manifest.json").write_text("{}")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", BUILD, str(out)]
    made = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return out


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (meta,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    info = f"landbridge-{__version__}.dist-info/"
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "landbridge").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(info)} == wanted
    assert {"landbridge/py.typed", "landbridge/serving/web/index.html"} <= names
    assert f"{info}licenses/LICENSE" in names
    assert f"\nVersion: {__version__}\n" in meta
    assert "\nRequires-Python: >=3.11\n" in meta
    assert wheel.stat().st_size < LARGEST


def test_the_source_archive_holds_what_builds_the_wheel(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    folders = {name.partition("/")[0] for name in names if "/" in name}
    assert folders == {"landbridge", "landbridge.egg-info"}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"} <= names
    assert archive.stat().st_size < LARGEST


def test_an_index_would_accept_them(built: Path) -> None:
    if find_spec("twine") is None:
        pytest.skip("twine is not installed")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0


def tool(word: str) -> str:
    return subprocess.run(
        [sys.executable, str(TOOL), word], capture_output=True, text=True, check=True
    ).stdout


def test_the_page_of_licences_names_every_package() -> None:
    """The packages: an environment without an extra knows only its first, whose licence it cannot say."""
    page = (ROOT / "docs" / "reference" / "dependencies.md").read_text()
    listed = dict(re.findall(r"^\| ([a-z0-9-]+) \| (.+?) \|", page, re.M))
    for name, terms in re.findall(r"^\| ([a-z0-9-]+) \| (.+?) \|", tool("licences"), re.M):
        assert name in listed, f"{name}: make docs/reference/dependencies.md anew"
        assert listed[name] in (terms, listed[name] if terms == "not installed here" else terms)
    assert not {
        name for name, terms in listed.items() if re.search(r"\bA?GPL", terms) and "LGPL" not in terms
    }


def test_the_bill_of_materials_has_a_version_and_a_licence_for_each() -> None:
    bill = json.loads(tool("sbom"))
    assert bill["metadata"]["component"]["version"] == __version__
    names = {each["name"] for each in bill["components"]}
    assert {"numpy", "polars", "numba", "llvmlite", "typer"} <= names
    assert all(each["version"] and each["licenses"][0]["license"]["name"] for each in bill["components"])


def test_every_dependency_has_a_lower_bound_and_a_pin() -> None:
    lowest = dict(line.split("==") for line in tool("lowest").split())
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().split()
    }
    assert lowest["numpy"] == "2.0"
    assert set(lowest) <= pinned


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_what_a_forge_reads_is_yaml_and_runs_what_is_there(path: Path) -> None:
    read = yaml.safe_load(path.read_text())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    jobs = read.get("jobs", {})
    lines = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {word for line in lines for word in re.findall(r"^make ([a-z-]+)", line)} <= targets
    for line in lines:
        for name in re.findall(r"\b(?:tests|tools)/[\w/.]+", line):
            assert (ROOT / name).exists(), name


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == __version__
    assert cited["license"] == "Apache-2.0"


def test_the_changelog_has_this_version_under_what_is_unreleased() -> None:
    """As Keep a Changelog has it: the unreleased first, then the releases, the latest with its day."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    first, second = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)[:2]
    assert first == "[Unreleased]"
    assert second == f"[{__version__}] - {cited['date-released']}"
