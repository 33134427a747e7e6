"""Pairwise learning: objective, gradients and propagation against autograd and dense references."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from resuming import Kill, same_state
from worlds import dense, uneven

from landbridge.core import row_blocks
from landbridge.core.errors import DivergenceError
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.sampling.kernels import drawn
from landbridge.data.sampling.pairwise import Pairwise
from landbridge.data.synthetic import checkerboard
from landbridge.models.pairwise.bprmf import BPRMF
from landbridge.models.pairwise.lightgcn import LightGCN
from landbridge.models.pairwise.table import Ahead, PairwiseTable
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
LR = 1e-3


def plain(
    layers: int = 0, reg: float = 0.3, weighted: bool = False, size: int = 10_000, reg_power: int = 2
) -> PairwiseTable:
    """A table whose epoch is one step of gradient descent."""
    events = uneven(weighted=weighted)["a"]
    pairs = Pairwise(events, {"a": slice(0, events.n_items)})
    return PairwiseTable(pairs, Optimizer("sgd", LR), reg, size, layers, reg_power)


def adjacency(table: PairwiseTable) -> np.ndarray:
    """D^(-½) A D^(-½), dense, float64 (R, R)."""
    liked_UI = dense(table.events) > 0
    n_users, n_items = liked_UI.shape
    full_RR = np.zeros((n_users + n_items,) * 2)
    full_RR[:n_users, n_users:] = liked_UI
    full_RR += full_RR.T
    root_R = 1 / np.sqrt(np.maximum(full_RR.sum(axis=1), 1))
    return np.asarray(root_R[:, None] * full_RR * root_R)


def reference(table: PairwiseTable, rows_RF: np.ndarray) -> float:
    """The objective of epoch 0, Eq. (1) on Eq. (3), in float64."""
    user_N, positive_N, negative_N, weight_N = table.pairs.epoch(0)
    n_users, power_RF, final_RF = table.events.n_users, rows_RF, rows_RF.copy()
    for _ in range(table.layers):
        power_RF = adjacency(table) @ power_RF
        final_RF = final_RF + power_RF
    final_RF = final_RF / (table.layers + 1)
    triple_3N = np.stack([user_N, positive_N + n_users, negative_N + n_users])
    u_NF, i_NF, j_NF = final_RF[triple_3N]
    loss_N = np.logaddexp(0, -((u_NF * (i_NF - j_NF)).sum(axis=1)))
    weighed = loss_N.sum() if weight_N is None else float(weight_N @ loss_N)
    norms_3N = np.linalg.norm(rows_RF[triple_3N], axis=-1)
    return float(weighed + table.reg * (norms_3N**table.reg_power).sum() / table.reg_power)


def gradient(table: PairwiseTable, state: dict[str, np.ndarray]) -> np.ndarray:
    """What one step of plain descent subtracted, by lr."""
    after, _ = table.epoch(state, 0)
    return np.asarray((state["table"].astype(np.float64) - after["table"]) / LR)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize(("weighted", "reg_power"), [(False, 2), (True, 2), (False, 1)])
def test_gradients_are_those_of_the_objective(layers: int, weighted: bool, reg_power: int) -> None:
    """Central differences in 20 random directions."""
    table = plain(layers, weighted=weighted, reg_power=reg_power)
    state = table.start(4, 0.5)
    grad_RF, rows_RF = gradient(table, state), state["table"].astype(np.float64)
    for seed in range(20):
        way_RF = np.random.default_rng(seed).standard_normal(rows_RF.shape)
        slope = (reference(table, rows_RF + 1e-4 * way_RF) - reference(table, rows_RF - 1e-4 * way_RF)) / 2e-4
        assert float((grad_RF * way_RF).sum()) == pytest.approx(slope, rel=2e-3, abs=0.05)


@pytest.mark.parametrize("layers", [0, 2])
def test_gradients_are_those_of_autograd(layers: int) -> None:
    torch = pytest.importorskip("torch")
    table = plain(layers)
    state = table.start(4, 0.5)
    rows = torch.tensor(state["table"], dtype=torch.float64, requires_grad=True)
    graph, final = torch.tensor(adjacency(table)), rows
    power = rows
    for _ in range(layers):
        power = graph @ power
        final = final + power
    user, positive, negative = (torch.tensor(c.astype(np.int64)) for c in table.pairs.epoch(0)[:3])
    index = torch.stack([user, positive + table.events.n_users, negative + table.events.n_users])
    u, i, j = (final / (layers + 1))[index]
    objective = -torch.nn.functional.logsigmoid((u * (i - j)).sum(1)).sum()
    (objective + table.reg / 2 * (rows[index] ** 2).sum()).backward()
    np.testing.assert_allclose(gradient(table, state), rows.grad.numpy(), atol=2e-3)


def test_the_loss_at_zero_is_the_logarithm_of_two() -> None:
    table = plain()
    state = table.start(4, 0.0)
    assert table.epoch(state, 0)[1]["a"] == pytest.approx(np.log(2))


@pytest.mark.parametrize(("size", "layers"), [(1, 0), (7, 0), (40, 2)])
def test_a_batch_uses_the_rows_from_before_it(size: int, layers: int) -> None:
    """Steps one after the other in NumPy."""
    table = plain(layers, reg=0.1, size=size)
    state = table.start(3, 0.5)
    x_RF = state["table"].astype(np.float64)
    powers = [np.linalg.matrix_power(adjacency(table), k) for k in range(layers + 1)]
    mean_RR = np.mean(powers, axis=0)
    for user_B, positive_B, negative_B, _ in table.pairs.batches(0, size):
        u, i, j = user_B, positive_B + table.events.n_users, negative_B + table.events.n_users
        y_RF = mean_RR @ x_RF
        c_B1 = -1 / (1 + np.exp((y_RF[u] * (y_RF[i] - y_RF[j])).sum(axis=1, keepdims=True)))
        grad_RF, decay_RF = np.zeros_like(x_RF), np.zeros_like(x_RF)
        for rows, own_BF in ((u, y_RF[i] - y_RF[j]), (i, y_RF[u]), (j, -y_RF[u])):
            np.add.at(grad_RF, rows, c_B1 * own_BF)
            np.add.at(decay_RF, rows, 0.1 * x_RF[rows])
        x_RF = x_RF - LR * (mean_RR @ grad_RF + decay_RF)
    np.testing.assert_allclose(table.epoch(state, 0)[0]["table"], x_RF, atol=1e-6)


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("threads", [1, 2])
def test_parts_of_an_epoch_change_no_bit(
    layers: int, threads: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also of a fit that goes on after an epoch."""
    data, method = uneven(weighted=True), LightGCN(4, epochs=3, batch_size=8, layers=layers, lr=0.03)
    whole = method.fit(data, ONE)
    monkeypatch.setattr(row_blocks, "AT_ONCE", 30)
    options = FitOptions(threads=threads, work_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        method.fit(data, replace(options, validate=Kill(2)))
    parts = method.fit(data, options)
    assert same_state(parts, whole)
    assert [{**record, "valid": 0} for record in parts.log] == [
        {**record, "valid": 0} for record in whole.log
    ]


def test_what_is_made_ahead_keeps_its_order_where_all_threads_are_callers() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: list(Ahead(iter([[1], [2], [3]]), pool))).result() == [[1], [2], [3]]
        assert list(Ahead(iter([[1], [2]]), pool)) == [[1], [2]]
        assert list(Ahead(iter([]), pool)) == []


