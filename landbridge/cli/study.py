"""landbridge study balance | weights | objectives"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landbridge.cli import options
from landbridge.cli.deprecated import deprecated
from landbridge.core.types import Record

if TYPE_CHECKING:
    from landbridge.studies.ablation.plan import AblationResult

Text = str | None
Sources = Annotated[list[str], typer.Argument(help="Event files, one per domain.")]
TimedSources = Annotated[list[str], typer.Argument(help="Event files with timestamps, one per domain.")]
Out = Annotated[Path, typer.Option(help="The folder to write. Re-run the same command to resume.")]
Seeds = Annotated[int, typer.Option(help="Number of seeds.")]
Domains = Annotated[Text, typer.Option(help="Use only these domains, comma-separated.")]
Split = Annotated[str, typer.Option(help="auto, last, latest, random, temporal or cold.")]
Candidates = Annotated[str, typer.Option(help="Sampled negatives, comma-separated; 0: full ranking.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the method in all jobs, key=value.")
]
Jobs = Annotated[int, typer.Option(help="Number of processes; they share the threads.")]
Sharing = Annotated[Text, typer.Option(help="Of user,tower,cross; all by default.")]
Complexity = Annotated[Text, typer.Option(help="Of rate,data,loss,step; all by default.")]
Balance = Annotated[Text, typer.Option(help="Loss weightings, comma-separated; all by default.")]
Vary = Annotated[
    Text,
    typer.Option(help="Of metric,spread,map,bounds,period,momentum,signal,grid; all but signal by default."),
]
Objectives = Annotated[Text, typer.Option(help="Of sparsity,worst_group,exposure; all by default.")]


def balance(
    sources: Sources,
    out: Out,
    model: Annotated[str, typer.Option(help="The method.")] = "adc",
    balance: Balance = None,
    sharing: Sharing = None,
    complexity: Complexity = None,
    grid: Annotated[
        int, typer.Option(help="Random weightings, and as many random rates, to try per sharing.")
    ] = 10,
    seeds: Seeds = 3,
    users: options.Users = None,
    dataset: options.Dataset = False,
    domains: Domains = None,
    split: Split = "auto",
    candidates: Candidates = "0",
    column: options.Columns = None,
    fold_ids: options.FoldIds = False,
    skip_bad_rows: options.SkipBadRows = False,
    ties: options.Ties = None,
    items: options.Items = None,
    item_links: options.ItemLinks = None,
    min_confidence: options.MinConfidence = None,
    item_features: options.ItemFeatures = None,
    settings: Settings = None,
    jobs: Jobs = 1,
    json: options.Json = False,
) -> None:
    """Compare loss weightings between domains. Re-run the same command to resume.

    landbridge study balance books.csv movies.csv --users shared --out runs/ablation --jobs 2

    landbridge study balance ciao --dataset --sharing tower --balance none,gradnorm --out runs/ablation
    """
    from landbridge.core.progress import Terminal
    from landbridge.studies.ablation.balance import Ablation, ablate

    data = _data_table(sources, users, dataset, domains, candidates)
    data |= options.reading(column, fold_ids, skip_bad_rows, out, ties) | {"split": {"kind": split}}
    data |= options.of_items(items, item_links, min_confidence, item_features)
    subsets = _subsets(balance=balance, sharing=sharing, complexity=complexity)
    plan = Ablation(data, model, _settings(settings), grid=grid, seeds=seeds, **subsets)
    _print(ablate(plan, out, jobs, Terminal()), out, json)


def weights(
    sources: TimedSources,
    out: Out,
    vary: Vary = None,
    window_days: Annotated[float, typer.Option(help="Length of the signal `window`, in days.")] = 30.0,
    seeds: Seeds = 2,
    users: options.Users = None,
    dataset: options.Dataset = False,
    domains: Domains = None,
    candidates: Candidates = "0",
    column: options.Columns = None,
    fold_ids: options.FoldIds = False,
    skip_bad_rows: options.SkipBadRows = False,
    ties: options.Ties = None,
    items: options.Items = None,
    item_links: options.ItemLinks = None,
    min_confidence: options.MinConfidence = None,
    item_features: options.ItemFeatures = None,
    settings: Settings = None,
    jobs: Jobs = 1,
    json: options.Json = False,
) -> None:
    """Ablate the sparsity weights of DWL, one part at a time. Re-run the same command to resume.

    landbridge study weights movielens-1m --dataset --vary metric,map --set epochs=20 --out runs/weights

    Every job changes one part of the base, which is DWL with the settings of --set.
    """
    from landbridge.core.progress import Terminal
    from landbridge.studies.ablation.weights import WeightAblation, ablate_weights

    data = _data_table(sources, users, dataset, domains, candidates)
    data |= options.reading(column, fold_ids, skip_bad_rows, out, ties)
    data |= options.of_items(items, item_links, min_confidence, item_features)
    plan = WeightAblation(
        data, _settings(settings), window_days=window_days, seeds=seeds, **_subsets(vary=vary)
    )
    _print(ablate_weights(plan, out, jobs, Terminal()), out, json)


def objectives(
    sources: TimedSources,
    out: Out,
    of: Objectives = None,
    steps: Annotated[int, typer.Option(help="Every λ is a multiple of 1 / steps.")] = 4,
    seeds: Seeds = 2,
    users: options.Users = None,
    dataset: options.Dataset = False,
    domains: Domains = None,
    candidates: Candidates = "0",
    column: options.Columns = None,
    fold_ids: options.FoldIds = False,
    skip_bad_rows: options.SkipBadRows = False,
    ties: options.Ties = None,
    items: options.Items = None,
    item_links: options.ItemLinks = None,
    min_confidence: options.MinConfidence = None,
    item_features: options.ItemFeatures = None,
    settings: Settings = None,
    jobs: Jobs = 1,
    json: options.Json = False,
) -> None:
    """Map the trade-off between sparse domains, the worst domain and exposure. Re-run to resume.

    landbridge study objectives movielens-1m --dataset --steps 4 --set epochs=20 --out runs/objectives

    Trains DWL at every point of a grid of the objectives' λ; pareto.csv and pareto.svg show the front.
    """
    from landbridge.core.progress import Terminal
    from landbridge.studies.ablation.objectives import ObjectiveAblation, ablate_objectives

    data = _data_table(sources, users, dataset, domains, candidates)
    data |= options.reading(column, fold_ids, skip_bad_rows, out, ties)
    data |= options.of_items(items, item_links, min_confidence, item_features)
    plan = ObjectiveAblation(data, _settings(settings), steps=steps, seeds=seeds, **_subsets(of=of))
    _print(ablate_objectives(plan, out, jobs, Terminal()), out, json)


app = typer.Typer(help="Ablation studies: change one part of a method at a time.", no_args_is_help=True)
ablate_app = typer.Typer(help="The former name of `landbridge study`.", no_args_is_help=True)
for _name, _command in (("balance", balance), ("weights", weights), ("objectives", objectives)):
    app.command(_name)(_command)
    ablate_app.command(_name)(deprecated(_command, f"ablate {_name}", f"study {_name}"))


def _data_table(
    sources: list[str], users: str | None, dataset: bool, domains: str | None, candidates: str
) -> Record:
    """The [[data]] table of a benchmark file."""
    return {
        "name": Path(sources[0]).name if dataset else "data",
        **options.source(sources, dataset),
        "users": users,
        "domains": None if domains is None else _names(domains),
        "candidates": _names(candidates),
    }


def _settings(texts: list[str] | None) -> Record:
    from landbridge.config import parse_setting

    return dict(parse_setting(text) for text in texts or ())


def _subsets(**texts: str | None) -> Record:
    """The comma-separated options that were given, as tuples; the study has defaults for the others."""
    return {key: tuple(_names(text)) for key, text in texts.items() if text is not None}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _print(result: AblationResult, out: Path, json: bool) -> None:
    """Tables and verdict; where the benchmark is goes to standard error."""
    from landbridge.cli import show

    if json:
        tables = {title: frame.to_dicts() for title, frame in result.tables.items()}
        show.record({"folder": out, "tables": tables, "verdict": result.verdict})
    else:
        show.tables(result.tables)
        typer.echo(result.verdict)
    typer.echo(f"The benchmark behind it is in {out / 'bench'}", err=True)
