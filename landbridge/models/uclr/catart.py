"""CAT-ART: a contrastive auto-encoder over the embeddings of all domains, and attention between domains.

Source: Li et al., *One for All, All for One: Learning and Transferring User Embeddings for Cross-Domain
Recommendation*, WSDM 2023, and the authors' program. Three phases:

1. pretraining: a model of every domain alone gives embeddings p_u^d of users and q_i of items.
2. CAT (:mod:`landbridge.models.uclr.concatenated`): an auto-encoder turns the D embeddings of a user into one
   code c_u, which is to be the same without any one of them.
3. ART (:mod:`landbridge.models.uclr.transfer`), in every domain d: p_u^d, the attended embeddings of other
   domains and c_u make the user's embedding x_u. From triples (u, i, j), where u has item i and not j,

    min  mean_{uij} [ -w ln σ(x_u·q_i - x_u·q_j) + λ/2 (‖x_u‖² + ‖q_i‖² + ‖q_j‖²) ]                     (1)

   by ART's weights, the items of d and, with ``adaptation.users`` "free", p_u^d; sources and CAT are fixed.

The paper's ablation: ``transfer`` "none" is the single-domain model, "d_in" adds c_u, "d_sp" the other
domains' embeddings; ``encoder.mask_ratio`` 0 is the auto-encoder without contrast; ``adaptation.pooling``
"mean" is ART without attention.

From the program, which has five domains and every user in each: weights .2, .4 and .4 of the losses, so that
β = .2, free users and no penalty in phase 3. Here there is any number of domains. Inferred: a domain without
events of the user is a pad vector in CAT, is no source in ART and is not reconstructed; only users of several
domains are masked, each with probability ``mask_ratio``; p_u^d = 0 for a user without events in d; CAT runs
all its epochs. Ours: V, C and b of ART start at 0, and its output layer is part of V; in a fit that is
validated with patience a domain keeps ART only if that improves the metric.

Letters: U users, B users of a batch, N pairs of a batch, F factors, I items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from landbridge.core.rng import generator
from landbridge.core.settings import Settings, setting
from landbridge.core.threads import thread_limit
from landbridge.core.types import Float32, Record, Values
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.pairwise import Pairs, Pairwise
from landbridge.models.base import Method
from landbridge.models.common import losses
from landbridge.models.common.attention import presence
from landbridge.models.common.cold_start import COLD_POLICY, POPULARITY_WEIGHT, ColdPolicy
from landbridge.models.common.dot_product import DotProductModel
from landbridge.models.common.phase_log import best_by_domain, best_epochs, phase_records
from landbridge.models.common.pretraining import Pretraining, migrated_pretraining, pretrained
from landbridge.models.cost import FLOAT32, INT32, Cost, Work
from landbridge.models.search_space import Choice, Real, Space
from landbridge.models.towers.cost import CALLS, dense_work, domain_rows
from landbridge.models.uclr.concatenated import WIDTHS, ConcatenationEncoder, UserRows
from landbridge.models.uclr.transfer import Transfer, TransferModel, encoded, transferred
from landbridge.training import tensors
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.torch_backend import device, torch

if TYPE_CHECKING:
    from torch import Tensor

ART_PASSES = 12  # element-wise, over the embeddings of a pair
PRETRAIN, CAT, ADAPT = "pretrain", "cat", "adapt "
UserIndices = npt.NDArray[np.int64]


class MaskedUsers(NamedTuple):
    """Users of a batch (B,), and the number of the domain that is masked for each, -1 for none (B,)."""

    user_B: UserIndices
    masked_B: UserIndices


@dataclass(frozen=True)
class CatSettings(Settings):
    """The contrastive auto-encoder."""

    mask_ratio: float = setting(
        0.5, "Share of the users of several domains who lose one; 0: no contrast.", low=0, high=1
    )
    contrast_weight: float = setting(
        0.2, "Weight of the contrast; the reconstructions have the rest.", low=0, high=1, symbol="β"
    )
    temperature: float = setting(0.1, "Temperature of the contrast.", above=0, symbol="τ")


@dataclass(frozen=True)
class ArtSettings(Settings):
    """The transfer to every domain, Eq. (1)."""

    pooling: Literal["attention", "mean"] = setting(
        "attention", "How the embeddings of other domains are weighted."
    )
    users: Literal["free", "frozen"] = setting(
        "free", "Whether the users' embeddings of the target domain are trained further."
    )
    epochs: int = setting(10, "Passes over a domain's events; 0: no transfer.", low=0)
    domain_epochs: Mapping[str, int] = setting({}, "Epochs of a domain instead of ``epochs``.", low=0)
    reg: float = setting(
        0.0, "L2 penalty of the embeddings of each triple, Eq. (1).", low=0, high=1e12, symbol="λ"
    )


@dataclass(frozen=True)
class CATART(Method):
    """Pretrained embeddings of every domain, a contrastive auto-encoder, and attention between domains."""

    factors: int = setting(64, "Length of an embedding.", low=1, symbol="F")
    transfer: Literal["both", "d_in", "d_sp", "none"] = setting(
        "both", "What is transferred: the code of CAT (d_in), embeddings of other domains (d_sp), or both."
    )
    pretrain: Pretraining = setting(
        Pretraining(settings={"reg": 1e-4}), "The method that makes the embeddings of every domain."
    )
    encoder: CatSettings = setting(CatSettings(), "The auto-encoder.")
    adaptation: ArtSettings = setting(ArtSettings(), "The transfer to every domain.")
    lr: float = setting(1e-3, "Learning rate of Adam.", above=0, symbol="η")
    batch_size: int = setting(2048, "Users or pairs per step.", low=1)
    epochs: int = setting(50, "Passes of CAT over all users.", low=1)
    negatives: Literal["domain", "popularity"] = setting(
        "domain", "How negatives are drawn from the event's domain: evenly, or by popularity."
    )
    cold_policy: ColdPolicy = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(3.0, POPULARITY_WEIGHT, low=0)
    name: ClassVar[str] = "catart"
    paper: ClassVar[str] = "Li et al., WSDM 2023"
    needs: ClassVar[str] = "extra neural"
    folds_in: ClassVar[str] = "as its pretrainer"
    thread_invariant: ClassVar[bool] = False  # torch's sums depend on the number of threads
    space: ClassVar[Space] = MappingProxyType(
        {
            "transfer": Choice(("both", "d_in", "d_sp")),
            "lr": Real(3e-4, 1e-2, log=True),
            "encoder.mask_ratio": Choice((0.2, 0.5, 1.0)),
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

    @property
    def single_domain(self) -> bool:
        """Whether nothing is transferred."""
        return self.transfer == "none"

    def pretrainer(self) -> Method:
        """The method of the first phase, each domain alone."""
        return self.pretrain.chosen(self.factors, "separate")

    def cost(self, counts: Counts) -> Cost | None:
        """The pretraining and, once, the transfer to every domain; an epoch is one of CAT: every user in two
        streams and compared with all of the batch (:mod:`landbridge.models.towers.cost`). None where the
        pretrainer says no cost."""
        base = self.pretrainer().cost(counts)
        if base is None:
            return None
        domains, factors, users = len(counts.domains), float(self.factors), counts.joined.users.filled
        widths = (domains * factors, *(width * factors for width in WIDTHS))
        batch = min(float(self.batch_size), max(users, 1.0))
        code, specific = self.transfer in ("both", "d_in"), self.transfer in ("both", "d_sp")
        coder = 2 * sum(inner * outer for inner, outer in pairwise(widths)) * code
        heads = domains * factors**2 * ((domains + 2) * (specific and domains > 1) + code)
        compared = Work(network=6 * users * batch * factors, exponential=2 * users * batch)
        encoded = dense_work(users, (*widths, *reversed(widths[:-1]))) * 2
        calls = Work(call=CALLS * -(-users // batch) * (1 + domains))
        passes = self.adaptation.epochs * (self.transfer != "none")
        adapted = Work(
            draw=counts.events,
            pointwise=ART_PASSES * counts.events * factors * domains,
            network=6 * counts.events * (heads / max(domains, 1)),
            call=CALLS * sum(-(-table.events // self.batch_size) for table in counts.domains.values()),
        )
        rows = factors * domain_rows(counts)
        return Cost(
            once=base.work + adapted * passes,
            epoch=(compared + encoded + calls) * code,
            epochs=self.epochs,
            peak=max(
                base.peak, FLOAT32 * (base.model / FLOAT32 + 6 * rows + 4 * batch * (batch + sum(widths)))
            )
            + 3 * INT32 * counts.events,
            model=base.model + FLOAT32 * (rows + coder + heads),
            torch=True,
        )

    def stopped(self, log: Sequence[Values]) -> Method:
        """With the best number of epochs of every phase; no transfer to domains where none was better."""
        best = best_epochs(log, ADAPT)
        chosen = self.pretrain.stopped(self.pretrainer(), best, PRETRAIN)
        chosen["adaptation.domain_epochs"] = {**self.adaptation.domain_epochs, **best_by_domain(best, ADAPT)}
        return self.with_settings(chosen)

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> TransferModel:
        """Pretrain every domain, train the auto-encoder, and transfer to every domain."""
        options = options or FitOptions()
        return self.fit_on(pretrained(self.pretrainer(), train, options.within(PRETRAIN)), options)

    def fit_on(self, base: DotProductModel, options: FitOptions | None = None) -> TransferModel:
        """The phases after pretraining, on a given model; several fits may share it."""
        options, names = options or FitOptions(), base.history.domain_names
        model = TransferModel(
            base.history,
            self,
            tuple(phase_records(PRETRAIN, base.log, 0)),
            dict(base.user_UF),
            dict(base.item_IF),
            self.cold_policy,
            self.popularity_weight,
            base,
            Transfer(self.transfer, self.adaptation.pooling),
            {},
            {name: {} for name in names},
        )
        with thread_limit(options.threads):
            if model.transfer.invariant:
                model = self._encode(model, options)
            for domain in names if self.transfer != "none" else ():
                model = self._adapt(model, domain, options)
        return model

    def _encode(self, model: TransferModel, options: FitOptions) -> TransferModel:
        """Phase 2. Nothing is scored by codes alone, so it runs all its epochs."""
        from landbridge.training.loop import run_phase

        where, names = device(options.device), model.history.domain_names
        tables, present = (_on(where, arrays) for arrays in (model.base.user_UF, presence(model.history)))
        encoder, rule = ConcatenationEncoder(names, self.factors), self.encoder
        weights = encoder.initial(options.seed, where)

        def terms(batch: MaskedUsers) -> dict[str, Tensor]:
            users_B, masked_B = (torch.from_numpy(array).to(where) for array in batch)
            users = UserRows(*({name: each[name][users_B] for name in names} for each in (tables, present)))
            kept = users.present
            if bool((masked_B >= 0).any()):
                kept = {name: kept[name] * (masked_B != d)[:, None] for d, name in enumerate(names)}
            return encoder.terms(weights, users, kept, rule.contrast_weight, rule.temperature)

        phase = Phase(
            CAT,
            self.epochs,
            lambda number: self._users(model.history, options.seed, number),
            terms,
            weights,
            optimizer=Optimizer("adam", self.lr),
        )
        log = run_phase(phase, options, self._identity(model, options))
        records = (*model.log, *phase_records(CAT, log, len(model.log)))
        return replace(model, encoder=tensors.arrays(weights), log=records)

    def _users(self, history: MultiDomain, seed: int, number: int) -> Iterator[MaskedUsers]:
        """Every user with events once, in batches, with the domain that is masked."""
        present_UD = history.activity_UD > 0
        # drawn by domain name, so that the order of the domains makes no difference
        chance_UD = np.stack(
            [
                generator(seed, "mask", name, str(number)).random(len(present_UD))
                for name in history.domain_names
            ],
            axis=1,
        )
        rng = generator(seed, "users", str(number))
        masked_U = np.where(present_UD, chance_UD, -1).argmax(axis=1)
        masked_U[rng.random(len(masked_U)) >= self.encoder.mask_ratio] = -1
        masked_U[present_UD.sum(axis=1) < 2] = -1  # a user of one domain would have nothing left
        order = rng.permutation(np.flatnonzero(present_UD.any(axis=1)))
        # batches of nearly equal size: a last batch of one user would have no negatives
        for users_B in np.array_split(order, -(-len(order) // self.batch_size) or 1):
            if len(users_B):
                yield MaskedUsers(users_B, masked_U[users_B])

    def _adapt(self, model: TransferModel, domain: str, options: FitOptions) -> TransferModel:
        """Phase 3, Eq. (1); unchanged if no epoch improves the validation metric."""
        from landbridge.training.loop import run_phase

        epochs = self.adaptation.domain_epochs.get(domain, self.adaptation.epochs)
        if not epochs:
            return model
        start, fixed = self._start(model, domain, options), self._fixed(model, domain, options)
        events, transfer, base = model.history[domain], model.transfer, model.base
        source = Pairwise(events, {domain: slice(0, events.n_items)}, self.negatives, options.seed, domain)

        def adapted() -> TransferModel:
            arrays = tensors.arrays(start)
            rows = {**base.user_UF, domain: arrays.pop("users", base.user_UF[domain])}
            item_IF = arrays.pop("items")
            users_UF = transferred(transfer, model.encoder, arrays, domain, rows, presence(model.history))
            return replace(
                model,
                user_UF={**model.user_UF, domain: users_UF},
                item_IF={**model.item_IF, domain: item_IF},
                heads={**model.heads, domain: arrays},
            )

        phase = Phase(
            ADAPT + quote(domain, safe=" "),
            epochs,
            lambda number: source.batches(number, self.batch_size),
            lambda pairs: {"ranking": self._ranking(transfer, start, fixed, pairs)},
            start,
            optimizer=Optimizer("adam", self.lr),
        )
        # the value to beat: the transfer must improve on the single-domain model
        before = options.validate(model) if options.validate and options.patience else -np.inf
        log = run_phase(phase, options, self._identity(model, options), adapted)
        records = (*model.log, *phase_records(ADAPT + domain, log, len(model.log)))
        better = max((record["valid"] for record in log if "valid" in record), default=np.inf) > before
        return replace(adapted() if better else model, log=records)

    def _start(self, model: TransferModel, domain: str, options: FitOptions) -> dict[str, Tensor]:
        """What phase 3 trains: ART's weights, the domain's items and, if free, its users."""
        sources = tuple(name for name in model.history.domain_names if name != domain)
        arrays = model.transfer.initial(self.factors, sources, options.seed, domain)
        arrays["items"] = model.item_IF[domain].copy()
        if self.adaptation.users == "free":
            arrays["users"] = model.base.user_UF[domain].copy()
        weights = _on(device(options.device), arrays)
        return {name: weight.requires_grad_() for name, weight in weights.items()}

    def _fixed(self, model: TransferModel, domain: str, options: FitOptions) -> FixedRows:
        """What phase 3 reads only."""
        where, rows, mask = device(options.device), model.base.user_UF, presence(model.history)
        code_UF = encoded(model.encoder, rows, mask) if model.transfer.invariant else None
        return FixedRows(
            torch.from_numpy(rows[domain]).to(where),
            _on(where, {name: rows_UF for name, rows_UF in rows.items() if name != domain}),
            _on(where, mask),
            None if code_UF is None else torch.from_numpy(code_UF).to(where),
        )

    def _ranking(
        self, transfer: Transfer, weights: Mapping[str, Tensor], fixed: FixedRows, pairs: Pairs
    ) -> Tensor:
        """Eq. (1) of a batch, a scalar."""
        from torch.nn.functional import embedding

        # each user once: their embedding costs more than that of an item
        users, place = np.unique(pairs.user_N, return_inverse=True)
        where = weights["items"].device
        user_B, place_N, *item_N = (
            torch.from_numpy(array).long().to(where)
            for array in (users, place, pairs.positive_N, pairs.negative_N)
        )
        target_BF = embedding(user_B, weights.get("users", fixed.target_UF), sparse="users" in weights)
        sources = {name: rows_UF[user_B] for name, rows_UF in fixed.sources.items()}
        present = {name: present_U1[user_B] for name, present_U1 in fixed.present.items()}
        code_BF = None if fixed.code_UF is None else fixed.code_UF[user_B]
        x_NF = transfer.combined(weights, target_BF, sources, present, code_BF)[place_N]
        items = [embedding(index_N, weights["items"], sparse=True) for index_N in item_N]
        loss_N = losses.bpr(*((x_NF * item_NF).sum(dim=1) for item_NF in items))
        if pairs.weight_N is not None:
            loss_N = loss_N * torch.from_numpy(pairs.weight_N).to(where)
        if self.adaptation.reg:
            loss_N = loss_N + losses.l2_penalty((x_NF, *items), self.adaptation.reg)
        return loss_N.mean()  # Eq. (1)

    def _identity(self, model: TransferModel, options: FitOptions) -> Record:
        """What a checkpoint must match: settings, data, seed, and the pretrained embeddings."""
        digest = hashlib.sha256()
        for rows_UF in model.base.user_UF.values():
            digest.update(np.ascontiguousarray(rows_UF).tobytes())
        data = model.history.fingerprint
        return {"settings": asdict(self), "data": data, "seed": options.seed, "rows": digest.hexdigest()}


class FixedRows(NamedTuple):
    """The embeddings of a target domain's users and of others (U, F), who has events where (U, 1), codes."""

    target_UF: Tensor
    sources: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    code_UF: Tensor | None


def _on(where: torch.device, arrays: Mapping[str, Float32]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array).to(where) for name, array in arrays.items()}
