"""The demo as a page: ``auto`` on MovieLens with ten genres as domains, evaluated beside a single-domain
baseline, and served."""

from __future__ import annotations

from pathlib import Path

from landbridge import pipeline, store
from landbridge.config import Spec, validated_spec
from landbridge.core.progress import Terminal
from landbridge.datasets.prepare import threads
from landbridge.demo.terminal import BUDGET, FAMILIES, SEED
from landbridge.evaluation.evaluate import evaluate
from landbridge.models.als.ials import IALS
from landbridge.training.options import FitOptions

SPEC = validated_spec(
    {
        "data": {"dataset": "movielens-1m"},
        "split": {"kind": "latest", "seed": SEED},
        "model": {"name": "auto", "trials": BUDGET.trials, "seconds": BUDGET.seconds, "families": FAMILIES},
        "fit": {"seed": SEED},
    }
)
BASELINE = IALS(alpha0=0.1, reg=20.0)


def run(port: int) -> None:
    """Fit into a run folder of the cache and serve it until stopped."""
    from platformdirs import user_cache_dir
    from rich.console import Console

    from landbridge.serving.runtime.server import serve
    from landbridge.serving.runtime.settings import serve_settings

    settings = serve_settings({"port": port})
    console, folder = Console(), Path(user_cache_dir("landbridge")) / "demo"
    console.print("[bold]MovieLens-1M, ten genres as domains, ratings of 4 and 5[/]")
    fit_into(folder, SPEC)
    console.print(f"The page: [bold]http://{settings.host}:{port}/[/]  (Ctrl+C ends it)")
    console.print(f"Another time: landbridge serve {folder}", soft_wrap=True)
    serve(folder, settings)


def fit_into(folder: Path, wanted: Spec) -> None:
    """A run with its own figures and, attached as ``baseline``, those of separate ALS on the same
    test part."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress = Terminal()
    run = pipeline.run(wanted, folder, progress=progress)
    if run.holdout is not None:
        alone = BASELINE.fit(run.holdout.history, FitOptions(wanted.fit.seed, threads(wanted)))
        evaluation = evaluate(alone, run.holdout, progress=progress)
        store.attach(folder, "baseline", "parquet", evaluation.write)
