"""What the tests of BiTGCF and HeroGRAPH share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.synthetic import World
from landbridge.models.base import Fitted
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1, device="cpu")


def all_scores(fitted: Fitted) -> dict[str, np.ndarray[Any, Any]]:
    """The scores of all users in every domain, and of one without events."""
    users = Queries.of_users(np.arange(-1, fitted.history.n_users))
    return {name: fitted.score(name, users) for name in fitted.history.domain_names}


def close(one: Fitted, other: Fitted, atol: float = 1e-5) -> None:
    """Both models have the same domains' scores, in whatever order of the domains."""
    first, second = all_scores(one), all_scores(other)
    assert first.keys() == second.keys()
    for name, scores_BI in first.items():
        np.testing.assert_allclose(scores_BI, second[name], atol=atol, err_msg=name)


def own_group(fitted: Fitted, world: World) -> float:
    """How many of the ten best unseen items of the sparse domain a user truly likes."""
    history = world.split.test.history["sparse"]
    scores_UI = fitted.score("sparse", Queries.of_users(np.arange(world.data.n_users))).copy()
    scores_UI[history.user_idx, history.item_idx] = -np.inf
    best_U10 = np.argsort(-scores_UI, axis=1, kind="stable")[:, :10]
    return float(np.take_along_axis(world.likes["sparse"], best_U10, axis=1).mean())


def resumes(method: Any, data: MultiDomain, folder: Path) -> None:
    """A fit that breaks off in its third validation goes on to the same bits."""
    seen: list[Fitted] = []

    def validate(fitted: Fitted) -> float:
        seen.append(fitted)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return float(len(seen))

    options = FitOptions(threads=1, device="cpu", validate=validate, work_dir=folder)
    with pytest.raises(KeyboardInterrupt):
        method.fit(data, options)
    resumed, whole = method.fit(data, options), method.fit(data, ONE)
    assert len(seen) == 3 + method.epochs - 2
    for name, scores_BI in all_scores(resumed).items():
        assert np.array_equal(scores_BI, all_scores(whole)[name])
