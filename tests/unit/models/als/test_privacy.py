"""The accountant against published values and another program, and what a private CDIMF sends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from worlds import by_rounds, uneven

from landbridge.core.errors import SettingsError
from landbridge.core.types import Float32
from landbridge.federation.transcript import PartyRound, Recording, fit_recorded
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM
from landbridge.models.als.privacy import (
    IN_ONE_PROCESS,
    NOT_PROTECTED,
    Privacy,
    clipped,
    delta_at,
    epsilon_at,
    strength,
    strength_at,
)
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
PRIVATE = CDIMF(5, 0.1, 0.2, epochs=4, admm=ADMM(rho=0.5, inner_sweeps=1), privacy=Privacy(1.0, 2.0))


@pytest.mark.parametrize(
    ("noise", "sensitivity", "epsilon", "delta"),
    [
        # published: the tests of Google's dp-accounting, GaussianPrivacyLoss.get_delta_for_epsilon
        (1, 1, 1, 0.12693674),
        (2, 2, 1, 0.12693674),
        (1, 3, 1, 0.78760074),
        (6, 6, 2, 0.02092364),
        # ε = 0: the total variation distance of two normal distributions, 2 Φ(μ/2) - 1
        (1, 1, 0, 0.38292492),
    ],
)
def test_delta_of_published_mechanisms(
    noise: float, sensitivity: float, epsilon: float, delta: float
) -> None:
    assert delta_at(epsilon, sensitivity / noise) == pytest.approx(delta, abs=5e-9)


@pytest.mark.parametrize(
    ("noise", "rounds", "delta", "epsilon", "renyi"),
    [
        # computed with dp-accounting 0.6: gaussian_mechanism.get_epsilon_gaussian and RdpAccountant, of
        # sensitivity 1 in every round
        (1.0, 1, 1e-5, 4.377178095681137, 4.728507067217623),
        (2.0, 10, 1e-6, 8.306225049954731, 8.84687435850794),
        (10.0, 12, 1e-6, 1.5097710137661609, 1.624397154003196),
        (30.0, 56, 1e-5, 0.9240814100907561, 1.0100506277526433),
        (4.0, 100, 1e-8, 16.63237942011946, 17.44138155684525),
    ],
)
def test_composition_is_that_of_another_program(
    noise: float, rounds: int, delta: float, epsilon: float, renyi: float
) -> None:
    # a row moves by 2C, so noise of 2σ is that of sensitivity 1
    own = Privacy(1.0, 2 * noise, delta).guarantee(rounds)
    assert own.epsilon == pytest.approx(epsilon, rel=1e-9)
    assert own.epsilon < renyi


@pytest.mark.parametrize(
    ("epsilon", "delta", "noise"),
    [
        # computed with dp-accounting 0.6: gaussian_mechanism.get_sigma_gaussian
        (1, 1e-6, 4.224678889326822),
        (5, 1e-6, 0.9800490003092105),
        (10, 1e-6, 0.5410868318184269),
        (1, 1e-5, 3.7306316348159374),
        (0.1, 1e-8, 45.93736018498821),
    ],
)
def test_noise_of_a_guarantee(epsilon: float, delta: float, noise: float) -> None:
    assert 1 / strength_at(epsilon, delta) == pytest.approx(noise, rel=1e-9)
    assert Privacy.calibrated(epsilon, delta, 9, 0.5).noise == pytest.approx(2 * 3 * noise, rel=1e-9)


@pytest.mark.parametrize(("epsilon", "mu"), [(0.5, 0.3), (1.0, 1.0), (3.0, 2.5)])
def test_delta_is_the_hockey_stick_of_two_normal_distributions(epsilon: float, mu: float) -> None:
    def excess(x: float) -> float:
        return max(0.0, norm.pdf(x, mu) - np.exp(epsilon) * norm.pdf(x))

    # the integrand is 0 below the point where the densities have the ratio e^ε
    expected, _ = quad(excess, mu / 2 + epsilon / mu, mu + 12)
    assert delta_at(epsilon, mu) == pytest.approx(expected, rel=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 50), st.sampled_from([1e-3, 1e-6, 1e-9]), st.integers(1, 500), st.floats(0.01, 9))
def test_calibration_is_the_inverse_of_accounting(
    epsilon: float, delta: float, rounds: int, clip: float
) -> None:
    privacy = Privacy.calibrated(epsilon, delta, rounds, clip)
    assert privacy.guarantee(rounds).epsilon == pytest.approx(epsilon, rel=1e-6)
    # more rounds cost more, and more noise protects more
    assert privacy.guarantee(rounds + 1).epsilon > epsilon
    assert replace(privacy, noise=1.1 * privacy.noise).guarantee(rounds).epsilon < epsilon


def test_the_ends_of_the_scale() -> None:
    assert Privacy.calibrated(np.inf, 1e-6, 5, 1.0) == Privacy(1.0, 0.0, 1e-6)
    assert Privacy(1.0).guarantee(5).epsilon == np.inf
    assert Privacy(1.0).guarantee(0).epsilon == 0
    assert Privacy(1.0, 1e9).guarantee(1).epsilon == 0
    assert epsilon_at(1e-6, strength(1.0, 0)) == 0
    with pytest.raises(SettingsError, match="above 0"):
        Privacy.calibrated(0.0, 1e-6, 5, 1.0)
    with pytest.raises(SettingsError, match=r"requires privacy\.clip"):
        Privacy(noise=1.0)


def test_a_guarantee_is_a_record() -> None:
    own = Privacy(1.0).guarantee(3).as_record()
    assert json.loads(json.dumps(own)) == own
    assert own["not_protected"] == [*NOT_PROTECTED, IN_ONE_PROCESS]
    assert own["epsilon"] is None
    assert Privacy(1.0, 9.0).guarantee(3).as_record()["epsilon"] == Privacy(1.0, 9.0).guarantee(3).epsilon


def test_clipping() -> None:
    rows = np.array([[3, 4], [0.3, 0.4], [0, 0]], np.float32)
    np.testing.assert_allclose(clipped(rows, 1.0), [[0.6, 0.8], [0.3, 0.4], [0, 0]], rtol=1e-6)


def test_noise_has_its_standard_deviation() -> None:
    sent = Privacy(0.5, 3.0).sent(np.zeros((400, 50), np.float32), np.random.default_rng(0))
    assert sent.std() == pytest.approx(1.5, rel=0.03)
    assert abs(sent.mean()) < 5 * 1.5 / np.sqrt(sent.size)


def test_shrinking_lowers_the_error() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(500, 8)).astype(np.float32)
    count_U = np.where(np.arange(500) < 400, 2, 0).astype(np.float32)
    true[count_U == 0] = 0
    for noise in (0.5, 2.0, 30.0):
        privacy = Privacy(1.0, noise)
        mean = true + (noise / np.sqrt(2) * rng.normal(size=true.shape)).astype(np.float32)
        mean[count_U == 0] = 0
        factor = (mean * true).sum() / (mean * mean).sum()  # the best of all
        shrunk = privacy.shrunk(mean, count_U)
        assert shrunk.sum() / mean.sum() == pytest.approx(max(factor, 0), abs=0.05)
        assert np.linalg.norm(shrunk - true) < np.linalg.norm(mean - true)
    assert not Privacy(1.0, 1.0).shrunk(np.zeros((3, 2), np.float32), np.ones(3, np.float32)).any()


def exchanges(method: CDIMF, folder: Path, seed: int = 0) -> Mapping[str, Sequence[PartyRound]]:
    fit_recorded(method, uneven(), folder, replace(ONE, seed=seed))
    return Recording.read(folder).rounds


def noise_of(each: PartyRound, clip: float) -> Float32:
    assert each.own_MF is not None
    return np.asarray(each.sent_MF - clipped(each.own_MF, clip))


def test_what_is_sent_is_clipped_and_noisy(tmp_path: Path) -> None:
    seen = exchanges(PRIVATE, tmp_path / "noisy")
    quiet = exchanges(replace(PRIVATE, privacy=Privacy(0.1)), tmp_path / "quiet")
    assert {len(own) for own in (*seen.values(), *quiet.values())} == {PRIVATE.rounds} == {4}
    assert PRIVATE.guarantee == Privacy(1.0, 2.0).guarantee(4)
    for each in chain(*quiet.values()):
        assert np.linalg.norm(each.sent_MF, axis=1).max() <= 0.1 * (1 + 1e-6)
        np.testing.assert_allclose(noise_of(each, 0.1), 0)  # t stays zero
        assert not each.dual
    noise = [noise_of(each, 1.0) for each in chain(*seen.values())]
    for each_MF in noise:
        assert each_MF.std() == pytest.approx(2.0, rel=0.25)
    # every round and every domain has noise of its own
    for one_MF, other_MF in combinations(noise, 2):
        rows = min(len(one_MF), len(other_MF))
        assert not np.allclose(one_MF[:rows], other_MF[:rows], atol=1e-3)


def test_no_more_rounds_than_accounted_for(tmp_path: Path) -> None:
    changes = {"consensus.every": 2}, {"admm.inner_sweeps": 3}, {"admm.rho_warmup": 2, "epochs": 5}
    for number, settings_ in enumerate(changes):
        method = PRIVATE.with_settings(settings_)
        for own in exchanges(method, tmp_path / str(number)).values():
            assert len(own) == method.rounds


def test_a_warm_start_has_no_more_rounds_than_its_guarantee(tmp_path: Path) -> None:
    method = PRIVATE.with_settings({"admm.inner_sweeps": 3, "admm.rho_warmup": 2})
    previous = method.fit(uneven(), ONE)
    fit_recorded(method, uneven(), tmp_path, replace(ONE, initial=previous))
    (rounds,) = {len(own) for own in Recording.read(tmp_path).rounds.values()}
    assert method.guarantee is not None
    assert rounds == method.guarantee.rounds > method.rounds


def test_without_privacy_nothing_changes(tmp_path: Path) -> None:
    method = replace(PRIVATE, privacy=Privacy())
    assert method.guarantee is None
    for each in exchanges(method, tmp_path / "seen").values():
        assert len(each) > method.rounds  # the closing rounds
        assert [own.dual for own in each[:2]] == [False, True]  # after the warm-up
    for own in (method, PRIVATE):
        fitted = by_rounds(own, uneven(), ONE)
        observed = fit_recorded(own, uneven(), tmp_path / own.name, ONE)
        for name in fitted.user_UF:
            np.testing.assert_array_equal(fitted.user_UF[name], observed.user_UF[name])


def test_a_private_fit_is_repeatable_and_seeded(tmp_path: Path) -> None:
    one, again, other = (
        list(chain(*exchanges(PRIVATE, tmp_path / str(number), seed).values()))
        for number, seed in enumerate((0, 0, 1))
    )
    for a, b, c in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(a.received_MF, b.received_MF)
        assert (a.received_MF != c.received_MF).any()


def test_a_private_fit_goes_on_with_the_noise_of_its_round(tmp_path: Path) -> None:
    """A killed fit and its continuation from the checkpoint are the undisturbed fit."""
    whole = PRIVATE.fit(uneven(), ONE)
    kept = replace(ONE, work_dir=tmp_path)
    validations: list[float] = []

    def stopped(_: object) -> float:
        validations.append(0.0)
        if len(validations) == 3:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        PRIVATE.fit(uneven(), replace(kept, validate=stopped))
    assert any(tmp_path.iterdir())
    resumed = PRIVATE.fit(uneven(), kept)
    for name in whole.user_UF:
        np.testing.assert_array_equal(whole.user_UF[name], resumed.user_UF[name])


def test_without_a_dual_the_consensus_pulls_by_rho_beside_the_users_own_penalty() -> None:
    everywhere = uneven({"a": (40, 60), "b": (50, 60)})
    method = PRIVATE.with_settings({"reg": 5.0, "privacy.clip": 1e6, "privacy.noise": 0.0})
    own = method.reg * method.alpha0**method.frequency_exponent

    def apart(rho: float, clip: float) -> float:
        """The distance of a user's rows in the two domains, as a share of their lengths."""
        settings = {"admm.rho": rho, "privacy.clip": clip}
        a_UF, b_UF = method.with_settings(settings).fit(everywhere, ONE).user_UF.values()
        return float(np.linalg.norm(a_UF - b_UF) / (np.linalg.norm(a_UF) + np.linalg.norm(b_UF)))

    separate = apart(0.0, 0.0)
    assert apart(own / 100, 1e6) == pytest.approx(separate, rel=0.1)
    assert apart(10 * own, 1e6) < separate / 2


def test_overwhelming_noise_gives_separate_als() -> None:
    """z is shrunk to nearly nothing, so that only the ridge ρ is left of the consensus."""
    everywhere = uneven({"a": (40, 60), "b": (50, 60)})  # every user has events in both domains
    assert everywhere.activity_UD.all()
    drowned = PRIVATE.with_settings({"privacy.noise": 1e3, "admm.rho": 1e-6})
    separate = PRIVATE.with_settings({"privacy.clip": 0.0, "privacy.noise": 0.0, "admm.rho": 0.0})
    a, b = (method.fit(everywhere, ONE) for method in (drowned, separate))
    for name in a.item_IF:
        scores = [model.user_UF[name] @ model.item_IF[name].T for model in (a, b)]
        np.testing.assert_allclose(*scores, atol=5e-3)
