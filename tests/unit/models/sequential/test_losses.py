"""The losses of sequence models against autograd and slow twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, logsigmoid

from landbridge.core.errors import SettingsError
from landbridge.models.sequential import losses as sequence_losses
from landbridge.models.sequential.losses import (
    LOG_Q,
    SequenceLoss,
    SoftmaxCandidates,
    all_items,
    binary,
    in_batch,
    smoothing,
    uniform,
)

ITEMS, FACTORS = 11, 4


def world(targets: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, items, targets with repeats, and weights, in float64."""
    rng = np.random.default_rng(seed)
    query = torch.from_numpy(rng.normal(size=(targets, FACTORS))).requires_grad_()
    items = torch.from_numpy(rng.normal(size=(ITEMS, FACTORS))).requires_grad_()
    return (
        query,
        items,
        torch.from_numpy(rng.integers(ITEMS, size=targets)),
        torch.from_numpy(rng.random(targets)),
    )


def shares() -> torch.Tensor:
    return torch.arange(1, ITEMS + 1).double() / (ITEMS * (ITEMS + 1) / 2)


def gradients(loss: torch.Tensor, *of: torch.Tensor) -> list[np.ndarray]:
    return [g.numpy() for g in torch.autograd.grad(loss, of, retain_graph=True)]


def drawn(
    target: torch.Tensor, sampled: torch.Tensor, share_I: torch.Tensor, log_q: str
) -> SoftmaxCandidates:
    return in_batch(target, sampled, share_I, log_q, len(target), range(ITEMS))


def as_double(among: SoftmaxCandidates) -> SoftmaxCandidates:
    own = None if among.own_T is None else among.own_T.double()
    return SoftmaxCandidates(
        among.item_C, among.bias_C.double(), among.place_T, own, among.hidden_BC, among.window_T
    )


