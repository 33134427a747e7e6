"""DWL: what its weights do, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worlds import of_tables

from landbridge.core.errors import SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.models.sequential.dwl import DWL, PUBLISHED
from landbridge.models.sequential.item_weights import SparsityWeights
from landbridge.models.sequential.transformer import initial
from landbridge.training.options import FitOptions
from landbridge.training.weighting.sparsity import DomainCounts

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
        "epochs": 4,
        "encoder.dropout": 0.0,
    }
)


def walks(sizes: dict[str, int], steps: int = 9, seed: int = 0) -> MultiDomain:
    """All users goes along a chain of items of one domain, ``sizes`` users of each."""
    rng = np.random.default_rng(seed)
    home_U = np.repeat(np.arange(len(sizes)), list(sizes.values()))
    first_U = np.concatenate([rng.permuted(np.arange(size) % 15) for size in sizes.values()])
    item_US = (first_U[:, None] + np.arange(steps)) % 15
    user_US, time_US = np.indices(item_US.shape)
    tables = {}
    for number, name in enumerate(sizes):
        here = home_U == number
        columns = (user_US[here].ravel(), item_US[here].ravel())
        tables[name] = Interactions.from_events(*columns, len(home_U), 15, time=time_US[here].ravel())
    return of_tables(tables)


UNEVEN = walks({"large": 60, "small": 6})
EVEN = walks({"one": 30, "other": 30})


def weights(method: DWL, data: MultiDomain = UNEVEN) -> dict[str, np.ndarray]:
    return dict(method.fit(data, ONE).weights)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_balanced_domains_train_bit_for_bit_as_without_weights() -> None:
    assert same(weights(SMALL, EVEN), weights(SMALL.with_settings({"domain_weighting": "none"}), EVEN))


def test_uneven_ones_do_not() -> None:
    assert not same(weights(SMALL), weights(SMALL.with_settings({"domain_weighting": "none"})))


def test_a_sample_has_mean_weight_one_and_a_sparse_domain_the_larger_one() -> None:
    weighed = SparsityWeights(SMALL.weight_rule, UNEVEN, torch.device("cpu"))
    weighed.begin(0)
    weight_I, count_I = weighed.item_weights(), UNEVEN.joined()[0].item_counts
    assert np.isclose(weight_I @ count_I / count_I.sum(), 1)
    large, small = weight_I[:15], weight_I[15:][count_I[15:] > 0]
    assert large.max() < 1 < small.min() <= SMALL.schedule.weight_map.max_weight
    assert np.allclose(small / large[0], np.exp(0.5 * np.ptp(score_D(UNEVEN))))


def score_D(data: MultiDomain) -> np.ndarray:
    return SMALL.schedule.sparsity.score(DomainCounts.of(data))


def test_from_one_the_weights_move_a_tenth_of_the_way_every_second_epoch() -> None:
    log = SMALL.with_settings({"schedule.initial_weights": "ones", "epochs": 6}).fit(UNEVEN, ONE).log
    computed = replace(SMALL, epochs=1).fit(UNEVEN, ONE).log[0]["weight"]["small"]
    for record in log:
        updates = record["epoch"] // 2
        assert record["updates"] == updates
        assert np.isclose(record["weight"]["small"], computed + 0.9**updates * (1 - computed))


def test_the_gradient_of_the_weighted_loss_is_the_weighted_sum_of_gradients() -> None:
    method = SMALL.with_settings(
        {
            "domain_weighting": "fixed",
            "weights": {"small": 3.0},
            "epochs": 1,
            "batch_size": 1000,
            "loss.kind": "softmax",
        }
    )
    plain = method.with_settings({"domain_weighting": "none", "weights": {}})
    grads = [gradient(each) for each in (method, plain)]
    parts = [gradient(plain, only=name) for name in UNEVEN.domain_names]
    n_large, n_small = (sum(len(e) for e in [UNEVEN[name]]) * 8 / 9 for name in UNEVEN.domain_names)
    weighed = (n_large * parts[0] + 3 * n_small * parts[1]) / (n_large + 3 * n_small)
    assert np.allclose(grads[0], weighed, atol=1e-6)
    assert np.allclose(grads[1], (n_large * parts[0] + n_small * parts[1]) / (n_large + n_small), atol=1e-6)


def gradient(method: DWL, only: str | None = None) -> np.ndarray:
    """Of one batch of everything, at a layer of the block; of one domain's targets alone."""
    from landbridge.data.sampling import sequences
    from landbridge.models.sequential.method import _Steps

    table, slices = UNEVEN.joined()
    windows = sequences.Windows(sequences.user_histories(UNEVEN), 50, 1000)
    tensors = initial(method.shapes(UNEVEN), 1, 0.3)
    steps = _Steps(method, windows, table, slices)
    (batch,) = steps.epoch(0)
    if only is not None:
        target_BL = batch.window.target_BL
        mine_BL = (target_BL >= slices[only].start) & (target_BL < slices[only].stop)
        batch = batch._replace(window=batch.window._replace(target_BL=np.where(mine_BL, target_BL, -1)))
    target_weights = method.target_weights(UNEVEN, tensors, 1)
    target_weights.begin(0)
    loss = method.losses(tensors, batch, torch.from_numpy(steps.share_I), target_weights)["all domains"]
    return np.asarray(torch.autograd.grad(loss, tensors["block.0.up.weight"])[0].numpy())


