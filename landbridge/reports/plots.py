"""Altair charts from plain rows; each takes the look it is drawn in and comes out about 400 pixels wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from landbridge.core.errors import MissingExtraError
from landbridge.core.types import Values
from landbridge.reports.looks import SHAPES, Look, ink_on

if TYPE_CHECKING:
    import altair as alt

WIDTH = 300  # of the plot itself, axes and labels come on top
CELL, ROW = 48, 30
LONG = 6  # letters that fit above a column of a heat map
SLANTED = {"labelAngle": -35, "labelAlign": "left"}
LOG_FROM = 50  # largest to smallest value from which an axis is logarithmic
Rows = Sequence[Values]
Drawing = Any  # an altair chart; altair is imported only where one is made


@dataclass(frozen=True)
class Tile:
    """One cell of a heat map; ``faint``: drawn paler, because it is not sure."""

    x: str
    y: str
    value: float
    text: str
    faint: bool = False


def need_altair() -> None:
    """MissingExtraError where the pictures' libraries are not installed."""
    try:
        import altair
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"Pictures need {error.name}: pip install 'landbridge[report]'.") from None
    del altair


def heat_map(
    tiles: Sequence[Tile],
    xs: Sequence[str],
    ys: Sequence[str],
    titles: tuple[str, str],
    span: tuple[float, float],
    look: Look,
) -> Drawing:
    """Values of ``span`` as colours, with their texts; what lies outside has the colour of the end."""
    import altair as alt

    rows = [
        {"x": tile.x, "y": tile.y, "text": tile.text, "fill": fill, "ink": ink_on(fill)}
        for tile in tiles
        for fill in [look.tile(tile.value, span, faint=tile.faint)]
    ]
    across = _band_axis(titles[0], orient="top", **SLANTED if max(map(len, xs), default=0) > LONG else {})
    base = alt.Chart(_data(rows), width=CELL * len(xs), height=ROW * len(ys)).encode(
        alt.X("x:N", sort=list(xs), scale=_bands(xs), axis=across),
        alt.Y("y:N", sort=list(ys), scale=_bands(ys), axis=_band_axis(titles[1])),
    )
    squares = base.mark_rect(cornerRadius=3).encode(color=alt.Color("fill:N", scale=None))
    return squares + base.mark_text(fontSize=12).encode(text="text:N", color=alt.Color("ink:N", scale=None))


def intervals(rows: Rows, labels: Sequence[str], domains: Sequence[str], title: str, look: Look) -> Drawing:
    """A forest: per domain a dot with its interval for each method; hollow where not significant.

    ``rows``: label, domain, value, low, high, sure.
    """
    import altair as alt

    shown = [label for label in labels if any(row["label"] == label for row in rows)]
    height = len(domains) * (13 * len(shown) + 10)
    base = alt.Chart(_data(rows), width=WIDTH, height=height).encode(
        alt.Y("domain:N", sort=list(domains), axis=_band_axis(None, grid=True, bandPosition=0)),
        alt.YOffset("label:N", sort=shown, scale=alt.Scale(domain=shown, paddingOuter=0.4)),
        color=_by_label(labels, shown, look),
    )
    zero = alt.Chart(_data([{"zero": 0}])).mark_rule(color=look.muted, strokeDash=[3, 3])
    lines = base.mark_rule(strokeWidth=1.6).encode(
        alt.X("low:Q", title=title, axis=alt.Axis(tickCount=6)), alt.X2("high:Q")
    )
    dots = base.mark_point(size=46, strokeWidth=1.6, opacity=1).encode(
        alt.X("value:Q"),
        shape=_shapes(labels, shown),
        fill=_by_label(labels, shown, look),
        fillOpacity=alt.condition("datum.sure", alt.value(1), alt.value(0)),
    )
    return zero.encode(x="zero:Q") + lines + dots


