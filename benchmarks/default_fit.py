"""Seconds and peak memory of ``landbridge fit`` without options: search, decision, test, fit on all events.

    python -m benchmarks.default_fit                measures and writes docs/results/default-fit.md
    python -m benchmarks.default_fit food-kitchen   only the named data, the other rows stay

Every fit is a process of its own, as a user starts it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from landbridge.core.files import read_json, write_json
from landbridge.store import load

PAGE = Path(__file__).parents[1] / "docs" / "results" / "default-fit.md"
KEPT = PAGE.parent / "rows" / "default-fit.json"
NAMES = ("food-kitchen", "movielens-1m", "ciao", "sport-cloth", "game-video")
FIT = ("-c", "from landbridge.cli.main import main; main()", "fit")


def main() -> None:
    """Measure the named data sets, all by default, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, help="names of `landbridge data list`")
    kept = read_json(KEPT) if KEPT.exists() else {}
    for name in parser.parse_args().names:
        kept[name] = measured(name)
        write_json(KEPT, kept)
        print(name, kept[name], flush=True)
    PAGE.write_text(page(kept))


def measured(name: str) -> dict[str, str]:
    """One fit of one data set, as a row of the page."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        began, load_before = time.perf_counter(), os.getloadavg()[0]
        process = subprocess.Popen([sys.executable, *FIT, name, "--dataset", "--out", str(run)])
        # usage of this child alone; subprocess knows only that of all children together
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"The fit on {name} ended with status {process.returncode}.")
        seconds = time.perf_counter() - began
        fitted = load(run)
        size = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    return {
        "users": f"{fitted.history.n_users:,}",
        "items": f"{sum(events.n_items for events in fitted.history.domains.values()):,}",
        "events": f"{fitted.history.n_events:,}",
        "s": f"{seconds:.0f}",
        "processor, s": f"{usage.ru_utime + usage.ru_stime:.0f}",
        "peak memory, GiB": f"{usage.ru_maxrss / 2**20:.2f}",
        "run folder, MiB": f"{size / 2**20:.0f}",
        "load before": f"{load_before:.1f}",
    }


def page(kept: dict[str, dict[str, str]]) -> str:
    """The table of every data set that was measured."""
    heads = ["data", *next(iter(kept.values()))]
    rows = [[name, *kept[name].values()] for name in NAMES if name in kept]
    lines = ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(
        [
            "# The whole default fit: seconds and memory",
            "",
            "Made by `python -m benchmarks.default_fit`: `landbridge fit NAME --dataset --out RUN`, each "
            f"in a process of its own, on {os.cpu_count()} cores. The search for settings has 300 seconds; "
            "choosing the blend, the test, and the fit on all events come on top.",
            "",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    main()
