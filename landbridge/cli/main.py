"""The ``landbridge`` command: its verbs, and how errors are reported."""

from __future__ import annotations

import io
import platform
import sys
from typing import Annotated

import typer

from landbridge.cli import (
    ab,
    audit,
    benchmark,
    card,
    compare,
    data,
    data_check,
    demo,
    estimate,
    evaluate,
    explain,
    export,
    fit,
    fold_in,
    mcp,
    models,
    ope,
    page,
    party,
    plan,
    recommend,
    refit,
    report,
    rollback,
    serve,
    study,
    tune,
    versions,
)
from landbridge.cli.deprecated import deprecated
from landbridge.core.errors import LandbridgeError, SettingsError
from landbridge.training.ranks import launched
from landbridge.version import __version__


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"landbridge {__version__}, Python {platform.python_version()}, {platform.system()}")
        raise typer.Exit


app = typer.Typer(
    name="landbridge",
    help="Cross-domain recommendation in which every domain gains.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options_of_all(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Cross-domain recommendation in which every domain gains."""
    verb = context.invoked_subcommand
    if verb != "fit" and launched() > 1:
        raise SettingsError(f"torchrun divides `landbridge fit` alone: start `landbridge {verb}` without it.")


app.command("fit")(fit.command)
app.command("estimate")(estimate.command)
app.command("plan")(plan.command)
app.command("evaluate")(evaluate.command)
app.command("compare")(compare.command)
app.command("recommend")(recommend.command)
app.command("page")(page.command)
app.command("fold-in")(fold_in.command)
app.command("show")(card.command)
app.command("explain")(explain.command)
app.command("export")(export.command)
app.command("tune")(tune.command)
app.command("benchmark")(benchmark.command)
app.command("ope")(ope.command)
app.command("audit")(audit.command)
app.command("ab")(ab.command)
app.command("models")(models.command)
app.command("report")(report.command)
app.command("serve")(serve.command)
app.command("mcp")(mcp.command)
app.command("refit")(refit.command)
app.command("versions")(versions.command)
app.command("rollback")(rollback.command)
app.command("doctor", hidden=True)(deprecated(data_check.command, "doctor", "data check"))
app.command("demo")(demo.command)
app.add_typer(study.app, name="study")
app.add_typer(study.ablate_app, name="ablate", hidden=True)
app.add_typer(data.app, name="data")
app.add_typer(party.app, name="party")


def main() -> None:
    """Run the command line. Expected errors print one sentence on standard error and exit with status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter shows its code
    try:
        app()
    except LandbridgeError as error:
        print(f"landbridge: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # a folder that cannot be made, a full disk, a file without permission
        print(
            f"landbridge: Cannot use {error.filename or 'a file'}: {error.strerror or error}.",
            file=sys.stderr,
        )
        sys.exit(2)
    except MemoryError as error:
        print(
            f"landbridge: Not enough memory ({error or 'none left'}); lower k, factors or threads.",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as a shell reports it
