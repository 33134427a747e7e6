"""One list over all domains: calibrated scores beside raw ones and lists interleaved by each domain's share.

Uses the settings and weights that ``experiments.default`` has chosen; the split is the leak-free one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from experiments.common import SEEDS, markdown, page
from experiments.default import STUDIES, chosen
from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.evaluation.evaluate import Evaluation, evaluate, over_seeds
from landbridge.evaluation.protocols import Scorer
from landbridge.models.base import Method
from landbridge.models.mixture import BlendModel
from landbridge.selection.calibration import calibrated
from landbridge.training.options import FitOptions

DATA = ("food-kitchen", "movielens-1m", "ciao")
METRIC = "ndcg@10"


@dataclass(frozen=True, eq=False)
class Interleaved:
    """The lists of a model, interleaved so that each domain has its share of the user's events."""

    model: BlendModel

    @property
    def history(self) -> MultiDomain:
        """As of the model."""
        return self.model.history

    @property
    def method(self) -> Method:
        """As of the model."""
        return self.model.method

    def score(self, domain: str, queries: Queries) -> Float32:
        """As of the model."""
        return self.model.score(domain, queries)

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """- (rank of the unseen item in its domain) / share of the domain."""
        scores_BI = self.model.score(domain, queries)
        seen = queries.histories(self.history, domain)
        scores_BI[seen.entry_rows, seen.columns] = -np.inf
        rank_BI = np.argsort(np.argsort(-scores_BI, axis=1, kind="stable"), axis=1) + 0.5
        place = self.history.domain_names.index(domain)
        share_B = self.model.domain_shares(queries)[:, place]
        return np.asarray(-rank_BI / share_B[:, None], np.float32)


@dataclass(frozen=True, eq=False)
class Raw(Interleaved):
    """The scores as they are, the cold policy included."""

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """As ``score``."""
        return self.model.score(domain, queries)


def main(names: list[str]) -> None:
    """Measure and write the page."""
    rows = []
    for name in names or DATA:
        means = {label: evaluation.means(METRIC) for label, evaluation in _evaluated(name).items()}
        for label, value in means.items():
            rows.append({"data": name, "list": label, METRIC: float(np.mean(list(value.values())))})
            print(rows[-1], flush=True)
    text = (
        "Mean over domains of NDCG@10 on test, every item of every domain in one list, three seeds. "
        "`calibrated` is what a run of `auto` serves: the logarithm of the probability of the next event, "
        "with a slope per domain and the user's share of each domain fitted on validation data. "
        "`interleaved` takes the lists of the domains in turn by the same shares. `with cold policy` adds "
        "popularity for users without events in a domain."
    )
    page("across", "One list over several domains", [text, markdown(rows)])


def _evaluated(name: str) -> dict[str, Evaluation]:
    split = STUDIES[name]()
    members, mixture = chosen(name, split)
    serving = {label: members[label] for label in mixture.members}
    options = FitOptions(seed=SEEDS[0])
    on_train = {label: method.fit(split.train, options) for label, method in serving.items()}
    mixture = calibrated(BlendModel(split.train, mixture, (), on_train), split.valid, SEEDS[0])
    print(name, mixture.slopes, mixture.smoothing, flush=True)
    seeds: dict[str, dict[int, Evaluation]] = {}
    for seed in SEEDS:
        wanted = {**serving, "joined": members["joined"], "ease joined": members["ease joined"]}
        fitted = {
            label: method.fit(split.test.history, FitOptions(seed=seed)) for label, method in wanted.items()
        }
        blend = BlendModel(split.test.history, mixture, (), {label: fitted[label] for label in serving})
        raw = replace(blend, method=replace(mixture, slopes={}))
        scorers: Mapping[str, Scorer] = {
            "auto, calibrated": blend,
            "auto, raw": raw,
            "auto, interleaved": Interleaved(blend),
            "joined ALS": fitted["joined"],
            "joined ALS, with cold policy": Raw(fitted["joined"]),
            "joined EASE": fitted["ease joined"],
            "joined EASE, with cold policy": Raw(fitted["ease joined"]),
        }
        for label, scorer in scorers.items():
            seeds.setdefault(label, {})[seed] = evaluate(scorer, split.across().test)
    return {label: over_seeds(evaluations) for label, evaluations in seeds.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
