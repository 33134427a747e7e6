"""The words of the field, and no others: no source, page or document uses the former private language."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    *sorted((ROOT / "landbridge").rglob("*.py")),
    *sorted((ROOT / "landbridge").rglob("*.js")),
    *sorted((ROOT / "landbridge").rglob("*.html")),
    *sorted((ROOT / "experiments").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]

# word -> what the field calls it
PRIVATE = {
    r"people|persons?|somebody|nobody|everybody|anybody": "user, users",
    r"she|hers?|herself": "the user, they",
    r"told|tells": "given, reported, distinguished",
    r"asked": "requested, query",
    r"judged?|judges": "evaluated, evaluate",
    r"twins?": "single-domain baseline, or duplicate item",
    r"newcomers?": "new user, cold-start user",
    r"crowds?": "batch, negatives",
    r"at home": "primary domain",
    r"beforehand|whoever|whatever": "say it plainly",
}

# (file, word): a word that is right where it stands, such as a name that older files or clients use
ALLOWED = {
    ("landbridge/cli/serve.py", "people"),  # --log-people, the former name of an option
    ("landbridge/evaluation/evaluate.py", "twin"),  # a column of evaluations written by 0.1
    ("landbridge/evaluation/segments.py", "twin"),  # the former name of a segment
    ("landbridge/models/uclr/method.py", "crowds"),  # seeds a generator: another word, other numbers
    ("docs/extending/method.md", "at home"),  # the title of a cited page
}


def words(text: str) -> list[str]:
    """The private words of a text, also as parts of names such as ``told_once``."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ").lower()
    return [found for private in PRIVATE for found in re.findall(rf"\b(?:{private})\b", split)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_words_of_the_field(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    used = {word for word in words(path.read_text()) if (name, word) not in ALLOWED}
    assert not used, f"{name} uses {sorted(used)}; write what a reader of the field expects"


def test_the_list_of_exceptions_is_short() -> None:
    assert len(ALLOWED) <= 20
    for name, word in ALLOWED:
        assert word in words((ROOT / name).read_text()), f"{name} no longer needs its exception {word!r}"


@pytest.mark.parametrize("text", ["Nobody waits", "class ToldAlready", "her_row", "what people have"])
def test_private_words_are_noticed(text: str) -> None:
    assert words(text)
