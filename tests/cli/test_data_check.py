"""``landbridge data check`` as a gate, and how every command reads a shop's files."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import answered, refused

from landbridge import store

PROGRAM = [sys.executable, "-c", "from landbridge.cli.main import main; main()"]
POPULAR = ("--model", "popularity", "--no-deploy")


def sales(name: str, folder: Path, extra: str = "", users: int = 60, items: int = 40) -> Path:
    """``NAME.csv`` as a spreadsheet writes it: semicolons, a decimal comma, a header of its own."""
    rng = np.random.default_rng(sum(map(ord, name)))
    pairs = rng.permutation([(user, item) for user in range(users) for item in range(items)])[:700]
    lines = [
        f"u{user};{name}{item};3,5;2024-{1 + k // 60:02}-{1 + k % 28:02} 10:{k % 60:02}:00"
        for k, (user, item) in enumerate(pairs)
    ]
    path = folder / f"{name}.csv"
    path.write_text("Customer ID;sku;price;purchased_at\n" + "\n".join(lines) + f"\n{extra}")
    return path


def findings(out: str) -> dict[str, str]:
    """Kind -> severity, of JSON lines."""
    return {line["kind"]: line["severity"] for line in map(json.loads, out.splitlines())}


def test_only_what_is_not_ok_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sales("book", tmp_path)
    status, out, err = answered(capsys, "data", "check", path, "--json")
    assert (status, findings(out)) == (0, {"columns": "note"})
    status, out, err = answered(capsys, "data", "check", path)
    assert status == 0
    assert "'price'" in out
    assert "checks are ok (--all prints them)" in err
    _, out, err = answered(capsys, "data", "check", path, "--json", "--all")
    assert findings(out) == {"columns": "note", **dict.fromkeys(["size", "cold", "time", "bursts"], "ok")}
    assert err == ""


def test_the_status_follows_the_severity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sales("book", tmp_path)
    assert answered(capsys, "data", "check", path)[0] == 0
    odd = sales("film", tmp_path, "NaN;f1;1,0;2024-01-01 10:00:00\n")
    status, out, _ = answered(capsys, "data", "check", odd, "--json")
    assert (status, findings(out)["ids"]) == (3, "stop")
    alike = sales("song", tmp_path, "U7 ;s1;1,0;2024-01-01 10:00:00\n")
    for strict, expected in (((), 0), (("--strict",), 1)):
        status, out, _ = answered(capsys, "data", "check", alike, "--json", *strict)
        assert (status, findings(out)["ids"]) == (expected, "warning")
    assert answered(capsys, "data", "check", odd, "--strict")[0] == 3
    assert answered(capsys, "data", "check", path, "--strict")[0] == 0
    assert "There is no file" in refused_sentence(capsys, "data", "check", tmp_path / "none.csv")


def refused_sentence(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    answer = answered(capsys, *words)
    refused(answer, "landbridge: ")
    return answer[2]


def test_an_experiment_file_is_checked_as_fit_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book, film = sales("book", tmp_path), sales("film", tmp_path)
    experiment = tmp_path / "e.toml"
    experiment.write_text(
        f'[data]\nsource = ["{book}", "{film}"]\nusers = "shared"\n'
        'columns = "user=1,item=sku,film.time=4"\nfold_ids = true\n[model]\nname = "popularity"\n'
    )
    status, out, err = answered(capsys, "data", "check", experiment, "--json")
    assert (status, err, findings(out)) == (0, "", {"columns": "note"})
    words = ("--column", "book.time=purchased_at", "--out", tmp_path / "run")
    assert answered(capsys, "fit", experiment, *words)[0] == 0
    data = store.load(tmp_path / "run").history
    assert all(events.time is not None for events in data.domains.values())
    assert data.users.ids[0] == "u0"


def test_ties_in_the_order_of_the_file_are_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"U{user};b{item};1,0;2024-01-01 10:00:00\n" for user in range(40) for item in range(25))
    path = sales("book", tmp_path, rows)
    status, out, _ = answered(capsys, "data", "check", path, "--json")
    assert (status, findings(out)["bursts"]) == (0, "warning")
    assert "--ties file" in out
    out = answered(capsys, "data", "check", path, "--json", "--ties", "file")[1]
    assert "bursts" not in findings(out)
    refused_sentence(capsys, "data", "check", path, "--ties", "files")
    words = ("--ties", "file", "--model", "seqrules", "--out", tmp_path / "run")
    assert answered(capsys, "fit", path, "--column", "book.time=purchased_at", *words)[0] == 0
    events = store.load(tmp_path / "run").history.domains["book"]
    assert events.time is not None
    assert len({*zip(events.user_idx, events.time, strict=True)}) == len(events)


def test_a_table_fits_80_columns(tmp_path: Path) -> None:
    """On a real terminal: whole words, nothing cut."""
    path = sales("book", tmp_path, "U7 ;b1;1,0;2024-01-01 10:00:00\n")
    main, other = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    with subprocess.Popen([*PROGRAM, "data", "check", str(path)], stdout=other, env=env) as process:
        os.close(other)
        shown = b""
        while True:
            try:
                part = os.read(main, 1 << 16)
            except OSError:  # the other end was closed
                break
            if not part:
                break
            shown += part
    os.close(main)
    lines = shown.decode().splitlines()
    assert process.returncode == 0
    assert max(map(len, lines)) <= 80
    assert "…" not in shown.decode()
    assert "--fold-ids" in shown.decode()


def test_fit_says_what_it_did_not_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sales("book", tmp_path)
    status, _, err = answered(capsys, "fit", path, *POPULAR, "--out", tmp_path / "run")
    assert status == 0
    assert err.count("that are not used: 'price'") == 1
    assert "Stop" not in err


def test_fit_prints_the_stops_before_it_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sales("book", tmp_path, "NaN;b1;1,0;2024-01-01 10:00:00\n")
    status, _, err = answered(capsys, "fit", path, *POPULAR, "--out", tmp_path / "run")
    assert status == 0
    stop = next(line for line in err.splitlines() if line.startswith("Stop: "))
    assert "'NaN'" in stop
    assert err.index("Stop: ") < err.index("evaluate:")


def test_a_split_that_wants_time_names_what_looks_like_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shop.csv"
    rows = pl.DataFrame({"user": [k % 20 for k in range(200)], "item": [k % 17 for k in range(200)]})
    rows.with_columns(created_at=pl.lit("2024-01-01"), updated_at=pl.lit("2024-02-01")).write_csv(path)
    words = ("fit", path, *POPULAR, "--out", tmp_path / "run")
    sentence = refused_sentence(capsys, *words, "--split", "latest")
    assert "look like times ('created_at', 'updated_at') with --column time=created_at" in sentence
    status, _, err = answered(capsys, *words)
    assert status == 0
    assert "has no time stamps, so random events are held out" in err
    status, _, err = answered(capsys, *words, "--column", "time=updated_at", "--split", "latest")
    assert status == 0, err


def test_columns_by_position_in_a_file_without_a_header(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{k % 30}::{k % 17}::5::{1_700_000_000 + k}" for k in range(400)]
    path = tmp_path / "ratings.dat"
    path.write_text("\n".join(rows))
    assert "name its 4 columns by position" in refused_sentence(capsys, "data", "check", path)
    words = ("fit", path, *POPULAR, "--columns", "user=1,item=2", "--column", "ratings.time=4")
    status, _, err = answered(capsys, *words, "--split", "latest", "--out", tmp_path / "run")
    assert status == 0, err
    assert store.load(tmp_path / "run").history.n_users == 30


@pytest.mark.parametrize("text", ["buyer", "=x", "user=", "user=a,item="])
def test_a_column_without_a_role_or_a_name(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = refused_sentence(capsys, "data", "check", tmp_path / "x.csv", "--column", text)
    assert "write role=name" in sentence


def test_a_table_of_named_columns_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("data", "check", sales("book", tmp_path), "--column", "books.user=sku")
    assert "Unknown table of named columns 'books': did you mean 'book'" in refused_sentence(capsys, *words)


def test_bad_rows_are_counted_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sales("book", tmp_path, ";b1;1,0;2024-01-01 10:00:00\nu1;b2\n")
    words = ("fit", path, *POPULAR, "--out", tmp_path / "run")
    assert "in row 702" in refused_sentence(capsys, *words)
    status, _, err = answered(capsys, *words, "--skip-bad-rows")
    assert status == 0
    skipped = tmp_path / "run.skipped.jsonl"
    assert f"left out since they cannot be read: 2 (see {skipped})" in err
    lines = [json.loads(line) for line in skipped.read_text().splitlines()]
    assert [line["row"] for line in lines] == [701, 702]
    assert lines[0]["sku"] == "b1"
    assert lines[1]["sku"] == "b2"
    monkeypatch.chdir(tmp_path)
    _, out, _ = answered(capsys, "data", "check", path, "--skip-bad-rows", "--json")
    assert findings(out)["skipped"] == "note"
    assert (tmp_path / "skipped.jsonl").read_text() == skipped.read_text()


def test_folded_ids_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = sales("book", tmp_path)
    film = sales("film", tmp_path, "U7 ;FILM1;1,0;2024-01-01 10:00:00\n")
    words = ("fit", book, film, "--users", "shared", *POPULAR, "--out", tmp_path / "run", "--fold-ids")
    status, _, err = answered(capsys, *words)
    assert status == 0, err
    assert "Ids of users that became another one by folding: 1." in err
    assert store.load(tmp_path / "run").history.n_users == 60


def test_tune_and_transferability_read_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book, film = sales("book", tmp_path), sales("film", tmp_path, ";f1;1,0;2024-01-01\n")
    reading = ("--users", "shared", "--column", "time=purchased_at", "--fold-ids", "--skip-bad-rows")
    searching = ("--model", "ials", "--trials", 1, "--set", "factors=4", "--set", "epochs=1", "--seconds", 5)
    best = tmp_path / "best.toml"
    status, _, err = answered(capsys, "tune", book, film, *reading, *searching, "--out", best)
    assert status == 0, err
    assert "left out since they cannot be read: 1 (see" in err
    assert "fold_ids = true" in best.read_text()
    out = tmp_path / "t.csv"
    status, _, err = answered(capsys, "data", "transferability", book, film, *reading, "--out", out)
    assert status == 0, err
    assert (tmp_path / "t.csv.skipped.jsonl").is_file()


@pytest.mark.parametrize("words", [("fit",), ("tune",), ("data", "check"), ("data", "transferability")])
def test_one_data_set_at_a_time(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second name is not left out without a word."""
    out = () if words[-1] == "check" else ("--out", tmp_path / "out")
    sentence = refused_sentence(capsys, *words, "ciao", "gowalla", "--dataset", *out)
    assert "one name of `landbridge data list`, not 2 (ciao, gowalla)" in sentence
    assert not (tmp_path / "out").exists()
