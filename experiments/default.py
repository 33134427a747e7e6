"""What ``landbridge fit`` without options serves, beside each of its candidates tuned alone.

On every data set the candidates are tuned as ``auto`` does, in its default budget; the same settings are then
fitted on all that is known at test time with three seeds and tested once, each candidate alone and the blend
that ``auto`` makes of them, several seeds at once (``--jobs``), each on its share of the cores. A killed run
continues.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from experiments.common import CELLS, SEEDS, markdown, page, root, selected_studies, settings_text
from experiments.one_list import lists
from landbridge.core.files import read_json, write_json
from landbridge.core.parallel import Processes
from landbridge.data.activity import ACTIVITY, activity_group
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.data.splitting.splits import leave_last_out, leave_latest_out, with_candidates
from landbridge.datasets import catalog
from landbridge.datasets.published import read_published
from landbridge.evaluation.evaluate import Evaluation, evaluate
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.protocols import Scorer
from landbridge.evaluation.significance import compare_over_domains, holm
from landbridge.models.base import Fitted, Method
from landbridge.models.mixture import BlendModel, Mixture
from landbridge.models.pairwise.lightgcn import LightGCN
from landbridge.models.registry import method as method_named
from landbridge.selection.auto import DEFAULT, Tuning, candidates, simple_members, tuned_candidates
from landbridge.selection.guard import decided
from landbridge.training.options import FitOptions

METRIC, AUTO = "ndcg@10", "auto"
ONE_LIST = ("food-kitchen", "movielens-1m", "ciao")  # also tested in one list over all domains
FOLDER = CELLS / "default"
RIVALS: Mapping[str, Method] = {  # tuned and tested beside the candidates, but no candidates of auto
    "lightgcn": LightGCN(),
    "lightgcn joined": LightGCN(sharing="joined"),
}
VERSION_0_1 = {  # NDCG@10 of its auto, a mean over pairs and three seeds, from its own pages of results
    "food-kitchen, last per domain": 0.0160,
    "movielens-1m, last per domain": 0.2935,
    "ciao, last per domain": 0.0454,
    "sport-cloth, 1 + 999": 0.2288,
}
STUDIES: Mapping[str, Callable[[], Split]] = {
    "food-kitchen": lambda: leave_latest_out(catalog.food_kitchen(root() / "amazon-food-kitchen"), seed=15),
    "food-kitchen, last per domain": lambda: leave_last_out(
        catalog.food_kitchen(root() / "amazon-food-kitchen"), future="keep", seed=15
    ),
    "movielens-1m": lambda: leave_latest_out(catalog.movielens_genres(), seed=15),
    "movielens-1m, last per domain": lambda: leave_last_out(
        catalog.movielens_genres(), future="keep", seed=15
    ),
    "ciao": lambda: leave_latest_out(catalog.ciao(root() / "ciao"), seed=15),
    "ciao, last per domain": lambda: leave_last_out(catalog.ciao(root() / "ciao"), future="keep", seed=15),
    "sport-cloth, 1 + 999": lambda: with_candidates(
        read_published(root() / "amazon-sport-cloth-warm"), 999, seed=0
    ),
    "sport-cloth": lambda: read_published(root() / "amazon-sport-cloth-warm"),
    "game-video, cold": lambda: read_published(root() / "amazon-game-video-cold", shared_users=1736),
}


def main(names: list[str], jobs: int) -> None:
    """Run the named studies, all by default; the page holds every one that was ever finished."""
    for name in names:
        _study(name, jobs)
        _page()


def _folder(name: str) -> Path:
    return FOLDER / name.replace(",", "").replace(" ", "-").replace("+", "")


def _study(name: str, jobs: int) -> None:
    split = STUDIES[name]()
    chosen(name, split)
    _rivals(name, split)
    left = [seed for seed in SEEDS if not _rows(name, seed).exists()]
    processes = Processes(jobs, max(1, len(os.sched_getaffinity(0)) // jobs))
    for seed in processes.map(partial(_tested, name), left):
        print(name, seed, flush=True)


def _rows(name: str, seed: int) -> Path:
    return _folder(name) / f"{seed}.parquet"


def lists_rows(name: str, seed: int) -> Path:
    """Where the rows of the lists over several domains are."""
    return _folder(name) / f"{seed}-lists.parquet"


def _rivals(name: str, split: Split) -> dict[str, Method]:
    """The tuned rivals; each has the trials of a candidate and an equal share of a candidates' budget."""
    path = _folder(name) / "rivals.json"
    if not path.exists():
        seconds = len(RIVALS) * DEFAULT.seconds / len(candidates(split.train))
        tuning = Tuning(DEFAULT.trials, seconds, METRIC, _folder(name) / "search")
        write_json(path, _stored(tuned_candidates(RIVALS, split, FitOptions(seed=SEEDS[0]), tuning)[0]))
    return _methods(read_json(path))