GOLDEN = {
    "bprmf": [0.6928653513, 0.6862439262, 0.6751263488],
    "lightgcn": [0.6926901293, 0.6926696402, 0.6926358548],
}


@pytest.mark.parametrize("method", [BPRMF(4, lr=0.03, epochs=3, batch_size=64), LightGCN(4, epochs=3)])
def test_golden_losses(method: BPRMF | LightGCN) -> None:
    """Losses of this seed as they were when the gradients were proved right."""
    log = method.fit(uneven(), ONE).log
    assert [record["loss:a"] for record in log] == pytest.approx(GOLDEN[method.name], rel=1e-5)


@pytest.mark.parametrize("sharing", ["separate", "joined"])
@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "sgd"])
def test_without_layers_lightgcn_is_bprmf(sharing: str, optimizer: str) -> None:
    data = uneven()
    settings = {"factors": 5, "sharing": sharing, "optimizer": optimizer, "epochs": 3, "lr": 0.02}
    settings |= {"reg": 0.01, "init_std": 0.1, "batch_size": 32}
    one, other = BPRMF(**settings).fit(data, ONE), LightGCN(**settings, layers=0).fit(data, ONE)
    for name in data.domain_names:
        assert np.array_equal(one.user_UF[name], other.user_UF[name])
        assert np.array_equal(one.item_IF[name], other.item_IF[name])
    assert one.log == other.log


@pytest.mark.parametrize("factors", [1, 4, 63, 64, 128])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_rows_are_the_mean_over_the_layers(layers: int, factors: int) -> None:
    """Sixty-four columns at a time, or all at once where that does not come out even."""
    table = plain(layers)
    state = table.start(factors, 0.5)
    power_RF = state["table"].astype(np.float64)
    mean_RF = power_RF / (layers + 1)
    for _ in range(layers):
        power_RF = adjacency(table) @ power_RF
        mean_RF = mean_RF + power_RF / (layers + 1)
    np.testing.assert_allclose(np.concatenate(table.rows(state)), mean_RF, atol=1e-6)


def test_the_operator_is_symmetric_and_an_isolated_row_keeps_its_share() -> None:
    table = plain(3)
    n_rows = table.events.n_users + table.events.n_items
    state = {"table": np.eye(n_rows, dtype=np.float32)}
    operator_RR = np.concatenate(table.rows(state))
    np.testing.assert_allclose(operator_RR, operator_RR.T, atol=1e-7)
    alone = int(np.flatnonzero(table.events.user_counts == 0)[0])
    assert operator_RR[alone, alone] == pytest.approx(1 / 4)
    assert np.count_nonzero(operator_RR[alone]) == 1


