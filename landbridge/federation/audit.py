"""What an exchange of CDIMF reveals: attacks on a party, from what each participant has seen.

An attacker knows the settings. They follow the scaled dual of the victim from what was sent, because it
starts at zero, and so have its rows in every round k:

    x_k = m_k - t_k,    t_0 = 0,    t_{k+1} = (m_k - z_k) ρ_k / ρ_{k+1}                                (1)

(t_{k+1} = 0 while Eq. (4) of :mod:`landbridge.models.als.cdimf` is left out). Equation (1) is linear, so it
holds for means of parties too. The messages m are known

    to the coordinator and a reader of the channel      m                   as sent, without masks     (2)
    to another party p of N_u parties of the user       (N_u z - m_p) / (N_u - 1)                      (3)
    to the coordinator, of masked messages              z                   the mean over all parties  (4)

of which (3) is the victim's message if N_u = 2 (and the consensus has no penalty of its own). From the rows
of the first round and the mean of all rounds, an attacker infers

    who is a customer       by ‖x_0‖: it is 0 for users without events in the victim's domain
    who bought the same     by cos(x_u, x_v)
    who bought what         by x_u · ŷ_i, where Ŷ is the ridge regression of the events of known users on
                            their rows: users of both parties, or of whom data leaked

Each is measured as AUC: the probability that a true case has a higher score than a false one, drawn for the
same user or the same item, so that popularity alone gives one half. A user is drawn into many cases, true and
false; for the interval, users are resampled, and a case weighs the product of how often its two were drawn
(the pigeonhole bootstrap, Owen, Ann. Appl. Stat. 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.rng import generator
from landbridge.core.types import Float32, Float64, Int64, Record
from landbridge.data.interactions import Interactions
from landbridge.evaluation.bootstrap import interval
from landbridge.federation.transcript import Recording

KNOWN_SHARES = (0.01, 0.05, 0.1, 0.2)  # of the victim's customers, for "who bought what"
MAX_CASES = 20_000  # true cases that are drawn for an AUC
DRAWS = 1000
CUSTOMER, SAME, WHAT = "who is a customer", "who bought the same", "who bought what"
COORDINATOR, OUTSIDER, PARTY = "coordinator", "outsider", "other party"


@dataclass(frozen=True, eq=False)
class View:
    """What an attacker knows of a victim's messages and of the consensus, for M users of both, by round."""

    users_M: Int64
    message_RMF: Sequence[Float32]
    received_RMF: Sequence[Float32]
    rho_R: Sequence[float]
    dual_R: Sequence[bool]

    def rows(self) -> list[Float32]:
        """x of every round, (M, F), by Eq. (1)."""
        t_MF, rows = np.zeros_like(self.message_RMF[0]), []
        for k, (m_MF, z_MF) in enumerate(zip(self.message_RMF, self.received_RMF, strict=True)):
            rows.append(m_MF - t_MF)
            if self.dual_R[k]:
                next_rho = self.rho_R[min(k + 1, len(self.rho_R) - 1)]
                t_MF = (m_MF - z_MF) * np.float32(self.rho_R[k] / next_rho)
        return rows


def view(recording: Recording, victim: str, attacker: str, masked: bool = False) -> View:
    """What ``attacker`` sees, Eqs. (2) to (4): "coordinator", "outsider" (who reads a channel without
    encryption, so that both see the same), or the name of another party.

    Raises SettingsError for a party that is none of the recording or attacks itself.
    """
    parties = recording.rounds
    for name in {victim, attacker} - {COORDINATOR, OUTSIDER}:
        if name not in parties:
            raise SettingsError(unknown("party", name, parties))
    if attacker == victim:
        raise SettingsError(f"The attacker and the victim are the same party, {victim!r}.")
    own = parties[victim]
    if attacker in parties:
        users_M, _, at_attacker = np.intersect1d(
            recording.place_M[victim], recording.place_M[attacker], assume_unique=True, return_indices=True
        )
        count_M = _parties_of(recording, users_M)[:, None]
        received = [each.received_MF[at_attacker] for each in parties[attacker]]
        messages = [
            (count_M * z_MF - each.sent_MF[at_attacker]) / (count_M - 1)  # Eq. (3)
            for z_MF, each in zip(received, parties[attacker], strict=True)
        ]
    else:
        users_M = recording.place_M[victim]
        received = [each.received_MF for each in own]
        messages = received if masked else [each.sent_MF for each in own]  # Eqs. (4) and (2)
    return View(users_M, messages, received, [each.rho for each in own], [each.dual for each in own])


