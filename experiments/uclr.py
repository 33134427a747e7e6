"""UCLR rung by rung, beside what it has to beat: settings from validation data, then one benchmark each.

    python -m experiments.uclr ciao              settle, benchmark, report, page
    python -m experiments.uclr ciao-full         the same, settled by full ranking
    python -m experiments.uclr sensitivity       mask ratio, rank, alpha, objective, on Ciao
    python -m experiments.uclr sport-cloth-own   three rungs with settings of its own

Choices are made on 2,000 validation users at most with one seed, by NDCG@10 among 99 sampled items (the
paper's protocol); sport-cloth takes food-kitchen's. They stand in experiments/uclr/NAME.toml, which is
what the benchmark runs. Everything goes on where it was when the program is started again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.choice import TUNING_SEED, Choice, entry, some_users
from experiments.common import grid
from experiments.uclr_page import rungs_page, sensitivity_page, uclr_page
from landbridge.data.splitting.holdout import Holdout
from landbridge.data.splitting.splits import with_candidates
from landbridge.datasets.prepare import prepare_data
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.common.dot_product import DotProductModel
from landbridge.models.pairwise.bprmf import BPRMF
from landbridge.models.pairwise.lightgcn import LightGCN
from landbridge.models.popularity import Popularity
from landbridge.models.uclr.method import UCLR
from landbridge.reports.write import report
from landbridge.studies.benchmark.spec import Benchmark, benchmark_spec
from landbridge.training.options import FitOptions

RUNS, SPECS = Path("runs/uclr"), Path(__file__).parent / "uclr"
RANDOM = {"kind": "random", "seed": 15}
CIAO = {
    "name": "ciao",
    "dataset": "ciao",
    "domains": ["Books", "DVDs", "Food & Drink", "Games", "Music"],
    "split": RANDOM,
}
DATA: Mapping[str, tuple[int, int, dict[str, Any]]] = {  # seeds, sampled items, data as a benchmark has them
    "ciao": (5, 99, CIAO),
    "ciao-full": (5, 0, CIAO),
    "food-kitchen": (5, 99, {"name": "food-kitchen", "dataset": "food-kitchen", "split": RANDOM}),
    "sport-cloth": (3, 99, {"name": "sport-cloth", "dataset": "sport-cloth"}),
}
SETTLED_ON = {"sport-cloth": "food-kitchen"}  # of the same shop and size: its settings are carried over
COMMON = {
    "metrics": ["ndcg@10", "hr@10", "mrr@10", "ndcg@20", "hr@20", "mrr@20"],
    "by": ["domain", "activity"],
    "budget": {"jobs": 2},
}
OWN = "sport-cloth-own"
ALPHAS = (1e-3, 0.03, 0.1, 0.3, 1.0)
QUICK = {"lr": 3e-3, "epochs": 150}  # the network sees all users in a few steps: more, and longer ones
ALS = {"alpha0": (0.03, 0.1, 0.3), "reg": (0.1, 0.5, 2.0)}


def main(names: list[str]) -> None:
    """The named data sets, all by default."""
    for name in names or [*DATA, "sensitivity", OWN]:
        if name == "sensitivity":
            sensitivity_page(_run(name, _sensitivity()))
        elif name == OWN:
            rungs_page(name, _run(name, _own()))
        else:
            uclr_page(name, _run(name, _settled(name)))


def _run(name: str, tables: Mapping[str, Any]) -> Path:
    """The benchmark of these tables, kept as experiments/uclr/NAME.toml, with its report."""
    SPECS.mkdir(exist_ok=True)
    path, out = SPECS / f"{name}.toml", RUNS / name
    path.write_bytes(benchmark_spec(tables).toml())
    program = "from landbridge.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", program, "benchmark", str(path), "--out", str(out)], check=True)
    report(out, RUNS / f"{name}.html")
    return out


def _settled(name: str) -> dict[str, Any]:
    """The benchmark of a data set: every method with what validation data say."""
    seeds, candidates, source = DATA[name]
    tables = {
        **COMMON,
        "seeds": list(range(1, seeds + 1)),
        "data": [{"candidates": [0, 99], **source}],
        "methods": [{"label": "popularity", "name": "popularity"}],
    }
    source = SETTLED_ON.get(name, name)
    spec: Benchmark = benchmark_spec({**tables, "data": [{"candidates": [0, 99], **DATA[source][2]}]})
    split = prepare_data(spec.data[0].experiment())
    split = with_candidates(split, candidates, seed=TUNING_SEED) if candidates else split
    choice = _choice(source, some_users(split.valid))
    return {**tables, "reference": "BPRMF", "methods": [entry(*each) for each in _methods(choice).items()]}


def _methods(choice: Choice) -> dict[str, Method]:
    """Label -> method; every rung takes over what the rung below found."""
    bprmf = BPRMF(factors=128, epochs=100)
    pge = choice.best(
        [UCLR.from_settings({"stage": "pge", "pretrain.settings": {"reg": 1e-5, "epochs": 100, "lr": 1e-3}})]
    )
    rebuilt = choice.best(replace(pge, stage="ae", epochs=150, lr=lr) for lr in (1e-3, 3e-3))
    cl = choice.best(pge.with_settings({"stage": "cl", "contrast.alpha": alpha, **QUICK}) for alpha in ALPHAS)
    ucl = choice.best(
        pge.with_settings({"stage": "ucl", "contrast.alpha": alpha, **QUICK}) for alpha in ALPHAS
    )
    full = choice.best(
        ucl.with_settings({"stage": "full", "adaptation.epochs": 30, "adaptation.lora_targets": scope})
        for scope in ("all", "users")
    )
    literal = pge.with_settings(
        {"stage": "ucl", "contrast.temperature.objective": "uco", "contrast.alpha": 1e-3, "epochs": 150}
    )
    joined = choice.best(grid(IALS(factors=128, epochs=12, sharing="joined"), **ALS))
    pretrained = {
        "lightgcn": {"epochs": 60, "lr": 3e-3},
        "pepnet": {"epochs": 60, "lr": 3e-3},
        "ials": {key: getattr(joined, key) for key in ("alpha0", "reg", "epochs")},
    }
    others = {
        f"UCLR on {kind}": choice.best(
            [
                ucl.with_settings(
                    {
                        "stage": "full",
                        "pretrain.method": kind,
                        "pretrain.settings": settings,
                        "adaptation.epochs": 30,
                        **QUICK,
                    }
                )
            ]
        )
        for kind, settings in pretrained.items()
    }
    return {
        "popularity": Popularity(),
        "BPRMF": choice.best(replace(bprmf, reg=reg) for reg in (1e-5, 1e-2)),
        "LightGCN": choice.best(LightGCN(factors=128, epochs=60, lr=lr) for lr in (1e-3, 3e-3, 1e-2)),
        "separate ALS": choice.best(grid(IALS(factors=128, epochs=12), **ALS)),
        "joined ALS": joined,
        "CDIMF": choice.best(grid(CDIMF(factors=128), **ALS)),
        "PGE": pge,
        "PGE+AE": rebuilt,
        "PGE+CL-AE": cl,
        "PGE+UCL-AE": ucl,
        "UCLR": full,
        "UCL-AE as published": choice.best([literal]),
        **others,
    }


def _choice(name: str, valid: Holdout) -> Choice:
    """UCLR's rungs share the pretrained models, each fitted once."""
    bases: dict[str, DotProductModel] = {}

    def fitted(method: Method, options: FitOptions) -> Any:
        if not isinstance(method, UCLR):
            return method.fit(valid.history, options)
        before = method.pretrainer()
        if (key := repr(before)) not in bases:
            bases[key] = before.fit(valid.history, replace(options, validate_every=5, patience=5))
        return method.fit_on(bases[key], options)

    return Choice(name, valid, RUNS / "settled", _every, fitted)


