"""landbridge party keys | coordinate | join"""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landbridge.cli import options
from landbridge.core.types import Record

if TYPE_CHECKING:
    from landbridge.models.als.cdimf import CDIMF

app = typer.Typer(
    help="Train CDIMF with other organisations; every party keeps its events.", no_args_is_help=True
)
Keys = Annotated[Path, typer.Option(help="The folder of this side's keys, of `landbridge party keys`.")]
Leak = Annotated[
    bool,
    typer.Option(
        "--two-party-leak-understood",
        help="Go on although rounds of two parties are possible, in which each learns the other's rows.",
    ),
]
Record_ = Annotated[
    Path | None, typer.Option(help="Also write what is exchanged to this folder, for an audit.")
]


@app.command("keys")
def keys(
    folder: Annotated[Path, typer.Argument(help="The folder to write, one folder in it for each side.")],
    parties: Annotated[str, typer.Option(help="Names of the parties, comma-separated.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address under which parties reach the coordinator; repeatable."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Make an authority and keys for the coordinator and the parties. Existing keys stay as they are.

    landbridge party keys keys --parties books,movies,food --host coordinator.example
    """
    from landbridge.cli import show
    from landbridge.federation.keys import make

    paths = make(folder, _names(parties), host or [])
    if json:
        show.record({"files": [str(path) for path in paths]})
    else:
        typer.echo("\n".join(map(str, paths)))


@app.command("coordinate")
def coordinate(
    parties: Annotated[str, typer.Option(help="Names of the parties, comma-separated.")],
    cert: Keys,
    out: Annotated[Path, typer.Option(help="The folder of the session. Re-run the same command to resume.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port to listen on; 0: any free one.", min=0, max=65535)
    ] = 8443,
    settings: options.Settings = None,
    seed: Annotated[int, typer.Option(help="The random seed of all parties.", min=0)] = 0,
    quorum: Annotated[
        int | None, typer.Option(help="Parties that a round needs when others are late. Default: all.")
    ] = None,
    round_seconds: Annotated[
        float, typer.Option(help="Seconds for which a round waits for late parties.", min=0.1)
    ] = 600.0,
    join_seconds: Annotated[
        float, typer.Option(help="Seconds for which the start waits for late parties.", min=0.1)
    ] = 3600.0,
    linger: Annotated[
        float, typer.Option(help="Seconds to stay for absent parties when the others have finished.", min=0.1)
    ] = 600.0,
    max_norm: Annotated[float, typer.Option(help="The longest row that a message may have.", min=1e-6)] = 1e6,
    masks: Annotated[
        bool,
        typer.Option("--masks", help="Messages are masked, so that the coordinator reads only their sums."),
    ] = False,
    psi: Annotated[
        bool,
        typer.Option("--psi", help="Users are matched by private set intersection, without a common secret."),
    ] = False,
    two_party_leak_understood: Leak = False,
    record: Record_ = None,
) -> None:
    """Aggregate the messages of several parties until all have their models.

    landbridge party coordinate --parties books,movies,food --cert keys/coordinator --out runs/session

    It listens on this machine only unless --host says otherwise. Settings of CDIMF are those of all parties.
    """
    from landbridge.config import parse_setting
    from landbridge.federation.coordinator import coordinate as run
    from landbridge.federation.terms import Limits, Plan
    from landbridge.models.als.cdimf import CDIMF

    method = CDIMF.from_settings(dict(parse_setting(text) for text in settings or ()))
    limits = Limits(max_norm, round_seconds=round_seconds, join_seconds=join_seconds)
    plan = Plan(method, tuple(_names(parties)), seed, quorum, limits, two_party_leak_understood, masks, psi)
    run(plan, out, cert, host, port, note=_note, linger=linger, record=record)


@app.command("join")
def join(
    source: Annotated[str, typer.Argument(help="The event file of this party's domain.")],
    coordinator: Annotated[str, typer.Option(help="The coordinator's address, host:port.")],
    cert: Keys,
    out: Annotated[Path, typer.Option(help="The run folder to write. Re-run the same command to resume.")],
    split: options.Split = None,
    column: options.Columns = None,
    fold_ids: options.FoldIds = False,
    skip_bad_rows: options.SkipBadRows = False,
    min_rating: options.MinRating = None,
    kind: options.Kinds = None,
    half_life: options.HalfLife = None,
    seen: options.SeenTables = None,
    targets: options.TargetKind = None,
    threads: options.Threads = None,
    patience: Annotated[
        float, typer.Option(help="Seconds without a connection after which it stops; it can be resumed.")
    ] = 3600.0,
    require_masks: Annotated[
        bool, typer.Option("--require-masks", help="Take no part in a session without masks.")
    ] = False,
    max_epsilon: Annotated[
        float, typer.Option(help="Take no part in a session whose rows reveal more than this ε.", min=0)
    ] = inf,
    require_psi: Annotated[
        bool,
        typer.Option("--require-psi", help="Take no part in a session without private set intersection."),
    ] = False,
    max_other_users: Annotated[
        int,
        typer.Option(help="The most users of another party in a private set intersection.", min=1),
    ] = 5_000_000,
    two_party_leak_understood: Leak = False,
    record: Record_ = None,
    json: options.Json = False,
) -> None:
    """Train this party's domain with the others; save its model in an ordinary run folder.

    landbridge party join books.csv --coordinator coordinator.example:8443 --cert keys/books --out runs/books
    """
    from contextlib import closing

    from landbridge import pipeline
    from landbridge.cli import show
    from landbridge.config import Spec, merge_tables, validated_spec
    from landbridge.core.progress import Terminal
    from landbridge.data.dataset import MultiDomain
    from landbridge.data.splitting.holdout import Split
    from landbridge.federation import party
    from landbridge.federation.identity import Certificate
    from landbridge.federation.keys import client_context
    from landbridge.federation.terms import Demands
    from landbridge.federation.user_codes import KeyedHash
    from landbridge.federation.wire import Wire, address
    from landbridge.models.base import Fitted
    from landbridge.training.options import FitOptions

    identity = Certificate(cert)
    demands = Demands(two_party_leak_understood, require_masks, max_epsilon, require_psi, max_other_users)
    wire = Wire(*address(coordinator), client_context(cert), patience, _note)
    with closing(wire):
        method = party.agreed_method(wire.terms, demands)
        codes = None if wire.terms.psi else KeyedHash.read(cert)
        _note(f"With {', '.join(wire.terms.parties)}; {wire.terms.quorum} are needed. {_settings(method)}")
        _note("Messages are masked." if wire.terms.masks else "The coordinator reads every message.")

        def fit(spec: Spec, data: Split | MultiDomain, fit_options: FitOptions) -> Fitted:
            train = data.test.history if isinstance(data, Split) else data
            return party.fit(
                train,
                wire,
                identity,
                codes,
                fit_options.within("fit"),
                demands=demands,
                record=record,
                note=_note,
            )

        given: Record = {
            "data": {"source": source, "min_rating": min_rating}
            | options.reading(column, fold_ids, skip_bad_rows, out)
            | options.known(kind, half_life, seen),
            "split": options.split(split, None, None, None, False, targets),
            "model": {"name": method.name, "settings": method.flat()},
            # a second fit on all events would be a second session
            "fit": {"seed": wire.terms.seed, "threads": threads, "deploy": False},
        }
        wanted = validated_spec(merge_tables({}, given))
        result = pipeline.run(wanted, out, resume=True, progress=Terminal(), fit=fit)
    if result.evaluation is not None:
        show.answer(result.evaluation.summary(wanted.evaluate.metrics), json=json)
    typer.echo(f"Saved in {out}", err=True)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _settings(method: CDIMF) -> str:
    """The settings that are not the defaults."""
    changed = ", ".join(f"{name}={value}" for name, value in method.changed().items())
    return f"Settings of CDIMF: {changed}."


def _note(line: str) -> None:
    typer.echo(line, err=True)
