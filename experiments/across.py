"""One list over all domains: calibrated scores beside raw ones and lists interleaved by each domain's share.

The page of what ``experiments.default`` has measured with its models, on the leak-free split.
"""

from __future__ import annotations

from experiments.common import SEEDS, markdown, page
from experiments.default_page import METRIC, means_over_domains, with_metric
from experiments.rows import Study, studies

NAME = "across"


def main() -> None:
    """Write the page of every data set that is measured."""
    rows = [
        {"data": study.facts["name"], "list": label, METRIC: value}
        for study in studies(NAME)
        for label, value in _means(study).items()
    ]
    text = (
        f"Mean over domains of {METRIC.upper()} on test, every item of every domain in one list, "
        f"{len(SEEDS)} seeds. `calibrated` is what a run of `auto` serves: the logarithm of the probability "
        "of the next event, with a slope per domain and the user's share of each domain fitted on "
        "validation data. `interleaved` takes the lists of the domains in turn by the same shares. `with "
        "cold policy` adds popularity for users without events in a domain. Models, settings and seeds are "
        "those of [default](default.md), which measures this too."
    )
    page(NAME, "One list over several domains", [text, markdown(rows)])


def _means(study: Study) -> dict[str, float]:
    """Label -> mean over domains, in the order of the lists."""
    values = with_metric(study.rows)
    means = means_over_domains(values, [])
    return {label: means[label] for label in values["model"].unique(maintain_order=True)}


if __name__ == "__main__":
    main()
