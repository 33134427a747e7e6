"""A refit of a sequence model goes on from the last weights, whatever was added."""

from __future__ import annotations

import numpy as np
from worlds import of_tables, uneven

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.sequential.sasrec import SASRec
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
STILL = SASRec.from_settings(
    {
        "encoder.factors": 8,
        "encoder.hidden": 8,
        "encoder.max_length": 5,
        "cross_domain.embeddings": True,
        "cross_domain.rank": 2,
        "epochs": 1,
        "lr": 1e-9,
    }
)


def grown(data: MultiDomain) -> MultiDomain:
    """The same events with a new item and a new domain before all others."""
    items = {"0 new": Vocabulary.of(["x"])}
    tables = {"0 new": Interactions.from_events([0], [0], data.n_users, 1, time=[7])}
    for name, events in data.domains.items():
        ids = np.array(["000", *(str(item) for item in data.items[name].ids)])
        items[name] = Vocabulary.of(ids)
        place_I = items[name].index(np.array([str(item) for item in data.items[name].ids]))
        tables[name] = Interactions.from_events(
            events.user_idx, place_I[events.item_idx], data.n_users, len(ids), time=events.time
        )
    return MultiDomain(data.users, items, tables)


def named(data: MultiDomain) -> MultiDomain:
    """The same with text as ids of items."""
    items = {name: Vocabulary.of([str(item) for item in v.ids]) for name, v in data.items.items()}
    tables = {}
    for name, events in data.domains.items():
        place_I = items[name].index(np.array([str(item) for item in data.items[name].ids]))
        tables[name] = Interactions.from_events(
            events.user_idx, place_I[events.item_idx], data.n_users, len(place_I), time=events.time
        )
    return MultiDomain(data.users, items, tables)


def test_the_weights_of_known_items_and_domains_are_kept() -> None:
    data = named(uneven())
    before = STILL.fit(data, FitOptions(threads=1, seed=5))
    after = before.refit(grown(data), ONE)
    for name in data.domain_names:
        old_I = data.items[name].ids
        rows_I = after.history.items[name].index(old_I) + after.history.joined()[1][name].start
        old_IF = before.weights["item"][before.history.joined()[1][name]]
        assert np.allclose(after.weights["item"][rows_I], old_IF, atol=1e-6)
        old, new = (list(model.history.domain_names).index(name) for model in (before, after))
        assert np.allclose(after.weights["domain"][new], before.weights["domain"][old], atol=1e-6)
    for name in ("place", "block.0.qkv.weight", "norm.scale"):
        assert np.allclose(after.weights[name], before.weights[name], atol=1e-6)
    new_row = after.history.joined()[1]["0 new"].start
    assert np.abs(after.weights["item"][new_row]).max() > 0


def test_a_model_of_other_sizes_starts_anew() -> None:
    data = uneven()
    before = STILL.fit(data, ONE)
    wide = STILL.with_settings({"encoder.factors": 16})
    cold, warm = (wide.fit(data, FitOptions(threads=1, initial=given)) for given in (None, before))
    assert np.array_equal(cold.weights["item"], warm.weights["item"])


def test_only_a_model_of_the_same_method_is_continued() -> None:
    from landbridge.models.als.ials import IALS
    from landbridge.models.sequential.warm_start import previous_model

    other = IALS(4, epochs=1).fit(of_tables(dict(uneven().domains)), ONE)
    assert previous_model(FitOptions(initial=other), "sasrec") is None
