"""The commands of the README and of the documentation, run as they are written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer
from pages import FENCE, code_blocks, shell_commands
from serving_process import Server, serving
from typer.core import TyperGroup

from landbridge.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent.name != "results"),
]
COMMANDS = [(page, words) for page in PAGES for words in shell_commands(page) if words[:1] == ["landbridge"]]
RUN = (
    "README.md",
    "docs/benchmark.md",
    "docs/guard.md",
    "docs/howto/cold-start.md",
    "docs/howto/country.md",
    "docs/howto/explain.md",
    "docs/howto/forget.md",
    "docs/howto/nightly.md",
    "docs/howto/which-helps.md",
    "docs/methods/catart.md",
    "docs/methods/uclr.md",
    "docs/refit.md",
    "docs/reference/programs.md",
    "docs/report.md",
    "docs/serving.md",
    "docs/start.md",
    "docs/tensorboard.md",
)
NOT_RUN = {  # page, or first word of a command: why
    "docs/audit.md": "fits of three domains; tests/cli/test_audit.py runs the page's commands",
    "docs/off-policy.md": "a log of impressions; tests/cli/test_ope.py runs the page's commands",
    "docs/ab-test.md": "needs two runs and users; tests/serving/test_ab.py runs the verbs",
    "docs/tutorial.md": "tests/cli/test_tutorial.py runs the page and checks what it shows",
    "docs/estimate.md": "--calibrate takes a minute; tests/cli/test_estimate.py runs the verb on such files",
    "docs/parties.md": "three organisations; tests/cli/test_party.py runs them as processes",
    "docs/ablations.md": "studies of minutes to hours; tests/cli/test_study_*.py run the same verbs",
    "docs/export.md": "a run of cdimf on books; tests/unit/test_export.py runs the verb",
    "docs/data.md": "files of publishers; tests/unit/datasets/test_dumps.py converts such files",
    "docs/trackers.md": "other packages; tests/unit/core/test_tracker_runs.py writes such runs",
    "docs/extending/package.md": "installs a package; tests/cli/test_plugins.py does the same",
    "make": "fetches MovieLens and makes an environment; tests/cli/test_demo_serve.py runs the demo",
    "pip": "installs packages",
    "jupytext": "writes a notebook file; tests/cli/test_notebooks.py runs the cells",
    "head": "of the tutorial, which its test runs",
    "sed": "of the tutorial, which its test runs",
    "pytest": "tests/cli/test_plugins.py runs tests of the template",
    "export": "deployment; tests/serving/test_deploy.py checks its files",
    "docker": "deployment",
    "0": "a line of cron, whose command is that of docs/refit.md",
    "python": "benchmarks of minutes",
    "tensorboard": "serves until it is stopped",
    "LANDBRIDGE_RUN=~/.cache/landbridge/demo": "takes the pictures of the page; a test itself",
    "LANDBRIDGE_REPORT=runs/methods/report.html": "takes the pictures of a report; a test itself",
}
NO_COMMANDS = (
    "runs/shop/",
    "sum(",
    "histogram_quantile(",
    "torchrun",  # tests/cli/test_fit_ranks.py runs it
    "from",
    "app",
    "@app",
)  # listings, queries, Python
SERVER = "localhost:8000"
QUICK = ("--threads", "1", "--seconds", "2", "--families", "popularity,ease")  # of a fit that chooses itself


def named(value: object) -> str | None:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else None


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=named)
def test_every_command_names_a_verb_and_its_options(page: Path, words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    context, rest = command.make_context(words[0], list(words[1:]), resilient_parsing=True), words[1:]
    while isinstance(command, TyperGroup):
        name, command, rest = command.resolve_command(context, list(rest))
        assert command is not None
        context = command.make_context(name, list(rest), parent=context, resilient_parsing=True)
    command.make_context(command.name, list(rest))


def test_every_command_is_run_or_has_a_reason_not_to_be() -> None:
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        for words in filter(None, shell_commands(page)):
            if words[0] in ("landbridge", "curl"):
                assert name in RUN or name in NOT_RUN, (name, words)
            else:
                assert words[0] in NOT_RUN or words[0].startswith(NO_COMMANDS), (name, words)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("README.md", ["ndcg@10", "alice"]),
        ("docs/start.md", ["ndcg@10", "alice"]),
        ("docs/howto/own-recommender.md", ["ndcg@10", "books"]),
        ("docs/tutorials/study.md", ["ndcg@10", "movies", "IALS"]),
    ],
)
def test_the_python_of_a_page_runs(
    shop: Path, capsys: pytest.CaptureFixture[str], page: str, said: list[str]
) -> None:
    variables: dict[str, object] = {"__name__": "__main__"}
    for block in code_blocks(ROOT / page):  # they build on each other
        exec(compile(block, page, "exec"), variables)
    shown = capsys.readouterr().out
    assert [text for text in said if text not in shown] == []


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the pages speak of: 40 users, alice and bob among them, with times and titles."""
    rng = np.random.default_rng(0)
    users = np.array(["alice", "bob", *(f"u{n}" for n in range(38))])
    tables = {}
    for name, first in (("books", "dune"), ("movies", "alien")):
        items = np.array([first, *(f"{name}-{n}" for n in range(19))])
        item = items[np.stack([rng.permutation(20)[:8] for _ in users]).ravel()]
        columns = {"user": np.repeat(users, 8), "item": item, "timestamp": rng.integers(10**9, size=320)}
        tables[name] = pl.DataFrame(columns).with_columns(title=pl.col("item").str.to_titlecase())
        tables[name].write_csv(tmp_path / f"{name}.csv")
    tables["movies"].write_parquet(tmp_path / "movies.parquet")
    books = tables["books"].select(pl.lit("books").alias("domain"), "item").unique()
    books.with_columns(language=pl.lit("en"), in_stock=True).write_csv(tmp_path / "items.csv")
    for number, country in enumerate(("de", "fr", "it")):  # other users, the same books, typed anew in Italy
        table = tables["books"].filter(pl.int_range(pl.len()) % 3 == number)
        table.with_columns(
            pl.col("item").str.to_uppercase() if country == "it" else pl.col("item")
        ).write_csv(tmp_path / f"{country}.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_do_what_it_says(shop: Path, page: str) -> None:
    """In their order; requests go to the server that the page started last."""
    (shop / "spec.toml").write_text(specification())
    (shop / "page.toml").write_text(toml_of("docs/serving.md"))
    if page == "docs/report.md":
        done(quick(["landbridge", "benchmark", "spec.toml", "--out", "runs/bench"]))
    with ExitStack() as held:
        server: Server | None = None
        for words in shell_commands(ROOT / page):
            if words[:2] == ["landbridge", "serve"]:
                held.close()
                server = held.enter_context(serving(Path(words[2]), *words[3:]))
            elif words[:1] == ["landbridge"]:
                done(quick(words))
            elif words[:1] == ["curl"]:
                assert server is not None
                assert "error" not in json.loads(done(to(server, words)))


def specification() -> str:
    """That of the page on benchmarks, with one seed, one trial and few negatives."""
    text = toml_of("docs/benchmark.md")
    for large, small in (("[1, 2, 3]", "[1]"), ("trials = 20", "trials = 1"), ("[0, 999]", "[0, 5]")):
        assert large in text
        text = text.replace(large, small)
    return text


def toml_of(page: str) -> str:
    """The first file that a page shows."""
    blocks = FENCE.findall((ROOT / page).read_text())
    return str(next(block for language, block in blocks if language == "toml"))


def quick(words: Sequence[str]) -> list[str]:
    """The command of the installed package, with a search of seconds where it would take minutes."""
    program = str(Path(sys.executable).with_name("landbridge"))
    is_plain = words[1] == "fit" and "best.toml" not in words
    chooses = is_plain and ("--model" not in words or "auto" in words)
    few = [("2" if before == "--trials" else word) for before, word in pairwise(words)]
    return [program, *few, *(QUICK if chooses else ())]


def to(server: Server, words: Sequence[str]) -> list[str]:
    return [word.replace(SERVER, f"127.0.0.1:{server.port}") for word in words]


def done(words: Sequence[str]) -> str:
    """What a command printed; it must succeed."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} on the path")
    result = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, f"{words}: {result.stderr}"
    return result.stdout
