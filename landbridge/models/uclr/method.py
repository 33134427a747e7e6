"""UCLR: contrastive learning of cross-domain embeddings that are uniform for active and inactive users.

Source: Yang et al., *Not All Embeddings are Created Equal*, WWW 2024; where the paper is silent or
contradicts itself see docs/methods/uclr.md. The stages ("pge" to "full") are the paper's ablation:

1. "pge": a pairwise model of all domains in one table gives every user an embedding E_u and every item I_i.
2. "ae", "cl", "ucl": an auto-encoder with weights θ encodes each batch of users twice, plain and with some
   users masked (:mod:`landbridge.models.uclr.autoencoder`),

    e = Enc(E),  e' = Enc(E'),  Ê = Dec(e),  Ê' = Dec(e')                                              (1)

   and learns to reconstruct each user and to distinguish them from n others
   (:mod:`~landbridge.models.uclr.contrastive`):

    min_θ  mean_i [ ℓ_i + α (‖Ê_i - E_i‖² + ‖Ê'_i - E_i‖²) ],   ℓ_i = τ_i (log g_i + ρ)                (2)

   "ae" only reconstructs the plain stream; "cl" is (2) with one temperature for all users; in "ucl" each
   user's τ_i has its own updates (:mod:`~landbridge.models.uclr.temperature`). The score is r_ui = Ê_u · I_i.
   One auto-encoder serves all domains, or (their Appendix B.3) every domain has its own θ and τ, learned from
   the users with events there.
3. "full": for every domain d a low-rank change of embeddings and layers, W = W₀ + BA
   (:mod:`~landbridge.models.uclr.lora`), is learned from triples (u, i, j), where u has item i and not j:

    min_{A,B}  mean_{uij} [ -ln σ(r_ui - r_uj) + λ pen_uij ]  +  (2) over the users of the batch       (3)
    pen_uij = ½(‖W_u‖² + ‖I_i‖² + ‖I_j‖²),  or, as published,  ‖W_u‖ + ‖I_i‖ + ‖I_j‖                    (4)

   Their Eqs. 6 and 7, which step 10 of their Algorithm 1 minimises, are sums over triples and over users;
   their Algorithm 2 takes means. ``reduction`` "sum" replaces both means of (3) by sums over the batch. A
   batch has as many triples as users or more, so ranking then weighs more against (2).

Stages 2 and 3 take Adam's steps or those of Algorithm 2, lines 11 and 12: with the gradient G of a batch,

    v ← (1 - β₁) v + β₁ G,   θ ← θ - η v                                                               (5)

Letters: U users, B users of a batch, N pairs of a batch, F factors, I items, D domains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from landbridge.core.rng import generator
from landbridge.core.settings import Settings, setting
from landbridge.core.threads import thread_limit
from landbridge.core.types import Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.pairwise import Pairs, Pairwise
from landbridge.models.base import Method
from landbridge.models.common import losses
from landbridge.models.common.cold_start import COLD_POLICY, POPULARITY_WEIGHT, ColdPolicy
from landbridge.models.common.dot_product import DotProductModel
from landbridge.models.common.phase_log import best_by_domain, best_epochs, phase_records
from landbridge.models.common.pretraining import Pretraining, migrated_pretraining, pretrained
from landbridge.models.common.sharing import Sharing
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.uclr.autoencoder import AutoEncoder, keep_mask
from landbridge.models.uclr.contrastive import DualStream, fixed_temperature, user_temperatures
from landbridge.models.uclr.fitted import REBUILT_SHARE, AutoencoderModel, encode_users, over_domains
from landbridge.models.uclr.lora import LoraAdapter, adapt
from landbridge.models.uclr.temperature import TemperatureRule, Temperatures, by_activity
from landbridge.training import tensors
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.torch_backend import device, torch

if TYPE_CHECKING:
    from torch import Tensor

PGE, ADAPT = "pge", "adapt "

UserIndices = npt.NDArray[np.int64]


class Scope(NamedTuple):
    """What one auto-encoder is for: all ``domains``, with the label "", or one, whose name is the label."""

    label: str
    domains: tuple[str, ...]

    def phase(self, stage: str) -> str:
        """The name of its training phase."""
        return f"{stage} {self.label}".strip()

    def events(self, history: MultiDomain) -> UserIndices:
        """Each user's number of events in the domains, (U,)."""
        columns = [history.domain_names.index(name) for name in self.domains]
        return np.asarray(history.activity_UD[:, columns].sum(axis=1), np.int64)

    def learners(self, history: MultiDomain) -> UserIndices:
        """The users from whom the auto-encoder learns: those with an event in the domains.

        A domain with one such user, who would have no negatives, learns from the users of all domains.
        """
        own_N = np.flatnonzero(self.events(history))
        # users without events have no pretrained embedding to reconstruct
        return own_N if len(own_N) > 1 else np.flatnonzero(history.activity_UD.any(axis=1))


