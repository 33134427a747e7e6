"""Mixture: in every domain and activity group one model, or a blend of several, served as one.

Members m score items in units of their own, so each query's scores are standardised over the catalogue,

    z_m(q, i) = (s_m(q, i) - mean_i s_m(q, i)) / sd_i s_m(q, i)                                       (1)

(zero where a member likes all items alike) and added with weights of the query's domain d and activity
group g, the number of its events in d:

    s(q, i) = Σ_m w_dgm z_m(q, i),   w ≥ 0,   Σ_m w_dgm = 1                                           (2)

In one list over several domains an item stands by the logarithm of the probability that it is the next event.
With the slope a_d of the domain and π_d, the share of the domain in the user's events n_d, drawn towards its
share σ_d in all events by κ,

    s'(q, i) = a_d s(q, i) - ln Σ_j exp(a_d s(q, j)) + ln π_d,   π_d = (n_d + κ σ_d) / (Σ n_d + κ)     (3)

Weights, slopes and κ are settings here: :mod:`landbridge.selection.guard` chooses them on validation data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError, unknown
from landbridge.core.settings import setting
from landbridge.core.types import Arrays, Float32, Float64, Int32, Record, Values
from landbridge.data.activity import ACTIVITY, activity_group
from landbridge.data.dataset import MultiDomain
from landbridge.models.base import Fitted, Method, Queries, StoredState
from landbridge.models.explanation import Explanation, in_parts
from landbridge.training.options import FitOptions

Weights = Mapping[str, Mapping[str, Mapping[str, float]]]  # domain -> activity group -> member -> weight
POPULARITY = "popularity"
SINGLE_DOMAIN = "alone"
DEFAULT_MEMBERS: Mapping[str, Values] = MappingProxyType(
    {
        POPULARITY: {"method": "popularity", "settings": {}},
        SINGLE_DOMAIN: {"method": "ials", "settings": {"sharing": "separate"}},
        "joint": {"method": "cdimf", "settings": {}},
    }
)


@dataclass(frozen=True)
class Mixture(Method):
    """Several methods, blended by domain and activity group, Eq. (2)."""

    members: Mapping[str, Values] = setting(DEFAULT_MEMBERS, "Label of each member: its method and settings.")
    weights: Weights = setting(
        {}, "Weight of each member by domain and activity group; equal where none is given.", low=0
    )
    slopes: Mapping[str, float] = setting(
        {},
        "Slope of each domain in lists over all domains; without it scores are not calibrated.",
        above=0,
        symbol="a_d",
    )
    smoothing: float = setting(
        10.0, "Events that draw a user's share of a domain towards that of all users.", above=0, symbol="κ"
    )
    name: ClassVar[str] = "mixture"
    cold_start: ClassVar[str] = "as its members"
    folds_in: ClassVar[str] = "as its members"
    shared_items: ClassVar[str] = "as its members"
    item_features: ClassVar[str] = "as its members"
    user_features: ClassVar[str] = "as its members"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.members:
            raise SettingsError("mixture.members is empty; give one member or more.")
        self.methods()  # refuses members that cannot be made
        for domain, groups in self.weights.items():
            for group, weights in groups.items():
                _check(domain, group, weights, self.members)

    @classmethod
    def migrated(cls, settings: Values) -> Record:
        """``settings`` with today's names, those of the members included."""
        from landbridge.models import registry

        if not isinstance(settings.get("members"), Mapping):
            return dict(settings)
        members = {}
        for label, given in settings["members"].items():
            name, own = _parts(label, given)
            members[label] = {"method": name, "settings": registry.method(name).migrated(own)}
        return {**settings, "members": members}

    def methods(self) -> dict[str, Method]:
        """The members as methods."""
        from landbridge.models import registry

        parts = {label: _parts(label, member) for label, member in self.members.items()}
        return {label: registry.method(name).from_settings(own) for label, (name, own) in parts.items()}

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> BlendModel:
        """Fit every member; the weights are as they are."""
        # members train all their epochs: what is to be chosen was chosen before
        options = replace(options or FitOptions(), validate=None, patience=None)
        members = {}
        for label, method in self.methods().items():
            members[label] = method.fit(train, options.within(label))
        return BlendModel(train, self, (), members)

    @property
    def uses_products(self) -> bool:
        """Whether any member does."""
        return any(method.uses_products for method in self.methods().values())

    @property
    def uses_features(self) -> bool:
        """Whether any member does."""
        return any(method.uses_features for method in self.methods().values())

    @property
    def uses_user_features(self) -> bool:
        """Whether any member does."""
        return any(method.uses_user_features for method in self.methods().values())

    def weight_GM(self, domain: str) -> Float32:
        """Eq. (2)'s weights in a domain, a row per activity group, a column per member."""
        labels = list(self.members)
        weight_GM = np.full((len(ACTIVITY), len(labels)), 1 / len(labels), np.float32)
        for row, group in enumerate(ACTIVITY):
            if given := self.weights.get(domain, {}).get(group):
                weight_GM[row] = [given.get(label, 0.0) for label in labels]
        return weight_GM


