"""ADC: what its domains share, and how a network is kept and served."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import uneven

from landbridge.core.errors import SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.synthetic import planted_transfer
from landbridge.models import registry
from landbridge.models.common.cold_start import COLD_POLICIES
from landbridge.models.search_space import Choice, Real
from landbridge.models.towers.adc import ADC, BALANCE, PUBLISHED, SHARING, Balance
from landbridge.models.towers.fitted import TowerModel
from landbridge.models.towers.tower_method import Layers
from landbridge.reports.cells import series
from landbridge.selection.search_space import read_space
from landbridge.store.runs import load, save
from landbridge.training.options import FitOptions
from landbridge.training.weighting.base import Fixed, Uncertainty, Uniform, Weighting
from landbridge.training.weighting.gradnorm import COMPLEXITIES, GradNorm

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, device="cpu")
METHOD = ADC(4, network=Layers((8, 6), (4,)), lr=0.03, epochs=2, batch_size=100, init_std=0.3)


@dataclass(frozen=True)
class Plain(ADC):
    """ADC that neither weighs nor measures."""

    def weighting_of(self, train: MultiDomain) -> Weighting:
        """Ones."""
        return Uniform()


def moved(weights: dict[str, float], sharing: str) -> set[str]:
    """Which weights one epoch changes."""
    data = uneven()
    fixed = Balance("fixed", weights=weights)
    layers = Layers((8, 6))
    # more than one step: β is 0 in the first
    method = ADC(4, network=layers, sharing=sharing, epochs=1, batch_size=100, init_std=0.3, balance=fixed)
    start = replace(method, lr=1e-30).fit(data, ONE).weights  # steps too short to change a float32
    after = method.fit(data, ONE).weights
    return {name for name in start if not np.array_equal(start[name], after[name])}


@pytest.mark.parametrize("sharing", SHARING)
def test_what_a_domain_moves_is_its_own_or_shared(sharing: str) -> None:
    data = uneven()
    own = moved({"a": 1.0, "b": 0.0, "c": 0.0}, sharing)
    names = set(ADC(4, network=Layers((8, 6)), sharing=sharing).towers(data).shapes(data))
    elsewhere = {name for name in names if ".b" in name.replace(".bias", "") or ".c" in name}
    if "cross" in sharing:  # a's towers see what is in the others, whose last tower layers they do not use
        idle = {
            name
            for name in elsewhere
            if name.startswith("head") or (name.startswith(("tower", "stitch")) and ".1" in name)
        }
        assert own == names - idle
    else:
        assert own == names - elsewhere


@pytest.mark.parametrize(
    ("sharing", "name"),
    [("user", "user"), ("tower", "shared.1.weight"), ("cross", "cross.1.weight"), ("cross_stitch", "user")],
)
def test_every_domains_loss_goes_through_the_last_shared_weights(sharing: str, name: str) -> None:
    data = uneven()
    method = replace(METHOD, sharing=sharing)
    towers, batches = method.towers(data), method.batches(data, 0, sides="cross" in sharing)
    assert towers.last_shared == name
    weights = towers.initial(data, 0, 0.3)
    losses = method.steps(towers, weights, batches).losses(next(iter(batches.steps(0))))
    assert list(losses) == list(data.domain_names)
    for loss in losses.values():
        (gradient,) = torch.autograd.grad(loss, weights[name], retain_graph=True)
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        assert gradient.shape == weights[name].shape
        assert gradient.any()


@pytest.mark.parametrize("sharing", SHARING)
def test_a_taste_reaches_the_sparse_domain(sharing: str) -> None:
    world = planted_transfer(users=240, items=120, groups=6)
    method = ADC(8, sharing=sharing, lr=0.01, epochs=20, batch_size=256)
    fitted = method.fit(world.split.test.history, ONE)
    users, history = np.arange(240), world.split.test.history["sparse"]
    scores_UI = fitted.score("sparse", Queries.of_users(users)).copy()
    scores_UI[history.user_idx, history.item_idx] = -np.inf
    best_U10 = np.argsort(-scores_UI, axis=1, kind="stable")[:, :10]
    assert np.take_along_axis(world.likes["sparse"], best_U10, axis=1).mean() > 0.5  # by chance: 1 / 6


def test_a_stored_network_says_the_same(tmp_path: Path) -> None:
    data = uneven()
    fitted = replace(METHOD, sharing="cross").fit(data, ONE)
    save(fitted, tmp_path / "run")
    again = load(tmp_path / "run")
    assert isinstance(again, TowerModel)
    assert again.method == fitted.method
    assert again.towers == fitted.towers
    asked = Queries(np.array([-1, 3], np.int32), {"b": data["b"].by_user.take([5, -1])})
    assert np.array_equal(again.score("a", asked), fitted.score("a", asked))


def test_scoring_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import landbridge.models.towers.fitted, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("policy", COLD_POLICIES)
def test_who_is_new_gets_what_the_policy_says(policy: str) -> None:
    data = uneven({"a": (30, 50), "b": (20, 10)})
    fitted = replace(METHOD, cold_policy=policy, popularity_weight=2.0).fit(data, ONE)
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
    towers, batches = method.towers(data), method.batches(data, 0)
    phase = method.steps(towers, towers.initial(data, 0, 0.3), batches)
    named = [tuple(phase.losses(step)) for step in phase.batches(0)]
    assert set(named) == {("a",), ("a", "b")}
    assert sum("b" in names for names in named) == len(data["b"])


def same(one: TowerModel, other: TowerModel) -> bool:
    return all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.mark.parametrize("complexity", COMPLEXITIES)
@pytest.mark.parametrize("sharing", SHARING)
def test_without_balancing_everything_is_measured_and_nothing_changed(sharing: str, complexity: str) -> None:
    data = uneven()
    balance = Balance("none", complexity)
    settings = {**vars(METHOD), "sharing": sharing, "balance": balance}
    measured, plain = ADC(**settings).fit(data, ONE), Plain(**settings).fit(data, ONE)
    assert same(measured, plain)
    assert "weight" not in plain.log[-1]
    assert measured.log[-1]["weight"] == dict.fromkeys(data.domain_names, 1.0)
    assert measured.log[-1]["off_target"] > 0
    assert len(measured.log[-1]["shared_cosine"]) == 3


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize(
    "balance", [*(Balance(complexity=each) for each in COMPLEXITIES), Balance("uncertainty")], ids=str
)
def test_balancing_changes_the_fit(sharing: str, balance: Balance) -> None:
    data = uneven()
    balanced, equal = (replace(METHOD, sharing=sharing, balance=b) for b in (balance, Balance("none")))
    assert not same(balanced.fit(data, ONE), equal.fit(data, ONE))


@pytest.mark.parametrize("way", [way for way in BALANCE if way not in ("fixed", "rates")])
@pytest.mark.parametrize("sharing", SHARING)
def test_one_domain_is_trained_as_without_balancing(sharing: str, way: str) -> None:
    data = uneven({"a": (30, 50)})
    settings = {**vars(METHOD), "sharing": sharing}
    balanced = ADC(**settings | {"balance": Balance(way)})
    assert same(balanced.fit(data, ONE), Plain(**settings).fit(data, ONE))


def test_the_weighting_is_what_the_settings_say() -> None:
    data = uneven({"a": (30, 50), "a.b": (20, 10)})
    tuned = replace(METHOD, balance=Balance(alpha=1.5, lr=0.1))
    found = tuned.with_settings({"balance.complexity": "step"}).weighting_of(data)
    assert isinstance(found, GradNorm)
    assert (found.at, found.alpha, found.lr, found.complexity) == ("shared.1.weight", 1.5, 0.1, "step")
    assert found.sizes == {"a": len(data["a"]), "a.b": len(data["a.b"])}
    head = ("item.{0}", "head.{0}.0.weight", "head.{0}.0.bias", "head.{0}.out")
    assert found.own == {name: {each.format(name) for each in head} for name in ("a", "a.b")}
    towers = replace(tuned, sharing="user").weighting_of(data)
    assert isinstance(towers, GradNorm)
    assert towers.at == "user"
    assert {"tower.a.0.weight", "tower.a.1.bias"} < set(towers.own["a"])
    assert tuned.with_settings({"balance.kind": "uncertainty"}).weighting_of(data) == Uncertainty(0.1)
    fixed = replace(tuned, balance=Balance("fixed", weights={"a.b": 3}))
    assert fixed.weighting_of(data) == Fixed({"a": 1.0, "a.b": 3})


def test_longer_steps_are_for_what_only_one_domain_has() -> None:
    data = uneven()
    weighting = replace(METHOD, balance=Balance(complexity="step"), sharing="cross").weighting_of(data)
    assert isinstance(weighting, GradNorm)
    shapes = set(METHOD.towers(data).shapes(data)) | set(
        replace(METHOD, sharing="cross").towers(data).shapes(data)
    )
    owned = [name for names in weighting.own.values() for name in names]
    assert len(owned) == len(set(owned))
    assert {"user", "cross.0.weight", "cross.1.weight"}.isdisjoint(owned)
    assert set(owned) < shapes


def test_every_part_of_gradnorm_is_a_setting() -> None:
    """As --set, TOML files and [space] give them."""
    data, texts = (
        uneven(),
        {"rule": "literal", "order": "after", "start": "none", "decay": "0", "at": "users"},
    )
    method = METHOD.with_settings({f"balance.{key}": value for key, value in texts.items()})
    found = method.weighting_of(data)
    assert isinstance(found, GradNorm)
    assert (found.rule, found.order, found.start, found.decay, found.at) == (
        "literal",
        "after",
        None,
        0,
        "user",
    )
    usual = METHOD.weighting_of(data)
    assert isinstance(usual, GradNorm)
    assert usual == replace(GradNorm("shared.1.weight"), sizes=usual.sizes, own=usual.own)
    printed = replace(METHOD, balance=PUBLISHED).weighting_of(data)
    assert printed == replace(usual, rule="literal", order="before", decay=0.0)
    ranges = {"rule": {"options": ["proximal", "literal"]}, "decay": {"low": 0.0, "high": 0.9}}
    space = read_space(ADC, {"balance": {**ranges, "start": {"low": 0.1, "high": 1.0}}})
    assert space["balance.rule"] == Choice(("proximal", "literal"))
    assert (space["balance.decay"], space["balance.start"]) == (Real(0.0, 0.9), Real(0.1, 1.0))


@pytest.mark.parametrize(
    "balance", [PUBLISHED, Balance(at="users"), Balance(order="after", start=None)], ids=str
)
def test_a_part_of_gradnorm_changes_the_fit(balance: Balance) -> None:
    data = uneven()
    assert not same(replace(METHOD, balance=balance).fit(data, ONE), METHOD.fit(data, ONE))


def test_a_learning_rate_of_a_domain_moves_its_own_weights_alone() -> None:
    data = uneven()
    still = {"a": 1e-30}  # steps too short to change a float32
    start = replace(METHOD, lr=1e-30, epochs=1).fit(data, ONE).weights
    after = replace(METHOD, epochs=1, balance=Balance("rates", rates=still)).fit(data, ONE).weights
    unmoved = {name for name in start if np.allclose(start[name], after[name], rtol=0, atol=1e-20)}
    assert unmoved == {"item.a", "head.a.0.weight", "head.a.0.bias", "head.a.out"}
    evenly = replace(METHOD, balance=Balance("rates", rates={"a": 1.0, "b": 1.0}))
    assert same(evenly.fit(data, ONE), Plain(**vars(METHOD)).fit(data, ONE))


def test_settings_from_a_file_make_the_same_method() -> None:
    import tomllib

    import tomli_w

    method = replace(METHOD, balance=Balance("fixed", weights={"a": 0.1, "c d": 2.0}))
    settings = {k: list(each) if isinstance(each, tuple) else each for k, each in method.flat().items()}
    assert ADC.from_settings(tomllib.loads(tomli_w.dumps(settings))) == method


def test_a_report_has_the_values_of_the_balancing() -> None:
    fitted = METHOD.fit(uneven(), ONE)
    told = series([({"data": "d", "label": "adc", "seed": 1}, [dict(record) for record in fitted.log])])
    by_domain = ["weight", "relative_loss", "shared_norm", "shared_target", "shared_share"]
    for figure in by_domain:
        assert set(told.filter(quantity=figure)["part"]) == {"a", "b", "c"}
    assert set(told.filter(quantity="shared_cosine")["part"]) == {"a, b", "a, c", "b, c"}
    assert told.filter(quantity="off_target")["epoch"].to_list() == [0, 1]
    shares = told.filter(quantity="shared_share", epoch=1)["value"]
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_small_hard_domain_is_learned_only_when_balanced(seed: int) -> None:
    """Taste is plain from ten events per person in one domain; in the other each has a single one. With equal
    weights these few count as much as all the others together, and are learned by heart before taste is."""
    world = planted_transfer(users=240, items=120, groups=6, domains=2, seed=seed)
    history, users = world.split.test.history, np.arange(240)

    def right(balance: str) -> dict[str, float]:
        method = ADC(8, balance=Balance(balance), lr=0.01, epochs=15, batch_size=256, init_std=0.1)
        fitted = method.fit(history, replace(ONE, seed=seed))
        found = {}
        for name in history.domain_names:
            scores_UI = fitted.score(name, Queries.of_users(users)).copy()
            scores_UI[history[name].user_idx, history[name].item_idx] = -np.inf
            best_U10 = np.argsort(-scores_UI, axis=1, kind="stable")[:, :10]
            found[name] = float(np.take_along_axis(world.likes[name], best_U10, axis=1).mean())
        return found

    equal, balanced = right("none"), right("gradnorm")
    assert equal["sparse"] < 0.4  # by chance: 1 / 6
    assert balanced["sparse"] > equal["sparse"] + 0.1
    assert balanced["dense_0"] > equal["dense_0"] + 0.05


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"balance": {"kind": "fixed"}}, "balance.kind='fixed' and balance.weights belong together"),
        ({"balance": {"weights": {"a": 1.0}}}, "balance.kind='fixed' and balance.weights belong together"),
        ({"balance": {"kind": "rates"}}, "balance.kind='rates' and balance.rates belong together"),
        ({"balance": {"rule": "printed"}}, r"Unknown adc\.balance\.rule 'printed'"),
        ({"balance": {"decay": 1.0}}, "balance.decay must be a number, 0 or more and below 1"),
        ({"sharing": "towers"}, "Unknown adc.sharing 'towers': did you mean 'tower'"),
    ],
    ids=str,
)
def test_settings_are_checked(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        ADC(**settings)


def test_weights_of_unknown_domains_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"Unknown domain in balance\.weights 'books'"):
        ADC(balance=Balance("fixed", weights={"books": 1.0})).fit(uneven(), ONE)
    with pytest.raises(SettingsError, match=r"Unknown domain in balance\.rates 'books'"):
        ADC(balance=Balance("rates", rates={"books": 1.0})).fit(uneven(), ONE)


def test_the_registry_knows_it() -> None:
    assert registry.method("adc") is ADC


def test_the_weights_of_sparsity_count_every_sample_and_a_sparse_domains_more() -> None:
    data = uneven({"large": (30, 55), "small": (30, 6)})
    fitted = replace(METHOD, balance=Balance("sparsity"), epochs=3).fit(data, ONE)
    weight = fitted.log[-1]["sample_weight"]
    assert weight["small"] > 1 > weight["large"]
    assert fitted.log[-1]["updates"] == 1
