"""Several objectives in DWL: what each of them does alone, and what a mixture leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worlds import of_tables

from landbridge.core.errors import SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.models.sequential.dwl import DWL
from landbridge.models.sequential.item_weights import LIST_LENGTH, SAMPLED_USERS, STEP, MultiObjectiveWeights
from landbridge.models.sequential.transformer import initial
from landbridge.training.options import FitOptions
from landbridge.training.weighting.multi_objective import exposure, worst_group
from landbridge.training.weighting.sparsity import DomainCounts, renormalised

torch = pytest.importorskip("torch")

ONE = FitOptions(threads=1)
SMALL = DWL.from_settings(
    {
        "encoder.factors": 8,
        "encoder.blocks": 1,
        "encoder.heads": 1,
        "encoder.hidden": 16,
        "encoder.max_length": 8,
        "batch_size": 16,
        "lr": 0.01,
        "epochs": 5,
        "encoder.dropout": 0.0,
    }
)
ALL = {"sparsity": 0.4, "worst_group": 0.3, "exposure": 0.3}


def several(**objectives: float) -> DWL:
    return SMALL.with_settings(
        {"domain_weighting": "several", "objectives": objectives, "schedule.update_every": 1}
    )


def world(sizes: dict[str, int], random: str = "", steps: int = 9) -> MultiDomain:
    """All users goes along a chain of a domain's 15 items, or in the domain ``random`` anywhere."""
    rng, users, tables = np.random.default_rng(0), sum(sizes.values()), {}
    begin = 0
    for name, size in sizes.items():
        first_U = np.arange(size)[:, None] % 15
        item_US = (first_U + np.arange(steps)) % 15
        if name == random:
            item_US = np.stack([rng.permutation(15)[:steps] for _ in range(size)])
        user_US, time_US = np.indices(item_US.shape)
        columns = user_US.ravel() + begin, item_US.ravel()
        tables[name] = Interactions.from_events(*columns, users, 15, time=time_US.ravel())
        begin += size
    return of_tables(tables)


UNEVEN = world({"large": 60, "small": 6})
EVEN = world({"chain": 30, "noise": 30}, random="noise")


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


def told(log: Any, fact: str, domain: str) -> list[float]:
    return [record[fact][domain] for record in log]


@pytest.mark.parametrize(
    "changes",
    [{}, {"schedule.initial_weights": "ones", "schedule.momentum": 0.5}, {"schedule.signal": "loss"}],
    ids=str,
)
def test_sparsity_alone_is_the_weights_of_sparsity(changes: dict[str, Any]) -> None:
    mixed = several(sparsity=1.0).with_settings({"schedule.update_every": 2, **changes}).fit(UNEVEN, ONE)
    plain = SMALL.with_settings({"schedule.update_every": 2, **changes}).fit(UNEVEN, ONE)
    for domain in UNEVEN.domain_names:
        np.testing.assert_allclose(
            told(mixed.log, "weight", domain), told(plain.log, "weight", domain), rtol=1e-6
        )
    assert abs(plain.log[-1]["weight"]["small"] - 1) > 0.001
    assert all(np.allclose(mixed.weights[name], plain.weights[name], atol=1e-4) for name in plain.weights)


def test_objectives_that_count_for_nothing_leave_every_bit_alone() -> None:
    nothing = several(sparsity=0.0, exposure=0.0).fit(UNEVEN, ONE)
    assert same(nothing, SMALL.with_settings({"domain_weighting": "none"}).fit(UNEVEN, ONE))
    assert not same(several(sparsity=1.0).fit(UNEVEN, ONE), nothing)
    assert "requested_sparsity" not in nothing.log[0]


def test_the_domain_that_stays_hard_to_learn_weighs_the_more_for_it() -> None:
    """Who goes anywhere cannot be foretold; the two domains are alike in size."""
    log = replace(several(worst_group=1.0), epochs=8).fit(EVEN, ONE).log
    noise = told(log, "weight", "noise")
    assert told(log, "loss_of", "noise")[-1] > told(log, "loss_of", "chain")[-1] + 0.5
    assert noise[0] == 1
    assert np.all(np.diff(noise) > -0.03)
    assert noise[-1] > 1.1


def test_the_worst_groups_weights_take_a_step_after_every_epoch() -> None:
    log = (
        several(worst_group=1.0).with_settings({"schedule.update_every": 3, "epochs": 7}).fit(UNEVEN, ONE).log
    )
    weight_D, share_D = np.ones(2), DomainCounts.of(UNEVEN).share_D
    for epoch, record in enumerate(log):
        assert list(record["requested_worst_group"].values()) == pytest.approx(weight_D, rel=1e-12)
        if epoch % 3 == 0:
            in_force = record["weight"]
            assert list(in_force.values()) == pytest.approx(weight_D, rel=1e-9)
        assert record["weight"] == in_force
        loss_D = [record["loss_of"][name] for name in UNEVEN.domain_names]
        weight_D = renormalised(worst_group(weight_D, loss_D, share_D, STEP), share_D, 0.2, 5.0)
    assert weight_D[1] != 1


def emphasis_of(method: DWL, data: MultiDomain) -> MultiObjectiveWeights:
    weights = initial(method.shapes(data), 1, 0.3)
    target_weights = method.target_weights(data, weights, 1)
    assert isinstance(target_weights, MultiObjectiveWeights)
    target_weights.begin(0)
    return target_weights


