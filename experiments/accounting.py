"""The accountant against values that others have published, and masks against what is claimed of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.stats import chisquare

from landbridge.core.types import Record
from landbridge.federation.agreement import SECRET_BYTES, public_key
from landbridge.federation.masks import FixedPoint, Group, MaskingParty, Unsigned, unmasked_sum
from landbridge.models.als.privacy import Privacy, delta_at, strength_at

PUBLISHED = "published: tests of Google's dp-accounting"
COMPUTED = "computed with dp-accounting 0.6, `get_{}_gaussian`"
PARTIES, SHAPE = ("books", "food", "games", "movies", "toys"), (500, 64)
ABOUT = (
    "One release of a normal mechanism, and a fit of several. The guarantee is exact (Balle & Wang, ICML "
    "2018; Dong, Roth & Su, JRSS B 2022), so the last value is below the 1.624 of Rényi accounting. DPALS "
    "(Chien et al., ICML 2021) is accounted for in that way, for two noisy sums of a different step: its own "
    "figures do not apply here."
)


def accountant() -> list[Record]:
    """A row for each value of others."""
    rows = [
        (
            f"δ of noise {noise}, sensitivity {size}, ε {epsilon}",
            PUBLISHED,
            value,
            delta_at(epsilon, size / noise),
        )
        for noise, size, epsilon, value in (
            (1, 1, 1, 0.12693674),
            (1, 3, 1, 0.78760074),
            (6, 6, 2, 0.02092364),
        )
    ]
    for epsilon, delta, value in ((1, 1e-6, 4.224678889326822), (10, 1e-6, 0.5410868318184269)):
        label = f"least noise for ε {epsilon}, δ {delta:g}, sensitivity 1"
        rows.append((label, COMPUTED.format("sigma"), value, 1 / strength_at(epsilon, delta)))
    # a row moves by twice its bound
    composed = Privacy(1.0, 20.0, 1e-6).guarantee(12).epsilon
    label = "ε of 12 rounds with noise 10, δ 1e-06, sensitivity 1"
    rows.append((label, COMPUTED.format("epsilon"), 1.5097710137661609, composed))
    return [
        {"value": label, "source": source, "there": f"{value:.8f}", "here": f"{own:.8f}"}
        for label, source, value, own in rows
    ]


def masks(seed: int = 15) -> list[Record]:
    """Sums of masked messages for every set of parties that may be left, and one message alone."""
    rng, fixed, group = np.random.default_rng(seed), FixedPoint(), Group(PARTIES, "check:0")
    keys = {name: rng.bytes(SECRET_BYTES) for name in PARTIES}
    public = {name: public_key(key) for name, key in keys.items()}
    parties = {name: MaskingParty(group, name, keys[name], public) for name in PARTIES}
    sent = {name: rng.normal(size=SHAPE).astype(np.float32) for name in PARTIES}
    masked = {name: party.masked(sent[name], fixed) for name, party in parties.items()}
    shares = {name: party.sealed_shares() for name, party in parties.items()}
    exact = []
    for size in range(group.threshold, len(PARTIES) + 1):
        for left in combinations(PARTIES, size):
            revealed = {
                name: parties[name].reveal(
                    {other: shares[other][name] for other in left if other != name}, left
                )
                for name in left
            }
            total = np.sum([masked[name] for name in left], axis=0, dtype=fixed.dtype)
            plain = np.sum([fixed.encode(sent[name]) for name in left], axis=0, dtype=fixed.dtype)
            exact.append(np.array_equal(unmasked_sum(group, total, left, revealed), plain))
    p_masked, p_plain = (_uniform(each) for each in (masked["books"], fixed.encode(sent["books"])))
    return [
        {
            "claim": f"masks cancel exactly, whichever of {len(PARTIES)} parties are left",
            "measured": f"{sum(exact)} of {len(exact)} sets of {group.threshold} or more",
        },
        {
            "claim": "the bytes of one masked message are uniform (χ²)",
            "measured": f"p = {p_masked:.2f}; without masks p = {p_plain:.0e}",
        },
    ]


def _uniform(message_UF: Unsigned) -> float:
    counts = np.bincount(np.frombuffer(message_UF.tobytes(), np.uint8), minlength=256)
    return float(chisquare(counts).pvalue)