def test_a_domain_alone_is_the_same_model_separate_or_beside_others() -> None:
    data = uneven()
    for method in (BPRMF(4, epochs=2, lr=0.03), LightGCN(4, epochs=2)):
        both, alone = method.fit(data, ONE), method.fit(data.select(["b"]), ONE)
        assert np.array_equal(both.item_IF["b"], alone.item_IF["b"])


def test_steps_that_are_too_long_are_named() -> None:
    with pytest.raises(DivergenceError, match=r"epoch \d+, step \d+; lower lr"):
        BPRMF(4, optimizer="sgd", lr=1e9, reg=1.0, epochs=20, batch_size=64).fit(uneven(), ONE)


@pytest.mark.parametrize(("sharing", "cold"), [("separate", True), ("joined", False)])
def test_who_is_cold(sharing: str, cold: bool) -> None:
    """A user with events in the other domain alone has a row in a joined model only."""
    data = uneven({"a": (30, 50), "b": (20, 10)})
    fitted = BPRMF(4, sharing, epochs=3, cold_policy="zero").fit(data, ONE)
    elsewhere = int(np.flatnonzero((data["b"].user_counts == 0) & (data["a"].user_counts > 0))[0])
    here = int(np.flatnonzero(data["b"].user_counts > 0)[0])
    scores_2I = fitted.score("b", Queries.of_users([elsewhere, here]))
    assert bool(np.any(scores_2I[0])) == (not cold)
    assert np.any(scores_2I[1])


class TestFoldIn:
    """A new user's row from her events, whatever else there is."""

    def board(self, sharing: str = "separate") -> tuple[MultiDomain, BPRMF]:
        data = checkerboard(domains=2).split.test.history
        return data, BPRMF(4, sharing, lr=0.03, epochs=12, batch_size=16)

    @pytest.mark.parametrize("sharing", ["separate", "joined"])
    def test_a_new_user_with_a_known_users_events_gets_the_same_list(self, sharing: str) -> None:
        data, method = self.board(sharing)
        fitted = method.fit(data, ONE)
        events = {name: table.by_user.take(np.arange(6)) for name, table in data.domains.items()}
        folded_BI = fitted.score("board_0", Queries(np.full(6, -1, np.int32), events))
        for user in range(6):
            liked = np.arange(20) % 2 == user % 2
            assert folded_BI[user, liked].min() > folded_BI[user, ~liked].max()

    def test_joined_rows_come_from_any_domain_and_separate_ones_do_not(self) -> None:
        for sharing, moved in (("joined", True), ("separate", False)):
            data, method = self.board(sharing)
            fitted = method.fit(data, ONE)
            events = {"board_1": data["board_1"].by_user.take([0, 1])}
            row_2F = fitted.fold_in("board_0", events, 2)
            assert bool(np.any(row_2F)) == moved

    def test_rows_do_not_depend_on_company_or_order(self) -> None:
        data, method = self.board()
        fitted = method.fit(data, ONE)
        rows = data["board_0"].by_user.take([3, 8, 5])
        three_BF = fitted.fold_in("board_0", {"board_0": rows}, 3)
        one_BF = fitted.fold_in("board_0", {"board_0": data["board_0"].by_user.take([8])}, 1)
        start, end = rows.offsets[1], rows.offsets[2]
        turned = rows.columns.copy()
        turned[start:end] = turned[start:end][::-1]
        again_BF = fitted.fold_in("board_0", {"board_0": replace(rows, columns=turned)}, 3)
        assert np.array_equal(three_BF[1:2], one_BF)
        assert np.array_equal(three_BF, again_BF)

    def test_who_has_everything_gets_a_row_of_zeros(self) -> None:
        data, method = self.board()
        fitted = method.fit(data, ONE)
        rows = replace(
            data["board_0"].by_user, offsets=np.array([0, 20]), columns=np.arange(20, dtype=np.int32)
        )
        assert not fitted.fold_in("board_0", {"board_0": rows}, 1).any()

    @pytest.mark.parametrize("power", [1, 2])
    def test_a_step_is_that_of_the_penalised_objective(self, power: int) -> None:
        """One event, whose only free item is the negative: plain descent by hand."""
        data, lr, reg = checkerboard(domains=1).split.test.history, 0.1, 0.3
        method = BPRMF(4, lr=lr, reg=reg, reg_power=power, epochs=3, batch_size=16, optimizer="sgd")
        fitted = method.fit(data, ONE)
        item_IF = fitted.item_IF["board_0"].astype(np.float64)
        rows = replace(
            data["board_0"].by_user, offsets=np.array([0, 19]), columns=np.arange(19, dtype=np.int32)
        )
        x_F = np.zeros(4)
        for step in range(3 * 19):
            way_F = item_IF[drawn(np.uint64(0), step, 0, 19)] - item_IF[19]
            size = np.linalg.norm(x_F) ** (power - 2) if x_F.any() else 0
            x_F = x_F + lr * (way_F / (1 + np.exp(x_F @ way_F)) - reg * size * x_F)
        folded_F = fitted.fold_in("board_0", {"board_0": rows}, 1)[0]
        np.testing.assert_allclose(folded_F, x_F, rtol=1e-4, atol=1e-5)