def attack(
    seen: View,
    events: Interactions,
    seed: int = 0,
    known_shares: Sequence[float] = KNOWN_SHARES,
    draws: int = DRAWS,
) -> list[Record]:
    """AUC of every attack on the victim's ``events`` and its 95 % interval: a record per attack and share.

    Attacks for which there are no two kinds of cases are left out.
    """
    rows = seen.rows()
    first_MF = rows[0]
    features_MG = np.hstack([first_MF, np.mean(rows, axis=0)])
    truth = _Truth.of(events, seen.users_M)
    attacks: list[tuple[str, float | None, Callable[[np.random.Generator], _Cases]]] = [
        (CUSTOMER, None, lambda rng: _customers(first_MF, truth, rng)),
        (SAME, None, lambda rng: _same_items(features_MG, truth, rng)),
        *(
            (WHAT, share, lambda rng, share=share: _items(features_MG, truth, share, rng))
            for share in known_shares
        ),
    ]
    records = []
    for name, share, run in attacks:
        rng = generator(seed, "audit", name, str(share))
        cases = run(rng)
        if len(cases.won_N):
            low, high = interval(_resampled(cases, draws, rng))
            records.append(
                {"attack": name, "known": share, "auc": float(cases.won_N.mean()), "low": low, "high": high}
            )
    return records


def row_error(recording: Recording, victim: str, seen: View) -> float:
    """The mean of ‖x̂ - x‖ / ‖x‖ over all rounds; only a recording of a fit in one process has x.

    Raises SettingsError for another recording.
    """
    place_M = recording.place_M[victim]
    errors = []
    for row_MF, each in zip(seen.rows(), recording.rounds[victim], strict=True):
        if each.own_MF is None:
            raise SettingsError("The recording does not hold the rows themselves, own_UF, to compare with.")
        true_MF = each.own_MF[np.searchsorted(place_M, seen.users_M)]
        errors.append(np.linalg.norm(row_MF - true_MF) / np.linalg.norm(true_MF))
    return float(np.mean(errors))


@dataclass(frozen=True, eq=False)
class _Cases:
    """N comparisons of a true case ``user_N`` with a false one ``other_N``: 1, ½ or 0."""

    user_N: Int64
    other_N: Int64
    won_N: Float64