def quality_against_cost(rows: Rows, labels: Sequence[str], titles: tuple[str, str], look: Look) -> Drawing:
    """Cost to the right (logarithmic), quality upwards; methods on the ``frontier`` are filled and joined.

    ``rows``: label, cost, quality, frontier.
    """
    import altair as alt

    shown = [row["label"] for row in rows]
    x = alt.X("cost:Q", title=titles[0], scale=alt.Scale(type="log", padding=24), axis=alt.Axis(tickCount=4))
    y = alt.Y(
        "quality:Q", title=titles[1], scale=alt.Scale(zero=False, padding=18), axis=alt.Axis(tickCount=5)
    )
    frontier = alt.Chart(_data([row for row in rows if row["frontier"]]))
    # steps: between two methods on the front no quality in between is available
    steps = frontier.mark_line(interpolate="step-after", color=look.muted, strokeDash=[4, 3], strokeWidth=1.2)
    dots = alt.Chart(_data(rows), width=WIDTH, height=210).mark_point(size=110, strokeWidth=2, opacity=1)
    return steps.encode(x, y) + dots.encode(
        x,
        y,
        color=_by_label(labels, shown, look),
        shape=_shapes(labels, shown),
        fill=_by_label(labels, shown, look),
        fillOpacity=alt.condition("datum.frontier", alt.value(1), alt.value(0)),
    )


def front(rows: Rows, titles: tuple[str, str], note: str, look: Look) -> Drawing:
    """Scatter plot of two values, larger is better: the front is filled and labelled, the control a diamond.

    ``rows``: x, y, text, front, joined (by a line), control. ``note``: what the labels are.
    """
    import altair as alt

    x, y = (
        alt.X("x:Q", title=titles[0], scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=4)),
        alt.Y("y:Q", title=titles[1], scale=alt.Scale(zero=False, padding=16), axis=alt.Axis(tickCount=5)),
    )
    colours = alt.condition("datum.control", alt.value(look.lines[2]), alt.value(look.lines[1]))
    line = alt.Chart(_data([row for row in rows if row["joined"]])).mark_line(
        color=look.muted, strokeDash=[4, 3], strokeWidth=1.2
    )
    dots = alt.Chart(_data(rows), width=WIDTH, height=240).mark_point(size=80, strokeWidth=1.8, opacity=1)
    marks = dots.encode(
        x,
        y,
        color=colours,
        fill=colours,
        fillOpacity=alt.condition("datum.front", alt.value(1), alt.value(0)),
        shape=alt.condition("datum.control", alt.value("diamond"), alt.value("circle")),
    )
    texts = [
        alt.Chart(_data([row for row in rows if row["control"] == control and (control or row["front"])]))
        .mark_text(align="left", dx=7, dy=11 if control else -7, fontSize=11, color=look.ink)
        .encode(x, y, text="text:N")
        for control in (False, True)
    ]
    title = alt.TitleParams(note, fontSize=12, fontWeight="normal", color=look.muted, anchor="start")
    return (line.encode(x, y) + marks + texts[0] + texts[1]).properties(title=title)


def lines(rows: Rows, labels: Sequence[str], title: str, look: Look) -> Drawing:
    """Values by epoch, one line per label and seed. ``rows``: label, seed, epoch, value."""
    import altair as alt

    shown = [label for label in labels if any(row["label"] == label for row in rows)]
    values = [row["value"] for row in rows]
    # a logarithmic axis only where all values are positive and span decades
    steep = min(values) > 0 and max(values) > LOG_FROM * min(values)
    scale = alt.Scale(type="log") if steep else alt.Scale(zero=False, nice=True)
    axis = alt.Axis(values=_powers(values), format="~g") if steep else alt.Axis(tickCount=5)
    chart = alt.Chart(_data(rows), width=WIDTH, height=170).mark_line(strokeWidth=1.5, opacity=0.9)
    return chart.encode(
        alt.X("epoch:Q", title="epoch", axis=alt.Axis(grid=False, tickMinStep=1, format="d")),
        alt.Y("value:Q", title=title, scale=scale, axis=axis),
        color=_by_label(labels, shown, look),
        detail="seed:N",
    )


