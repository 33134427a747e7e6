"""landbridge fold-in"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from landbridge.cli import options


def command(
    run: options.Run,
    domain: Annotated[str, typer.Option(help="The domain to recommend from.")],
    item: Annotated[
        list[str], typer.Option(help="An item of the user, as domain=item; repeatable, oldest first.")
    ],
    disliked: Annotated[
        list[str] | None, typer.Option(help="An item that counts against, as domain=item; repeatable.")
    ] = None,
    k: options.ListLength = 10,
    item_features: options.LaterItems = None,
    json: options.Json = False,
    out: options.TableFile = None,
) -> None:
    """Recommend to a new user from some of their items in any domains.

    landbridge fold-in runs/cdimf --domain books --item movies=alien --item movies=brazil
    """
    from landbridge import fold_in
    from landbridge.cli import show
    from landbridge.cli.later_items import load_with

    fitted = load_with(run, item_features)
    events = [_event(pair, fitted.history.domain_names) for pair in item]
    against = [_event(pair, fitted.history.domain_names) for pair in disliked or ()]
    show.answer(fold_in(fitted, events, domain, k, against), json=json, out=out)


def _event(pair: str, names: Iterable[str]) -> tuple[str, str]:
    """Domain and item. Both may hold an equals sign: the longest known domain counts."""
    from landbridge.core.errors import DataError

    first, equals, _ = pair.partition("=")
    if not equals:
        raise DataError(f"{pair!r} names no domain. Write domain=item, for example movies=alien.")
    name = max((name for name in names if pair.startswith(f"{name}=")), key=len, default=first)
    return name, pair[len(name) + 1 :]
