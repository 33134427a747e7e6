"""The command line for programs: exit codes, JSON, version, completion, and a run as tools of MCP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
import tomli_w
import typer
from benches import small_spec
from commands import answered, event_files, refused, run
from rich.text import Text
from typer.core import TyperGroup

from landbridge.cli import main as command_line
from landbridge.cli.main import app
from landbridge.core.errors import MissingExtraError
from landbridge.serving.engine.messages import Event
from landbridge.serving.events.store import EventStore
from landbridge.version import __version__

FIT = ("--users", "shared", "--model", "ials", "--set", "factors=4", "--set", "epochs=2", "--threads", "1")
# they run until they are stopped
WITHOUT_JSON = {f"landbridge {verb}" for verb in ("serve", "demo", "mcp", "party coordinate")}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with event files, a run of ALS, one of popularity, and a versions folder."""
    folder = tmp_path_factory.mktemp("shop")
    books, movies = event_files(folder)
    run("fit", books, movies, *FIT, "--out", folder / "run")
    run("fit", books, movies, "--users", "shared", "--model", "popularity", "--out", folder / "popular")
    run("fit", books, movies, *FIT, "--out", folder / "versions", "--versioned")
    return folder


@pytest.mark.parametrize("verb", ["fit", "recommend"])
def test_what_takes_long_to_import_is_imported_where_it_is_used(verb: str, shop: Path) -> None:
    words = {
        "fit": (shop / "books.csv", *FIT, "--model", "cdimf", "--out", shop / "imported"),
        "recommend": (shop / "run", "--domain", "books", "--user", "20"),
    }
    command = [sys.executable, "-X", "importtime", "-m", "landbridge", verb, *map(str, words[verb])]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    imported = {line.rpartition("|")[2].strip() for line in said.splitlines()}
    assert "numpy" in imported
    assert not imported & {"scipy.stats", "scipy.optimize", "torch", "pandas", "matplotlib", "onnx"}


def verbs(group: Any, context: Any) -> list[tuple[str, Any]]:
    """The path and the command of every visible verb."""
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        is_group = isinstance(command, TyperGroup)
        found += verbs(command, inner) if is_group else [(inner.command_path, command)]
    return found


def test_every_verb_that_prints_has_json() -> None:
    root: Any = typer.main.get_command(app)
    named = verbs(root, root.make_context("landbridge", [], resilient_parsing=True))
    without = {
        path
        for path, command in named
        if "--json" not in {opt for each in command.params for opt in each.opts}
    }
    assert len(named) > 20
    assert without == WITHOUT_JSON


