"""What a search costs beyond fitting and validating, as a share of its run; the aim is under 2 %.

    python -m benchmarks.tuning_overhead --dataset ciao --model ials --trials 20

Prints one JSON object and writes ``docs/results/tuning-overhead.md``. Loading Optuna, the journal's writes,
asking, reporting and pruning all count as overhead; compiling the kernels is done before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from landbridge.core.files import atomic_write
from landbridge.data.splitting import splits
from landbridge.data.splitting.holdout import Split
from landbridge.data.synthetic import checkerboard
from landbridge.datasets import catalog
from landbridge.evaluation.evaluate import Validator
from landbridge.models import registry
from landbridge.selection.search import Budget, TuningResult, tune
from landbridge.training.options import FitOptions
from landbridge.version import __version__

PAGE = """# Tuning overhead

Made by `python -m benchmarks.tuning_overhead{words}`, landbridge {version}, {threads} threads.

| data | model | trials | pruned | run, s | overhead, s | share |
|---|---|---|---|---|---|---|
| {dataset} | {model} | {trials} | {pruned} | {seconds:.1f} | {overhead_seconds:.2f} | {share:.2%} |

The run is the wall time of `search` with a journal on disk; overhead is what of it was neither fitting nor
validating: loading Optuna, asking for settings, telling figures, pruning, and writing the journal. The aim is
a share below 2 %.
"""


def split_of(dataset: str) -> Split:
    data = catalog.load(dataset)
    return data if isinstance(data, Split) else splits.leave_last_out(data)


def compile_kernels(model: str, options: FitOptions) -> None:
    world = checkerboard().split
    method = registry.method(model).from_settings({"factors": 8, "epochs": 2})
    Validator(world.valid)(method.fit(world.train, options))


def measured(args: argparse.Namespace) -> TuningResult:
    options = FitOptions(threads=args.threads)
    compile_kernels(args.model, options)
    method = registry.method(args.model).from_settings({"factors": args.factors, "epochs": args.epochs})
    with tempfile.TemporaryDirectory() as folder:
        budget = Budget(args.trials, args.seconds)
        return tune(method, split_of(args.dataset), budget, options, work_dir=Path(folder))


def figures(args: argparse.Namespace, tuned: TuningResult) -> dict[str, Any]:
    return {
        "dataset": args.dataset,
        "model": args.model,
        "threads": args.threads,
        "trials": len(tuned.trials),
        "pruned": int((tuned.trials["state"] == "pruned").sum()),
        "seconds": tuned.seconds,
        "overhead_seconds": tuned.overhead_seconds,
        "share": tuned.overhead_seconds / tuned.seconds,
    }


def words(args: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """The options that were given, as they would be written again."""
    given = {key: value for key, value in vars(args).items() if value != parser.get_default(key)}
    return "".join(f" --{key} {value}" for key, value in given.items() if key != "out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ciao")
    parser.add_argument("--model", default="ials")
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--out", type=Path, default=Path("docs/results/tuning-overhead.md"))
    for name, default in (("trials", 20), ("factors", 64), ("epochs", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    found = figures(args, measured(args))
    with atomic_write(args.out) as temporary:
        temporary.write_text(PAGE.format(**found, words=words(args, parser), version=__version__))
    print(
        json.dumps(
            {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}
        )
    )


if __name__ == "__main__":
    main()
