"""EMCDR: embeddings of each domain by itself, and maps of users from domain to domain for cold starts.

Man, Shen, Jin & Cheng, "Cross-domain recommendation: an embedding and mapping approach" (IJCAI 2017). A first
method learns p_u^d and y_i in every domain d by itself. On the users B_sd with events in the domains s and d,
a map f from s to d is fitted to

    min  1/|B_sd| Σ_{u ∈ B_sd} ‖f(p_u^s / r_s) - p_u^d / r_d‖² + λ Σ ‖W‖²                              (1)

with W the matrices of f and r the root mean square of an embedding's entries, so that λ and ``lr`` mean the
same for every first method. A linear f = M has the closed form, with the rows p / r as matrices P_s, P_d,

    M = P_dᵀP_s (P_sᵀP_s + λ |B_sd| I)⁻¹                                                               (2)

and a network is trained by Adam. A user without events in d is scored by f(p_u^s) · y_i; one with events
there by p_u^d · y_i, as if there were no map (:mod:`landbridge.models.mapping.fitted`).

The paper maps one source to one target. Here every domain is both, with a map for every ordered pair that
has common users; inferred for more than one source: the mean of the mapped embeddings, weighted by the user's
events. Inferred, too: implicit ALS as the first method, where the paper has explicit ratings or BPR; λ.
Shape letters: B common users, F factors, H hidden units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import permutations
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from landbridge.core.errors import SettingsError
from landbridge.core.rng import generator
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Float32, Int64, Record, Values
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.models.base import Method
from landbridge.models.common.cold_start import COLD_POLICY, POPULARITY_WEIGHT, ColdPolicy
from landbridge.models.common.dot_product import DotProductModel
from landbridge.models.common.phase_log import best_epochs, phase_records
from landbridge.models.common.pretraining import Pretraining, migrated_pretraining, pretrained
from landbridge.models.cost import FLOAT32, Cost, Work
from landbridge.models.mapping.fitted import Layers, MappedModel, Maps
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.cost import dense_work
from landbridge.training import tensors
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.torch_backend import device, torch

if TYPE_CHECKING:
    from torch import Tensor

FIRST, MAP = "first", "map"  # the phases of a fit
Pair = tuple[str, str]  # source and target


@dataclass(frozen=True)
class MapSettings(Settings):
    """The maps, Eq. (1)."""

    kind: Literal["linear", "mlp"] = setting("linear", "A matrix in closed form, or a network.")
    hidden: int = setting(128, "Hidden units of the network.", low=1)
    reg: float = setting(0.01, "L2 penalty of the matrices, Eq. (1).", low=0, high=1e12, symbol="λ")


@dataclass(frozen=True)
class EMCDR(Method):
    """Separate embeddings, and maps between them for users who are new in a domain."""

    factors: int = setting(64, "Length of an embedding.", low=1, symbol="F")
    pretrain: Pretraining = setting(Pretraining("ials", {}), "The method that learns every domain.")
    map: MapSettings = setting(MapSettings(), "The maps.")
    lr: float = setting(1e-3, "Learning rate of Adam for networks.", above=0, symbol="η")
    epochs: int = setting(100, "Passes over the common users for networks.", low=1)
    batch_size: int = setting(256, "Common users of each pair of domains per step.", low=1)
    cold_policy: ColdPolicy = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(3.0, POPULARITY_WEIGHT, low=0)
    name: ClassVar[str] = "emcdr"
    paper: ClassVar[str] = "Man et al., IJCAI 2017"
    needs: ClassVar[str] = "extra neural for networks"
    folds_in: ClassVar[str] = "as its pretrainer"
    item_features: ClassVar[str] = "as its pretrainer"
    space: ClassVar[Space] = MappingProxyType(
        {
            "map.kind": Choice(("linear", "mlp")),
            "map.reg": Real(1e-4, 10.0, log=True),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrainer().flat().get("sharing") != "separate":
            raise SettingsError(
                "emcdr.pretrain must learn every domain by itself: a method with the setting sharing, at "
                "separate (bprmf, ials, lightgcn)."
            )

    @property
    def uses_features(self) -> bool:
        """Whether the first method does."""
        return self.pretrainer().uses_features

    @classmethod
    def migrated(cls, settings: Values) -> Record:
        """``settings`` with today's names, those of the first method included."""
        return migrated_pretraining(super().migrated(settings), cls.pretrain)

    def pretrainer(self) -> Method:
        """The first method, with the same ``factors``."""
        return self.pretrain.chosen(self.factors, "separate")

    def cost(self, counts: Counts) -> Cost | None:
        """The first method, and a map for each of the ordered pairs of domains: Eq. (2), or the layers of a
        network for all users of both, who are taken to be those of the smaller domain. None where the first
        method says no cost."""
        base = self.pretrainer().cost(counts)
        if base is None:
            return None
        pairs = list(permutations(counts.domains.values(), 2))
        common = sum(min(one.users.filled, other.users.filled) for one, other in pairs)
        linear, factors = self.map.kind == "linear", float(self.factors)
        solved = Work(factorisation=4 * common * factors**2 + 3 * len(pairs) * factors**3)
        weights = factors**2 if linear else 2 * factors * self.map.hidden
        learned = Work() if linear else dense_work(common, (factors, self.map.hidden, factors))
        users = len(counts.domains) * counts.joined.n_users
        return Cost(
            once=base.work + (solved if linear else Work()),
            epoch=learned,
            epochs=self.epochs,
            peak=base.peak + FLOAT32 * factors * (2 * common + users),
            model=base.model + FLOAT32 * (factors * users + len(pairs) * weights),
            torch=base.torch or not linear,
        )

    def stopped(self, log: Sequence[Values]) -> Method:
        """With the best number of epochs of the first method and of the networks."""
        best = best_epochs(log)
        chosen = self.pretrain.stopped(self.pretrainer(), best, FIRST)
        if MAP in best:
            chosen["epochs"] = best[MAP]
        return self.with_settings(chosen)

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> MappedModel:
        """Learn every domain by itself, then the maps."""
        options = options or FitOptions()
        base = pretrained(self.pretrainer(), train, options.within(FIRST))
        common = {pair: CommonUsers.of(base, *pair) for pair in permutations(train.domain_names, 2)}
        common = {pair: users for pair, users in common.items() if len(users.source_BF)}
        records = tuple(phase_records(FIRST, base.log, 0))
        if self.map.kind == "linear" or not common:
            maps = {pair: users.unscaled(users.closed_form(self.map.reg)) for pair, users in common.items()}
            return self._fitted(base, maps, records)
        networks = Networks.start(self, common, options)
        log = networks.train(base, options, lambda: self._fitted(base, networks.maps(), ()))
        return self._fitted(base, networks.maps(), (*records, *phase_records(MAP, log, len(records))))

    def _fitted(self, base: DotProductModel, maps: Maps, log: tuple[Record, ...]) -> MappedModel:
        history = base.history
        cold = self.cold_policy, self.popularity_weight
        model = MappedModel(history, self, log, base.user_UF, base.item_IF, *cold, base, maps)

        def rows(domain: str, chosen_U: Int64) -> Float32:
            return base.user_UF[domain][chosen_U]

        users = {name: model.embeddings(name, history.activity_UD, rows) for name in history.domain_names}
        return replace(model, user_UF=users)


