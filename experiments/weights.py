"""Which part of DWL's weights does it, and what do several objectives cost each other? On MovieLens-100k.

    python -m experiments.weights [--jobs 2]

Settings are those of the control, "generic", chosen as in :mod:`experiments.dwl`. Then `landbridge study
weights` with two seeds; the finalists with three more seeds, which had no say in who they are; `landbridge
ablate objectives` with two seeds. All of it goes on where it was when it is started again.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from experiments import benches
from experiments.benches import Results, compared, spread
from experiments.choice import entry
from experiments.common import PAGES, markdown, page, selected_studies
from experiments.dwl import RAISED, Study, prepared, settled
from experiments.raised import raised
from landbridge.core.progress import Terminal
from landbridge.data.splitting.holdout import ACROSS
from landbridge.datasets.movielens import GENRES_100K
from landbridge.evaluation.evaluate import Evaluation, over_seeds
from landbridge.evaluation.significance import compare
from landbridge.models.sequential.dwl import DWL
from landbridge.reports.write import report
from landbridge.studies.ablation.objectives import ObjectiveAblation, ablate_objectives
from landbridge.studies.ablation.plan import BENCH, AblationResult
from landbridge.studies.ablation.weight_tables import (
    ALL,
    BASE,
    FIXED,
    GENERIC,
    REST,
    SPARSE,
    group_by_sparsity,
)
from landbridge.studies.ablation.weight_trajectories import WeightInputs
from landbridge.studies.ablation.weights import WeightAblation, ablate_weights

RUNS, SPECS = Path("runs/weights"), Path(__file__).parent / "weights"
STUDIES = {
    "movielens-100k": Study(
        {"dataset": "movielens-100k", "domains": list(GENRES_100K[1:]), "min_rating": 0.0},
        {"loss.temperature": (0.1,), "encoder.dropout": (0.2, 0.5)},
        settings={"loss.mask_history": False},
    )
}
FIRST, FRESH = (1, 2), (3, 4, 5)  # seeds of all cells, and of the finalists alone
STEPS = 2  # every λ is a multiple of a half
METRIC = "ndcg@10"


def main() -> None:
    """Each data set after the other."""
    names, jobs = selected_studies(__doc__, STUDIES)
    for name in names:
        _study(name, STUDIES[name], jobs)


def _study(name: str, study: Study, jobs: int) -> None:
    source, out = study.source(name), RUNS / name
    split, choice = prepared(source)
    quartile = WeightInputs.of(split.test.history).sparsest
    settings = entry(BASE, settled(choice, study.generic, study.tried))["settings"]
    del settings["domain_weighting"]
    weights = ablate_weights(WeightAblation(source, settings), out / "weights", jobs, Terminal())
    report(out / "weights" / BENCH, RUNS / f"{name}.html")
    first = Results.read(out / "weights" / BENCH)
    finalists = _finalists(first, quartile)
    _again(name, finalists, jobs)
    control = DWL.from_settings({**settings, "domain_weighting": "none"})
    fixed = control.with_settings({"domain_weighting": "fixed", "weights": dict.fromkeys(quartile, RAISED)})
    weighed = {BASE: control.with_settings({"domain_weighting": "sparsity"}), FIXED: fixed}
    after = raised(control, weighed, split.test, FIRST, out / "raised")
    plan = ObjectiveAblation(source, settings, steps=STEPS)
    objectives = ablate_objectives(plan, out / "objectives", jobs, Terminal())
    reported = ", ".join(f"{key} {value}" for key, value in settings.items())
    parts = [
        f"{reported}, else the defaults. One list over all domains, every user's latest event held out. The "
        f"sparsest quartile of the domains: {', '.join(quartile)}.",
        "## One part of the weights at a time\n\nTwo seeds. " + _ablated(weights),
        _picture(name, out / "weights" / "gains.svg", "Gain of every cell in every domain"),
        "## Finalists\n\nGeneric, fixed, the base, and of the others the best in the sparsest quartile and "
        "the best overall, by these two seeds.\n\n" + _reported(name, finalists, quartile),
        "## Or after learning\n\nThe generic model of both seeds, its scores raised by the logarithm of the "
        "weights that base and fixed learn with.\n\n" + _after(first, after, quartile),
        "## Several objectives\n\nTwo seeds. " + _ablated(objectives),
        _picture(name, out / "objectives" / "pareto.svg", "Other domains and sparsest quartile by λ"),
    ]
    page(f"weights-{name}", f"DWL's weights on {name}", parts, f"weights {name}")


def _finalists(results: Results, quartile: tuple[str, ...]) -> list[str]:
    """The controls, the base, and the best other cell in the sparsest quartile and over all users."""
    history = [GENERIC, FIXED, BASE]
    means = {
        label: group_by_sparsity(results.evaluation(label, ACROSS), quartile).means(METRIC)
        for label in results.evaluations
        if label not in history
    }
    best = [max(means, key=lambda label: means[label][part]) for part in (SPARSE, ALL)]
    return list(dict.fromkeys([*history, *best]))


def _again(name: str, finalists: Sequence[str], jobs: int) -> None:
    """Fit the finalists with fresh seeds."""
    tables = tomllib.loads((RUNS / name / "weights" / BENCH / "spec.toml").read_text())
    methods = [each for each in tables["methods"] if each["label"] in finalists]
    fresh = {**tables, "seeds": list(FRESH), "methods": methods}
    label = f"{name}-finalists"
    benches.run(fresh, SPECS / f"{label}.toml", RUNS / name / "finalists", RUNS / f"{label}.html", jobs)


def _reported(name: str, finalists: Sequence[str], quartile: tuple[str, ...]) -> str:
    """Means with all seeds, and gains with the fresh ones."""
    results = Results.read(RUNS / name / "weights" / BENCH, RUNS / name / "finalists")
    rows = []
    for label in finalists:
        seeds = results.evaluations[label][ACROSS]
        own = [
            group_by_sparsity(over_seeds({seed: each}), quartile).means(METRIC)
            for seed, each in seeds.items()
        ]
        parts = {part: spread([each[part] for each in own]) for part in (SPARSE, REST, ALL)}
        rows.append({"cell": label, "seeds": len(own), **parts})
    evaluated = {
        label: group_by_sparsity(results.evaluation(label, ACROSS, FRESH), quartile) for label in finalists
    }
    control = evaluated.pop(GENERIC)
    return (
        f"{markdown(rows)}\n\nAgainst generic, with the {len(FRESH)} seeds that had no say in who is a "
        f"finalist:\n\n{compared([compare(each, control, METRIC) for each in evaluated.values()])}"
    )


def _after(first: Results, after: Mapping[str, Mapping[int, Evaluation]], quartile: tuple[str, ...]) -> str:
    """Weights while learning beside weights afterwards."""
    rows, reported = [], []
    for label, seeds in after.items():
        learned = group_by_sparsity(first.evaluation(label, ACROSS), quartile)
        later = replace(group_by_sparsity(over_seeds(seeds), quartile), name=f"{label}, afterwards")
        rows += [{"cell": each.name, **each.means(METRIC)} for each in (learned, later)]
        reported.append(compare(learned, later, METRIC))
    return f"{markdown(rows)}\n\n{compared(reported)}"


def _ablated(found: AblationResult) -> str:
    """Tables and verdict."""
    tables = [
        f"{title} (* significant after Holm's correction):\n\n{markdown(table.to_dicts())}"
        for title, table in found.tables.items()
    ]
    return "\n\n".join([*tables, *(f"> {line}" for line in found.verdict.splitlines())])


def _picture(name: str, file: Path, reported: str) -> str:
    """A copy beside the pages."""
    folder = PAGES / "weights"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(file, folder / f"{name}-{file.name}")
    return f"![{reported}](weights/{name}-{file.name})"


if __name__ == "__main__":
    main()
