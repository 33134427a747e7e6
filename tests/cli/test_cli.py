"""The command line from files to lists, and what it says when something is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from commands import answered as run
from commands import untimed_files

VERBS = [
    "fit",
    "evaluate",
    "compare",
    "recommend",
    "fold-in",
    "explain",
    "tune",
    "benchmark",
    "report",
    "demo",
    "serve",
    "refit",
    "ope",
    "audit",
    "ab",
    "page",
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untimed_files(tmp_path_factory.mktemp("work"))


def fitted(work: Path, capsys: pytest.CaptureFixture[str], model: str) -> Path:
    path = work / "runs" / model
    if not path.exists():
        sources = (work / "books.csv", work / "movies.csv", "--users", "shared", "--out", path)
        small = () if model == "popularity" else ("--set", "factors=8", "--set", "epochs=2")
        status, out, err = run(capsys, "fit", *sources, "--model", model, *small, "--threads", 1, "--seed", 3)
        assert status == 0, err
        assert "ndcg@10" in out
    return path


def test_fit_keeps_model_test_part_settings_and_values(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fitted(work, capsys, "cdimf")
    roles = {file.name.split("-")[0] for file in path.iterdir()}
    assert roles == {
        "arrays",
        "card",
        "data",
        "evaluation",
        "experiment",
        "holdout",
        "log",
        "manifest.json",
        "settings",
    }
    assert not (path.parent / "cdimf.checkpoint").exists()


def test_an_experiment_file_gives_the_same_run(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = fitted(work, capsys, "cdimf")
    (spec,) = first.glob("experiment-*.toml")
    status, _, err = run(capsys, "fit", spec, "--out", work / "again")
    assert status == 0, err
    (arrays,) = first.glob("arrays-*")
    assert (work / "again" / arrays.name).exists()


def test_evaluate_as_json_and_compare(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, other = fitted(work, capsys, "cdimf"), fitted(work, capsys, "popularity")
    status, out, err = run(capsys, "evaluate", path, "--metric", "hr@10", "--json")
    assert status == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["domain"] for row in rows} >= {"books", "movies"}
    assert all(0 <= row["mean"] <= 1 for row in rows)
    status, out, err = run(capsys, "compare", path, other)
    assert status == 0, err
    assert "cdimf" in out
    assert "popularity" in out
    twin = shutil.copytree(path, work / "twin")
    _, out, _ = run(capsys, "compare", twin, path)
    assert f"{twin} against {path}" in out


def test_recommend_explain_and_fold_in(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fitted(work, capsys, "cdimf")
    _, out, _ = run(capsys, "recommend", path, "--domain", "books", "--user", "u7", "-k", 3, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["user"], row["rank"]) for row in rows] == [("u7", 1), ("u7", 2), ("u7", 3)]
    status, out, _ = run(
        capsys, "explain", path, "--domain", "books", "--user", "u7", "--item", rows[0]["item"]
    )
    assert status == 0
    assert "contribution" in out
    (work / "who.txt").write_text("u1\nu2\n")
    target = work / "lists.csv"
    run(capsys, "recommend", path, "--domain", "books", "--users", work / "who.txt", "--out", target)
    assert pl.read_csv(target)["user"].unique().sort().to_list() == ["u1", "u2"]
    run(capsys, "recommend", path, "--domain", "books", "--all", work / "lists")
    beside = ("--all", work / "beside", "--jobs", 2, "--executor", "threads")
    assert run(capsys, "recommend", path, "--domain", "books", *beside)[0] == 0
    for part in (work / "lists").glob("*.parquet"):
        assert (work / "beside" / part.name).read_bytes() == part.read_bytes()
    refused = run(capsys, "recommend", path, "--domain", "books", "--user", "u7", "--jobs", 2)
    assert refused[0] == 2
    assert "divide the users of --all" in refused[2]
    assert pl.read_parquet(work / "lists" / "*.parquet")["user"].n_unique() == 60
    _, out, _ = run(capsys, "fold-in", path, "--domain", "books", "--item", "movies=4", "-k", 2, "--json")
    assert len(out.splitlines()) == 2


def test_data_check_and_its_old_names(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = (work / "books.csv", work / "movies.csv", "--users", "shared")
    new = run(capsys, "data", "check", *sources)
    assert new[0] == 0, new[2]
    assert "books" in new[1]
    for old in (("doctor",), ("data", "doctor")):
        status, out, err = run(capsys, *old, *sources)
        assert (status, out) == new[:2]
        assert "is now `landbridge data check`" in err
    assert run(capsys, "data", "list")[0] == 0


def test_a_fit_without_a_split_has_no_test_part(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = work / "all"
    words = ("--model", "popularity", "--split", "none", "--out", path)
    assert run(capsys, "fit", work / "books.csv", *words)[0] == 0
    status, _, err = run(capsys, "evaluate", path)
    assert status == 2
    assert "without a test part" in err


def test_patience_chooses_the_epochs(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--users", "shared", "--patience", 1, "--set", "factors=4", "--threads", 1)
    sources = (work / "books.csv", work / "movies.csv")
    status, _, err = run(capsys, "fit", *sources, *words, "--out", work / "patient", "--model", "ials")
    assert status == 0, err
    (settings,) = (work / "patient").glob("settings-*.toml")
    assert "epochs = " in settings.read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "cdimf", "--set", "factor=8"], "did you mean 'factors'"),
        (["--set", "factors"], "is no setting"),
        (["--model", "cdmf"], "did you mean 'cdimf'"),
        (["--split", "sometimes"], "[split] kind"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(
    work: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    source = (work / "books.csv", work / "movies.csv", "--users", "shared", "--out", work / "bad")
    status, out, err = run(capsys, "fit", *source, *words)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert not (work / "bad").exists()


def test_a_misspelt_key_of_an_experiment_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "bad.toml").write_text('[data]\nsource = "books.csv"\n[split]\nkindd = "last"\n')
    status, _, err = run(capsys, "fit", work / "bad.toml", "--out", work / "bad")
    assert status == 2
    assert "Unknown key in [split] 'kindd': did you mean 'kind'" in err


def test_an_interrupt_is_status_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    import landbridge

    assert landbridge.load  # resolved now: a public name keeps what it first found, and that is not the stub
    monkeypatch.setattr("landbridge.store.load", stop)
    monkeypatch.setattr("landbridge.load", stop, raising=False)
    assert run(capsys, "recommend", "x", "--domain", "d", "--user", "u")[0] == 130


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    status, out, _ = run(capsys, verb, "--help")
    assert status == 0
    assert f"landbridge {verb}" in out.split("Usage")[1].split("\n", 1)[1]


def test_the_command_is_installed() -> None:
    program = "from landbridge.cli.main import main; import sys; sys.argv = ['landbridge', '--help']; main()"
    assert (
        "recommend" in subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    )


def test_recommend_takes_an_order(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fitted(work, capsys, "cdimf")

    def listed(*options: object) -> list[str]:
        command = ("recommend", path, "--domain", "books", "--user", "u7", "-k", 4, "--json")
        status, out, err = run(capsys, *command, *options)
        assert status == 0, err
        return [str(json.loads(line)["item"]) for line in out.splitlines()]

    plain = listed()
    assert listed("--pin", f"1={plain[2]}")[0] == plain[2]
    items = work / "shelf.csv"
    rows = "".join(f"books,{item},{n % 2}\n" for n, item in enumerate(plain))
    items.write_text(f"domain,item,kind\n{rows}")
    limited = listed("--items", items, "--max-per", "kind=1")
    assert limited[:2] == plain[:2]
    assert not {*limited} & {*plain[2:]}
    lifted = listed("--items", items, "--boost", "kind = 1: 50", "--tail", 0.1, "--diversity", 0.1)
    assert {*lifted[:2]} == {*plain[1::2]}


@pytest.mark.parametrize(
    "option", [("--max-per", "brand"), ("--boost", "brand = a"), ("--boost", ": 1"), ("--pin", "dune")]
)
def test_an_order_that_is_none_is_one_sentence(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, "recommend", "no-run", "--domain", "d", "--user", "u", *option)
    assert status == 2
    assert option[0] in err