def _stored(methods: Mapping[str, Method]) -> dict[str, Any]:
    return {label: [method.name, method.flat()] for label, method in methods.items()}


def _methods(stored: Mapping[str, Any]) -> dict[str, Method]:
    return {label: method_named(kind).from_settings(own) for label, (kind, own) in stored.items()}


def chosen(name: str, split: Split) -> tuple[dict[str, Method], Mixture]:
    """The tuned candidates, and the blend of them, decided once."""
    path = _folder(name) / "chosen.json"
    if not path.exists():
        began, options = time.perf_counter(), FitOptions(seed=SEEDS[0])
        tuning = Tuning(DEFAULT.trials, DEFAULT.seconds, METRIC, _folder(name) / "search")
        members, fitted = tuned_candidates(candidates(split.train), split, options, tuning, jobs=2)
        searched = time.perf_counter()
        mixture, _ = decided(members, split, options, METRIC, simple_members(members), fitted)
        facts = {"search": searched - began, "decisions": time.perf_counter() - searched}
        write_json(path, {"members": _stored(members), "mixture": asdict(mixture), "seconds": facts})
    stored = read_json(path)
    return _methods(stored["members"]), Mixture.from_settings(stored["mixture"])


def _tested(name: str, seed: int) -> int:
    """Fit everything on what is known at test time; one row per model and held-out pair."""
    split, rows = STUDIES[name](), _rows(name, seed)
    members, mixture = chosen(name, split)
    history, seconds = split.test.history, {}
    fitted: dict[str, Fitted] = {}
    for label, method in {**members, **_rivals(name, split)}.items():
        began = time.perf_counter()
        fitted[label] = method.fit(history, FitOptions(seed=seed))
        seconds[label] = time.perf_counter() - began
    blend = BlendModel(history, mixture, (), {label: fitted[label] for label in mixture.members})
    models = {**fitted, AUTO: blend}
    if name in ONE_LIST:
        _evaluated(lists(blend, fitted), split.across().test, seed).write_parquet(lists_rows(name, seed))
    write_json(rows.with_suffix(".json"), seconds)
    _evaluated(models, split.test, seed).write_parquet(rows)
    return seed


def _evaluated(scorers: Mapping[str, Scorer], holdout: Holdout, seed: int) -> pl.DataFrame:
    """The rows of every scorer's evaluation, with columns ``model`` and ``seed``."""
    return pl.concat(
        evaluate(scorer, holdout).rows.with_columns(model=pl.lit(label), seed=pl.lit(seed))
        for label, scorer in scorers.items()
    )


def _page() -> None:
    done = [name for name in STUDIES if all(_rows(name, seed).exists() for seed in SEEDS)]
    parts = [
        f"{METRIC.upper()} on test. Every candidate is tuned on validation data in the default budget of "
        f"`landbridge fit` ({DEFAULT.trials} trials each within {DEFAULT.seconds:g} s, two cores; the rivals "
        f"{', '.join(RIVALS)}, which are no candidates, with the same trials and seconds each), then "
        f"fitted with {len(SEEDS)} seeds; `auto` is the blend that the default serves. Intervals (95 %) and "
        "p by a bootstrap over users, with all their domains, and seeds; Holm over each table. In general "
        "the split is leak-free: one event per user, the latest, is held out, so nothing later is known "
        "of that user. `last per domain` holds out the last event of every user and domain, so that a joint "
        "model knows later events elsewhere.",
        markdown(_overview(done)),
        *(_section(name) for name in done),
    ]
    page("default", "The default beside its candidates", parts)