class Triples(NamedTuple):
    """Pairs, their distinct users (B,), each pair's index into these (N,), and the users not masked (B,)."""

    pairs: Pairs
    user_B: UserIndices
    place_N: UserIndices
    kept_B: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class EncoderSettings(Settings):
    """The auto-encoder and the masking of users."""

    layout: Literal["A", "B"] = setting(
        "A", "Widths of its layers: 128 and 32, or 32 with 128 for the input."
    )
    mask_ratio: float = setting(0.3, "Share of a batch's users that are blanked out.", low=0, high=1)
    mask: Literal["exact", "bernoulli"] = setting("exact", "Whether that share is exact or in the mean.")
    sharing: Sharing = setting("joined", "An auto-encoder for each domain, or one for all domains joined.")
    domain_epochs: Mapping[str, int] = setting(
        {}, "Epochs of a separate domain's auto-encoder instead of ``epochs``.", low=1
    )


@dataclass(frozen=True)
class Contrast(Settings):
    """The objective, Eq. (2)."""

    alpha: float = setting(0.3, "Weight of rebuilding.", low=0, symbol="α")
    temperature: TemperatureRule = setting(TemperatureRule(), "How temperatures move.")


@dataclass(frozen=True)
class Steps(Settings):
    """How the auto-encoder and its adaptations are updated, Eq. (5)."""

    kind: Literal["adam", "momentum"] = setting(
        "adam", "Adam, or a step along the moving average of the gradient."
    )
    gradient_ema: float = setting(
        0.1, "Weight of the new gradient in the average of momentum, Eq. (5).", above=0, high=1, symbol="β₁"
    )


@dataclass(frozen=True)
class Adaptation(Settings):
    """The low-rank adaptation, Eq. (3)."""

    lora_targets: Literal["users", "all", "items_free", "full", "none"] = setting(
        "all", "What is adapted: users, all, all with free items and layers, all freely, or nothing."
    )
    lora_rank: int = setting(8, "Rank of a change BA.", low=1)
    epochs: int = setting(10, "Passes over a domain's events; 0: no adaptation.", low=0)
    domain_epochs: Mapping[str, int] = setting({}, "Epochs of a domain instead of ``epochs``.", low=0)
    reduction: Literal["mean", "sum"] = setting(
        "mean", "Means of (3) over the triples and over the users of a batch, or sums, as published."
    )
    reg: float = setting(
        0.0, "Penalty of the embeddings of each triple, Eq. (4).", low=0, high=1e12, symbol="λ"
    )
    reg_power: int = setting(2, "Power of their norms: 2, halved, or 1, as published.", low=1, high=2)