@pytest.mark.parametrize(
    "settings", [{}, {"domain_weighting": "none"}, {"schedule.signal": "gradient"}], ids=str
)
def test_the_magnitude_of_each_domains_gradient_is_on_record(settings: dict[str, Any]) -> None:
    """The norm, by domain, of the gradient at the states, as autograd has it for a single batch."""
    method = SMALL.with_settings({"epochs": 1, "batch_size": 1000, "encoder.dropout": 0.0, **settings})
    logged = method.fit(UNEVEN, ONE).log[0]
    assert set(logged["gradient_of"]) == {"large", "small"}
    if "schedule.signal" in settings:
        return
    from landbridge.data.sampling import sequences
    from landbridge.models.sequential.method import _Steps

    table, slices = UNEVEN.joined()
    windows = sequences.Windows(sequences.user_histories(UNEVEN), 8, 1000)
    tensors = initial(method.shapes(UNEVEN), ONE.seed, method.init_std)
    steps = _Steps(method, windows, table, slices)
    (batch,) = steps.epoch(0)
    target_weights = method.target_weights(UNEVEN, tensors, ONE.seed)
    target_weights.begin(0)
    (part,) = method.target_batches(tensors, batch, torch.from_numpy(steps.share_I), target_weights)
    loss = method.losses_of(tensors, [part], target_weights)["all domains"]
    (grad_TF,) = torch.autograd.grad(loss, part.query_TF)
    domain_T = target_weights.domain_I[part.target_T]
    for number, name in enumerate(UNEVEN.domain_names):
        expected = float(grad_TF[domain_T == number].norm())
        assert logged["gradient_of"][name] == pytest.approx(expected, rel=1e-4)


def test_weights_amplify_the_gradient_of_a_sparse_domain() -> None:
    ratio = {}
    for weigh in ("none", "sparsity"):
        method = SMALL.with_settings({"epochs": 1, "domain_weighting": weigh})
        norm = method.fit(UNEVEN, ONE).log[0]["gradient_of"]
        ratio[weigh] = norm["small"] / norm["large"]
    assert ratio["sparsity"] > 1.2 * ratio["none"]


def test_weighing_finds_the_niche_that_a_generic_model_leaves_for_last() -> None:
    """A crowd and a few users with an order of their own, and few steps to learn it in."""
    data = walks({"large": 240, "small": 12})
    generic, weighed = (
        SMALL.with_settings(
            {
                "epochs": 12,
                "lr": 0.003,
                "loss.kind": "softmax",
                "schedule.weight_map.max_weight": 20.0,
                "schedule.weight_map.kappa": 1.0,
                "domain_weighting": weigh,
            }
        )
        for weigh in ("none", "sparsity")
    )
    small = [next_found(method, data, "small") for method in (generic, weighed)]
    large = [next_found(method, data, "large") for method in (generic, weighed)]
    assert small[1] > small[0] + 0.3
    assert large[1] > large[0] - 0.1


