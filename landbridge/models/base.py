"""What every method is: frozen settings whose ``fit`` returns another object that can score.

Shape letters: U users, I items, F factors, B queries in a batch, D domains, T targets.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from landbridge.core.deprecation import renamed
from landbridge.core.errors import DataError
from landbridge.core.settings import Settings, schema
from landbridge.core.text import html_table
from landbridge.core.types import AnyArray, Arrays, Bool, Float32, Int32, Record, Values
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries as Queries
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.models import similarity
from landbridge.models.cost import Cost
from landbridge.models.explanation import Explanation
from landbridge.models.search_space import Space
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    from landbridge.training.torch_backend import torch


@dataclass(frozen=True)
class Method(Settings, ABC):
    """Frozen, checked hyper-parameters; subclasses are dataclasses and implement ``fit``.

    ``space``: what a search tries for which setting; a method with nothing to try leaves it empty.
    ``starts``: settings worth trying first, as tables of changes to the method's own; known from other data.
    ``relative_cost``: how long a fit takes beside other methods; ``auto`` tries quick ones first.
    ``warm_starts``: whether a fit can begin with the embeddings of an earlier model (``FitOptions.initial``).
    ``pretrains``: whether its model has embeddings of users and items from which another can start.
    ``uses_order``: whether the order of events matters, and their weights do not.
    ``thread_invariant``: whether the number of threads leaves every bit of a fit as it is.
    ``folds_in``: how its model scores new users from their events: "exact" (in closed form), "steps" (of
    gradient descent at fixed items), "a sequence" (read as in training), or in words.
    ``shared_items``: how its model learns items of several domains as one product, in words; empty: it
    ignores which are. ``uses_products`` says whether it does so with these settings; ``shared_space`` is
    what a search then tries besides.
    ``item_features``: how its model learns from the features of items, in words; empty: it ignores them, and
    lists no new items. ``uses_features`` says whether it does so with these settings. ``user_features``,
    ``uses_user_features``: the same of users.
    ``paper``, ``needs`` (extras and data) and ``cold_start``: for the table of all methods, as ``folds_in``.
    """

    name: ClassVar[str]
    space: ClassVar[Space] = MappingProxyType({})
    starts: ClassVar[tuple[Values, ...]] = ()
    relative_cost: ClassVar[int] = 10
    warm_starts: ClassVar[bool] = False
    pretrains: ClassVar[bool] = False
    uses_order: ClassVar[bool] = False
    thread_invariant: ClassVar[bool] = True
    paper: ClassVar[str] = ""
    needs: ClassVar[str] = ""
    cold_start: ClassVar[str] = "popularity"
    folds_in: ClassVar[str] = ""
    shared_items: ClassVar[str] = ""
    shared_space: ClassVar[Space] = MappingProxyType({})
    item_features: ClassVar[str] = ""
    user_features: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "fit" in vars(cls):
            # every fit refuses what is no data before it looks at it
            setattr(cls, "fit", _checked(vars(cls)["fit"]))  # noqa: B010

    @classmethod
    def in_auto(cls, data: MultiDomain) -> Mapping[str, Method]:
        """The candidates that this method adds to ``auto`` for such data, by label; none by default."""
        return {}

    @property
    def single_domain(self) -> bool:
        """Whether every domain is learned from its own events alone."""
        return False

    @property
    def uses_products(self) -> bool:
        """Whether users of one domain teach another about the items that they share."""
        return bool(self.shared_items) and not self.single_domain

    @property
    def uses_features(self) -> bool:
        """Whether its model learns from the features of items, where they are given."""
        return bool(self.item_features)

    @property
    def privacy_facts(self) -> Record | None:
        """What is guaranteed of the rows that a domain sends, for a run's manifest; None: nothing."""
        return None

    @property
    def uses_user_features(self) -> bool:
        """Whether its model learns from the features of users, where they are given."""
        return bool(self.user_features)

    def space_on(self, data: MultiDomain) -> Space:
        """What a search tries on such data: no setting that means nothing there."""
        shared = self.shared_space if data.shares_items and self.uses_products else {}
        timed = any(events.time is not None for events in data.domains.values())
        settings = schema(type(self))
        return {
            name: values
            for name, values in {**self.space, **shared}.items()
            if timed or not settings[name].of_times
        }

    @abstractmethod
    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> Fitted:
        """Learn from ``train``."""

    def cost(self, counts: Counts) -> Cost | None:
        """What a fit on data of such counts costs; None for a method that does not say."""
        return None

    @property
    def has_epochs(self) -> bool:
        """Whether there is a number of epochs to choose."""
        return "epochs" in {entry.name for entry in fields(self)}

    def stopped(self, log: Sequence[Values]) -> Method:
        """The method with as many epochs as the ``log`` of a validated fit found best."""
        validated = [record for record in log if "valid" in record]
        if not validated or not self.has_epochs:
            return self
        # max returns the first of equal epochs, as training with patience does
        best = max(validated, key=lambda record: float(record["valid"]))
        return self.from_settings({**self.flat(), "epochs": best["epoch"] + 1})

    @classmethod
    def label(cls) -> str:
        """The method's name, as in "cdimf.reg must be ..."."""
        return cls.name


