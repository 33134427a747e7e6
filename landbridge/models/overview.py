"""What methods there are and what they can be set to: one text for the command line and the documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping

from landbridge.core.settings import schema
from landbridge.models import registry
from landbridge.models.base import Method

COST_CLASSES = {"low": 0, "medium": 3, "high": 10, "very high": 20}
"""Class -> the least relative cost: counts and closed forms, half steps, gradient steps, sequences."""

HEAD = """# Settings of every method

Every setting with its default, its range, its meaning and the paper's symbol. Give one as
`landbridge fit --set NAME=VALUE`, in the table `[model.settings]` of an experiment file, or as an argument in
Python; a dotted name belongs to a part: `--set encoder.factors=32`. Numbers may be written `.01` or `1e-3`.
An unknown name or a value out of range is refused in one sentence before any data are read.

This page is written by `landbridge models --markdown`.
"""


def methods() -> list[dict[str, str]]:
    """One row per method that can be loaded: name, source, year, family (or the package of a plug-in),
    cost, needs, cold start, fold-in, shared items, item features, in ``auto``."""
    return _rows(registry.methods()[0])


def _rows(kinds: Mapping[str, type[Method]]) -> list[dict[str, str]]:
    rows = []
    for name, kind in kinds.items():
        settings = schema(kind)
        policy = settings.get("cold_policy")
        rows.append(
            {
                "method": name,
                "paper": kind.paper,
                "year": year(kind),
                "family": family(kind),
                "cost": cost_class(kind),
                "needs": kind.needs,
                "cold start": "cold_policy" if policy else kind.cold_start,
                "fold-in": kind.folds_in,
                "shared items": kind.shared_items or "ignored",
                "item features": kind.item_features or "ignored",
                "user features": kind.user_features or "refused",
                "auto": "yes" if in_auto(kind) else "",
            }
        )
    return rows


def family(kind: type[Method]) -> str:
    """The name of the family, which is that of its folder; of a plug-in, the package."""
    package = registry.package_of(kind.name)
    return kind.__module__.split(".")[2] if package is None else f"package {package}"


def year(kind: type[Method]) -> str:
    """The year of the method's paper, of the first one where there are several; empty where it has none."""
    found = re.search(r"\b(?:19|20)\d\d\b", kind.paper)
    return found.group() if found else ""


def cost_class(kind: type[Method]) -> str:
    """How long a fit takes beside other methods, in words; ``landbridge estimate`` has seconds."""
    return [name for name, least in COST_CLASSES.items() if kind.relative_cost >= least][-1]


def in_auto(kind: type[Method]) -> bool:
    """Whether a method proposes candidates for any data."""
    return kind.in_auto.__func__ is not Method.in_auto.__func__  # type: ignore[attr-defined]


def settings_of(name: str) -> list[dict[str, str]]:
    """One row per setting of a method: name, default, allowed values, meaning, symbol."""
    return [
        {
            "setting": entry.name,
            "default": _text(entry.default),
            "values": entry.values,
            "meaning": entry.doc,
            "symbol": entry.symbol,
        }
        for entry in schema(registry.method(name)).values()
    ]


def markdown() -> str:
    """The glossary of settings, docs/settings.md: of landbridge's own methods."""
    own = {name: registry.method(name) for name in sorted(registry.METHODS)}
    parts = [HEAD, "## Methods\n", _table(_rows(own))]
    for name in own:
        if rows := settings_of(name):
            parts += [f"\n## {name}\n", _table(rows)]
    return "\n".join(parts) + "\n"


def _table(rows: list[dict[str, str]]) -> str:
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(row.values()) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(map(str, value)) or "empty"
    return str(list(value)) if isinstance(value, tuple) else str(value)
