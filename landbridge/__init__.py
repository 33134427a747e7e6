"""landbridge: cross-domain recommendation in which every domain gains.

    import landbridge as lb

    data = lb.read({"books": "books.csv", "movies": "movies.parquet"}, users="shared")
    split = lb.leave_last_out(data, seed=7)
    model = lb.CDIMF(factors=64).fit(split.test.history)
    print(lb.evaluate(model, split.test).summary())

The names in ``__all__`` are the public interface. Each is imported when it is first used, so that
``import landbridge`` itself stays quick.
"""

import os
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

# A thread of OpenMP (numba, torch) waits in a loop for its next piece of work, by default for some 10 ms.
# Where other work takes a processor in between, the loops burn the time that it needs: a network on two
# threads takes many times as long as on one. Between two pieces of one step a fraction of a millisecond is
# enough. The libraries read this when they are loaded, hence here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from landbridge.core.errors import (
        DataError,
        DivergenceError,
        FederationError,
        LandbridgeError,
        MissingExtraError,
        SettingsError,
        StoreError,
    )
    from landbridge.data.dataset import MultiDomain
    from landbridge.data.diagnostics import diagnose
    from landbridge.data.interactions import Interactions
    from landbridge.data.io.readers import read
    from landbridge.data.io.text_vectors import with_text_vectors
    from landbridge.data.link_proposals import propose_links
    from landbridge.data.queries import Queries
    from landbridge.data.splitting.holdout import Holdout, Split, Targets
    from landbridge.data.splitting.splits import (
        cold_users,
        leave_last_out,
        leave_latest_out,
        leave_one_out,
        temporal,
        with_candidates,
    )
    from landbridge.data.vocabulary import Vocabulary
    from landbridge.datasets.published import read_published
    from landbridge.evaluation.evaluate import Evaluation, Validator, evaluate, over_seeds
    from landbridge.evaluation.external import external
    from landbridge.evaluation.significance import Comparison, compare, compare_over_domains
    from landbridge.inference import (
        ListRules,
        PageList,
        explain,
        explain_features,
        fold_in,
        recommend,
        recommend_all,
        recommend_page,
    )
    from landbridge.models.als.cdimf import CDIMF
    from landbridge.models.als.ials import IALS
    from landbridge.models.base import Fitted, Method
    from landbridge.models.graph.bitgcf import BiTGCF
    from landbridge.models.graph.disencdr import DisenCDR
    from landbridge.models.graph.herograph import HeroGRAPH
    from landbridge.models.linear.ease import EASE
    from landbridge.models.linear.item_knn import ItemKNN
    from landbridge.models.mapping.emcdr import EMCDR
    from landbridge.models.mixture import Mixture
    from landbridge.models.pairwise.bprmf import BPRMF
    from landbridge.models.pairwise.lightgcn import LightGCN
    from landbridge.models.popularity import Popularity
    from landbridge.models.sequential.dwl import DWL
    from landbridge.models.sequential.sasrec import SASRec
    from landbridge.models.towers.adc import ADC
    from landbridge.models.towers.cmf import CMF
    from landbridge.models.towers.conet import CoNet
    from landbridge.models.towers.gamtcdr import GAMTCDR
    from landbridge.models.towers.mvdnn import MVDNN
    from landbridge.models.towers.neumf import NeuMF
    from landbridge.models.towers.pepnet import PEPNet
    from landbridge.models.towers.recsysdan import RecSysDAN
    from landbridge.models.towers.unicdr import UniCDR
    from landbridge.models.uclr.catart import CATART
    from landbridge.models.uclr.method import UCLR
    from landbridge.ranking.list_order import Boost, Pin
    from landbridge.selection.auto import auto
    from landbridge.selection.guard import guard
    from landbridge.selection.search import Budget, TuningResult, tune
    from landbridge.store import load, save
    from landbridge.studies.transfer.compatibility import transferability
    from landbridge.studies.transfer.matrix import transfer_matrix
    from landbridge.training.options import FitOptions

from landbridge.version import __version__ as __version__