def _checked(fit: Callable[..., Fitted]) -> Callable[..., Fitted]:
    """The same ``fit``; DataError, with what to do, for data that are no MultiDomain."""

    @wraps(fit)
    def checked(self: Method, train: MultiDomain, options: FitOptions | None = None) -> Fitted:
        if not isinstance(train, MultiDomain):
            raise DataError(f"fit takes the events as landbridge.read gives them; {_remedy(train)}.")
        return fit(self, train, options)

    return checked


def _remedy(given: object) -> str:
    if isinstance(given, Split):
        return "of this Split give split.test.history, or split.train while you still choose"
    if isinstance(given, Holdout):
        return "of this Holdout give holdout.history"
    return f"read this {type(given).__name__} first: lb.read({{'shop': ...}})"


class StoredState(NamedTuple):
    """What a fitted model is made of again: all that it has beside its ``state``, and that."""

    history: MultiDomain
    method: Method
    log: tuple[Values, ...]
    arrays: Mapping[str, AnyArray]
    about: Values


class DotProducts(Protocol):
    """Scores as products of embeddings: score = x_q · y_i + weight_q × popularity_i.

    Serving ranks such models without computing every score.
    """

    @property
    def item_IF(self) -> Mapping[str, Float32]:
        """Item embeddings y by domain, (I, F)."""

    def query_embeddings(
        self, domain: str, queries: Queries, *, across: bool = False
    ) -> tuple[Float32, Float32]:
        """Embeddings x of the queries, (B, F), and their weights of popularity, (B,), cold-start policy
        included; ``across``: as in ``Fitted.list_scores``.

        Popularity is the share of the domain's users that have an item.
        """


