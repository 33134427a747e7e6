"""Cells and pictures of experiments/theory.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.common import CELLS, PAGES
from landbridge.core.files import read_json, write_json

PICTURES = PAGES / "theory"
Rows = list[dict[str, Any]]


def kept(name: str, measure: Callable[[], Rows]) -> Rows:
    """The rows of a cell, measured once; delete runs/experiments/theory after a change of its code."""
    path = CELLS / "theory" / f"{name}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, measure())
        print(name, flush=True)
    rows: Rows = read_json(path)
    return rows


def lines(rows: Sequence[Mapping[str, Any]], stem: str, alt_text: str, facet: str, color: str) -> str:
    """A picture with a panel per ``facet``, a line per ``color``, both axes logarithmic; its Markdown.

    A point is ``x``, ``y``, ``low`` and ``high``, the last two over seeds.
    """
    import altair as alt

    base = alt.Chart(alt.InlineData([dict(row) for row in rows])).encode(
        x=alt.X("x:Q", title=None, scale=alt.Scale(type="log")),
        color=alt.Color(f"{color}:N", sort=None),
    )
    line = base.mark_line(point=True).encode(y=alt.Y("y:Q", title=None, scale=alt.Scale(type="log")))
    band = base.mark_area(opacity=0.2).encode(y="low:Q", y2="high:Q")
    panel = alt.layer(band, line).properties(width=260, height=170)
    chart = panel.facet(facet=alt.Facet(f"{facet}:N", title=None, sort=None), columns=2)
    return _saved(chart.resolve_scale(y="independent"), stem, alt_text)


def heat(rows: Sequence[Mapping[str, Any]], stem: str, alt_text: str, x: str, y: str, facet: str) -> str:
    """A picture with a coloured cell with its ``text`` per ``x`` and ``y``; green where ``stable``."""
    import altair as alt

    base = alt.Chart(alt.InlineData([dict(row) for row in rows])).encode(
        x=alt.X(f"{x}:O", sort=None, axis=alt.Axis(labelAngle=0)), y=alt.Y(f"{y}:O", sort=None)
    )
    colors = alt.Scale(domain=["yes", "no"], range=["#9ad0a0", "#e8a39a"])
    cells = base.mark_rect().encode(color=alt.Color("stable:N", scale=colors))
    panel = alt.layer(cells, base.mark_text(fontSize=10).encode(text="text:N"))
    chart = panel.properties(width=300, height=130).facet(
        facet=alt.Facet(f"{facet}:N", title=None, sort=None), columns=2
    )
    return _saved(chart.resolve_scale(x="independent"), stem, alt_text)


def _saved(chart: Any, stem: str, alt_text: str) -> str:
    PICTURES.mkdir(parents=True, exist_ok=True)
    chart.save(PICTURES / f"{stem}.svg")
    return f"![{alt_text}]({PICTURES.name}/{stem}.svg)"