def scatter(rows: Rows, titles: tuple[str, str], look: Look) -> Drawing:
    """Points with their intervals. ``rows``: x, y, low, high."""
    import altair as alt

    base = alt.Chart(_data(rows), width=WIDTH, height=230)
    x = alt.X("x:Q", title=titles[0], scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=6))
    bars = base.mark_rule(color=look.grid, strokeWidth=1.4).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"))
    dots = base.mark_point(filled=True, size=42, color=look.lines[1], opacity=1).encode(
        x, alt.Y("y:Q", title=titles[1], axis=alt.Axis(tickCount=6))
    )
    zero = alt.Chart(_data([{"zero": 0}])).mark_rule(color=look.muted, strokeDash=[3, 3])
    return zero.encode(y="zero:Q") + bars + dots


def spreads(rows: Rows, titles: tuple[str, str], look: Look) -> Drawing:
    """A dot per group with a standard deviation up and down. ``rows``: group, mean, sd, perhaps users."""
    import altair as alt

    shown = [
        {
            "group": f"{row['group']}\n{_short(row['users'])}" if "users" in row else row["group"],
            "value": row["mean"],
            "low": row["mean"] - row["sd"],
            "high": row["mean"] + row["sd"],
        }
        for row in rows
    ]
    names = [row["group"] for row in shown]
    axis = _band_axis(titles[0], labelExpr="split(datum.label, '\\n')", labelFontSize=11)
    base = alt.Chart(_data(shown), width=WIDTH, height=170).encode(
        alt.X("group:N", sort=names, scale=_bands(names), axis=axis)
    )
    bars = base.mark_rule(color=look.lines[1], strokeWidth=1.6).encode(
        alt.Y("low:Q", title=titles[1], scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=5)),
        alt.Y2("high:Q"),
    )
    return bars + base.mark_point(filled=True, size=46, color=look.lines[1], opacity=1).encode(
        alt.Y("value:Q")
    )


def _short(count: float) -> str:
    """At most four signs up to ten million: ``812``, ``9999``, ``12k``."""
    return f"{count:.0f}" if count < 1e4 else f"{count / 1e3:.0f}k"


def _data(rows: Rows) -> alt.Data:
    import altair as alt

    return alt.Data(values=list(rows))  # type: ignore[no-untyped-call]


def _powers(values: Sequence[float]) -> list[float]:
    """The powers of ten around the values: a logarithmic axis draws a line for every digit else."""
    return [10.0**power for power in range(floor(log10(min(values))), ceil(log10(max(values))) + 1)]


def _band_axis(title: str | None, **more: Any) -> alt.Axis:
    import altair as alt

    return alt.Axis(
        **{"title": title, "ticks": False, "labelPadding": 7, "domain": False, "labelAngle": 0, "grid": False}
        | more
    )


def _bands(names: Sequence[str]) -> alt.Scale:
    import altair as alt

    return alt.Scale(domain=list(names), paddingInner=0.07, paddingOuter=0)


def _by_label(labels: Sequence[str], shown: Sequence[str], look: Look) -> alt.Color:
    """A method has the same colour in every picture of a report."""
    import altair as alt

    # by the place among all methods, also where only some are shown
    colours = [look.lines[labels.index(label) % len(look.lines)] for label in shown]
    legend = alt.Legend() if len(labels) > 1 else None
    return alt.Color("label:N", scale=alt.Scale(domain=list(shown), range=colours), legend=legend)


def _shapes(labels: Sequence[str], shown: Sequence[str]) -> alt.Shape:
    import altair as alt

    shapes = [SHAPES[labels.index(label) % len(SHAPES)] for label in shown]
    return alt.Shape("label:N", scale=alt.Scale(domain=list(shown), range=shapes))
