"""The ablation of balancing: which cells it has, how its grid is chosen, and what its verdict says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from benches import shops

from landbridge.core.errors import DataError, LandbridgeError, StoreError
from landbridge.models.towers.adc import ADC, PUBLISHED
from landbridge.studies.ablation.balance import BALANCE, Ablation, BalanceTrial, ablate
from landbridge.studies.ablation.verdict import AgainstSearch, CellResult, Outcome, sentence
from landbridge.studies.benchmark import jobs
from landbridge.studies.benchmark.spec import benchmark_spec
from landbridge.training.weighting.base import random_rates, random_weightings

torch = pytest.importorskip("torch")
QUICK = {"factors": 4, "network": {"tower": [4], "head": []}, "epochs": 2, "batch_size": 256}
DATA = {"name": "shops", "source": ["books.csv", "movies.csv"]}


def plan(folder: Path, **changes: Any) -> Ablation:
    """Three ways under one sharing, two seeds."""
    data = {"name": "shops", "source": shops(folder), "users": "shared", "split": {"kind": "random"}}
    small: dict[str, Any] = {
        "settings": QUICK,
        "balance": ("none", "grid", "gradnorm"),
        "complexity": ("rate",),
        "sharing": ("tower",),
        "grid": 3,
        "seeds": 2,
    }
    return Ablation(data, **small | changes)


def test_all_cells_are_there_under_their_names() -> None:
    whole = Ablation(DATA)
    weights = {way: {"books": 1.5, "movies": 0.5} for way in ("fixed", "grid", "rates")}
    spec = benchmark_spec(whole.tables(dict.fromkeys(whole.sharing, weights)))
    readings = (f"gradnorm {each}" for each in ("rate", "data", "loss", "step"))
    ways = ["none", "fixed", "grid", "rates", *readings, "published", "uncertainty"]
    labels = [f"{sharing}, {way}" for sharing in ("user", "tower", "cross", "cross_stitch") for way in ways]
    assert [entry.label for entry in spec.methods] == labels
    assert (spec.reference, spec.seeds, spec.metrics[0]) == ("user, none", (1, 2, 3), "ndcg@10")
    made = {entry.label: entry.settings for entry in spec.methods}
    assert made["cross, none"] == {"sharing": "cross", "balance.kind": "none"}
    assert made["tower, grid"] == {
        "sharing": "tower",
        "balance.kind": "fixed",
        "balance.weights": weights["grid"],
    }
    assert made["tower, rates"] == {
        "sharing": "tower",
        "balance.kind": "rates",
        "balance.rates": weights["rates"],
    }
    published = ADC.from_settings(made["tower, published"]).balance
    assert published == PUBLISHED
    assert made["user, gradnorm step"] == {
        "sharing": "user",
        "balance.kind": "gradnorm",
        "balance.complexity": "step",
    }


def test_subsets_come_in_one_order_and_settings_are_shared() -> None:
    part = Ablation(
        DATA,
        settings={"epochs": 7},
        balance=("uncertainty", "gradnorm", "none"),
        complexity=("loss",),
        sharing=("cross", "tower"),
        seeds=1,
    )
    spec = benchmark_spec(part.tables({"tower": {}, "cross": {}}))
    ways = ("none", "gradnorm loss", "uncertainty")
    assert [entry.label for entry in spec.methods] == [
        f"{s}, {way}" for s in ("tower", "cross") for way in ways
    ]
    assert {entry.settings["epochs"] for entry in spec.methods} == {7}


@pytest.mark.parametrize(
    ("balance", "way"),
    [
        (BALANCE, "gradnorm rate"),
        (("none", "grid", "uncertainty"), "uncertainty"),
        (("none", "fixed"), "fixed"),
        (("none",), "none"),
    ],
    ids=str,
)
def test_which_way_is_evaluated_is_fixed_in_advance(balance: tuple[str, ...], way: str) -> None:
    assert Ablation(DATA, balance=balance).evaluated_on == way


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"balance": ("none", "gradnrm")}, "Unknown balance 'gradnrm': did you mean 'gradnorm'"),
        ({"balance": ("gradnorm",)}, "balance needs none"),
        ({"sharing": ("towers",)}, "Unknown sharing 'towers': did you mean 'tower'"),
        ({"sharing": ()}, "sharing needs one or more of user, tower, cross"),
        ({"complexity": ("rates",)}, "Unknown complexity 'rates': did you mean 'rate'"),
        ({"grid": 0}, "grid and seeds must be 1 or more"),
        ({"seeds": 0}, "grid and seeds must be 1 or more"),
        ({"model": "ials"}, "ials cannot be balanced; name a method that can: adc"),
        ({"model": "adcs"}, "Unknown method 'adcs': did you mean 'adc'"),
        ({"settings": {"factor": 4}}, "Unknown setting of adc 'factor': did you mean 'factors'"),
        ({"settings": {"sharing": "user"}}, "sharing is what is compared here"),
        ({"data": {"name": "d"}}, "Data 'd' needs either source or dataset"),
        ({"data": DATA | {"split": {"kind": "none"}}}, "data 1, split, kind"),
    ],
    ids=str,
)
def test_mistakes_are_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(LandbridgeError) as caught:
        Ablation(**{"data": DATA} | changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_ablation_and_one_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, wanted = tmp_path / "out", plan(tmp_path)
    found = ablate(wanted, out)
    assert (out / "verdict.txt").read_text() == found.verdict + "\n"
    assert "gradnorm rate against equal weights (NDCG@10, full ranking" in found.verdict
    assert "against the best of 3 random weightings, at " in found.verdict
    ((title, table),) = found.tables.items()
    assert title == "shops: ndcg@10, full ranking, against tower, none"
    assert table["label"].to_list() == ["tower, none", "tower, grid", "tower, gradnorm rate"]

    trials = [json.loads((out / "grid" / f"tower-{n}.json").read_text()) for n in range(3)]
    assert [trial["weights"] for trial in trials] == [
        dict(each.by_domain) for each in random_weightings(("books", "movies"), 3)
    ]
    best = max(trials, key=lambda trial: trial["ndcg@10"])
    (grid,) = (out / "bench" / "cells" / "shops").glob("tower-grid-*/1/cell.json")
    assert json.loads(grid.read_text())["settings"]["balance.weights"] == best["weights"]

    (out / "verdict.txt").unlink()
    (out / "grid" / "tower-1.json").unlink()  # as if it had been killed in the middle
    run, ran = BalanceTrial.run, []
    monkeypatch.setattr(BalanceTrial, "run", lambda trial: (ran.append(str(trial)), run(trial)))
    costs = (out / "bench" / "costs.csv").read_bytes()
    again = ablate(wanted, out)
    assert ran == ["weights tower-1"]
    assert before_cost(again.verdict) == before_cost(found.verdict)
    assert again.tables[title].equals(table)
    assert (out / "bench" / "costs.csv").read_bytes() == costs
    assert ablate(wanted, out).verdict == again.verdict


def test_learning_rates_are_searched_with_as_many_trials(tmp_path: Path) -> None:
    """The control of a referee: a grid of learning rates per domain, the best on the validation rows."""
    out, wanted = tmp_path / "out", plan(tmp_path, balance=("none", "grid", "rates", "published"), seeds=1)
    found = ablate(wanted, out)
    assert "published against equal weights" in found.verdict
    assert "against the best of 3 random weightings, at " in found.verdict
    assert "against the best of 3 random learning rates per domain, at " in found.verdict
    trials = [json.loads((out / "rates" / f"tower-{n}.json").read_text()) for n in range(3)]
    assert [trial["rates"] for trial in trials] == list(random_rates(("books", "movies"), 3))
    best = max(trials, key=lambda trial: trial["ndcg@10"])
    (cell,) = (out / "bench" / "cells" / "shops").glob("tower-rates-*/1/cell.json")
    settings = json.loads(cell.read_text())["settings"]
    assert (settings["balance.kind"], settings["balance.rates"]) == ("rates", best["rates"])
    assert len(list((out / "grid").glob("*.json"))) == len(list((out / "rates").glob("*.json")))


def before_cost(verdict: str) -> list[str]:
    """Without the one figure that depends on the clock."""
    return [word for word in verdict.split(", ") if not word.startswith("at ")]


def test_events_alone_weigh_the_fixed_ones(tmp_path: Path) -> None:
    wanted = plan(tmp_path, balance=("none", "fixed"), seeds=1)
    ablate(wanted, tmp_path / "out")
    (cell,) = (tmp_path / "out" / "bench" / "cells" / "shops").glob("tower-fixed-*/1/cell.json")
    weights = json.loads(cell.read_text())["settings"]["balance.weights"]
    history = jobs.prepared_split(wanted.source).valid.history
    assert sum(weights.values()) == pytest.approx(2)
    assert weights["books"] / weights["movies"] == pytest.approx(
        len(history["books"]) / len(history["movies"])
    )


def test_other_plans_and_other_folders_are_refused(tmp_path: Path) -> None:
    out, wanted = tmp_path / "out", plan(tmp_path, balance=("none",), seeds=1)
    assert ablate(wanted, out).verdict.startswith("Only equal weights")
    with pytest.raises(StoreError, match="was begun with other balance; choose another folder"):
        ablate(replace(wanted, balance=("none", "uncertainty")), out)
    with pytest.raises(StoreError, match=r"holds other files \(books.csv\) and no ablation"):
        ablate(wanted, tmp_path)
    lost = replace(wanted, data={**wanted.data, "source": [str(tmp_path / "none.csv")]})
    with pytest.raises(LandbridgeError, match=r"none\.csv"):
        ablate(lost, tmp_path / "lost")
    assert not list((tmp_path / "lost").iterdir())


def test_seeds_are_added_but_not_taken_away(tmp_path: Path) -> None:
    out, wanted = tmp_path / "out", plan(tmp_path, balance=("none",), seeds=1)
    ablate(wanted, out)
    ablate(replace(wanted, seeds=2), out)
    assert len(list((out / "bench").glob("cells/*/*/*/cell.json"))) == 2
    with pytest.raises(StoreError, match="was begun with other seeds; choose another folder"):
        ablate(wanted, out)


def test_weightings_tried_on_other_data_are_refused(tmp_path: Path) -> None:
    out, wanted = tmp_path / "out", plan(tmp_path, balance=("none", "grid"), seeds=1)
    ablate(wanted, out)
    shutil.rmtree(out / "bench")
    table = pl.read_csv(tmp_path / "books.csv")
    table.head(600).write_csv(tmp_path / "books.csv")
    with pytest.raises(DataError, match="The data have changed since the ablation"):
        ablate(wanted, out)


def rows(*told: tuple[float, float, float, float, float]) -> pl.DataFrame:
    """a, b, low, high, p_holm by domain."""
    return pl.DataFrame(told, schema=["a", "b", "low", "high", "p_holm"], orient="row")


def test_the_standing_counts_what_is_sure() -> None:
    table = rows(
        (0.30, 0.20, 0.05, 0.15, 0.001),  # better
        (0.30, 0.20, -0.01, 0.15, 0.001),  # the interval does not leave zero out
        (0.30, 0.20, 0.05, 0.15, 0.05),  # not after correction
        (0.10, 0.20, -0.15, -0.05, 0.01),  # worse
    )
    found = Outcome.of(table)
    assert (found.domains, found.better, found.worse) == (4, 1, 1)
    assert found.gain == pytest.approx(100 * (1.0 - 0.8) / 0.8)
    assert found.verdict == "mixed"
    assert Outcome.of(table[:3]).verdict == "wins"
    assert Outcome.of(table[3:]).verdict == "loses"
    assert Outcome.of(table[1:3]).verdict == "undecided"
    assert Outcome.of(rows((0.0, 0.0, 0.0, 0.0, 1.0))).gain == 0


def test_the_verdict_is_one_sentence() -> None:
    wins, undecided = Outcome(6, 3, 0, 2.14), Outcome(6, 0, 0, -0.3)
    found = {
        "user": CellResult("NDCG@10, full ranking", undecided),
        "tower": CellResult("NDCG@10, full ranking", wins, {"grid": AgainstSearch(undecided, 0.0912)}),
    }
    assert sentence("gradnorm rate", 10, found) == (
        "gradnorm rate against equal weights (NDCG@10, full ranking, Holm's correction), "
        "sharing=user: undecided (better in 0 of 6 domains, worse in 0, -0.3 % on average); "
        "sharing=tower: wins (better in 3 of 6 domains, worse in 0, +2.1 % on average), and against the "
        "best of 10 random weightings, at 9.1 % of its seconds, "
        "undecided (better in 0 of 6 domains, worse in 0, -0.3 % on average)."
    )


def test_the_share_of_the_grids_cost(tmp_path: Path) -> None:
    """Three trials and the fit of the best against one fit: medians, whatever the first trial took."""
    out, wanted = tmp_path / "out", plan(tmp_path)
    ablate(wanted, out)
    for number, seconds in enumerate((100.0, 2.0, 3.0)):
        file = out / "grid" / f"tower-{number}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": seconds}))
    spent = {"none": (9.0, 9.0), "grid": (1.0, 2.0), "gradnorm rate": (2.0, 2.2)}
    for way, seconds in spent.items():
        for seed, each in enumerate(seconds, 1):
            slug = f"tower-{way.replace(' ', '-')}-*/{seed}/cost.json"
            (file,) = (out / "bench" / "cells" / "shops").glob(slug)
            file.write_text(json.dumps(json.loads(file.read_text()) | {"fit_seconds": each}))
    assert f"at {100 * 2.1 / (3 * 3 + 1.5):.2g} % of its seconds" in ablate(wanted, out).verdict


def test_verdicts_are_about_the_sharing_they_name(tmp_path: Path) -> None:
    """Holm's correction is over the ways of one sharing; the standing is the table's."""
    out, wanted = (
        tmp_path / "out",
        replace(plan(tmp_path, balance=("none", "gradnorm")), sharing=("user", "tower")),
    )
    found = ablate(wanted, out)
    assert {title: table["label"].to_list() for title, table in found.tables.items()} == {
        f"shops: ndcg@10, full ranking, against {sharing}, none": [
            f"{sharing}, none",
            f"{sharing}, gradnorm rate",
        ]
        for sharing in ("user", "tower")
    }
    results = pl.read_csv(out / "bench" / "results.csv").filter(by="domain", metric="ndcg@10")
    for sharing in ("user", "tower"):
        means = [
            results.filter(label=f"{sharing}, {way}")["mean"].mean() for way in ("gradnorm rate", "none")
        ]
        gain = 100 * np.divide(*np.array(means, float)) - 100
        assert (
            f"sharing={sharing}: undecided (better in 0 of 2 domains, worse in 0, {gain:+.1f} %"
            in found.verdict
        )
