"""Secure aggregation: masks cancel exactly, hide a single message, and a lost party changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from landbridge.core.errors import DataError, SettingsError
from landbridge.federation.agreement import agreed, derived, draw_key, public_key
from landbridge.federation.masks import (
    PRIME,
    FixedPoint,
    Group,
    MaskingParty,
    Revealed,
    Unsigned,
    _shares_of,
    interpolated,
    key_stream,
    shamir_shares,
    unmasked_sum,
)

FIXED = FixedPoint()
NAMES = ("books", "films", "games", "music", "toys")


class Round:
    """All parties of one round in one process."""

    def __init__(self, group: Group, messages: Mapping[str, np.ndarray], fixed: FixedPoint = FIXED) -> None:
        self.group, self.messages, self.fixed = group, messages, fixed
        self.keys = {name: draw_key() for name in group.names}
        self.public = {name: public_key(own) for name, own in self.keys.items()}
        self.parties = {name: MaskingParty(group, name, own, self.public) for name, own in self.keys.items()}
        sealed = {name: party.sealed_shares() for name, party in self.parties.items()}
        self.received = {
            name: {other: sealed[other][name] for other in group.names if other != name}
            for name in group.names
        }

    def masked(self, names: Collection[str]) -> dict[str, Unsigned]:
        return {name: self.parties[name].masked(self.messages[name], self.fixed) for name in names}

    def revealed(self, survivors: Collection[str], by: Collection[str]) -> dict[str, Revealed]:
        return {name: self.parties[name].reveal(self.received[name], survivors) for name in by}

    def sum_of(self, survivors: Collection[str]) -> np.ndarray:
        return self.sum_by(survivors, self.revealed(survivors, survivors))

    def sum_by(self, survivors: Collection[str], revealed: Mapping[str, Revealed]) -> np.ndarray:
        masked = sum(self.masked(survivors).values(), np.zeros((), self.fixed.dtype))
        return self.fixed.decode(unmasked_sum(self.group, masked, survivors, revealed))

    def self_mask(self, name: str, shape: tuple[int, int]) -> Unsigned:
        return key_stream(derived(self.keys[name], self.group.context("self", name)), shape, self.fixed.dtype)


def messages(names: Collection[str], shape: tuple[int, int] = (7, 3), seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name in names}


def steps(sent: Mapping[str, np.ndarray], names: Collection[str], fixed: FixedPoint = FIXED) -> np.ndarray:
    """The sum that fixed-point numbers have without any mask."""
    return sum(np.rint(sent[name].astype(np.float64) * 2**fixed.fraction_bits) for name in names) * fixed.step


@pytest.mark.parametrize("n_parties", [3, 4, 5])
@pytest.mark.parametrize("fixed", [FIXED, FixedPoint(32, 20, 2.0**8)], ids=["64 bits", "32 bits"])
def test_the_sum_of_all_is_exact(n_parties: int, fixed: FixedPoint) -> None:
    names = NAMES[:n_parties]
    sent = messages(names)
    total = Round(Group(names, "1"), sent, fixed).sum_of(names)
    np.testing.assert_array_equal(total, steps(sent, names, fixed))
    exact = sum(array.astype(np.float64) for array in sent.values())
    np.testing.assert_allclose(total, exact, rtol=0, atol=n_parties * fixed.step / 2)


def test_pairwise_masks_cancel_exactly() -> None:
    names, shape = NAMES[:3], (5, 2)
    each = Round(Group(names, "1"), {name: np.zeros(shape, np.float32) for name in names})
    masked = each.masked(names)
    own = [each.self_mask(name, shape) for name in names]
    # without the self masks, the rest of Eq. (1) is the pairwise masks alone
    np.testing.assert_array_equal(sum(masked.values()), sum(own))
    for name in names:
        assert (masked[name] - own[names.index(name)] != 0).all()


@pytest.mark.parametrize("lost", [names for n in (1, 2) for names in combinations(NAMES, n)])
def test_any_lost_parties_leave_the_sum_of_the_others(lost: tuple[str, ...]) -> None:
    sent = messages(NAMES)
    left = [name for name in NAMES if name not in lost]
    np.testing.assert_array_equal(Round(Group(NAMES, "1"), sent).sum_of(left), steps(sent, left))


def test_a_party_may_be_lost_after_its_message() -> None:
    sent = messages(NAMES)
    each = Round(Group(NAMES, "1"), sent)
    np.testing.assert_array_equal(each.sum_by(NAMES, each.revealed(NAMES, NAMES[1:4])), steps(sent, NAMES))
    left = NAMES[:4]  # and another one before it
    np.testing.assert_array_equal(each.sum_by(left, each.revealed(left, NAMES[1:4])), steps(sent, left))


def test_fewer_than_the_threshold_are_refused() -> None:
    each = Round(Group(NAMES, "1"), messages(NAMES))
    assert each.group.threshold == 3
    with pytest.raises(DataError, match="2 of 5 parties are left"):
        each.sum_of(NAMES[:2])
    with pytest.raises(DataError, match="2 of 5"):
        each.sum_by(NAMES, each.revealed(NAMES, NAMES[:2]))


@pytest.mark.parametrize("secret", [0, 1, PRIME - 1])
def test_threshold_shares_give_the_secret_and_fewer_do_not(secret: int) -> None:
    shares = shamir_shares(secret, [3**300, PRIME - 7**150], 5)
    for enough in combinations(shares, 3):
        assert interpolated({x: shares[x] for x in enough}) == secret
    for few in combinations(shares, 2):
        assert interpolated({x: shares[x] for x in few}) != secret


def test_shamir_of_a_published_example() -> None:
    # 1234 + 166 x + 94 x², the example of Wikipedia's article on Shamir's secret sharing
    assert shamir_shares(1234, [166, 94], 3) == {1: 1494, 2: 1942, 3: 2578}
    assert interpolated({2: 1942, 4: 3402, 5: 4414}) == 1234
    assert interpolated({1: 1494, 2: 1942, 3: 2578}, 6) == 5614


def test_the_key_stream_is_that_of_rfc_8439() -> None:
    # appendix A.1, test vector 1: key and nonce of zeros, block 0
    block = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    assert key_stream(bytes(32), (4, 2), np.dtype("<u8")).tobytes() == block
    assert key_stream(bytes(32), (16,), np.dtype("<u4")).tobytes() == block


def test_a_single_masked_row_is_uniform() -> None:
    # a constant message: only the masks vary
    sent = {name: np.ones((400, 50), np.float32) for name in NAMES[:3]}
    masked = Round(Group(NAMES[:3], "1"), sent).masked(["books"])["books"]
    counts = np.bincount(masked.view(np.uint8).ravel(), minlength=256)
    assert chisquare(counts).pvalue > 1e-6
    # and it has nothing in common with the message of the same values, bit by bit
    bits = np.unpackbits((masked ^ FIXED.encode(sent["books"])).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 6 * 0.5 / np.sqrt(len(bits))


def test_masks_differ_by_round_party_and_draw() -> None:
    sent = messages(NAMES[:3])
    first, second = (Round(Group(NAMES[:3], number), sent) for number in ("1", "2"))
    assert (first.masked(["books"])["books"] != second.masked(["books"])["books"]).all()
    # the same secrets in another round: only the context differs
    shared = agreed(first.keys["books"], first.public["films"])
    a, b = (derived(shared, Group(NAMES[:3], number).context("pair", "books", "films")) for number in "12")
    assert a != b


def test_a_killed_party_goes_on_with_its_secrets() -> None:
    sent = messages(NAMES[:3])
    each = Round(Group(NAMES[:3], "1"), sent)
    before = each.masked(["books"])["books"]
    again = MaskingParty(each.group, "books", each.keys["books"], each.public)
    np.testing.assert_array_equal(again.masked(sent["books"], FIXED), before)


def slow_masked(each: Round, name: str) -> list[int]:
    """Eq. (3) number by number, in whole numbers of any size."""
    group, bits = each.group, each.fixed.bits
    values = [round(float(value) * 2**each.fixed.fraction_bits) for value in each.messages[name].ravel()]

    def add(key: bytes, sign: int) -> None:
        stream = key_stream(key, (len(values) * bits // 8,), np.dtype("u1")).tobytes()
        for place in range(len(values)):
            word = stream[place * bits // 8 : (place + 1) * bits // 8]
            values[place] = (values[place] + sign * int.from_bytes(word, "little")) % 2**bits

    add(derived(each.keys[name], group.context("self", name)), 1)
    for other in group.names:
        if other != name:
            shared = agreed(each.keys[name], each.public[other])
            pair = sorted((name, other))
            add(derived(shared, group.context("pair", *pair)), 1 if other > name else -1)
    return values


@pytest.mark.parametrize("fixed", [FIXED, FixedPoint(32, 16, 2.0**8)], ids=["64 bits", "32 bits"])
def test_masked_is_eq_3(fixed: FixedPoint) -> None:
    each = Round(Group(NAMES[:4], "1"), messages(NAMES[:4]), fixed)
    for name, array in each.masked(NAMES[:4]).items():
        assert array.ravel().tolist() == slow_masked(each, name)


@settings(max_examples=25, deadline=None)
@given(
    st.data(),
    st.integers(3, 6),
    st.integers(0, 4),
    st.integers(1, 3),
    st.floats(0, 2.0**20, width=32),
)
def test_any_group_any_loss(data: st.DataObject, n: int, rows: int, factors: int, size: float) -> None:
    names = [f"party {place}" for place in range(n)]
    threshold = data.draw(st.integers(3, n))
    left = data.draw(st.lists(st.sampled_from(names), min_size=threshold, max_size=n, unique=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sent = {name: (size * rng.uniform(-1, 1, (rows, factors))).astype(np.float32) for name in names}
    total = Round(Group(tuple(names), "1", threshold), sent).sum_of(left)
    np.testing.assert_array_equal(total, steps(sent, left))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-(2.0**20), 2.0**20, width=32), min_size=1, max_size=5))
def test_rounding_is_half_a_step_at_most(values: list[float]) -> None:
    array = np.array(values, np.float32)
    assert np.abs(FIXED.decode(FIXED.encode(array)) - array).max() <= FIXED.step / 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**21, -(2.0**21)])
def test_values_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="not finite or beyond"):
        FIXED.encode(np.array([[0.0, value]], np.float32))


def test_the_largest_sums_do_not_overflow() -> None:
    fixed = FixedPoint(32, 20, 2.0**8)
    encoded = fixed.encode(np.array([fixed.limit, -fixed.limit], np.float32))
    assert fixed.most_parties == 7
    total = fixed.decode(np.sum([encoded] * 7, axis=0, dtype=fixed.dtype))
    np.testing.assert_array_equal(total, [7 * fixed.limit, -7 * fixed.limit])
    with pytest.raises(SettingsError, match="overflow 32 bits"):
        FixedPoint(32, 22, 2.0**8)
    with pytest.raises(SettingsError, match="32 or 64"):
        FixedPoint(16)
    names = tuple("abcdefgh")
    with pytest.raises(SettingsError, match="at most 7"):
        Round(Group(names, "1"), messages(names), fixed).masked(names)


def test_two_parties_are_refused_unless_understood() -> None:
    with pytest.raises(SettingsError, match="the sum less its own"):
        Group(NAMES[:2], "1")
    sent = messages(NAMES[:2])
    group = Group(NAMES[:2], "1", two_party_leak_understood=True)
    total = Round(group, sent).sum_of(NAMES[:2])
    # the leak that is refused: one party's row is the sum less the other's
    np.testing.assert_allclose(total - sent["books"], sent["films"], atol=1e-6)


@pytest.mark.parametrize("threshold", [1, 2, 6])
def test_thresholds_that_reveal_or_cannot_be_met_are_refused(threshold: int) -> None:
    with pytest.raises(SettingsError, match="from 3 to 5"):
        Group(NAMES, "1", threshold)


def test_names_must_differ() -> None:
    with pytest.raises(SettingsError, match="must differ"):
        Group(("books", "books", "films"), "1")
    with pytest.raises(DataError, match="no party"):
        Group(NAMES, "1").index("cars")


def test_no_pair_of_survivors_and_nothing_of_a_lost_party_is_revealed() -> None:
    each = Round(Group(NAMES, "1"), messages(NAMES))
    for own in each.revealed(NAMES[:3], NAMES[:3]).values():
        assert set(own) == set(NAMES[:3])
        for sender, shares in own.items():
            assert set(shares) == {sender, *NAMES[3:]}


def test_altered_shares_are_refused() -> None:
    each = Round(Group(NAMES, "1"), messages(NAMES))
    sealed = each.received["books"]["films"]
    each.received["books"]["films"] = bytes([sealed[0] ^ 1]) + sealed[1:]
    with pytest.raises(DataError, match="altered"):
        each.revealed(NAMES, ["books"])
    # shares on their way to another party open for none but that one
    each.received["games"]["films"] = each.received["music"]["films"]
    with pytest.raises(DataError, match="altered"):
        each.revealed(NAMES, ["games"])


def test_wrong_shares_are_noticed() -> None:
    each = Round(Group(NAMES, "1"), messages(NAMES))
    left = NAMES[:4]
    revealed = each.revealed(left, left)
    for about in ("films", "toys"):  # its own seed, and the one with a lost party
        films = {**revealed["books"]["films"], about: revealed["books"]["films"][about] + 1}
        with pytest.raises(DataError, match="'films' contradict"):
            each.sum_by(left, {**revealed, "books": {**revealed["books"], "films": films}})


def test_keys_of_small_order_and_missing_ones_are_refused() -> None:
    each = Round(Group(NAMES[:3], "1"), messages(NAMES[:3]))
    with pytest.raises(DataError, match="no usable X25519 key"):
        MaskingParty(each.group, "books", each.keys["books"], {**each.public, "films": bytes(32)})
    with pytest.raises(DataError, match="no key of 'games'"):
        MaskingParty(each.group, "books", each.keys["books"], {name: each.public[name] for name in NAMES[:2]})


def test_a_party_made_again_seals_and_masks_the_same() -> None:
    """Other shares under the same key and nonce would show what they hide."""
    sent = messages(NAMES)
    each = Round(Group(NAMES, "1"), sent)
    again = MaskingParty(each.group, "books", each.keys["books"], each.public)
    assert again.sealed_shares() == each.parties["books"].sealed_shares()
    np.testing.assert_array_equal(again.masked(sent["books"], FIXED), each.masked(["books"])["books"])
    # half of the shares from before the kill, half from after it
    sealed = again.sealed_shares()
    for name in NAMES[1:3]:
        each.received[name]["books"] = sealed[name]
    left = NAMES[1:]
    np.testing.assert_array_equal(each.sum_of(left), steps(sent, left))


def test_polynomials_differ_by_round_seed_and_party() -> None:
    one, other, seed = draw_key(), draw_key(), draw_key()
    first, second = Group(NAMES, "1"), Group(NAMES, "2")
    shares = [
        _shares_of(group, key, about, seed)
        for group, key, about in (
            (first, one, "books"),
            (second, one, "books"),
            (first, other, "books"),
            (first, one, "films"),
        )
    ]
    slopes = [(own[name] - int.from_bytes(seed)) % PRIME for own in shares for name in NAMES]
    assert len(set(slopes)) == len(slopes)
    # as wide as the prime: every coefficient takes all its bits
    assert max(slopes) > PRIME // 4


def test_seeds_differ_by_round_and_party() -> None:
    keys = {name: draw_key() for name in NAMES[:3]}
    public = {name: public_key(key) for name, key in keys.items()}
    seeds = {
        seed
        for number in "12"
        for name in ("books", "films")
        for seed in MaskingParty(Group(NAMES[:3], number), name, keys[name], public)._seeds.values()
    }
    assert len(seeds) == 2 * 5  # two own ones, and one of each of the three pairs
