"""landbridge recommend"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options


def command(
    run: options.Run,
    domain: Annotated[str, typer.Option(help="The domain to recommend from.")],
    user: Annotated[list[str] | None, typer.Option(help="A user id; repeatable.")] = None,
    users: Annotated[Path | None, typer.Option(help="A file with one user id per line.")] = None,
    all_users: Annotated[
        Path | None, typer.Option("--all", help="All users; write Parquet files to this folder.")
    ] = None,
    k: options.ListLength = 10,
    seen: Annotated[
        bool, typer.Option(help="Include items of the user's history, but for disliked ones.")
    ] = False,
    items: options.ItemsFile = None,
    where: options.Where = None,
    json: options.Json = False,
    out: options.TableFile = None,
) -> None:
    """Recommend items of one domain to one, several or all users.

    landbridge recommend runs/cdimf --domain books --user alice -k 10 --items items.csv --where 'price < 20'
    """
    from landbridge import ListRules, load, recommend, recommend_all
    from landbridge.cli import show
    from landbridge.core.errors import DataError
    from landbridge.core.progress import Terminal

    wanted = [*(user or ()), *(_lines(users) if users else ())]
    if bool(wanted) == (all_users is not None):
        raise DataError("Give either --user and --users, or --all FOLDER.")
    if all_users is not None and (json or out is not None):
        raise DataError("--all writes Parquet files to its folder: leave out --json and --out.")
    rules = ListRules(items=items, where={} if where is None else where)
    fitted = load(run)
    if all_users is not None:
        recommend_all(fitted, domain, all_users, k, progress=Terminal(), seen=seen, rules=rules)
    else:
        show.answer(recommend(fitted, domain, wanted, k, seen, rules), json=json, out=out)


def _lines(path: Path) -> list[str]:
    from landbridge.core.errors import DataError

    if not path.is_file():
        raise DataError(f"There is no file {path} with user ids; check the path.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # programs of Windows begin a file with a mark
    except UnicodeDecodeError:
        raise DataError(f"File {path} is not UTF-8; save it as UTF-8.") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
