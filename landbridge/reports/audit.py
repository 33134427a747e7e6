"""The report of an audit (:mod:`landbridge.federation.defences`): what leaks, and what a defence costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from landbridge.core.files import atomic_write
from landbridge.core.types import Record, Values
from landbridge.federation.audit import COORDINATOR, CUSTOMER, PARTY, SAME, WHAT
from landbridge.reports import html, plots
from landbridge.reports.document import Block, Document, Gallery, Section
from landbridge.reports.pictures import Picture
from landbridge.reports.tables import Cell, Table, table
from landbridge.reports.words import Paragraph, Strong

SHOWN = 0.1  # known users of "who bought what" in the picture; the table has all shares
READING = (
    "AUC is the probability that an attack scores a true case above a false one: 1 is certainty and 0.5 is a "
    "guess. False cases are of the same user or the same item, so that popularity alone gives 0.5. Below a "
    "value its 95 % interval over users. The outsider reads a channel without encryption; with TLS there is "
    "nothing to read. Known is the share of the victim's customers whose events an attacker already has. The "
    "error of rows is ‖x̂ - x‖ / ‖x‖, the mean over all rounds.",
    "Masks hide a party's message and not the sum. The closer the parties agree, the more is the mean of all "
    "rows the row of each: what is left under masks is what the result of the training itself reveals. Noise "
    "is the only defence here that limits it.",
)


def write_audit(result: Values, out: Path) -> None:
    """The report as one HTML file, and ``result`` as .json of the same name beside it.

    Raises MissingExtraError without the extra ``report``.
    """
    page = html.page(audit_document(result))
    for path, text in ((out, page), (out.with_suffix(".json"), json.dumps(result, indent=1))):
        with atomic_write(path) as temporary:
            temporary.write_text(text, "utf-8")


def audit_document(result: Values) -> Document:
    """The audit as a document; parts that the result does not have are left out."""
    about = result["about"]
    facts = (
        ("victim", about["victim"]),
        ("parties", ", ".join(about["parties"])),
        ("users in common", f"{about['users']:,}"),
        ("defences", str(len({each["defence"] for each in result["findings"]}))),
    )
    sections = (
        Section("summary", "Summary", tuple(_summary(result))),
        Section("attacks", "What each attacker learns", _attacks(result)),
        Section("utility", "What a defence costs", _utility(result)),
        Section("guarantee", "What is guaranteed, and what is not", _guarantees(result["guarantees"])),
        Section("reading", "How to read this", tuple((text,) for text in READING)),
    )
    title = f"What the exchange reveals of {about['victim']}"
    return Document(title, facts, tuple(part for part in sections if part.blocks), "privacy audit")


def _summary(result: Values) -> list[Paragraph]:
    warning = result["about"]["warning"]
    lines: list[Paragraph] = [(Strong(warning),)] if warning else []
    for defence, found in groupby(result["findings"], key=lambda each: each["defence"]):
        worst = max(found, key=lambda each: each["auc"])
        value = f"{worst['auc']:.2f} ({worst['low']:.2f} to {worst['high']:.2f})"
        lines.append((f"Defence {defence}: AUC {value} for {worst['attack']}, by the {worst['role']}.",))
    return lines


def _attacks(result: Values) -> tuple[Block, ...]:
    found = result["findings"]
    shares = sorted({each["known"] for each in found if each["known"] is not None})
    columns = [(CUSTOMER, None), (SAME, None), *((WHAT, share) for share in shares)]
    rows = []
    for defence, role in dict.fromkeys((each["defence"], each["role"]) for each in found):
        own = [each for each in found if (each["defence"], each["role"]) == (defence, role)]
        error = own[0]["error"]
        rows.append(
            [
                defence,
                role,
                "" if error is None else f"{error:.1e}",
                *(_auc(own, name, share) for name, share in columns),
            ]
        )
    names = [name if share is None else f"{name}, {share:.0%} known" for name, share in columns]
    made = table(
        "AUC of the attacks",
        ["defence", "attacker", "error of rows", *names],
        "ll" + "r" * (len(names) + 1),
        rows,
    )
    return Gallery(
        tuple(_forest(found, role) for role in (COORDINATOR, PARTY)), "0 is a guess, 0.5 is certainty."
    ), made


def _auc(found: Sequence[Values], name: str, share: float | None) -> Cell:
    own = [each for each in found if (each["attack"], each["known"]) == (name, share)]
    if not own:
        return Cell("")
    return Cell(f"{own[0]['auc']:.3f}", f"{own[0]['low']:.3f} to {own[0]['high']:.3f}")


def _forest(found: Sequence[Values], role: str) -> Picture:
    shown = [each for each in found if each["role"] == role and each["known"] in (None, SHOWN)]
    rows: list[Record] = [
        {
            "label": each["attack"],
            "domain": each["defence"],
            **{name: each[key] - 0.5 for name, key in (("value", "auc"), ("low", "low"), ("high", "high"))},
            "sure": each["low"] > 0.5,
        }
        for each in shown
    ]
    defences = list(dict.fromkeys(row["domain"] for row in rows))
    title = f"Attacks of the {role}" + (" and of an outsider" if role == COORDINATOR else "")
    words = "; ".join(f"{row['domain']}, {row['label']}: {row['value'] + 0.5:.2f}" for row in rows)
    chart = partial(plots.intervals, rows, [CUSTOMER, SAME, WHAT], defences, "AUC - 0.5")
    return Picture(f"attacks-{role.replace(' ', '-')}", title, f"AUC by defence. {words}.", chart)


def _utility(result: Values) -> tuple[Block, ...]:
    if not result["utility"]:
        return ()
    metric = result["about"]["metric"]
    rows = [{"group": each["defence"], "mean": each[metric], "sd": 0.0} for each in result["utility"]]
    words = "; ".join(f"{row['group']}: {row['mean']:.4f}" for row in rows)
    picture = Picture(
        "utility",
        f"{metric} in {result['about']['victim']}",
        f"{metric} by defence. {words}.",
        partial(plots.spreads, rows, ("defence", metric)),
    )
    made = table(
        f"{metric} of the victim's test users",
        ["defence", metric],
        "lr",
        [[each["defence"], f"{each[metric]:.4f}"] for each in result["utility"]],
        "Masks change the model by less than a fixed-point step: their quality is that of no defence.",
    )
    return Gallery(
        (picture,), "Beside the single-domain baseline, which sends nothing, and popularity."
    ), made


def _guarantees(guarantees: Sequence[Values]) -> tuple[Block, ...]:
    if not guarantees:
        return ()
    first = guarantees[0]
    made = table(
        "Differential privacy of what the victim sends",
        ["defence", "ε", "δ", "rounds", "clip", "noise / clip"],
        "lrrrrr",
        [
            [
                each["defence"],
                "∞" if each["epsilon"] is None else f"{each['epsilon']:.2f}",
                f"{each['delta']:g}",
                str(each["rounds"]),
                f"{each['clip']:.3g}",
                f"{each['noise']:.3g}",
            ]
            for each in guarantees
        ],
    )
    limits: Table = table("Not protected", ["what"], "l", [[line] for line in first["not_protected"]])
    return (f"Unit of privacy: {first['unit']}.",), made, limits
