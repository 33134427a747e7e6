"""Lists with raw ids: right order, nothing known, all users in resumable parts, new users, reasons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from worlds import uneven

from landbridge import inference as recommending
from landbridge.core.errors import DataError, SettingsError, StoreError
from landbridge.core.parallel import Executor, Processes, Threads
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.products import Products
from landbridge.data.vocabulary import Vocabulary
from landbridge.inference import (
    ListRules,
    PageList,
    explain,
    fold_in,
    recommend,
    recommend_all,
    recommend_page,
)
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import Consensus
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted, Queries
from landbridge.models.popularity import Popularity
from landbridge.training.options import FitOptions

USERS = ("ann", "bob", "cy")


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def small() -> MultiDomain:
    """Book counts: 10 has 3 readers, 20 has 2, 30 has 1, 40 none. Ann has 10; Bob 10, 20; Cy 10, 20, 30."""
    books = Interactions.from_events([0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2], 3, 4)
    films = Interactions.from_events([0, 1], [1, 0], 3, 2)
    titles = {"films": np.array(["Alien", "Brazil"], np.dtypes.StringDType())}
    items = {"books": Vocabulary.of([10, 20, 30, 40]), "films": Vocabulary.of(["a", "b"])}
    return MultiDomain(Vocabulary.of(USERS), items, {"books": books, "films": films}, titles)


@pytest.fixture(scope="module")
def counts() -> Fitted:
    return Popularity().fit(small())


@pytest.fixture(scope="module")
def factors() -> Fitted:
    rng = np.random.default_rng(3)
    domains = {
        name: Interactions.from_events(rng.integers(0, 30, 200), rng.integers(0, size, 200), 30, size)
        for name, size in (("books", 25), ("films", 15))
    }
    items = {name: Vocabulary.of(range(events.n_items)) for name, events in domains.items()}
    data = MultiDomain(Vocabulary.of([f"u{n:02d}" for n in range(30)]), items, domains)
    return CDIMF(factors=8, epochs=3).fit(data, FitOptions(threads=1))


def test_lists_by_hand(counts: Fitted) -> None:
    lists = recommend(counts, "books", ["bob", "ann"], k=2)
    assert lists.rows() == [
        ("bob", 1, 30, 1.0),
        ("bob", 2, 40, 0.0),
        ("ann", 1, 20, 2.0),
        ("ann", 2, 30, 1.0),
    ]


def test_short_lists_titles_and_seen_items(counts: Fitted) -> None:
    assert recommend(counts, "books", ["cy"]).rows() == [("cy", 1, 40, 0.0)]
    assert recommend(counts, "films", ["ann"]).rows() == [("ann", 1, "a", "Alien", 1.0)]
    everything = recommend(counts, "books", ["cy"], seen=True)
    assert everything["item"].to_list() == [10, 20, 30, 40]


def test_all_users_in_small_blocks_equals_one_block(factors: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recommend(factors, "books", k=5)
    assert whole["user"].n_unique() == 30
    monkeypatch.setattr(recommending, "SCORES_AT_ONCE", 25 * 7)
    apart = recommend(factors, "books", k=5)
    assert apart.drop("score").equals(whole.drop("score"))
    np.testing.assert_allclose(apart["score"], whole["score"], rtol=1e-5)


def test_no_users_get_an_empty_frame(counts: Fitted) -> None:
    assert recommend(counts, "books", []).columns == ["user", "rank", "item", "score"]


def test_strangers_are_named(counts: Fitted, factors: Fitted) -> None:
    with pytest.raises(DataError, match=r"no user 'dan'\. Use fold_in"):
        recommend(counts, "books", ["ann", "dan"])
    with pytest.raises(DataError, match="did you mean 'books'"):
        recommend(counts, "book", ["ann"])
    with pytest.raises(DataError, match="'books' has no item 50"):
        fold_in(factors, {"books": [1, 50]}, "films")
    with pytest.raises(DataError, match="at least one item"):
        fold_in(factors, {"books": []}, "films")
    with pytest.raises(SettingsError, match="k must be 1 or more"):
        recommend(counts, "books", ["ann"], k=0)


def test_a_new_user_with_a_known_history_gets_the_known_list() -> None:
    rng = np.random.default_rng(5)
    events = Interactions.from_events(rng.integers(0, 20, 150), rng.integers(0, 18, 150), 20, 18)
    data = MultiDomain(Vocabulary.of(range(20)), {"books": Vocabulary.of(range(18))}, {"books": events})
    model = IALS(factors=6, epochs=4).fit(data, FitOptions(threads=1))
    rows = events.by_user
    history = rows.columns[rows.offsets[3] : rows.offsets[4]].tolist()
    known = recommend(model, "books", [3], k=5)
    new = fold_in(model, {"books": history}, "books", k=5)
    assert new["item"].to_list() == known["item"].to_list()
    np.testing.assert_allclose(new["score"], known["score"], rtol=1e-3, atol=1e-4)


def test_contributions_sum_to_the_score(factors: Fitted) -> None:
    reasons = explain(factors, "books", "u04", 7)
    score = factors.score("books", Queries.of_users([4]))[0, 7]
    assert reasons["contribution"].sum() == pytest.approx(score, abs=1e-4)
    assert reasons["item"].count() == factors.history.activity_UD[4].sum()
    assert reasons["contribution"].is_sorted(descending=True)
    assert set(reasons["domain"]) == {"books", "films"}


@pytest.mark.parametrize("policy", ["blend", "popularity", "mean", "zero"])
def test_explanations_of_cold_users_name_popularity(policy: str) -> None:
    """Cy has books only; film b was seen by one of the two users who saw any."""
    data = small()
    fitted = IALS(factors=2, sharing="joined", cold_policy=policy).fit(data, FitOptions(threads=1))
    score = fitted.score("films", Queries.of_users([2]))[0, 1]
    reasons = explain(fitted, "films", "cy", "b")
    assert reasons["contribution"].sum() == pytest.approx(score, abs=1e-4)
    common = reasons.filter(pl.col("item").is_null())
    wanted = {"blend": 1.5, "popularity": 0.5}.get(policy)
    expected = [] if wanted is None else [("films", None, "popular in this domain", wanted)]
    assert common.rows() == expected
    assert reasons["item"].count() == 3
    used = reasons.filter(pl.col("item").is_not_null())["contribution"].to_numpy()
    assert used.any() == (policy != "popularity")


def test_what_no_event_explains_has_its_row() -> None:
    """Of ten users five are left out of the consensus, so their rows are not what their events say."""
    data = uneven({"a": (12, 10), "b": (12, 10)}, users=10)
    fitted = CDIMF(factors=4, consensus=Consensus(shared_fraction=0.5)).fit(data, FitOptions(threads=1))
    left_over = []
    for user in range(10):
        reasons = explain(fitted, "a", user, 5)
        score = fitted.score("a", Queries.of_users([user]))[0, 5]
        assert reasons["contribution"].sum() == pytest.approx(score, abs=1e-4)
        left_over += reasons.filter(pl.col("title") == "not from single events").rows()
    assert 0 < len(left_over) < 10
    assert all(row[:2] == ("a", None) for row in left_over)


def test_a_model_without_reasons_says_so(counts: Fitted) -> None:
    with pytest.raises(DataError, match="no explanation of its own: every user gets the same scores"):
        explain(counts, "books", "ann", 20)


def test_parts_for_all_users_resume(factors: Fitted, tmp_path: Path) -> None:
    out = tmp_path / "lists"
    recommend_all(factors, "films", out, k=4, block=8)
    parts = sorted(out.glob("*.parquet"))
    assert [part.name for part in parts] == [f"part-{n:05d}.parquet" for n in range(4)]
    whole = pl.read_parquet(out / "*.parquet")
    assert whole.drop("score").equals(recommend(factors, "films", k=4).drop("score"))
    parts[1].unlink()
    kept = parts[0].stat().st_mtime_ns
    (out / ".part-00001.parquet.0123abcd.tmp").write_text("half")
    recommend_all(factors, "films", out, k=4, block=8)
    assert pl.read_parquet(out / "*.parquet").equals(whole)
    assert parts[0].stat().st_mtime_ns == kept
    assert len(list(out.iterdir())) == 5


@pytest.mark.parametrize("executor", [Threads(2, 1), Processes(2, 1)])
def test_parts_are_the_same_wherever_they_are_made(
    factors: Fitted, tmp_path: Path, executor: Executor
) -> None:
    recommend_all(factors, "films", tmp_path / "here", k=4, block=8)
    recommend_all(factors, "films", tmp_path / "there", k=4, block=8, executor=executor)
    parts = sorted(part.name for part in (tmp_path / "here").glob("*.parquet"))
    assert len(parts) == 4
    for part in parts:
        assert (tmp_path / "here" / part).read_bytes() == (tmp_path / "there" / part).read_bytes()


def test_parts_of_different_lists_never_mix(factors: Fitted, counts: Fitted, tmp_path: Path) -> None:
    recommend_all(factors, "films", tmp_path / "lists", k=4)
    for model, domain, k in ((factors, "films", 5), (factors, "books", 4), (counts, "films", 4)):
        with pytest.raises(StoreError, match="another model, domain or length"):
            recommend_all(model, domain, tmp_path / "lists", k=k)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(StoreError, match="holds other files"):
        recommend_all(counts, "films", tmp_path)


def priced(folder: Path) -> Path:
    """Books 0 to 24, whose price is their number; every third of brand "acme"."""
    numbers = np.arange(25)
    brand = np.where(numbers % 3 == 0, "acme", "other")
    table = {"domain": "books", "item": numbers.astype(str), "price": numbers, "brand": brand}
    pl.DataFrame(table).write_csv(folder / "items.csv")
    return folder / "items.csv"


def test_lists_keep_a_rule_and_are_the_best_of_what_is_left(factors: Fitted, tmp_path: Path) -> None:
    rules = ListRules(items=priced(tmp_path), where="price >= 5 and brand in [acme, x]")
    lists = recommend(factors, "books", k=4, rules=rules)
    left = recommend(factors, "books", k=25).filter(pl.col("item") >= 5, pl.col("item") % 3 == 0)
    assert lists.drop("rank").equals(left.group_by("user", maintain_order=True).head(4).drop("rank"))
    assert recommend(factors, "books", ["u01"], rules=ListRules(items=rules.items)).height == 10
    same = ListRules(items=rules.items, where={"brand": "acme"})
    seen = recommend(factors, "books", ["u01"], k=25, seen=True, rules=same)
    assert set(seen["item"]) == {*range(0, 25, 3)}


def test_no_item_of_a_rule_is_an_empty_list(factors: Fitted, tmp_path: Path) -> None:
    none = ListRules(items=priced(tmp_path), where="price > 100")
    assert recommend(factors, "books", ["u01"], rules=none).is_empty()


def test_a_rule_needs_a_table_and_its_columns(factors: Fitted, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a table of them"):
        recommend(factors, "books", rules=ListRules(where="price < 3"))
    with pytest.raises(DataError, match="did you mean 'price'"):
        recommend(factors, "books", rules=ListRules(items=priced(tmp_path), where="prize < 3"))


def test_parts_of_all_lists_keep_one_rule(factors: Fitted, tmp_path: Path) -> None:
    rules, out = ListRules(items=priced(tmp_path), where="price < 9"), tmp_path / "lists"
    recommend_all(factors, "books", out, k=4, block=8, rules=rules)
    whole = pl.read_parquet(out / "*.parquet")
    assert whole.drop("score").equals(recommend(factors, "books", k=4, rules=rules).drop("score"))
    with pytest.raises(StoreError, match="other rules"):
        recommend_all(factors, "books", out, k=4, block=8)


def test_a_page_repeats_nothing(factors: Fitted) -> None:
    users = ["u03", "u07"]
    lists = {
        "top": PageList(domain="books", k=4),
        "films": PageList(domain="films", k=3),
        "more": PageList(domain="books", k=6),
    }
    page = recommend_page(factors, lists, users)
    top = recommend(factors, "books", users, k=4)
    assert page.filter(pl.col("list") == "top")["item"].to_list() == top["item"].cast(str).to_list()
    assert not page.select("user", "domain", "item").is_duplicated().any()
    more = recommend(factors, "books", users, k=10)
    for user in users:
        above = top.filter(pl.col("user") == user)["item"].to_list()
        left = [item for item in more.filter(pl.col("user") == user)["item"].to_list() if item not in above]
        own = page.filter((pl.col("user") == user) & (pl.col("list") == "more"))
        assert own["item"].to_list() == [str(item) for item in left[:6]]
        assert own["rank"].to_list() == [1, 2, 3, 4, 5, 6]


def test_a_product_of_two_domains_is_listed_once_on_a_page() -> None:
    data = replace(
        small(), products=Products({"books": int32(0, 1, 2, 3), "films": int32(2, 4)}, by_id=False)
    )
    lists = {"films": PageList(domain="films", k=5), "books": PageList(domain="books", k=5)}
    page = recommend_page(Popularity().fit(data), lists, ["ann"])
    # film a is book 30
    assert page.select("list", "item").rows() == [("films", "a"), ("books", "20"), ("books", "40")]


def test_lists_of_another_order_are_other_files(factors: Fitted, tmp_path: Path) -> None:
    recommend_all(factors, "books", tmp_path / "lists", rules=ListRules(diversity=0.5))
    with pytest.raises(StoreError, match="other rules"):
        recommend_all(factors, "books", tmp_path / "lists", rules=ListRules(diversity=0.4))
    recommend_all(factors, "books", tmp_path / "lists", rules=ListRules(diversity=0.5))


def test_a_limit_without_a_table_is_refused(counts: Fitted) -> None:
    with pytest.raises(DataError, match="needs a table"):
        recommend(counts, "books", ["ann"], rules=ListRules(max_per={"brand": 1}))
