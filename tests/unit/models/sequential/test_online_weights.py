"""DWL's weights that follow the stream of events: refits go on with them, and the run folder keeps them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import of_tables, uneven

from landbridge import store
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.models.sequential.dwl import DWL
from landbridge.models.sequential.fitted import SequenceModel
from landbridge.models.sequential.online_weights import new_events
from landbridge.serving.engine.messages import Event
from landbridge.serving.events.refit import refit
from landbridge.serving.events.store import EventStore
from landbridge.training.options import FitOptions
from landbridge.training.weighting.online import OnlineWeights

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, device="cpu")
ONLINE = DWL.from_settings(
    {
        "encoder.factors": 4,
        "encoder.blocks": 1,
        "encoder.hidden": 8,
        "encoder.max_length": 5,
        "epochs": 2,
        "domain_weighting": "online",
        "online": {"half_life": 100.0, "change": 0.2, "events": 7},
    }
)
STREAM = OnlineWeights(100.0, ONLINE.schedule.weight_map, True, 0.2)


def with_events(data: MultiDomain, extra: dict[str, list[tuple[int, int, int]]]) -> MultiDomain:
    """The data and further events (user, item, time) by domain."""
    tables = {}
    for name, old in data.domains.items():
        user, item, time = np.array(extra.get(name, []), np.int64).reshape(-1, 3).T
        tables[name] = Interactions.from_events(
            np.concatenate([old.user_idx, user]),
            np.concatenate([old.item_idx, item]),
            old.n_users,
            old.n_items,
            time=np.concatenate([old.time, time]),
        )
    return of_tables(tables)


def unknown_pairs(data: MultiDomain, name: str, number: int) -> list[tuple[int, int]]:
    own = set(zip(data[name].user_idx.tolist(), data[name].item_idx.tolist(), strict=True))
    every = ((user, item) for user in range(data.n_users) for item in range(data[name].n_items))
    return [pair for pair in every if pair not in own][:number]


def grown(data: MultiDomain) -> MultiDomain:
    """40 new events of the rarest domain and 3 of another one, mixed in time."""
    rare = [(*pair, 2_000_000 + 2 * n) for n, pair in enumerate(unknown_pairs(data, "b", 40))]
    other = [(*pair, 2_000_001 + 20 * n) for n, pair in enumerate(unknown_pairs(data, "a", 3))]
    return with_events(data, {"b": rare, "a": other})


def of(model: SequenceModel, name: str) -> Any:
    return model.domain_weights[name]


def test_a_fit_weighs_by_the_shares_of_its_events() -> None:
    data = uneven()
    fitted = ONLINE.fit(data, ONE)
    expected = STREAM.begin([len(data[name]) for name in data.domain_names])
    np.testing.assert_array_equal(of(fitted, "weight_D"), expected["weight_D"])
    logged = fitted.log[-1]
    assert logged["weight"] == dict(zip(data.domain_names, expected["weight_D"].tolist(), strict=True))
    assert sum(logged["share"].values()) == pytest.approx(1)
    assert np.argmax(of(fitted, "weight_D")) == np.argmin([len(data[name]) for name in data.domain_names])
    even = ONLINE.with_settings({"domain_weighting": "none"}).fit(data, ONE)
    assert not np.array_equal(even.weights["item"], fitted.weights["item"])
    assert even.domain_weights == {}


def test_a_refit_goes_on_with_the_new_events_in_their_order() -> None:
    data, later = uneven(), grown(uneven())
    before = ONLINE.fit(data, ONE)
    after = before.refit(later, ONE)
    # by hand: 43 events in the order of time, of which every twentieth or so is of a
    times = sorted([(2_000_000 + 2 * n, 1) for n in range(40)] + [(2_000_001 + 20 * n, 0) for n in range(3)])
    domain_N, state = np.array([number for _, number in times]), before.domain_weights
    np.testing.assert_array_equal(new_events(data, later), domain_N)
    for start in range(0, 43, 7):
        state = STREAM.seen(state, domain_N[start : start + 7])
    for name, array in state.items():
        np.testing.assert_array_equal(of(after, name), array)
    assert of(after, "weight_D")[1] < of(before, "weight_D")[1]  # b is no longer so rare
    anew = ONLINE.fit(later, ONE)
    assert not np.allclose(of(after, "mass_D"), of(anew, "mass_D"))
    same = before.refit(data, ONE)
    for name in state:
        np.testing.assert_array_equal(of(same, name), of(before, name))


def test_domains_are_matched_by_name() -> None:
    data = uneven()
    before = ONLINE.fit(data, ONE)
    turned = of_tables({name: grown(data)[name] for name in ("c", "b", "a")})
    after, straight = before.refit(turned, ONE), before.refit(grown(data), ONE)
    np.testing.assert_allclose(of(after, "weight_D")[::-1], of(straight, "weight_D"))


def test_the_run_folder_keeps_the_state_and_refit_uses_it(tmp_path: Path) -> None:
    """`landbridge refit`: the store's events move the weights of the folder's run."""
    data = uneven()
    before = ONLINE.fit(data, ONE)
    store.save(before, tmp_path / "run")
    loaded = store.load(tmp_path / "run")
    assert isinstance(loaded, SequenceModel)
    assert loaded.domain_weights.keys() == before.domain_weights.keys()
    assert loaded.weights.keys() == before.weights.keys()
    with closing(EventStore.open(str(tmp_path / "events.sqlite"))) as events:
        for user, item in unknown_pairs(data, "b", 40):
            events.append(user, [Event("b", item)])
        refit(tmp_path / "run", events, options=ONE, gated=False)
    after = store.load(tmp_path / "run")
    assert isinstance(after, SequenceModel)
    state = before.domain_weights
    for start in range(0, 40, 7):
        state = STREAM.seen(state, np.ones(min(7, 40 - start), np.int64))
    np.testing.assert_allclose(of(after, "weight_D"), state["weight_D"])
    np.testing.assert_allclose(of(after, "mass_D"), state["mass_D"])


def test_a_killed_refit_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    before, later = ONLINE.fit(uneven(), ONE), grown(uneven())

    def kill(fitted: object) -> float:
        raise KeyboardInterrupt

    options = replace(ONE, work_dir=tmp_path)
    short = replace(options, validate=kill, validate_every=2)
    with pytest.raises(KeyboardInterrupt):
        before.refit(later, short)
    resumed, whole = before.refit(later, options), before.refit(later, ONE)
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(resumed.weights[name], array)
    for name, array in whole.domain_weights.items():
        np.testing.assert_array_equal(resumed.domain_weights[name], array)


def test_an_average_that_began_at_one_goes_on_from_its_last_weights() -> None:
    """Else every refit would undo what the average has reached; computed weights need no memory."""
    averaged = ONLINE.with_settings(
        {"domain_weighting": "sparsity", "schedule.initial_weights": "ones", "schedule.update_every": 1}
    )
    data = uneven()
    before = averaged.with_settings({"epochs": 4}).fit(data, ONE)
    after = before.refit(data, ONE)
    assert before.log[0]["weight"] == dict.fromkeys(data.domain_names, 1.0)
    assert after.log[0]["weight"] == before.log[-1]["weight"]
    computed = averaged.with_settings({"schedule.initial_weights": "computed"})
    assert (
        computed.fit(data, ONE).refit(data, ONE).log[0]["weight"] == computed.fit(data, ONE).log[0]["weight"]
    )
