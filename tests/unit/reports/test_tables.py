"""Tables say what the files say, in every format, and survive any label."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from landbridge.reports import contents, facts
from landbridge.reports.cells import series
from landbridge.reports.document import Code, Document, Gallery, Section
from landbridge.reports.pictures import Picture
from landbridge.reports.runs import Runs
from landbridge.reports.tables import Cell, Table, as_html, as_latex, as_markdown, latex, markdown, table
from landbridge.reports.text import as_latex_text, as_markdown_text
from landbridge.reports.values import joined, p_value, percent, tidy_table

ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)


class Rows(HTMLParser):
    """The texts of a table's cells, and whether every tag is closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "small" in self.open:
            self.rows[-1][-1] += " "
        if {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data


def made(text: str) -> Table:
    cells = [[text, Cell(text, "[0.1, 0.2]", "better", True)], [text, Cell("-0.5", mark="worse")]]
    return table(text, [text, text], "lr", cells, text)


def piped(line: str) -> list[str]:
    """The cells of a line of Markdown."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_a_table_of_means_has_the_numbers_of_results_csv(runs: Runs, folder: Path) -> None:
    with (folder / "results.csv").open() as file:
        wanted = {
            (row["domain"], row["label"]): row
            for row in csv.DictReader(file)
            if (row["data"], row["by"], row["metric"], row["protocol"])
            == ("shops", "domain", "ndcg@10", "1+999")
        }
    told = contents.means(runs, tidy_table(runs), "shops", "domain", "ndcg@10", "1+999")
    assert told.title == "shops: NDCG@10, sampled 1+999. By domain"
    *rows, overall = told.rows
    assert len(rows) * len(runs.labels) == len(wanted)
    for domain, users, *cells in rows:
        for label, cell in zip(runs.labels, cells, strict=True):
            row = wanted[domain.text, label]
            assert cell.text == f"{float(row['mean']):.4f}"
            assert cell.detail == f"[{float(row['low']):.4f}, {float(row['high']):.4f}]"
            assert users.text == f"{int(row['users']):,}"
        highest = max(cell.text for cell in cells)
        assert [cell.best for cell in cells] == [cell.text == highest for cell in cells]
    means = [float(row["mean"]) for (_, label), row in wanted.items() if label == "CDIMF"]
    assert overall[4].text == f"{sum(means) / len(means):.4f}"


def test_a_table_of_differences_has_the_numbers_of_comparisons_csv(runs: Runs, folder: Path) -> None:
    with (folder / "comparisons.csv").open() as file:
        wanted = [
            row
            for row in csv.DictReader(file)
            if (row["data"], row["by"], row["metric"]) == ("a-b", "activity", "hr@10")
        ]
    told = contents.differences(runs, tidy_table(runs), "a-b", "activity", "hr@10", "1+999")
    found = {tuple(cell.text for cell in row[:3]): row for row in told.rows}
    assert len(found) == len(wanted) == 2 * 6 * 3
    for row in wanted:
        cells = found[row["domain"], row["segment"], row["label"]]
        assert cells[4].text == f"{float(row['difference']):+.4f}"
        assert cells[4].detail == f"[{float(row['low']):+.4f}, {float(row['high']):+.4f}]"
        assert cells[5].text == f"{float(row['gain_percent']):+.1f} %"
        assert cells[7].text == p_value(float(row["p_holm"]))
        assert cells[9].text == row["power_note"]
        marked = float(row["p_holm"]) < 0.05 and float(row["low"]) * float(row["high"]) > 0
        assert bool(cells[4].mark) == marked


def test_sampled_values_are_marked_wherever_they_stand(runs: Runs) -> None:
    tidy = tidy_table(runs)
    glance = contents.at_a_glance(runs, tidy)
    assert [row[1].text for row in glance.rows] == [
        "NDCG@10, full ranking",
        "NDCG@10, sampled 1+999",
        "NDCG@10, sampled 1+999",
    ]
    assert {row[3].text for row in facts.coverage(runs).rows} == {"full", "sampled 1+999"}


def test_values_that_make_no_line_are_reported_in_a_table(runs: Runs) -> None:
    told = {row[2].text: row[4] for row in facts.shared_values(runs).rows if row[0].text == "a-b"}
    assert set(told) == {"closing rounds", "gap", "rho"}
    assert told["closing rounds"] == Cell("32", "31 … 33")
    assert told["rho"].text == "0.1"


def test_what_is_logged_by_activity_is_left_to_its_picture_unless_it_is_none(runs: Runs) -> None:
    record = {"x_by_activity": {"1": {"mean": 0.5, "sd": 0.1, "users": 3, "median": 0.4}, "2+": 0.7}}
    cell = {"data": "shops", "label": "CDIMF", "seed": 1}
    told = facts.shared_values(replace(runs, series=series([(cell, [record])])))
    assert [(row[2].text, row[3].text) for row in told.rows] == [
        ("x by activity", "1, median"),
        ("x by activity", "2+"),
    ]


def test_pairs_of_domains_are_distinguished_when_names_hold_the_separator(runs: Runs) -> None:
    rows = [tuple(cell.text for cell in row) for row in facts.shared_users(runs).rows]
    assert ("a-b", "a|1", "b_2", "1,234") in rows


def test_formats_hold_the_same_cells(runs: Runs) -> None:
    told = contents.differences(runs, tidy_table(runs), "shops", "domain", "ndcg@10", "full")
    texts = [[" ".join(filter(None, (cell.text, cell.detail))) for cell in row] for row in told.rows]
    marks = re.compile(r" ?[▲▼]")
    lines = as_markdown(told).splitlines()[4 : 4 + len(texts)]
    assert [[marks.sub("", cell).replace("\\<", "<") for cell in piped(line)] for line in lines] == texts
    html = [
        [marks.sub("", text).replace("−", "-").replace("\xa0", " ") for text in row]
        for row in Rows(as_html(told)).rows[1:]
    ]
    domains = [row[0] for row in texts[:: len(runs.labels) - 1]]
    assert [row[0] for row in html if len(row) == len(told.columns)] == domains
    assert [row[-7:] for row in html] == [row[-7:] for row in texts]


@given(ANY_TEXT)
@example("<b>&amp;</i>")
def test_html_of_any_text_is_balanced_and_gives_it_back(text: str) -> None:
    rows = Rows(as_html(made(text))).rows
    assert len(rows) == 3
    assert rows[0] == [text, text] or {"-", "%"} & set(text)


@given(ANY_TEXT)
def test_markdown_of_any_text_keeps_its_columns(text: str) -> None:
    lines = [line for line in as_markdown(made(text)).split("\n") if line.startswith("| ")]
    assert len(lines) == 4
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {3}


@given(ANY_TEXT)
def test_latex_of_any_text_has_no_active_letter_of_it(text: str) -> None:
    escaped = latex(text)
    for letter in "&%$#_":
        assert len(re.findall(rf"\\{re.escape(letter)}", escaped)) >= text.count(letter)
    bare = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}|\$(?:-|\\\w+)\$", "", escaped)
    assert not set(bare) & set("\\{}$&#^_%~")


def test_latex_marks_and_minus_signs() -> None:
    text = as_latex(made("a_b & 50 %"))
    assert r"\textbf{a\_b \& 50 \%} [0.1, 0.2] $\blacktriangle$" in text
    assert r"$-$0.5 $\blacktriangledown$" in text
    assert latex("1-2 and -0.3") == "1-2 and $-$0.3"


def test_latex_pictures_end_as_they_begin() -> None:
    picture = Picture("gains", "Gains", "", lambda look: None)
    section = Section("results", "Results", (Gallery((picture,)),))
    text = as_latex_text(Document("Report", (), (section,)), PurePosixPath("pictures"))
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert "figure" in begun
    assert sorted(begun) == sorted(ended)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(runs: Runs, tmp_path: Path) -> None:
    from landbridge.reports.text import PREAMBLE

    told = contents.means(runs, tidy_table(runs), "shops", "activity", "ndcg@10", "full")
    body = "\n\n".join(map(as_latex, (told, made("a_b & 50 % of <x> ~ ^ \\ {y} → −1"))))
    (tmp_path / "t.tex").write_text(PREAMBLE + "\\begin{document}\n" + body + "\n\\end{document}\n")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_words_of_numbers() -> None:
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert joined(list("abcdef")) == "a, b, c and 3 more"
    assert (p_value(1e-9), p_value(0.0123), p_value(None)) == ("<0.0001", "0.012", "")
    assert (percent(4.56), percent(-30, 0), percent(None)) == ("+4.6 %", "-30 %", "")


def test_every_value_reads_back_from_csv(runs: Runs) -> None:
    read = list(csv.DictReader(io.StringIO(tidy_table(runs).write_csv())))
    wanted = tidy_table(runs).to_dicts()
    assert len(read) == len(wanted)
    for got, row in zip(read, wanted, strict=True):
        assert float(got["mean"]) == row["mean"]
        assert got["verdict"] == row["verdict"]
        assert (got["p_holm"] and float(got["p_holm"])) == ("" if row["p_holm"] is None else row["p_holm"])


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("[x](y)", r"[x\](y)"),
        ("![x][y]", r"![x\][y]"),
        ("[x]: y", r"[x\]: y"),
        ("~~x~~", r"\~\~x\~\~"),
        ("&copy; & &#60;", r"\&copy; & \&\#60;"),
        ("$x$", r"\$x\$"),
        ("x #", r"x \#"),
        ("0.1 [-0.2, 0.3]", "0.1 [-0.2, 0.3]"),
    ],
)
def test_no_markup_of_markdown_is_left_in_a_text(text: str, escaped: str) -> None:
    assert markdown(text) == escaped


def test_code_ends_where_its_block_ends() -> None:
    code = Code("label = 'a'\n```\n\\end{verbatim}")
    document = Document("t", (), (Section("s", "s", (code,)),))
    assert "````\n" in as_markdown_text(document)
    assert as_latex_text(document).count("\\end{verbatim}") == 1
