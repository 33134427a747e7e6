"""One list over all domains: calibrated scores beside raw ones and lists interleaved by each domain's share.

Uses the settings and weights that ``experiments.default`` has chosen; the split is the leak-free one.
A killed run continues.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from experiments.common import CELLS, SEEDS, markdown, page
from experiments.default import STUDIES, chosen
from landbridge.core.files import read_json, write_json
from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.splitting.holdout import Split
from landbridge.evaluation.evaluate import Evaluation, evaluate, over_seeds
from landbridge.evaluation.protocols import Scorer
from landbridge.models.base import Method
from landbridge.models.mixture import BlendModel, Mixture
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
    """Every list of a data set on test; what is measured is kept, so that a killed run continues."""
    split = STUDIES[name]()
    folder = CELLS / "across" / name
    seeds: dict[str, dict[int, Evaluation]] = {}
    for seed in SEEDS:
        for label, evaluation in _of_seed(name, split, seed, folder / str(seed)).items():
            seeds.setdefault(label, {})[seed] = evaluation
    return {label: over_seeds(evaluations) for label, evaluations in seeds.items()}


def _of_seed(name: str, split: Split, seed: int, folder: Path) -> dict[str, Evaluation]:
    done = folder / "done.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scorers = _scorers(name, split, seed)
        for number, scorer in enumerate(scorers.values()):
            evaluate(scorer, split.across().test).write(folder / f"{number}.parquet")
        write_json(done, list(scorers))
        print(name, seed, flush=True)
    return {
        label: Evaluation.read(folder / f"{number}.parquet") for number, label in enumerate(read_json(done))
    }


def _scorers(name: str, split: Split, seed: int) -> dict[str, Scorer]:
    """The lists that are compared, fitted on what is known at test time."""
    members, _ = chosen(name, split)
    mixture = _calibrated(name, split)
    wanted = {label: members[label] for label in (*mixture.members, "joined", "ease joined")}
    fitted = {
        label: method.fit(split.test.history, FitOptions(seed=seed)) for label, method in wanted.items()
    }
    blend = BlendModel(split.test.history, mixture, (), {label: fitted[label] for label in mixture.members})
    return {
        "auto, calibrated": blend,
        "auto, raw": replace(blend, method=replace(mixture, slopes={})),
        "auto, interleaved": Interleaved(blend),
        "joined ALS": fitted["joined"],
        "joined ALS, with cold policy": Raw(fitted["joined"]),
        "joined EASE": fitted["ease joined"],
        "joined EASE, with cold policy": Raw(fitted["ease joined"]),
    }


def _calibrated(name: str, split: Split) -> Mixture:
    """The blend with slopes and smoothing from validation data; kept once found."""
    path = CELLS / "across" / name / "mixture.json"
    if not path.exists():
        members, mixture = chosen(name, split)
        options = FitOptions(seed=SEEDS[0])
        on_train = {label: members[label].fit(split.train, options) for label in mixture.members}
        found = calibrated(BlendModel(split.train, mixture, (), on_train), split.valid, SEEDS[0])
        print(name, found.slopes, found.smoothing, flush=True)
        write_json(path, asdict(found))
    return Mixture.from_settings(read_json(path))


if __name__ == "__main__":
    main(sys.argv[1:])
