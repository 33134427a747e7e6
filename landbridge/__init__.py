"""landbridge: cross-domain recommendation in which every domain gains.

    import landbridge as lb

    data = lb.read({"books": "books.csv", "movies": "movies.parquet"}, users="shared")
    split = lb.leave_last_out(data, seed=7)
    model = lb.CDIMF(factors=64).fit(split.test.known)
    print(lb.evaluate(model, split.test).summary())

The names in ``__all__`` are the public interface. Each is imported when it is first used, so that
``import landbridge`` itself stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landbridge.data.doctor import examine
    from landbridge.data.readers import read, read_published
    from landbridge.data.splits import (
        cold_users,
        leave_last_out,
        leave_latest_out,
        leave_one_out,
        temporal,
        with_candidates,
    )
    from landbridge.errors import DataError, LandbridgeError, SettingsError, StoreError
    from landbridge.evaluation.evaluate import Validator, evaluate
    from landbridge.evaluation.significance import compare
    from landbridge.models.adc import ADC
    from landbridge.models.bprmf import BPRMF
    from landbridge.models.cdimf import CDIMF
    from landbridge.models.dwl import DWL
    from landbridge.models.ials import IALS
    from landbridge.models.lightgcn import LightGCN
    from landbridge.models.pepnet import PEPNet
    from landbridge.models.popularity import Popularity
    from landbridge.models.sasrec import SASRec
    from landbridge.models.uclr import UCLR
    from landbridge.recommending import explain, fold_in, recommend, recommend_all
    from landbridge.selection.auto import auto
    from landbridge.selection.compat import compat
    from landbridge.selection.guard import guard
    from landbridge.selection.transfer import transfer_matrix
    from landbridge.store import load, save
    from landbridge.training.options import FitOptions
    from landbridge.tuning.search import Budget, search

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
    "compat",
    "evaluate",
    "examine",
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
    "search",
    "temporal",
    "transfer_matrix",
    "with_candidates",
]

_HOME = {
    "data.doctor": ("examine",),
    "data.readers": ("read", "read_published"),
    "data.splits": (
        "cold_users",
        "leave_last_out",
        "leave_latest_out",
        "leave_one_out",
        "temporal",
        "with_candidates",
    ),
    "errors": ("DataError", "LandbridgeError", "SettingsError", "StoreError"),
    "evaluation.evaluate": ("Validator", "evaluate"),
    "evaluation.significance": ("compare",),
    "models.adc": ("ADC",),
    "models.bprmf": ("BPRMF",),
    "models.cdimf": ("CDIMF",),
    "models.dwl": ("DWL",),
    "models.ials": ("IALS",),
    "models.lightgcn": ("LightGCN",),
    "models.pepnet": ("PEPNet",),
    "models.popularity": ("Popularity",),
    "models.sasrec": ("SASRec",),
    "models.uclr": ("UCLR",),
    "recommending": ("explain", "fold_in", "recommend", "recommend_all"),
    "selection.auto": ("auto",),
    "selection.compat": ("compat",),
    "selection.guard": ("guard",),
    "selection.transfer": ("transfer_matrix",),
    "store": ("load", "save"),
    "training.options": ("FitOptions",),
    "tuning.search": ("Budget", "search"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'landbridge' has no attribute {name!r}")
    value = getattr(import_module(f"landbridge.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
