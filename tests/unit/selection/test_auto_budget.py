"""What ``auto`` may spend where nothing is said."""

import numpy as np
import pytest

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.selection.auto import default_budget


@pytest.mark.parametrize(
    ("events", "trials", "seconds"),
    [(100, 12, 60.0), (20_000, 12, 60.0), (50_000, 20, 150.0), (100_000, 40, 300.0), (160_000, 40, 300.0)],
)
def test_little_data_takes_less_time(events: int, trials: int, seconds: float) -> None:
    users, items = 400, 400
    pair_N = np.arange(events)
    table = Interactions.from_events(pair_N // items, pair_N % items, users, items)
    data = MultiDomain(Vocabulary.of(np.arange(users)), {"a": Vocabulary.of(np.arange(items))}, {"a": table})
    assert default_budget(data).seconds == pytest.approx(seconds)
    assert default_budget(data).trials == trials
