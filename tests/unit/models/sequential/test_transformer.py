"""The causal transformer against a slow twin, and what may not change its states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landbridge.core.errors import SettingsError
from landbridge.models.sequential.transformer import Encoder, Reading, initial

PLAN = Encoder(factors=8, blocks=2, heads=2, hidden=12, max_length=6, projected=True)
ITEMS = 20


def weights(plan: Encoder = PLAN, seed: int = 0) -> dict[str, torch.Tensor]:
    found = initial(plan.shapes(ITEMS), seed, init_std=0.5)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for tensor in found.values():
            if tensor.ndim == 1:
                tensor += torch.from_numpy(rng.normal(0, 0.3, tensor.shape).astype(np.float32))
    return found


def states(plan: Encoder, w: dict[str, torch.Tensor], *rows: list[int], width: int = 0) -> list[np.ndarray]:
    """The states of each sequence, put into one batch of at least this width."""
    width = max(width, *map(len, rows))
    batch = torch.tensor([row + [-1] * (width - len(row)) for row in rows])
    with torch.no_grad():
        found = plan.states(w, Reading(batch)).numpy()
    return [found[n, : len(row)] for n, row in enumerate(rows)]


def slow_states(
    plan: Encoder,
    w: dict[str, torch.Tensor],
    row: list[int],
    gaps: list[int] | None = None,
    added: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> np.ndarray:
    """Eqs. (1) to (5) one place at a time, in float64."""
    a = {name: tensor.detach().double().numpy() for name, tensor in w.items()}

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * a[f"{name}.scale"] + a[f"{name}.shift"]

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return a[f"{name}.weight"] @ x + a[f"{name}.bias"]

    def gelu(x: np.ndarray) -> np.ndarray:
        from math import erf

        return np.array([v * (1 + erf(v / np.sqrt(2))) / 2 for v in x])

    x = [a["item"][item] for item in row]
    if plan.positions == "learned":
        x = [v + a["place"][len(row) - 1 - n] for n, v in enumerate(x)]
    if plan.time_gaps and gaps is not None:
        x = [v + a["gap"][gap] for v, gap in zip(x, gaps, strict=True)]
    if added is not None:
        x = [v + more for v, more in zip(x, added, strict=True)]
    size = plan.factors // plan.heads

    def pre(name: str, v: np.ndarray) -> np.ndarray:
        return norm(name, v) if plan.norm == "pre" else v

    def post(name: str, v: np.ndarray) -> np.ndarray:
        return norm(name, v) if plan.norm == "post" else v

    for b in range(plan.blocks):
        qkv = [dense(f"block.{b}.qkv", pre(f"block.{b}.norm", v)).reshape(3, plan.heads, size) for v in x]
        out = []
        for place in range(len(x)):
            heads = []
            for h in range(plan.heads):
                score = np.array([qkv[place][0, h] @ qkv[s][1, h] for s in range(place + 1)]) / np.sqrt(size)
                if plan.positions == "alibi":
                    score -= 2.0 ** (-8 * (h + 1) / plan.heads) * (place - np.arange(place + 1))
                if bias is not None:
                    score += bias[place, : place + 1]
                share = np.exp(score - score.max()) / np.exp(score - score.max()).sum()
                heads.append(sum(share[s] * qkv[s][2, h] for s in range(place + 1)))
            mixed = x[place] + dense(f"block.{b}.mix", np.concatenate(heads))
            out.append(post(f"block.{b}.norm", mixed))
        ups = [gelu(dense(f"block.{b}.up", pre(f"block.{b}.above", v))) for v in out]
        downs = [dense(f"block.{b}.down", up) for up in ups]
        x = [post(f"block.{b}.above", v + down) for v, down in zip(out, downs, strict=True)]
    x = [norm("norm", v) for v in x]
    if not plan.projected:
        return np.array(x)
    return np.array([dense("out.1", gelu(dense("out.0", v))) for v in x])


def test_equals_the_slow_reference() -> None:
    w = weights()
    for row in ([3], [4, 1, 9], [0, 5, 7, 7, 2, 19]):
        assert np.allclose(states(PLAN, w, row)[0], slow_states(PLAN, w, row), atol=2e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", ["learned", "alibi"])
def test_every_reading_equals_the_slow_reference(norm: str, positions: str) -> None:
    plan = Encoder(
        factors=8,
        blocks=2,
        heads=2,
        hidden=12,
        max_length=6,
        norm=norm,
        positions=positions,
        time_gaps=True,
    )
    w, rng = weights(plan), np.random.default_rng(3)
    row, gaps = [4, 1, 9, 3], [0, 7, 2, 39]
    added, bias = rng.normal(size=(4, 8)), rng.normal(size=(4, 4))
    bias[3, 1] = -np.inf
    reading = Reading(
        torch.tensor([[*row, -1]]),
        torch.tensor([[*gaps, 0]]),
        added_BLF=torch.from_numpy(np.pad(added, ((0, 1), (0, 0))).astype(np.float32))[None],
        bias_BLL=torch.from_numpy(np.pad(bias, ((0, 1), (0, 1))).astype(np.float32))[None],
    )
    with torch.no_grad():
        found = plan.states(w, reading).numpy()[0, :4]
    assert np.allclose(found, slow_states(plan, w, row, gaps, added, bias), atol=2e-5)
    assert ("place" in w) == (positions == "learned")


def test_layers_of_short_numbers_are_nearly_as_exact() -> None:
    w = weights()
    short = PLAN.layers_in(w, torch.bfloat16)
    assert {name for name, tensor in short.items() if tensor.dtype == torch.bfloat16} == {
        name for name in w if name.endswith(("weight", "bias"))
    }
    found, exact = states(PLAN, short, [4, 1, 9])[0], states(PLAN, w, [4, 1, 9])[0]
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_what_comes_later_changes_nothing_before() -> None:
    w, row = weights(), [4, 1, 9, 3, 8]
    before = states(PLAN, w, row)[0]
    for changed in range(1, len(row)):
        other = [*row]
        other[changed] = 17
        after = states(PLAN, w, other)[0]
        assert np.array_equal(before[:changed], after[:changed])
        assert not np.allclose(before[changed:], after[changed:])


def test_padding_and_company_change_nothing() -> None:
    w = weights()
    alone = states(PLAN, w, [4, 1, 9])[0]
    assert np.allclose(states(PLAN, w, [4, 1, 9], width=6)[0], alone, atol=1e-6)
    assert np.allclose(states(PLAN, w, [1, 2, 3, 4, 5, 6], [4, 1, 9])[1], alone, atol=1e-6)


def test_padding_touches_no_row() -> None:
    w = weights()
    batch = torch.tensor([[4, 1, -1, -1], [9, 3, 8, 2]])
    PLAN.states(w, Reading(batch))[batch >= 0].sum().backward()
    grad = w["item"].grad
    assert grad is not None
    assert set(grad.coalesce().indices()[0].tolist()) == {4, 1, 9, 3, 8, 2}


def test_the_last_event_has_the_same_place_however_long_the_window_is() -> None:
    w = weights(plan := Encoder(factors=8, blocks=0, heads=1, hidden=1, max_length=6))
    w["place"].data[1:] += 5
    short, long = states(plan, w, [4], [1, 2, 4])
    assert np.array_equal(short[-1], long[-1])


def test_dropout_is_for_learning_alone() -> None:
    w, batch = weights(), torch.tensor([[4, 1, 9]])
    torch.manual_seed(0)
    assert not torch.equal(PLAN.states(w, Reading(batch), 0.5), PLAN.states(w, Reading(batch), 0.5))
    assert torch.equal(PLAN.states(w, Reading(batch)), PLAN.states(w, Reading(batch)))


def test_sizes_are_checked() -> None:
    with pytest.raises(SettingsError, match="multiple of heads, but 8 is not a multiple of 3"):
        Encoder(factors=8, heads=3)
    with pytest.raises(SettingsError, match="1 or more"):
        Encoder(max_length=0)
