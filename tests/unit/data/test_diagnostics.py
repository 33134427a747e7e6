"""Data checks report planted faults, and none in sound data."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from worlds import countries

from landbridge.data.dataset import MultiDomain
from landbridge.data.diagnostics import Findings, diagnose
from landbridge.data.interactions import Interactions
from landbridge.data.io.readers import read
from landbridge.data.vocabulary import Vocabulary


def two_domains(strangers_from: int, users: int = 6000, seed: int = 0, time: Any = None) -> MultiDomain:
    """Two domains whose activities go together for ids below ``strangers_from`` and not from there on."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(2, users))
    taste[1, :strangers_from] = taste[0, :strangers_from]
    tables = {}
    for name, row in zip("ab", taste, strict=True):
        counts = 1 + rng.poisson(np.exp(1 + 0.6 * row))
        user = np.repeat(np.arange(users), counts)
        item = rng.integers(0, 2000, len(user))
        times = None if time is None else time(rng, len(user))
        tables[name] = Interactions.from_events(user, item, users, 2000, None, times)
    items = Vocabulary.of(np.arange(2000))
    return MultiDomain(Vocabulary.of(np.arange(users)), dict.fromkeys("ab", items), tables)


def severities(found: Findings, kind: str) -> list[str]:
    return [finding.severity for finding in found.of(kind)]


def test_sound_data_are_ok() -> None:
    found = diagnose(two_domains(6000, time=lambda rng, n: rng.integers(10**9, 10**9 + 10**7, n)))
    assert found.at_least("warning").findings == ()
    # both catalogues are numbered from 0, as many are
    assert [finding.kind for finding in found.at_least("note").findings] == ["item ids"]
    (overlap,) = found.of("overlap")
    assert dict(overlap.figures) == {"shared": 6000, "share": 1.0}
    assert found.of("ids") == ()


@pytest.mark.parametrize("seed", range(5))
def test_strangers_under_equal_ids_stop(seed: int) -> None:
    assert severities(diagnose(two_domains(0, 20_000, seed)), "same users") == ["stop"]
    (finding,) = diagnose(two_domains(1500, seed=seed)).of("same users")
    assert finding.severity == "stop"
    assert abs(finding.figures["boundary"] - 1500) < 300
    assert finding.figures["pearson_before"] > 0.3 > abs(finding.figures["pearson_after"]) + 0.2
    assert severities(diagnose(two_domains(6000, seed=seed)), "same users") == ["ok"]


def test_few_shared_users_give_no_verdict() -> None:
    assert severities(diagnose(two_domains(0, users=80)), "same users") == []
    assert severities(diagnose(two_domains(0, users=300)), "same users") == ["ok"]


def test_game_video_ids_collide_and_food_kitchen_ids_do_not(real_data: Path) -> None:
    tables = {
        name: np.loadtxt(real_data / "amazon-game-video-cold" / pair / "train.txt", dtype=np.int64)
        for name, pair in (("game", "game_video"), ("video", "video_game"))
    }
    (finding,) = diagnose(joined({name: (rows[:, 0], rows[:, 1]) for name, rows in tables.items()})).of(
        "same users"
    )
    assert finding.severity == "stop"
    assert 1736 <= finding.figures["boundary"] <= 2300
    assert finding.figures["pearson_before"] == pytest.approx(0.140, abs=0.005)
    assert finding.figures["pearson_after"] == pytest.approx(0.014, abs=0.005)
    frame = pl.read_parquet(real_data / "amazon-food-kitchen" / "interactions.parquet")
    parts = {str(key[0]): part for key, part in frame.group_by("domain", maintain_order=True)}
    text = np.dtypes.StringDType()
    sound = {
        name: (np.array(part["user"].to_list(), text), np.array(part["item"].to_list(), text))
        for name, part in parts.items()
    }
    assert severities(diagnose(joined(sound)), "same users") == ["ok"]


def joined(tables: dict[str, tuple[Any, Any]]) -> MultiDomain:
    users = Vocabulary.of(np.concatenate([user for user, _ in tables.values()]))
    items = {name: Vocabulary.of(item) for name, (_, item) in tables.items()}
    return MultiDomain(
        users,
        items,
        {
            name: Interactions.from_events(
                users.index(user), items[name].index(item), len(users), len(items[name])
            )
            for name, (user, item) in tables.items()
        },
    )


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (lambda rng, n: np.full(n, 10**9), "are all equal"),
        (lambda rng, n: rng.integers(10**12, 2 * 10**12, n), "if these are milliseconds, divide by 1,000"),
        (
            lambda rng, n: rng.integers(10**15, 2 * 10**15, n),
            "if these are microseconds, divide by 1,000,000",
        ),
        (lambda rng, n: rng.integers(10**9, 9 * 10**9, n), "future"),
        (lambda rng, n: rng.integers(0, 10**9, n), "before 1990"),
    ],
)
def test_odd_time_stamps_are_named(times: Any, words: str) -> None:
    found = diagnose(two_domains(200, users=200, time=times)).of("time")
    assert [finding.severity for finding in found] == ["warning", "warning"]
    assert all(words in finding.message for finding in found)