def test_lists_are_those_of_the_network_as_it_is() -> None:
    """A row along the mean state puts all of a domain's items first."""
    target_weights = emphasis_of(several(exposure=1.0), UNEVEN)
    places = LIST_LENGTH * min(SAMPLED_USERS, UNEVEN.n_users)
    before_D = target_weights.exposure(1)
    weights = target_weights.current_model.args[1]  # type: ignore[attr-defined]
    assert before_D.sum() == pytest.approx(places)
    with torch.no_grad():
        weights["norm.scale"].zero_()
        weights["norm.shift"].fill_(1.0)
        weights["item"][:15] = -1.0
        weights["item"][15:] = 1.0
    shown_D = target_weights.exposure(1)
    assert shown_D.tolist() == [
        6 * (LIST_LENGTH - 6),
        places - 6 * (LIST_LENGTH - 6),
    ]  # six people have nine of 15
    assert target_weights.exposure(1).tolist() == shown_D.tolist()


def test_an_item_of_two_domains_is_shown_in_both() -> None:
    belongs = {name: np.ones((15, 2), bool) for name in UNEVEN.domain_names}
    data = MultiDomain(UNEVEN.users, UNEVEN.items, UNEVEN.domains, memberships=belongs)
    shown_D = emphasis_of(several(exposure=1.0), data).exposure(1)
    assert shown_D[0] == shown_D[1] == LIST_LENGTH * data.n_users / 2


def test_what_is_shown_is_remembered_as_the_momentum_says(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = iter([[90.0, 10.0], [50.0, 50.0]])
    monkeypatch.setattr(MultiObjectiveWeights, "exposure", lambda self, epoch: np.array(next(counted)))
    target_weights = emphasis_of(several(exposure=1.0).with_settings({"schedule.momentum": 0.5}), UNEVEN)
    share_D, ones_D = DomainCounts.of(UNEVEN).share_D, np.ones(2)
    assert target_weights.of_domains().tolist() == [1, 1]
    for epoch, shown_D in ((1, [90.0, 10.0]), (2, [95.0, 55.0])):
        target_weights.begin(epoch)
        want_D = renormalised(exposure(ones_D, shown_D), share_D, 0.2, 5.0)
        np.testing.assert_allclose(target_weights.of_domains(), want_D, rtol=1e-9)


def test_exposure_brings_a_domain_that_is_hardly_shown_into_the_lists() -> None:
    """All users reads both domains, and the last is always of the large one."""
    data = crowd()
    method = several(exposure=1.0).with_settings({"epochs": 12, "schedule.weight_map.max_weight": 20.0})
    plain, mixed = (
        each.fit(data, ONE)
        for each in (method.with_settings({"domain_weighting": "none", "objectives": {}}), method)
    )
    share = {}
    for name, fitted in (("plain", plain), ("mixed", mixed)):
        weights = {key: torch.from_numpy(array) for key, array in fitted.weights.items()}
        target_weights = method.target_weights(data, weights, 5)
        assert isinstance(target_weights, MultiObjectiveWeights)
        shown_D = target_weights.exposure(3)
        share[name] = shown_D[1] / shown_D.sum()
    assert share["plain"] < 0.25
    assert share["mixed"] > 1.25 * share["plain"]
    assert mixed.log[1]["requested_exposure"]["niche"] > 1.5


def crowd(users: int = 80, steps: int = 16) -> MultiDomain:
    """One event in eight is of the niche."""
    rng = np.random.default_rng(3)
    user_US, time_US = np.indices((users, steps))
    niche_US = time_US % 8 == 3
    tables = {}
    for name, here_US in (("mass", ~niche_US), ("niche", niche_US)):
        item_N = rng.integers(30, size=here_US.sum())
        tables[name] = Interactions.from_events(user_US[here_US], item_N, users, 30, time=time_US[here_US])
    return of_tables(tables)


def test_lists_are_made_only_where_exposure_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = MultiObjectiveWeights.exposure
    monkeypatch.setattr(
        MultiObjectiveWeights, "exposure", lambda self, epoch: (asked.append(epoch), real(self, epoch))[1]
    )
    several(sparsity=0.5, worst_group=0.5).fit(UNEVEN, ONE)
    assert asked == []
    several(exposure=0.5).with_settings({"schedule.update_every": 2}).fit(UNEVEN, ONE)
    assert asked == [2, 4]


def test_a_fit_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path: Any) -> None:
    method = several(**ALL).with_settings(
        {"encoder.dropout": 0.2, "schedule.signal": "loss", "schedule.update_every": 2, "epochs": 6}
    )
    whole = method.fit(UNEVEN, ONE)
    assert len(set(told(whole.log, "weight", "small"))) == 3
    options, calls = replace(ONE, work_dir=tmp_path / "kept"), []

    def kill(fitted: object) -> float:
        calls.append(fitted)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        method.fit(UNEVEN, replace(options, validate=kill))
    again = method.fit(UNEVEN, options)
    assert same(whole, again)
    assert told(whole.log, "weight", "small") == told(again.log, "weight", "small")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objectives": {}}, "domain_weighting='several' and objectives belong together"),
        ({"domain_weighting": "sparsity"}, "domain_weighting='several' and objectives belong together"),
        ({"objectives": {"sparse": 1.0}}, "Unknown objective 'sparse': did you mean 'sparsity'"),
        ({"objectives": {"exposure": -1.0}}, "objectives must be a table"),
        ({"schedule.signal": "gradient"}, "needs schedule.renorm and a schedule.signal"),
        ({"schedule.renorm": False}, "needs schedule.renorm and a schedule.signal"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        several(sparsity=1.0).with_settings(settings)
