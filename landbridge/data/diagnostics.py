"""Checks of event data before training; they report problems and change nothing.

The checks: how tables were read, size, shared users, colliding user ids, cold start, time stamps, bursts,
bots, malformed ids, catalogues with equal item ids and cross-listed items. docs/data-checks.md explains each.
Users U, domains D, S shared users of two domains, K candidate boundaries.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from landbridge.core.types import Float64, Int64, Record, Seconds, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import DAY
from landbridge.data.provenance import listed
from landbridge.data.time_units import BEFORE_1990, LATEST_SECOND, remedy_of
from landbridge.data.vocabulary import Vocabulary, folded

if TYPE_CHECKING:
    import polars as pl

Severity = Literal["ok", "note", "warning", "stop"]
SEVERITIES: tuple[Severity, ...] = ("ok", "note", "warning", "stop")

FEW_EVENTS, FEW_ENTITIES = 100, 10  # below: too little data to evaluate a method
COLD_SHARE = 0.5  # above: most users or items have one or two events
BURST_SHARE = 0.5  # above: the order of most events within their user is arbitrary
ARBITRARY = (
    "; their order is taken as unknown (where the table has its rows in the order in which they happened, "
    "say so with ties='file' or --ties file)"
)
LISTED_SHARE = 0.02  # above: duplicate items have enough events to bias every result
SAME_USERS = 0.1  # the least correlation of activity expected between domains of the same users
DIFFERENT_USERS = 0.05  # a correlation surely below this is that of different users
SURE = 3.09  # standard errors, one-sided p = .001
BOUNDARY = 4.5  # standard errors by which an id range must differ: the maximum over all boundaries
UNITS = {  # seconds in a unit, and its zero in seconds since 1970
    "minutes": (60, 0),
    "hours": (3600, 0),
    "days": (DAY, 0),
    "days since 1900, as spreadsheets count them": (DAY, -25_569 * DAY),
}
BOT_EVENTS, BOT_TIMES = 200, 20  # a bot has so many events, and so many times those of the 95th percentile
CATALOGUE = 50  # items from which a share of a catalogue means something
USUAL_SHARE = 0.25  # of a catalogue, below which most users' shares are
SAME_ITEMS, SAME_EVENTS = 0.1, 0.9  # shares of the smaller catalogue: of text ids, and of user and item
SKIPPED_SHARE = 0.01  # above: so many rows were left out that the rest may be something else
PLACEHOLDERS = ("", "nan", "null", "none", "na", "n/a", "-1", "undefined", "unknown")


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    ``severity``: ``ok`` and ``note`` for the record, ``warning``: look before results are trusted, ``stop``:
    the fit would be senseless.
    ``message``: one sentence. ``figures``: the numbers behind it.
    """

    kind: str
    severity: Severity
    domains: tuple[str, ...]
    message: str
    figures: Values = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """The results of all checks, in the order of the checks."""

    findings: tuple[Finding, ...]

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    @property
    def worst(self) -> Severity:
        """The highest severity among the findings; ``ok`` without any."""
        return max((f.severity for f in self.findings), key=SEVERITIES.index, default="ok")

    def at_least(self, severity: Severity) -> Findings:
        """The findings of this severity and above."""
        least = SEVERITIES.index(severity)
        return Findings(tuple(f for f in self.findings if SEVERITIES.index(f.severity) >= least))

    def json_lines(self) -> bytes:
        """One JSON object per finding: kind, severity, domains, message, figures."""
        import orjson

        return b"".join(
            orjson.dumps(
                {
                    "kind": f.kind,
                    "severity": f.severity,
                    "domains": f.domains,
                    "message": f.message,
                    "figures": dict(f.figures),
                },
                option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY,
            )
            for f in self.findings
        )

    def table(self) -> pl.DataFrame:
        """One row per finding: kind, severity, domains (joined by commas), message, figures (JSON)."""
        import orjson
        import polars as pl

        return pl.DataFrame(
            {
                "kind": [f.kind for f in self.findings],
                "severity": [f.severity for f in self.findings],
                "domains": [", ".join(f.domains) for f in self.findings],
                "message": [f.message for f in self.findings],
                "figures": [orjson.dumps(dict(f.figures)).decode() for f in self.findings],
            },
            schema=dict.fromkeys(("kind", "severity", "domains", "message", "figures"), pl.String),
        )


