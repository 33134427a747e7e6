"""Every method and every kind of fitted model by name; classes are imported when asked for."""

from __future__ import annotations

from importlib import import_module

from landbridge.errors import SettingsError, unknown
from landbridge.models.base import Fitted, Method

METHODS = {
    "adc": "landbridge.models.adc:ADC",
    "bprmf": "landbridge.models.bprmf:BPRMF",
    "cdimf": "landbridge.models.cdimf:CDIMF",
    "cmf": "landbridge.models.cmf:CMF",
    "conet": "landbridge.models.conet:CoNet",
    "dwl": "landbridge.models.dwl:DWL",
    "ials": "landbridge.models.ials:IALS",
    "lightgcn": "landbridge.models.lightgcn:LightGCN",
    "mixture": "landbridge.models.mixture:Mixture",
    "neumf": "landbridge.models.neumf:NeuMF",
    "pepnet": "landbridge.models.pepnet:PEPNet",
    "popularity": "landbridge.models.popularity:Popularity",
    "sasrec": "landbridge.models.sasrec:SASRec",
    "uclr": "landbridge.models.uclr:UCLR",
}

KINDS = {
    "counts": "landbridge.models.popularity:Counts",
    "encoded": "landbridge.models.parts.encoded:Encoded",
    "factors": "landbridge.models.parts.factors:Factors",
    "mixture": "landbridge.models.mixture:Blend",
    "network": "landbridge.models.parts.network:Network",
    "sequence": "landbridge.models.parts.sequence_model:Sequential",
    "vectors": "landbridge.models.parts.vectors:Vectors",
}


def names() -> tuple[str, ...]:
    """The names of all methods, sorted."""
    return tuple(sorted(METHODS))


def method(name: str) -> type[Method]:
    """The method's class."""
    found: type[Method] = _find("method", name, METHODS)
    return found


def kind(name: str) -> type[Fitted]:
    """The class of a stored model."""
    found: type[Fitted] = _find("kind of model", name, KINDS)
    return found


def _find(what: str, name: str, table: dict[str, str]) -> type:
    if name not in table:
        raise SettingsError(unknown(what, name, table))
    module, _, attribute = table[name].partition(":")
    found: type = getattr(import_module(module), attribute)
    return found
