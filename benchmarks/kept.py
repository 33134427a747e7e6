"""What a benchmark has measured, a JSON object per line: a killed one goes on with what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from landbridge.core.types import Record


@dataclass(frozen=True)
class Lines:
    """A file of measurements."""

    path: Path

    def read(self) -> list[Record]:
        """All that is there."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def append(self, record: Record) -> None:
        """Add one."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def append_from(self, module: str, words: Iterable[str], environment: Mapping[str, str]) -> None:
        """Add the objects that a program prints, as they come."""
        command = [sys.executable, "-m", module, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    self.append(json.loads(line))
