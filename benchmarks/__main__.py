"""``make bench``: every benchmark, one after the other, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "linear",
    "throughput",
    "tuning_overhead",
    "solver",
    "engine",
    "balancing",
    "sequence",
    "serving",
)


def main() -> None:
    """Run them all; the first failure ends it."""
    for name in BENCHMARKS:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
