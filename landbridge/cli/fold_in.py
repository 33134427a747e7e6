"""landbridge fold-in"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import options


def command(
    run: options.Run,
    domain: Annotated[str, typer.Option(help="The domain to recommend from.")],
    item: Annotated[list[str], typer.Option(help="An item of the user, as domain=item; repeatable.")],
    k: options.ListLength = 10,
    json: options.Json = False,
    out: options.TableFile = None,
) -> None:
    """Recommend to a new user from some of their items in any domains.

    landbridge fold-in runs/cdimf --domain books --item movies=alien --item movies=brazil
    """
    from landbridge import fold_in, load
    from landbridge.cli import show

    show.answer(fold_in(load(run), _by_domain(item), domain, k), json=json, out=out)


def _by_domain(pairs: list[str]) -> dict[str, list[str]]:
    from landbridge.core.errors import DataError

    events: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, raw = pair.partition("=")
        if not equals:
            raise DataError(f"{pair!r} names no domain. Write domain=item, for example movies=alien.")
        events.setdefault(name, []).append(raw)
    return events
