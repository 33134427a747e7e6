"""The whole report as one value: sections of paragraphs, tables and pictures, in the order they are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from landbridge.reports import contents, facts, notes, pictures
from landbridge.reports.pictures import Picture
from landbridge.reports.runs import Runs
from landbridge.reports.tables import Table
from landbridge.reports.values import joined, metric_on, tidy_table
from landbridge.reports.words import Paragraph, summary

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side under one explanation."""

    pictures: tuple[Picture, ...]
    note: str = ""


@dataclass(frozen=True)
class Fold:
    """Blocks shown on request where the format can."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Code:
    """Text as it is."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


Block = Paragraph | Table | Gallery | Fold | Code | Heading


@dataclass(frozen=True)
class Section:
    """``slug``: its address within the page."""

    slug: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """``facts``: what and how much, for the head of the page; ``kind``: of the report."""

    title: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    kind: str = "benchmark"

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in their order."""
        blocks = [block for section in self.sections for block in _unfolded(section.blocks)]
        return [picture for block in blocks if isinstance(block, Gallery) for picture in block.pictures]


def document(runs: Runs) -> Document:
    """What there is to report on these runs; sections about which the folder holds nothing are left out."""
    values = tidy_table(runs)
    sections = [
        Section("summary", "Summary", tuple(summary(runs, values))),
        Section("glance", "At a glance", _some(contents.at_a_glance(runs, values), facts.methods(runs))),
        *(_results(runs, values, place, data) for place, data in enumerate(runs.names)),
        Section("cost", "Quality against cost", _cost(runs, values)),
        Section("served", "What the guard serves", _served(runs)),
        Section("training", "Training", _training(runs)),
        Section("transfer", "Who helps whom", _transfer(runs)),
        Section("data", "Data", _data(runs)),
        Section("repeat", "How to repeat it", _repeat(runs)),
        Section("reading", "How to read this", notes.READING),
    ]
    return Document(_title(runs), _facts(runs), tuple(section for section in sections if section.blocks))


def _title(runs: Runs) -> str:
    return f"{len(runs.labels)} methods on {joined(runs.names)}"


def _facts(runs: Runs) -> tuple[tuple[str, str], ...]:
    cells = len(runs.labels) * len(runs.spec["data"]) * len(runs.spec["seeds"])
    return (
        ("methods", str(len(runs.labels))),
        ("data sets", str(len(runs.spec["data"]))),
        ("seeds", str(len(runs.spec["seeds"]))),
        ("cells finished", f"{cells - len(runs.missing)} of {cells}"),
        ("reference", runs.reference),
        ("landbridge", str(runs.environment.get("landbridge", ""))),
    )


def _results(runs: Runs, values: pl.DataFrame, place: int, data: str) -> Section:
    """Pictures on the first metric, its tables, and everything else on request."""
    chosen = values.filter(data=data)
    protocols = chosen["protocol"].unique(maintain_order=True).to_list()
    groups = chosen["by"].unique(maintain_order=True).to_list()
    shown = [*pictures.forest(runs, values, data)]
    shown += pictures.gains(runs, values, data) if "activity" in groups else []
    blocks: list[Block] = [
        _gallery(shown, notes.GAINS),
        *(_means(runs, values, data, "domain", runs.metric, protocol) for protocol in protocols),
    ]
    for by in groups:
        title = contents.SEGMENTS.get(by, by)
        blocks.append(Fold(f"{title}, all values", _details(runs, values, data, by, protocols)))
    return Section(f"results-{place + 1}", f"Results on {data}", _some(*blocks))


def _details(runs: Runs, values: pl.DataFrame, data: str, by: str, protocols: list[str]) -> tuple[Block, ...]:
    """All metrics and protocols by one kind of segment: means, then differences."""
    blocks: list[Block] = []
    others = (
        [_gallery(pictures.gains(runs, values, data, by), notes.GAINS)]
        if by not in ("domain", "activity")
        else []
    )
    for metric, protocol in product(values["metric"].unique(maintain_order=True), protocols):
        blocks += [Heading(metric_on(metric, protocol)), _means(runs, values, data, by, metric, protocol)]
        blocks.append(contents.differences(runs, values, data, by, metric, protocol))
    return _some(*others, *blocks)


def _means(runs: Runs, values: pl.DataFrame, data: str, by: str, metric: str, protocol: str) -> Table:
    return contents.means(runs, values, data, by, metric, protocol)


def _cost(runs: Runs, values: pl.DataFrame) -> tuple[Block, ...]:
    shown = [picture for data in runs.names for picture in pictures.pareto(runs, values, data)]
    return _some(
        _gallery(shown, notes.PARETO),
        facts.costs(runs),
        _folded("Use of the catalogue", facts.coverage(runs)),
    )


def _served(runs: Runs) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for data, label in runs.decisions.select("data", "label").unique(maintain_order=True).rows():
        blocks += [Heading(f"{label} on {data}"), _gallery(pictures.served(runs, data, label), notes.SERVED)]
        blocks.append(_folded("Every decision and its numbers", facts.decisions(runs, data, label)))
    return _some(*blocks)


def _training(runs: Runs) -> tuple[Block, ...]:
    valid = [picture for data in runs.names for picture in pictures.convergence(runs, data)]
    blocks: list[Block] = [_gallery(valid, "One line per seed.")]
    for data in runs.names:
        own = _some(
            _gallery(pictures.own_series(runs, data), "One line per seed."),
            _gallery(pictures.by_activity(runs, data), notes.BY_ACTIVITY),
        )
        blocks += [Heading(f"Values logged by the methods on {data}"), *own] if own else []
    return _some(*blocks, facts.shared_values(runs))


def _transfer(runs: Runs) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for data in runs.transfer["data"].unique(maintain_order=True):
        blocks += [Heading(data), _gallery(pictures.transfer(runs, data), notes.TRANSFER), *_held(runs, data)]
        blocks.append(_folded("All pairs", facts.transfer(runs, data)))
    return _some(*blocks)


def _held(runs: Runs, data: str) -> tuple[Paragraph, ...]:
    """How well the prediction held."""
    import polars as pl

    pairs = runs.transfer.filter(pl.col("data") == data, pl.col("predicted").is_not_null())
    if len(pairs) < 3:
        return ()
    correlation = pairs.select(pl.corr("predicted", "gain", method="spearman")).item()
    sentence = (
        f"Predicted and measured gains of {len(pairs)} pairs have a rank correlation of {correlation:.2f}."
    )
    return ((sentence,),)


def _data(runs: Runs) -> tuple[Block, ...]:
    verdicts = " ".join(runs.leaks["verdict"].unique(maintain_order=True))
    return _some(
        facts.sources(runs),
        facts.data_sets(runs),
        _gallery(
            (picture for data in runs.names for picture in pictures.imbalance(runs, data)), notes.IMBALANCE
        ),
        _folded("Users in common", facts.shared_users(runs)),
        Heading("Leak check") if verdicts else (),
        (verdicts,) if verdicts else (),
        _folded("Trained on shuffled labels", facts.leaks(runs)),
    )


def _repeat(runs: Runs) -> tuple[Block, ...]:
    command = runs.environment.get("command")
    return _some(
        ("Run this with the specification below; a folder begun before goes on where it was left.",),
        Code(
            command
            if isinstance(command, str)
            else " ".join(command or ["landbridge", "benchmark", "spec.toml"])
        ),
        Fold("The specification", (Code(runs.spec_text.rstrip()),)),
        _folded("Settings of every fit", facts.settings(runs)),
        facts.versions(runs),
    )


def _gallery(shown: Iterable[Picture], note: str) -> Gallery:
    return Gallery(tuple(shown), note)


def _folded(title: str, table: Table) -> Fold:
    return Fold(title, _some(table))


def _some(*blocks: Block) -> tuple[Block, ...]:
    """Without what is empty."""
    return tuple(block for block in blocks if not _empty(block))


def _empty(block: Block) -> bool:
    if isinstance(block, Table):
        return not block.rows
    if isinstance(block, Gallery):
        return not block.pictures
    if isinstance(block, tuple):
        return not block
    return isinstance(block, Fold) and not block.blocks


def _unfolded(blocks: Iterable[Block]) -> list[Block]:
    return [
        inner
        for block in blocks
        for inner in (_unfolded(block.blocks) if isinstance(block, Fold) else [block])
    ]
