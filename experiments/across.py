"""One list over all domains: calibrated scores beside raw ones and lists interleaved by each domain's share.

The page of what ``experiments.default`` has measured with its models, on the leak-free split.
"""

from __future__ import annotations

import polars as pl

from experiments.common import SEEDS, markdown, page
from experiments.default import METRIC, ONE_LIST, lists_rows, means_over_domains, with_metric


def main() -> None:
    """Write the page of every data set that is measured."""
    rows = [
        {"data": name, "list": label, METRIC: value}
        for name in ONE_LIST
        if all(lists_rows(name, seed).exists() for seed in SEEDS)
        for label, value in _means(name).items()
    ]
    text = (
        f"Mean over domains of {METRIC.upper()} on test, every item of every domain in one list, "
        f"{len(SEEDS)} seeds. `calibrated` is what a run of `auto` serves: the logarithm of the probability "
        "of the next event, with a slope per domain and the user's share of each domain fitted on "
        "validation data. `interleaved` takes the lists of the domains in turn by the same shares. `with "
        "cold policy` adds popularity for users without events in a domain. Models, settings and seeds are "
        "those of [default](default.md), which measures this too."
    )
    page("across", "One list over several domains", [text, markdown(rows)])


def _means(name: str) -> dict[str, float]:
    """Label -> mean over domains, in the order of the lists."""
    values = with_metric(pl.concat(pl.read_parquet(lists_rows(name, seed)) for seed in SEEDS))
    means = means_over_domains(values, [])
    return {label: means[label] for label in values["model"].unique(maintain_order=True)}


if __name__ == "__main__":
    main()
