"""The page of :mod:`benchmarks.sequence`, from its records."""

from __future__ import annotations

from itertools import accumulate
from statistics import median
from typing import Any

from benchmarks.engine_page import _machine as machine

Record = dict[str, Any]
OURS, SHORT, PEER = "ours", "ours, bfloat16", "RecBole"
STEADY = 3  # epochs whose mean counts as quality reached
WORDS = ("data", "program", "weights", "scaled")  # columns that are not figures
SPEED = ["data", "program", "s / epoch", "ratio", "memory", "epochs", "NDCG@10"]
EQUAL = ["data", "epochs of RecBole", "NDCG@10", "s", "program", "epochs", "NDCG@10", "s", "ratio"]
FLOOR = [
    "data",
    "program",
    "GFLOP",
    "GFLOP/s, encoder",
    "GFLOP/s, softmax",
    "floor, s",
    "reached, s",
    "share",
]
COST = ["data", "weights", "s / epoch", "ratio", "memory", "ten epochs, s", "ratio", "scaled"]


def render(records: list[Record], threads: int) -> str:
    """Speed, memory and quality; of a case measured twice, the later record."""
    cases = {record["key"]: record for record in records}
    loads = [load for record in cases.values() for load in record["load"]]
    days = [record["date"] for record in cases.values()]
    dates = sorted({min(days), max(days)})
    beside = [record for record in cases.values() if OURS in record["turns"]]
    weighed = [record for record in cases.values() if "none" in record["turns"]]
    return f"""# Speed of the sequence models

Measured {" to ".join(dates)} by `python -m benchmarks.sequence` with {threads} threads per program
on {machine()}. Load average before and after the cases {min(loads):.1f} to {max(loads):.1f}, of which the
program whose turn it is makes about {threads}.

Programs take turns; seconds per epoch are the median (least) of the turns after the first, and a ratio above
1 is slower than the first program. Memory is MiB above the process with its libraries and the data loaded, at
the highest.

## SASRec

Both have length 50, 64 factors, 2 blocks, 2 heads, 256 hidden units, dropout 0.2, Adam with 0.001 and the
softmax over all items. Every user's latest rating is held out and nothing else; landbridge's full ranking
evaluates both, from users' states and the items. Ours learns from all events of a window at once, in batches
of 128 windows. RecBole makes a sample of every prefix, padded to 50, in batches of 2,048 (its own default);
its attention drops out, too, and its norms come behind the layers. Its turn is a part of an epoch, scaled to
one. With bfloat16 ours multiplies numbers of 16 bits, in layers and scores; all else is the same.

{_markdown(SPEED, _speeds(beside))}

### Time to equal quality

An epoch is not the same amount of learning for both. So: after how long ours recommends as well as RecBole
does after so many epochs, in the mean of {STEADY} epochs in a row. The time is that of learning alone, from
the first step to the last of the {STEADY}.

{_markdown(EQUAL, _equals(beside))}

### The floor

Operations of an epoch (counted in `benchmarks/sequence_floor.py`), over what torch's products reach in these
shapes in float32, the encoder's and the softmax's apart. What an epoch takes beyond that is between the
products: exponentials, dropout, norms, indices, the optimiser. Reached is the least time.

{_markdown(FLOOR, _floors(beside))}

## What DWL's weights cost

The sampled loss of DWL's defaults, with the same batches for all programs. "Ten epochs" is the sum of the ten
turns, the first included; where an epoch is scaled from its first batches, ten times the median.

{_markdown(COST, _weighed(weighed))}
"""


def reached(turns: dict[str, list[Record]], label: str, wanted: float | None = None) -> int | None:
    """Epochs of a program of ours until its last ``STEADY`` are as good on average as RecBole after its last
    epoch, or as ``wanted``; None where they never are."""
    if wanted is None:
        wanted = [turn["ndcg"] for turn in turns[PEER] if "ndcg" in turn][-1]
    ndcg_E = [turn["ndcg"] for turn in turns[label]]
    ends = range(STEADY, len(ndcg_E) + 1)
    return next((end for end in ends if sum(ndcg_E[end - STEADY : end]) / STEADY >= wanted), None)


