"""A benchmark gives the same tables whatever happened to it, and its statistics are what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import benches
import numpy as np
import polars as pl
import pytest
from benches import small_spec

from landbridge.core.errors import DataError, SettingsError, StoreError
from landbridge.core.files import locked, read_json
from landbridge.core.parallel import Serial
from landbridge.core.system import peak_bytes, reset_peak
from landbridge.data.splitting.splits import with_candidates
from landbridge.evaluation.evaluate import Evaluation
from landbridge.evaluation.significance import POWER, compare, holm
from landbridge.reports.write import report
from landbridge.studies.benchmark import jobs as cells
from landbridge.studies.benchmark.result_tables import COMPARISONS, COSTS, RESULTS, ResultTables, main_tables
from landbridge.studies.benchmark.runner import Outcome, _ThrottledTables, benchmark
from landbridge.studies.benchmark.spec import benchmark_spec

TABLES = ("results.csv", "comparisons.csv", "leak.csv")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def whole(shop: Path) -> tuple[Path, Outcome]:
    out = shop / "whole"
    return out, benchmark(benchmark_spec(small_spec(shop)), out, Serial(1), check_leaks=True)


def tables(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in TABLES}


def run(shop: Path, out: Path, jobs: int, dies_at: int) -> int:
    words = [sys.executable, benches.__file__, shop, out, jobs, dies_at]
    paths = os.pathsep.join(
        [str(Path(benches.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    return subprocess.run(
        list(map(str, words)), env={**os.environ, "PYTHONPATH": paths}, check=False
    ).returncode


def finished(out: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in out.glob("cells/*/*/*/cell.json")}


@pytest.mark.parametrize(("jobs", "first", "second"), [(1, 4, 5), (2, 1, 2)])
def test_killed_twice_and_resumed_gives_the_same_bytes(
    shop: Path, whole: tuple[Path, Outcome], jobs: int, first: int, second: int
) -> None:
    """With one job in the middle of judging a model, with two in the parent while its workers work."""
    out = shop / f"killed with {jobs}"
    assert run(shop, out, jobs, first) == -signal.SIGKILL
    before = finished(out)
    assert 0 < len(before) < 6
    if jobs == 1:
        (work,) = out.glob("cells/*/*/*/work")
        (work.parent / ".log.json.0123abcd.tmp").touch()  # as a kill in the middle of writing leaves it
    assert run(shop, out, jobs, second) == -signal.SIGKILL
    between = finished(out)
    assert len(before) < len(between) < 6
    assert run(shop, out, jobs, 1000) == 0
    assert tables(out) == tables(whole[0])
    assert between.items() <= finished(out).items()  # done once is done
    assert {file.name for file in out.rglob("*")}.isdisjoint({"work", "leak"})
    assert not list(out.rglob(".*"))


def test_two_jobs_give_the_bytes_of_one(shop: Path, whole: tuple[Path, Outcome]) -> None:
    out = shop / "two"
    spec = benchmark_spec(small_spec(shop, budget={"jobs": 2}))
    benchmark(spec, out, check_leaks=True)
    assert tables(out) == tables(whole[0])


def test_the_folder_holds_what_is_promised(whole: tuple[Path, Outcome]) -> None:
    out, _ = whole
    assert pl.read_csv(out / "results.csv").columns == list(RESULTS)
    assert pl.read_csv(out / "comparisons.csv").columns == list(COMPARISONS)
    costs = pl.read_csv(out / "costs.csv")
    assert costs.columns == list(COSTS)
    assert len(costs) == 6
    assert (costs["peak_mib"] > 20).all()
    (cell,) = out.glob("cells/shops/joined-more-*/2")
    files = {"evaluation-full.parquet", "evaluation-1+8.parquet", "log.json", "cell.json", "cost.json"}
    assert {file.name for file in cell.iterdir()} == files
    about = read_json(cell / "cell.json")
    assert about["settings"]["sharing"] == "joined"
    assert (about["label"], about["method"], about["seed"]) == ("joined & more", "ials", 2)
    assert about["protocols"] == list(about["coverage"]) == ["full", "1+8"]
    assert about["decision"] is None
    assert not any("second" in key or "time" in key for key in about)
    data = read_json(out / "data" / "shops.json")
    books = data["domains"][0]
    assert books["events"] == len(pl.read_csv(out.parent / "books.csv").unique())
    assert books["density"] == pytest.approx(books["events"] / books["users"] / books["items"])
    own = pl.read_csv(out.parent / "books.csv").unique().group_by("user").len()["len"].to_list()
    bounds = {"1-2": (1, 2), "3-5": (3, 5), "6-10": (6, 10), "11-30": (11, 30), "31+": (31, 10_000)}
    groups = {label: [n for n in own if low <= n <= high] for label, (low, high) in bounds.items()}
    assert books["activity"] == {
        label: {"users": len(counts), "events": sum(counts)} for label, counts in groups.items() if counts
    }
    assert data["shared_users"] == {"books|movies": 60}
    assert read_json(out / "environment.json")["cores"] >= 1


def test_a_guarded_method_keeps_its_decisions(shop: Path) -> None:
    out = shop / "guarded"
    guarded = {
        "label": "safe",
        "name": "ials",
        "guard": True,
        "settings": {"factors": 4, "sharing": "joined"},
    }
    benchmark(benchmark_spec(small_spec(shop, seeds=[1], reference="safe", methods=[guarded])), out)
    (cell,) = out.glob("cells/*/*/*/cell.json")
    about = read_json(cell)
    assert about["guard"]
    assert {record["domain"] for record in about["decision"]} == {"books", "movies"}


def test_means_are_those_of_the_cells(whole: tuple[Path, Outcome]) -> None:
    out, outcome = whole
    for label, mean in (
        outcome.results.filter(by="domain", domain="books", protocol="full", metric="ndcg@10")
        .select("label", "mean")
        .rows()
    ):
        slug = label.replace(" & ", "-")
        judged = [Evaluation.read(file) for file in out.glob(f"cells/*/{slug}-*/?/evaluation-full.parquet")]
        assert len(judged) == 2
        assert mean == pytest.approx(np.mean([each.means("ndcg@10")["books"] for each in judged]))


def test_holm_is_over_all_labels_of_a_family(whole: tuple[Path, Outcome]) -> None:
    comparisons = whole[1].comparisons
    assert set(comparisons["label"]) == {"popular", "joined & more"}
    for family, part in comparisons.group_by("family"):
        assert part["p_holm"].to_list() == pytest.approx(holm(part["p"].to_numpy()).tolist()), family
        assert set(part["label"]) == {"popular", "joined & more"}
    sizes = dict(comparisons.group_by("family").len().rows())
    assert sizes["shops / ndcg@10 / full / domain"] == 4
    assert len(sizes) == 4  # protocols x by


def test_small_segments_have_a_note(whole: tuple[Path, Outcome]) -> None:
    notes = whole[1].comparisons.filter(pl.col("effect_size").abs() > 0)["power_note"]
    assert notes.str.contains(r"^few users: differences below [0-9.e-]+ go unseen$").all()


def test_an_effect_is_the_mean_over_the_deviation_of_user_differences(whole: tuple[Path, Outcome]) -> None:
    out, _ = whole
    a, b = (
        Evaluation.read(next(out.glob(f"cells/*/{slug}-*/1/evaluation-full.parquet")))
        for slug in ("popular", "separate")
    )
    row = compare(a, b).rows.filter(domain="books").row(0, named=True)
    gain = 1 / np.log2(np.arange(2, 12))
    values = []
    for judged in (a, b):
        rows = judged.rows.filter(domain="books").sort("user")
        values.append(np.array([_ndcg(gain, *pair) for pair in rows.select("above", "ties").rows()]))
    difference = values[0] - values[1]
    assert row["effect_size"] == pytest.approx(difference.mean() / difference.std(ddof=1))
    standard_error = difference.std(ddof=1) / np.sqrt(len(difference))
    # drawn, and a little wider as the users are few
    assert row["detectable"] == pytest.approx(POWER * standard_error, rel=0.1)


def _ndcg(gain: np.ndarray, above: int, ties: int) -> float:
    places = range(above, above + ties + 1)
    return sum(gain[place] for place in places if place < len(gain)) / len(places)


def test_the_main_table_has_gains_and_says_what_is_sampled(whole: tuple[Path, Outcome], shop: Path) -> None:
    outcome = whole[1]
    shown = main_tables(benchmark_spec(small_spec(shop)), outcome.results, outcome.comparisons)
    assert list(shown) == [
        "shops: ndcg@10, full ranking, against separate",
        "shops: ndcg@10, sampled 1+8, against separate",
    ]
    table = shown["shops: ndcg@10, full ranking, against separate"]
    assert table.columns == ["label", "books", "movies"]
    row = outcome.comparisons.row(
        by_predicate=(pl.col("label") == "popular")
        & (pl.col("domain") == "books")
        & (pl.col("by") == "domain")
        & (pl.col("protocol") == "full"),
        named=True,
    )
    cell = table.filter(label="popular")["books"].item()
    assert cell.rstrip("*") == f"{row['a']:.4f} {row['gain_percent']:+.1f} %"
    assert cell.endswith("*") == (row["p_holm"] < 0.05)
    assert "%" not in table.filter(label="separate")["books"].item()


def test_the_budget_starts_no_more_cells_and_a_later_go_ends_it(
    shop: Path, whole: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, clock = shop / "short", [0.0]
    monkeypatch.setattr("landbridge.studies.benchmark.runner.time.monotonic", lambda: clock[0])
    real = cells.EvaluationJob.run

    def slow(self: cells.EvaluationJob) -> None:
        real(self)
        clock[0] += 40

    monkeypatch.setattr(cells.EvaluationJob, "run", slow)
    short = benchmark_spec(small_spec(shop, budget={"seconds": 100}))
    outcome = benchmark(short, out, Serial(1))
    assert outcome.left == (
        "shops / popular / seed 2",
        "shops / separate / seed 2",
        "shops / joined & more / seed 2",
    )
    assert set(pl.read_csv(out / "results.csv")["label"]) == {"popular", "separate", "joined & more"}
    assert not benchmark(benchmark_spec(small_spec(shop)), out, Serial(1)).left
    assert (out / "results.csv").read_bytes() == (whole[0] / "results.csv").read_bytes()


def test_nothing_finished_gives_empty_tables(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 10_000, 100))
    monkeypatch.setattr("landbridge.studies.benchmark.runner.time.monotonic", lambda: float(next(ticks)))
    spec = benchmark_spec(small_spec(shop, budget={"seconds": 1}))
    outcome = benchmark(spec, shop / "none", Serial(1))
    assert len(outcome.left) == 6
    assert pl.read_csv(shop / "none" / "results.csv").columns == list(RESULTS)
    assert main_tables(spec, outcome.results, outcome.comparisons) == {}


def test_tables_are_not_remade_all_the_time(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = [0.0], []
    monkeypatch.setattr("landbridge.studies.benchmark.runner.time.monotonic", lambda: clock[0])

    def write(self: ResultTables) -> None:
        written.append(clock[0])
        clock[0] += 1

    monkeypatch.setattr(ResultTables, "write", write)
    sparing = _ThrottledTables(ResultTables(benchmark_spec(small_spec(shop)), shop))
    for _ in range(60):
        sparing.write()
        clock[0] += 1
    assert written == [0, 21, 42]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seeds": [1]}, "seeds"),
        ({"seeds": [2, 1, 3]}, "seeds"),
        ({"metrics": ["hr@10"]}, "metrics"),
        ({"methods": [{"label": "separate", "name": "ials"}]}, "methods"),
    ],
)
def test_another_spec_in_the_same_folder(
    shop: Path, whole: tuple[Path, Outcome], change: dict[str, object], what: str
) -> None:
    with pytest.raises(StoreError, match=f"was begun with other {what}; go on with its spec.toml"):
        benchmark(benchmark_spec(small_spec(shop, **change)), whole[0])


def test_seeds_may_be_added(shop: Path, whole: tuple[Path, Outcome]) -> None:
    out, few = shop / "more", small_spec(shop, seeds=[1])
    benchmark(benchmark_spec(few), out, Serial(1))
    before = {path: path.read_bytes() for path in out.rglob("cost.json")}
    benchmark(benchmark_spec(small_spec(shop)), out, Serial(1))
    assert all(path.read_bytes() == told for path, told in before.items())
    for table in ("results.csv", "comparisons.csv"):
        assert (out / table).read_bytes() == (whole[0] / table).read_bytes()


def test_other_folders_and_files_are_left_alone(shop: Path) -> None:
    spec = benchmark_spec(small_spec(shop))
    with pytest.raises(StoreError, match=r"holds other files \(books.csv\) and no benchmark"):
        benchmark(spec, shop)
    with pytest.raises(StoreError, match="is a file; give a folder"):
        benchmark(spec, shop / "books.csv")


def test_two_at_a_time_in_one_folder(shop: Path, whole: tuple[Path, Outcome]) -> None:
    spec = benchmark_spec(small_spec(shop))
    with locked(whole[0]), pytest.raises(StoreError, match="Another process is at work"):
        benchmark(spec, whole[0])


def test_other_versions_are_not_mixed(
    shop: Path, whole: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landbridge.version.__version__", "9.9")
    with pytest.raises(StoreError, match=r"begun with landbridge .*, this is 9\.9"):
        benchmark(benchmark_spec(small_spec(shop)), whole[0])


def test_data_that_changed_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = benchmark_spec(small_spec(tmp_path, seeds=[1]))
    benchmark(spec.model_copy(update={"methods": spec.methods[:1]}), tmp_path / "out", Serial(1))
    (cell,) = (tmp_path / "out").glob("cells/*/*/*/cell.json")
    cell.unlink()
    (tmp_path / "books.csv").write_text("user,item\n" + "".join(f"{n % 60},{n % 7}\n" for n in range(300)))
    with pytest.raises(DataError, match=r"Data 'shops' have changed since the benchmark in .* began"):
        benchmark(spec.model_copy(update={"methods": spec.methods[:1]}), tmp_path / "out", Serial(1))


def test_missing_data_leave_no_trace(tmp_path: Path) -> None:
    spec = small_spec(tmp_path)
    spec["data"][0]["source"] = str(tmp_path / "bokks.csv")
    with pytest.raises(DataError, match=r"bokks\.csv"):
        benchmark(benchmark_spec(spec), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_an_error_names_the_cell(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*anything: object) -> None:
        raise DataError("No.")

    monkeypatch.setattr(cells, "fit", fails)
    with pytest.raises(DataError, match=r"^shops / popular / seed 1: No\.$"):
        benchmark(benchmark_spec(small_spec(shop)), shop / "failing", Serial(1))


def test_published_candidates_are_not_drawn_twice(shop: Path) -> None:
    source = benchmark_spec(small_spec(shop)).data[0]
    split = cells.prepared_split(source)
    (_, drawn) = cells.protocols(source, split)
    with pytest.raises(Exception, match="come with candidates of their own: protocol 1\\+8"):
        cells.protocols(source, replace(split, test=drawn))


def test_published_candidates_are_not_ranked_across(shop: Path) -> None:
    source = benchmark_spec(small_spec(shop)).data[0].model_copy(update={"across": True, "candidates": (0,)})
    split = with_candidates(cells.prepared_split(source), 8)
    with pytest.raises(SettingsError, match="takes no sampled candidates"):
        cells.protocols(source, split)


def test_one_list_over_all_domains_is_one_more_protocol(shop: Path, whole: tuple[Path, Outcome]) -> None:
    """All other figures stay as they are; the leak check judges within domains."""
    tables = small_spec(shop)
    tables["data"][0]["across"] = True
    spec = benchmark_spec(tables | {"by": ["domain", "activity", "event_share"]})
    out = shop / "across"
    outcome = benchmark(spec, out, Serial(1), check_leaks=True)
    assert all(check["passed"] for check in outcome.leaks)
    found, before = outcome.results, whole[1].results
    assert found["protocol"].unique(maintain_order=True).to_list() == ["full", "1+8", "across"]
    usual = pl.col("by") != "event_share"
    assert found.filter(usual, pl.col("protocol") != "across").equals(before)
    across = found.filter(protocol="across", by="domain")
    assert across["domain"].unique().sort().to_list() == ["books", "movies"]
    assert not across["sampled"].any()
    full = found.filter(protocol="full", by="domain")
    assert (across["mean"] <= full["mean"]).all()
    assert (across["mean"] < full["mean"]).any()
    (cell,) = out.glob("cells/shops/popular-*/1")
    assert (cell / "evaluation-across.parquet").is_file()
    (row,) = read_json(cell / "cell.json")["coverage"]["across"]
    assert (row["domain"], row["protocol"]) == ("all", "across")
    titles = list(main_tables(spec, outcome.results, outcome.comparisons))
    assert titles[-1] == "shops: ndcg@10, one list over all domains, against separate"
    report(out, out / "report.md")
    text = (out / "report.md").read_text()
    assert "NDCG@10, one list over all domains" in text
    assert "By the share of the user's events that are in the domain" in text


def test_a_domain_without_any_latest_event(tmp_path: Path) -> None:
    """It is fitted on and described, and has no figures; the guard decides on the others."""
    (files := tmp_path / "files").mkdir()
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {"user": np.tile(np.arange(40), 12), "item": rng.integers(0, 20, 480), "time": np.arange(480) + 1000}
    )
    rows.write_csv(files / "books.csv")
    rows.with_columns(pl.col("time") + 5000, item=pl.col("item") % 15).write_csv(files / "films.csv")
    rows.with_columns(pl.col("time") - 900).write_csv(files / "old.csv")
    quick = {"factors": 4, "epochs": 2}
    spec = small_spec(
        tmp_path,
        seeds=[1],
        data=[
            {
                "name": "shelf",
                "source": [str(files / f"{name}.csv") for name in ("books", "films", "old")],
                "users": "shared",
                "split": {"kind": "latest"},
                "candidates": [0, 3],
                "across": True,
            }
        ],
        methods=[
            {"label": "separate", "name": "ials", "settings": quick},
            {"label": "safe", "name": "ials", "settings": quick | {"sharing": "joined"}, "guard": True},
        ],
    )
    outcome = benchmark(benchmark_spec(spec), tmp_path / "out", Serial(1), check_leaks=True)
    assert outcome.results["domain"].unique().to_list() == ["films"]
    assert outcome.results["protocol"].unique(maintain_order=True).to_list() == ["full", "1+3", "across"]
    assert set(outcome.comparisons["domain"]) == {"films"}
    told = {
        each["name"]: each["test_rows"] for each in read_json(tmp_path / "out/data/shelf.json")["domains"]
    }
    assert told == {"books": 0, "films": 40, "old": 0}
    (cell,) = (tmp_path / "out").glob("cells/shelf/separate-*/1/cell.json")
    coverage = {name: [row["domain"] for row in rows] for name, rows in read_json(cell)["coverage"].items()}
    assert coverage == {"full": ["films"], "1+3": ["films"], "across": ["all"]}
    report(tmp_path / "out", tmp_path / "report.md")
    assert "old" in (tmp_path / "report.md").read_text()


def test_the_peak_is_measured_anew(shop: Path) -> None:
    before = peak_bytes() / 2**20
    block = np.ones(30_000_000)
    assert peak_bytes() / 2**20 > before + 200
    del block
    reset_peak()
    assert before - 50 < peak_bytes() / 2**20 < before + 150


def covered(draw: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]], truth: float) -> float:
    from landbridge.evaluation.bootstrap import mean_interval

    rng, held, times = np.random.default_rng(3), 0, 2000
    for _ in range(times):
        low, high = mean_interval(*draw(rng), 400, rng)
        held += low <= truth <= high
    return held / times


def test_intervals_of_a_paired_difference_cover_the_truth() -> None:
    """Two methods' hits that go together, .35 against .30, of 150 users: the true difference is .05."""

    def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        ease, one, other = rng.random((3, 150))
        both = (ease < 0.5).astype(float)
        return both * (one < 0.7) - both * (other < 0.6), np.ones(150)

    assert 0.93 <= covered(pair, 0.05) <= 0.97


def test_intervals_over_uneven_users_cover_the_truth() -> None:
    """Users with one to six pairs of their own level: a ratio of sums, as sampled figures are."""

    def uneven(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        count = rng.integers(1, 7, 150)
        return rng.binomial(count, rng.beta(2, 8, 150)).astype(float), count

    assert 0.93 <= covered(uneven, 0.2) <= 0.97