def _every(method: Method) -> int:
    """Epochs between validations: an epoch of a network is a few steps."""
    if isinstance(method, UCLR):
        return 5 if method.stage == "full" else 10
    return 5 if isinstance(method, BPRMF | LightGCN) else 4


def _own() -> dict[str, Any]:
    """sport-cloth again: what the rungs are with settings of its own, among them how much LoRA is worth."""
    seeds, candidates, source = DATA["sport-cloth"]
    tables = {**COMMON, "seeds": list(range(1, seeds + 1)), "data": [{"candidates": [0, 99], **source}]}
    spec = benchmark_spec({**tables, "methods": [{"label": "popularity", "name": "popularity"}]})
    split = with_candidates(prepare_data(spec.data[0].experiment()), candidates, seed=TUNING_SEED)
    choice = _choice("sport-cloth", some_users(split.valid))
    pge = choice.best(
        [
            UCLR.from_settings(
                {
                    "stage": "pge",
                    "contrast.alpha": 1e-3,
                    "pretrain.settings": {"reg": 1e-5, "epochs": 45, "lr": 1e-3},
                }
            )
        ]
    )
    ucl = choice.best([pge.with_settings({"stage": "ucl", "contrast.alpha": 0.3, **QUICK})])
    full = choice.best(
        [pge.with_settings({"stage": "full", "contrast.alpha": 0.3, "adaptation.epochs": 30, **QUICK})]
    )
    methods = {"PGE": pge, "PGE+UCL-AE": ucl, "UCLR": full}
    return {**tables, "reference": "PGE", "methods": [entry(*each) for each in methods.items()]}


def _sensitivity() -> dict[str, Any]:
    """One setting at a time about what was found for Ciao, and all rungs on another pretraining."""
    spec = benchmark_spec(_settled("ciao"))
    found = {
        entry.label: UCLR.from_settings(entry.settings) for entry in spec.methods if entry.name == "uclr"
    }
    ucl, full = found["PGE+UCL-AE"], found["UCLR"]
    varied: dict[str, Method] = {"UCL-AE": ucl, "UCLR": full}
    varied |= {f"mask {x:g}": ucl.with_settings({"encoder.mask_ratio": x}) for x in (0.1, 0.2, 0.3, 0.5)}
    varied |= {f"alpha {x:g}": ucl.with_settings({"contrast.alpha": x}) for x in ALPHAS}
    varied |= {
        f"objective {x}": ucl.with_settings({"contrast.temperature.objective": x})
        for x in ("uco", "eq3", "rgcl")
    }
    varied |= {f"rank {x}": full.with_settings({"adaptation.lora_rank": x}) for x in (2, 4, 8, 16, 32)}
    varied |= {
        f"scope {x}": full.with_settings({"adaptation.lora_targets": x})
        for x in ("all", "users", "items_free", "full", "none")
    }
    on_graph = {
        "pretrain.method": "lightgcn",
        "pretrain.settings": found["UCLR on lightgcn"].pretrain.settings,
    }
    rungs = {"pge": found["PGE"], "ae": found["PGE+AE"], "cl": found["PGE+CL-AE"], "ucl": ucl}
    varied |= {f"{stage} on LightGCN": rung.with_settings(on_graph) for stage, rung in rungs.items()}
    varied |= {"full on LightGCN": found["UCLR on lightgcn"]}
    tables = spec.model_dump(mode="json", exclude_none=True)
    entries = [entry(label, method) for label, method in varied.items()]
    return {**tables, "seeds": [1, 2], "reference": "UCL-AE", "methods": entries}


if __name__ == "__main__":
    main(sys.argv[1:])
