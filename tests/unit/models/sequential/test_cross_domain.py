"""What a sequence model knows of domains: each part against the plain transformer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from landbridge.core.errors import SettingsError
from landbridge.models.sequential.cross_domain import CrossDomain
from landbridge.models.sequential.transformer import Encoder, Reading, initial

PLAN = Encoder(factors=8, blocks=2, heads=2, hidden=12, max_length=6)
ITEMS, DOMAINS = 20, 2
DOMAIN_I = torch.tensor([0] * 12 + [1] * 8)
EVENTS = Reading(torch.tensor([[4, 15, 9, 13, 3, -1], [12, 1, -1, -1, -1, -1], [2, 3, 5, -1, -1, -1]]))
TARGETS = (
    torch.tensor([0, 0, 0, 1, 1, 2]),  # window
    torch.tensor([4, 4, 2, 0, 1, 2]),  # position
    torch.tensor([0, 1, 1, 0, 1, 1]),  # domain
)
EVERYTHING = CrossDomain(embeddings=True, cross_penalty=0.7, own_history=True, rank=3, shared_rank=2)


def weights(parts: CrossDomain, plan: Encoder = PLAN, *, learned: bool = True) -> dict[str, torch.Tensor]:
    found = initial(plan.shapes(ITEMS) | parts.shapes(DOMAINS, plan.factors), 0, init_std=0.5)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for name, tensor in found.items():
            if learned and name.startswith(("adapter", "shared_adapter", "own")):
                tensor += torch.from_numpy(rng.normal(size=tensor.shape).astype(np.float32))
    return found


def states(
    parts: CrossDomain, w: dict[str, torch.Tensor], events: Reading = EVENTS, plan: Encoder = PLAN
) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = parts.states(plan, w, events, DOMAIN_I, TARGETS).numpy()
    return found


def plain(w: dict[str, torch.Tensor], plan: Encoder = PLAN) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = plan.states(w, EVENTS)[TARGETS[0], TARGETS[1]].numpy()
    return found


@pytest.mark.parametrize("parts", [CrossDomain(), CrossDomain(rank=3, shared_rank=2)])
def test_without_parts_and_with_adapters_that_learned_nothing_it_is_the_plain_transformer(
    parts: CrossDomain,
) -> None:
    w = weights(parts, learned=False)
    assert np.array_equal(states(parts, w), plain(w))


@pytest.mark.parametrize("mixed", [True, False])
def test_the_own_history_is_the_sequence_of_the_targets_domain_alone(mixed: bool) -> None:
    parts = CrossDomain(own_history=True, mixed_history=mixed)
    w = weights(parts)
    own = {0: [[4, 9, 3], [1], [2, 3, 5]], 1: [[15, 13], [12], []]}
    until = [3, 2, 1, 0, 1, 0]  # events of the domain that each target knows
    expected = plain(w) * mixed
    for row, (window, domain, n) in enumerate(
        zip(TARGETS[0].tolist(), TARGETS[2].tolist(), until, strict=True)
    ):
        if n:
            with torch.no_grad():
                alone = PLAN.states(w, Reading(torch.tensor([own[domain][window]]))).numpy()[0, n - 1]
            expected[row] += w["own.scale"][domain].detach().numpy() * alone
    assert np.allclose(states(parts, w), expected, atol=1e-5)


def test_without_any_reading_there_is_no_model() -> None:
    with pytest.raises(SettingsError, match=r"Without mixed_history there must be own_history"):
        CrossDomain(mixed_history=False)


def test_a_large_penalty_leaves_what_the_last_events_domain_says() -> None:
    """Without positions the mixed reading is then the own one of the event at each position."""
    plan = replace(PLAN, positions="alibi", heads=1)
    parts = CrossDomain(cross_penalty=1e9)
    w = weights(parts, plan)
    w["item"].data[12:] = 0.0  # the other domain says nothing by its items ...
    changed = EVENTS.item_BL.clone()
    changed[0, 1] = 19  # ... and which of them it was does not matter, but for domain 1
    same = states(parts, w, Reading(changed), plan)
    before = states(parts, w, EVENTS, plan)
    assert np.allclose(same[0], before[0], atol=1e-6)
    w["item"].data[19] = 3.0
    assert np.allclose(states(parts, w, Reading(changed), plan)[0], before[0], atol=1e-6)
    assert not np.allclose(states(CrossDomain(), w, Reading(changed), plan)[0], before[0], atol=1e-3)


def test_adapters_add_low_rank_products() -> None:
    parts = CrossDomain(rank=3, shared_rank=2)
    w = weights(parts)
    a = {name: tensor.detach().double().numpy() for name, tensor in w.items()}
    expected = []
    for q, domain in zip(plain(w).astype(float), TARGETS[2].tolist(), strict=True):
        shared = a["shared_adapter.up"][0] @ a["shared_adapter.down"][0] @ q
        expected.append(q + shared + a["adapter.up"][domain] @ a["adapter.down"][domain] @ q)
    assert np.allclose(states(parts, w), expected, atol=1e-4)


def test_embeddings_of_domains_are_those_of_the_items_shifted() -> None:
    parts = CrossDomain(embeddings=True)
    w = weights(parts)
    shifted = {**w, "item": w["item"] + w["domain"][DOMAIN_I]}
    assert np.allclose(states(parts, w), plain(shifted), atol=1e-6)


def test_padding_and_company_change_nothing() -> None:
    w = weights(EVERYTHING)
    second = tuple(part[3:5] for part in TARGETS)
    at = torch.zeros_like(second[0]), second[1], second[2]
    with torch.no_grad():
        alone = EVERYTHING.states(PLAN, w, Reading(torch.tensor([[12, 1]])), DOMAIN_I, at).numpy()
    assert np.allclose(alone, states(EVERYTHING, w)[3:5], atol=1e-5)


def test_what_comes_later_changes_nothing_before() -> None:
    """An item in place of another one of its domain, as positions count the events that follow."""
    w = weights(EVERYTHING)
    for place, other in ((4, 7), (3, 18)):
        changed = EVENTS.item_BL.clone()
        changed[0, place] = other
        after, before = states(EVERYTHING, w, Reading(changed)), states(EVERYTHING, w)
        assert np.allclose(after[2], before[2], atol=1e-6)  # knows three events
        assert not np.allclose(after[0], before[0], atol=1e-3)


def test_every_part_can_be_learned() -> None:
    w = weights(EVERYTHING)
    EVERYTHING.states(PLAN, w, EVENTS, DOMAIN_I, TARGETS).square().sum().backward()
    assert all(tensor.grad is not None for tensor in w.values())
