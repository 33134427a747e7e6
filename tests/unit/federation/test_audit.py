"""Attacks on exchanges with known answers: what theory says is exact is exact, and noise gives one half."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landbridge.core.errors import SettingsError, StoreError
from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.synthetic import World, planted_transfer
from landbridge.federation.audit import (
    COORDINATOR,
    CUSTOMER,
    OUTSIDER,
    SAME,
    WHAT,
    View,
    _ridge,
    attack,
    attackers,
    row_error,
    view,
)
from landbridge.federation.defences import Plan, audit
from landbridge.federation.transcript import Recording, fit_recorded
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
METHOD = CDIMF(8, 0.1, 0.1, epochs=3, admm=ADMM(rho=0.5, inner_sweeps=2, tolerance=1e-2))
VICTIM = "dense_0"


def planted(domains: int) -> World:
    return planted_transfer(users=160, items=128, domains=domains)


def with_others(data: MultiDomain) -> MultiDomain:
    """A quarter of the users have no event in the victim's domain."""
    tables = dict(data.domains)
    tables[VICTIM] = tables[VICTIM].take(tables[VICTIM].user_idx % 4 > 0)
    return data.with_events(tables)


def recorded(folder: Path, domains: int, method: CDIMF = METHOD) -> tuple[MultiDomain, Recording]:
    data = with_others(planted(domains).split.test.history)
    fit_recorded(method, data, folder, ONE)
    return data, Recording.read(folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[MultiDomain, Recording]:
    return recorded(tmp_path_factory.mktemp("two"), 2)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[MultiDomain, Recording]:
    return recorded(tmp_path_factory.mktemp("three"), 3)


def auc(seen: View, events: Interactions, known: float = 0.2) -> dict[str, float]:
    return {each["attack"]: each["auc"] for each in attack(seen, events, known_shares=(known,))}


def test_every_row_is_recovered_from_the_messages(two: tuple[MultiDomain, Recording]) -> None:
    _, recording = two
    assert len(recording.rounds[VICTIM]) > METHOD.rounds  # also in closing rounds, where ρ changes
    assert len({each.rho for each in recording.rounds[VICTIM]}) > 1
    for attacker in (COORDINATOR, OUTSIDER, "sparse"):
        assert row_error(recording, VICTIM, view(recording, VICTIM, attacker)) < 1e-5


def test_rows_without_a_dual_are_what_was_sent(tmp_path: Path) -> None:
    _, recording = recorded(tmp_path, 2, METHOD.with_settings({"privacy.clip": 1e3}))
    assert not any(each.dual for each in recording.rounds[VICTIM])
    assert row_error(recording, VICTIM, view(recording, VICTIM, COORDINATOR)) < 1e-6
    # the other party computes it from the consensus
    assert row_error(recording, VICTIM, view(recording, VICTIM, "sparse")) < 1e-5


def test_masks_protect_nothing_of_two_parties(two: tuple[MultiDomain, Recording]) -> None:
    _, recording = two
    assert row_error(recording, VICTIM, view(recording, VICTIM, "sparse", masked=True)) < 1e-5


def test_masks_of_three_leave_the_mean(three: tuple[MultiDomain, Recording]) -> None:
    _, recording = three
    names = list(recording.rounds)
    masked = view(recording, VICTIM, COORDINATOR, masked=True)
    other = view(recording, VICTIM, names[1], masked=True)
    for number, (of_all, of_two) in enumerate(zip(masked.rows(), other.rows(), strict=True)):
        own = {name: recording.rounds[name][number].own_MF for name in names}
        rows = [own[name] for name in names if own[name] is not None]
        np.testing.assert_allclose(of_all, np.mean(rows, axis=0), atol=1e-5)
        np.testing.assert_allclose(of_two, (own[names[0]] + own[names[2]]) / 2, atol=1e-5)
    assert row_error(recording, VICTIM, view(recording, VICTIM, COORDINATOR)) < 1e-5
    # in the end all parties agree: then the mean of all is each one's row
    assert row_error(recording, VICTIM, masked) > 0.01


def test_attacks_succeed_without_defence(two: tuple[MultiDomain, Recording]) -> None:
    data, recording = two
    for attacker in (COORDINATOR, "sparse"):
        found = auc(view(recording, VICTIM, attacker), data[VICTIM])
        assert found[CUSTOMER] == 1  # the first row of other users is exactly 0, Eq. (1)
        assert found[SAME] > 0.97
        assert found[WHAT] > 0.9


def test_rows_that_say_nothing_give_one_half(three: tuple[MultiDomain, Recording]) -> None:
    data, recording = three
    honest = view(recording, VICTIM, COORDINATOR)
    rng = np.random.default_rng(0)
    # what masks leave of a message: uniform numbers
    uniform: list[Float32] = [
        rng.uniform(-1, 1, rows.shape).astype(np.float32) for rows in honest.message_RMF
    ]
    blind = replace(honest, message_RMF=uniform, received_RMF=uniform)
    found = attack(blind, data[VICTIM])
    assert len(found) == 6
    assert all(abs(each["auc"] - 0.5) < 0.15 for each in found)
    assert all(each["low"] <= 0.5 <= each["high"] for each in found)


def test_more_known_users_reveal_more(two: tuple[MultiDomain, Recording]) -> None:
    data, recording = two
    seen = view(recording, VICTIM, COORDINATOR)
    assert auc(seen, data[VICTIM], 0.02)[WHAT] < auc(seen, data[VICTIM], 0.3)[WHAT]


def test_intervals_hold_the_auc(two: tuple[MultiDomain, Recording]) -> None:
    data, recording = two
    for each in attack(view(recording, VICTIM, "sparse"), data[VICTIM]):
        assert each["low"] <= each["auc"] <= each["high"]
    again = [attack(view(recording, VICTIM, "sparse"), data[VICTIM], seed=3) for _ in range(2)]
    assert again[0] == again[1]


def test_no_others_no_attack_on_customers(tmp_path: Path) -> None:
    data = planted(2).split.test.history
    fit_recorded(METHOD, data, tmp_path, ONE)
    found = attack(view(Recording.read(tmp_path), VICTIM, COORDINATOR), data[VICTIM])
    assert {each["attack"] for each in found} == {SAME, WHAT}


def test_the_ridge_regression_is_that_of_stacked_rows() -> None:
    from scipy.sparse import csr_array

    rng = np.random.default_rng(0)
    known, bought = rng.normal(size=(20, 3)), (rng.random((20, 7)) < 0.3).astype(np.float64)
    penalty = np.trace(known.T @ known) / 3
    stacked = np.vstack([known, np.sqrt(penalty) * np.eye(3)])
    expected, *_ = np.linalg.lstsq(stacked, np.vstack([bought, np.zeros((3, 7))]), rcond=None)
    np.testing.assert_allclose(_ridge(known, csr_array(bought)), expected.T)


def test_the_audit_of_all_defences(tmp_path: Path) -> None:
    holdout = planted(3).split.test
    holdout = replace(holdout, history=with_others(holdout.history))
    result = audit(holdout, VICTIM, Plan(METHOD, epsilons=(0.1, np.inf)), tmp_path)
    assert json.loads(json.dumps(result)) == result
    found = {
        (each["defence"], each["role"], each["attack"]): each["auc"]
        for each in result["findings"]
        if each["known"] in (None, 0.2)
    }
    assert found["none", COORDINATOR, CUSTOMER] == 1
    assert found["none", COORDINATOR, SAME] > 0.95
    assert found["ε 0.1", COORDINATOR, CUSTOMER] == pytest.approx(0.5, abs=0.15)
    assert found["ε 0.1", COORDINATOR, SAME] == pytest.approx(0.5, abs=0.1)
    assert found["ε ∞", COORDINATOR, CUSTOMER] > 0.95
    assert [each["defence"] for each in result["utility"]] == [
        *("none", "ε 0.1", "ε ∞", "single domain", "popularity")
    ]
    assert [each["epsilon"] for each in result["guarantees"]] == [pytest.approx(0.1), None]
    assert {each["rounds"] for each in result["guarantees"]} == {3}
    assert {path.name for path in tmp_path.iterdir()} == {"none", "epsilon-0.1", "epsilon-inf"}
    assert result["about"]["warning"] == ""


def test_wrong_names_are_refused(two: tuple[MultiDomain, Recording]) -> None:
    _, recording = two
    assert attackers(recording, "sparse")["other party"] == VICTIM
    with pytest.raises(SettingsError, match="Unknown party 'dens_0': did you mean 'dense_0'"):
        view(recording, "dens_0", COORDINATOR)
    with pytest.raises(SettingsError, match="same party"):
        view(recording, VICTIM, VICTIM)
    with pytest.raises(SettingsError, match="Unknown domain"):
        audit(planted(2).split.test, "toys", Plan(METHOD))


def test_recordings_of_others_are_read(tmp_path: Path) -> None:
    """As a party that keeps its rows to itself writes them."""
    rng = np.random.default_rng(0)
    with pytest.raises(StoreError, match="holds no exchange"):
        Recording.read(tmp_path)
    for name, users in {"a": [0, 2, 5], "b": [2, 5, 7]}.items():
        np.savez(tmp_path / f"{name}.npz", place_U=np.array(users))
        rows = rng.normal(size=(3, 4)).astype(np.float32)
        np.savez(tmp_path / f"round-00000.{name}.npz", sent_UF=rows, received_UF=rows)
    recording = Recording.read(tmp_path)
    seen = view(recording, "a", "b")
    assert seen.users_M.tolist() == [2, 5]
    with pytest.raises(SettingsError, match="own_UF"):
        row_error(recording, "a", seen)
    (tmp_path / "round-00000.b.npz").write_bytes(b"PK no archive")
    with pytest.raises(StoreError, match="cannot be read"):
        Recording.read(tmp_path)
    np.savez(tmp_path / "round-00000.b.npz", sent_UF=np.zeros((3, 4)))
    with pytest.raises(StoreError, match="has no array 'received_UF'"):
        Recording.read(tmp_path)
    np.savez(tmp_path / "round-00000.b.npz", sent_UF=np.zeros((3, 4)), received_UF=np.zeros((2, 4)))
    with pytest.raises(StoreError, match="of one shape"):
        Recording.read(tmp_path)
    np.savez(tmp_path / "round-00000.b.npz", sent_UF=np.zeros((2, 4)), received_UF=np.zeros((2, 4)))
    with pytest.raises(StoreError, match="one row per matched user"):
        Recording.read(tmp_path)