NO_CASES = _Cases(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def _resampled(cases: _Cases, draws: int, rng: np.random.Generator) -> Float64:
    """AUC of resampled users, (draws,)."""
    users, role_2N = np.unique(np.stack([cases.user_N, cases.other_N]), return_inverse=True)
    user_N, other_N = role_2N.reshape(2, -1)
    means = np.empty(draws)
    for draw in range(draws):
        times_U = np.bincount(rng.integers(0, len(users), len(users)), minlength=len(users))
        weight_N = (times_U[user_N] * times_U[other_N]).astype(float)
        # a handful of users may all be left out
        means[draw] = weight_N @ cases.won_N / weight_N.sum() if weight_N.any() else cases.won_N.mean()
    return means


@dataclass(frozen=True, eq=False)
class _Truth:
    """The victim's events of the M seen users: ``item_NI`` sorted by user, ``bought_MI`` sparse."""

    user_N: Int64
    item_N: Int64
    customer_M: npt.NDArray[np.bool_]
    n_items: int

    @classmethod
    def of(cls, events: Interactions, users_M: Int64) -> _Truth:
        row_U = np.full(events.n_users, -1)
        row_U[users_M] = np.arange(len(users_M))
        user_N = row_U[events.user_idx]
        seen_N = user_N >= 0
        customer_M = np.bincount(user_N[seen_N], minlength=len(users_M)) > 0
        return cls(user_N[seen_N], events.item_idx[seen_N].astype(np.int64), customer_M, events.n_items)

    @property
    def matrix(self) -> Any:
        """The events as a sparse array, (M, I)."""
        from scipy.sparse import csr_array

        shape = len(self.customer_M), self.n_items
        return csr_array((np.ones(len(self.user_N), np.float32), (self.user_N, self.item_N)), shape)


def _customers(first_MF: Float32, truth: _Truth, rng: np.random.Generator) -> _Cases:
    """A customer against a user who is none."""
    norm_M = np.linalg.norm(first_MF, axis=1)
    yes, no = np.flatnonzero(truth.customer_M), np.flatnonzero(~truth.customer_M)
    size = min(len(yes), len(no), MAX_CASES)
    yes, no = rng.permutation(yes)[:size], rng.permutation(no)[:size]
    return _Cases(yes, no, _won(norm_M[yes], norm_M[no]))


def _same_items(features_MG: Float32, truth: _Truth, rng: np.random.Generator) -> _Cases:
    """Another buyer of one of the user's items against a customer without any item in common."""
    unit_MG = features_MG / np.maximum(np.linalg.norm(features_MG, axis=1, keepdims=True), 1e-30)
    bought = truth.matrix
    by_item = np.argsort(truth.item_N, kind="stable")
    starts_I = np.searchsorted(truth.item_N[by_item], np.arange(truth.n_items + 1))
    case_N = rng.choice(len(truth.user_N), min(MAX_CASES, len(truth.user_N)), replace=False)
    item_N, user_N = truth.item_N[case_N], truth.user_N[case_N]
    place_N = starts_I[item_N] + (rng.random(len(case_N)) * np.diff(starts_I)[item_N]).astype(np.int64)
    same_N = truth.user_N[by_item[place_N]]
    other_N = rng.choice(np.flatnonzero(truth.customer_M), len(case_N))
    shared_N = bought[user_N].multiply(bought[other_N]).sum(axis=1)
    fair_N = (same_N != user_N) & (other_N != user_N) & (np.asarray(shared_N).ravel() == 0)
    user_N, same_N, other_N = user_N[fair_N], same_N[fair_N], other_N[fair_N]
    won_N = _won(_dots(unit_MG, user_N, same_N), _dots(unit_MG, user_N, other_N))
    return _Cases(user_N, other_N, won_N)


def _items(features_MG: Float32, truth: _Truth, share: float, rng: np.random.Generator) -> _Cases:
    """A buyer of an item against another customer, both unknown, by the scores of a ridge regression."""
    customers = rng.permutation(np.flatnonzero(truth.customer_M))
    known = customers[: max(2, round(share * len(customers)))]
    unknown_M = truth.customer_M.copy()
    unknown_M[known] = False
    case_N = np.flatnonzero(unknown_M[truth.user_N])
    if not len(case_N) or unknown_M.sum() < 2:
        return NO_CASES
    case_N = rng.choice(case_N, min(MAX_CASES, len(case_N)), replace=False)
    user_N, item_N = truth.user_N[case_N], truth.item_N[case_N]
    other_N = rng.choice(np.flatnonzero(unknown_M), len(case_N))
    bought = truth.matrix
    fair_N = np.asarray(bought[other_N, item_N]).ravel() == 0
    user_N, item_N, other_N = user_N[fair_N], item_N[fair_N], other_N[fair_N]
    centred_MG = (features_MG - features_MG[known].mean(axis=0)).astype(np.float64)
    item_IG = _ridge(centred_MG[known], bought[known])
    won_N = _won(_dots(centred_MG, user_N, item_N, item_IG), _dots(centred_MG, other_N, item_N, item_IG))
    return _Cases(user_N, other_N, won_N)


def _ridge(known_KG: Float64, bought_KI: Any) -> Float64:
    """Ŷ, (I, G), with the mean eigenvalue of the Gramian as penalty."""
    gramian_GG = known_KG.T @ known_KG
    penalty = np.trace(gramian_GG) / len(gramian_GG) + 1e-30
    gramian_GG[np.diag_indices_from(gramian_GG)] += penalty
    return np.asarray(np.linalg.solve(gramian_GG, (bought_KI.T @ known_KG).T).T)


def _dots(
    rows_MG: npt.NDArray[np.floating], left_N: Int64, right_N: Int64, others: Float64 | None = None
) -> Float64:
    right_NG = (rows_MG if others is None else others)[right_N]
    return np.asarray(np.einsum("ng,ng->n", rows_MG[left_N], right_NG), np.float64)


def _won(true_N: npt.NDArray[np.floating], false_N: npt.NDArray[np.floating]) -> Float64:
    """1 where the true case has the higher score, ½ where both are equal."""
    return np.asarray((np.sign(true_N - false_N) + 1) / 2, np.float64)


def _parties_of(recording: Recording, users_M: Int64) -> Float32:
    """In how many parties each user is, (M,)."""
    there = [np.isin(users_M, place_M) for place_M in recording.place_M.values()]
    return np.asarray(np.sum(there, axis=0), np.float32)


def attackers(recording: Recording, victim: str) -> Mapping[str, str]:
    """Role -> whom :func:`view` takes for it: the other party is the first of them."""
    other = next(name for name in recording.rounds if name != victim)
    return {OUTSIDER: OUTSIDER, COORDINATOR: COORDINATOR, PARTY: other}