class QueryNetwork(Protocol):
    """A user's embedding and weight of popularity, :class:`DotProducts`, as a function of torch.

    Histories have any length W, oldest event first, -1 behind the last one.
    """

    @property
    def inputs(self) -> tuple[str, ...]:
        """What ``vectors`` takes: "items", the numbers of items in the joined catalogue, and maybe "times" in
        seconds; int64, (B, W) each."""

    @property
    def weights(self) -> Mapping[str, Float32]:
        """The weights by name."""

    def vectors(self, weights: Mapping[str, torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
        """[x, w] for each history, (B, F + 1)."""


@dataclass(frozen=True, eq=False)
class Fitted(ABC):
    """A fitted model: arrays that can score, with all that is needed to use them later.

    ``history``: the events it was fitted on (vocabularies, titles and seen items). ``method``: the settings
    that made it. ``log``: one record of values per epoch.
    ``log_odds``: whether adding ln 2 to an item's score doubles its odds. ``unexplained``: why a kind
    without an ``explain`` of its own has none, in words that complete "no explanation of its own: ...".

    A kind of model implements ``score``, ``state`` and ``from_state`` and overrides what it can do beyond
    that. Serving, reports and selection ask these methods; they know no kinds.
    """

    history: MultiDomain
    method: Method
    log: tuple[Values, ...]
    kind: ClassVar[str]
    unexplained: ClassVar[str] = "its score is not a sum over events"
    log_odds: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__repr__ = Fitted.__repr__  # type: ignore[method-assign]  # dataclass would print the arrays

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.method.name}; {self.history.shape_text})"

    def _repr_html_(self) -> str:
        return html_table(f"{type(self).__name__} of {self.method.name}", self.history.shape_rows)

    @property
    def privacy_facts(self) -> Record | None:
        """What is guaranteed of the rows that this fit sent: what its log says or, at least, its method."""
        logged = (record["privacy"] for record in self.log if "privacy" in record)
        return next(logged, self.method.privacy_facts)

    @abstractmethod
    def score(self, domain: str, queries: Queries) -> Float32:
        """Scores of every item of ``domain`` for every query, (B, I); more is better.

        Events that a query brings replace the user's stored history. A new user is such a query, with the
        number -1, so every kind folds in new users here, in its own way (``Method.folds_in``).
        """

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """Scores on one scale for all domains, (B, I), for a list that mixes them.

        The scores themselves, unless a kind knows how those of different domains compare.
        """
        return self.score(domain, queries)

    @abstractmethod
    def state(self) -> tuple[Arrays, Record]:
        """What was learned, as named arrays and a JSON-able description."""

    @classmethod
    @abstractmethod
    def from_state(cls, kept: StoredState) -> Fitted:
        """The object whose ``state`` was ``kept.arrays, kept.about``."""

    @property
    def known(self) -> MultiDomain:
        """The former name of ``history``, deprecated in version 0.2."""
        warnings.warn(renamed("Fitted.known", "Fitted.history"), DeprecationWarning, stacklevel=2)
        return self.history

    @property
    def explains(self) -> bool:
        """Whether ``explain`` splits a score by events; where not, serving leaves out one event at a time."""
        return False

    @property
    def personal(self) -> bool:
        """Whether scores differ between users."""
        return True

    @property
    def decisions(self) -> tuple[Values, ...]:
        """Which model serves which users, and why; empty for a single model."""
        return ()

    def unlisted(self, domain: str) -> Bool:
        """Items that no list holds, (I,): of data with item features those without events, of which the model
        knows nothing. New items are listed by a method that uses features, by their scores as all others."""
        if self.history.item_features is None:
            return np.zeros(self.history[domain].n_items, bool)
        unknown_I = self.history[domain].item_counts == 0
        return np.asarray(unknown_I & ~(self.history.new_items(domain) & self.method.uses_features))

    def knows(self, domain: str, queries: Queries) -> npt.NDArray[np.bool_]:
        """Whether the scores in ``domain`` use any event of each query, (B,)."""
        return self.uses(domain, queries.event_counts(self.history))

    def uses(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether users with so many events per domain have any that the scores in ``domain`` use, (B,)."""
        return np.asarray((counts_BD > 0).any(axis=1))

    def shares_user_space(self, domain: str, to: str) -> bool:
        """Whether one embedding per user scores both domains, so that their scores and items compare."""
        return False

    @property
    def comparable(self) -> bool:
        """Whether ``list_scores`` of different domains are on one scale."""
        first, *others = self.history.domain_names
        return all(self.shares_user_space(first, to) for to in others)

    def as_dot_products(self) -> DotProducts | None:
        """The model as embeddings to rank by, where its scores are such products."""
        return None

    def query_network(self, domain: str) -> QueryNetwork | None:
        """The network from a user's events to their embedding for a domain, where there is one to export."""
        return None

    def item_embeddings(self, domain: str, to: str) -> tuple[Float32, Float32] | None:
        """Embeddings of the items of two domains in one space, (I, F) each; None without embeddings.

        DataError where the two domains were learned apart.
        """
        return None

    def similar(self, domain: str, item: int, to: str) -> Float32:
        """The cosine similarity of one item to every item of the domain ``to``, (I,)."""
        embeddings = self.item_embeddings(domain, to)
        if embeddings is None:
            return similarity.co_occurrence_cosines(self.history, domain, item, to)
        return similarity.embedding_cosines(embeddings[0][item], embeddings[1])

    def explain(self, domain: str, query: Queries, item_N: Int32) -> list[Explanation]:
        """The scores of some items for one query, each in parts; DataError for a kind that cannot say."""
        raise DataError(
            f"A {self.method.name} model has no explanation of its own: {self.unexplained}. "
            "The server leaves out one event at a time instead."
        )

    def explain_features(self, domain: str, query: Queries, item: int) -> Mapping[int, float]:
        """What the features of an item add to its score for one query, feature -> part.

        Another view of the score that ``explain`` divides by events; what is left of it is what the events of
        other users say. Empty where no feature entered the score, or a kind cannot say.
        """
        return {}

    @property
    def warm_starts(self) -> bool:
        """Whether ``refit`` continues from these embeddings, so that few epochs suffice."""
        return self.method.warm_starts

    def refit(self, data: MultiDomain, options: FitOptions, epochs: int | None = None) -> Self:
        """The same method fitted on other data; ``epochs`` replace its own where it starts warm."""
        method = self.method
        if epochs is not None and self.warm_starts:
            method = method.from_settings({**vars(method), "epochs": epochs})
        fitted = method.fit(data, replace(options, initial=self))
        # the run keeps its own settings: ``epochs`` was for this refit only
        return replace(fitted, method=self.method)  # type: ignore[return-value]

    def with_new_items(self, data: MultiDomain) -> Self:
        """The model on ``data``: its own, with more items without events (:meth:`MultiDomain.new_items`).

        DataError for a method that ignores features, and for a kind that cannot score an item without
        another fit.
        """
        if not self.method.uses_features:
            raise self._needs_refit()
        return self.grown(data)

    def grown(self, data: MultiDomain) -> Self:
        """As :meth:`with_new_items`, also of a method that ignores features, to which all new items are
        alike: a member of a blend that others make list them."""
        raise self._needs_refit()

    def _needs_refit(self) -> DataError:
        return DataError(
            f"A {self.method.name} model cannot list new items without a refit; give the table of item "
            "features to landbridge refit."
        )

    def fit_on(self, data: MultiDomain, options: FitOptions) -> Fitted:
        """The same method fitted on other data from the start."""
        return self.method.fit(data, options)

    def check_arrays(self) -> None:
        """DataError where arrays do not fit the data or are not finite, as in a damaged or forged file."""
        return