def parsed(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    """What a verb prints with --json: all of standard output is JSON objects, one a line."""
    capsys.readouterr()
    status, out, _ = answered(capsys, *words, "--json")
    assert status == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    assert lines
    return lines


def test_no_help_text_loses_what_looks_like_markup() -> None:
    """The texts are read as markup, in which ``[a]`` is a style and vanishes."""
    root: Any = typer.main.get_command(app)
    for path, command in verbs(root, root.make_context("landbridge", [], resilient_parsing=True)):
        for text in (command.help, *(parameter.help for parameter in command.params)):
            assert not text or Text.from_markup(text).plain == text, f"{path}: {text}"


def test_verbs_of_one_table_print_an_object_a_row(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = shop / "run"
    keys = {
        ("recommend", where, "--domain", "books", "--user", "20", "-k", "3"): {"item", "score"},
        ("fold-in", where, "--domain", "books", "--item", "movies=1"): {"item", "score"},
        ("evaluate", where): {"domain", "metric", "low", "high"},
        ("compare", where, shop / "popular"): {"domain", "difference", "p_holm"},
        ("models",): {"method"},
        ("models", "ials"): {"default"},
        ("data", "list"): {"name", "by", "events"},
        ("versions", shop / "versions"): {"version", "current"},
    }
    for words, wanted in keys.items():
        for row in parsed(capsys, *words):
            assert wanted <= set(row), words


def test_verbs_of_several_tables_print_one_object(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = (shop / "books.csv", shop / "movies.csv")
    (fitted,) = parsed(capsys, "fit", *files, *FIT, "--out", tmp_path / "run")
    assert fitted["run"] == str(tmp_path / "run")
    assert fitted["method"] == "ials"
    assert {row["domain"] for row in fitted["evaluation"]} == {"books", "movies"}
    (info,) = parsed(capsys, "data", "info", "ciao")
    assert {"name", "title", "licence", "size"} <= set(info)
    (tmp_path / "ratings_Toys.csv").write_text("A3G8U1G1V082SN,B001GXRQW0,5.0,1229472000\n")
    words = ("data", "convert", "amazon2014", tmp_path / "ratings_Toys.csv", tmp_path / "toys.parquet")
    (made,) = parsed(capsys, *words)
    assert made == {"name": "amazon2014", "events": 1, "file": str(tmp_path / "toys.parquet")}
    (estimate,) = parsed(capsys, "estimate", "--users", 50, "--items", 20, "--events", 500, "--model", "ease")
    assert estimate
    current = parsed(capsys, "versions", shop / "versions")[-1]["version"]
    (back,) = parsed(capsys, "rollback", shop / "versions", current)
    assert back == {"version": current, "folder": str(shop / "versions")}


def test_a_search_prints_its_trials(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("tune", shop / "books.csv", shop / "movies.csv", "--users", "shared", "--model", "popularity")
    rows = parsed(capsys, *words, "--trials", 1, "--threads", 1, "--out", tmp_path / "best.toml")
    assert len(rows) == 1


def test_a_benchmark_and_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, out = tmp_path / "bench.toml", tmp_path / "out"
    spec.write_text(tomli_w.dumps(small_spec(tmp_path, seeds=[1])))
    (bench,) = parsed(capsys, "benchmark", spec, "--out", out, "--leak-check")
    assert bench["folder"] == str(out)
    assert {"metric", "low", "label"} <= set(bench["results"][0])
    assert [check["passed"] for check in bench["leaks"]] == [True] * len(bench["leaks"])
    assert bench["left"] == []
    (report,) = parsed(capsys, "report", out, "--out", tmp_path / "report.md")
    assert report == {"report": str(tmp_path / "report.md"), "pictures": None}


def test_a_refit(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "events.sqlite"
    with closing(EventStore.open(str(store))) as opened:
        opened.append("7000", [Event("books", 3)])
    words = ("--events", store, "--threads", "1", "--out", tmp_path / "again")
    (refit,) = parsed(capsys, "refit", shop / "run", *words)
    assert refit["growth"]["users"] == 1
    assert refit["refused"] is False


def test_exit_codes(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As docs/reference/programs.md lists them."""
    lists = ("recommend", shop / "run", "--domain", "books")
    assert answered(capsys, *lists, "--user", "20")[0] == 0
    assert answered(capsys, *lists, "--user", "20", "--user", "stranger")[0] == 1
    refused(answered(capsys, "recommend", shop / "absent", "--domain", "books", "--user", "20"), "absent")
    assert answered(capsys, "recommend", "--no-such-option")[0] == 2
    (tmp_path / "one.csv").write_text("user,item\na,x\n")
    assert answered(capsys, "data", "check", tmp_path / "one.csv")[0] == 3


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "app", interrupted)
    assert answered(capsys)[0] == 130


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = answered(capsys, "--version")
    assert status == 0
    assert out.startswith(f"landbridge {__version__}, Python {sys.version_info.major}.")


def test_verbs_and_options_are_completed() -> None:
    program = str(Path(sys.executable).with_name("landbridge"))
    for typed, wanted in (("landbridge rec", "recommend"), ("landbridge recommend --dom", "--domain")):
        words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
        environment = {**os.environ, **words, "_LANDBRIDGE_COMPLETE": "complete_bash"}
        done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
        assert wanted in done.stdout.split(), done.stderr


def called(folder: Path, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """The answers of a run's tools to the SDK's own client, in this process."""
    client = pytest.importorskip("mcp", reason="the extra mcp is not installed").Client
    from landbridge.cli.mcp_server import server_of

    async def conversation() -> list[Any]:
        async with client(server_of(folder)) as opened:
            return [await opened.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(conversation)


def test_tools_answer_as_the_command_line_does(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known, new, parts, measured = called(
        shop / "run",
        ("recommend", {"domain": "books", "user": "20", "k": 3}),
        ("recommend", {"domain": "books", "events": [{"domain": "movies", "item": "1"}], "k": 4}),
        ("explain", {"domain": "books", "user": "20", "item": "1", "top": 2}),
        ("evaluate", {"metrics": ["ndcg@10"]}),
    )
    words = ("--domain", "books", "--user", "20", "-k", "3")
    assert known.structured_content["items"] == parsed(capsys, "recommend", shop / "run", *words)
    words = ("--domain", "books", "--item", "movies=1", "-k", "4")
    assert new.structured_content["items"] == parsed(capsys, "fold-in", shop / "run", *words)
    words = ("--domain", "books", "--user", "20", "--item", "1", "--top", "2")
    assert parts.structured_content["parts"] == parsed(capsys, "explain", shop / "run", *words)
    rows = parsed(capsys, "evaluate", shop / "run", "--metric", "ndcg@10")
    assert measured.structured_content["rows"] == rows


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("recommend", {"domain": "book", "user": "20"}, "did you mean 'books'?"),
        ("recommend", {"domain": "books"}, "Give either a user, or events"),
        ("recommend", {"domain": "books", "user": "20", "k": 0}, "greater than or equal to 1"),
        ("explain", {"domain": "books", "user": "stranger", "item": "1"}, "stranger"),
        ("evaluate", {"metrics": ["ndgc@10"]}, "ndgc"),
        ("evaluate", {"by": "moon"}, "moon"),
    ],
)
def test_what_is_wrong_with_a_call_is_said(
    shop: Path, name: str, arguments: dict[str, Any], sentence: str
) -> None:
    (answer,) = called(shop / "run", (name, arguments))
    assert answer.is_error
    assert sentence in answer.content[0].text


def test_without_the_sdk_the_extra_is_named(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from landbridge.cli.mcp_server import server_of

    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    with pytest.raises(MissingExtraError, match=r"landbridge\[mcp\]"):
        server_of(shop / "run")


def test_a_client_may_start_the_command(shop: Path) -> None:
    mcp = pytest.importorskip("mcp", reason="the extra mcp is not installed")
    start = mcp.StdioServerParameters(
        command=str(Path(sys.executable).with_name("landbridge")),
        args=["mcp", str(shop / "run")],
        env=dict(os.environ),
    )

    async def names() -> list[str]:
        async with mcp.Client(mcp.stdio_client(start, errlog=sys.__stderr__)) as opened:
            return [tool.name for tool in (await opened.list_tools()).tools]

    assert anyio.run(names) == ["recommend", "explain", "evaluate"]