def next_found(method: DWL, data: MultiDomain, domain: str) -> float:
    """The share of a domain's users whose next item is the best of all that they have not."""
    fitted = method.fit(data, ONE)
    table = data[domain]
    people = np.flatnonzero(table.user_counts)
    scores = {name: fitted.score(name, Queries.of_users(people)) for name in data.domain_names}
    for row, user in enumerate(people):
        scores[domain][row, table.item_idx[table.user_idx == user]] = -np.inf
    assert table.time is not None
    last = [table.item_idx[table.user_idx == u][np.argmax(table.time[table.user_idx == u])] for u in people]
    best = np.argmax(scores[domain], axis=1) == (np.array(last) + 1) % 15
    elsewhere = max(scores, key=lambda name: name != domain)
    return float(np.mean(best & (scores[domain].max(axis=1) > scores[elsewhere].max(axis=1))))


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule.signal": "loss"},
        {"schedule.signal": "gradient"},
        {"schedule.signal": "window", "schedule.window_days": 1e-4},
    ],
)
def test_signals_move_weights_and_a_fit_that_was_cut_off_goes_on(
    settings: dict[str, Any], tmp_path: Any
) -> None:
    method = SMALL.with_settings(
        {"epochs": 5, "schedule.update_every": 1, "encoder.dropout": 0.2, **settings}
    )
    whole = method.fit(UNEVEN, ONE)
    weights = [record["weight"]["small"] for record in whole.log]
    assert len(set(weights)) > 2
    kill = Kill()
    options = replace(ONE, work_dir=tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        method.fit(UNEVEN, replace(options, validate=kill))
    assert same(dict(whole.weights), dict(method.fit(UNEVEN, options).weights))


class Kill:
    """Validates three times."""

    calls = 0

    def __call__(self, fitted: object) -> float:
        self.calls += 1
        if self.calls > 3:
            raise KeyboardInterrupt
        return 0.0


def test_an_item_of_several_domains_counts_as_its_sparsest_one_says() -> None:
    belongs = {"large": np.zeros((15, 2), bool), "small": np.zeros((15, 2), bool)}
    belongs["large"][:, 0] = belongs["small"][:, 1] = True
    belongs["large"][3, 1] = True
    data = MultiDomain(UNEVEN.users, UNEVEN.items, UNEVEN.domains, memberships=belongs)
    found = {}
    for combine in ("max", "mean"):
        weighed = SparsityWeights(replace(SMALL, combine=combine).weight_rule, data, torch.device("cpu"))
        weighed.begin(0)
        found[combine] = weighed.item_weights()
    assert found["max"][3] == found["max"][20] > found["max"][4]
    assert found["mean"][20] > found["mean"][3] > found["mean"][4]


def test_the_published_settings() -> None:
    """arXiv 2510.04375: sections on the weights, their updates and the experiments."""
    published = PUBLISHED.flat()
    assert {key: published[key] for key in published if key.startswith("schedule")} == {
        "schedule.sparsity.alpha": 1.0,  # not published
        "schedule.sparsity.beta": 0.6,  # not published
        "schedule.sparsity.gamma": 0.2,  # not published
        "schedule.sparsity.count_unit": "events",
        "schedule.sparsity.entropy": "items",
        "schedule.sparsity.standardise": False,
        "schedule.weight_map.kind": "literal",
        "schedule.weight_map.min_weight": 0.2,
        "schedule.weight_map.max_weight": 5.0,
        "schedule.weight_map.kappa": 0.5,  # of another map
        "schedule.weight_map.temperature": 1.0,  # of another map
        "schedule.renorm": False,
        "schedule.momentum": 0.9,
        "schedule.update_every": 2,
        "schedule.bias_correction": False,
        "schedule.initial_weights": "ones",
        "schedule.signal": "static",
        "schedule.window_days": None,
    }
    sizes = PUBLISHED.encoder
    assert (sizes.factors, sizes.blocks, sizes.heads, sizes.hidden, sizes.max_length) == (
        256,
        4,
        8,
        1024,
        100,
    )
    assert (PUBLISHED.epochs, PUBLISHED.batch_size, PUBLISHED.weight_decay) == (10, 256, 0.01)
    loss = PUBLISHED.loss
    assert (loss.kind, loss.log_q, loss.sampled_negatives) == ("sampled", "standard", 0)
    assert PUBLISHED.literal


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"domain_weighting": "often"}, "Unknown dwl.domain_weighting"),
        ({"domain_weighting": "fixed"}, "belong together"),
        ({"combine": "min"}, "Unknown dwl.combine"),
        ({"schedule.weight_map.kind": "linear"}, "Unknown dwl.schedule.weight_map.kind"),
        ({"schedule.weight_map.min_weight": 2.0}, "min_weight must be"),
        ({"schedule.signal": "window"}, "window_days"),
        ({"schedule.signal": "gradient", "encoder.blocks": 0}, "blocks to 1 or more"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SMALL.with_settings(settings)


def test_weights_of_unknown_domains_are_refused() -> None:
    with pytest.raises(SettingsError, match="domain in weights"):
        SMALL.with_settings({"domain_weighting": "fixed", "weights": {"smal": 2.0}}).fit(UNEVEN, ONE)
