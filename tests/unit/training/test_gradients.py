"""The gradients of a step's losses: parts and sum, one pass or several, and their inner products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.training import tensors
from landbridge.training.gradients import Losses, gram, view

torch = pytest.importorskip("torch")
EMBEDDING = torch.nn.functional.embedding
WEIGHTS = {"b": 0.5, "a": 3.0, "c": 1.0}
ROWS = {"b": [3, 3, 9], "a": [9, 3, 1, 29], "c": [0, 1]}


def parameters() -> dict[str, Any]:
    shapes = {"table": (30, 4), "layer": (4, 5), **{f"head {domain}": (5,) for domain in ROWS}}
    return {
        name: torch.randn(shape, generator=torch.Generator().manual_seed(k)).requires_grad_()
        for k, (name, shape) in enumerate(shapes.items())
    }


def losses(leaves: Mapping[str, Any], viewed: Mapping[str, tuple[str, ...]], sparse: bool) -> Losses:
    """Three domains look up rows of a table and read them by a layer; ``viewed``: each one's views."""
    views = {domain: {name: view(leaves[name]) for name in viewed.get(domain, ())} for domain in ROWS}
    found = {}
    for domain, rows in ROWS.items():
        own = {**leaves, **views[domain]}
        rows_NF = EMBEDDING(torch.tensor(rows), own["table"], sparse=sparse)
        found[domain] = ((rows_NF @ own["layer"]).tanh() @ own[f"head {domain}"]).square().mean()
    return Losses(found, leaves, views)


def taken(leaves: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    for leaf in leaves.values():
        leaf.grad = None
    return found


VIEWS = {
    "all": dict.fromkeys(ROWS, ("layer", "table")),
    "none": {},
    "not all": {"a": ("layer", "table"), "c": ("layer", "table")},
}


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("name", ["layer", "table"])
def test_parts_and_sum_are_those_of_autograd(name: str, views: str, final: bool, sparse: bool) -> None:
    leaves = parameters()
    plain = losses(leaves, {}, sparse)
    wanted = {
        domain: WEIGHTS[domain] * torch.autograd.grad(loss, leaves[name], retain_graph=True)[0]
        for domain, loss in plain.items()
    }
    sum(WEIGHTS[domain] * loss for domain, loss in plain.items()).backward()
    total = taken(leaves)
    step = losses(leaves, VIEWS[views], sparse)
    found = step.at(name, WEIGHTS, final)
    assert [*found] == [*ROWS]
    for domain, gradient in found.items():
        torch.testing.assert_close(gradient.to_dense(), wanted[domain].to_dense())
    step.backward(WEIGHTS)
    for key, gradient in taken(leaves).items():
        assert gradient.is_sparse == total[key].is_sparse == (sparse and key == "table")
        torch.testing.assert_close(gradient.to_dense(), total[key].to_dense())
        assert views == "not all" or torch.equal(gradient.to_dense(), total[key].to_dense())


@pytest.mark.parametrize(
    ("views", "final", "times"), [("all", True, 1), ("all", False, 2), ("none", True, 2)]
)
def test_with_views_everything_is_gone_through_once(views: str, final: bool, times: int) -> None:
    leaves, passes = parameters(), []
    step = losses(leaves, VIEWS[views], True)
    looked = {domain: 1 * loss for domain, loss in step.items()}
    for loss in looked.values():
        loss.register_hook(passes.append)
    step = Losses(looked, leaves, step._views)
    step.at("layer", WEIGHTS, final)
    step.backward(WEIGHTS)
    step.backward(WEIGHTS)  # done already
    assert len(passes) == times * len(ROWS)


def test_losses_that_do_not_depend_on_the_parameter_have_no_part() -> None:
    leaf, other = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    for views in ({}, {domain: {"leaf": view(leaf)} for domain in "abc"}):
        seen = views.get("b", {"leaf": leaf})["leaf"]
        tensors_ = {"a": other.sum(), "b": 2 * seen.sum(), "c": torch.tensor(1.0)}
        found = Losses(tensors_, {"leaf": leaf}, views).at("leaf", dict.fromkeys("abc", 1.0), True)
        assert [*found] == ["b"]
        assert found["b"].tolist() == [2, 2, 2]


def test_they_are_a_mapping_of_tensors_with_numbers() -> None:
    step = losses(parameters(), {}, True)
    assert Losses.of(step, {}) is step
    assert step.numbers == {domain: loss.item() for domain, loss in step.items()}
    assert (len(step), "a" in step, "d" in step) == (3, True, False)


# --- inner products --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [(True, True, True), (False, False, False), (True, False, True)])
def test_inner_products_of_gradients_are_those_of_dense_ones(kinds: tuple[bool, ...]) -> None:
    table = torch.randn(30, 4, requires_grad=True)
    rows = [torch.tensor(picked) for picked in ([3, 3, 9], [9, 3, 1, 29], [0, 1])]
    losses = {
        str(k): EMBEDDING(picked, table, sparse=sparse).pow(k + 1).sum()
        for k, (picked, sparse) in enumerate(zip(rows, kinds, strict=True))
    }
    dense_PX = torch.stack(
        [
            torch.autograd.grad(loss, table, retain_graph=True)[0].to_dense().flatten()
            for loss in losses.values()
        ]
    )
    names, gram_PP = gram(Losses(losses, {"table": table}).at("table", dict.fromkeys(losses, 1.0)))
    assert names == ["0", "1", "2"]
    np.testing.assert_allclose(gram_PP, (dense_PX @ dense_PX.T).numpy(), rtol=1e-5, atol=1e-5)


def test_a_gradient_of_zeros_is_left_out() -> None:
    found = {"a": torch.zeros(3), "b": torch.tensor([3.0, 0.0, 4.0])}
    names, gram_PP = gram(found)
    assert names == ["b"]
    assert gram_PP.tolist() == [[25.0]]
    assert gram({})[0] == []


@given(
    st.lists(st.lists(st.integers(0, 6), max_size=12), min_size=1, max_size=5),
    st.integers(1, 9),
    st.integers(0),
)
def test_sparse_products_are_those_of_dense_ones_in_numba_and_in_torch(
    rows: list[list[int]], factors: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    found = [
        torch.sparse_coo_tensor(
            torch.tensor([picked], dtype=torch.long),
            torch.from_numpy(rng.standard_normal((len(picked), factors), np.float32)),
            (7, factors),
            check_invariants=True,
        )
        for picked in rows
    ]
    dense_PX = torch.stack([each.to_dense().flatten() for each in found]).double().numpy()
    beside_PX = tensors._stacked_rows(found).flatten(1).double().numpy()
    np.testing.assert_allclose(tensors.products(found), dense_PX @ dense_PX.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(beside_PX @ beside_PX.T, dense_PX @ dense_PX.T, rtol=1e-4, atol=1e-5)