@dataclass(frozen=True, eq=False)
class BlendModel(Fitted):
    """``members``: label -> fitted model, all on the same data."""

    method: Mixture
    members: Mapping[str, Fitted]
    kind: ClassVar[str] = "mixture"

    @property
    def explains(self) -> bool:
        """Whether every personal member does: the parts of a blend are those of all its members."""
        return all(member.explains for member in self.members.values() if member.personal)

    @property
    def personal(self) -> bool:
        """Whether any member is."""
        return any(member.personal for member in self.members.values())

    def shares_user_space(self, domain: str, to: str) -> bool:
        """Whether every personal member does: one that learned the domains apart compares nothing."""
        personal = [member for member in self.members.values() if member.personal]
        return bool(personal) and all(member.shares_user_space(domain, to) for member in personal)

    def score(self, domain: str, queries: Queries) -> Float32:
        """Eq. (2), (B, I); a member scores only the queries in which it has weight."""
        from landbridge.models.mixture_kernels import add_standardised

        group_B = activity_group(queries.counts_in(self.history, domain))
        weight_BM = self.method.weight_GM(domain)[group_B]
        scores_BI = np.zeros((len(queries), self.history[domain].n_items), np.float32)
        for column, member in enumerate(self.members.values()):
            # most queries use one or two members: the others are not scored at all
            chosen_B = np.flatnonzero(weight_BM[:, column])
            if len(chosen_B):
                own_BI = member.score(domain, queries.take(chosen_B))
                weight_N = weight_BM[chosen_B, column]
                add_standardised(len(chosen_B), own_BI, weight_N, chosen_B, scores_BI)  # Eq. (1), (2)
        return scores_BI

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """Eq. (3), (B, I): within a domain in the order of ``score``."""
        scores_BI = self.score(domain, queries)
        slope = self.method.slopes.get(domain)
        if slope is None:
            return scores_BI
        scores_BI *= np.float32(slope)
        top_B1 = scores_BI.max(axis=1, keepdims=True)  # subtracted, so that exp cannot overflow
        scores_BI -= top_B1 + np.log(np.exp(scores_BI - top_B1).sum(axis=1, keepdims=True))
        place = self.history.domain_names.index(domain)
        return scores_BI + np.log(self.domain_shares(queries)[:, place, None]).astype(np.float32)

    @property
    def comparable(self) -> bool:
        """As in :class:`Fitted`: calibrated blends are."""
        return set(self.method.slopes) >= set(self.history.domain_names)

    def domain_shares(self, queries: Queries) -> Float64:
        """π of Eq. (3), (B, D)."""
        counts_BD = queries.event_counts(self.history)
        sizes_D = np.array([len(events) + 1 for events in self.history.domains.values()], np.float64)
        pulled_BD = counts_BD + self.method.smoothing * sizes_D / sizes_D.sum()
        return np.asarray(pulled_BD / pulled_BD.sum(axis=1, keepdims=True))

    def explain(self, domain: str, query: Queries, item_N: Int32) -> list[Explanation]:
        """Eq. (2) in parts: what each event adds through the personal members, what popularity adds, and in
        ``rest`` the average item, against which (1) measures. DataError where a member cannot explain."""
        if not self.explains:
            raise DataError(self._unexplained())
        from landbridge.models.mixture_kernels import add_standardised

        score_1I = np.zeros((1, self.history[domain].n_items), np.float32)
        own = query.histories_by_domain(self.history)
        events = {name: np.zeros((len(item_N), len(rows.columns)), np.float32) for name, rows in own.items()}
        popularity_N = np.zeros(len(item_N))
        for weight, member in self._serving(domain, query):
            own_1I = member.score(domain, query)
            # as in ``score``, which would score all members again
            add_standardised(1, own_1I, np.array([weight], np.float32), np.zeros(1, np.int64), score_1I)
            scores_I = own_1I[0]
            # the scale of Eq. (1); equal scores of all items explain nothing
            scale = weight / max(float(scores_I.std()), 1e-30)
            if member.personal:
                parts = member.explain(domain, query, item_N)
                popularity_N += scale * np.array([part.popularity for part in parts])
                for name, part_NE in events.items():
                    part_NE += np.float32(scale) * np.array([part.events[name] for part in parts])
            else:
                popularity_N += scale * (scores_I[item_N].astype(np.float64) - scores_I.mean())
        return [
            in_parts(score, popularity, {name: part_NE[place] for name, part_NE in events.items()})
            for place, (score, popularity) in enumerate(
                zip(score_1I[0, item_N].tolist(), popularity_N.tolist(), strict=True)
            )
        ]

    def explain_features(self, domain: str, query: Queries, item: int) -> dict[int, float]:
        """As in :class:`Fitted`: those of the members, on the scale of Eq. (1)."""
        total: dict[int, float] = defaultdict(float)
        for weight, member in self._serving(domain, query):
            if parts := member.explain_features(domain, query, item):
                scale = weight / max(float(member.score(domain, query)[0].std()), 1e-30)
                for feature, part in parts.items():
                    total[feature] += scale * part
        return dict(total)

    def check_arrays(self) -> None:
        """As in :class:`Fitted`, for every member."""
        for label, member in self.members.items():
            try:
                member.check_arrays()
            except DataError as error:
                raise DataError(f"member {label!r}: {error}") from None

    def _unexplained(self) -> str:
        """Why the blend has no explanation."""
        labels = [label for label, m in self.members.items() if m.personal and not m.explains]
        return (
            f"This blend has no explanations: the scores of {', '.join(labels)} do not split by events. "
            "The server estimates them by leaving out one event at a time."
        )

    def _serving(self, domain: str, query: Queries) -> list[tuple[float, Fitted]]:
        """The members with weight for one query, and their weights."""
        group = int(activity_group(query.counts_in(self.history, domain))[0])
        weight_M = self.method.weight_GM(domain)[group].tolist()
        return [(w, member) for w, member in zip(weight_M, self.members.values(), strict=True) if w > 0]

    def uses(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """As in :class:`Fitted`: whether any member uses an event."""
        used_MB = [member.uses(domain, counts_BD) for member in self.members.values()]
        return np.asarray(np.any(used_MB, axis=0))

    def item_embeddings(self, domain: str, to: str) -> tuple[Float32, Float32] | None:
        """As in :class:`Fitted`: of the first member that has embeddings and compares the two domains."""
        for member in self.members.values():
            if domain == to or member.shares_user_space(domain, to):
                embeddings = member.item_embeddings(domain, to)
                if embeddings is not None:
                    return embeddings
        return None

    @property
    def warm_starts(self) -> bool:
        """Whether any member does."""
        return any(member.warm_starts for member in self.members.values())

    def refit(self, data: MultiDomain, options: FitOptions, epochs: int | None = None) -> BlendModel:
        """Every member fitted again; weights and decisions stay."""
        members = {label: member.refit(data, options, epochs) for label, member in self.members.items()}
        return replace(self, history=data, members=members)

    def grown(self, data: MultiDomain) -> BlendModel:
        """As in :class:`Fitted`: with every member on the larger data. Eq. (1) then is over more items, as it
        would be after a refit."""
        members = {label: member.grown(data) for label, member in self.members.items()}
        return replace(self, history=data, members=members)

    def fit_on(self, data: MultiDomain, options: FitOptions) -> BlendModel:
        """As in :class:`Fitted`; weights and decisions stay."""
        return replace(self.method.fit(data, options), log=self.log)

    @property
    def decisions(self) -> tuple[Values, ...]:
        """Who is served by what, and why: what :mod:`landbridge.selection.guard` decided."""
        return self.log

    def state(self) -> tuple[Arrays, Record]:
        """The members' arrays, numbered, and what else they are made of."""
        arrays: Arrays = {}
        about: list[Record] = []
        for number, member in enumerate(self.members.values()):
            own, description = member.state()
            arrays |= {f"{number}/{name}": array for name, array in own.items()}
            about.append({"kind": member.kind, "about": description, "log": [dict(r) for r in member.log]})
        return arrays, {"members": about}

    @classmethod
    def from_state(cls, kept: StoredState) -> BlendModel:
        """The inverse of ``state``."""
        from landbridge.models import registry

        history, _, log, arrays, about = kept
        method = cast(Mixture, kept.method)
        members = {}
        for number, (label, own) in enumerate(method.methods().items()):
            part = about["members"][number]
            start = f"{number}/"
            mine = {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
            kind = registry.kind(part["kind"])
            members[label] = kind.from_state(
                StoredState(history, own, tuple(part["log"]), mine, part["about"])
            )
        return cls(history, method, log, members)


def standardised(scores_BI: Float32) -> Float32:
    """Eq. (1), a row at a time, (B, I)."""
    from landbridge.models.mixture_kernels import add_standardised

    z_BI = np.zeros(scores_BI.shape, np.float32)
    add_standardised(len(z_BI), scores_BI, np.ones(len(z_BI), np.float32), np.arange(len(z_BI)), z_BI)
    return z_BI


def _parts(label: str, member: Values) -> tuple[str, Values]:
    """The name and the settings of a member's method; SettingsError for another form."""
    table = {"settings": {}, **member} if isinstance(member, Mapping) else {}
    name, own = table.get("method"), table.get("settings")
    if not isinstance(name, str) or not isinstance(own, Mapping) or len(table) != 2:
        raise SettingsError(
            f"mixture.members: {label!r} must be a table of method and settings, not {member!r}."
        )
    return name, own


def _check(domain: str, group: str, weights: Mapping[str, float], members: Values) -> None:
    if group not in ACTIVITY:
        raise SettingsError(unknown(f"activity group of {domain}", group, ACTIVITY))
    for label in weights:
        if label not in members:
            raise SettingsError(unknown(f"member in the weights of {domain}", label, members))
    if not abs(sum(weights.values()) - 1) < 1e-4:
        raise SettingsError(
            f"The weights in {domain}, {group} must add up to 1, not {sum(weights.values()):g}."
        )
