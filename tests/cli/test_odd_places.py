"""What the file system, the terminal and options say ends in one sentence and status 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from commands import answered, run

from landbridge.cli import show
from landbridge.core.files import exclusive_lock

LANDBRIDGE = [sys.executable, "-c", "from landbridge.cli.main import main; main()"]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A run of films, one of whose titles no old terminal can show, beside its csv file."""
    (tmp_path / "films.csv").write_text(
        "user,item,title\nann,f1,アメリ\nbob,f2,Up\nbob,f3,[b]\n", encoding="utf-8"
    )
    run("fit", tmp_path / "films.csv", "--model", "popularity", "--split", "none", "--out", tmp_path / "run")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    status, _, error = answered(capsys, *words)
    assert status == 2
    assert error.startswith("landbridge: ")
    assert len(error.splitlines()) == 1
    return error


def test_a_folder_that_cannot_be_made(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "plain").touch()
    words = ("recommend", shop / "run", "--domain", "films", "--user", "ann")
    assert "plain" in refused(capsys, *words, "--out", shop / "plain" / "list.csv")
    assert "plain" in refused(capsys, *words[:4], "--all", shop / "plain" / "lists")


def test_the_folder_one_stands_in_can_be_a_run(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "here").mkdir()
    monkeypatch.chdir(shop / "here")
    run("fit", "../films.csv", "--model", "popularity", "--split", "none", "--out", ".")
    run("recommend", ".", "--domain", "films", "--user", "ann")


def test_experiment_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "e.toml").write_bytes(b'[data]\nsource = "caf\xe9.csv"\n')
    (tmp_path / "d.toml").mkdir()
    assert "not valid TOML" in refused(capsys, "fit", tmp_path / "e.toml", "--out", tmp_path / "run")
    assert "is a folder" in refused(capsys, "fit", tmp_path / "d.toml", "--out", tmp_path / "run")


def test_a_file_of_users_may_begin_with_a_mark(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "who.txt").write_bytes(b"\xef\xbb\xbfann\r\nbob\r\n")
    words = ("recommend", shop / "run", "--domain", "films", "--users")
    status, out, _ = answered(capsys, *words, shop / "who.txt", "--json")
    assert status == 0
    assert '"ann"' in out
    (shop / "latin.txt").write_bytes(b"caf\xe9\n")
    assert "is not UTF-8" in refused(capsys, *words, shop / "latin.txt")


def test_json_is_utf8_and_a_table_is_printed_on_any_terminal(shop: Path) -> None:
    words = ["recommend", str(shop / "run"), "--domain", "films", "--user", "bob"]
    old = {"PYTHONIOENCODING": "latin-1", "PATH": "/usr/bin:/bin"}
    for more, shown in ((["--json"], "アメリ".encode()), ([], b"\\u30a2")):
        done = subprocess.run([*LANDBRIDGE, *words, *more], env=old, capture_output=True, check=True)
        assert shown in done.stdout