def with_metric(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of pairs with the metric of each as ``value``."""
    value = Metric.parse(METRIC).per_pair(rows["above"].to_numpy(), rows["ties"].to_numpy())
    return rows.with_columns(value=pl.Series(value))


def _values(name: str) -> pl.DataFrame:
    """One row per model, seed and pair with its metric."""
    return with_metric(pl.concat(pl.read_parquet(_rows(name, seed)) for seed in SEEDS))


def _overview(done: list[str]) -> list[dict[str, Any]]:
    records = []
    for name in done:
        values, chosen = _values(name), read_json(_folder(name) / "chosen.json")
        means = means_over_domains(values, [])
        best = _best(values)
        over_pairs = float(values.filter(pl.col("model") == AUTO)["value"].mean())
        records.append(
            {
                "data": name,
                "popularity": means["popularity"],
                "best single": f"{best} {means[best]:.4f}",
                AUTO: means[AUTO],
                "gain": f"{100 * (means[AUTO] / means[best] - 1):+.1f} %",
                "over pairs": over_pairs,
                "auto of 0.1, over pairs": VERSION_0_1.get(name, ""),
                "search and choice, s": round(sum(chosen["seconds"].values())),
            }
        )
    return records


def means_over_domains(values: pl.DataFrame, by: list[str]) -> dict[Any, float]:
    """Model (and group) -> the mean over domains of the means over pairs."""
    per_domain = values.group_by(["model", *by, "domain"]).agg(pl.col("value").mean())
    whole = per_domain.group_by(["model", *by]).agg(pl.col("value").mean())
    return {
        row[0] if not by else row[:-1]: row[-1] for row in whole.select("model", *by, "value").iter_rows()
    }


def _best(values: pl.DataFrame) -> str:
    means = means_over_domains(values, [])
    return max((label for label in means if label != AUTO), key=means.__getitem__)


def _section(name: str) -> str:
    values, chosen = _values(name), read_json(_folder(name) / "chosen.json")
    domains = values["domain"].unique(maintain_order=True).to_list()
    means = means_over_domains(values, [])
    per_domain = {
        (model, domain): value
        for model, domain, value in values.group_by("model", "domain").agg(pl.col("value").mean()).iter_rows()
    }
    table = [
        {"model": label, "mean": means[label], **{domain: per_domain[label, domain] for domain in domains}}
        for label in sorted(means, key=means.__getitem__)
    ]
    members = _methods(chosen["members"] | read_json(_folder(name) / "rivals.json"))
    return "\n\n".join(
        [
            f"## {name}",
            markdown(table),
            "### auto against the best single method of each domain, and of all",
            markdown(_compared(values, domains)),
            "### By activity of the user in the domain",
            markdown(_by_activity(values)),
            "Settings: " + "; ".join(f"{label} {settings_text(m)}" for label, m in members.items()) + ".",
            f"Search {chosen['seconds']['search']:.0f} s, choice of the blend "
            f"{chosen['seconds']['decisions']:.0f} s; one fit on the test history (beside another seed's) "
            + ", ".join(f"{label} {s:.1f} s" for label, s in _fit_seconds(name).items())
            + ".",
        ]
    )


def _fit_seconds(name: str) -> dict[str, float]:
    seconds = read_json(_folder(name) / f"{SEEDS[0]}.json")
    return dict(sorted(seconds.items(), key=lambda item: item[1]))


def _compared(values: pl.DataFrame, domains: list[str]) -> list[dict[str, Any]]:
    records, p_values = [], []
    for domain in [*domains, "mean over domains"]:
        some = values if domain not in domains else values.filter(pl.col("domain") == domain)
        best = _best(some)
        row = compare_over_domains(_evaluation(some, AUTO), _evaluation(some, best), METRIC)
        p_values.append(row["p"])
        records.append(
            {
                "domain": domain,
                "pairs": some.filter((pl.col("model") == AUTO) & (pl.col("seed") == SEEDS[0])).height,
                "best single": best,
                "its value": row["b"],
                AUTO: row["a"],
                "difference [95 %]": f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]",
                "gain": f"{row['gain_percent']:+.1f} %",
            }
        )
    for record, p in zip(records, holm(np.array(p_values)), strict=True):
        record["p (Holm)"] = f"{p:.2g}"
    return records


def _evaluation(values: pl.DataFrame, label: str) -> Evaluation:
    """One model's pairs of all seeds; every pair counts by itself."""
    rows = values.filter(pl.col("model") == label).drop("model", "value")
    return Evaluation(rows, label, "pairs")


def _by_activity(values: pl.DataFrame) -> list[dict[str, Any]]:
    """A row per activity group: pairs, and the mean over domains of every model."""
    labels = list(ACTIVITY)
    group = activity_group(values["activity"].to_numpy())
    values = values.with_columns(group=pl.Series([labels[place] for place in group]))
    means, whole = means_over_domains(values, ["group"]), means_over_domains(values, [])
    counts = dict(
        values.filter((pl.col("model") == AUTO) & (pl.col("seed") == SEEDS[0]))
        .group_by("group")
        .len()
        .iter_rows()
    )
    return [
        {"events": label, "pairs": counts[label]}
        | {model: means[model, label] for model in sorted(whole, key=whole.__getitem__)}
        for label in labels
        if label in counts
    ]


if __name__ == "__main__":
    main(*selected_studies(__doc__, STUDIES))
