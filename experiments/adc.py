"""Does balancing pay? ADC's factorial, the systems it is held against, and the curves of its two settings.

    python -m experiments.adc ciao food-kitchen movielens-1m [--jobs 2]

Settings come from 2,000 validation users at most with one seed, by NDCG@10 over the whole catalogue and with
equal weights, so that what is tuned is the control. Then per sharing `landbridge study balance`, a benchmark
of all systems, and on Ciao α and η one at a time. All of it goes on where it was when it is started again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments import benches
from experiments.adc_page import Findings, adc_page
from experiments.choice import Choice, entry, some_users
from experiments.common import cell, grid, selected_studies
from landbridge.core.progress import Terminal
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.evaluation.evaluate import Evaluation
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.pairwise.bprmf import BPRMF
from landbridge.models.popularity import Popularity
from landbridge.models.towers.adc import ADC, Balance
from landbridge.models.towers.cmf import CMF
from landbridge.models.towers.conet import CoNet
from landbridge.models.towers.neumf import NeuMF
from landbridge.reports.write import report
from landbridge.studies.ablation.balance import COMPARED, Ablation, ablate
from landbridge.studies.ablation.plan import source_of
from landbridge.studies.benchmark import jobs as cells
from landbridge.training.weighting.gradnorm import COMPLEXITIES

RUNS, SPECS = Path("runs/adc"), Path(__file__).parent / "adc"
SPLIT = {"kind": "random", "seed": 15}
ALS = {"alpha0": (0.03, 0.1, 0.3), "reg": (0.1, 0.5, 2.0)}
REGS = (1e-5, 1e-2)
ALPHAS, RATES = (0.0, 0.5, 1.0, 1.5, 3.0), (0.005, 0.025, 0.1, 0.5)
PATIENCE = 8  # validations without a better figure; 15 on Ciao
EQUAL = Balance("none")


@dataclass(frozen=True)
class Study:
    """``data``: as a benchmark has them. ``seeds`` of the ablation and ``contest`` seeds of all systems.

    ``settings``: of all networks, where the defaults take too long. ``sparsities`` of SCoNet. ``every``:
    epochs of a network between validations. ``curves``: whether α and η are varied.
    """

    data: Mapping[str, Any]
    sharing: tuple[str, ...] = ("tower",)
    balance: tuple[str, ...] = ("none", "gradnorm", "uncertainty")
    complexity: tuple[str, ...] = ("rate",)
    seeds: int = 3
    contest: int = 3
    settings: Mapping[str, Any] = field(default_factory=dict)
    lrs: tuple[float, ...] = (3e-4, 1e-3)
    losses: tuple[str, ...] = ("bce", "bpr")
    sparsities: tuple[float, ...] = (0.1, 1.0, 5.0)
    every: int = 1
    curves: bool = False


BALANCE = ("none", "fixed", "grid", "gradnorm", "uncertainty")
CIAO = {"dataset": "ciao", "domains": ["DVDs", "Books", "Music", "Games", "Beauty", "Software"]}
STUDIES = {
    "ciao": Study(CIAO, ("user", "tower", "cross"), BALANCE, COMPLEXITIES, contest=5, curves=True),
    "food-kitchen": Study({"dataset": "food-kitchen"}, losses=("bce",)),
    "movielens-1m": Study(
        {"dataset": "movielens-1m"},
        contest=1,
        settings={"batch_size": 16384},
        lrs=(1e-3,),
        losses=("bce",),
        sparsities=(5.0,),  # the best on both others
        every=2,
    ),
}


def main() -> None:
    """Each data set after the other."""
    names, jobs = selected_studies(__doc__, STUDIES)
    for name in names:
        _study(name, STUDIES[name], jobs)


def _study(name: str, study: Study, jobs: int) -> None:
    source = {"name": name, "split": SPLIT, "candidates": [0, 99], **study.data}
    split = _split(source)
    choice = Choice(
        name, some_users(split.valid), RUNS / "settled", _every(study), _fitted_on(split.valid), PATIENCE
    )
    settled = {sharing: choice.best(_equal(study, split.valid, sharing)) for sharing in study.sharing}
    verdicts = {}
    for sharing, method in settled.items():
        plan = Ablation(
            source,
            settings=_changed(method),
            balance=study.balance,
            complexity=study.complexity,
            sharing=(sharing,),
            seeds=study.seeds,
        )
        verdicts[sharing] = ablate(plan, RUNS / name / sharing, jobs, Terminal()).verdict
        report(RUNS / name / sharing / "bench", RUNS / f"{name}-{sharing}.html")
    base = replace(settled["tower"], balance=Balance())
    methods = _systems(choice, study, base) | {"ADC, equal weights": replace(base, balance=EQUAL)}
    contest = {"seeds": list(range(1, study.contest + 1)), "reference": "ADC"}
    _benchmark(name, "contest", source, contest, methods, jobs)
    if study.curves:
        varied = {f"alpha {value:g}": replace(base, balance=Balance(alpha=value)) for value in ALPHAS}
        varied |= {f"eta {value:g}": replace(base, balance=Balance(lr=value)) for value in RATES}
        _benchmark(name, "curves", source, {"seeds": [1, 2]}, varied, jobs)
    single_domain = _single_domain(choice, study, split, base)
    adc_page(name, Findings(RUNS / name, study.sharing, verdicts, settled, single_domain, study.curves))


def _split(source: Mapping[str, Any]) -> Split:
    return cells.prepared_split(source_of(source, ADC.name))


def _fitted_on(valid: Holdout) -> Any:
    return lambda method, options: method.fit(valid.history, options)


def _every(study: Study) -> Callable[[Method], int]:
    """Epochs between validations: networks of products and towers pass their best within a few."""

    def every(method: Method) -> int:
        if isinstance(method, ADC | CMF | CoNet | NeuMF):
            return study.every
        return 5 if isinstance(method, BPRMF) else 4

    return every


def _equal(study: Study, valid: Holdout, sharing: str) -> Iterable[ADC]:
    """What is tuned for a sharing. Weights of 1 train as ``none`` does and measure nothing."""
    names = valid.history.domain_names
    fixed = Balance("fixed", weights=dict.fromkeys(names, 1.0))
    base = ADC(sharing=sharing, balance=fixed, **study.settings)
    return grid(base, lr=study.lrs, **{"loss.kind": study.losses}, reg=REGS)


def _changed(method: Method) -> dict[str, Any]:
    """The settings that are no part of what is compared."""
    return {key: value for key, value in method.changed().items() if key not in COMPARED}


def _systems(choice: Choice, study: Study, base: ADC) -> dict[str, Method]:
    """Label -> method with what validation data say."""
    conet = choice.best(grid(CoNet(**study.settings), lr=study.lrs, **{"loss.kind": study.losses}, reg=REGS))
    mlp = choice.best(_equal(study, choice.valid, "user"))
    return {
        "ADC": base,
        "popularity": Popularity(),
        "BPRMF": choice.best(grid(BPRMF(epochs=60), reg=REGS)),
        "NeuMF": choice.best(grid(NeuMF(**study.settings), lr=study.lrs, reg=(0.03, 0.3))),
        "CMF": choice.best(grid(CMF(**study.settings), lr=study.lrs, reg=REGS)),
        "MLP++": replace(mlp, balance=EQUAL),
        "CoNet": conet,
        "SCoNet": choice.best(replace(conet, epochs=60, sparsity=value) for value in study.sparsities),
        "joined ALS": choice.best(grid(IALS(epochs=12, sharing="joined"), **ALS)),
        "CDIMF": choice.best(grid(CDIMF(), **ALS)),
    }


def _benchmark(
    name: str,
    kind: str,
    source: Mapping[str, Any],
    tables: Mapping[str, Any],
    methods: Mapping[str, Method],
    jobs: int,
) -> None:
    """Run, kept as experiments/adc/NAME-KIND.toml, with its report."""
    tables = {
        **tables,
        "data": [source],
        "methods": [entry(label, method) for label, method in methods.items()],
    }
    own = f"{name}-{kind}"
    benches.run(tables, SPECS / f"{own}.toml", RUNS / name / kind, RUNS / f"{own}.html", jobs)


def _single_domain(choice: Choice, study: Study, split: Split, base: ADC) -> list[Evaluation]:
    """The same network on the largest domain alone, its epochs chosen anew, once per seed."""
    history = split.valid.history
    densest = max(history.domain_names, key=lambda domain: len(history[domain]))
    valid = _alone(choice.valid, densest)
    alone = replace(choice, valid=valid, fit=_fitted_on(valid))
    method = alone.best([replace(base, balance=EQUAL, epochs=60)])
    test = _alone(split.test, densest)
    return [cell(method, test, seed, "test")[0] for seed in range(1, study.contest + 1)]


def _alone(holdout: Holdout, domain: str) -> Holdout:
    return Holdout(holdout.history.select([domain]), {domain: holdout.targets[domain]})


if __name__ == "__main__":
    main()
