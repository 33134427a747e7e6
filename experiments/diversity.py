"""What the knobs ``diversity`` and ``tail`` cost and bring: NDCG@10 against coverage and the tail's exposure.

For each data set one ALS and one EASE model with the settings below, fitted on the history of validation and
on that of test (leave-last-out), and lists of ten for at most 5,000 users and domains. Means over domains:

    NDCG@10        of the held-out item
    coverage       share of the catalogue in any list
    tail share     share of the places with items outside the head, the most popular items that together
                   have 80 % of the events

The recommended value of a knob is the largest that costs less than 1 % of NDCG@10 for every model and data
set on validation. A cell is kept under runs/experiments/diversity, so that a killed run goes on, and what a
data set shows in docs/results/diversity.jsonl.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import landbridge as lb
from experiments.common import CELLS, PAGES, kept, kept_rows, markdown, page, selected_studies
from landbridge.core.files import read_json, write_json
from landbridge.core.rng import generator
from landbridge.core.types import Bool, Int32, Record
from landbridge.datasets import catalog
from landbridge.evaluation.protocols import ranking_tasks

K, BLOCK, HEAD = 10, 256, 0.8
MOST_LISTS = 5000  # of a data set, drawn once, as many of each domain
MOST = 0.01  # of NDCG, that a recommended value may cost
VALUES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
KNOBS = ("diversity", "tail")
PICTURE = "../pictures/diversity.svg"
DATA: Mapping[str, Callable[[], Any]] = {
    "movielens-1m": catalog.movielens_genres,
    "ciao": lambda: catalog.ciao(catalog.get("ciao")),
    "food-kitchen": lambda: catalog.food_kitchen(catalog.get("food-kitchen")),
}
# close to what searches on validation chose in docs/results/ciao.md and docs/results/default.md
METHODS: Mapping[str, Mapping[str, lb.Method]] = {
    "movielens-1m": {
        "ALS": lb.IALS(factors=64, sharing="joined", alpha0=0.3, reg=0.01, epochs=10),
        "EASE": lb.EASE(sharing="joined", reg=300.0),
    },
    "ciao": {
        "ALS": lb.IALS(factors=64, sharing="joined", alpha0=0.2, reg=0.01, epochs=10),
        "EASE": lb.EASE(sharing="joined", reg=300.0),
    },
    "food-kitchen": {
        "ALS": lb.IALS(factors=128, sharing="joined", alpha0=0.1, reg=20.0, epochs=10),
        "EASE": lb.EASE(sharing="separate", reg=33.8),
    },
}


def main() -> None:
    """Measure the data sets that are missing, then write page and picture from all there are."""
    names, _ = selected_studies(__doc__, DATA)
    for name in names:
        kept("diversity", {"data": name}, partial(_measured, name))
    found = sorted(kept_rows("diversity"), key=lambda each: [*DATA].index(each["data"]))
    _write(found)


def _measured(name: str) -> Record:
    """What a data set shows: the recommended values by validation, and the rows of the test part."""
    _measure(name)
    rows = [row for key in _keys(name) for row in read_json(_cell(name, *key))["rows"]]
    test = [row | {"change": -_cost(rows, row)} for row in rows if row["part"] == "test"]
    return {
        "lists": MOST_LISTS,
        "recommended": {knob: recommended(rows, knob) for knob in KNOBS},
        "rows": test,
    }


def _keys(name: str) -> list[tuple[str, str]]:
    return [(method, part) for method in METHODS[name] for part in ("valid", "test")]


def _cell(name: str, method: str, part: str) -> Path:
    return CELLS / "diversity" / f"{name}-{method}-{part}.json"


def _measure(name: str) -> None:
    missing = [key for key in _keys(name) if not _cell(name, *key).exists()]
    if not missing:
        return
    split = lb.leave_last_out(DATA[name]())
    for method, part in missing:
        holdout = getattr(split, part)
        fitted = METHODS[name][method].fit(holdout.history, lb.FitOptions(seed=15))
        about = {"data": name, "method": method, "part": part}
        rows = [about | row for row in _frontier(fitted, holdout)]
        _cell(name, method, part).parent.mkdir(parents=True, exist_ok=True)
        write_json(_cell(name, method, part), {"rows": rows})
        print(name, method, part, f"ndcg@10 {rows[0]['ndcg@10']:.4f}", flush=True)


def _frontier(fitted: lb.Fitted, holdout: lb.Holdout) -> list[Record]:
    """A row for every value of every knob; the value 0 once."""
    settings = [
        {"knob": knob, "value": value} for knob in KNOBS for value in VALUES if value or knob == KNOBS[0]
    ]
    own = [_lists(fitted, holdout, name, settings) for name in holdout.targets]
    return [
        setting | {key: float(np.mean([domain[n][key] for domain in own])) for key in own[0][n]}
        for n, setting in enumerate(settings)
    ]


def _lists(
    fitted: lb.Fitted, holdout: lb.Holdout, domain: str, settings: list[Record]
) -> list[dict[str, float]]:
    """The metrics of each setting in one domain."""
    task = ranking_tasks(holdout)[domain]
    applied = [lb.ListRules(**{each["knob"]: each["value"]}).applied(fitted, domain) for each in settings]
    tail_I, n_items = _tail(task.history.item_counts), task.history.n_items
    gain, shown, in_tail, places = (
        np.zeros(len(applied)),
        np.zeros((len(applied), n_items), bool),
        [0] * len(applied),
        [0] * len(applied),
    )
    n_targets = len(task.targets)
    chosen_T = generator(15, domain).choice(
        n_targets, min(MOST_LISTS // len(holdout.targets), n_targets), replace=False
    )
    users_T, items_T = task.targets.user_idx[chosen_T], task.targets.item_idx[chosen_T]
    for start in range(0, len(users_T), BLOCK):
        user_B, target_B = users_T[start : start + BLOCK], items_T[start : start + BLOCK]
        scores_BI = fitted.score(domain, lb.Queries.of_users(user_B))
        hidden = task.excluded.by_user.take(user_B)
        for n, each in enumerate(applied):
            item_BK = each.best(scores_BI, K, hidden)[0]
            _, place_N = np.nonzero(item_BK == target_B[:, None])
            gain[n] += float((1 / np.log2(place_N + 2)).sum())
            listed_N = item_BK[item_BK >= 0]
            shown[n, listed_N] = True
            in_tail[n] += int(tail_I[listed_N].sum())
            places[n] += len(listed_N)
    catalogue = max(task.history.catalogue, 1)
    return [
        {
            "ndcg@10": float(gain[n]) / max(len(users_T), 1),
            "coverage": float(shown[n].sum()) / catalogue,
            "tail share": in_tail[n] / max(places[n], 1),
        }
        for n in range(len(applied))
    ]


def _tail(count_I: Int32) -> Bool:
    """The items outside the head."""
    order_I = np.argsort(-count_I, kind="stable")
    before_I = np.cumsum(count_I[order_I]) - count_I[order_I]
    tail_I = np.zeros(len(count_I), bool)
    tail_I[order_I[before_I >= HEAD * count_I.sum()]] = True
    return tail_I


def _cost(rows: list[Record], row: Record) -> float:
    """The share of NDCG that a row costs beside the value 0."""
    same = ("data", "method", "part")
    base = next(each for each in rows if not each["value"] and all(each[key] == row[key] for key in same))
    return 1 - float(row["ndcg@10"]) / float(base["ndcg@10"])


def recommended(rows: list[Record], knob: str) -> float:
    """The largest value up to which every model costs less than ``MOST`` on validation."""
    best = 0.0
    for value in VALUES[1:]:
        own = [r for r in rows if (r["knob"], r["value"], r["part"]) == (knob, value, "valid")]
        if any(_cost(rows, row) >= MOST for row in own):
            break
        best = value
    return best


def _write(found: list[Record]) -> None:
    best = {knob: min(each["recommended"][knob] for each in found) for knob in KNOBS}
    test = [row for each in found for row in each["rows"]]
    table = [
        {
            "data": row["data"],
            "model": row["method"],
            "knob": row["knob"] if row["value"] else "none",
            "value": f"{row['value']:g}",
            "NDCG@10": row["ndcg@10"],
            "change": f"{100 * row['change']:+.1f} %" if row["value"] else "",
            "coverage": row["coverage"],
            "tail share": row["tail share"],
        }
        for row in test
    ]
    own = [
        {"data": each["data"], "lists, at most": each["lists"]}
        | {knob: f"{each['recommended'][knob]:g}" for knob in KNOBS}
        for each in found
    ]
    _picture(test)
    page(
        "diversity",
        "What diversity and the tail cost",
        [
            "Lists of ten for a sample of users and domains, as many of each domain, leave-last-out, full "
            "ranking, means over domains, test part, one seed. Rows are kept in diversity.jsonl. Coverage: "
            "share of the catalogue in any list. Tail share: places with items outside the most popular ones "
            "that together have 80 % of the events. What the knobs do: "
            "[serving](../serving.md#diversity-and-the-tail).",
            "Recommended, the largest value that costs less than 1 % of NDCG@10 on validation for every "
            f"model and data set here: diversity {best['diversity']:g}, tail {best['tail']:g}. "
            "Both are 0 by default. By data set:",
            markdown(own),
            f"![NDCG@10 against coverage and tail share, by knob, model and data set]({PICTURE})",
            markdown(table),
        ],
    )


def _picture(rows: list[Record]) -> None:
    import altair as alt

    base = [{**row, "knob": knob} for row in rows if not row["value"] for knob in KNOBS]
    points = [
        {**row, "measure": measure, "x": row[measure]}
        for row in [*base, *(row for row in rows if row["value"])]
        for measure in ("coverage", "tail share")
    ]
    line = alt.Chart({"values": points}, width=220, height=170).mark_line(point=True)
    chart = line.encode(
        alt.X("x:Q", title=None, axis=alt.Axis(format="%")),
        alt.Y("ndcg@10:Q", title="NDCG@10", scale=alt.Scale(zero=False)),
        alt.Order("value:Q"),
        alt.Color("knob:N"),
        alt.StrokeDash("method:N", title="model", legend=alt.Legend(symbolType="stroke")),
    )
    faceted = chart.facet(column=alt.Column("measure:N", title=None), row=alt.Row("data:N", title=None))
    faceted.resolve_scale(x="independent", y="independent").save(PAGES / PICTURE)


if __name__ == "__main__":
    main()
