"""Warm sport-cloth on validation: what ρ, aggregation, λ_z and the share of tied users do, per epoch."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.common import CELLS, PAGES, digest, grid, markdown, page, root
from landbridge.core.errors import DivergenceError
from landbridge.core.files import read_json, write_json
from landbridge.core.rng import generator
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.data.splitting.splits import with_candidates
from landbridge.datasets.published import read_published
from landbridge.evaluation.evaluate import evaluate, recommended_share
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM
from landbridge.training.options import FitOptions

EXACT = CDIMF(factors=192, admm=ADMM(tolerance=1e-3))
PUBLISHED = CDIMF(192, 0.3, 0.03, admm=ADMM(20.0, variant="paper_code", on_divergence="log"))
SWEEPS: dict[str, list[CDIMF]] = {
    "ρ, published program": grid(PUBLISHED, **{"admm.rho": (0.0, 5.0, 10.0, 20.0, 30.0)}),
    "ρ, exact": grid(EXACT, **{"admm.rho": (0.0, 0.03, 0.1, 1.0, 30.0)}),
    "aggregation period, published program": grid(PUBLISHED, **{"consensus.every": (1, 2, 3, 4)}),
    "λ_z, exact": grid(EXACT, **{"consensus.reg": (0.0, 0.01, 0.1, 1.0)}),
    "share of users tied, exact": grid(EXACT, **{"consensus.shared_fraction": (0.1, 0.3, 0.6, 1.0)}),
}
SEED = 15
SHARE = 0.25
PICTURES = PAGES / "sensitivity"
MEASURES = {"hr": "HR@10", "ndcg": "NDCG@10", "coverage": "coverage of top-10 lists", "gap": "consensus gap"}


def curve(method: CDIMF, holdout: Holdout) -> list[dict[str, Any]]:
    """HR, NDCG, coverage and gap after every epoch, means over both domains; kept once made."""
    key = digest([asdict(method), holdout.fingerprint])
    path = CELLS / "sensitivity" / f"{key}.json"
    if not path.exists():
        points: list[dict[str, Any]] = []

        def look(fitted: Any) -> float:
            evaluated = evaluate(fitted, holdout)
            hr, ndcg = (float(np.mean(list(evaluated.means(m).values()))) for m in ("hr@10", "ndcg@10"))
            coverage = float(recommended_share(fitted, holdout, 10)["coverage"].mean())
            points.append({"hr": hr, "ndcg": ndcg, "coverage": coverage})
            return ndcg

        try:
            log = method.fit(holdout.history, FitOptions(seed=SEED, validate=look)).log
            points = [p | {"gap": r.get("gap", 0.0)} for p, r in zip(points, log, strict=False)]
        except DivergenceError as error:
            points.append({"stopped": str(error)})
        write_json(path, points)
    kept: list[dict[str, Any]] = read_json(path)
    return kept


def _described(name: str, method: CDIMF, points: list[dict[str, Any]]) -> dict[str, Any]:
    values = {
        "ρ": method.admm.rho,
        "λ_z": method.consensus.reg,
        "sh": method.consensus.shared_fraction,
        "ag": method.consensus.every,
    }
    row: dict[str, Any] = {"value": next(value for key, value in values.items() if name.startswith(key))}
    numbers = [point for point in points if "hr" in point]
    for label, epoch in (("epoch 4", 3), ("epoch 8", 7), ("epoch 12", 11)):
        if epoch < len(numbers):
            row |= {f"HR {label}": numbers[epoch]["hr"], f"NDCG {label}": numbers[epoch]["ndcg"]}
    last = numbers[-1]
    return row | {
        "best HR": max(p["hr"] for p in numbers),
        "coverage": last["coverage"],
        "gap": next((p["gap"] for p in reversed(numbers) if p.get("gap")), ""),
    }


def _picture(rows: list[dict[str, Any]], curves: list[list[dict[str, Any]]], name: str) -> str:
    """Four panels, a line per value, an epoch per point; the Markdown that shows it."""
    import altair as alt

    points = [
        {"value": str(row["value"]), "epoch": epoch, "measure": measure, "figure": point[key]}
        for row, curve in zip(rows, curves, strict=True)
        for epoch, point in enumerate((p for p in curve if "hr" in p), start=1)
        for key, measure in MEASURES.items()
        if point.get(key)  # an epoch without an exchange has no gap
    ]
    lines = alt.Chart(alt.InlineData(points)).mark_line(point=True)
    chart = lines.encode(
        x=alt.X("epoch:O", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("figure:Q", title=None, scale=alt.Scale(zero=False)),
        color=alt.Color("value:N", title=name, sort=None),
    ).properties(width=260, height=160)
    faceted = chart.facet(facet=alt.Facet("measure:N", title=None, sort=list(MEASURES.values())), columns=2)
    stem = re.sub("[^a-z]+", "-", name.replace("ρ", "rho").replace("λ", "lambda"))
    PICTURES.mkdir(parents=True, exist_ok=True)
    faceted.resolve_scale(y="independent").save(PICTURES / f"{stem}.svg")
    return f"![{name}: HR, NDCG, coverage and gap per epoch]({PICTURES.name}/{stem}.svg)"


def _sample(holdout: Holdout) -> Holdout:
    """A quarter of the held-out pairs: curves need no more."""
    chosen = {}
    for name, targets in holdout.targets.items():
        kept_T = generator(SEED, "sample", name).random(len(targets)) < SHARE
        candidates_TC = targets.candidates_TC
        assert candidates_TC is not None
        chosen[name] = Targets(targets.user_idx[kept_T], targets.item_idx[kept_T], candidates_TC[kept_T])
    return Holdout(holdout.history, chosen)


def main() -> None:
    """All sweeps, a picture and a table each."""
    split = with_candidates(read_published(root() / "amazon-sport-cloth-warm"), 999, seed=0)
    holdout = _sample(split.valid)
    parts = [
        "Sampled metrics (1 + 999) on a quarter of the validation pairs "
        f"({sum(map(len, holdout.targets.values())):,}), means over both domains, one seed, 192 factors."
    ]
    for name, methods in SWEEPS.items():
        rows: list[dict[str, Any]] = []
        curves: list[list[dict[str, Any]]] = []
        for method in methods:
            curves.append(curve(method, holdout))
            rows.append(_described(name, method, curves[-1]))
            print(name, rows[-1], flush=True)
        parts.append(f"## {name}\n\n{_picture(rows, curves, name)}\n\n" + markdown(rows))
        page("sensitivity", "Sensitivity of CDIMF", parts)


if __name__ == "__main__":
    main()