def diagnose(data: MultiDomain) -> Findings:
    """Run every check on ``data``; docs/data-checks.md explains each."""
    checks: tuple[Callable[[MultiDomain], Iterator[Finding]], ...] = (
        _tables, _sizes, _overlaps, _collisions, _cold, _times, _bursts, _bots, _ids, _same_items, _listed,
    )  # fmt: skip
    return Findings(tuple(finding for check in checks for finding in check(data)))


def _tables(data: MultiDomain) -> Iterator[Finding]:
    """Columns that are not used, ids that became one, rows that were left out."""
    origin = data.provenance
    for table in (*origin.tables, *origin.seen):
        used = ", ".join(f"{role} = {name}" for role, name in table.used.items())
        text = f"Columns of {table.where}: {used}"
        text += f"; not used: {listed(table.unused)}." if table.unused else "."
        severity: Severity = "note" if table.unused else "ok"
        yield Finding("columns", severity, table.domains, text, {"unused": list(table.unused)})
    for whose, count in origin.folded.items():
        severity = "note" if count else "ok"
        yield Finding("folded", severity, data.domain_names, origin.folding(whose), {"count": count})
    for table in (*origin.tables, *origin.seen):
        count = sum(row.where == table.where for row in origin.skipped)
        if count:
            severity = "warning" if count > SKIPPED_SHARE * table.rows else "note"
            text = f"Rows of {table.where} left out since they cannot be read: {count:,} of {table.rows:,}"
            text += "." if origin.skipped_to is None else f" (see {origin.skipped_to})."
            yield Finding("skipped", severity, table.domains, text, {"count": count, "rows": table.rows})


def _sizes(data: MultiDomain) -> Iterator[Finding]:
    for name, events in data.domains.items():
        users, items = (int(np.count_nonzero(n)) for n in (events.user_counts, events.item_counts))
        density = len(events) / max(users * items, 1)
        figures = {"users": users, "items": items, "events": len(events), "density": density}
        text = f"{name} has {len(events):,} events of {users:,} users with {items:,} items ({density:.3%})"
        few = len(events) < FEW_EVENTS or min(users, items) < FEW_ENTITIES
        severity: Severity = "stop" if min(users, items) < 2 else "warning" if few else "ok"
        ending = ": too little data to evaluate a method." if few else "."
        ending = ": nothing can be learned from one user or one item." if severity == "stop" else ending
        yield Finding("size", severity, (name,), text + ending, figures)


def _overlaps(data: MultiDomain) -> Iterator[Finding]:
    active_UD = data.activity_UD > 0
    for (i, first), (j, second) in combinations(enumerate(data.domain_names), 2):
        shared = int((active_UD[:, i] & active_UD[:, j]).sum())
        # of the smaller domain: the overlap that a transfer to it can use
        share = shared / max(1, int(active_UD[:, [i, j]].sum(axis=0).min()))
        text = f"{first} and {second} share {shared:,} users, {share:.1%} of the smaller one's."
        if not shared:
            text = f"{first} and {second} share no user: nothing can be transferred between them directly."
        through_items = data.select([first, second]).shares_items
        if not shared and through_items:
            text = f"{first} and {second} share no user: only methods that use shared items connect them."
        severity: Severity = "ok" if shared else "note" if through_items else "warning"
        figures = {"shared": shared, "share": share}
        yield Finding("overlap", severity, (first, second), text, figures)


def _collisions(data: MultiDomain) -> Iterator[Finding]:
    """Whether equal ids are the same users: then activity in two domains is correlated."""
    for (i, first), (j, second) in combinations(enumerate(data.domain_names), 2):
        activity_UD = data.activity_UD[:, [i, j]]
        shared = np.flatnonzero((activity_UD > 0).all(axis=1))
        if (
            len(shared) >= FEW_EVENTS
            and (activity_UD[shared].min(axis=0) < activity_UD[shared].max(axis=0)).all()
        ):
            yield _same_users(data.users, (first, second), shared, np.log(activity_UD[shared]))