class CommonUsers(NamedTuple):
    """Embeddings of the users with events in two domains, p / r in Eq. (1), and both r."""

    source_BF: Float32
    target_BF: Float32
    source_scale: np.float32
    target_scale: np.float32

    @classmethod
    def of(cls, base: DotProductModel, source: str, target: str) -> CommonUsers:
        """Those of a first model."""
        tables = [base.history[name] for name in (source, target)]
        chosen_B = np.flatnonzero(np.all([table.user_counts > 0 for table in tables], axis=0))
        rows = [base.user_UF[name][chosen_B] for name in (source, target)]
        # 1 where all embeddings are 0: they stay 0
        scales = [np.sqrt(np.mean(each**2, dtype=np.float64)) or 1.0 if len(each) else 1.0 for each in rows]
        first, second = (np.float32(scale) for scale in scales)
        return cls(rows[0] / first, rows[1] / second, first, second)

    def closed_form(self, reg: float) -> Layers:
        """Eq. (2); of several optima, without λ, the smallest."""
        source_BF, target_BF = self.source_BF.astype(np.float64), self.target_BF.astype(np.float64)
        gram_FF = source_BF.T @ source_BF + reg * len(source_BF) * np.eye(source_BF.shape[1])
        solution_FF, *_ = np.linalg.lstsq(gram_FF, source_BF.T @ target_BF)
        return {"w1": np.ascontiguousarray(solution_FF.T, np.float32)}  # Eq. (2)

    def unscaled(self, layers: Layers) -> Layers:
        """The map between embeddings as they are: r_d f(p / r_s)."""
        into = {"w1": 1 / self.source_scale}
        last = ("w2", "b2") if "w2" in layers else ("w1",)
        factors = {name: into.get(name, 1) * (self.target_scale if name in last else 1) for name in layers}
        return {name: np.asarray(array * factors[name], np.float32) for name, array in layers.items()}


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of all pairs, trained together. ``weights``: by the number of the pair, as ``0.w1``."""

    method: EMCDR
    common: Mapping[Pair, CommonUsers]
    weights: Mapping[str, Tensor]

    @classmethod
    def start(cls, method: EMCDR, common: Mapping[Pair, CommonUsers], options: FitOptions) -> Networks:
        """Layers uniform in ±1/√in, biases 0."""
        factors, hidden, where = method.factors, method.map.hidden, device(options.device)
        shapes = {"w1": (hidden, factors), "b1": (hidden,), "w2": (factors, hidden), "b2": (factors,)}
        weights = {}
        for number, pair in enumerate(common):
            rng = generator(options.seed, MAP, *pair)
            for name, shape in shapes.items():
                bound = shape[-1] ** -0.5 if len(shape) > 1 else 0.0
                drawn = rng.uniform(-bound, bound, shape).astype(np.float32)
                weights[f"{number}.{name}"] = torch.from_numpy(drawn).to(where).requires_grad_()
        return cls(method, common, weights)

    def train(
        self, base: DotProductModel, options: FitOptions, fitted: Callable[[], MappedModel]
    ) -> tuple[Record, ...]:
        """Eq. (1) by Adam, in one thread: torch's sums depend on the number of threads."""
        from landbridge.training.loop import run_phase

        where = next(iter(self.weights.values())).device
        rows = {
            pair: [torch.from_numpy(array).to(where) for array in users[:2]]
            for pair, users in self.common.items()
        }
        numbers = {pair: number for number, pair in enumerate(self.common)}

        def losses(step: Mapping[Pair, Int64]) -> dict[str, Tensor]:
            total: dict[str, Tensor] = {}
            for pair, chosen_B in step.items():
                index_B = torch.from_numpy(chosen_B).to(where)
                source_BF, target_BF = (table_BF[index_B] for table_BF in rows[pair])
                loss = self._loss(numbers[pair], source_BF, target_BF)
                total[pair[1]] = total[pair[1]] + loss if pair[1] in total else loss
            return total

        method = self.method
        batches = partial(self._batches, options.seed)
        phase = Phase(
            MAP, method.epochs, batches, losses, self.weights, optimizer=Optimizer("adam", method.lr)
        )
        digest = hashlib.sha256(b"".join(base.user_UF[name].tobytes() for name in base.user_UF)).hexdigest()
        identity = {
            "settings": asdict(method),
            "data": base.history.fingerprint,
            "seed": options.seed,
            "rows": digest,
        }
        return run_phase(phase, replace(options, threads=1), identity, fitted)

    def maps(self) -> Maps:
        """The maps as they are now."""
        arrays = tensors.arrays(self.weights)
        return {
            pair: users.unscaled({name: arrays[f"{number}.{name}"] for name in ("w1", "b1", "w2", "b2")})
            for number, (pair, users) in enumerate(self.common.items())
        }

    def _loss(self, number: int, source_BF: Tensor, target_BF: Tensor) -> Tensor:
        """Eq. (1) on some users."""
        w1, b1, w2, b2 = (self.weights[f"{number}.{name}"] for name in ("w1", "b1", "w2", "b2"))
        mapped_BF = (source_BF @ w1.T + b1).tanh() @ w2.T + b2
        penalty = self.method.map.reg * (w1.square().sum() + w2.square().sum())
        return (mapped_BF - target_BF).square().sum(dim=1).mean() + penalty  # Eq. (1)

    def _batches(self, seed: int, epoch: int) -> Iterator[dict[Pair, Int64]]:
        """Every pair's common users once, in as many parts as the largest pair needs."""
        orders = {
            pair: generator(seed, "common", *pair, str(epoch)).permutation(len(users.source_BF))
            for pair, users in self.common.items()
        }
        steps = max(-(-len(order) // self.method.batch_size) for order in orders.values())
        parts = {pair: np.array_split(order, steps) for pair, order in orders.items()}
        for step in range(steps):
            yield {pair: own[step] for pair, own in parts.items() if len(own[step])}
