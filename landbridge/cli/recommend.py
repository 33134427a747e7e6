"""landbridge recommend"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landbridge.cli import options
from landbridge.core.errors import DataError

if TYPE_CHECKING:
    from landbridge.ranking.list_order import Boost, Pin


def command(
    run: options.Run,
    domain: Annotated[str, typer.Option(help="The domain to recommend from.")],
    user: options.UserIds = None,
    users: options.UsersFile = None,
    all_users: Annotated[
        Path | None, typer.Option("--all", help="All users; write Parquet files to this folder.")
    ] = None,
    k: options.ListLength = 10,
    seen: Annotated[
        bool, typer.Option(help="Include items of the user's history, but for disliked ones.")
    ] = False,
    seen_elsewhere: Annotated[
        bool,
        typer.Option(
            "--seen-elsewhere/--no-seen-elsewhere",
            help="Include items whose product the user has, or has seen, in another domain.",
        ),
    ] = True,
    items: options.ItemsFile = None,
    item_features: options.LaterItems = None,
    where: options.Where = None,
    max_per: options.MaxPer = None,
    boost: options.Boosts = None,
    pin: options.Pins = None,
    diversity: options.Diversity = 0.0,
    tail: options.Tail = 0.0,
    jobs: Annotated[int, typer.Option(help="With --all: blocks of users at a time.")] = 1,
    executor: options.ExecutorName = None,
    address: options.Address = None,
    json: options.Json = False,
    out: options.TableFile = None,
    unknown: options.UnknownFile = None,
) -> None:
    """Recommend items of one domain to one, several or all users.

    landbridge recommend runs/cdimf --domain books --user alice -k 10 --items items.csv --where 'price < 20'

    Status 0: a list for every user, 1: some users are unknown and have none, 2: there is no list at all.
    """
    from landbridge import ListRules, recommend, recommend_all
    from landbridge.cli import show
    from landbridge.cli.later_items import load_with
    from landbridge.cli.user_ids import report_unknown, user_ids
    from landbridge.core.executors import executor_of
    from landbridge.core.progress import Terminal
    from landbridge.inference import known_users

    wanted = user_ids(user, users)
    if bool(wanted) == (all_users is not None):
        raise DataError("Give either --user and --users, or --all FOLDER.")
    if all_users is not None and (json or out is not None):
        raise DataError("--all writes Parquet files to its folder: leave out --json and --out.")
    if all_users is None and (jobs != 1 or executor is not None or address is not None):
        raise DataError("--jobs, --executor and --address divide the users of --all; leave them out.")
    if all_users is not None and unknown is not None:
        raise DataError("--all lists the users of the model, all of them known: leave out --unknown.")
    rules = ListRules(
        items=items,
        where={} if where is None else where,
        seen_elsewhere=seen_elsewhere,
        max_per=dict(_limit(each) for each in max_per or ()),
        boosts=[_boost(each) for each in boost or ()],
        pins=[_pin(each) for each in pin or ()],
        diversity=diversity,
        tail=tail,
    )
    fitted = load_with(run, item_features)
    if all_users is not None:
        where_to = executor_of(jobs, executor, address)
        recommend_all(
            fitted, domain, all_users, k, progress=Terminal(), seen=seen, rules=rules, executor=where_to
        )
        return
    known, others = known_users(fitted, wanted)
    # without any known user the first unknown one is refused
    show.answer(recommend(fitted, domain, known or others, k, seen, rules), json=json, out=out)
    report_unknown(others, len(wanted), unknown, out)


def _limit(text: str) -> tuple[str, int]:
    """COLUMN=N"""
    column, _, number = text.rpartition("=")
    if not column or not number.isdecimal():
        raise DataError(f"--max-per is COLUMN=N, such as brand=2, not {text!r}.")
    return column, int(number)


def _boost(text: str) -> Boost:
    """RULE: BY"""
    from landbridge.ranking.list_order import Boost

    rule, _, number = text.rpartition(":")
    try:
        by = float(number)
    except ValueError:
        rule = ""
    if not rule.strip():
        raise DataError(f"--boost is 'RULE: BY', such as 'brand = acme: 0.2', not {text!r}.")
    return Boost(by, rule)


def _pin(text: str) -> Pin:
    """PLACE=ITEM"""
    from landbridge.ranking.list_order import Pin

    place, _, item = text.partition("=")
    if not place.isdecimal() or not item:
        raise DataError(f"--pin is PLACE=ITEM, such as 1=dune, not {text!r}.")
    return Pin(int(place), item)