def _same_users(users: Vocabulary, pair: tuple[str, ...], shared: Int64, log_S2: Float64) -> Finding:
    r = _correlation(log_S2)
    figures: Record = {
        "shared": len(shared),
        "pearson": r,
        "pearson_at_most": _bound(r, len(shared), SURE),
    }
    figures["spearman"] = _correlation(_ranks(log_S2))
    names = " and ".join(pair)
    cut = _boundary(log_S2)
    if cut is not None:
        low, high = (_correlation(part) for part in (log_S2[:cut], log_S2[cut:]))
        at = users.ids[shared[cut]].item() if not users.is_text else str(users.ids[shared[cut]])
        figures |= {"boundary": at, "pearson_before": low, "pearson_after": high}
        text = (
            f"Activity in {names} is correlated on one side of id {at} only (r = {low:.3f} below, {high:.3f} "
            "from there on): equal ids of one range are probably different users; read them with "
            "users=range(...)."
        )
        return Finding("same users", "stop", pair, text, figures)
    if figures["pearson_at_most"] < SAME_USERS:
        severity: Severity = "stop" if figures["pearson_at_most"] < DIFFERENT_USERS else "warning"
        text = (
            f"Activity of the {len(shared):,} users shared by {names} is hardly correlated (r = {r:.3f}): "
            "check that equal ids are the same users."
        )
        return Finding("same users", severity, pair, text, figures)
    if _bound(r, len(shared), -SURE) <= 0:
        text = f"{len(shared):,} shared users are too few for a verdict on activity in {names} (r = {r:.3f})."
    else:
        text = f"Activity in {names} is correlated (r = {r:.3f})."
    return Finding("same users", "ok", pair, text, figures)


