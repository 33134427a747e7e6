"""UCLR: embeddings of all domains, made as good for quiet people as for busy ones (Yang et al., WWW 2024).

A pairwise model of all domains as one table gives everybody a row E_u and every item a row I_i ("pge"). An
auto-encoder with weights θ sees every batch of people twice, as they are and with some of them blanked out
(:mod:`landbridge.models.uclr.autoencoder`),

    e = Enc(E),  e' = Enc(E'),  Ê = Dec(e),  Ê' = Dec(e')                                              (1)

and learns to rebuild everybody and to tell her from n others (:mod:`~landbridge.models.uclr.contrastive`):

    min_θ  mean_i [ ℓ_i + α (‖Ê_i - E_i‖² + ‖Ê'_i - E_i‖²) ],   ℓ_i = τ_i (log g_i + ρ)                (2)

where each person's τ_i moves by a gradient of its own (:mod:`~landbridge.models.uclr.temperature`). What is
scored is r_ui = Ê_u · I_i. For every domain d a low-rank change of rows and layers, W = W₀ + BA
(:mod:`~landbridge.models.uclr.lora`), is then learned from its pairs (u, i, j), u having i and not j:

    min_{A,B}  mean_{uij} -ln σ(r_ui - r_uj)  +  (2) over the people of the batch                      (3)

``stage`` is how far to go, the paper's ablation: "pge"; "ae", rebuilding the plain stream; "cl", (2) with
one temperature for all; "ucl", (2); "full", (3). Where the paper is silent or contradicts itself see
docs/methods/uclr.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.rng import generator
from landbridge.core.threads import thread_limit
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.pairwise import NEGATIVES, Pairs, Pairwise
from landbridge.models.base import Method
from landbridge.models.common import losses
from landbridge.models.common.dot_product import DotProductModel
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.uclr.autoencoder import LAYOUTS, MASKS, AutoEncoder, keep_mask
from landbridge.models.uclr.contrastive import DualStream, fixed_temperature, user_temperatures
from landbridge.models.uclr.fitted import SCORE_FROM, AutoencoderModel, encode_users, over_domains
from landbridge.models.uclr.lora import TARGETS, LoraAdapter, adapt
from landbridge.models.uclr.phase_log import best_epochs, phase_records
from landbridge.models.uclr.temperature import TemperatureRule, Temperatures, by_activity
from landbridge.training import tensors
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.torch_backend import device, torch

if TYPE_CHECKING:
    from torch import Tensor

STAGES = ("pge", "ae", "cl", "ucl", "full")
PRETRAINERS = ("bprmf", "ials", "lightgcn", "pepnet")
PGE, ADAPT = "pge", "adapt "

People = npt.NDArray[np.int64]


class Triples(NamedTuple):
    """Pairs, their distinct people (B,), each pair's place among these, and who is not blanked out (B,)."""

    pairs: Pairs
    user_B: People
    place_N: People
    kept_B: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class UCLR(Method):
    """In the paper's symbols ``alpha`` α, ``temperature`` τ at first (and in stage "cl" throughout).

    ``pretrain``: the method that makes E and I, with the settings ``pretraining``. ``reading``,
    ``mask_ratio``, ``mask``: see the auto-encoder. ``temperature_objective``, ``radius``,
    ``temperature_lr``, ``newest``, ``temperature_scale``, ``tracking``: see ``TemperatureRule``.
    ``scope`` and ``rank``: what is adapted, and how much. ``epochs`` of (2), ``adapt_epochs`` of (3),
    ``domain_epochs``: for a domain instead of them. ``scored``: "rebuilt", or its "mean" with the row.
    """

    factors: int = 128
    stage: str = "full"
    pretrain: str = "bprmf"
    pretraining: Mapping[str, Any] = field(default_factory=lambda: {"reg": 1e-5})
    reading: str = "A"
    mask_ratio: float = 0.3
    mask: str = "exact"
    alpha: float = 0.3
    temperature: float = 0.1
    temperature_objective: str = "rgcl"
    radius: float = 0.4
    temperature_lr: float = 0.01
    newest: float = 0.9
    temperature_scale: str = "one"
    tracking: float = 1.0
    scope: str = "all"
    rank: int = 8
    lr: float = 1e-3
    batch_size: int = 2048
    epochs: int = 100
    adapt_epochs: int = 10
    domain_epochs: Mapping[str, int] = field(default_factory=dict)
    negatives: str = "domain"
    scored: str = "rebuilt"
    cold_policy: str = "blend"
    popularity_weight: float = 0.0
    name: ClassVar[str] = "uclr"
    paper: ClassVar[str] = "Yang et al., WWW 2024"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "as its pretrainer"
    thread_invariant: ClassVar[bool] = False  # torch's sums depend on the number of threads
    space: ClassVar[Space] = MappingProxyType(
        {
            "alpha": Real(1e-4, 10.0, log=True),
            "mask_ratio": Choice((0.1, 0.2, 0.3, 0.5)),
            "lr": Real(3e-4, 1e-2, log=True),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def __post_init__(self) -> None:
        choices = {"stage": STAGES, "pretrain": PRETRAINERS, "reading": LAYOUTS, "mask": MASKS}
        choices |= {"scope": tuple(TARGETS), "negatives": NEGATIVES, "scored": SCORE_FROM}
        for key, valid in choices.items():
            if getattr(self, key) not in valid:
                raise SettingsError(unknown(key, getattr(self, key), valid))
        if min(self.factors, self.batch_size, self.rank) < 1 or not 0 <= self.mask_ratio <= 1:
            raise SettingsError(
                "factors, batch_size and rank must be 1 or more and mask_ratio between 0 and 1."
            )
        self.rule, self.optimizer, self.pretrainer()  # settings that their owners check

    @property
    def rule(self) -> TemperatureRule:
        """How temperatures move."""
        return TemperatureRule(
            objective=self.temperature_objective,
            radius=self.radius,
            start=self.temperature,
            lr=self.temperature_lr,
            newest=self.newest,
            scale=self.temperature_scale,
            tracking=self.tracking,
        )

    @property
    def optimizer(self) -> Optimizer:
        """Adam."""
        return Optimizer("adam", self.lr)

    def pretrainer(self) -> Method:
        """The method of stage "pge": all domains as one table, as many factors."""
        from landbridge.models import registry

        kind = registry.method(self.pretrain)
        joined = {"sharing": "joined"} if "sharing" in {entry.name for entry in fields(kind)} else {}
        return kind.from_settings({"factors": self.factors, **joined, **self.pretraining})

    def stopped(self, log: Sequence[Mapping[str, Any]]) -> Method:
        """With the best number of epochs of every phase; no adaptation where none was better."""
        best, settings = best_epochs(log, ADAPT), asdict(self)
        if PGE in best and self.pretrainer().has_epochs:
            settings["pretraining"] = {**self.pretraining, "epochs": best[PGE]}
        if self.stage != PGE and self._encoding in best:
            settings["epochs"] = best[self._encoding]
        adapted = {phase: epochs for phase, epochs in best.items() if phase.startswith(ADAPT)}
        settings["domain_epochs"] |= {phase.removeprefix(ADAPT): n for phase, n in adapted.items()}
        return self.from_settings(settings)

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> AutoencoderModel:
        """Pretrain, then go on as far as ``stage`` says."""
        options = options or FitOptions()
        base = self.pretrainer().fit(train, options.within(PGE))
        assert isinstance(base, DotProductModel)
        return self.fit_on(base, options)

    def fit_on(self, base: DotProductModel, options: FitOptions | None = None) -> AutoencoderModel:
        """All that follows pretraining, on a model that is there: several fits may share it."""
        options, names = options or FitOptions(), base.history.domain_names
        model = AutoencoderModel(
            base.history,
            self,
            tuple(phase_records(PGE, base.log, 0)),
            dict.fromkeys(names, over_domains(base)),
            dict(base.item_IF),
            self.cold_policy,
            self.popularity_weight,
            base,
            {name: {} for name in names},
            self.scored,
        )
        if self.stage == PGE:
            return model
        with thread_limit(options.threads):
            model, temperatures = self._encode(model, options)
            for domain in names if self.stage == "full" else ():
                model = self._adapt(model, domain, temperatures, options)
        if self._encoding != "ucl":
            return model
        groups = by_activity(temperatures.tau_U.cpu().numpy(), base.history.activity_UD.sum(axis=1))
        return replace(model, log=(*model.log, {"temperature_by_activity": groups}))

    @property
    def _encoding(self) -> str:
        """The stage that trains the layers."""
        return "ucl" if self.stage == "full" else self.stage

    def _encode(self, model: AutoencoderModel, options: FitOptions) -> tuple[AutoencoderModel, Temperatures]:
        """Eq. (2), once for all domains."""
        from landbridge.training.loop import run_phase

        where, rows_UF = device(options.device), next(iter(model.user_UF.values()))
        temperatures = Temperatures.start(self.rule, len(rows_UF), where)
        streams = self._streams(temperatures)
        layers = streams.encoder.initial(generator(options.seed, "layers"), where)
        table_UF = torch().from_numpy(rows_UF).to(where)

        def terms(batch: tuple[People, npt.NDArray[np.bool_]]) -> dict[str, Tensor]:
            users_B, kept_B = (torch().from_numpy(array).to(where) for array in batch)
            return streams.terms(layers, table_UF[users_B], users_B, kept_B)[1]

        def fitted() -> AutoencoderModel:
            found = tensors.arrays(layers)
            made_UF = encode_users(found, self.scored, rows_UF)
            names = model.history.domain_names
            return replace(model, user_UF=dict.fromkeys(names, made_UF), layers=dict.fromkeys(names, found))

        phase = Phase(
            self._encoding,
            self.epochs,
            lambda number: self._crowds(model.history, options.seed, number),
            terms,
            layers,
            optimizer=self.optimizer,
            buffers=temperatures.buffers(),
            log_norm=True,
            facts=temperatures.figures if self._encoding == "ucl" else dict,
        )
        log = run_phase(phase, options, self._identity(model, options), fitted)
        return replace(
            fitted(), log=(*model.log, *phase_records(phase.name, log, len(model.log)))
        ), temperatures

    def _crowds(
        self, history: MultiDomain, seed: int, number: int
    ) -> Iterator[tuple[People, npt.NDArray[np.bool_]]]:
        """Everybody with an event once, in batches of two people or more, and who is not blanked out."""
        rng = generator(seed, "crowds", str(number))
        order = rng.permutation(np.flatnonzero(history.activity_UD.any(axis=1)))
        if len(order) > 1:
            for users_B in np.array_split(order, -(-len(order) // self.batch_size)):
                yield users_B, keep_mask(len(users_B), self.mask_ratio, rng, self.mask)

    def _streams(self, temperatures: Temperatures) -> DualStream:
        """What Eq. (2) is at this stage."""
        own, alike = user_temperatures(temperatures), fixed_temperature(self.temperature)
        contrast = {"ae": None, "cl": alike, "ucl": own}[self._encoding]
        return DualStream(AutoEncoder.of(self.factors, self.reading), self.alpha, contrast)

    def _adapt(
        self, model: AutoencoderModel, domain: str, temperatures: Temperatures, options: FitOptions
    ) -> AutoencoderModel:
        """Eq. (3) for one domain; where no epoch is better on validation data, nothing is changed."""
        from landbridge.training.loop import run_phase

        weights = self._adaptation(model, domain, options)
        epochs = self.domain_epochs.get(domain, self.adapt_epochs)
        if not epochs or not weights.parameters():
            return model
        own = temperatures.copy()
        streams = self._streams(own)
        events = model.history[domain]
        source = Pairwise(events, {domain: slice(0, events.n_items)}, self.negatives, options.seed, domain)

        def terms(batch: Triples) -> dict[str, Tensor]:
            return self._ranking(streams, weights, batch)

        def adapted() -> AutoencoderModel:
            layers = tensors.arrays(weights.effective_layers())
            rows_UF = encode_users(layers, self.scored, weights.users.whole().detach().cpu().numpy())
            item_IF = weights.items.whole().detach().cpu().numpy()
            return replace(
                model,
                user_UF={**model.user_UF, domain: rows_UF},
                item_IF={**model.item_IF, domain: item_IF},
                layers={**model.layers, domain: layers},
            )

        name = ADAPT + quote(domain, safe=" ")
        phase = Phase(
            name,
            epochs,
            partial(self._triples, source),
            terms,
            weights.parameters(),
            optimizer=self.optimizer,
            buffers=own.buffers(),
            log_norm=True,
            facts=lambda: {"trainable": weights.n_trainable()},
        )
        before = options.validate(model) if options.validate and options.patience else -np.inf
        log = run_phase(phase, options, self._identity(model, options), adapted)
        records = (*model.log, *phase_records(ADAPT + domain, log, len(model.log)))
        better = max((record["valid"] for record in log if "valid" in record), default=np.inf) > before
        return replace(adapted() if better else model, log=records)

    def _adaptation(self, model: AutoencoderModel, domain: str, options: FitOptions) -> LoraAdapter:
        """E, the domain's items and the layers with what may change about them."""
        where, rows_UF = device(options.device), over_domains(model.base)
        users_UF, items_IF = (torch().from_numpy(a).to(where) for a in (rows_UF, model.item_IF[domain]))
        layers = {name: torch().from_numpy(a).to(where) for name, a in model.layers[domain].items()}
        return adapt(
            users_UF, items_IF, layers, self.scope, self.rank, generator(options.seed, "adapt", domain)
        )

    def _triples(self, source: Pairwise, number: int) -> Iterator[Triples]:
        """The domain's pairs in batches, and who of a batch's people is not blanked out."""
        rng = generator(source.seed, "blanked", source.label, str(number))
        for pairs in source.batches(number, self.batch_size):
            users, place = np.unique(pairs.user_N, return_inverse=True)
            kept_B = keep_mask(len(users), self.mask_ratio, rng, self.mask)
            yield Triples(pairs, users.astype(np.int64), place, kept_B)

    def _ranking(self, streams: DualStream, weights: LoraAdapter, batch: Triples) -> dict[str, Tensor]:
        """The terms of Eq. (3)."""
        where, pairs = weights.users.base.device, batch.pairs
        users_B, place_N, positive_N, negative_N, kept_B = (
            torch().from_numpy(array).to(where)
            for array in (batch.user_B, batch.place_N, pairs.positive_N, pairs.negative_N, batch.kept_B)
        )
        rows_BF = weights.users.rows(users_B)
        rebuilt_BF, terms = streams.terms(weights.effective_layers(), rows_BF, users_B, kept_B)
        scored_BF = rebuilt_BF if self.scored == "rebuilt" else (rebuilt_BF + rows_BF) / 2
        scored_NF = scored_BF[place_N]
        better_N, worse_N = (
            (scored_NF * weights.items.rows(idx_N)).sum(dim=1) for idx_N in (positive_N, negative_N)
        )
        ranking_N = losses.bpr(better_N, worse_N)
        if pairs.weight_N is not None:
            ranking_N = ranking_N * torch().from_numpy(pairs.weight_N).to(where)
        return {"ranking": ranking_N.mean(), **terms}  # Eq. (3)

    def _identity(self, model: AutoencoderModel, options: FitOptions) -> dict[str, Any]:
        """What a checkpoint must agree with: settings, data, seed, and the rows that are built on."""
        rows_UF = np.ascontiguousarray(over_domains(model.base))
        digest = hashlib.sha256(rows_UF.tobytes()).hexdigest()
        data = model.history.fingerprint
        return {"settings": asdict(self), "data": data, "seed": options.seed, "rows": digest}
