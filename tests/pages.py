"""Code of the documentation's pages, for the tests that execute it."""

from __future__ import annotations

import re
from pathlib import Path

FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def code_blocks(path: Path) -> list[str]:
    """The Python blocks of a Markdown page, in their order."""
    return FENCE.findall(path.read_text())
