"""Colours of the pictures, for a light and a dark page; distinguishable for the colour-blind, too."""

from __future__ import annotations

from dataclasses import dataclass

from landbridge.core.types import Record

FONT = "Arial, Helvetica, sans-serif"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "stroke")
FAINT = 0.38  # how much of its colour an unsure tile keeps
HALFWAY = 0.179  # luminance on which black and white stand out alike


@dataclass(frozen=True)
class Look:
    """``ground``: the page; ``ink``: text; ``muted``: axes; ``grid``.

    ``lines``: one colour per method, the reference first. ``diverging``: loss, none, gain. ``sequential``:
    from nothing to all.
    """

    ground: str
    ink: str
    muted: str
    grid: str
    lines: tuple[str, ...]
    diverging: tuple[str, ...]
    sequential: tuple[str, ...]

    def tile(self, value: float, span: tuple[float, float], *, faint: bool = False) -> str:
        """The colour of a value between the ends of ``span``; ``faint``: nearer to the ground."""
        colours = self.diverging if span[0] < 0 else self.sequential
        # values beyond the span get the colour of its end
        share = min(max((value - span[0]) / (span[1] - span[0]), 0.0), 1.0) * (len(colours) - 1)
        place = min(int(share), len(colours) - 2)
        full = _mixed(colours[place], colours[place + 1], share - place)
        return _mixed(self.ground, full, FAINT) if faint else full

    def config(self) -> Record:
        """The settings common to all pictures."""
        axis: Record = {"labelColor": self.muted, "titleColor": self.muted, "domainColor": self.grid}
        axis |= {"tickColor": self.grid, "gridColor": self.grid, "labelFontSize": 12, "titleFontSize": 12}
        axis |= {"titleFontWeight": "normal", "titlePadding": 8, "labelLimit": 108}
        legend = {
            "labelColor": self.ink,
            "labelFontSize": 12,
            "orient": "bottom",
            "columns": 3,
            "title": None,
        }
        return {
            "background": "transparent",
            "font": FONT,
            "aria": False,
            "view": {"stroke": None},
            "axis": axis,
            "legend": legend | {"labelLimit": 150, "symbolSize": 70},
        }


def ink_on(colour: str) -> str:
    """Black or white, whichever stands out more: 4.5 : 1 or better on any colour."""
    return "#000000" if luminance(colour) > HALFWAY else "#ffffff"


def luminance(colour: str) -> float:
    """WCAG's relative luminance of ``#rrggbb``, 0 to 1."""
    # sRGB is not linear in light: undo its gamma before weighting
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in _parts(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _mixed(one: str, other: str, share: float) -> str:
    pairs = zip(_parts(one), _parts(other), strict=True)
    return "#" + "".join(f"{round(255 * (a + share * (b - a))):02x}" for a, b in pairs)


def _parts(colour: str) -> list[float]:
    """Red, green and blue, 0 to 1."""
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]


LIGHT = Look(
    ground="#ffffff",
    ink="#1f2328",
    muted="#59636e",
    grid="#dde2e7",
    lines=("#6e7781", "#0072b2", "#d55e00", "#00835f", "#b5558a", "#9a7200", "#3a8fc7", "#7d3c98"),
    diverging=("#b4470c", "#e9a47c", "#f1f1ef", "#86bddf", "#0b64a0"),
    sequential=("#f1f1ef", "#86bddf", "#0b64a0"),
)
DARK = Look(
    ground="#0f1419",
    ink="#e6edf3",
    muted="#a3adb8",
    grid="#323a43",
    lines=("#9aa4af", "#56adee", "#f58a45", "#35c79d", "#e79cc8", "#e2b53f", "#9ad2f5", "#c69be0"),
    diverging=("#f2905a", "#84461f", "#262d35", "#1d5a88", "#62b5f2"),
    sequential=("#262d35", "#1d5a88", "#62b5f2"),
)
