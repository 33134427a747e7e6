"""Which domains suit each other, and who is likely to help whom: said before a joint model is trained.

For a source and a target domain with shared users S, of whom u has x_ui ∈ {0, 1} and n_u events in the
source, y_uj and m_u in the target; every user weighs the same, however busy:

    activity = Spearman's rank correlation of n_u and m_u over S                                       (1)
    K_uv = Σ_i a_ui a_vi / p_i,   a_ui = x_ui / n_u,   p_i = mean_u a_ui,   K_uu = 0                    (2)

K_uv is how much likelier u and v meet in the source than its items' popularity makes them; its mean over
v is nearly 1 for every user. L is the same in the target. With two equally busy users and their two baskets
of target events in front of us, do users like them in the source identify the owner of each basket?

    D_uv = Σ_{w∉{u,v}} (K_uw - K_vw) (L_uw - L_vw)                                                     (3)
    match = share of peers u < v with D_uv > 0, and half of those with D_uv = 0                        (4)

Peers have equal ⌊log₂ n⌋ and equal ⌊log₂ m⌋, for busy users like other items than casual ones. Exchanging two
peers' baskets turns the sign of D, so without co-preference beyond popularity and activity match is ½ in
expectation, exactly; its spread comes from permuting the target's users among those with equal ⌊log₂ m⌋.
match and activity are symmetric.

For user factors X, Y (S, F) of separate iALS models, rows of length 1, centred, HS the norm of Frobenius,

    cka = ‖XᵀY‖²_HS / (‖XᵀX‖_HS ‖YᵀY‖_HS)                                                               (5)
    r2  = 1 - Σ_u ‖y_u - ŷ_u‖² / Σ_u ‖y_u - ȳ_u‖²                                                       (6)

with ŷ_u predicted from x_u by the ridge regression on all others, ȳ_u the others' mean. Neither depends on
a rotation of the factors; (6) has a direction. From these

    relief = mean_u (1 + m_u)^-½ - (1 + m_u + n_u)^-½                                                  (7)
    predicted = ½ (2 match - 1 + max(r2, -1)) · share · relief                                         (8)

with relief what the standard error of a taste known from m_u events loses when n_u more are as good: much for
a sparse target and a rich source; share is how many of the target's users are shared. Nothing in (8) is
fitted to gains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.rng import generator
from landbridge.core.threads import all_threads
from landbridge.core.types import Float32, Float64, Int64, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.models.als.ials import IALS
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    import polars as pl


FEW = 20  # shared users below which nothing is said about taste
MOST_USERS = 2048  # the sums of (3) are exact up to here
STEPS = 2**20  # kernels are rounded to so many steps of their largest value: sums of integers are exact
RIDGE = 0.1  # of the mean eigenvalue of the source's covariance


@dataclass(frozen=True, eq=False)
class Transferability:
    """One row per ordered pair of domains, in the data's order.

    ``rows``: source, target, shared (users), share (of the target's users), activity, match, match_z,
    cka, cka_z, r2 (null where fewer than 20 users are shared), relief, per_user (the target's events per
    user), predicted (-1 to 1, 0 where nothing can be said).
    """

    rows: pl.DataFrame

    def best_first(self) -> pl.DataFrame:
        """The rows by ``predicted``, who helps most first."""
        return self.rows.sort("predicted", descending=True, maintain_order=True)


class Alignment(NamedTuple):
    """How alike the shared users' separately trained factors are: ``forward`` is r2 of the second from
    the first, ``backward`` the reverse."""

    cka: float
    cka_z: float
    forward: float
    backward: float


def transferability(
    data: MultiDomain,
    options: FitOptions | None = None,
    *,
    factors: int = 16,
    epochs: int = 6,
    users: int = 1000,
    permutations: int = 30,
) -> Transferability:
    """Score every ordered pair of domains on ``data``, which should hold no held-out events.

    ``factors``, ``epochs``: of the separate iALS models. ``users``: at most so many shared users of a pair,
    drawn at random, take part in (2)-(4). Of ``options`` the seed, threads and progress are used.
    DataError for a single domain; SettingsError for fewer than 20 or more than 2048 ``users``.
    """
    import polars as pl

    _check(data, users, permutations)
    options = options or FitOptions()
    pairs = list(combinations(data.domain_names, 2))
    with all_threads(options.threads), options.progress.task("compatibility", len(pairs)) as task:
        user_UF = _separate_factors(data, FitOptions(options.seed, options.threads), factors, epochs)
        records: list[Record] = []
        for done, pair in enumerate(pairs, 1):
            records += _both_ways(data, pair, user_UF, users, permutations, options.seed)
            task.step(done, {})
    order = {name: place for place, name in enumerate(data.domain_names)}
    records.sort(key=lambda record: (order[record["source"]], order[record["target"]]))
    return Transferability(pl.DataFrame(records, schema_overrides=dict.fromkeys(_MEASURES, pl.Float64)))


_MEASURES = ("activity", "match", "match_z", "cka", "cka_z", "r2")


def _check(data: MultiDomain, users: int, permutations: int) -> None:
    if len(data.domain_names) < 2:
        raise DataError(
            f"Compatibility is about pairs of domains, and there is only {data.domain_names[0]!r}."
        )
    if not FEW <= users <= MOST_USERS:
        raise SettingsError(f"users must be between {FEW} and {MOST_USERS}, not {users}.")
    if permutations < 2:
        raise SettingsError(f"permutations must be 2 or more, not {permutations}.")


def _separate_factors(
    data: MultiDomain, options: FitOptions, factors: int, epochs: int
) -> dict[str, Float32]:
    full = data.select(name for name, events in data.domains.items() if len(events))
    return dict(IALS(factors=factors, epochs=epochs).fit(full, options).user_UF)


def _both_ways(
    data: MultiDomain,
    pair: tuple[str, str],
    user_UF: dict[str, Float32],
    users: int,
    permutations: int,
    seed: int,
) -> Iterator[Record]:
    """The records of (first, second) and (second, first)."""
    columns = [data.domain_names.index(name) for name in pair]
    shared_S = np.flatnonzero((data.activity_UD[:, columns] > 0).all(axis=1))
    counts_S2 = data.activity_UD[shared_S][:, columns]
    taste: dict[str, float | None] = dict.fromkeys(_MEASURES[1:])
    forward = backward = None
    if len(shared_S) >= FEW:
        rng = generator(seed, "compat", *pair)
        # bounds the S × S kernels below
        chosen_S = np.sort(rng.permutation(shared_S)[:users])
        match, match_z = co_preference(data[pair[0]], data[pair[1]], chosen_S, permutations, rng)
        sides = user_UF[pair[0]][shared_S], user_UF[pair[1]][shared_S]
        cka, cka_z, forward, backward = aligned(*sides, permutations, rng)
        taste |= {"match": match, "match_z": match_z, "cka": cka, "cka_z": cka_z}
    common = {"activity": spearman(counts_S2[:, 0], counts_S2[:, 1]) if len(shared_S) else None}
    for source, target, r2 in ((0, 1, forward), (1, 0, backward)):
        yield _record(data, pair[source], pair[target], counts_S2[:, [source, target]], common | taste, r2)


def _record(
    data: MultiDomain,
    source: str,
    target: str,
    counts_S2: Int64,
    values: dict[str, float | None],
    r2: float | None,
) -> Record:
    active = int((data[target].user_counts > 0).sum())
    share = len(counts_S2) / max(active, 1)
    brought = relief(counts_S2[:, 0], counts_S2[:, 1]) if len(counts_S2) else 0.0
    names = {"source": source, "target": target, "shared": len(counts_S2), "share": share}
    ending = {"relief": brought, "per_user": len(data[target]) / max(active, 1)}
    expected = predicted(values["match"], r2, share, brought)
    return names | values | {"r2": r2} | ending | {"predicted": expected}


def predicted(match: float | None, r2: float | None, share: float, brought: float) -> float:
    """Who helps whom, Eq. (8); 0 where too few users are shared to know their taste."""
    if match is None or r2 is None:
        return 0.0
    return 0.5 * (2 * match - 1 + max(r2, -1.0)) * share * brought  # Eq. (8)


def relief(source_S: Int64, target_S: Int64) -> float:
    """What the shared users' source events take from the error of their taste in the target, Eq. (7)."""
    own_S = 1.0 + target_S
    return float(np.mean(own_S**-0.5 - (own_S + source_S) ** -0.5))  # Eq. (7)


def co_preference(
    source: Interactions, target: Interactions, users_S: Int64, permutations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """``match`` of the users, Eq. (4), and its z-score under permutations of equally busy users."""
    # users are compared with equally active ones only: activity alone must not look like taste
    levels = [np.log2(events.user_counts[users_S]).astype(np.int64) for events in (source, target)]
    peers_SS = np.logical_and(*(level_S[:, None] == level_S for level_S in levels))
    K_SS, L_SS = kernel(source, users_S), kernel(target, users_S)
    value = matched(K_SS, L_SS, peers_SS)
    orders = (_among_equals(levels[1], rng) for _ in range(permutations))
    chance = [matched(K_SS, L_SS[np.ix_(order, order)], peers_SS) for order in orders]
    return value, _z(value - 0.5, np.array(chance) - 0.5)


def _among_equals(level_S: Int64, rng: np.random.Generator) -> Int64:
    """A random order that leaves every user's level as it is, (S,)."""
    order_S = np.empty_like(level_S)
    order_S[np.argsort(level_S, kind="stable")] = np.lexsort((rng.random(len(level_S)), level_S))
    return order_S


def kernel(events: Interactions, users_S: Int64) -> Float64:
    """Meetings beyond popularity, Eq. (2), in whole steps of the largest, (S, S)."""
    from scipy import sparse

    rows = events.by_user
    ones_N = np.ones(len(events))
    table = sparse.csr_array((ones_N, rows.columns, rows.offsets), shape=(events.n_users, events.n_items))
    a_SI = sparse.diags_array(1 / events.user_counts[users_S]) @ table[users_S]
    p_I = np.asarray(a_SI.mean(axis=0)).ravel()
    K_SS = ((a_SI @ sparse.diags_array(1 / np.where(p_I > 0, p_I, 1))) @ a_SI.T).toarray()  # Eq. (2)
    # a user meets themselves in every item, which says nothing about taste
    np.fill_diagonal(K_SS, 0)
    # whole numbers: products of them are exact in float64, so ties in Eq. (4) do not depend on the order of
    # sums
    return np.asarray(np.rint(K_SS * (STEPS / max(K_SS.max(), 1e-300))))


def matched(K_SS: Float64, L_SS: Float64, peers_SS: npt.NDArray[np.bool_]) -> float:
    """The share of pairs of peers whose baskets are assigned correctly, Eq. (4); ½ without any pair."""
    M_SS = K_SS @ L_SS
    own_S = np.diag(M_SS)
    # multiplied out, with w = u and w = v left out of every sum
    D_SS = own_S[:, None] + own_S - M_SS - M_SS.T - 2 * K_SS * L_SS  # Eq. (3); its diagonal is 0
    n_pairs = int(peers_SS.sum()) - len(peers_SS)
    return float(0.5 + 0.5 * np.sign(D_SS)[peers_SS].sum() / max(n_pairs, 1))  # Eq. (4)


def aligned(x_SF: Float32, y_SF: Float32, permutations: int, rng: np.random.Generator) -> Alignment:
    """Alignment of two sets of user factors, Eqs. (5) and (6)."""
    x, y = _centred(x_SF), _centred(y_SF)
    value = cka(x, y)
    chance = np.array([cka(x, y[rng.permutation(len(y))]) for _ in range(permutations)])
    return Alignment(value, _z(value - chance.mean(), chance - chance.mean()), r2(x, y), r2(y, x))


def cka(x_SF: Float64, y_SF: Float64) -> float:
    """Linear centred kernel alignment of centred rows, Eq. (5)."""
    own = np.linalg.norm(x_SF.T @ x_SF) * np.linalg.norm(y_SF.T @ y_SF)
    return float(np.linalg.norm(x_SF.T @ y_SF) ** 2 / own) if own > 0 else 0.0


def r2(x_SF: Float64, y_SF: Float64) -> float:
    """How well each user's y follows from their x by a regression on all others, Eq. (6); rows centred.

    The left-out residual is e_u / (1 - h_u) with h_u the user's leverage, exactly.
    """
    n_users, n_factors = x_SF.shape
    gram_FF = x_SF.T @ x_SF
    ridge = RIDGE * np.trace(gram_FF) / n_factors
    if ridge == 0 or not y_SF.any():
        return 0.0
    solved_FS = np.linalg.solve(gram_FF + ridge * np.eye(n_factors), x_SF.T)
    # 1/n for the mean that was subtracted
    leverage_S = 1 / n_users + np.einsum("sf,fs->s", x_SF, solved_FS)
    residual_SF = (y_SF - x_SF @ (solved_FS @ y_SF)) / (1 - leverage_S)[:, None]
    # the left-out residuals of the mean alone, as the leverage of a mean is 1/n
    total = float(np.sum(y_SF**2)) * (n_users / (n_users - 1)) ** 2
    return float(1 - np.sum(residual_SF**2) / total)  # Eq. (6)


def spearman(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Rank correlation, Eq. (1); 0 where one side is constant."""
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(one), rankdata(other)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    spread = float(np.sqrt(np.prod(np.sum(ranks**2, axis=1))))
    return float(ranks[0] @ ranks[1] / spread) if spread > 0 else 0.0


def _centred(rows_SF: Float32) -> Float64:
    """Rows of length 1 (zero rows stay), centred."""
    rows = rows_SF.astype(np.float64)
    length_S1 = np.linalg.norm(rows, axis=1, keepdims=True)
    # length 1: a factor's length grows with activity, its direction is the taste
    rows /= np.where(length_S1 > 0, length_S1, 1)
    return np.asarray(rows - rows.mean(axis=0))


def _z(value: float, chance: Float64) -> float:
    """In standard deviations of what chance gives around its known middle."""
    spread = float(np.sqrt(np.mean(chance**2)))
    return value / spread if spread > 0 else 0.0
