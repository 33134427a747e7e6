"""Row-wise optimisers beside torch, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.errors import SettingsError
from landbridge.training.optimizers import Optimizer, summed

RNG = np.random.default_rng(0)


def gaussian(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("kind", ["adam", "adagrad", "sgd"])
def test_rows_touched_at_every_step_move_as_in_torch(kind: str) -> None:
    torch = pytest.importorskip("torch")
    table_RF = gaussian(6, 5)
    weight = torch.nn.Parameter(torch.tensor(table_RF))
    peer = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad, "sgd": torch.optim.SGD}[kind]
    dense = peer([weight], lr=0.05, **({} if kind == "sgd" else {"eps": 1e-8}))
    ours = Optimizer(kind, 0.05)
    slots = ours.slots(table_RF)
    for _ in range(20):
        grad_RF = gaussian(6, 5)
        order = RNG.permutation(6).astype(np.int32)
        ours.step(table_RF, slots, order, grad_RF[order])
        weight.grad = torch.tensor(grad_RF)
        dense.step()
    np.testing.assert_allclose(table_RF, weight.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("beta1", [0.0, 0.3, 0.9])
def test_momentum_steps_by_the_moving_average_of_the_gradient(beta1: float) -> None:
    """Yang et al., Algorithm 2, lines 11 and 12, number by number; at β₁ = 0 it is gradient descent."""
    table_RF = gaussian(4, 3)
    wanted, average = table_RF.astype(float).tolist(), [[0.0] * 3 for _ in range(4)]
    ours = Optimizer("momentum", 0.05, beta1)
    slots = ours.slots(table_RF)
    for _ in range(12):
        rows = RNG.permutation(4)[:3]
        grad_TF = gaussian(3, 3)
        ours.step(table_RF, slots, rows.astype(np.int32), grad_TF)
        for row, grad_F in zip(rows, grad_TF, strict=True):
            for f, g in enumerate(grad_F):
                average[row][f] = beta1 * average[row][f] + (1 - beta1) * float(g)
                wanted[row][f] -= 0.05 * average[row][f]
    np.testing.assert_allclose(table_RF, wanted, atol=1e-6)
    np.testing.assert_allclose(slots["first"], average, atol=1e-6)
    assert slots["second"].size == 0


@pytest.mark.parametrize("kind", ["adam", "adagrad", "sgd", "momentum"])
def test_a_row_counts_its_own_steps(kind: str) -> None:
    """A row that is touched now and then moves as if its steps had followed one another."""
    rare_RF, often_RF = gaussian(3, 4), gaussian(1, 4)
    often_RF[0] = rare_RF[1]
    ours = Optimizer(kind, 0.05)
    slots, alone = ours.slots(rare_RF), ours.slots(often_RF)
    before = rare_RF[2].copy()
    for step in range(12):
        grad_1F = gaussian(1, 4)
        if step % 3 == 2:
            ours.step(rare_RF, slots, np.array([1], np.int32), grad_1F)
            ours.step(often_RF, alone, np.array([0], np.int32), grad_1F)
        else:
            ours.step(rare_RF, slots, np.array([0], np.int32), grad_1F)
    assert np.array_equal(rare_RF[1], often_RF[0])
    assert np.array_equal(rare_RF[2], before)
    assert slots["count"].tolist() == [8, 4, 0]


def test_the_first_step_of_a_late_row_has_length_lr() -> None:
    table_RF = np.zeros((1, 3), np.float32)
    ours = Optimizer("adam", 0.01)
    ours.step(table_RF, ours.slots(table_RF), np.array([0], np.int32), np.array([[5, -1, 0]], np.float32))
    np.testing.assert_allclose(table_RF, [[-0.01, 0.01, 0]], rtol=1e-4)


@given(st.lists(st.integers(0, 7), max_size=40))
def test_gradients_are_added_up_per_row(index: list[int]) -> None:
    index_N = np.array(index, np.int64)
    grad_NF = np.random.default_rng(len(index)).integers(-9, 9, (len(index), 3)).astype(np.float32)
    dense_RF = np.zeros((8, 3), np.float32)
    np.add.at(dense_RF, index_N, grad_NF)
    rows_T, sum_TF = summed(index_N, grad_NF, 8)
    assert sorted(rows_T.tolist()) == sorted(set(index))
    assert np.array_equal(sum_TF, dense_RF[rows_T])


def test_impossible_optimisers_are_refused() -> None:
    with pytest.raises(SettingsError, match="did you mean 'adam'"):
        Optimizer("adm")
    with pytest.raises(SettingsError, match="lr must be above 0"):
        Optimizer(lr=0.0)


def test_decay_shortens_a_touched_row_before_its_step() -> None:
    table_RF, grad_TF = np.full((3, 2), 4.0, np.float32), np.full((1, 2), 0.5, np.float32)
    for kind in ("sgd", "adagrad", "adam", "momentum"):
        plain, decayed = Optimizer(kind, 0.1), Optimizer(kind, 0.1, decay=0.5)
        one, other = table_RF * np.float32(0.95), table_RF.copy()
        for optimizer, table in ((plain, one), (decayed, other)):
            optimizer.step(table, optimizer.slots(table), np.array([1], np.int32), grad_TF)
        assert np.allclose(one[1], other[1])
        assert np.array_equal(other[[0, 2]], table_RF[[0, 2]])
    with pytest.raises(SettingsError, match="decay must be"):
        Optimizer("adam", 0.1, decay=10.0)


def test_no_subnormal_number_is_kept() -> None:
    """0.9 times the smallest number is, rounded, that number: a momentum without gradients would stay there
    for good, and every later step take many times as long. NaN is kept, or divergence would not show."""
    table_RF, rows_T = gaussian(1, 200), np.array([0], np.int32)
    ours = Optimizer("adam", 1e-3)
    slots = ours.slots(table_RF)
    for exponent in (0.0, -15.0, -18.5, -20.0):
        ours.step(table_RF, slots, rows_T, gaussian(1, 200) * np.float32(10**exponent))
        for _ in range(1200):
            ours.step(table_RF, slots, rows_T, np.zeros((1, 200), np.float32))
        for name in ("first", "second"):
            size = np.abs(slots[name])
            assert not ((size > 0) & (size < np.finfo(np.float32).tiny)).any()
    assert not slots["first"].any()
    ours.step(table_RF, slots, rows_T, np.full((1, 200), np.nan, np.float32))
    assert np.isnan(table_RF).all()