def ours(
    query: torch.Tensor, items: torch.Tensor, among: SoftmaxCandidates, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    among = as_double(among)
    return sequence_losses.cross_entropy(query, items[among.item_C], among, weight)


def slow_sampled(
    query: torch.Tensor,
    items: torch.Tensor,
    target: torch.Tensor,
    extra: torch.Tensor,
    log_q: str,
    hidden: np.ndarray | None = None,
) -> list[torch.Tensor]:
    """ℓ slot by slot, as Eqs. (3) to (5) say; ``hidden`` (T, I)."""
    slots = [*target.tolist(), *extra.tolist()]
    found = []
    for t, own in enumerate(target.tolist()):
        drawn = len(target) - (log_q == "corrected")
        q = {c: drawn * float(shares()[c]) + len(extra) / ITEMS for c in set(slots)}
        bias = {c: 0.0 if log_q == "none" else -math.log(q[c]) for c in q}
        others = [c for c in slots if c != own and not (hidden is not None and hidden[t, c])]
        terms = [query[t] @ items[c] + bias[c] for c in others]
        own_score = query[t] @ items[own]
        if log_q == "corrected":
            rest = torch.logsumexp(torch.stack(terms), 0)
            found.append((1 - torch.sigmoid(own_score - rest)).detach() * (rest - own_score))
        else:
            terms.append(own_score + bias[own])
            found.append(torch.logsumexp(torch.stack(terms), 0) - terms[-1])
    return found


def test_a_block_is_small_but_for_the_rows_that_a_large_catalogue_needs() -> None:
    rows = [sequence_losses.block_rows(candidates, 64) for candidates in (0, 100, 4096, 100_000)]
    assert rows == [1 << 19, 4096, 128, 128]


@pytest.mark.parametrize("filled", [1, 4, 64])
def test_softmax_over_everything_is_the_cross_entropy(monkeypatch: pytest.MonkeyPatch, filled: int) -> None:
    monkeypatch.setattr(sequence_losses, "PADDED_TO", filled)
    monkeypatch.setattr(sequence_losses, "BLOCK_NUMBERS", 5 * ITEMS)  # several blocks
    monkeypatch.setattr(sequence_losses, "ROWS_PER_FACTOR", 1)
    query, items, target, weight = world()
    total, loss = ours(query, items, all_items(range(ITEMS), target), weight)
    expected = cross_entropy(query @ items.T, target, reduction="none")
    assert np.allclose(loss.numpy(), expected.detach().numpy())
    slow = (weight * expected).sum()
    assert np.isclose(float(total.detach()), float(slow.detach()))
    for one, other in zip(gradients(3 * total, query, items), gradients(3 * slow, query, items), strict=True):
        assert np.allclose(one, other)


def test_short_numbers_give_what_long_ones_give_where_nothing_is_rounded() -> None:
    rng = np.random.default_rng(5)
    query, items = (torch.from_numpy(rng.integers(-3, 4, (n, FACTORS))).float() for n in (9, ITEMS))
    query.requires_grad_(), items.requires_grad_()
    among, weight = all_items(range(ITEMS), torch.arange(9)), torch.ones(9) / 9
    long, loss_T = sequence_losses.cross_entropy(query, items, among, weight)
    short, same_T = sequence_losses.cross_entropy(query, items, among, weight, torch.bfloat16)
    assert torch.equal(loss_T, same_T)
    for one, other in zip(gradients(long, query, items), gradients(short, query, items), strict=True):
        assert np.allclose(one, other, atol=1e-2)
        assert not np.array_equal(one, other)  # shares are rounded


@pytest.mark.parametrize("log_q", LOG_Q)
@pytest.mark.parametrize("extras", [0, 7])
def test_sampled_equals_the_sum_over_slots(log_q: str, extras: int) -> None:
    query, items, target, weight = world()
    extra = torch.from_numpy(np.random.default_rng(1).integers(ITEMS, size=extras))
    total, loss = ours(query, items, drawn(target, extra, shares(), log_q), weight)
    slow = torch.stack(slow_sampled(query, items, target, extra, log_q))
    assert np.allclose(loss.numpy(), slow.detach().numpy(), atol=1e-6)
    one, other = (gradients(x, query, items) for x in (total, (weight * slow).sum()))
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


def test_what_a_user_has_is_left_out() -> None:
    query, items, target, weight = world()
    window = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    hidden_WI = np.random.default_rng(3).random((3, ITEMS)) < 0.3
    among = drawn(target, torch.arange(ITEMS), shares(), "standard")
    held = torch.from_numpy(hidden_WI)[:, among.item_C]
    among = SoftmaxCandidates(among.item_C, among.bias_C, among.place_T, among.own_T, held, window)
    _, loss = ours(query, items, among, weight)
    slow = slow_sampled(query, items, target, torch.arange(ITEMS), "standard", hidden_WI[window.numpy()])
    assert np.allclose(loss.numpy(), torch.stack(slow).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("log_q", LOG_Q)
def test_the_same_target_twice_changes_no_loss_through_itself(log_q: str) -> None:
    """An accidental hit is masked: among targets of one item alone there is nothing to be told from."""
    query, items, _, weight = world()
    target = torch.full((9,), 4)
    total, loss = ours(query, items, drawn(target, target[:0], shares(), log_q), weight)
    assert np.allclose(loss.numpy(), 0, atol=1e-6)
    assert all(np.isfinite(g).all() for g in gradients(total, query, items))


def test_a_batch_of_the_catalogue_with_equal_shares_is_the_full_softmax() -> None:
    query, items, _, weight = world(ITEMS)
    target = torch.arange(ITEMS)
    equal = torch.full((ITEMS,), 1 / ITEMS).double()
    sampled, _ = ours(query, items, drawn(target, target[:0], equal, "standard"), weight)
    full, _ = ours(query, items, all_items(range(ITEMS), target), weight)
    assert np.isclose(float(sampled.detach()), float(full.detach()))


def test_the_corrected_sum_over_slots_has_the_mean_of_the_full_one() -> None:
    """(1/B) Σ exp(s_c) / Q_c over batches drawn by Q has the mean Σ exp(s) over all items."""
    rng = np.random.default_rng(0)
    score = torch.from_numpy(rng.normal(size=ITEMS))
    sums = []
    for _ in range(20_000):
        target = torch.from_numpy(rng.choice(ITEMS, size=8, p=shares().numpy()))
        among = as_double(drawn(target, target[:0], shares(), "standard"))
        sums.append(float((score[among.item_C] + among.bias_C).exp().sum()))
    exact, error = float(score.exp().sum()), np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - exact) < 4 * error
    assert error < 0.02 * exact


def test_with_everything_drawn_the_corrected_loss_has_the_full_gradient() -> None:
    """Eq. (5) with each item once and equal shares: exactly the softmax's gradient."""
    query, items, _, weight = world(ITEMS)
    target = torch.arange(ITEMS)
    equal = torch.full((ITEMS,), 1 / (ITEMS - 1)).double()  # (T - 1) f = 1
    corrected, _ = ours(query, items, drawn(target, target[:0], equal, "corrected"), weight)
    full, _ = ours(query, items, all_items(range(ITEMS), target), weight)
    one, other = (gradients(x, query, items) for x in (corrected, full))
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("k", [1, 4])
def test_binary_losses(k: int) -> None:
    score = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 1 + k)))
    bce = -(logsigmoid(score[:, 0]) + logsigmoid(-score[:, 1:]).sum(1)) / (1 + k)
    assert torch.allclose(binary("bce", score, 100), bce)
    a = k / 99
    power = a * (0.75 * (1 - 1 / a) + 1 / a)
    gbce = -(power * logsigmoid(score[:, 0]) + logsigmoid(-score[:, 1:]).sum(1)) / (1 + k)
    assert torch.allclose(binary("gbce", score, 100), gbce)
    assert torch.allclose(binary("gbce", score, 1 + k), bce)  # all other items are drawn: plain