def _per_epoch(turns: list[Record]) -> list[float]:
    return [turn["seconds"] / turn["part"] for turn in turns[1:]]


def _speeds(records: list[Record]) -> list[list[str]]:
    rows = []
    for record in records:
        middle = median(_per_epoch(record["turns"][OURS]))
        for label, turns in record["turns"].items():
            seconds = _per_epoch(turns)
            done = f"{sum(turn['part'] for turn in turns):.0f}"
            last = [turn["ndcg"] for turn in turns if "ndcg" in turn][-1]
            figures = [f"{median(seconds) / middle:.2f}", _memory(turns), done, f"{last:.4f}"]
            rows.append([_data(record), label, _seconds(seconds), *figures])
    return rows


def _equals(records: list[Record]) -> list[list[str]]:
    """A row for every whole epoch of RecBole."""
    rows = []
    for record in records:
        turns = record["turns"]
        spent = {label: list(accumulate(turn["seconds"] for turn in own)) for label, own in turns.items()}
        ends = [place for place, turn in enumerate(turns.get(PEER, [])) if "ndcg" in turn]
        for epoch, end in enumerate(ends, 1):
            wanted, seconds = turns[PEER][end]["ndcg"], spent[PEER][end]
            peer = [_data(record), str(epoch), f"{wanted:.4f}", f"{seconds:.1f}"]
            for label in (OURS, SHORT):
                found = reached(turns, label, wanted)
                if found is None:
                    rows.append([*peer, label, f"not within {len(turns[label])}", "–", "–", "–"])
                    continue
                ndcg = sum(turn["ndcg"] for turn in turns[label][found - STEADY : found]) / STEADY
                own = spent[label][found - 1]
                rows.append([*peer, label, str(found), f"{ndcg:.4f}", f"{own:.1f}", f"{seconds / own:.1f}"])
    return rows


def _floors(records: list[Record]) -> list[list[str]]:
    rows = []
    for record in records:
        reported = record["operations"]
        encoders = {OURS: reported["encoder"], PEER: reported["prefixes_encoder"]}
        for label in (name for name in record["turns"] if name in encoders):
            turns = record["turns"][label]
            least = min(_per_epoch(turns))
            seconds = (
                encoders[label] / reported["encoder_pace"] + reported["softmax"] / reported["softmax_pace"]
            )
            figures = [
                encoders[label] + reported["softmax"],
                reported["encoder_pace"],
                reported["softmax_pace"],
            ]
            rows.append(
                [
                    _data(record), label, *(f"{figure:,.0f}" for figure in figures),
                    f"{seconds:.3g}", f"{least:.3g}", f"{seconds / least:.0%}",
                ]
            )  # fmt: skip
    return rows


def _weighed(records: list[Record]) -> list[list[str]]:
    rows = []
    for record in records:
        speeds = {label: _per_epoch(turns) for label, turns in record["turns"].items()}
        wholes = {label: _whole(turns) for label, turns in record["turns"].items()}
        for label, turns in record["turns"].items():
            ratios = [
                f"{median(speeds[label]) / median(speeds['none']):.2f}",
                f"{wholes[label] / wholes['none']:.2f}",
            ]
            part = sum(turn["part"] for turn in turns) / len(turns)
            scaled = "" if part == 1 else f"from {part:.0%}"
            memory, whole = _memory(turns), f"{wholes[label]:.1f}"
            rows.append(
                [_data(record), label, _seconds(speeds[label]), ratios[0], memory, whole, ratios[1], scaled]
            )
    return rows


def _whole(turns: list[Record]) -> float:
    if all(turn["part"] == 1 for turn in turns):
        return sum(turn["seconds"] for turn in turns)
    return len(turns) * float(median(_per_epoch(turns)))


def _data(record: Record) -> str:
    return str(record["key"]).split(":")[0]


def _seconds(seconds: list[float]) -> str:
    return f"{median(seconds):.3g} ({min(seconds):.3g})"


def _memory(turns: list[Record]) -> str:
    return f"{max(turn['mib'] for turn in turns):,.0f}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---" if name in WORDS else "--:" for name in head], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
