"""Tables as values, and the same table as HTML, Markdown and LaTeX."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from landbridge.reports.values import BETTER, WORSE

MARKS = {BETTER: "▲", WORSE: "▼"}
WORDS = {BETTER: "significantly better than the reference", WORSE: "significantly worse than the reference"}
MINUS = re.compile(r"(?<![^\s(\[])-(?=\d)")  # the sign of a number, not the dash of 1-2 or of key=-1
# of Markdown: brackets only where they make a link, so that intervals stay as they are
MARKUP = re.compile(r"[\\`*_|<>~#$]|\](?=[(\[:])|&(?=#?\w+;)")
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "−": "$-$",
    "→": r"$\rightarrow$",
    "\n": " ",
}


@dataclass(frozen=True)
class Cell:
    """``text``, an interval or the like beside it, ``mark``: better, worse or empty, ``best`` of its row."""

    text: str
    detail: str = ""
    mark: str = ""
    best: bool = False


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """``align``: l or r per column. Equal neighbours in the first column are shown as one group of rows."""

    title: str
    columns: tuple[str, ...]
    align: str
    rows: tuple[Row, ...]
    note: str = ""


def table(
    title: str, columns: Sequence[str], align: str, rows: Sequence[Sequence[str | Cell]], note: str = ""
) -> Table:
    """A table from plain values."""
    cells = tuple(tuple(Cell(one) if isinstance(one, str) else one for one in row) for row in rows)
    return Table(title, tuple(columns), align, cells, note)


def as_markdown(table: Table) -> str:
    """A pipe table under its title, the note below."""
    rule = ("---" if side == "l" else "---:" for side in table.align)
    lines = [_piped(map(markdown, table.columns)), _piped(rule)]
    lines += [_piped(_one_line(cell, markdown, "**{}**".format) for cell in row) for row in table.rows]
    note = f"\n\n{markdown(table.note)}" if table.note else ""
    return f"**{markdown(table.title)}**\n\n" + "\n".join(lines) + note


def as_latex(table: Table) -> str:
    """A booktabs table that may run over pages; space stands between its groups of rows."""
    head = " & ".join(map(latex, table.columns))
    groups = ["\n".join(_latex_row(row) for row in rows) for rows in _groups(table)]
    between = "\n" if len(groups) == len(table.rows) else "\n\\addlinespace\n"
    note = f"\n\n{{\\footnotesize {latex(table.note)}}}" if table.note else ""
    return (
        f"\\begin{{longtable}}{{{table.align}}}\n\\caption{{{latex(table.title)}}} \\\\\n"
        f"\\toprule\n{head} \\\\\n\\midrule\n\\endhead\n{between.join(groups)}\n\\bottomrule\n"
        f"\\end{{longtable}}{note}"
    )


def as_html(table: Table) -> str:
    """A captioned table in a box of its own that scrolls when the page is narrow."""
    head = "".join(
        f'<th scope="col" class="{side}">{escaped(name)}</th>'
        for name, side in zip(table.columns, table.align, strict=True)
    )
    body = "".join(_tbody(rows, table.align) for rows in _groups(table))
    note = f'<p class="note">{escaped(table.note)}</p>' if table.note else ""
    title = escaped(table.title)
    return (
        f'<div class="table"><div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f"<table><caption><span>{title}</span></caption><thead><tr>{head}</tr></thead>{body}</table></div>{note}</div>"
    )


def escaped(text: str) -> str:
    """Text for HTML, with true minus signs; a number is not parted from its per cent."""
    return html.escape(MINUS.sub("−", text).replace(" %", "\u00a0%"))


def markdown(text: str) -> str:
    """Text for Markdown."""
    return MARKUP.sub(r"\\\g<0>", text).replace("\n", " ")


def latex(text: str) -> str:
    """Text for LaTeX, with true minus signs."""
    return "".join(LATEX.get(letter, letter) for letter in MINUS.sub("−", text))


def _groups(table: Table) -> list[list[Row]]:
    """Neighbouring rows with the same first cell."""
    return [list(rows) for _, rows in groupby(table.rows, key=lambda row: row[0].text)]


def _latex_row(row: Row) -> str:
    return " & ".join(_one_line(cell, latex, r"\textbf{{{}}}".format) for cell in row) + r" \\"


def _one_line(cell: Cell, escape: Callable[[str], str], bold: Callable[[str], str]) -> str:
    text = bold(escape(cell.text)) if cell.best and cell.text else escape(cell.text)
    return " ".join(part for part in (text, escape(cell.detail), escape(MARKS.get(cell.mark, ""))) if part)


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _tbody(rows: list[Row], align: str) -> str:
    """Rows that share their first cell, which spans them."""
    lines = []
    for place, row in enumerate(rows):
        # one header cell for the group: a screen reader then repeats the domain for each of its rows
        span = f' rowspan="{len(rows)}"' if len(rows) > 1 else ""
        first = f'<th scope="row{"group" if span else ""}"{span}>{_html(row[0])}</th>' if not place else ""
        rest = (_data(cell, side) for cell, side in zip(row[1:], align[1:], strict=True))
        lines.append(f"<tr>{first}{''.join(rest)}</tr>")
    return f"<tbody>{''.join(lines)}</tbody>"


def _data(cell: Cell, side: str) -> str:
    kinds = " ".join(part for part in (side, cell.mark) if part)
    return f'<td class="{kinds}">{_html(cell)}</td>'


def _html(cell: Cell) -> str:
    text = f"<b>{escaped(cell.text)}</b>" if cell.best else escaped(cell.text)
    mark = (
        f'<span class="mark" title="{WORDS[cell.mark]}" aria-label="{WORDS[cell.mark]}" role="img">'
        f"{MARKS[cell.mark]}</span>"
        if cell.mark
        else ""
    )
    detail = f"<small>{escaped(cell.detail)}</small>" if cell.detail else ""
    return f"{text}{mark}{detail}"
