"""What a benchmark has measured, a JSON object per line: a killed one goes on with what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from landbridge.core.types import Record

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


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

    def measure_missing(self, module: str, cases: Iterable[DataclassInstance]) -> None:
        """Measure the cases that are not there, each in a process of its own.

        The module is given the case's values behind ``--case`` and prints what it measured as an object.
        """
        for case in cases:
            own = asdict(case)
            if any(own.items() <= record.items() for record in self.read()):
                continue
            command = [sys.executable, "-m", module, "--case", *map(str, own.values())]
            child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            facts = {"load": os.getloadavg()[0], "date": str(date.today()), **json.loads(child.stdout)}
            self.append({**own, **facts})
            print(case, facts, flush=True)

    def append_from(self, module: str, words: Iterable[str], environment: Mapping[str, str]) -> None:
        """Add the objects that a program prints, as they come."""
        command = [sys.executable, "-m", module, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    self.append(json.loads(line))
