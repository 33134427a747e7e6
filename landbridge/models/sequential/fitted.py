"""``SequenceModel``: a fitted transformer that encodes a user's latest events and scores all items.

With the user's state q_u after the last event (:mod:`landbridge.models.sequential.transformer`)

    r_ui = q_u · v_i,   or   q_u · v_i / (‖q_u‖ ‖v_i‖ T)   with a temperature T                         (1)

Fold-in needs no training: a new user is a sequence like any other, and there is no user embedding. A cold
user (without events) gets the mean state of users with events.

Letters: B queries, R rows (users or queries), L positions, F factors, I items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from landbridge.core.threads import over_blocks
from landbridge.core.types import Arrays, Float32, Ragged, Record
from landbridge.data.sampling import sequences
from landbridge.models.base import DotProducts, Queries, StoredState
from landbridge.models.common.cold_start import mean_embedding
from landbridge.models.common.dot_product import QueryVectorsMixin
from landbridge.models.sequential.cross_domain import CrossDomain, domains_of_items
from landbridge.models.sequential.query_network import SequenceNetwork
from landbridge.models.sequential.transformer import LEAST_NORM, Encoder, Reading
from landbridge.training.loop import threads
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

STATE = "domain weights|"  # prefix of their arrays in a run folder
ROWS_AT_ONCE = 256  # sequences per forward pass, which bounds its memory


@dataclass(frozen=True, eq=False)
class SequenceModel(QueryVectorsMixin):
    """``weights``: by name, see :mod:`.transformer`. ``temperature``: T of Eq. (1), None for dot products.

    ``domain_weights``: the state of weights of the loss that a refit goes on from; empty for most methods.
    """

    encoder: Encoder
    cross_domain: CrossDomain
    weights: Mapping[str, Float32]
    temperature: float | None
    cold_policy: str
    popularity_weight: float
    domain_weights: Arrays = field(default_factory=dict, kw_only=True)
    kind: ClassVar[str] = "sequence"
    unexplained: ClassVar[str] = "a transformer reads the events together, in their order"
    log_odds: ClassVar[bool] = True

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """All domains, as a sequence has events of all of them; without the mixed reading the own one."""
        own_D = np.array([name == domain for name in self.history.domain_names])
        return np.broadcast_to(own_D | self.cross_domain.mixed_history, counts_BD.shape)

    @property
    def comparable(self) -> bool:
        """As in :class:`Fitted`: not where domains have states or losses of their own."""
        apart = self.cross_domain.own_history or self.cross_domain.rank > 0
        return not apart and not self.method.flat().get("loss.within_domain", False)

    def item_embeddings(self, domain: str, to: str) -> tuple[Float32, Float32]:
        """As in :class:`~landbridge.models.base.Fitted`: one table holds the items of all domains."""
        return self.weights["item"][self._slices[domain]], self.weights["item"][self._slices[to]]

    def warm_scores(self, domain: str, queries: Queries) -> Float32:
        """Eq. (1) for every item of the domain, (B, I)."""
        return np.asarray(self.query_vectors(domain, queries) @ self.item_IF[domain].T)

    def query_vectors(self, domain: str, queries: Queries) -> Float32:
        """The user's factor of Eq. (1), (B, F)."""
        state_BF = self._scaled(self.states(self._rows(domain, queries), self.history.named(domain)))
        cold_B = self._cold_B(domain, queries)
        if cold_B.any():  # else nothing needs the mean, which costs a block of users for each domain
            state_BF[cold_B] = self._cold_state(domain)
        return state_BF

    @cached_property
    def item_IF(self) -> Mapping[str, Float32]:
        """The items' factor of Eq. (1), by domain."""
        rows_IF = self.weights["item"]
        rows_IF = rows_IF if self.temperature is None else _unit(rows_IF)
        return {name: rows_IF[own] for name, own in self._slices.items()}

    def as_dot_products(self) -> DotProducts:
        """As in :class:`Fitted`."""
        return self

    def query_network(self, domain: str) -> SequenceNetwork:
        """As in :class:`Fitted`."""
        empty = Queries.of_users([-1])
        vector_1F, weight_1 = self.query_embeddings(domain, empty)
        return SequenceNetwork(
            self.encoder,
            self.cross_domain,
            self.weights,
            self.temperature,
            self._domain_I,
            self.history.domain_names.index(domain),
            torch.from_numpy(np.append(vector_1F[0], weight_1)),
            self.no_events,
        )

    def states(self, rows: Ragged, domain: str) -> Float32:
        """The state towards a domain after the last event of each row, zero for a row without one, (R, F).

        Blocks of rows share the threads, and each has one of torch: a state does not depend on their number,
        and torch's threads are never wanted while those of numba, of the same OpenMP, have the processors.
        """
        import numba

        state_RF = np.zeros((len(rows.offsets) - 1, self.encoder.factors), np.float32)
        given_R = np.flatnonzero(rows.lengths)

        def fill(block: slice) -> None:
            some_R = given_R[block]
            with threads(1), torch.inference_mode():
                state_RF[some_R] = self._last(rows.take(some_R), domain)

        for _ in over_blocks(fill, len(given_R), ROWS_AT_ONCE, numba.get_num_threads()):
            pass
        return state_RF

    def state(self) -> tuple[Arrays, Record]:
        """The weights, and the settings needed to rebuild the model."""
        cold = {"cold_policy": self.cold_policy, "cold_weight": self.popularity_weight}
        kept = {STATE + name: array for name, array in self.domain_weights.items()}
        return {**self.weights, **kept}, {
            "encoder": asdict(self.encoder),
            "cross_domain": asdict(self.cross_domain),
            "temperature": self.temperature,
            **cold,
        }

    @classmethod
    def from_state(cls, kept: StoredState) -> SequenceModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        cold = about["cold_policy"], about["cold_weight"]
        encoder = Encoder.from_settings(Encoder.migrated(about["encoder"]))
        cross_domain = CrossDomain.from_settings(about.get("cross_domain", {}))  # 0.1 had none
        weights = {name: array for name, array in arrays.items() if not name.startswith(STATE)}
        state = {name.removeprefix(STATE): arrays[name] for name in arrays if name not in weights}
        network = encoder, cross_domain, weights, about["temperature"]
        return cls(history, method, log, *network, *cold, domain_weights=state)

    def _last(self, rows: Ragged, domain: str) -> Float32:
        item_BL, gap_BL, count_B = sequences.last_items(rows, self.encoder.max_length)
        events = Reading(torch.from_numpy(item_BL).long(), torch.from_numpy(gap_BL).long())
        number = self.history.domain_names.index(domain)
        at = torch.arange(len(count_B)), torch.from_numpy(count_B - 1), torch.full((len(count_B),), number)
        state_BF: Float32 = self.cross_domain.states(
            self.encoder, self._tensors, events, self._domain_I, at
        ).numpy()
        return state_BF

    def _scaled(self, state_BF: Float32) -> Float32:
        """The user's factor of Eq. (1); items have length 1 already."""
        if self.temperature is None:
            return state_BF
        return np.asarray(_unit(state_BF) / np.float32(self.temperature))

    def _rows(self, domain: str, queries: Queries) -> Ragged:
        """What is read of each query towards the domain."""
        own = self.history.named(domain)
        names = self.history.domain_names if self.cross_domain.mixed_history else (own,)
        return sequences.query_histories(self.history, names, self._sequences[own], queries)

    @cached_property
    def _sequences(self) -> Mapping[str, Ragged]:
        """Domain -> the sequence of each known user that is read towards it."""
        rows, users = self.cross_domain.sequences(self.history), self.history.n_users
        names = self.history.domain_names
        if self.cross_domain.mixed_history:
            return dict.fromkeys(names, rows)
        return {name: rows.block(slice(d * users, (d + 1) * users)) for d, name in enumerate(names)}

    @cached_property
    def _slices(self) -> dict[str, slice]:
        return self.history.item_slices

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array) for name, array in self.weights.items()}

    @cached_property
    def _domain_I(self) -> Tensor:
        """The domain of each item, (I,)."""
        return domains_of_items(self.history)

    def _cold_state(self, domain: str) -> Float32:
        """The state of a user without events, (F,): 0 with "zero", else that of :meth:`_mean_state`."""
        return (
            np.zeros(self.encoder.factors, np.float32)
            if self.cold_policy == "zero"
            else self._mean_state(domain)
        )

    def _mean_state(self, domain: str) -> Float32:
        """Mean state over the first users with events, at most one block: a pass over all users is slow."""
        if domain not in self._mean_states:
            history = self._sequences[self.history.named(domain)]
            some = history.take(np.flatnonzero(history.lengths)[:ROWS_AT_ONCE])
            state_RF = self._scaled(self.states(some, domain))
            self._mean_states[domain] = mean_embedding(state_RF, np.ones(len(state_RF), bool))
        return self._mean_states[domain]

    @cached_property
    def _mean_states(self) -> dict[str, Float32]:
        """By domain, filled as they are needed."""
        return {}


def _unit(rows_RF: Float32) -> Float32:
    norm_R1 = np.linalg.norm(rows_RF, axis=1, keepdims=True)
    return np.asarray(rows_RF / np.maximum(norm_R1, LEAST_NORM), np.float32)
