"""landbridge export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options


def command(
    run: options.Run,
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    to: Annotated[
        str, typer.Option(help="parquet, numpy, faiss, usearch, pgvector, qdrant or onnx.")
    ] = "parquet",
    domain: Annotated[str | None, typer.Option(help="The domain; needed where there are several.")] = None,
    metric: Annotated[
        str, typer.Option(help="How the index compares: dot, or cosine or l2 with items of one norm.")
    ] = "dot",
    json: options.Json = False,
) -> None:
    """Write vectors of users and items, or a network, whose products order items as the model does.

    landbridge export runs/cdimf --domain books --to faiss --out vectors
    """
    from typing import cast

    from landbridge import load
    from landbridge.cli import show
    from landbridge.core.errors import DataError
    from landbridge.export import Metric, export

    fitted = load(run)
    names = fitted.history.domain_names
    if domain is None and len(names) > 1:
        raise DataError(f"Give --domain, one of {', '.join(names)}.")
    for path in export(fitted, domain or names[0], to, out, cast(Metric, metric)):
        if json:
            show.record({"file": str(path)})
        else:
            typer.echo(path)
