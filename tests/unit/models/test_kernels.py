"""A rule for compiled loops whose sums may be reordered (``reassoc``): such a loop sums or stores, not both.

Where a loop also stores, LLVM compares addresses at run time and takes the scalar loop when two arrays lie
within a vector of each other. The order of the sum, and with it the last bit, would then depend on where
the allocator put small arrays: about 3 fits in 1000 of a small BPRMF differed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import landbridge

KERNELS = sorted(Path(landbridge.__file__).parent.rglob("*kernels.py"))


def reordered(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions that are compiled with ``fastmath``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(
            "fastmath" in ast.unparse(d) for d in node.decorator_list
        ):
            yield node


def mixed_loops(source: str) -> list[str]:
    """Innermost loops over ``range`` that store into an array and add to a scalar."""
    return [
        f"{function.name}, line {loop.lineno}"
        for function in reordered(ast.parse(source))
        for loop in ast.walk(function)
        if isinstance(loop, ast.For) and "range(" in ast.unparse(loop.iter)
        if not any(isinstance(inner, ast.For | ast.While) for part in loop.body for inner in ast.walk(part))
        if any(isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store) for n in ast.walk(loop))
        if any(isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name) for n in ast.walk(loop))
    ]


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_loops_that_sum_do_not_store(path: Path) -> None:
    assert mixed_loops(path.read_text()) == []


def test_a_loop_that_does_both_is_noticed() -> None:
    loop = "    for f in range(n):\n        {}x += a[f] * b[f]\n"
    source = "@njit(fastmath=FAST)\ndef kernel(a, b, out, n):\n    x = 0.0\n" + loop
    assert mixed_loops(source.format("out[f] = a[f]\n        ")) == ["kernel, line 4"]
    assert mixed_loops(source.format("")) == []