def test_titles_are_printed_as_they_are(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = answered(capsys, "recommend", shop / "run", "--domain", "films", "--user", "ann")
    assert "[b]" in out


def test_titles_do_not_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(pl.DataFrame({"title": ["\x1b[2Jgone\x07", "two\nlines\x9b1m"]}))
    shown = capsys.readouterr().out
    assert "\\x1b[2Jgone\\x07" in shown
    assert "two\\x0alines\\x9b1m" in shown
    assert not any(sign in shown for sign in "\x1b\x07\x9b")


@pytest.mark.parametrize(
    "words", [("--metric", "ndgc@10"), ("--by", "activty"), ("--metric", "ndcg@" + "9" * 5000)]
)
@pytest.mark.parametrize("verb", ["compare", "evaluate"])
def test_a_misspelt_metric_or_segment_is_found_before_the_runs_are_read(
    verb: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [tmp_path / "a", tmp_path / "b"][: 2 if verb == "compare" else 1]
    status, _, err = answered(capsys, verb, *runs, *words)
    assert status == 2
    assert "no run folder" not in err
    assert words[1].split("@")[0] in err


def test_a_misspelt_metric_is_found_before_a_search_reads_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("tune", tmp_path / "none.csv", "--metric", "ndgc@10", "--out", tmp_path / "best.toml")
    assert "did you mean 'ndcg@10'?" in refused(capsys, *words)


def test_seen_items_in_the_lists_of_all(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import polars as pl

    words = ("recommend", shop / "run", "--domain", "films", "--all")
    run(*words, shop / "lists", "--seen")
    assert pl.read_parquet(shop / "lists" / "*.parquet").height == 6
    assert "another model" in refused(capsys, *words, shop / "lists")
    run(*words, shop / "unseen")
    assert pl.read_parquet(shop / "unseen" / "*.parquet").height == 3
    assert "leave out --json" in refused(capsys, *words, shop / "third", "--json")


def test_lists_have_one_writer(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with exclusive_lock(shop / "lists"):
        words = ("recommend", shop / "run", "--domain", "films", "--all", shop / "lists")
        assert "Another process" in refused(capsys, *words)


def test_a_damaged_checkpoint(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shop / "new.checkpoint" / "fit"
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").write_bytes(bytes(40))
    words = (
        "fit",
        shop / "films.csv",
        "--model",
        "ials",
        "--split",
        "none",
        "--resume",
        "--out",
        shop / "new",
    )
    assert "is damaged" in refused(capsys, *words)


def test_weights_with_a_long_tail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    rng = np.random.default_rng(5)
    pairs = [(user, item) for user in range(60) for item in rng.choice(30, 8, replace=False)]
    rows = [f"u{user},v{item},{10 ** (7 * rng.random()):.0f}\n" for user, item in pairs]
    (tmp_path / "videos.csv").write_text("user,item,weight\n" + "".join(rows))
    words = ("fit", tmp_path / "videos.csv", "--model", "ials", "--set", "factors=16", "--split", "none")
    status, _, error = answered(capsys, *words, "--out", tmp_path / "run")
    assert status in (0, 2)
    assert status == 0 or "weights of events differ too much" in error


def test_ids_that_stand_for_none_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("user,item\nNaN,1\nNaN,2\na,1\nb,2\n")
    words = ("fit", tmp_path / "t.csv", "--model", "popularity", "--split", "none", "--out", tmp_path / "run")
    status, _, error = answered(capsys, *words)
    assert status == 0
    assert "'NaN'" in error


def test_columns_are_named_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text("buyer,sku\n1,2\n2,3\n")
    assert "--column user=NAME" in refused(capsys, "data", "check", tmp_path / "x.csv")
    named = ("--column", "user=buyer", "--column", "item=sku")
    run(
        "fit",
        tmp_path / "x.csv",
        *named,
        "--model",
        "popularity",
        "--split",
        "none",
        "--out",
        tmp_path / "run",
    )
    assert "role=name" in refused(capsys, "data", "check", tmp_path / "x.csv", "--column", "buyer")


def test_a_search_needs_a_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused(capsys, "tune", tmp_path / "x.csv", "--trials", 0, "--out", tmp_path / "o")
    assert "needs 1 trial or more" in sentence


def test_a_domain_may_hold_an_equals_sign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.csv").write_text("user,item,domain\nx,1,a=b\ny,2,a=b\nx,2,a=b\ny,3,c\nx,3,c\n")
    run("fit", tmp_path / "shop.csv", "--model", "popularity", "--split", "none", "--out", tmp_path / "run")
    run("fold-in", tmp_path / "run", "--domain", "c", "--item", "a=b=1")
    assert "Unknown domain" in refused(capsys, "fold-in", tmp_path / "run", "--domain", "c", "--item", "x=1")


def test_too_little_memory(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 7.45 GiB")

    monkeypatch.setattr("landbridge.inference.recommend", fails)
    monkeypatch.setattr("landbridge.recommend", fails, raising=False)
    words = ("recommend", shop / "run", "--domain", "films", "--user", "ann")
    assert "Not enough memory (Unable to allocate 7.45 GiB); lower" in refused(capsys, *words)


def test_a_rule_about_items(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "items.csv").write_text("domain,item,price\nfilms,f1,5\nfilms,f2,30\n")
    words = ("recommend", shop / "run", "--domain", "films", "--user", "ann", "--seen", "--json")
    status, out, _ = answered(capsys, *words, "--items", shop / "items.csv", "--where", "price < 20")
    assert status == 0
    assert [json.loads(line)["item"] for line in out.splitlines()] == ["f1"]
    assert "give 'items'" in refused(capsys, *words, "--where", "price < 20")
    for rule in ("price <", ""):
        error = refused(capsys, *words, "--items", shop / "items.csv", "--where", rule)
        assert f"At character {len(rule) + 1} of the rule" in error


def test_lists_go_on_past_unknown_users_and_name_them(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = [f"new {n}" for n in range(6)]
    (shop / "who.txt").write_text("\n".join([*unknown[:3], "bob", *unknown[3:], "ann"]))
    words = ("recommend", shop / "run", "--domain", "films", "--users", shop / "who.txt", "--seen")
    status, out, error = answered(capsys, *words, "--json")
    assert status == 1
    assert [*dict.fromkeys(json.loads(line)["user"] for line in out.splitlines())] == ["bob", "ann"]
    assert error == (
        "The model does not know 6 of 8 users, who have no list: "
        "'new 0', 'new 1', 'new 2', 'new 3', 'new 4', and others.\n"
    )
    status, _, error = answered(capsys, *words, "--out", shop / "lists.csv")
    assert status == 1
    assert error.endswith(f"and others; all are in {shop / 'lists.csv.unknown.txt'}.\n")
    assert (shop / "lists.csv.unknown.txt").read_text().splitlines() == unknown
    assert pl.read_csv(shop / "lists.csv")["user"].unique(maintain_order=True).to_list() == ["bob", "ann"]
    assert answered(capsys, *words, "--json", "--unknown", shop / "new.txt")[0] == 1
    assert (shop / "new.txt").read_text().splitlines() == unknown


def test_without_a_known_user_nothing_is_written(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("recommend", shop / "run", "--domain", "films", "--user", "new", "--user", "newer")
    assert "no user 'new'" in refused(capsys, *words, "--out", shop / "lists.csv")
    assert not [*shop.glob("lists.csv*")]
    assert "leave out --unknown" in refused(
        capsys, *words[:4], "--all", shop / "lists", "--unknown", shop / "who.txt"
    )


def test_where_all_users_are_known_no_file_is_written(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("recommend", shop / "run", "--domain", "films", "--user", "ann", "--out", shop / "lists.csv")
    assert answered(capsys, *words) == (0, "", "")
    assert [path.name for path in shop.glob("lists.csv*")] == ["lists.csv"]
