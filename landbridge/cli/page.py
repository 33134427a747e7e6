"""landbridge page"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landbridge.cli import options
from landbridge.core.errors import DataError

if TYPE_CHECKING:
    from landbridge import PageList
    from landbridge.config import PageListTable


def command(
    run: options.Run,
    lists: Annotated[Path, typer.Argument(help="A TOML file with a table for each list, from the top.")],
    user: options.UserIds = None,
    users: options.UsersFile = None,
    seen: Annotated[
        bool, typer.Option(help="Include items of the user's history, but for disliked ones.")
    ] = False,
    items: options.ItemsFile = None,
    item_features: options.LaterItems = None,
    json: options.Json = False,
    out: options.TableFile = None,
    unknown: options.UnknownFile = None,
) -> None:
    """Make a whole page for users: several lists, none of which repeats an item of those above it.

    landbridge page runs/best page.toml --user alice

    The file has a table of any name for each list, with domain, k, strategy (popular, trending or latest;
    by default the model's list) and the rules of recommend: where, max_per, boosts, pins, diversity, tail.
    Status 1: some users are unknown and have no page.
    """
    from landbridge import recommend_page
    from landbridge.cli import show
    from landbridge.cli.later_items import load_with
    from landbridge.cli.user_ids import report_unknown, user_ids
    from landbridge.config import read_page
    from landbridge.inference import known_users

    wanted = user_ids(user, users)
    if not wanted:
        raise DataError("Name users with --user, or give a file of them with --users.")
    page = {name: _list(table, items) for name, table in read_page(lists).items()}
    fitted = load_with(run, item_features)
    known, others = known_users(fitted, wanted)
    # without any known user the first unknown one is refused
    show.answer(recommend_page(fitted, page, known or others, seen), json=json, out=out)
    report_unknown(others, len(wanted), unknown, out)


def _list(table: PageListTable, items: Path | None) -> PageList:
    from landbridge import Boost, ListRules, PageList, Pin

    rules = ListRules(
        items=items,
        where=table.where or {},
        seen_elsewhere=table.seen_elsewhere,
        max_per=table.max_per,
        boosts=[Boost(each.by, each.where or {}, _ids(table.domain, each.items)) for each in table.boosts],
        pins=[Pin(each.place, each.item) for each in table.pins],
        diversity=table.diversity,
        tail=table.tail,
    )
    return PageList(domain=table.domain, k=table.k, rules=rules, strategy=table.strategy)


def _ids(domain: str, items: tuple[str | int, ...]) -> dict[str, tuple[str | int, ...]]:
    return {domain: items} if items else {}
