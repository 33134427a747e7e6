"""Several domains in one sequence: what the transformer knows of them, and a state for each domain.

A sequence mixes the latest events of all domains. Each part below is a setting of its own; without any the
state is that of the plain transformer (:mod:`landbridge.models.sequential.transformer`). With d(i) the domain
of item i, the mixed states x_t, and a second reading of the same events in which an event sees only those of
its own domain, with states o_t:

    x_0 ← x_0 + e_{d(i)}                                        embeddings                             (1)
    bias_ts = -γ [d(i_t) ≠ d(i_s)]                              cross_penalty, in the mixed reading    (2)
    q = x_t + g_d ⊙ o_{t(d)}                                    own_history                            (3)
    q ← q + U_0 V_0 q + U_d V_d q                               shared_rank, rank                      (4)

for a target in domain d, where t(d) is the last event in d up to t (nothing is added where there is none).
Without ``mixed_history`` there is no x_t in (3), and a sequence is that of a user in one domain: one network
serves all domains, of each it reads as many events as a model that knows this domain alone, and no event is
read beside one of another domain. Both readings share their weights. U starts at 0, so that adapters change
nothing before they have learned, and the scale g at 1. The parts are those of ABXI (Bian et al., WWW 2025)
and of UCLR's adapters, in the form that serves any number of domains.

Letters: B windows, L positions, F factors, T targets, D domains, R rank, I items of all domains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from landbridge.core.errors import SettingsError
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Ragged
from landbridge.data.counts import Counts, RowLengths
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.sequences import domain_histories, user_histories
from landbridge.models.sequential.transformer import Encoder, Reading, Weights, places
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CrossDomain(Settings):
    """The parts of a sequence model that know which domain an event belongs to."""

    embeddings: bool = setting(False, "Whether the domain of an event is read beside its item.")
    cross_penalty: float = setting(
        0.0, "Subtracted from attention scores between events of different domains.", low=0, symbol="γ"
    )
    own_history: bool = setting(False, "Whether the state of the target's own domain, read alone, is used.")
    mixed_history: bool = setting(
        True, "Whether the state of the events of all domains is used; else a sequence is of one domain."
    )
    rank: int = setting(0, "Rank of the adapter of each domain; 0: none.", low=0, symbol="R")
    shared_rank: int = setting(0, "Rank of an adapter that all domains share; 0: none.", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.mixed_history or self.own_history):
            raise SettingsError("Without mixed_history there must be own_history: nothing else reads events.")

    def shapes(self, n_domains: int, factors: int) -> dict[str, tuple[int, ...]]:
        """Shape of every weight by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.embeddings:
            shapes["domain"] = (n_domains, factors)
        if self.own_history:
            shapes["own.scale"] = (n_domains, factors)
        if self.rank:
            shapes |= _adapter("adapter", n_domains, self.rank, factors)
        if self.shared_rank:
            shapes |= _adapter("shared_adapter", 1, self.shared_rank, factors)
        return shapes

    def sequences(self, history: MultiDomain) -> Ragged:
        """What is read: a row for each user, or for each domain and user, those of one domain together."""
        return user_histories(history) if self.mixed_history else domain_histories(history)

    def row_lengths(self, counts: Counts) -> RowLengths:
        """How many rows of :meth:`sequences` have how many events."""
        if self.mixed_history:
            return counts.joined.users
        return RowLengths.together(table.users for table in counts.domains.values())

    @property
    def readings(self) -> int:
        """How often the transformer reads a sequence."""
        return self.mixed_history + self.own_history

    def states(
        self,
        encoder: Encoder,
        weights: Weights,
        events: Reading,
        domain_I: Tensor,
        at: tuple[Tensor, Tensor, Tensor],
        dropout: float = 0.0,
    ) -> Tensor:
        """The state for each target, Eqs. (1) to (4), (T, F).

        ``at``: window, position of the last event that is known, and domain of each target, (T,) each.
        """
        window_T, position_T, domain_T = at
        domain_BL = torch.where(events.item_BL >= 0, domain_I[events.item_BL], -1)
        if self.embeddings:
            events = events._replace(added_BLF=weights["domain"][domain_BL.clamp(min=0)])  # Eq. (1)
        parts = []
        if self.mixed_history:
            mixed_BLF = encoder.states(weights, self._mixed(events, domain_BL), dropout)
            parts.append(mixed_BLF[window_T, position_T])
        if self.own_history:
            own_BLF = encoder.states(weights, self._own(events, domain_BL), dropout)
            last_T = _last_of_domain(domain_BL, at)
            own_TF = own_BLF[window_T, last_T.clamp(min=0)] * (last_T >= 0)[:, None]
            parts.append(weights["own.scale"][domain_T] * own_TF)
        return self._adapted(weights, reduce(add, parts), domain_T)  # Eq. (3)

    def _mixed(self, events: Reading, domain_BL: Tensor) -> Reading:
        """The reading of all events, Eq. (2)."""
        if not self.cross_penalty:
            return events
        apart_BLL = domain_BL[:, :, None] != domain_BL[:, None, :]
        return events._replace(bias_BLL=-self.cross_penalty * apart_BLL.float())  # Eq. (2)

    def _own(self, events: Reading, domain_BL: Tensor) -> Reading:
        """The reading in which an event sees those of its own domain; positions count these alone."""
        same_BLL = domain_BL[:, :, None] == domain_BL[:, None, :]
        place_BL = same_BLL.triu(1).sum(dim=2)
        bias_BLL = torch.zeros_like(same_BLL, dtype=torch.float32).masked_fill(~same_BLL, -torch.inf)
        padded_BL = torch.where(events.item_BL >= 0, place_BL, places(events.item_BL))
        return events._replace(place_BL=padded_BL, bias_BLL=bias_BLL)

    def _adapted(self, weights: Weights, query_TF: Tensor, domain_T: Tensor) -> Tensor:
        """Eq. (4), (T, F)."""
        adapted_TF = query_TF
        if self.shared_rank:
            down_RF, up_FR = weights["shared_adapter.down"][0], weights["shared_adapter.up"][0]
            adapted_TF = adapted_TF + query_TF @ down_RF.T @ up_FR.T  # Eq. (4)
        if self.rank:
            for number in range(len(weights["adapter.down"])):
                rows_T = (domain_T == number).nonzero()[:, 0]
                down_RF, up_FR = weights["adapter.down"][number], weights["adapter.up"][number]
                own_TF = query_TF[rows_T] @ down_RF.T @ up_FR.T
                adapted_TF = adapted_TF.index_add(0, rows_T, own_TF)  # Eq. (4)
        return adapted_TF


def domains_of_items(data: MultiDomain) -> Tensor:
    """The domain of each item of the joined catalogue, (I,)."""
    sizes = [events.n_items for events in data.domains.values()]
    return torch.repeat_interleave(torch.tensor(sizes))


def _adapter(name: str, n_domains: int, rank: int, factors: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.down": (n_domains, rank, factors), f"{name}.up": (n_domains, factors, rank)}


def _last_of_domain(domain_BL: Tensor, at: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """t(d) of Eq. (3), (T,); -1 where the window has no event of the target's domain yet."""
    window_T, position_T, domain_T = at
    index_L = torch.arange(domain_BL.shape[1], device=domain_BL.device)
    own_TL = (domain_BL[window_T] == domain_T[:, None]) & (index_L <= position_T[:, None])
    return torch.where(own_TL, index_L, -1).amax(dim=1)
