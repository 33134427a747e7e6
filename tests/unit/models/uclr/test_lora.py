"""Low-rank adaptation: nothing at the start, exact algebra, and only what the scope names may move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from landbridge.core.errors import SettingsError
from landbridge.core.rng import generator
from landbridge.models.uclr.autoencoder import AutoEncoder
from landbridge.models.uclr.lora import TARGETS, LoraAdapter, adapt

USERS, ITEMS, FACTORS, RANK = 11, 7, 6, 2
NET = AutoEncoder((FACTORS, 20, 3))  # wide enough that ReLU lets every person through


def base() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    rng = generator(5, "tables")
    users_UF, items_IF = (torch.tensor(rng.standard_normal((n, FACTORS), np.float32)) for n in (USERS, ITEMS))
    return users_UF, items_IF, NET.initial(generator(5, "layers"))


def adapted(scope: str, rank: int = RANK) -> LoraAdapter:
    return adapt(*base(), scope, rank, generator(5, "lora"))


def outputs(given: LoraAdapter, users_B: Tensor, items_B: Tensor) -> Tensor:
    """Decoded rows times item rows, (B,): every weight takes part."""
    layers = given.effective_layers()
    rebuilt_BF = NET.decode(layers, NET.encode(layers, given.users.rows(users_B)))
    return (rebuilt_BF * given.items.rows(items_B)).sum(dim=1)


def stepped(given: LoraAdapter, steps: int = 3) -> LoraAdapter:
    """``given`` after a few steps of plain gradient descent, in place."""
    users_B, items_B = torch.arange(USERS), torch.arange(USERS) % ITEMS
    for _ in range(steps):
        trainable = list(given.parameters().values())
        slopes = torch.autograd.grad(outputs(given, users_B, items_B).square().sum(), trainable)
        with torch.no_grad():
            for value, slope in zip(trainable, slopes, strict=True):
                value -= 0.01 * slope
    return given


@pytest.mark.parametrize("scope", TARGETS)
def test_nothing_changes_before_the_first_step(scope: str) -> None:
    users_UF, items_IF, layers = base()
    given = adapted(scope)
    assert torch.equal(given.users.whole(), users_UF)
    assert torch.equal(given.items.whole(), items_IF)
    assert torch.equal(given.users.rows(torch.tensor([3, 0])), users_UF[[3, 0]])
    assert all(torch.equal(value, layers[name]) for name, value in given.effective_layers().items())


@pytest.mark.parametrize("scope", sorted(set(TARGETS) - {"none"}))
def test_merged_weights_are_the_applied_ones(scope: str) -> None:
    given = stepped(adapted(scope))
    users_B, items_B = torch.tensor([10, 2, 2]), torch.tensor([0, 6, 1])
    applied_B = outputs(given, users_B, items_B)
    merged = adapt(
        given.users.whole(), given.items.whole(), given.effective_layers(), "none", 1, generator(5)
    )
    np.testing.assert_allclose(
        applied_B.detach(), outputs(merged, users_B, items_B).detach(), rtol=1e-5, atol=1e-6
    )
    assert not torch.allclose(applied_B, outputs(adapted(scope), users_B, items_B))


def test_trainable_parameters_of_every_scope() -> None:
    weights = 2 * (FACTORS * 20 + 20 * 3)
    biases = 20 + 3 + 20 + FACTORS
    thin_layers = 2 * RANK * ((FACTORS + 20) + (20 + 3))
    users, items = RANK * (USERS + FACTORS), RANK * (ITEMS + FACTORS)
    wanted = {
        "users": users,
        "all": users + items + thin_layers,
        "items_free": users + ITEMS * FACTORS + weights + biases,
        "full": (USERS + ITEMS) * FACTORS + weights + biases,
        "none": 0,
    }
    assert {scope: adapted(scope).n_trainable() for scope in TARGETS} == wanted
    assert set(adapted("users").parameters()) == {"users.left", "users.right"}
    assert {n for n in adapted("items_free").parameters() if "items" in n} == {"items.base"}
    assert "layers.encoder.0.weight.left" in adapted("all").parameters()


@pytest.mark.parametrize("scope", sorted(set(TARGETS) - {"none"}))
def test_training_moves_what_the_scope_names_and_never_the_shared_base(scope: str) -> None:
    users_UF, items_IF, layers = base()
    before = [value.detach().clone() for value in (users_UF, items_IF, *layers.values())]
    given = stepped(adapt(users_UF, items_IF, layers, scope, RANK, generator(5, "lora")))
    for value, kept in zip((users_UF, items_IF, *layers.values()), before, strict=True):
        assert torch.equal(value, kept)
    ways = TARGETS[scope]
    moved = {name: not torch.equal(value, layers[name]) for name, value in given.effective_layers().items()}
    assert torch.equal(given.users.whole(), users_UF) == (ways[0] == "frozen")
    assert torch.equal(given.items.whole(), items_IF) == (ways[1] == "frozen")
    assert {name: m for name, m in moved.items() if "weight" in name} == {
        name: ways[2] != "frozen" for name in moved if "weight" in name
    }
    assert {m for name, m in moved.items() if "bias" in name} == {ways[2] == "free"}


def test_a_change_has_at_most_the_rank() -> None:
    users_UF = base()[0]
    change_UF = (stepped(adapted("users")).users.whole() - users_UF).detach().double()
    assert np.linalg.matrix_rank(change_UF.numpy(), tol=1e-6) == RANK


def test_full_rank_spans_every_change() -> None:
    """With K = min(U, F) the factors of any change, from its singular values, give it back."""
    users_UF = base()[0]
    wanted_UF = torch.tensor(generator(6, "target").standard_normal((USERS, FACTORS), np.float32))
    weight = adapted("users", rank=min(USERS, FACTORS)).users
    left, values, right = torch.linalg.svd(wanted_UF - users_UF, full_matrices=False)
    with torch.no_grad():
        weight.left_RK.copy_(left * values)
        weight.right_KC.copy_(right)
    np.testing.assert_allclose(weight.whole().detach(), wanted_UF, atol=1e-5)


def test_rank_is_no_more_than_a_weight_has() -> None:
    given = adapted("all", rank=100)
    assert given.users.left_RK.shape == (USERS, FACTORS)
    assert given.layers["encoder.1.weight"].right_KC.shape == (3, 20)


def test_start_of_the_right_factor() -> None:
    users_UF, items_IF = torch.zeros(4000, 500), torch.zeros(3, 500)
    weight = adapt(users_UF, items_IF, {}, "users", 16, generator(5, "lora")).users
    assert float(weight.right_KC.detach().std()) == pytest.approx(16**-0.5, rel=0.03)
    assert not weight.left_RK.any()


def test_same_seed_same_adaptation() -> None:
    one, other = adapted("all").parameters(), adapted("all").parameters()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_unknown_scope_and_impossible_rank() -> None:
    with pytest.raises(SettingsError, match="did you mean 'users'"):
        adapted("user")
    with pytest.raises(SettingsError, match="1 or more"):
        adapted("all", rank=0)
