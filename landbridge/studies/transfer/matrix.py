"""The transfer matrix: what each domain gains from each other one, and how well that was predicted.

For every pair {s, d} the method is fitted once on both and compared, in d and in s, with the same method
fitted on that domain alone. The evaluation uses validation data unless test data are requested.

How well a prediction held is Spearman's correlation over ordered pairs. Pairs that share a domain are not
independent, so its p-value comes from exchanging whole domains: rows and columns of the predicted matrix
are permuted together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations, permutations
from math import factorial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from landbridge.core.deprecation import renamed_argument
from landbridge.core.errors import DataError, SettingsError, unknown
from landbridge.core.rng import generator
from landbridge.core.types import Float64, Record
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.evaluation.evaluate import Evaluation, evaluate
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.significance import compare, holm
from landbridge.models.base import Method
from landbridge.studies.transfer.compatibility import Transferability, spearman
from landbridge.training.options import FitOptions
from landbridge.version import __version__

if TYPE_CHECKING:
    import polars as pl

DomainSet = tuple[str, ...]  # the domains of one fit

PARTS = ("valid", "test")
ORDERS = 2000  # exchanges of domains drawn where there are more
FEWEST_ORDERS = 20  # below: no correlation could be surely above chance
SURE = 0.05


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """One row per ordered pair of domains, in the data's order; targets without held-out pairs are left out.

    ``rows``: source, target, users, alone, joint (means of ``metric``), difference (joint - alone), low,
    high (its 95 % bootstrap interval over users), gain_percent (of alone; null where that is 0), p
    (of the difference of means, users drawn), p_holm (corrected for all rows).
    """

    rows: pl.DataFrame
    method: str
    metric: str
    protocol: str

    def table(self, data: str, prediction: Transferability) -> pl.DataFrame:
        """Beside the prediction, as ``transfer.csv`` of a benchmark: data, source, target, gain, low, high
        (in per cent of the domain alone), predicted."""
        import polars as pl

        percent = [(100 * pl.col(name) / pl.col("alone")).alias(name) for name in ("low", "high")]
        expected = prediction.rows.select("source", "target", "predicted")
        joined = self.rows.join(expected, on=["source", "target"], how="left", maintain_order="left")
        gains = joined.filter(pl.col("alone") > 0).with_columns(
            *percent, data=pl.lit(data), gain=pl.col("gain_percent")
        )
        return gains.select("data", "source", "target", "gain", "low", "high", "predicted")


@dataclass(frozen=True)
class PredictionQuality:
    """How well a prediction held: rank correlation over ``pairs`` of ``domains``, one-sided p-value."""

    correlation: float
    p: float
    pairs: int
    domains: int

    def __str__(self) -> str:
        start = (
            f"Predicted and measured gains go together with a rank correlation of {self.correlation:.2f} "
            f"over {self.pairs} ordered pairs of {self.domains} domains"
        )
        if factorial(self.domains) < FEWEST_ORDERS:
            return f"{start}; so few domains cannot tell this from chance."
        verdict = "more than" if self.p < SURE else "no more than"
        return f"{start}, {verdict} chance would give (p = {self.p:.2g}, domains exchanged)."


@renamed_argument("work", "work_dir")
def transfer_matrix(
    method: Method,
    split: Split,
    options: FitOptions | None = None,
    metric: str = "ndcg@10",
    *,
    on: str = "valid",
    work_dir: Path | None = None,
) -> TransferMatrix:
    """Measure the gain of every domain from adding every other one, D + D(D-1)/2 fits.

    ``on``: the part to evaluate on, "valid" or "test". ``work_dir``: a folder for finished cells; what a
    killed
    measurement left there is not computed again. Of ``options`` the seed, threads and progress are used.
    DataError for a single domain; SettingsError for an unknown part or metric.
    """
    options = options or FitOptions()
    Metric.parse(metric)
    if on not in PARTS:
        raise SettingsError(unknown("part of a split", on, PARTS))
    holdout: Holdout = getattr(split, on)
    names = holdout.history.domain_names
    if len(names) < 2:
        raise DataError(f"A transfer matrix is about pairs of domains, and there is only {names[0]!r}.")
    targets = [name for name in names if len(holdout.targets[name])]
    cells: list[DomainSet] = [(name,) for name in targets]
    # one joint fit of a pair gives the gains of both its domains
    cells += [pair for pair in combinations(names, 2) if set(pair) & set(targets)]
    evaluations = _evaluations_of(method, holdout, cells, options, work_dir)
    rows = [
        _row(evaluations, source, target, metric, options.seed)
        for source in names
        for target in targets
        if source != target
    ]
    return TransferMatrix(_corrected(rows), method.name, metric, holdout.protocol)


def prediction_quality(
    prediction: Transferability, transfer: TransferMatrix, *, seed: int = 0
) -> PredictionQuality:
    """Compare predicted and measured gains (per cent of the domain alone); higher is meant to be higher.

    DataError where the two are about different domains.
    """
    names = prediction.rows["source"].unique(maintain_order=True).to_list()
    expected_DD = _matrix(prediction.rows.select("source", "target", "predicted"), names)
    gain_DD = _matrix(transfer.rows.select("source", "target", "gain_percent"), names)
    known_DD = np.isfinite(gain_DD)

    def correlation(order: npt.ArrayLike) -> float:
        return spearman(expected_DD[np.ix_(order, order)][known_DD], gain_DD[known_DD])  # type: ignore[arg-type]

    measured = correlation(range(len(names)))
    chance = [correlation(order) for order in _orders(len(names), generator(seed, "held"))]
    # tolerance for rounding: equal correlations must count as at least as large
    p = float(np.mean(np.array(chance) >= measured - 1e-12))
    return PredictionQuality(measured, p, int(known_DD.sum()), len(names))


def _evaluations_of(
    method: Method, holdout: Holdout, cells: list[DomainSet], options: FitOptions, work_dir: Path | None
) -> dict[DomainSet, Evaluation]:
    quiet = FitOptions(options.seed, options.threads)
    evaluations = {}
    with options.progress.task("transfer matrix", len(cells)) as task:
        for done, cell in enumerate(cells, 1):
            evaluations[cell] = _evaluate_domains(method, holdout.select(cell), quiet, work_dir)
            task.step(done, {})
    return evaluations


def _evaluate_domains(
    method: Method, holdout: Holdout, options: FitOptions, work_dir: Path | None
) -> Evaluation:
    """Fitted and evaluated, or read where that was done before."""
    path = None if work_dir is None else work_dir / f"{_key(method, holdout, options.seed)}.parquet"
    if path is not None and path.exists():
        return Evaluation.read(path)
    evaluation = evaluate(method.fit(holdout.history, options), holdout, threads=options.threads)
    if path is not None:
        evaluation.write(path)
    return evaluation


def _key(method: Method, holdout: Holdout, seed: int) -> str:
    """A name made of all that a cell depends on."""
    import orjson

    # the version too: cells of another version must not be mixed in
    settings = [method.name, asdict(method), seed, holdout.fingerprint, __version__]
    return hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]


def _row(
    evaluations: dict[DomainSet, Evaluation], source: str, target: str, metric: str, seed: int
) -> Record:
    pair = (source, target) if (source, target) in evaluations else (target, source)
    verdict = compare(_within(evaluations[pair], target), evaluations[(target,)], metric, seed=seed)
    row = verdict.rows.row(0, named=True)
    columns = ("users", "a", "b", "difference", "low", "high", "gain_percent", "p")
    names = {"a": "joint", "b": "alone"}
    return {"source": source, "target": target} | {names.get(name, name): row[name] for name in columns}


def _within(evaluation: Evaluation, domain: str) -> Evaluation:
    import polars as pl

    rows = evaluation.rows.filter(pl.col("domain") == domain)
    return Evaluation(rows, evaluation.name, evaluation.protocol)


def _corrected(rows: list[Record]) -> pl.DataFrame:
    import polars as pl

    p_holm = holm(np.array([row["p"] for row in rows]))
    table = pl.DataFrame(rows, schema_overrides={"gain_percent": pl.Float64}, infer_schema_length=None)
    return table.with_columns(p_holm=pl.Series(p_holm))


def _matrix(cells: pl.DataFrame, names: list[str]) -> Float64:
    """Sources as rows, targets as columns, NaN where there is no value, (D, D)."""
    place = {name: number for number, name in enumerate(names)}
    table_DD = np.full((len(names), len(names)), np.nan)
    for source, target, value in cells.iter_rows():
        for name in (source, target):
            if name not in place:
                raise DataError(unknown("domain", name, names))
        table_DD[place[source], place[target]] = np.nan if value is None else value
    return table_DD


def _orders(size: int, rng: np.random.Generator) -> Iterator[npt.ArrayLike]:
    """All exchanges of domains, or as many random ones, the one as it is among them."""
    if factorial(size) <= ORDERS:
        yield from permutations(range(size))
    else:
        yield np.arange(size)
        yield from (rng.permutation(size) for _ in range(ORDERS - 1))
