"""landbridge benchmark"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options
from landbridge.core.types import Record

Text = str | None
NO_SPEC = "Without a spec: comma-separated "


def command(
    out: Annotated[Path, typer.Option(help="The folder to write. Re-run the same command to resume.")],
    spec: Annotated[Path | None, typer.Argument(help="A benchmark .toml file.")] = None,
    models: Annotated[Text, typer.Option(help=f"{NO_SPEC}methods, or auto.")] = None,
    data: Annotated[Text, typer.Option(help=f"{NO_SPEC}names of `landbridge data list`, or folders.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Without a spec: number of seeds (3).")] = None,
    jobs: Annotated[int | None, typer.Option(help="Cells at a time; they share the threads.")] = None,
    executor: options.ExecutorName = None,
    address: options.Address = None,
    seconds: Annotated[float | None, typer.Option(help="Start no job after so many seconds.")] = None,
    leak_check: Annotated[
        bool,
        typer.Option("--leak-check", help="Also train on shuffled data, where no metric should beat chance."),
    ] = False,
    json: options.Json = False,
) -> None:
    """Compare methods on data sets over several seeds. Re-run the same command to resume.

    landbridge benchmark spec.toml --out runs/bench --jobs 2

    landbridge benchmark --models popularity,ials,cdimf --data ciao,food-kitchen --out runs/bench
    """
    from landbridge.cli import show
    from landbridge.config import merge_tables
    from landbridge.core.executors import executor_of
    from landbridge.core.progress import Terminal
    from landbridge.studies.benchmark.result_tables import main_tables
    from landbridge.studies.benchmark.runner import benchmark
    from landbridge.studies.benchmark.spec import benchmark_spec

    given = merge_tables(_tables(spec, models, data, seeds), {"budget": {"jobs": jobs, "seconds": seconds}})
    resolved = benchmark_spec(given)
    where = executor_of(resolved.budget.jobs, executor, address)
    outcome = benchmark(resolved, out, where, Terminal(), check_leaks=leak_check)
    tables = main_tables(resolved, outcome.results, outcome.comparisons)
    if json:
        rows = {"results": outcome.results, "comparisons": outcome.comparisons}
        show.record({"folder": out, **rows, "leaks": outcome.leaks, "left": outcome.left})
    else:
        show.tables(tables)
        for check in outcome.leaks:
            typer.echo(check["verdict"])
    if outcome.left:
        typer.echo(f"{len(outcome.left)} jobs are left. Re-run the same command to resume.", err=True)
    typer.echo(f"Tables in {out}", err=True)
    if not all(check["passed"] for check in outcome.leaks):
        raise typer.Exit(1)


def _tables(spec: Path | None, models: Text, data: Text, seeds: int | None) -> Record:
    from landbridge.config import read_spec
    from landbridge.core.errors import SettingsError
    from landbridge.studies.benchmark.spec import spec_of_names

    if spec is not None and not (models or data or seeds):
        return read_spec(spec)
    if spec is not None or not (models and data):
        raise SettingsError("Give either a benchmark file, or --models and --data.")
    return spec_of_names(_names(models), _names(data), 3 if seeds is None else seeds)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
