"""The benchmark of methods.toml, once without a break and once killed twice: are the tables the same?

Both runs go on where they were when this program is started again. The report of the second becomes
runs/methods/report.html.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from experiments.common import markdown, page
from landbridge.reports.write import report

SPEC = Path(__file__).with_suffix(".toml")
RUNS = Path("runs/methods")
WHOLE, BROKEN = RUNS / "whole", RUNS / "broken"
TABLES = ("results.csv", "comparisons.csv")
KILLS = (10, 40)  # finished cells at which the second run is killed
COMMAND = (
    sys.executable,
    "-c",
    "from landbridge.cli.main import main; main()",
    "benchmark",
    str(SPEC),
    "--out",
)


def main() -> None:
    """Run, kill, go on, compare, report."""
    for cells in KILLS:
        _killed_at(cells)
    subprocess.run([*COMMAND, str(BROKEN)], check=True)
    subprocess.run([*COMMAND, str(WHOLE)], check=True)
    sums = [{"table": name} | {run.name: _sum(run / name) for run in (WHOLE, BROKEN)} for name in TABLES]
    report(BROKEN, RUNS / "report.html")
    same = all(row["whole"] == row["broken"] for row in sums)
    page(
        "methods",
        "All methods on three data sets with five seeds",
        [
            "`experiments/methods.toml`, run once without a break and once killed (SIGKILL) when "
            f"{' and '.join(map(str, KILLS))} cells were finished, and resumed. First 16 digits of SHA-256:",
            markdown(sums),
            f"The tables are {'the same' if same else 'NOT the same'}.",
            "Settings are not tuned (ALS models share them; auto and the guard choose weights only): this "
            "is a test of the machinery, see the other pages for what methods can do.",
            markdown(_means(BROKEN)),
            "Means over domains; cost is of the run that was killed, on a busy machine.",
        ],
    )


def _killed_at(cells: int) -> None:
    """Start the second run and kill it once so many cells are finished, unless it is further already."""
    if _finished() >= cells:
        return
    process = subprocess.Popen([*COMMAND, str(BROKEN)], stderr=subprocess.DEVNULL)
    while _finished() < cells and process.poll() is None:
        time.sleep(0.2)
    time.sleep(0.5)  # in the middle of the next one
    process.send_signal(signal.SIGKILL)
    process.wait()
    print(f"killed with {_finished()} cells finished", flush=True)


def _finished() -> int:
    return len(list(BROKEN.glob("cells/*/*/*/cell.json")))


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _means(run: Path) -> list[dict[str, object]]:
    results = pl.read_csv(run / "results.csv").filter(pl.col("by") == "domain")
    costs = pl.read_csv(run / "costs.csv").group_by("data", "label").agg(pl.col("fit_seconds").mean())
    wide = results.group_by("data", "label", "protocol", "metric", maintain_order=True).agg(
        pl.col("mean").mean()
    )
    table = wide.pivot("metric", index=["data", "label", "protocol"], values="mean")
    return table.join(costs, on=["data", "label"], maintain_order="left").to_dicts()


if __name__ == "__main__":
    main()
