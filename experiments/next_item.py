"""What comes next in Food–Kitchen, in ABXI's protocol, on test, beside the published figures.

The variant of SASRec and its epochs were chosen by :mod:`experiments.sequence_parts` on validation, the
settings of the other models and the blend by :mod:`experiments.default` on the same split. A second blend has
the variant, too; its weights are chosen among the drawn items. DWL has the variant's settings,
and its epochs are chosen alike. Here all are fitted on all that is known at test time with five seeds and
tested once, among 999 drawn items of the same domain and among all.

    python -m experiments.next_item          all seeds
    python -m experiments.next_item 17 18    these; a killed run continues
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from experiments.common import PAGES, digest, kept, kept_rows, markdown, page, settings_text
from experiments.default import chosen
from experiments.default_page import AUTO
from experiments.sequence_parts import BASE, METRICS, NEGATIVES, PARTS, means, measured, protocol
from landbridge.core.files import read_json, write_json
from landbridge.data.splitting.holdout import Split
from landbridge.models.base import Fitted, Method
from landbridge.models.mixture import BlendModel, Mixture
from landbridge.models.sequential.dwl import DWL
from landbridge.models.sequential.sasrec import IN_AUTO
from landbridge.selection.auto import simple_members
from landbridge.selection.guard import decide, mixture_of
from landbridge.training.options import FitOptions

STUDY = "food-kitchen"  # of experiments.default, whose split this is
SEEDS = (15, 16, 17, 18, 19)
ADOPTED = "adopted for drawn items"  # of experiments.sequence_parts
VARIANT, BLEND = f"sasrec, {ADOPTED}", "auto with that sasrec, too"
PUBLISHED = {"Food": (0.324, 0.197), "Kitchen": (0.244, 0.143)}  # ABXI, Bian et al., WWW 2025, five seeds
NAME = "next"  # of the page


def main(seeds: list[int]) -> None:
    """Every model with the given seeds; the page holds the seeds that are finished."""
    split = protocol()
    members, mixture = chosen(STUDY, split)
    methods = members | {VARIANT: _with_epochs(BASE.with_settings(PARTS[ADOPTED]), split)}
    blends = {AUTO: mixture, BLEND: _blend(methods, split)}
    methods |= {"dwl": _with_epochs(DWL.from_settings(IN_AUTO | PARTS[ADOPTED]), split)}
    for seed in seeds or SEEDS:
        _test(methods, blends, split, seed)
        _page(methods, {**methods, **blends})
        print(seed, flush=True)


def _with_epochs(method: Method, split: Split) -> Method:
    """With the number of epochs that validation among the drawn items chose."""
    return method.with_settings({"epochs": measured(method, split)["sampled"][0]})


def _blend(methods: Mapping[str, Method], split: Split) -> Mixture:
    """The blend with the variant, decided on validation; kept once decided."""
    path = PAGES / "choices" / "next.json"
    if not path.exists():
        options = FitOptions(SEEDS[0])
        fitted = {label: method.fit(split.train, options) for label, method in methods.items()}
        decisions = decide(fitted, split.valid, options, METRICS[-1], simple_members(methods))
        write_json(path, asdict(mixture_of(methods, decisions)))
    return Mixture.from_settings(read_json(path))


def _test(methods: Mapping[str, Method], blends: Mapping[str, Mixture], split: Split, seed: int) -> None:
    """Fit and test what is not yet kept of the seed."""
    everything: dict[str, Method] = {**methods, **blends}
    history, missing = split.test.history, {*everything} - {*_record(everything, seed)}
    needed = missing.union(*(mixture.members for label, mixture in blends.items() if label in missing))
    fitted: dict[str, Fitted] = {
        label: method.fit(history, FitOptions(seed)) for label, method in methods.items() if label in needed
    }
    for label in missing & {*blends}:
        own = {name: fitted[name] for name in blends[label].members}
        fitted[label] = BlendModel(history, blends[label], (), own)
    for label in sorted(missing):
        kept(NAME, _key(label, everything[label], seed), partial(means, fitted[label], split.test))


def _key(label: str, method: Method, seed: int) -> dict[str, Any]:
    """What a test depends on; the settings as a digest."""
    return {"model": label, "seed": seed, "settings": digest(method.flat())}


def _record(methods: Mapping[str, Method], seed: int) -> dict[str, Any]:
    """What is kept of a seed, by model."""
    found = {(row["model"], row["seed"], row["settings"]): row for row in kept_rows(NAME)}
    keys = {label: tuple(_key(label, method, seed).values()) for label, method in methods.items()}
    return {label: found[key] for label, key in keys.items() if key in found}


def _page(methods: Mapping[str, Method], everything: Mapping[str, Method]) -> None:
    records = [record for seed in SEEDS if {*everything} == {*(record := _record(everything, seed))}]
    labels = sorted(records[0], key=lambda label: _mean(records, label))
    rows = [{"model": label} | _row([record[label] for record in records]) for label in labels]
    rows.append(
        {"model": "ABXI, published"}
        | {
            f"{domain} {metric}": value
            for domain, figures in PUBLISHED.items()
            for metric, value in zip(METRICS, figures, strict=True)
        }
    )
    text = (
        "Food–Kitchen, the latest event of every user. Test, mean (standard deviation) of "
        f"{len(records)} seeds: HR@10 and NDCG@10 among {NEGATIVES} drawn items of the same domain, and "
        "NDCG@10 among all items of it (`all`). The drawn items are not those of the published figures,"
        " which were drawn alike and not released. Settings of all but the variants of SASRec are those"
        " of [default](default.md), tuned by NDCG@10 among all items in the default budget; `auto` is "
        f"its blend. `{BLEND}` blends the same models and the variant, by weights chosen on validation among "
        "the drawn items. (An earlier blend, tested with three seeds, had the variant in place of SASRec: "
        "HR@10 .3238 and .3151, NDCG@10 .2129 and .1872.)"
    )
    settings = "; ".join(f"{label} {settings_text(method)}" for label, method in methods.items())
    page(NAME, "What comes next", [text, markdown(rows), f"Settings: {settings}."], "next_item")


def _mean(records: list[dict[str, Any]], label: str) -> float:
    return float(np.mean([list(record[label]["sampled"]["ndcg@10"].values()) for record in records]))


def _row(records: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for way, metrics, name in (("sampled", METRICS, ""), ("full", ("ndcg@10",), ", all")):
        for metric in metrics:
            for domain in records[0][way][metric]:
                values = [record[way][metric][domain] for record in records]
                deviation = f" ({np.std(values, ddof=1):.4f})" if len(values) > 1 else ""
                row[f"{domain} {metric}{name}"] = f"{np.mean(values):.4f}{deviation}"
    return row


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]])
