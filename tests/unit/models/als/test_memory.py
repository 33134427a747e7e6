"""Memory of fits by ALS: what their estimate says; beside mapped events in files, with the same bits."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from placements import sha256, two_domains

import landbridge as lb
from landbridge.core import mapped, row_blocks
from landbridge.data.counts import Counts
from landbridge.data.interactions import Interactions
from landbridge.data.io.event_cache import open_mapped, write_mapped
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.als.consensus import Consensus
from landbridge.models.als.fitted import ALSModel
from landbridge.models.base import Method

ONE = lb.FitOptions(threads=1)
FACTORS = 64
METHODS: dict[str, Method] = {
    "cdimf all": lb.CDIMF(FACTORS, epochs=2),
    "cdimf active": lb.CDIMF(FACTORS, epochs=2, consensus=Consensus("active")),
    "ials separate": lb.IALS(FACTORS, epochs=2),
    "ials joined": lb.IALS(FACTORS, "joined", epochs=2),
    "ials with steps": lb.IALS(FACTORS, "joined", epochs=2, solver="auto"),
}


def wide(users: int = 8_000, items: int = 3_000) -> lb.MultiDomain:
    """Three domains of many users with few events."""
    rng = np.random.default_rng(0)
    domains = {}
    for name in ("books", "films", "games"):
        chosen = np.flatnonzero(rng.random(users) < 0.7)
        domains[name] = Interactions.from_events(
            np.repeat(chosen, 2), rng.integers(0, items, 2 * len(chosen)), users, items
        )
    items_of = {name: Vocabulary.of(range(items)) for name in domains}
    return lb.MultiDomain(Vocabulary.of(range(users)), items_of, domains)


@contextmanager
def traced() -> Iterator[list[int]]:
    """The most bytes of arrays above those at the start; mapped files are not among them."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("label", METHODS)
def test_a_fit_takes_what_its_estimate_says(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings once, and blocks: another array of all users would be too much."""
    monkeypatch.setattr(row_blocks, "AT_ONCE", 1 << 16)
    data, method = wide(), METHODS[label]
    method.fit(wide(200, 100), ONE)  # compiles
    cost = method.cost(Counts.of(data))
    assert cost is not None
    with traced() as peak:
        method.fit(data, ONE)
    one_more = 4 * FACTORS * data.n_users
    assert cost.peak - one_more < peak[0] < cost.peak + one_more


@pytest.mark.parametrize("label", METHODS)
def test_beside_mapped_events_embeddings_are_files(
    label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, method = two_domains(), METHODS[label]
    in_memory = method.fit(data, ONE)
    (tmp_path / "events").mkdir()
    write_mapped(data, tmp_path / "events")
    files = sorted((tmp_path / "events").iterdir())
    monkeypatch.setattr(mapped, "IN_MEMORY", 1 << 12)
    monkeypatch.setattr(row_blocks, "AT_ONCE", 1 << 12)
    on_disk = open_mapped(tmp_path / "events")
    with traced() as peak:
        fitted = method.fit(on_disk, ONE)
    assert peak[0] < 4 * FACTORS * data.n_users  # not one array of all users
    assert sha256(fitted) == sha256(in_memory)
    assert isinstance(fitted, ALSModel)
    assert mapped._folder_of(fitted.user_UF["books"]) == tmp_path / "events"
    assert sorted((tmp_path / "events").iterdir()) == files


@pytest.mark.parametrize("label", METHODS)
def test_a_validated_model_stays_as_it_was(label: str) -> None:
    """Though the next epoch writes where the last one's embeddings are."""
    seen: list[tuple[Any, str]] = []

    def validate(fitted: Any) -> float:
        seen.append((fitted, sha256(fitted)))
        return float(len(seen) == 1)

    method = METHODS[label].with_settings({"epochs": 3})
    METHODS[label].fit(wide(200, 100), replace(ONE, validate=validate))
    method.fit(wide(200, 100), replace(ONE, validate=validate, patience=2))
    assert [sha256(fitted) for fitted, _ in seen] == [before for _, before in seen]
    assert len({before for _, before in seen[:2]}) == 2