@dataclass(frozen=True)
class UCLR(Method):
    """UCLR: pretrained embeddings, a contrastive auto-encoder, and adaptation to every domain."""

    factors: int = setting(128, "Length of an embedding.", low=1, symbol="d")
    stage: Literal["pge", "ae", "cl", "ucl", "full"] = setting("full", "How far to go, the paper's ablation.")
    pretrain: Pretraining = setting(Pretraining(), "The method that makes the first embeddings.")
    encoder: EncoderSettings = setting(EncoderSettings(), "The auto-encoder.")
    contrast: Contrast = setting(Contrast(), "The objective (2).")
    adaptation: Adaptation = setting(Adaptation(), "The changes by domain (3).")
    optimizer: Steps = setting(Steps(), "The rule of the steps (5).")
    lr: float = setting(1e-3, "Length of a step.", above=0, symbol="η")
    batch_size: int = setting(2048, "Users or pairs per step.", low=1)
    epochs: int = setting(100, "Passes over all users in (2).", low=1)
    negatives: Literal["domain", "all", "popularity"] = setting(
        "domain", "Where negatives of (3) are drawn: the event's domain, all domains, or by popularity."
    )
    score_from: Literal["rebuilt", "mean", "pretrained"] = setting(
        "rebuilt", "The rebuilt embedding, its mean with the pretrained one, or that one, adapted by domain."
    )
    cold_policy: ColdPolicy = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(0.0, POPULARITY_WEIGHT, low=0)
    name: ClassVar[str] = "uclr"
    paper: ClassVar[str] = "Yang et al., WWW 2024"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "as its pretrainer"
    thread_invariant: ClassVar[bool] = False  # torch's sums depend on the number of threads
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "pretrain": "pretrain.method",
            "pretraining": "pretrain.settings",
            "reading": "encoder.layout",
            "mask_ratio": "encoder.mask_ratio",
            "mask": "encoder.mask",
            "alpha": "contrast.alpha",
            "temperature": "contrast.temperature.start",
            "temperature_objective": "contrast.temperature.objective",
            "radius": "contrast.temperature.radius",
            "temperature_lr": "contrast.temperature.lr",
            "newest": "contrast.temperature.gradient_ema",
            "temperature_scale": "contrast.temperature.grad_scale",
            "tracking": "contrast.temperature.partition_ema",
            "scope": "adaptation.lora_targets",
            "rank": "adaptation.lora_rank",
            "adapt_epochs": "adaptation.epochs",
            "domain_epochs": "adaptation.domain_epochs",
            "scored": "score_from",
            "cold_weight": "popularity_weight",
        }
    )
    space: ClassVar[Space] = MappingProxyType(
        {
            "contrast.alpha": Real(1e-4, 10.0, log=True),
            "encoder.mask_ratio": Choice((0.1, 0.2, 0.3, 0.5)),
            "lr": Real(3e-4, 1e-2, log=True),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pretrainer()  # refuses settings that the pretrainer does not know

    @classmethod
    def migrated(cls, settings: Values) -> Record:
        """``settings`` with today's names, those of the pretrainer included."""
        return migrated_pretraining(super().migrated(settings), cls.pretrain)

    def pretrainer(self) -> Method:
        """The method of stage "pge", with all domains in one table and the same ``factors``."""
        return self.pretrain.chosen(self.factors, "joined")

    def stopped(self, log: Sequence[Values]) -> Method:
        """With the best number of epochs of every phase; no adaptation where none was better."""
        best = best_epochs(log, ADAPT)
        chosen = self.pretrain.stopped(self.pretrainer(), best, PGE)
        if self.stage != PGE and self._encoding in best:
            chosen["epochs"] = best[self._encoding]
        for part, given, before in (
            ("encoder", self.encoder.domain_epochs, f"{self._encoding} "),
            ("adaptation", self.adaptation.domain_epochs, ADAPT),
        ):
            chosen[f"{part}.domain_epochs"] = {**given, **best_by_domain(best, before)}
        return self.with_settings(chosen)

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> AutoencoderModel:
        """Pretrain, then go on as far as ``stage`` says."""
        options = options or FitOptions()
        return self.fit_on(pretrained(self.pretrainer(), train, options.within(PGE)), options)

    def fit_on(self, base: DotProductModel, options: FitOptions | None = None) -> AutoencoderModel:
        """The stages after pretraining, on a given model; several fits may share it."""
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
            self.score_from,
        )
        if self.stage == PGE:
            return model
        with thread_limit(options.threads):
            temperatures: dict[Scope, Temperatures] = {}
            for scope in self._scopes(names):
                model, temperatures[scope] = self._encode(model, scope, options)
            for scope, own in temperatures.items() if self.stage == "full" else ():
                for domain in scope.domains:
                    model = self._adapt(model, domain, own, options)
        if self._encoding != "ucl":
            return model
        groups = {
            f"{scope.label} temperature_by_activity".strip(): by_activity(
                own.tau_U.cpu().numpy(), scope.events(base.history)
            )
            for scope, own in temperatures.items()
        }
        return replace(model, log=(*model.log, groups))

    def _scopes(self, names: tuple[str, ...]) -> list[Scope]:
        """One auto-encoder for all domains, or one for each."""
        return [Scope("", names)] if self.encoder.sharing == "joined" else [Scope(n, (n,)) for n in names]

    @property
    def _encoding(self) -> str:
        """The stage that trains the layers."""
        return "ucl" if self.stage == "full" else self.stage

    def _encode(
        self, model: AutoencoderModel, scope: Scope, options: FitOptions
    ) -> tuple[AutoencoderModel, Temperatures]:
        """Eq. (2), for the domains of the scope."""
        from landbridge.training.loop import run_phase

        where, rows_UF = device(options.device), over_domains(model.base)
        temperatures = Temperatures.start(self.contrast.temperature, len(rows_UF), where)
        streams = self._streams(temperatures)
        layers = streams.encoder.initial(generator(options.seed, "layers"), where)
        table_UF = torch.from_numpy(rows_UF).to(where)

        def terms(batch: tuple[UserIndices, npt.NDArray[np.bool_]]) -> dict[str, Tensor]:
            users_B, kept_B = (torch.from_numpy(array).to(where) for array in batch)
            return streams.terms(layers, table_UF[users_B], users_B, kept_B)[1]

        def fitted() -> AutoencoderModel:
            arrays = tensors.arrays(layers)
            encoded_UF = encode_users(arrays, self.score_from, rows_UF)
            users, encoders = dict.fromkeys(scope.domains, encoded_UF), dict.fromkeys(scope.domains, arrays)
            return replace(model, user_UF={**model.user_UF, **users}, layers={**model.layers, **encoders})

        learning_N = scope.learners(model.history)
        phase = Phase(
            quote(scope.phase(self._encoding), safe=" "),
            self.encoder.domain_epochs.get(scope.label, self.epochs),
            lambda number: self._batches(learning_N, options.seed, number),
            terms,
            layers,
            optimizer=self._steps,
            buffers=temperatures.buffers(),
            log_norm=True,
            log_values=temperatures.statistics if self._encoding == "ucl" else dict,
        )
        log = run_phase(phase, options, self._identity(model, options), fitted)
        return replace(
            fitted(), log=(*model.log, *phase_records(scope.phase(self._encoding), log, len(model.log)))
        ), temperatures

    def _batches(
        self, user_N: UserIndices, seed: int, number: int
    ) -> Iterator[tuple[UserIndices, npt.NDArray[np.bool_]]]:
        """Every one of the users once, in batches of two users or more, and who is not masked."""
        rng = generator(seed, "crowds", str(number))
        order = rng.permutation(user_N)
        if len(order) > 1:
            # batches of nearly equal size: a last batch of one user would have no negatives
            for users_B in np.array_split(order, -(-len(order) // self.batch_size)):
                yield users_B, keep_mask(len(users_B), self.encoder.mask_ratio, rng, self.encoder.mask)

    @property
    def _steps(self) -> Optimizer:
        """Adam, or Eq. (5)."""
        # Eq. (5) counts the new gradient's weight, an optimiser that of the average so far
        beta1 = {"adam": Optimizer.beta1, "momentum": 1 - self.optimizer.gradient_ema}[self.optimizer.kind]
        return Optimizer(self.optimizer.kind, self.lr, beta1)

    def _streams(self, temperatures: Temperatures, reduction: str = "mean") -> DualStream:
        """The loss of Eq. (2) at this stage."""
        own, alike = user_temperatures(temperatures), fixed_temperature(self.contrast.temperature.start)
        contrast = {"ae": None, "cl": alike, "ucl": own}[self._encoding]
        encoder = AutoEncoder.of(self.factors, self.encoder.layout)
        return DualStream(encoder, self.contrast.alpha, contrast, reduction)

    def _adapt(
        self, model: AutoencoderModel, domain: str, temperatures: Temperatures, options: FitOptions
    ) -> AutoencoderModel:
        """Adapt the model to one domain, Eq. (3); unchanged if no epoch improves the validation metric."""
        from landbridge.training.loop import run_phase

        weights = self._adaptation(model, domain, options)
        epochs = self.adaptation.domain_epochs.get(domain, self.adaptation.epochs)
        if not epochs or not weights.parameters():
            return model
        own = temperatures.copy()
        streams = self._streams(own, self.adaptation.reduction)
        events = model.history[domain]
        source = Pairwise(events, {domain: slice(0, events.n_items)}, self.negatives, options.seed, domain)

        def terms(batch: Triples) -> dict[str, Tensor]:
            return self._ranking(streams, weights, batch)

        def adapted() -> AutoencoderModel:
            layers = tensors.arrays(weights.effective_layers())
            rows_UF = encode_users(layers, self.score_from, weights.users.whole().detach().cpu().numpy())
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
            optimizer=self._steps,
            buffers=own.buffers(),
            log_norm=True,
            log_values=lambda: {"trainable": weights.n_trainable()},
        )
        # the value to beat: adaptation must improve on the unadapted model
        before = options.validate(model) if options.validate and options.patience else -np.inf
        log = run_phase(phase, options, self._identity(model, options), adapted)
        records = (*model.log, *phase_records(ADAPT + domain, log, len(model.log)))
        better = max((record["valid"] for record in log if "valid" in record), default=np.inf) > before
        return replace(adapted() if better else model, log=records)

    def _adaptation(self, model: AutoencoderModel, domain: str, options: FitOptions) -> LoraAdapter:
        """Adapters of E, of the domain's items and of the layers."""
        where, rows_UF = device(options.device), over_domains(model.base)
        users_UF, items_IF = (torch.from_numpy(a).to(where) for a in (rows_UF, model.item_IF[domain]))
        layers = {name: torch.from_numpy(a).to(where) for name, a in model.layers[domain].items()}
        return adapt(
            users_UF,
            items_IF,
            layers,
            self.adaptation.lora_targets,
            self.adaptation.lora_rank,
            generator(options.seed, "adapt", domain),
        )

    def _triples(self, source: Pairwise, number: int) -> Iterator[Triples]:
        """Batches of the domain's pairs, with the users that are not masked."""
        rng = generator(source.seed, "blanked", source.label, str(number))
        for pairs in source.batches(number, self.batch_size):
            # each user once: temperatures move once per batch, and the contrast needs distinct users
            users, place = np.unique(pairs.user_N, return_inverse=True)
            kept_B = keep_mask(len(users), self.encoder.mask_ratio, rng, self.encoder.mask)
            yield Triples(pairs, users.astype(np.int64), place, kept_B)

    def _ranking(self, streams: DualStream, weights: LoraAdapter, batch: Triples) -> dict[str, Tensor]:
        """The terms of Eq. (3)."""
        where, pairs = weights.users.base.device, batch.pairs
        users_B, place_N, positive_N, negative_N, kept_B = (
            torch.from_numpy(array).to(where)
            for array in (batch.user_B, batch.place_N, pairs.positive_N, pairs.negative_N, batch.kept_B)
        )
        rows_BF = weights.users.rows(users_B)
        rebuilt_BF, terms = streams.terms(weights.effective_layers(), rows_BF, users_B, kept_B)
        share = REBUILT_SHARE[self.score_from]
        scored_BF = share * rebuilt_BF + (1 - share) * rows_BF
        scored_NF, rule = scored_BF[place_N], self.adaptation
        items = [weights.items.rows(idx_N) for idx_N in (positive_N, negative_N)]
        ranking_N = losses.bpr(*((scored_NF * item_NF).sum(dim=1) for item_NF in items))
        if pairs.weight_N is not None:
            ranking_N = ranking_N * torch.from_numpy(pairs.weight_N).to(where)
        terms = {"ranking": losses.reduced(ranking_N, rule.reduction), **terms}  # Eq. (3)
        if rule.reg:
            penalty_N = losses.l2_penalty((rows_BF[place_N], *items), rule.reg, rule.reg_power)  # Eq. (4)
            terms["penalty"] = losses.reduced(penalty_N, rule.reduction)
        return terms

    def _identity(self, model: AutoencoderModel, options: FitOptions) -> Record:
        """What a checkpoint must match: settings, data, seed, and the pretrained embeddings."""
        rows_UF = np.ascontiguousarray(over_domains(model.base))
        digest = hashlib.sha256(rows_UF.tobytes()).hexdigest()
        data = model.history.fingerprint
        return {"settings": asdict(self), "data": data, "seed": options.seed, "rows": digest}


PUBLISHED = UCLR(
    pretrain=Pretraining(settings={"reg": 1e-5, "reg_power": 1}),
    contrast=Contrast(
        alpha=1e-3, temperature=TemperatureRule(objective="uco", lr=1e-3, grad_scale="literal")
    ),
    adaptation=Adaptation(reduction="sum", reg=1e-5, reg_power=1),
)
"""What the paper says, with our defaults where it is silent: α, Algorithm 2 with its 1/|U|, Adam's 1e-3, the
sums and norms of Eqs. 2, 6 and 7 with λ = 1e-5."""
