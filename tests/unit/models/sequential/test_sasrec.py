"""SASRec on worlds whose next event is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import of_tables

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.progress import Terminal
from landbridge.core.threads import all_threads
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.models.base import Fitted
from landbridge.models.sequential.sasrec import SASRec
from landbridge.training.options import FitOptions

pytest.importorskip("torch")

ONE = FitOptions(threads=1)
SMALL = SASRec.from_settings(
    {
        "encoder.factors": 16,
        "encoder.blocks": 1,
        "encoder.heads": 2,
        "encoder.hidden": 32,
        "encoder.max_length": 8,
        "batch_size": 16,
        "lr": 0.01,
        "epochs": 30,
        "encoder.dropout": 0.0,
    }
)
ITEMS = 12


def chains(users: int = 80, steps: int = 10, seed: int = 0) -> MultiDomain:
    """After item i of either domain comes item i + 1 of the other one, around the circle."""
    rng = np.random.default_rng(seed)
    first_U = rng.integers(ITEMS, size=users)
    item_US = (first_U[:, None] + np.arange(steps)) % ITEMS
    domain_US = (np.arange(steps) + rng.integers(2, size=users)[:, None]) % 2
    user_US, time_US = np.indices(item_US.shape)
    return of_tables(
        {
            name: Interactions.from_events(
                user_US[domain_US == d], item_US[domain_US == d], users, ITEMS, time=time_US[domain_US == d]
            )
            for d, name in enumerate("ab")
        }
    )


def asking(a: list[int], b: list[int], times: tuple[list[int], list[int]]) -> Queries:
    """One user with events in both domains."""
    events = {
        name: Ragged(np.array([0, len(items)]), np.array(items, np.int32), None)
        for name, items in (("a", a), ("b", b))
    }
    return Queries(
        np.array([-1], np.int32), events, {n: np.array(t) for n, t in zip("ab", times, strict=True)}
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"loss.kind": "softmax"},
        {"loss.kind": "sampled", "loss.mask_history": False},
        {"loss.kind": "sampled", "loss.log_q": "corrected", "loss.sampled_negatives": 20},
        {"loss.kind": "bce", "loss.negatives_per_positive": 4},
        {"loss.kind": "gbce", "loss.negatives_per_positive": 4},
        {"loss.kind": "softmax", "loss.temperature": 0.2, "encoder.projected": True, "weight_decay": 0.01},
        {"loss.kind": "softmax", "precision": "bfloat16"},
        {"loss.kind": "sampled", "precision": "bfloat16"},
        {"loss.kind": "uniform", "loss.sampled_negatives": 12},
        {"loss.label_smoothing": 0.1},
        {"loss.kind": "sampled", "loss.label_smoothing": 0.1, "loss.mask_history": False},
        {"encoder.norm": "post", "encoder.positions": "alibi", "encoder.time_gaps": True},
        {"cross_domain.embeddings": True, "cross_domain.rank": 4, "cross_domain.shared_rank": 2},
        {"cross_domain.cross_penalty": 1.0},
    ],
)
def test_learns_what_comes_next_in_the_other_domain(settings: dict[str, object]) -> None:
    fitted = SMALL.with_settings(settings).fit(chains(), ONE)
    for item in range(2, ITEMS - 1):
        query = asking([item - 2, item], [item - 1], ([1, 3], [2]))
        best = {name: fitted.score(name, query)[0] for name in "ab"}
        best["a"][[item - 2, item]] = best["b"][item - 1] = -np.inf  # what she has is never a negative
        assert int(best["b"].argmax()) == item + 1
        assert best["b"].max() > best["a"].max()


@pytest.mark.parametrize("kind", ["softmax", "sampled", "uniform", "bce", "gbce"])
@pytest.mark.parametrize("parts", [{}, {"cross_domain.own_history": True, "cross_domain.rank": 4}])
def test_within_its_domain_the_next_item_is_the_best(kind: str, parts: dict[str, object]) -> None:
    settings = {"loss.within_domain": True, "loss.kind": kind, "loss.sampled_negatives": 12, **parts}
    fitted = SMALL.with_settings(settings).fit(chains(), ONE)
    for item in range(2, ITEMS - 1):
        query = asking([item - 2, item], [item - 1], ([1, 3], [2]))
        scores_I = fitted.score("b", query)[0]
        scores_I[item - 1] = -np.inf
        assert int(scores_I.argmax()) == item + 1


def test_order_matters() -> None:
    fitted = SMALL.fit(chains(), ONE)
    one = fitted.score("a", asking([3, 4], [], ([1, 2], [])))
    other = fitted.score("a", asking([3, 4], [], ([2, 1], [])))
    assert not np.allclose(one, other)


def test_a_known_user_is_their_sequence() -> None:
    data = chains()
    fitted = replace(SMALL, epochs=3).fit(data, ONE)
    events = {name: table.by_user for name, table in data.domains.items()}
    times = {name: table.time for name, table in data.domains.items()}
    brought = Queries(np.full(data.n_users, -1, np.int32), events, times)
    known = fitted.score("b", Queries.of_users(np.arange(data.n_users)))
    assert np.allclose(known, fitted.score("b", brought), atol=1e-5)


def test_scores_do_not_depend_on_the_threads_and_leave_those_of_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from landbridge.models.sequential import fitted

    monkeypatch.setattr(fitted, "ROWS_AT_ONCE", 7)
    model, users, given = replace(SMALL, epochs=1).fit(chains(), ONE), Queries.of_users(np.arange(80)), []
    before = torch.get_num_threads()
    for threads in (1, 2):
        with all_threads(threads):
            given.append(model.score("a", users))
    np.testing.assert_array_equal(*given)
    np.testing.assert_allclose(given[0][40:41], model.score("a", Queries.of_users(np.array([40]))), rtol=1e-5)
    assert torch.get_num_threads() == before


def test_a_fit_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path) -> None:  # type: ignore[no-untyped-def]
    data, method = (
        chains(),
        SMALL.with_settings(
            {
                "epochs": 6,
                "encoder.dropout": 0.3,
                "loss.kind": "sampled",
                "loss.sampled_negatives": 5,
                "loss.within_domain": True,
                "cross_domain.own_history": True,
                "cross_domain.rank": 2,
                "encoder.time_gaps": True,
            }
        ),
    )
    whole = method.fit(data, ONE)

    def stop(fitted: object) -> float:
        stop.calls += 1  # type: ignore[attr-defined]
        if stop.calls == 4:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return 0.0

    stop.calls = 0  # type: ignore[attr-defined]
    options = replace(ONE, work_dir=tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        method.fit(data, replace(options, validate=stop))
    resumed = method.fit(data, options)
    for name, array in whole.weights.items():
        assert np.array_equal(array, resumed.weights[name]), name


def test_the_loss_of_every_domain_is_on_record() -> None:
    record = replace(SMALL, epochs=1).fit(chains(), ONE).log[0]
    assert set(record["loss_of"]) == {"a", "b"}


def test_without_the_mixed_reading_other_domains_say_nothing() -> None:
    parts = {"cross_domain.own_history": True, "cross_domain.mixed_history": False}
    fitted = SMALL.with_settings({"epochs": 3, **parts}).fit(chains(), ONE)
    with_b, other_b, only_b = (
        asking(a, b, ([1, 3][: len(a)], [2])) for a, b in (([3, 4], [2]), ([3, 4], [7]), ([], [2]))
    )
    np.testing.assert_array_equal(fitted.score("a", with_b), fitted.score("a", other_b))
    assert not np.allclose(fitted.score("b", with_b), fitted.score("b", other_b))
    assert [fitted.knows(name, only_b).tolist() for name in "ab"] == [[False], [True]]
    np.testing.assert_array_equal(fitted.score("a", only_b), fitted.score("a", asking([], [], ([], []))))


def test_without_the_mixed_reading_a_domain_has_the_whole_length() -> None:
    """Events elsewhere take no place among the last L."""
    parts = {"cross_domain.own_history": True, "cross_domain.mixed_history": False, "encoder.max_length": 3}
    fitted = SMALL.with_settings({"epochs": 3, **parts}).fit(chains(), ONE)
    elsewhere = asking([3, 4], [1, 2, 3, 4, 5], ([1, 2], [3, 4, 5, 6, 7]))
    expected = fitted.score("a", asking([3, 4], [], ([1, 2], [])))
    np.testing.assert_allclose(fitted.score("a", elsewhere), expected, rtol=1e-5)
    assert len(np.unique(expected)) == expected.size


@pytest.mark.parametrize(("capability", "noted"), [("AVX2", True), ("AVX512", False)])
def test_short_numbers_that_are_emulated_are_noted(
    capability: str, noted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    options = replace(ONE, progress=Terminal())
    SMALL.with_settings({"epochs": 1, "precision": "bfloat16"}).fit(chains(), options)
    assert ("has no 16-bit products" in capsys.readouterr().err) is noted


def test_users_with_one_event_are_read_and_no_others_are_needed() -> None:
    data = chains()
    single = data.with_events({n: t.take(t.user_idx < 2) for n, t in data.domains.items()})
    assert np.isfinite(replace(SMALL, epochs=1).fit(single, ONE).score("a", Queries.of_users([0, 5]))).all()
    lonely = data.with_events(
        {
            "a": data["a"].take(np.arange(len(data["a"])) == 0),
            "b": data["b"].take(np.zeros(len(data["b"]), bool)),
        }
    )
    with pytest.raises(DataError, match="No user has two events"):
        SMALL.fit(lonely, ONE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss.kind": "hinge"}, "Unknown sasrec.loss.kind"),
        ({"loss.log_q": "x"}, "Unknown sasrec.loss.log_q"),
        ({"encoder.heads": 3}, "multiple of heads"),
        ({"horizon": 0}, "1 or more"),
        ({"loss.temperature": 0.0}, "temperature must be a number, above 0"),
        ({"weight_decay": 200.0}, "sasrec.weight_decay must be below 1 / lr"),
        ({"encoder.dropout": 1.0}, "dropout must be"),
        ({"precision": "float16"}, "Unknown sasrec.precision"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SMALL.with_settings(settings)


@pytest.mark.parametrize(("batch_size", "threads"), [(16, 1), (4096, 2)])
def test_a_step_takes_the_threads_that_it_is_large_enough_for(batch_size: int, threads: int) -> None:
    import torch

    method = SMALL.with_settings({"encoder.factors": 128, "epochs": 1, "batch_size": batch_size})
    seen = []

    def validate(fitted: Fitted) -> float:
        seen.append(torch.get_num_threads())
        return 0.0

    # 400 users have 3,600 targets: 460,800 numbers of their states in one batch
    method.fit(chains(users=400), FitOptions(threads=2, validate=validate, validate_every=1))
    assert seen == [threads]
