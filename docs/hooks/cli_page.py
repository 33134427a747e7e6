"""The reference of the command line, from the program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from landbridge.cli.main import app

HEAD = """# Command line

Every verb, its arguments and its options, made from the program itself; `landbridge VERB --help` prints
the same. Exit codes, JSON and completion: [for programs](programs.md).
"""


def cli_page() -> str:
    """The page as Markdown."""
    root = typer.main.get_command(app)
    verbs = list(_verbs(root, root.make_context("landbridge", [], resilient_parsing=True)))
    return "\n".join([HEAD, *(_section(command, context) for command, context in verbs)])


def _verbs(group: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """The visible commands of a group and of the groups in it, with their contexts."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        if isinstance(command, TyperGroup):
            yield from _verbs(command, inner)
        else:
            yield command, inner


def _section(command: Any, context: Any) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"## {context.command_path}", _prose(command.help or ""), f"```text\n{usage}\n```"]
    rows = [_row(each, context) for each in command.params if not getattr(each, "hidden", False)]
    if rows:
        parts.append("\n".join(["| argument or option | meaning | default |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _prose(text: str) -> str:
    """The help, its examples as code."""
    blocks = [block.strip() for block in text.split("\n\n")]
    return "\n\n".join(
        f"```text\n{block}\n```" if block.startswith("landbridge ") else block for block in blocks
    )


def _row(param: Any, context: Any) -> str:
    record = param.get_help_record(context)
    is_argument = param.param_type_name == "argument"
    names = [param.name.upper()] if is_argument else [*param.opts, *param.secondary_opts]
    meaning = getattr(param, "help", None) or (record[1] if record else "")
    variable = f" Variable `{param.envvar}`." if getattr(param, "envvar", None) else ""
    default = "required" if param.required else _default(param.default)
    cells = (", ".join(f"`{name}`" for name in names), meaning + variable, default)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _default(value: object) -> str:
    return "" if value in (None, False, ()) or callable(value) else f"`{value}`"
