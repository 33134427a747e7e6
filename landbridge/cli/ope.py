"""landbridge ope"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options


def command(
    run: options.Run,
    log: Annotated[
        Path, typer.Argument(help="The log: user, item, domain, propensity, reward; or a server's folder.")
    ],
    policy: Annotated[
        str, typer.Option(help="How scores become what is shown: softmax or top-k.")
    ] = "softmax",
    temperature: Annotated[float, typer.Option(help="Temperature of softmax.")] = 1.0,
    k: options.ListLength = 10,
    clip: Annotated[float | None, typer.Option(help="Largest weight of an event; none by default.")] = None,
    events: Annotated[
        str | None,
        typer.Option(
            envvar="LANDBRIDGE_EVENTS",
            help="The server's event store: what came of its log of impressions.",
        ),
    ] = None,
    outcome: Annotated[
        list[str] | None,
        typer.Option(help="A kind of event that counts as a reward; all that are learned from by default."),
    ] = None,
    column: options.Columns = None,
    threads: options.Threads = None,
    json: options.Json = False,
    out: options.TableFile = None,
) -> None:
    """Estimate what a run would earn from the log of another policy (off-policy evaluation).

    landbridge ope runs/shop impressions.csv --policy top-k -k 10 --clip 100
    landbridge ope runs/shop impressions --events events.sqlite --outcome buy --policy top-k

    Prints the estimates ips, snips and replay with 95 % intervals over users, for each domain of the log.
    """
    import polars as pl

    from landbridge import load
    from landbridge.cli import show
    from landbridge.cli.outcomes import outcomes_of
    from landbridge.core.errors import SettingsError, unknown
    from landbridge.evaluation.impressions import read_impressions
    from landbridge.evaluation.off_policy import Policy, Softmax, TopK, estimates

    policies: dict[str, Policy] = {"softmax": Softmax(temperature), "top-k": TopK(k)}
    if policy not in policies:
        raise SettingsError(unknown("policy", policy, policies))
    fitted = load(run)
    outcomes = None if events is None else outcomes_of(events, fitted.history.kinds, outcome)
    impressions = read_impressions(log, fitted.history, options.reading(column)["columns"], outcomes)
    rows = [
        {
            "domain": name,
            "estimate": each.kind,
            "value": each.value,
            "low": each.low,
            "high": each.high,
            "events": each.events,
            "worth": round(each.effective),
            "left_out": own.left_out,
            "policy": policy,
        }
        for name, own in impressions.items()
        for each in estimates(fitted, own.logged, policies[policy], clip=clip, threads=threads)
    ]
    frame = pl.DataFrame(rows)
    # what a terminal has no room for
    show.answer(frame if json or out is not None else frame.drop("left_out", "policy"), json=json, out=out)
    for name, own in impressions.items():
        if own.left_out:
            typer.echo(
                f"{name}: {own.left_out} events of users or items that the run does not know.", err=True
            )
        if own.in_history:
            typer.echo(
                f"{name}: {own.in_history} events of items that the run knows of the user, which it would "
                "not show again; evaluate a run on a log that is later than its events.",
                err=True,
            )