def _boundary(log_S2: Float64) -> int | None:
    """The position, in the order of ids, where the correlation appears or vanishes; None without one.

    It is the split of the shared users whose sides differ most in their mean product of ranks, if one side
    is surely correlated and the other surely not.
    """
    rank_S2 = _ranks(log_S2)
    product_S = np.prod((rank_S2 - rank_S2.mean(axis=0)) / rank_S2.std(axis=0), axis=1)
    size = len(product_S)
    # both sides need enough users for a correlation
    cuts = np.arange(max(FEW_EVENTS, size // 100), size - max(FEW_EVENTS, size // 100))
    if not len(cuts):
        return None
    # cumulative sums give the means of both sides for every cut in one pass
    sum_K = np.cumsum(product_S)[cuts - 1]
    gap_K = sum_K / cuts - (product_S.sum() - sum_K) / (size - cuts)
    # the gap in standard errors, else the most uneven cut would win by chance
    z_K = np.abs(gap_K) * np.sqrt(cuts * (size - cuts) / size) / product_S.std()
    best = int(z_K.argmax())
    sides = (log_S2[: cuts[best]], log_S2[cuts[best] :])
    # one side must be surely correlated, and the other surely below the level of equal users
    least = max(_bound(_correlation(part), len(part), -SURE) for part in sides)
    most = min(_bound(_correlation(part), len(part), SURE) for part in sides)
    return int(cuts[best]) if z_K[best] > BOUNDARY and least > 0 and most < SAME_USERS else None


def _correlation(log_S2: Float64) -> float:
    if (log_S2.std(axis=0) == 0).any():
        return 0.0
    return float(np.asarray(np.corrcoef(log_S2.T))[0, 1])


def _ranks(log_S2: Float64) -> Float64:
    import polars as pl

    # not scipy.stats, whose import takes a second of every check
    return np.stack([pl.Series(log_S).rank().to_numpy() for log_S in log_S2.T], axis=1)


def _bound(r: float, size: int, errors: float) -> float:
    """The correlation ``errors`` standard errors away, by Fisher's transformation."""
    # arctanh is infinite at ±1
    return float(np.tanh(np.arctanh(np.clip(r, -0.999999, 0.999999)) + errors / np.sqrt(size - 3)))


def _cold(data: MultiDomain) -> Iterator[Finding]:
    for name, events in data.domains.items():
        shares = {
            kind: float(np.mean(counts[counts > 0] <= 2)) if len(events) else 0.0
            for kind, counts in (("users", events.user_counts), ("items", events.item_counts))
        }
        text = (
            f"In {name}, {shares['users']:.1%} of users and {shares['items']:.1%} of items "
            "have one or two events."
        )
        yield Finding("cold", "note" if max(shares.values()) > COLD_SHARE else "ok", (name,), text, shares)


def _times(data: MultiDomain) -> Iterator[Finding]:
    timed = [name for name, events in data.domains.items() if events.time is not None]
    for name, events in data.domains.items():
        if events.time is None:
            severity: Severity = "warning" if timed else "ok"
            ending = ", but other domains do" if timed else ""
            like = any(table.time_like for table in data.provenance.tables if name in table.domains)
            severity = "warning" if like else severity
            hint = f": {data.provenance.time_hint(name)}" if severity != "ok" else ""
            yield Finding("time", severity, (name,), f"{name} has no time stamps{ending}{hint}.")
        elif len(events.time):
            yield _time_range(name, events.time)


def _time_range(name: str, time_N: Seconds) -> Finding:
    first, last = time_N.min().item(), time_N.max().item()
    faults = {
        "are all equal": first == last,
        f"are no seconds: {remedy_of(last)}": last >= LATEST_SECOND,
        "lie partly in the future": clock.time() + DAY < last < LATEST_SECOND,
        "lie partly before 1990": first < BEFORE_1990,
    }
    present = [text for text, true in faults.items() if true]
    if 0 < last < BEFORE_1990:
        present += [f"would be recent in {unit}" for unit in _units(first, last)]
    text = " and ".join(present) if present else "are in order"
    figures = {"first": first, "last": last}
    return Finding("time", "warning" if present else "ok", (name,), f"Time stamps of {name} {text}.", figures)


def _units(first: float, last: float) -> list[str]:
    """The units in which all times lie between 1990 and today."""
    now = clock.time() + DAY
    return [
        unit
        for unit, (size, zero) in UNITS.items()
        if first * size + zero >= BEFORE_1990 and last * size + zero <= now
    ]


def _bursts(data: MultiDomain) -> Iterator[Finding]:
    for name, events in data.domains.items():
        if events.time is None or not len(events):
            continue
        order_N = np.lexsort((events.time, events.user_idx))
        same_N = (np.diff(events.user_idx[order_N]) == 0) & (np.diff(events.time[order_N]) == 0)
        # an event shares its time with the one before it or the one after it
        share = float(np.mean(np.append(False, same_N) | np.append(same_N, False)))
        # Dates without a time of day put a day's events at one time: that is no fault of the logging.
        daily = bool(np.all(events.time % DAY == events.time[0] % DAY))
        severity: Severity = "warning" if share > BURST_SHARE and not daily else "ok"
        unit = "day" if daily else "second"
        text = f"In {name}, {share:.1%} of events share their user's {unit} with another event"
        text += f"{ARBITRARY}." if severity != "ok" else "."
        yield Finding("bursts", severity, (name,), text, {"share": share, "whole_days": daily})


def _bots(data: MultiDomain) -> Iterator[Finding]:
    """Users with far more events than others, and users with most of a catalogue."""
    count_U = data.activity_UD.sum(axis=1)
    usual = float(np.quantile(count_U[count_U > 0], 0.95, method="lower")) if count_U.any() else 0.0
    odd = np.flatnonzero(count_U >= max(BOT_EVENTS, BOT_TIMES * usual))
    if len(odd):
        top = odd[count_U[odd].argmax()]
        text = (
            f"Users with over {BOT_TIMES} times the events of most users: {len(odd):,}, user "
            f"{str(data.users.ids[top])!r} has {count_U[top]:,}; bots, tests, or several users under one id."
        )
        yield Finding(
            "bots", "warning", data.domain_names, text, {"users": len(odd), "events": int(count_U[top])}
        )
    for name, events in data.domains.items():
        if events.catalogue < CATALOGUE:
            continue
        counts = events.user_counts
        share, others = counts.max() / events.catalogue, np.quantile(counts[counts > 0], 0.95, method="lower")
        if share > 0.5 and others < USUAL_SHARE * events.catalogue:
            user = str(data.users.ids[counts.argmax()])
            text = f"User {user!r} has {share:.1%} of the items of {name}: a bot, a test, or several users."
            yield Finding("catalogue", "warning", (name,), text, {"share": float(share)})


def _ids(data: MultiDomain) -> Iterator[Finding]:
    for whose, domains, ids in _id_columns(data):
        yield from _missing_ids(whose, domains, ids)
        bare = folded(ids)
        fault = "have blanks around them"
        yield from _odd_ids("warning", fault, whose, domains, ids.filter(ids != ids.str.strip_chars()))
        fault = "differ from another only in case or blanks; --fold-ids makes these one"
        yield from _odd_ids("warning", fault, whose, domains, ids.filter(bare.is_duplicated()))
        one_each = ids.filter(bare.is_first_distinct())
        fault = "differ from another only in leading zeros, inner blanks or how a letter is encoded"
        yield from _odd_ids(
            "warning", fault, whose, domains, one_each.filter(_look(one_each).is_duplicated())
        )


def _id_columns(data: MultiDomain) -> Iterator[tuple[str, tuple[str, ...], pl.Series]]:
    """Whose ids, of which domains, and the ids as text."""
    import polars as pl

    vocabularies = [("users", data.domain_names, data.users)]
    vocabularies += [(f"items of {name}", (name,), vocabulary) for name, vocabulary in data.items.items()]
    for whose, domains, vocabulary in vocabularies:
        raw = pl.Series(vocabulary.ids.tolist(), dtype=pl.String if vocabulary.is_text else pl.Int64)
        yield whose, domains, raw.cast(pl.String)


def _missing_ids(whose: str, domains: tuple[str, ...], ids: pl.Series) -> Iterator[Finding]:
    odd = ids.filter(folded(ids).is_in(PLACEHOLDERS))
    return _odd_ids("stop", "stand for a missing id", whose, domains, odd)


def _odd_ids(
    severity: Severity, fault: str, whose: str, domains: tuple[str, ...], odd: pl.Series
) -> Iterator[Finding]:
    """A finding about the odd ids, if there are any."""
    if len(odd):
        shown = ", ".join(map(repr, odd.head(3).to_list()))
        text = f"{len(odd):,} ids of the {whose} {fault} (such as {shown})."
        yield Finding("ids", severity, domains, text, {"count": len(odd)})


def _look(ids: pl.Series) -> pl.Series:
    """What a reader sees of an id: without blanks, leading zeros, and in one encoding of each letter."""
    plain = folded(ids).str.normalize("NFKC").str.replace_all(r"\s+", "")
    return plain.str.replace(r"^0+(\d)", "$1").str.replace(r"^(\d+)\.0$", "$1")


def _same_items(data: MultiDomain) -> Iterator[Finding]:
    """Catalogues with equal item ids, which count as different items unless they are shared, and tables that
    are given twice."""
    for first, second in combinations(data.domain_names, 2):
        one, other = data.items[first], data.items[second]
        if one.is_text != other.is_text:
            continue
        place_I = other.index(one.ids)
        shared, smaller = int((place_I >= 0).sum()), min(len(one), len(other))
        if not shared:
            continue
        events = data[first]
        there_N = place_I[events.item_idx] >= 0
        both = int(data[second].contains(events.user_idx[there_N], place_I[events.item_idx[there_N]]).sum())
        same = both / max(min(len(events), len(data[second])), 1)
        figures = {"items": shared, "share": shared / smaller, "same_events": same}
        text = f"{first} and {second} share {shared:,} item ids, {shared / smaller:.1%} of the smaller one's"
        severity: Severity = "warning" if one.is_text and shared > SAME_ITEMS * smaller else "note"
        ending = ", and count as different items; if they are the same products, say --items shared."
        if data.select([first, second]).shares_items:
            severity, ending = "ok", "; which items are shared was given."
        if same > SAME_EVENTS:
            severity, ending = "stop", f", and {same:.1%} of its events: one table is given twice."
        yield Finding("item ids", severity, (first, second), text + ending, figures)


def _listed(data: MultiDomain) -> Iterator[Finding]:
    from landbridge.data.cross_listed import cross_listed

    for (first, second), duplicates in cross_listed(data).items():
        shares = [
            float(data[name].item_counts[np.unique(items)].sum() / max(len(data[name]), 1))
            for name, items in ((first, duplicates.first_item), (second, duplicates.second_item))
        ]
        text = (
            f"{len(duplicates):,} pairs of items of {first} and {second} have nearly the same users: "
            f"{shares[0]:.1%} and {shares[1]:.1%} of events."
        )
        figures = {"pairs": len(duplicates), "share_first": shares[0], "share_second": shares[1]}
        severity: Severity = "warning" if max(shares) > LISTED_SHARE else "ok"
        yield Finding("cross-listed", severity, (first, second), text, figures)