__all__ = [
    "ADC",
    "BPRMF",
    "CATART",
    "CDIMF",
    "CMF",
    "DWL",
    "EASE",
    "EMCDR",
    "GAMTCDR",
    "IALS",
    "MVDNN",
    "UCLR",
    "BiTGCF",
    "Boost",
    "Budget",
    "CoNet",
    "Comparison",
    "DataError",
    "DisenCDR",
    "DivergenceError",
    "Evaluation",
    "FederationError",
    "FitOptions",
    "Fitted",
    "HeroGRAPH",
    "Holdout",
    "Interactions",
    "ItemKNN",
    "LandbridgeError",
    "LightGCN",
    "ListRules",
    "Method",
    "MissingExtraError",
    "Mixture",
    "MultiDomain",
    "NeuMF",
    "PEPNet",
    "PageList",
    "Pin",
    "Popularity",
    "Queries",
    "RecSysDAN",
    "SASRec",
    "SettingsError",
    "Split",
    "StoreError",
    "Targets",
    "TuningResult",
    "UniCDR",
    "Validator",
    "Vocabulary",
    "auto",
    "cold_users",
    "compare",
    "compare_over_domains",
    "diagnose",
    "evaluate",
    "explain",
    "explain_features",
    "external",
    "fold_in",
    "guard",
    "leave_last_out",
    "leave_latest_out",
    "leave_one_out",
    "load",
    "over_seeds",
    "propose_links",
    "read",
    "read_published",
    "recommend",
    "recommend_all",
    "recommend_page",
    "save",
    "temporal",
    "transfer_matrix",
    "transferability",
    "tune",
    "with_candidates",
    "with_text_vectors",
]

_HOME = {
    "core.errors": (
        "DataError",
        "DivergenceError",
        "FederationError",
        "LandbridgeError",
        "MissingExtraError",
        "SettingsError",
        "StoreError",
    ),
    "data.dataset": ("MultiDomain",),
    "data.diagnostics": ("diagnose",),
    "data.interactions": ("Interactions",),
    "data.link_proposals": ("propose_links",),
    "data.io.readers": ("read",),
    "data.io.text_vectors": ("with_text_vectors",),
    "data.queries": ("Queries",),
    "data.splitting.holdout": ("Holdout", "Split", "Targets"),
    "data.splitting.splits": (
        "cold_users",
        "leave_last_out",
        "leave_latest_out",
        "leave_one_out",
        "temporal",
        "with_candidates",
    ),
    "data.vocabulary": ("Vocabulary",),
    "datasets.published": ("read_published",),
    "evaluation.evaluate": ("Evaluation", "Validator", "evaluate", "over_seeds"),
    "evaluation.external": ("external",),
    "evaluation.significance": ("Comparison", "compare", "compare_over_domains"),
    "inference": (
        "ListRules",
        "PageList",
        "explain",
        "explain_features",
        "fold_in",
        "recommend",
        "recommend_all",
        "recommend_page",
    ),
    "models.als.cdimf": ("CDIMF",),
    "models.als.ials": ("IALS",),
    "models.graph.bitgcf": ("BiTGCF",),
    "models.graph.disencdr": ("DisenCDR",),
    "models.graph.herograph": ("HeroGRAPH",),
    "models.linear.ease": ("EASE",),
    "models.linear.item_knn": ("ItemKNN",),
    "models.mapping.emcdr": ("EMCDR",),
    "models.base": ("Fitted", "Method"),
    "models.mixture": ("Mixture",),
    "models.pairwise.bprmf": ("BPRMF",),
    "models.pairwise.lightgcn": ("LightGCN",),
    "models.popularity": ("Popularity",),
    "models.sequential.dwl": ("DWL",),
    "models.sequential.sasrec": ("SASRec",),
    "models.towers.adc": ("ADC",),
    "models.towers.cmf": ("CMF",),
    "models.towers.conet": ("CoNet",),
    "models.towers.gamtcdr": ("GAMTCDR",),
    "models.towers.mvdnn": ("MVDNN",),
    "models.towers.neumf": ("NeuMF",),
    "models.towers.pepnet": ("PEPNet",),
    "models.towers.recsysdan": ("RecSysDAN",),
    "models.towers.unicdr": ("UniCDR",),
    "models.uclr.catart": ("CATART",),
    "models.uclr.method": ("UCLR",),
    "ranking.list_order": ("Boost", "Pin"),
    "selection.auto": ("auto",),
    "selection.guard": ("guard",),
    "selection.search": ("Budget", "TuningResult", "tune"),
    "store": ("load", "save"),
    "studies.transfer.compatibility": ("transferability",),
    "studies.transfer.matrix": ("transfer_matrix",),
    "training.options": ("FitOptions",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}
_RENAMED = {"compat": "transferability", "examine": "diagnose", "search": "tune"}  # deprecated in 0.2


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        from landbridge.core.deprecation import renamed

        message = renamed(f"landbridge.{name}", f"landbridge.{_RENAMED[name]}")
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return __getattr__(_RENAMED[name])
    if name not in _MODULE:
        raise AttributeError(f"module 'landbridge' has no attribute {name!r}")
    value = getattr(import_module(f"landbridge.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
