"""landbridge audit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options


def command(
    run: options.Run,
    victim: Annotated[str | None, typer.Option(help="The attacked domain; the first by default.")] = None,
    transcript: Annotated[
        Path | None, typer.Option(help="Attack this recorded exchange instead of recording new ones.")
    ] = None,
    masked: Annotated[
        bool, typer.Option("--masked", help="The messages of --transcript were masked.")
    ] = False,
    epsilon: Annotated[
        list[float] | None,
        typer.Option(help="ε of a private fit, inf: clipped only; repeatable. 1, 5, 10, inf."),
    ] = None,
    delta: Annotated[float, typer.Option(help="δ of the private fits.")] = 1e-6,
    clip: Annotated[
        float | None, typer.Option(help="Largest norm of a row that is sent; the median norm by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The random seed.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="Keep the recorded exchanges in this folder.")] = None,
    threads: options.Threads = None,
    out: Annotated[Path, typer.Option(help="The report; a .json of the same name has all values.")] = Path(
        "audit.html"
    ),
    json: options.Json = False,
) -> None:
    """Attack an exchange of CDIMF and report what it reveals, without defence, with masks and with noise.

    landbridge audit runs/shop --victim books --out audit.html

    The run is one of `landbridge fit --model cdimf --no-deploy`: its data are fitted again for each defence.
    """
    import polars as pl

    from landbridge.cli import show
    from landbridge.core.errors import SettingsError
    from landbridge.federation.defences import EPSILONS, Plan, audit, audit_recorded, cdimf_of
    from landbridge.reports.audit import write_audit
    from landbridge.store import load, load_holdout

    if out.suffix != ".html":
        raise SettingsError(f"The report is a .html file, not {out.name!r}.")
    fitted = load(run)
    holdout = load_holdout(run, fitted.history)
    name = victim or fitted.history.domain_names[0]
    if transcript is not None:
        result = audit_recorded(transcript, holdout, name, masked, seed)
    else:
        plan = Plan(cdimf_of(fitted.method), tuple(epsilon or EPSILONS), delta, clip, seed)
        result = audit(holdout, name, plan, keep, threads)
    write_audit(result, out)
    found = pl.DataFrame(result["findings"], infer_schema_length=None)
    show.answer(found if json else found.drop("by", "error"), json=json, out=None)
    if result["about"]["warning"]:
        typer.echo(result["about"]["warning"], err=True)
    typer.echo(f"Written to {out}", err=True)
