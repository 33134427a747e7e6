"""Code of the documentation's pages, for the tests that execute it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_blocks(path: Path) -> list[str]:
    """The Python blocks of a Markdown page, in their order."""
    return [block for language, block in FENCE.findall(path.read_text()) if language == "python"]


def shell_commands(path: Path) -> list[list[str]]:
    """The words of each command in the blocks of a Markdown page that name no language, in their order."""
    blocks = [block for language, block in FENCE.findall(path.read_text()) if not language]
    lines = "".join(blocks).replace("\\\n", " ")
    # a quoted text may hold line breaks
    commands = re.findall(r"^(?:[^'\n]|'[^']*')+", lines, re.MULTILINE)
    return [shlex.split(command, comments=True) for command in commands]