def test_time_missing_in_one_domain_is_named() -> None:
    timed = two_domains(200, users=200, time=lambda rng, n: rng.integers(10**9, 10**9 + 10**7, n))
    mixed = timed.with_events({"a": timed["a"], "b": two_domains(200, users=200)["b"]})
    assert severities(diagnose(mixed), "time") == ["ok", "warning"]
    assert severities(diagnose(two_domains(200, users=200)), "time") == ["ok", "ok"]


def test_bursts_count_unless_time_is_in_days() -> None:
    by_minute = diagnose(two_domains(200, users=200, time=lambda rng, n: 10**9 + rng.integers(0, 2, n)))
    by_day = diagnose(
        two_domains(200, users=200, time=lambda rng, n: 86400 * rng.integers(10**4, 10**4 + 2, n))
    )
    assert severities(by_minute, "bursts") == ["warning", "warning"]
    assert all("say so with ties='file'" in found.message for found in by_minute.of("bursts"))
    assert severities(by_day, "bursts") == ["ok", "ok"]
    one = world_of(["u"], ["a", "b", "c"], [(0, 0), (0, 1), (0, 2)], time=[5, 5, 6])
    assert diagnose(one).of("bursts")[0].figures["share"] == pytest.approx(2 / 3)


def world_of(
    users: list[str], items: list[str], events: list[tuple[int, int]], time: Any = None
) -> MultiDomain:
    text = np.dtypes.StringDType()
    u, i = np.array(events).T
    tables = {"a": Interactions.from_events(u, i, len(users), len(items), None, time)}
    item_ids = Vocabulary(np.array(items, text))
    return MultiDomain(Vocabulary(np.array(users, text)), {"a": item_ids}, tables)


def test_odd_ids_are_named() -> None:
    found = diagnose(world_of(["", " bob", "Eve", "eve", "nan"], ["None", "x"], [(0, 0), (4, 1)])).of("ids")
    assert [(f.severity, f.figures["count"]) for f in found] == [
        ("stop", 2),
        ("warning", 1),
        ("warning", 2),
        ("stop", 1),
    ]
    assert "'nan'" in found[0].message
    assert "items of a" in found[3].message
    numbers = MultiDomain(
        Vocabulary.of([-1, 5]),
        {"a": Vocabulary.of([1])},
        {"a": Interactions.from_events([0, 1], [0, 0], 2, 1)},
    )
    assert [f.severity for f in diagnose(numbers).of("ids")] == ["stop"]


def test_small_empty_cold_and_strange_domains() -> None:
    data = two_domains(200, users=200)
    empty = data["b"].take(np.zeros(len(data["b"]), bool))
    found = diagnose(data.with_events({"a": data["a"], "b": empty}))
    assert severities(found, "size") == ["ok", "stop"]
    assert severities(found, "overlap") == ["warning"]
    assert severities(found, "cold")[1] == "ok"
    small = diagnose(world_of(["u", "v"], ["x"], [(0, 0), (1, 0)]))
    assert severities(small, "size") == ["stop"]
    assert "nothing can be learned from one user or one item" in small.of("size")[0].message
    assert severities(small, "cold") == ["note"]
    few = diagnose(world_of(["u", "v"], ["x", "y"], [(0, 0), (1, 1)]))
    assert severities(few, "size") == ["warning"]
    assert small.of("size")[0].figures == {"users": 2, "items": 1, "events": 2, "density": 1.0}


def test_one_catalogue_listed_twice_is_seen() -> None:
    data = two_domains(300, users=300)
    found = diagnose(data.with_events({"a": data["a"], "b": data["a"]})).of("cross-listed")
    assert found[0].severity == "warning"
    assert found[0].figures["pairs"] == np.count_nonzero(data["a"].item_counts >= 3)


def test_the_table_has_a_row_per_finding() -> None:
    found = diagnose(two_domains(100, users=100))
    table = found.table()
    assert table.columns == ["kind", "severity", "domains", "message", "figures"]
    assert table.height == len(found.findings)
    assert diagnose(two_domains(100, users=100)) == found


def table_of(events: list[tuple[str, str]], **more: Any) -> pl.DataFrame:
    return pl.DataFrame(events, schema=["user", "item"], orient="row").with_columns(**more)


def usual_events(users: int = 60, items: int = 100, each: int = 8) -> list[tuple[str, str]]:
    rng = np.random.default_rng(3)
    return [(f"u{u}", f"i{i}") for u in range(users) for i in rng.choice(items, each, replace=False)]


