"""landbridge: cross-domain recommendation in which every domain gains.

    import landbridge as lb

    data = lb.read({"books": "books.csv", "movies": "movies.parquet"}, users="shared")
    split = lb.leave_last_out(data, seed=7)
    model = lb.CDIMF(factors=64).fit(split.test.history)
    print(lb.evaluate(model, split.test).summary())

The names in ``__all__`` are the public interface. Each is imported when it is first used, so that
``import landbridge`` itself stays quick.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landbridge.core.errors import DataError, LandbridgeError, SettingsError, StoreError
    from landbridge.data.diagnostics import diagnose
    from landbridge.data.io.readers import read
    from landbridge.data.splitting.splits import (
        cold_users,
        leave_last_out,
        leave_latest_out,
        leave_one_out,
        temporal,
        with_candidates,
    )
    from landbridge.datasets.published import read_published
    from landbridge.evaluation.evaluate import Validator, evaluate
    from landbridge.evaluation.significance import compare
    from landbridge.inference import explain, fold_in, recommend, recommend_all
    from landbridge.models.als.cdimf import CDIMF
    from landbridge.models.als.ials import IALS
    from landbridge.models.pairwise.bprmf import BPRMF
    from landbridge.models.pairwise.lightgcn import LightGCN
    from landbridge.models.popularity import Popularity
    from landbridge.models.sequential.dwl import DWL
    from landbridge.models.sequential.sasrec import SASRec
    from landbridge.models.towers.adc import ADC
    from landbridge.models.towers.pepnet import PEPNet
    from landbridge.models.uclr.method import UCLR
    from landbridge.selection.auto import auto
    from landbridge.selection.guard import guard
    from landbridge.selection.search import Budget, tune
    from landbridge.store import load, save
    from landbridge.studies.transfer.compatibility import transferability
    from landbridge.studies.transfer.matrix import transfer_matrix
    from landbridge.training.options import FitOptions

from landbridge.version import __version__ as __version__

__all__ = [
    "ADC",
    "BPRMF",
    "CDIMF",
    "DWL",
    "IALS",
    "UCLR",
    "Budget",
    "DataError",
    "FitOptions",
    "LandbridgeError",
    "LightGCN",
    "PEPNet",
    "Popularity",
    "SASRec",
    "SettingsError",
    "StoreError",
    "Validator",
    "auto",
    "cold_users",
    "compare",
    "diagnose",
    "evaluate",
    "explain",
    "fold_in",
    "guard",
    "leave_last_out",
    "leave_latest_out",
    "leave_one_out",
    "load",
    "read",
    "read_published",
    "recommend",
    "recommend_all",
    "save",
    "temporal",
    "transfer_matrix",
    "transferability",
    "tune",
    "with_candidates",
]

_HOME = {
    "data.diagnostics": ("diagnose",),
    "data.io.readers": ("read",),
    "datasets.published": ("read_published",),
    "data.splitting.splits": (
        "cold_users",
        "leave_last_out",
        "leave_latest_out",
        "leave_one_out",
        "temporal",
        "with_candidates",
    ),
    "core.errors": ("DataError", "LandbridgeError", "SettingsError", "StoreError"),
    "evaluation.evaluate": ("Validator", "evaluate"),
    "evaluation.significance": ("compare",),
    "models.towers.adc": ("ADC",),
    "models.pairwise.bprmf": ("BPRMF",),
    "models.als.cdimf": ("CDIMF",),
    "models.sequential.dwl": ("DWL",),
    "models.als.ials": ("IALS",),
    "models.pairwise.lightgcn": ("LightGCN",),
    "models.towers.pepnet": ("PEPNet",),
    "models.popularity": ("Popularity",),
    "models.sequential.sasrec": ("SASRec",),
    "models.uclr.method": ("UCLR",),
    "inference": ("explain", "fold_in", "recommend", "recommend_all"),
    "selection.auto": ("auto",),
    "studies.transfer.compatibility": ("transferability",),
    "selection.guard": ("guard",),
    "studies.transfer.matrix": ("transfer_matrix",),
    "store": ("load", "save"),
    "training.options": ("FitOptions",),
    "selection.search": ("Budget", "tune"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}
_RENAMED = {"compat": "transferability", "examine": "diagnose", "search": "tune"}  # until 0.3


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        message = f"landbridge.{name} is now landbridge.{_RENAMED[name]}; the old name goes in version 0.3."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return __getattr__(_RENAMED[name])
    if name not in _MODULE:
        raise AttributeError(f"module 'landbridge' has no attribute {name!r}")
    value = getattr(import_module(f"landbridge.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
