"""landbridge explain"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import options


def command(
    run: options.Run,
    domain: Annotated[str, typer.Option(help="The item's domain.")],
    user: Annotated[str, typer.Option(help="A user id.")],
    item: Annotated[str, typer.Option(help="An item id.")],
    top: Annotated[int, typer.Option(min=1, help="Number of rows to show.")] = 10,
    json: options.Json = False,
    out: options.TableFile = None,
) -> None:
    """Explain an item's score for a user by the events of all domains and by popularity.

    landbridge explain runs/cdimf --domain books --user alice --item dune
    """
    from landbridge import explain, explain_features, load
    from landbridge.cli import show

    fitted = load(run)
    reasons, features = (each(fitted, domain, user, item) for each in (explain, explain_features))
    show.answer(reasons.head(top), json=json, out=out)
    if not features.is_empty():
        parts = ", ".join(f"{name} {part:.4f}" for name, part in features.head(top).rows())
        typer.echo(f"Of the score, by what is known of the item: {parts}", err=True)
    typer.echo(f"Score {reasons['contribution'].sum():.4f}, in {len(reasons)} parts", err=True)
