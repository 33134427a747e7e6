"""What landbridge depends on: licences, a bill of materials, and the lowest versions that it allows.

    python tools/dependencies.py licences > docs/reference/dependencies.md
    python tools/dependencies.py sbom > build/sbom.json        # CycloneDX 1.5
    python tools/dependencies.py lowest > lowest.txt            # constraints for pip

The first two describe what is installed, so run them where every extra is.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS = (
    "neural",
    "report",
    "tensorboard",
    "mlflow",
    "wandb",
    "serve",
    "federation",
    "psi",
    "postgres",
    "ann",
    "usearch",
    "onnx",
    "mcp",
    "ray",
    "text",
)  # what users install
HEAD = """# Dependencies and their licences

What an installation brings, and with which extra. Made by `python tools/dependencies.py licences`;
versions are in `constraints.txt`. `tools/lowest.sh` tests the lowest versions that `pyproject.toml`
allows: reading, evaluation, linear models, ALS, the store and selection pass their tests with them.
Networks are tested with the versions of `constraints.txt` alone.

| package | licence | comes with |
|---|---|---|
"""


def main() -> None:
    """Print what is asked for."""
    commands: dict[str, Callable[[], str]] = {"licences": licences, "sbom": sbom, "lowest": lowest}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(f"Say one of {', '.join(commands)}.")
    sys.stdout.write(commands[sys.argv[1]]())


def licences() -> str:
    """A page: every package of the runtime and of the extras."""
    needed_by: dict[str, list[str]] = {}
    for extra, requirements in _requirements().items():
        for name in _closure(requirements):
            needed_by.setdefault(name, []).append(extra or "always")
    rows = []
    for name, extras in sorted(needed_by.items()):
        found = _installed(name)
        shown = "always" if "always" in extras else ", ".join(extras)
        rows.append(f"| {name} | {licence(found) if found else 'not installed here'} | {shown} |\n")
    return HEAD + "".join(rows)


def sbom() -> str:
    """A CycloneDX bill of materials of what is installed."""
    names = sorted({name for each in _requirements().values() for name in _closure(each)})
    installed = [found for name in names if (found := _installed(name))]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _component("landbridge", _version(), PROJECT["license"])},
        "components": [
            _component(canonicalize_name(each.metadata["Name"]), each.version, licence(each))
            for each in installed
        ],
    }
    return json.dumps(bill, indent=2) + "\n"


def lowest() -> str:
    """The lower bound of every requirement, those of the tests included, as a constraint."""
    bounds = {}
    for requirements in _requirements((*EXTRAS, "test")).values():
        for requirement in requirements:
            low = [each.version for each in requirement.specifier if each.operator == ">="]
            bounds[canonicalize_name(requirement.name)] = low[0]
    return "".join(f"{name}=={version}\n" for name, version in sorted(bounds.items()))


def licence(found: Distribution) -> str:
    """What a distribution says of its licence, in a few words."""
    meta = found.metadata
    classifiers = [text for text in meta.get_all("Classifier") or () if text.startswith("License ::")]
    named = [text.rpartition(" :: ")[2] for text in classifiers]
    first_line = (meta.get("License") or "").strip().partition("\n")[0]
    return meta.get("License-Expression") or ", ".join(named) or first_line or "see its files"


def _requirements(extras: Iterable[str] = EXTRAS) -> dict[str, list[Requirement]]:
    """Extra, or "" for the runtime -> its requirements, those on landbridge itself left out."""
    texts = {"": PROJECT["dependencies"]} | {
        extra: PROJECT["optional-dependencies"][extra]
        for extra in extras
        if extra in PROJECT["optional-dependencies"]
    }
    return {
        extra: [each for text in own if (each := Requirement(text)).name != "landbridge"]
        for extra, own in texts.items()
    }


def _closure(requirements: Iterable[Requirement]) -> set[str]:
    """Names of the requirements and of all that they need here."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        key = (canonicalize_name(requirement.name), frozenset(extras))
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if key in seen or not applies:
            continue
        seen.add(key)
        found = _installed(requirement.name)
        for text in (found.requires or ()) if found else ():
            inner = Requirement(text)
            if inner.marker is None or any(
                inner.marker.evaluate({"extra": extra}) for extra in {"", *extras}
            ):
                inner.marker = None
                waiting.append(inner)
    return {name for name, _ in seen}


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _component(name: str, version: str, terms: str) -> dict[str, Any]:
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "licenses": [{"license": {"name": terms}}],
    }


def _version() -> str:
    text = (Path(__file__).parents[1] / "landbridge" / "version.py").read_text()
    (found,) = re.findall(r'__version__ = "(.+)"', text)
    return str(found)


if __name__ == "__main__":
    main()
