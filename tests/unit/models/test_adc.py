"""ADC: what its domains share, and how a network is kept and served."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import uneven

from landbridge.data.multidomain import MultiDomain
from landbridge.data.queries import Queries, rows_of
from landbridge.data.synthetic import planted_transfer
from landbridge.errors import SettingsError
from landbridge.models import registry
from landbridge.models.adc import ADC, SHARING
from landbridge.models.parts.cold import COLD_POLICIES
from landbridge.models.parts.network import Network
from landbridge.store.runs import load, save
from landbridge.training.options import FitOptions
from landbridge.training.weighting import Fixed, Weighting

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, device="cpu")
METHOD = ADC(4, tower=(8, 6), head=(4,), lr=0.03, epochs=2, batch_size=100, spread=0.3)


@dataclass(frozen=True)
class Weighed(ADC):
    """ADC with weights given beforehand."""

    weights: Any = None

    def weighting_of(self, train: MultiDomain) -> Weighting:
        """The given ones."""
        return Fixed(self.weights)


def moved(weights: dict[str, float], sharing: str) -> set[str]:
    """Which weights one epoch changes."""
    data = uneven()
    method = Weighed(4, tower=(8, 6), sharing=sharing, epochs=1, spread=0.3, weights=weights)
    start, after = (replace(method, epochs=epochs).fit(data, ONE).weights for epochs in (0, 1))
    return {name for name in start if not np.array_equal(start[name], after[name])}


@pytest.mark.parametrize("sharing", SHARING)
def test_what_a_domain_moves_is_its_own_or_shared(sharing: str) -> None:
    data = uneven()
    own = moved({"a": 1.0, "b": 0.0, "c": 0.0}, sharing)
    names = set(ADC(4, tower=(8, 6), sharing=sharing).towers(data).shapes(data))
    elsewhere = {name for name in names if ".b" in name.replace(".bias", "") or ".c" in name}
    if sharing == "cross":  # a's towers see what is in the others, whose last tower layers they do not use
        idle = {
            name
            for name in elsewhere
            if name.startswith("head") or (name.startswith("tower") and ".1." in name)
        }
        assert own == names - idle
    else:
        assert own == names - elsewhere


@pytest.mark.parametrize(
    ("sharing", "name"), [("user", "user"), ("tower", "shared.1.weight"), ("cross", "cross.1.weight")]
)
def test_every_domains_loss_goes_through_the_last_shared_weights(sharing: str, name: str) -> None:
    data = uneven()
    method = replace(METHOD, sharing=sharing)
    towers, rounds = method.towers(data), method.rounds(data, 0, sides=sharing == "cross")
    assert towers.last_shared == name
    weights = towers.initial(data, 0, 0.3)
    losses = method.steps(towers, weights, rounds).losses(next(iter(rounds.steps(0))))
    assert list(losses) == list(data.names)
    for loss in losses.values():
        (gradient,) = torch.autograd.grad(loss, weights[name], retain_graph=True)
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        assert gradient.shape == weights[name].shape
        assert gradient.any()


@pytest.mark.parametrize("sharing", SHARING)
def test_a_taste_reaches_the_sparse_domain(sharing: str) -> None:
    world = planted_transfer(users=240, items=120, groups=6)
    method = ADC(8, sharing=sharing, lr=0.01, epochs=20, batch_size=256)
    fitted = method.fit(world.split.test.known, ONE)
    users, known = np.arange(240), world.split.test.known["sparse"]
    scores_UI = fitted.score("sparse", Queries.of_users(users)).copy()
    scores_UI[known.user_idx, known.item_idx] = -np.inf
    best_U10 = np.argsort(-scores_UI, axis=1, kind="stable")[:, :10]
    assert np.take_along_axis(world.likes["sparse"], best_U10, axis=1).mean() > 0.5  # by chance: 1 / 6


def test_a_stored_network_says_the_same(tmp_path: Path) -> None:
    data = uneven()
    fitted = replace(METHOD, sharing="cross").fit(data, ONE)
    save(fitted, tmp_path / "run")
    again = load(tmp_path / "run")
    assert isinstance(again, Network)
    assert again.method == fitted.method
    assert again.towers == fitted.towers
    asked = Queries(np.array([-1, 3], np.int32), {"b": rows_of(data["b"].by_user, [5, -1])})
    assert np.array_equal(again.score("a", asked), fitted.score("a", asked))


def test_scoring_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import landbridge.models.parts.network, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("policy", COLD_POLICIES)
def test_who_is_new_gets_what_the_policy_says(policy: str) -> None:
    data = uneven({"a": (30, 50), "b": (20, 10)})
    fitted = replace(METHOD, cold_policy=policy, cold_weight=2.0).fit(data, ONE)
    plain = replace(METHOD, cold_policy="mean").fit(data, ONE)
    counts_a, counts_b = data["a"].user_counts, data["b"].user_counts
    elsewhere = int(np.flatnonzero((counts_b == 0) & (counts_a > 0))[0])
    nowhere = int(np.flatnonzero((counts_b == 0) & (counts_a == 0))[0])
    here = int(np.flatnonzero(counts_b > 0)[0])
    asked = Queries.of_users([here, elsewhere, nowhere])
    found, without = fitted.score("b", asked), plain.score("b", asked)
    popularity = (data["b"].item_counts / (counts_b > 0).sum()).astype(np.float32)
    rows_UF, known_U = fitted.weights["user"], (counts_a + counts_b) > 0
    np.testing.assert_allclose(
        plain.query_rows("b", asked),
        [rows_UF[here], rows_UF[elsewhere], rows_UF[known_U].mean(axis=0)],
        rtol=1e-5,
    )
    assert np.array_equal(found[0], without[0])
    expected = {
        "blend": without[1:] + 2 * popularity,
        "mean": without[1:],
        "popularity": np.stack([popularity] * 2),
        "zero": np.stack([without[1], np.zeros_like(popularity)]),
    }
    np.testing.assert_allclose(found[1:], expected[policy], rtol=1e-5, atol=1e-6)


def test_losses_of_a_step_have_the_names_of_its_domains() -> None:
    """A domain too small for every step is missing from some; the others are not."""
    data = uneven({"a": (40, 55), "b": (25, 1)})
    method = replace(METHOD, batch_size=20)
    towers, rounds = method.towers(data), method.rounds(data, 0)
    phase = method.steps(towers, towers.initial(data, 0, 0.3), rounds)
    named = [tuple(phase.losses(step)) for step in phase.batches(0)]
    assert set(named) == {("a",), ("a", "b")}
    assert sum("b" in names for names in named) == len(data["b"])


def test_settings_are_checked() -> None:
    with pytest.raises(SettingsError, match="Unknown sharing 'towers': did you mean 'tower'"):
        ADC(sharing="towers")
    assert registry.method("adc") is ADC
