"""Evaluate a fitted model on held-out pairs: one row per pair, and metrics with intervals from the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.files import atomic_write
from landbridge.core.progress import Progress
from landbridge.core.rng import generator
from landbridge.core.text import html_table
from landbridge.core.threads import all_threads
from landbridge.core.types import Bool, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Holdout, Targets, protocol_name, uses_sampled_candidates
from landbridge.evaluation.bootstrap import mean_interval
from landbridge.evaluation.metrics import Metric, gini
from landbridge.evaluation.protocols import (
    RankCounts,
    Scorer,
    check_same_data,
    rank_targets,
    ranking_tasks,
    recommended_items,
)
from landbridge.evaluation.segments import LATER, head_items, summed, user_table

if TYPE_CHECKING:
    import polars as pl

DRAWS = 1000  # bootstrap samples
SHOWN = "ndcg@10"  # the metric of a printed evaluation
FORMER_COLUMNS = {"elsewhere": "other_domain_events", "twin": "is_duplicate"}  # of version 0.1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Where each held-out pair stands.

    ``rows``: domain, user, item (dense indices), above, ties (unseen items better and equal),
    candidates (unseen items ranked against), activity and other_domain_events (the user's events in this
    domain and in the others), popularity (the item's events), head (among the items holding half of the
    events), is_duplicate (the user has the same product in another domain), later_in_other_domains (the
    known events of the user go on in another domain after this one); seed, where there are several.
    ``protocol``: ``full``, ``across`` (one list over all domains), or ``1+C`` for sampled candidates.
    ``name_of``: domain -> the name of its model, for domains that have different ones.
    """

    rows: pl.DataFrame
    name: str
    protocol: str
    name_of: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        means = ", ".join(f"{domain} {mean:.4f}" for domain, mean in self.means(SHOWN).items())
        protocol = protocol_name(self.protocol)
        return f"Evaluation({self.name}, {protocol}; {SHOWN}: {means}; {len(self.rows):,} pairs)"

    def _repr_html_(self) -> str:
        rows = self.summary((SHOWN, "hr@10")).select("domain", "metric", "mean", "low", "high", "users")
        return html_table(f"{self.name}, {protocol_name(self.protocol)}", rows.to_dicts())

    @property
    def sampled(self) -> bool:
        """Whether targets were ranked against a sample of the catalogue only."""
        return uses_sampled_candidates(self.protocol)

    def means(self, metric: str) -> dict[str, float]:
        """The metric's mean in every domain."""
        table = user_table(self.rows, Metric.parse(metric), "domain", sampled=self.sampled)
        return _means(table)

    @property
    def models(self) -> dict[str, str]:
        """Domain -> the name of the model that was evaluated in it."""
        domains = self.rows["domain"].unique(maintain_order=True).to_list()
        return {domain: self.name_of.get(domain, self.name) for domain in domains}

    def summary(
        self,
        metrics: Iterable[str] = ("ndcg@10", "hr@10"),
        by: str = "domain",
        *,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> pl.DataFrame:
        """Mean and 95 % bootstrap interval over users and seeds, one row per domain, segment and metric.

        ``by``: domain, activity, other_domain_events, popularity, duplicate, later_in_other_domains or
        event_share. Raises SettingsError for other names.
        """
        import polars as pl

        records: list[Record] = []
        for name in metrics:
            table = user_table(self.rows, Metric.parse(name), by, sampled=self.sampled)
            for (domain, segment), users in table.group_by("domain", "segment", maintain_order=True):
                total_DSU, count_DSU = summed(users, ("total", "count"))
                # a stream per row: an interval does not change when other rows are requested
                rng = generator(seed, "bootstrap", str(domain), str(segment), name)
                low, high = mean_interval(total_DSU, count_DSU, draws, rng)
                records.append(
                    {
                        "model": self.name,
                        "domain": domain,
                        "segment": segment,
                        "metric": name,
                        "mean": float(total_DSU.sum() / count_DSU.sum()),
                        "low": low,
                        "high": high,
                        "users": total_DSU.shape[2],
                        "rows": int(users["rows"].sum()),
                        "protocol": f"sampled {self.protocol}" if self.sampled else self.protocol,
                    }
                )
        return pl.DataFrame(records)

    def write(self, path: str | Path) -> None:
        """One Parquet file, readable by anything that reads Parquet."""
        import polars as pl

        model = pl.col("domain").replace_strict(self.models)
        labelled = self.rows.with_columns(model=model, protocol=pl.lit(self.protocol))
        with atomic_write(Path(path)) as temporary:
            labelled.write_parquet(temporary)

    @classmethod
    def read(cls, path: str | Path) -> Evaluation:
        """What :meth:`write` wrote; raises DataError for any other file."""
        import polars as pl

        try:
            table = pl.read_parquet(path)
            name_of = dict(table.select("domain", "model").unique(maintain_order=True).rows())
            protocol = table["protocol"][0]
        except (OSError, pl.exceptions.PolarsError, IndexError) as error:
            raise DataError(f"{path} is not a written evaluation: {error}.") from error
        rows = table.drop("model", "protocol").rename(FORMER_COLUMNS, strict=False)
        if LATER not in rows.columns:  # of version 0.1
            rows = rows.with_columns(pl.lit(False).alias(LATER))
        return cls(rows, _joined(name_of), protocol, name_of)


def over_seeds(evaluations: Mapping[int, Evaluation]) -> Evaluation:
    """One evaluation of a method fitted with several seeds (or evaluated on several draws).

    Intervals and tests draw users and seeds. DataError where the evaluations are of different protocols.
    """
    import polars as pl

    protocol = _one_protocol(evaluations.values())
    rows = [each.rows.with_columns(seed=pl.lit(seed, pl.Int64)) for seed, each in evaluations.items()]
    return Evaluation(pl.concat(rows), next(iter(evaluations.values())).name, protocol)


def best_by_domain(evaluations: Sequence[Evaluation], metric: str = "ndcg@10") -> Evaluation:
    """In every domain the evaluation with the highest mean, of equal ones the first.

    DataError where they are of different protocols.
    """
    import polars as pl

    protocol = _one_protocol(evaluations)
    means = [evaluation.means(metric) for evaluation in evaluations]
    best = {
        domain: evaluations[max(range(len(means)), key=lambda place: means[place][domain])]
        for domain in means[0]
    }
    name_of = {domain: evaluation.name for domain, evaluation in best.items()}
    rows = [evaluation.rows.filter(domain=domain) for domain, evaluation in best.items()]
    return Evaluation(pl.concat(rows), _joined(name_of), protocol, name_of)


def _one_protocol(evaluations: Iterable[Evaluation]) -> str:
    """The protocol that they share."""
    protocols = {evaluation.protocol for evaluation in evaluations}
    if len(protocols) > 1:
        raise DataError("Evaluations of different protocols cannot be taken together.")
    return protocols.pop()


def _joined(name_of: Mapping[str, str]) -> str:
    """One name of the models of several domains."""
    return ", ".join(dict.fromkeys(name_of.values()))


def evaluate(
    fitted: Scorer,
    holdout: Holdout,
    *,
    threads: int | None = None,
    block: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Rank every held-out pair with ``fitted``.

    Raises DataError for NaN scores, for ids that do not match, or if the model has seen a held-out pair.
    """
    check_same_data(fitted, holdout)
    result = rank_targets(fitted, holdout, threads=threads, block=block, progress=progress)
    frames = [
        _described(holdout, domain, standing) for domain, standing in result.items() if len(standing.above)
    ]
    return Evaluation(_stacked(frames), fitted.method.name, holdout.protocol)


@dataclass(frozen=True)
class Validator:
    """A fitted model's mean of ``metric`` over the domains of ``holdout``: for ``FitOptions.validate``.

    ``threads``: all by default.
    """

    holdout: Holdout
    metric: str = "ndcg@10"
    threads: int | None = None

    def __post_init__(self) -> None:
        Metric.parse(self.metric)

    def __call__(self, fitted: Scorer) -> float:
        result = rank_targets(fitted, self.holdout, threads=self.threads)
        frames = [_ranked(self.holdout, domain, standing) for domain, standing in result.items()]
        sampled = uses_sampled_candidates(self.holdout.protocol)
        table = user_table(_stacked(frames), Metric.parse(self.metric), "domain", sampled=sampled)
        # domains count alike, however many pairs they have
        return float(np.mean(list(_means(table).values())))


def recommended_share(
    fitted: Scorer, holdout: Holdout, k: int = 10, *, threads: int | None = None, block: int | None = None
) -> pl.DataFrame:
    """How much of each catalogue (items with an event in ``holdout.history``) the lists of length k use.

    Columns domain, items (distinct ones listed), catalogue, coverage (their ratio), gini, protocol; one
    row per domain with targets, or ``all`` for the joint catalogue of a holdout across domains.
    Under candidates the lists are the best k of each pair's own pool.
    """
    import polars as pl

    records = []
    with all_threads(threads):
        for name, within in ranking_tasks(holdout).items():
            if not len(within.targets):
                continue  # no user gets a list
            in_catalogue = within.history.item_counts > 0
            shown_I = np.zeros(len(in_catalogue), np.int64)
            for lists in recommended_items(fitted, within, k, block):
                shown_I += np.bincount(lists[lists >= 0], minlength=len(shown_I))
            shown = shown_I[in_catalogue]
            items, size = int((shown > 0).sum()), within.history.catalogue
            records.append((name, items, size, items / max(size, 1), gini(shown), holdout.protocol))
    columns = ["domain", "items", "catalogue", "coverage", "gini", "protocol"]
    return pl.DataFrame(records, schema=columns, orient="row")


def _ranked(holdout: Holdout, domain: str, standing: RankCounts) -> pl.DataFrame:
    import polars as pl

    targets = holdout.targets[domain]
    return pl.DataFrame(
        {"user": targets.user_idx, "item": targets.item_idx, **standing._asdict()}
    ).insert_column(0, pl.Series("domain", [domain]).new_from_index(0, len(targets)))


def _described(holdout: Holdout, domain: str, standing: RankCounts) -> pl.DataFrame:
    import polars as pl

    from landbridge.data.cross_listed import has_duplicate

    history, targets = holdout.history, holdout.targets[domain]
    activity_D = history.activity_UD[targets.user_idx]
    here_T = activity_D[:, history.domain_names.index(domain)]
    counts_I = history[domain].item_counts
    return _ranked(holdout, domain, standing).with_columns(
        activity=pl.Series(here_T),
        other_domain_events=pl.Series(activity_D.sum(axis=1) - here_T),
        popularity=pl.Series(counts_I[targets.item_idx]),
        head=pl.Series(head_items(counts_I)[targets.item_idx]),
        is_duplicate=pl.Series(has_duplicate(history, domain, targets.user_idx, targets.item_idx)),
        later_in_other_domains=pl.Series(_goes_on_elsewhere(history, domain, targets)),
    )


def _goes_on_elsewhere(history: MultiDomain, domain: str, targets: Targets) -> Bool:
    """Whether events of the user in other domains are known that are later than each target, (T,)."""
    if targets.time is None:
        return np.zeros(len(targets), bool)
    latest_TD = history.latest_UD[targets.user_idx]
    latest_TD[:, history.domain_names.index(domain)] = -np.inf
    return np.asarray(latest_TD.max(axis=1) > targets.time)


def _stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    import polars as pl

    if not any(len(frame) for frame in frames):
        raise DataError("There is no held-out pair to evaluate on: choose a split that holds something back.")
    return pl.concat(frames)


def _means(table: pl.DataFrame) -> dict[str, float]:
    import polars as pl

    mean = pl.col("total").sum() / pl.col("count").sum()
    return dict(table.group_by("domain", maintain_order=True).agg(mean).rows())