def test_a_bot_is_found_and_usual_users_are_none() -> None:
    usual = usual_events(items=400)
    assert diagnose(read(table_of(usual))).of("bots") == ()
    (finding,) = diagnose(read(table_of([*usual, *(("bot", f"i{i}") for i in range(250))]))).of("bots")
    assert (finding.severity, dict(finding.figures)) == ("warning", {"users": 1, "events": 250})
    assert "'bot'" in finding.message
    # every user has many events: nothing is odd
    assert diagnose(read(table_of(usual_events(20, 400, 250)))).of("bots") == ()


def test_a_user_with_most_of_a_catalogue_is_found() -> None:
    usual = usual_events()
    assert diagnose(read(table_of(usual))).of("catalogue") == ()
    (finding,) = diagnose(read(table_of([*usual, *(("all", f"i{i}") for i in range(80))]))).of("catalogue")
    assert finding.severity == "warning"
    assert finding.figures["share"] == pytest.approx(0.8, abs=0.01)
    # where most users have much of the catalogue, one more does not matter
    assert diagnose(read(table_of(usual_events(20, 60, 40)))).of("catalogue") == ()


@pytest.mark.parametrize(
    ("ids", "fault", "count"),
    [
        (["Ann", "ann", "bob"], "case or blanks; --fold-ids makes these one", 2),
        (["007", "7", "x"], "leading zeros", 2),
        (["caf\u00e9", "cafe\u0301", "x"], "how a letter is encoded", 2),
        (["a b", "ab", "x"], "inner blanks", 2),
    ],
)
def test_ids_that_look_alike_are_counted(ids: list[str], fault: str, count: int) -> None:
    found = diagnose(read(table_of([(user, "i") for user in ids]))).of("ids")
    assert [(f.severity, f.figures["count"]) for f in found] == [("warning", count)]
    assert fault in found[0].message


@pytest.mark.parametrize(
    ("unit", "first", "last"),
    [("in minutes", 27_000_000, 28_000_000), ("in hours", 450_000, 460_000), ("in days", 19_000, 19_500)],
)
def test_a_wrong_unit_of_time_is_named(unit: str, first: int, last: int) -> None:
    time = pl.Series(np.linspace(first, last, 480).astype(int))
    (finding,) = diagnose(read(table_of(usual_events(), time=time))).of("time")
    assert finding.severity == "warning"
    assert f"would be recent {unit}" in finding.message


def test_days_of_a_spreadsheet_are_named() -> None:
    time = pl.Series(np.linspace(44_000, 45_000, 480).astype(int))
    (finding,) = diagnose(read(table_of(usual_events(), time=time))).of("time")
    assert "days since 1900" in finding.message


def test_shared_items_connect_domains_without_a_common_user() -> None:
    findings = diagnose(countries())
    assert "only methods that use shared items" in findings.of("overlap")[0].message
    assert findings.of("item ids")[0].severity == "ok"
    apart = diagnose(replace(countries(), products=None))
    assert "nothing can be transferred" in apart.of("overlap")[0].message
    assert "say --items shared" in apart.of("item ids")[0].message


def test_catalogues_that_share_item_ids_are_found() -> None:
    books, other = usual_events(), [(f"v{u}", f"i{i}") for u in range(50) for i in range(u, u + 9)]
    (finding,) = diagnose(read({"a": table_of(books), "b": table_of(other)}, users="shared")).of("item ids")
    assert finding.severity == "warning"
    assert "share 58 item ids" in finding.message
    apart = [(user, f"x{item}") for user, item in other]
    assert diagnose(read({"a": table_of(books), "b": table_of(apart)}, users="shared")).of("item ids") == ()


def test_a_table_given_twice_stops() -> None:
    books = table_of(usual_events())
    found = diagnose(read({"a": books, "b": books.head(460)}, users="shared"))
    (finding,) = found.of("item ids")
    assert finding.severity == found.worst == "stop"
    assert "one table is given twice" in finding.message


def test_columns_that_are_not_used_are_listed() -> None:
    (finding,) = diagnose(read(table_of(usual_events(), price=1, stars=5))).of("columns")
    assert (finding.severity, finding.figures["unused"]) == ("note", ["price", "stars"])
    (finding,) = diagnose(read(table_of(usual_events()))).of("columns")
    assert finding.severity == "ok"


def test_a_missing_time_that_may_be_there_is_named() -> None:
    dates = {"bought": pl.lit("2024-03-01"), "seen": pl.lit("2024-03-02"), "price": pl.lit("12.5")}
    (finding,) = diagnose(read(table_of(usual_events(), **dates))).of("time")
    assert finding.severity == "warning"
    assert "look like times ('bought', 'seen') with --column time=bought" in finding.message


def test_findings_are_json_lines() -> None:
    found = diagnose(read(table_of(usual_events(), price=1)))
    lines = [json.loads(line) for line in found.json_lines().splitlines()]
    assert [line["kind"] for line in lines] == [finding.kind for finding in found.findings]
    assert lines[0]["figures"] == {"unused": ["price"]}
    assert lines[0]["domains"] == ["events"]
