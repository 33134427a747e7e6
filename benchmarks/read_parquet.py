"""Seconds and peak memory of reading 10 million events from one Parquet file, beside polars alone.

The peer does with polars what must be done at least: read, number the ids, merge repeated pairs.

Run: python benchmarks/read_parquet.py [--events N] [--ids int|text]; prints one JSON line per reader.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

READERS = {
    "landbridge": """
import landbridge.data.io.readers as readers
def read(path):
    return readers.read(path).n_events
""",
    "polars": """
import polars as pl
def read(path):
    ids = [pl.col(name).rank("dense") for name in ("user", "item")]
    table = pl.read_parquet(path).with_columns(ids).sort("domain", "user", "item", "timestamp")
    return len(table.unique(["domain", "user", "item"], keep="last", maintain_order=True))
""",
}
CHILD = """
import json, resource, sys, time
{reader}
start = time.perf_counter()
events = read(sys.argv[1])
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
print(json.dumps(dict(seconds=round(seconds, 2), peak_gib=round(peak, 2), merged_events=events)))
"""


def write_events(path: Path, n_events: int, text: bool) -> None:
    """Two domains, skewed items, ids as wide as Amazon's where text is requested."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, n_events // 20, n_events),
            "item": (rng.random(n_events) ** 3 * (n_events / 50)).astype(np.int64),
            "domain": pl.Series(rng.integers(0, 2, n_events)).cast(pl.String),
            "timestamp": rng.integers(1_400_000_000, 1_700_000_000, n_events),
        }
    )
    if text:
        user, item = (pl.format(mark, pl.col(name) + low) for mark, name, low in
                      (("A{}", "user", 10**12), ("B{}", "item", 10**8)))  # fmt: skip
        frame = frame.with_columns(user.alias("user"), item.alias("item"))
    frame.write_parquet(path)


def main() -> None:
    """Generate, read in a child process, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--ids", choices=("int", "text"), default="int")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        write_events(path, chosen.events, chosen.ids == "text")
        for name, reader in READERS.items():
            command = [sys.executable, "-c", CHILD.replace("{reader}", reader), str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            facts = {"reader": name, "events": chosen.events, "ids": chosen.ids, **json.loads(done.stdout)}
            print(json.dumps(facts))


if __name__ == "__main__":
    main()
