"""Proposals of item links, to be reviewed before use: pairs of items of two domains that may be one product.

Titles are alike by the cosine of their letters in threes, g, weighted by how rare they are,

    w_g = ln((1 + N) / n_g),   s_ij = Σ_{g∈i∩j} w_g² / (‖w_i‖ ‖w_j‖)                                   (1)

with n_g of N titles that have g. Numbers count as names do: where each of two titles has a number that the
other lacks (years, parts of a series), s_ij is halved. Only pairs that share one of the rarest words of both
are looked at. Where domains share users, buyers are alike by the cosine of these users' columns,
without what chance makes of it and shrunk where there are few,

    c_ij = max(0, |U_i ∩ U_j| - |U_i| |U_j| / |U|) / (√(|U_i| |U_j|) + h)                              (2)

with U the shared users and h = 5, of pairs that :func:`~landbridge.data.cross_listed.cross_listed` finds.
Either can be a pair's reason:

    confidence_ij = 1 - (1 - s_ij) (1 - c_ij)                                                          (3)

A pair is proposed where its s + c is the largest of both its items', and no other of theirs is as large; of
proposals that would make two items of a domain one product, the less sure are left out.

Letters: T titles, W words, P pairs, I items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from landbridge.core.types import Bool, Float64, Int64
from landbridge.data.cross_listed import cross_listed
from landbridge.data.dataset import MultiDomain
from landbridge.data.products import starts

if TYPE_CHECKING:
    import polars as pl

RAREST = 4  # words of a title by which others are looked up
COMMON = 50  # titles of a domain with a word from which on nothing is looked up by it
LEAST = 0.5  # confidence of a proposal
SURELY = 0.8  # confidence from which hardly any proposal is wrong
SHRINKAGE = 5.0  # h
BUYERS, MIN_USERS = 0.3, 3  # least Jaccard index and number of common users of pairs by buyers
BLOCK = 1024  # titles whose pairs are looked up at once
SURE = 2.0  # of links that are given: above any confidence


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of items of two domains, (P,), by how alike their titles and buyers are."""

    first_P: Int64
    second_P: Int64
    titles_P: Float64
    buyers_P: Float64

    @classmethod
    def merged(cls, parts: list[_Pairs], width: int) -> _Pairs:
        """The pairs of all parts, each once; ``width``: items of the second domain."""
        key_N = np.concatenate([part.first_P * width + part.second_P for part in parts])
        key_P, of_N = np.unique(key_N, return_inverse=True)
        alike_2P = np.zeros((2, len(key_P)))
        for alike_P, values in zip(alike_2P, ("titles_P", "buyers_P"), strict=True):
            np.maximum.at(alike_P, of_N, np.concatenate([getattr(part, values) for part in parts]))
        return cls(key_P // width, key_P % width, *alike_2P)

    @property
    def confidence_P(self) -> Float64:
        """Eq. (3)."""
        return np.asarray(np.round(1 - (1 - self.titles_P) * (1 - self.buyers_P), 6))

    def take(self, mask_P: Bool) -> _Pairs:
        """The pairs where the mask is true."""
        return _Pairs(
            self.first_P[mask_P], self.second_P[mask_P], self.titles_P[mask_P], self.buyers_P[mask_P]
        )


def propose_links(data: MultiDomain) -> pl.DataFrame:
    """Links between items that are not linked yet, the surest first: domain_a, item_a, domain_b, item_b,
    confidence, titles and buyers (how alike they are), title_a, title_b. A table as ``read(item_links=...)``
    takes it."""
    import polars as pl

    start_of, tables = starts(data.items), []
    for a, b in combinations(data.domain_names, 2):
        pairs = _best(_unlinked(data, a, b, _alike(data, a, b)))
        tables.append(
            pl.DataFrame(
                {
                    "domain_a": pl.repeat(a, len(pairs.first_P), eager=True, dtype=pl.String),
                    "item_a": _texts(data.items[a].ids, pairs.first_P),
                    "domain_b": pl.repeat(b, len(pairs.first_P), eager=True, dtype=pl.String),
                    "item_b": _texts(data.items[b].ids, pairs.second_P),
                    "confidence": pairs.confidence_P,
                    "titles": pairs.titles_P,
                    "buyers": pairs.buyers_P,
                    "title_a": _titles(data, a, pairs.first_P),
                    "title_b": _titles(data, b, pairs.second_P),
                    "one": start_of[a] + pairs.first_P,
                    "two": start_of[b] + pairs.second_P,
                }
            )
        )
    links = pl.concat(tables) if tables else pl.DataFrame({"confidence": [], "one": [], "two": []})
    links = links.sort("confidence", descending=True, maintain_order=True)
    kept = _without_conflicts(data, links.select("one", "two").to_numpy(), links["confidence"].to_numpy())
    return links.filter(pl.Series(kept)).drop("one", "two")


def _alike(data: MultiDomain, a: str, b: str) -> _Pairs:
    """Pairs of at least the least confidence."""
    parts = [*_by_titles(data, a, b), _by_buyers(data, a, b)]
    pairs = _Pairs.merged(parts, len(data.items[b]))
    return pairs.take(pairs.confidence_P >= LEAST)


def _by_buyers(data: MultiDomain, a: str, b: str) -> _Pairs:
    """Eq. (2) over the users of both domains."""
    both = data.select([a, b])
    n_users = max(int(both.shared_U.sum()), 1)
    tables = {name: events.take(both.shared_U[events.user_idx]) for name, events in both.domains.items()}
    both = replace(both, domains=tables)
    found = cross_listed(both, jaccard=BUYERS, min_users=MIN_USERS)[a, b]
    users_P = both[a].item_counts[found.first_item] * both[b].item_counts[found.second_item]
    above_P = np.maximum(found.common - users_P / n_users, 0)
    alike_P = above_P / (np.sqrt(users_P) + SHRINKAGE)
    return _Pairs(
        found.first_item.astype(np.int64), found.second_item.astype(np.int64), np.zeros(len(found)), alike_P
    )


def _by_titles(data: MultiDomain, a: str, b: str) -> Iterator[_Pairs]:
    """Eq. (1) of the pairs that share a rare word, a block of titles of ``a`` at a time."""
    if a not in data.titles or b not in data.titles:
        return
    one, two = (_Words.of(data.titles[name].tolist()) for name in (a, b))
    words_W = np.union1d(one.words_W, two.words_W)
    rare = [side.rarest(words_W, one, two) for side in (one, two)]
    grams = _weighted([one.plain_T, two.plain_T])
    numbers = [side.matrix(words_W, side.is_number_N) for side in (one, two)]
    for start in range(0, len(one.plain_T), BLOCK):
        block = slice(start, start + BLOCK)
        first_P, second_P = (rare[0][block] @ rare[1].T).nonzero()
        first_P = first_P.astype(np.int64) + start
        second_P = second_P.astype(np.int64)
        cosine_P = _dots(grams[0], first_P, grams[1], second_P)
        common_P = _dots(numbers[0], first_P, numbers[1], second_P)
        least_P = np.minimum(numbers[0].sum(axis=1)[first_P], numbers[1].sum(axis=1)[second_P])
        titles_P = np.where(common_P < least_P, cosine_P / 2, cosine_P)
        yield _Pairs(first_P, second_P, titles_P, np.zeros(len(first_P)))


@dataclass(frozen=True, eq=False)
class _Words:
    """The plain titles of a domain, (T,), and their words, (N,): of which title, and which number of a word
    among ``words_W``."""

    plain_T: pl.Series
    words_W: Any
    title_N: Int64
    word_N: Int64

    @classmethod
    def of(cls, titles: list[str]) -> _Words:
        """Titles without case, accents, signs and the order of their words' articles."""
        import polars as pl

        plain_T = plain(pl.Series(titles, dtype=pl.String))
        words = pl.DataFrame({"word": plain_T.str.split(" ")}).with_row_index("title").explode("word")
        words = words.filter(pl.col("word") != "").unique(maintain_order=True)
        words_W, word_N = np.unique(words["word"].to_numpy().astype(str), return_inverse=True)
        return cls(plain_T, words_W, words["title"].to_numpy().astype(np.int64), word_N)

    @property
    def is_number_N(self) -> Bool:
        """Which words are numbers."""
        return np.asarray(np.char.isdigit(self.words_W)[self.word_N])

    def counts(self, words_W: Any) -> Int64:
        """How many titles have each of ``words_W``."""
        return np.bincount(np.searchsorted(words_W, self.words_W)[self.word_N], minlength=len(words_W))

    def matrix(self, words_W: Any, mask_N: Bool) -> Any:
        """The chosen words of every title as a sparse matrix (T, W) of ones."""
        from scipy.sparse import csr_array

        column_N = np.searchsorted(words_W, self.words_W)[self.word_N][mask_N]
        ones = np.ones(len(column_N))
        return csr_array((ones, (self.title_N[mask_N], column_N)), (len(self.plain_T), len(words_W)))

    def rarest(self, words_W: Any, one: _Words, two: _Words) -> Any:
        """The rarest words of every title that both sides have, as :meth:`matrix`."""
        count_W, other_W = one.counts(words_W), two.counts(words_W)
        column_N = np.searchsorted(words_W, self.words_W)[self.word_N]
        both_N = (np.minimum(count_W, other_W) > 0)[column_N]
        useful_N = both_N & (np.maximum(count_W, other_W) <= COMMON)[column_N]
        order_N = np.lexsort((column_N, (count_W + other_W)[column_N], ~useful_N, self.title_N))
        place_N = np.empty(len(order_N), np.int64)
        first_T = np.searchsorted(self.title_N[order_N], np.arange(len(self.plain_T)))
        place_N[order_N] = np.arange(len(order_N)) - first_T[self.title_N[order_N]]
        return self.matrix(words_W, useful_N & (place_N < RAREST))


def plain(titles: pl.Series) -> pl.Series:
    """Titles in lower case, without accents and signs, words apart by one blank; an article behind a comma
    stands in front."""
    text = titles.fill_null("").str.normalize("NFKD").str.replace_all(r"\p{M}", "").str.to_lowercase()
    text = text.str.replace(r"^(.*), (the|a|an|der|die|das|le|la|les|el|il)\b", "$2 $1")
    return text.str.replace_all(r"['’]", "").str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()


def _weighted(sides: list[pl.Series]) -> list[Any]:
    """The letters in threes of the titles of both sides as sparse matrices of rows of length 1, Eq. (1)."""
    import polars as pl
    from scipy.sparse import csr_array

    grams = pl.DataFrame({"title": pl.concat(sides)}).with_row_index("row")
    padded = pl.format(" {} ", "title")
    threes = [padded.str.extract_all(r"(?s)...").list.drop_nulls()]
    threes += [padded.str.slice(start).str.extract_all(r"(?s)...") for start in (1, 2)]
    grams = grams.select("row", gram=pl.concat_list(threes)).explode("gram").drop_nulls().unique()
    number_N = grams["gram"].rank("dense").to_numpy().astype(np.int64) - 1
    row_N, n_rows = grams["row"].to_numpy().astype(np.int64), sum(map(len, sides))
    weight_N = np.log((1 + n_rows) / np.bincount(number_N)[number_N])
    norm_T = np.sqrt(np.bincount(row_N, weight_N**2, minlength=n_rows))
    weight_N = weight_N / norm_T[row_N]
    matrix = csr_array((weight_N, (row_N, number_N)), (n_rows, int(number_N.max(initial=-1)) + 1))
    return [matrix[: len(sides[0])], matrix[len(sides[0]) :]]


def _dots(one: Any, first_P: Int64, two: Any, second_P: Int64) -> Float64:
    """The products of rows of two sparse matrices, (P,)."""
    return np.asarray(one[first_P].multiply(two[second_P]).sum(axis=1), np.float64).ravel()


def _unlinked(data: MultiDomain, a: str, b: str, pairs: _Pairs) -> _Pairs:
    """The pairs of items neither of which has a product of the other domain already."""
    if data.products is None:
        return pairs
    of_a, of_b = (data.products.product_I[name] for name in (a, b))
    free_P = ~np.isin(of_a[pairs.first_P], of_b) & ~np.isin(of_b[pairs.second_P], of_a)
    return pairs.take(free_P)


def _best(pairs: _Pairs) -> _Pairs:
    """The pairs that are the only best of both their items."""
    best_P = np.ones(len(pairs.first_P), bool)
    # confidence cannot say more of two equal titles; rounded, so that equal reasons are equal
    alike_P = np.round(pairs.titles_P + pairs.buyers_P, 6)
    for item_P in (pairs.first_P, pairs.second_P):
        top_I = np.zeros(int(item_P.max(initial=-1)) + 1)
        np.maximum.at(top_I, item_P, alike_P)
        is_top_P = alike_P == top_I[item_P]
        count_I = np.bincount(item_P[is_top_P], minlength=len(top_I))
        best_P &= is_top_P & (count_I[item_P] == 1)
    return pairs.take(best_P)


def _without_conflicts(data: MultiDomain, link_L2: Int64, confidence_L: Float64) -> Bool:
    """Which links stay, (L,): of a product with two items of a domain the least sure goes, until there is
    none."""
    given_L2 = _given(data)
    every_L2 = np.concatenate([link_L2.reshape(-1, 2), given_L2]).astype(np.int64)
    sure_L = np.concatenate([confidence_L, np.full(len(given_L2), SURE)])
    domain_N = np.repeat(np.arange(len(data.items)), [len(items) for items in data.items.values()])
    kept_L = np.ones(len(every_L2), bool)
    while len(conflict_L := _conflicts(every_L2, kept_L, domain_N)):
        # one link of each product at a time: without it the others may agree
        product_M, link_M = conflict_L[:, 0], conflict_L[:, 1]
        order_M = np.lexsort((link_M, sure_L[link_M], product_M))
        first_M = np.append(True, np.diff(product_M[order_M]) != 0)
        kept_L[link_M[order_M][first_M]] = False
    return kept_L[: len(confidence_L)]


def _conflicts(link_L2: Int64, kept_L: Bool, domain_N: Int64) -> Int64:
    """The product and the number of each kept link of a product with two items of a domain, (M, 2)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    own_L2, shape = link_L2[kept_L], (len(domain_N), len(domain_N))
    graph = coo_array((np.ones(len(own_L2), bool), (own_L2[:, 0], own_L2[:, 1])), shape)
    product_N = connected_components(graph, directed=False)[1].astype(np.int64)
    key_N = np.sort(product_N * (int(domain_N.max(initial=0)) + 1) + domain_N)
    twice = np.unique(key_N[1:][np.diff(key_N) == 0] // (int(domain_N.max(initial=0)) + 1))
    of_L = product_N[own_L2[:, 0]]
    odd_L = np.isin(of_L, twice)
    return np.stack([of_L[odd_L], np.flatnonzero(kept_L)[odd_L]], axis=1)


def _given(data: MultiDomain) -> Int64:
    """The links that the data have: each item and the first one of its product, (L, 2)."""
    if data.products is None:
        return np.empty((0, 2), np.int64)
    product_N = np.concatenate(list(data.products.product_I.values()))
    _, first_P = np.unique(product_N, return_index=True)
    return np.stack([first_P[product_N], np.arange(len(product_N))], axis=1)


def _texts(ids: Any, item_P: Int64) -> pl.Series:
    import polars as pl

    return pl.Series(ids[item_P].tolist()).cast(pl.String)


def _titles(data: MultiDomain, name: str, item_P: Int64) -> pl.Series:
    import polars as pl

    if name not in data.titles:
        return pl.repeat(None, len(item_P), eager=True, dtype=pl.String)
    return pl.Series(data.titles[name][item_P].tolist(), dtype=pl.String)
