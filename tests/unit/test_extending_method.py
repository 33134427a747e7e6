"""docs/extending/method.md, executed: the method that it adds keeps every contract and is stored."""

from __future__ import annotations

import importlib.util
import sys
from inspect import signature
from pathlib import Path
from types import ModuleType

import pytest
from pages import code_blocks
from worlds import uneven

import landbridge as lb
from landbridge.models import registry
from landbridge.testing import MethodContract

PAGE = Path(__file__).parents[2] / "docs" / "extending" / "method.md"
FILE, LINE, TEST = range(3)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's method, made of its file and its line in the registry."""
    blocks = code_blocks(PAGE)
    assert len(blocks) == 3
    name = "landbridge.models.item_mean"
    (tmp_path / "item_mean.py").write_text(blocks[FILE])
    spec = importlib.util.spec_from_file_location(name, tmp_path / "item_mean.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))
    exec(blocks[LINE], {"METHODS": registry.METHODS})
    return module


def test_its_own_test_passes(added: ModuleType) -> None:
    namespace = {"ItemMean": added.ItemMean}
    exec(code_blocks(PAGE)[TEST], namespace)
    namespace["test_the_score_is_the_shrunk_mean"]()


def test_it_keeps_every_contract(added: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract tests take a method's name: all of them hold for a method that no list mentions."""
    tests = {key: test for key, test in vars(MethodContract).items() if key.startswith("test_")}
    assert len(tests) > 10
    fixtures = {"tmp_path": tmp_path, "monkeypatch": monkeypatch}
    for key, test in tests.items():
        for extra in ([0], [1]) if key == "test_a_domain_of_hardly_any_events" else ([],):
            given = [fixtures[each] for each in signature(test).parameters if each in fixtures]
            test(MethodContract(), "itemmean", *extra, *given)


def test_the_command_line_knows_it(added: ModuleType, tmp_path: Path) -> None:
    """Fitted from files with a setting given as text, stored, loaded and recommended from."""
    from typer.testing import CliRunner

    from landbridge.cli.main import app

    rows = [f"u{user},i{(user * 7 + step) % 9},{1 + step}" for user in range(12) for step in range(4)]
    (tmp_path / "shop.csv").write_text("\n".join(["user,item,rating", *rows]))
    words = ["fit", str(tmp_path / "shop.csv"), "--model", "itemmean", "--set", "strength=.5"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    again = lb.load(tmp_path / "run")
    assert again.method == added.ItemMean(strength=0.5)
    assert len(lb.recommend(again, "shop", users=["u1"], k=2)) == 2
    assert uneven().domain_names  # the world of the contract tests is importable beside it
