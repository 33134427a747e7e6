"""Metrics by name: those of the page on adding one, one without a cutoff, and names that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pages import code_blocks

from landbridge.core.errors import SettingsError
from landbridge.evaluation import metrics
from landbridge.evaluation.metrics import Metric

PAGE = Path(__file__).parents[3] / "docs" / "extending" / "metric.md"


def test_the_page_adds_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_KINDS", dict(metrics._KINDS))
    namespace: dict[str, object] = {}
    for block in code_blocks(PAGE):
        exec(block, namespace)
    assert Metric.parse("f1@3") == Metric("f1", 3)
    assert Metric.parse("rbp@3") == Metric("rbp", 3)
    with pytest.raises(SettingsError, match="already a metric 'f1'"):
        metrics.register_metric("f1", namespace["f1"])


def test_auc_is_the_share_of_other_items_below_the_target() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores_I = rng.integers(0, 4, rng.integers(2, 9)).astype(float)
        target, others_J = scores_I[0], scores_I[1:]
        above, ties = int((others_J > target).sum()), int((others_J == target).sum())
        slow = float(np.mean((others_J < target) + 0.5 * (others_J == target)))
        one = np.zeros(1, np.int64)
        value_N = Metric.parse("auc").per_unit(one, one + above, one + ties, one + len(others_J))
        assert value_N[0] == pytest.approx(slow)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ndgc@10", "did you mean 'ndcg@10'"),
        ("ndcg", "needs a whole cutoff"),
        ("ndcg@0", "needs a whole cutoff"),
        ("auc@10", "'auc' has no cutoff"),
    ],
)
def test_wrong_names(name: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Metric.parse(name)