def test_uniform_is_the_softmax_where_everything_is_drawn() -> None:
    """Eq. (8) with all other items: each stands for itself."""
    query, items, target, _ = world()
    score_TI = (query @ items.T).detach()
    others = [[i for i in range(ITEMS) if i != t] for t in target.tolist()]
    score_TJ = torch.cat([score_TI.gather(1, target[:, None]), score_TI.gather(1, torch.tensor(others))], 1)
    expected = cross_entropy(score_TI, target, reduction="none")
    assert torch.allclose(uniform(score_TJ, ITEMS - 1), expected)


def test_in_uniform_a_drawn_item_stands_for_many_and_a_hidden_one_for_none() -> None:
    score_TJ = torch.tensor([[1.0, 0.5, -math.inf], [0.0, 2.0, 1.0]])
    first = math.log(math.exp(1) + 50 * math.exp(0.5)) - 1
    second = math.log(1 + 50 * (math.exp(2) + math.exp(1)))
    assert np.allclose(uniform(score_TJ, 100).numpy(), [first, second])


def test_a_hidden_item_adds_nothing_to_a_binary_loss() -> None:
    score_TJ = torch.tensor([[1.0, -math.inf]], requires_grad=True)
    loss_T = binary("bce", score_TJ, 10)
    loss_T.sum().backward()
    assert score_TJ.grad is not None
    assert np.isclose(float(loss_T.detach()), math.log1p(math.exp(-1)) / 2)
    assert score_TJ.grad[0, 1] == 0


def test_smoothing_is_that_of_the_cross_entropy() -> None:
    query, items, target, _ = world()
    score_TI = (query @ items.T).detach()
    order_TI = torch.stack([torch.tensor([t, *(i for i in range(ITEMS) if i != t)]) for t in target.tolist()])
    plain = cross_entropy(score_TI, target, reduction="none")
    expected = cross_entropy(score_TI, target, reduction="none", label_smoothing=0.2)
    assert torch.allclose(plain + smoothing(0.2, score_TI.gather(1, order_TI)), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "uniform"}, "set sampled_negatives"),
        ({"kind": "bce", "label_smoothing": 0.1}, "for a softmax, not for bce"),
    ],
)
def test_losses_that_contradict_themselves_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SequenceLoss.from_settings(settings)
