"""DWL against a generic sequence model, fixed weights, SASRec and joined ALS, in one list over all domains.

    python -m experiments.dwl food-kitchen ciao movielens-1m [--jobs 2]

Every user's latest event is the test row and the one before it the validation row; all unseen items of all
domains are ranked. Settings come from 2,000 validation users at most with one seed, by NDCG@10 and without
weights, so that what is tuned is the control. The systems are fitted with all seeds, variants of DWL with
some of them. All of it goes on where it was when it is started again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments import benches
from experiments.choice import Choice, entry, some_users
from experiments.common import grid, selected_studies
from experiments.dwl_page import dwl_page
from landbridge.data.splitting.holdout import Split
from landbridge.datasets.movielens import GENRES_100K
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.popularity import Popularity
from landbridge.models.sequential.dwl import DWL
from landbridge.models.sequential.sasrec import SASRec
from landbridge.studies.ablation.plan import source_of
from landbridge.studies.benchmark import jobs as cells

RUNS, SPECS = Path("runs/dwl"), Path(__file__).parent / "dwl"
LATEST = {"kind": "latest", "seed": 15}
ALS = {"alpha0": (0.03, 0.1, 0.3), "reg": (0.1, 0.5, 2.0)}
EVERY, PATIENCE = 2, 4  # epochs between validations, and so many without a better figure
FAST: dict[str, Any] = {"lr": 3e-3, "precision": "bfloat16"}
QUARTILE, RAISED = 0.25, 2.0  # of domains, by events; the published h of fixed weights


@dataclass(frozen=True)
class Study:
    """``data``: as a benchmark has them. ``tried``: settings of the generic model, name -> values, one name
    after the other. ``settings`` of it and ``sasrec`` of SASRec: where the defaults take too long. ``seeds``
    of systems, and ``few`` of variants but those ``left_out``; with 0 there are none."""

    data: Mapping[str, Any]
    tried: Mapping[str, tuple[Any, ...]]
    seeds: int = 5
    few: int = 2
    settings: Mapping[str, Any] = field(default_factory=dict)
    sasrec: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def source(self, name: str) -> dict[str, Any]:
        """The table of [[data]]."""
        return {"name": name, "split": LATEST, "candidates": [0], "across": True, **self.data}

    @property
    def generic(self) -> DWL:
        """The control before its settings are chosen."""
        return DWL.from_settings({"domain_weighting": "none", **FAST, **self.settings})


TRIED = {"loss.temperature": (None, 0.1), "encoder.dropout": (0.2, 0.5)}
DRAWN = {
    "loss.kind": "sampled",
    "loss.log_q": "corrected",
    "loss.sampled_negatives": 1000,
}  # with all 65,000 items an epoch is minutes
STUDIES = {
    "food-kitchen": Study({"dataset": "food-kitchen"}, TRIED, few=0, sasrec=DRAWN),  # its weights are all 1
    "ciao": Study({"dataset": "ciao"}, TRIED, sasrec=DRAWN),
    "movielens-1m": Study(
        {"dataset": "movielens-1m", "domains": list(GENRES_100K[1:]), "min_rating": 0.0},
        {"loss.temperature": (0.1,)},  # what the others choose
        few=1,
        settings={"loss.mask_history": False},
        left_out=("DWL, literal", "DWL, by loss", "DWL, by gradient"),
    ),
}


def main() -> None:
    """Each data set after the other."""
    names, jobs = selected_studies(__doc__, STUDIES)
    for name in names:
        _study(name, STUDIES[name], jobs)


def _study(name: str, study: Study, jobs: int) -> None:
    source = study.source(name)
    split, choice = prepared(source)
    generic = settled(choice, study.generic, study.tried)
    sasrec = settled(choice, SASRec.from_settings({**FAST, **study.sasrec}), study.tried)
    systems: dict[str, Method] = {
        "generic": generic,
        "DWL": generic.with_settings({"domain_weighting": "sparsity"}),
        "fixed": generic.with_settings(
            {"domain_weighting": "fixed", "weights": dict.fromkeys(sparsest(split), RAISED)}
        ),
        "SASRec": sasrec,
        "joined ALS": choice.best(grid(IALS(epochs=12, sharing="joined"), **ALS)),
        "popularity": Popularity(),
    }
    _benchmark(name, source, systems, study.seeds, jobs)
    folders = [RUNS / name]
    if study.few:
        variants = {label: each for label, each in _variants(generic).items() if label not in study.left_out}
        folders.append(RUNS / f"{name}-variants")
        _benchmark(f"{name}-variants", source, variants, study.few, jobs)
    dwl_page(name, folders, sparsest(split))


def _benchmark(
    name: str, source: Mapping[str, Any], methods: Mapping[str, Method], seeds: int, jobs: int
) -> None:
    """Run, kept as experiments/dwl/NAME.toml, with its report."""
    tables = {
        "data": [source],
        "seeds": list(range(1, seeds + 1)),
        "metrics": ["ndcg@10", "recall@10"],
        "by": ["domain", "event_share"],
        "methods": [entry(label, method) for label, method in methods.items()],
    }
    benches.run(tables, SPECS / f"{name}.toml", RUNS / name, RUNS / f"{name}.html", jobs)


def _variants(generic: DWL) -> dict[str, Method]:
    """Label -> method: like "generic" in all but the weights."""
    weighed = generic.with_settings({"domain_weighting": "sparsity"})
    moving = weighed.with_settings({"schedule.initial_weights": "ones"})
    return {
        "DWL, frequency": weighed.with_settings(
            {"schedule.sparsity.beta": 0.0, "schedule.sparsity.gamma": 0.0}
        ),
        "DWL, entropy": weighed.with_settings(
            {"schedule.sparsity.alpha": 0.0, "schedule.sparsity.beta": 0.0, "schedule.sparsity.gamma": 1.0}
        ),
        "DWL, from 1": moving,
        "DWL, from 1, every epoch": moving.with_settings({"schedule.update_every": 1}),
        "DWL, literal": moving.with_settings(
            {
                "schedule.weight_map.kind": "literal",
                "schedule.renorm": False,
                "schedule.sparsity.entropy": "items",
            }
        ),
        "DWL, by loss": weighed.with_settings({"schedule.signal": "loss"}),
        "DWL, by gradient": weighed.with_settings({"schedule.signal": "gradient"}),
    }


def prepared(source: Mapping[str, Any]) -> tuple[Split, Choice]:
    """The data in one list over all domains, and what chooses settings on some of its users."""
    split = cells.prepared_split(source_of(source, DWL.name)).across()
    valid = some_users(split.valid)
    return split, Choice(
        str(source["name"]),
        replace(valid, across=True),
        RUNS / "settled",
        lambda method: EVERY,
        lambda method, options: method.fit(valid.history, options),
        PATIENCE,
    )


def settled(choice: Choice, method: Method, tried: Mapping[str, tuple[Any, ...]]) -> Any:
    """With the best value of one setting after the other."""
    chosen: dict[str, Any] = {}
    for key, values in tried.items():
        best = choice.best(method.with_settings({**chosen, key: value}) for value in values)
        chosen[key] = best.flat()[key]
    return best


def sparsest(split: Split) -> list[str]:
    """The quartile of domains with fewest training events, one at least."""
    history = split.valid.history
    order = sorted(history.domain_names, key=lambda name: (len(history[name]), name))
    return order[: max(1, round(QUARTILE * len(order)))]


if __name__ == "__main__":
    main()
