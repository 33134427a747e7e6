"""Reading and ranking, each beside a peer, as the page docs/results/throughput.md.

python -m benchmarks.throughput
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "results" / "throughput.md"
IDS = ("int", "text")
SHAPES = ((4000, 100_000, 64), (20_000, 100_000, 64), (4000, 100_000, 192))  # users, items, factors


def main() -> None:
    """Run both benchmarks in processes of their own and write the page."""
    load = os.getloadavg()[0]
    reading = [row for ids in IDS for row in _lines("read_parquet", "--ids", ids)]
    ranking = [row for users, items, factors in SHAPES for row in _lines(
        "evaluation", "--users", users, "--items", items, "--factors", factors
    )]  # fmt: skip
    PAGE.write_text(_page(reading, ranking, load))


def _lines(name: str, *words: object) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, words)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(out, end="", flush=True)
    return [json.loads(line) for line in out.splitlines()]


def _page(reading: list[dict[str, Any]], ranking: list[dict[str, Any]], load: float) -> str:
    cores = len(os.sched_getaffinity(0))
    return f"""# Reading and ranking

Measured {time.strftime("%Y-%m-%d")} by `python -m benchmarks.throughput` on {cores} cores,
load average before it {load:.1f}.

## Reading events from one Parquet file

The peer reads, numbers the ids and merges repeated pairs with polars, and validates nothing.

{_table(reading)}

## Ranking one held-out item per user against the whole catalogue

`users_per_s` is landbridge's evaluation with exact treatment of ties, the peer is implicit's `recommend` of
ten items with the same factors and threads; `ratio` is ours over the peer's. Memory in MB, before and at its
peak.

{_table(ranking)}
"""


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([f"{value}" for value in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
