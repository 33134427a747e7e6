"""Every method and every kind of fitted model by name; classes are imported on demand."""

from __future__ import annotations

from importlib import import_module

from landbridge.core.errors import SettingsError, unknown
from landbridge.models.base import Fitted, Method

METHODS = {
    "adc": "landbridge.models.towers.adc:ADC",
    "bitgcf": "landbridge.models.graph.bitgcf:BiTGCF",
    "bprmf": "landbridge.models.pairwise.bprmf:BPRMF",
    "catart": "landbridge.models.uclr.catart:CATART",
    "cdimf": "landbridge.models.als.cdimf:CDIMF",
    "cmf": "landbridge.models.towers.cmf:CMF",
    "conet": "landbridge.models.towers.conet:CoNet",
    "disencdr": "landbridge.models.graph.disencdr:DisenCDR",
    "dwl": "landbridge.models.sequential.dwl:DWL",
    "ease": "landbridge.models.linear.ease:EASE",
    "emcdr": "landbridge.models.mapping.emcdr:EMCDR",
    "gamtcdr": "landbridge.models.towers.gamtcdr:GAMTCDR",
    "herograph": "landbridge.models.graph.herograph:HeroGRAPH",
    "ials": "landbridge.models.als.ials:IALS",
    "itemknn": "landbridge.models.linear.item_knn:ItemKNN",
    "lightgcn": "landbridge.models.pairwise.lightgcn:LightGCN",
    "mixture": "landbridge.models.mixture:Mixture",
    "neumf": "landbridge.models.towers.neumf:NeuMF",
    "pepnet": "landbridge.models.towers.pepnet:PEPNet",
    "popularity": "landbridge.models.popularity:Popularity",
    "recsysdan": "landbridge.models.towers.recsysdan:RecSysDAN",
    "sasrec": "landbridge.models.sequential.sasrec:SASRec",
    "uclr": "landbridge.models.uclr.method:UCLR",
}

KINDS = {
    "combined": "landbridge.models.towers.combination:CombinedModel",
    "counts": "landbridge.models.popularity:PopularityModel",
    "encoded": "landbridge.models.uclr.fitted:AutoencoderModel",
    "factors": "landbridge.models.als.fitted:ALSModel",
    "graph": "landbridge.models.graph.fitted:GraphModel",
    "item_item": "landbridge.models.linear.fitted:ItemItemModel",
    "mapped": "landbridge.models.mapping.fitted:MappedModel",
    "mixture": "landbridge.models.mixture:BlendModel",
    "network": "landbridge.models.towers.fitted:TowerModel",
    "sequence": "landbridge.models.sequential.fitted:SequenceModel",
    "transferred": "landbridge.models.uclr.transfer:TransferModel",
    "vectors": "landbridge.models.pairwise.fitted:EmbeddingModel",
}


def names() -> tuple[str, ...]:
    """The names of all methods, sorted."""
    return tuple(sorted(METHODS))


def method(name: str) -> type[Method]:
    """The method's class."""
    kind: type[Method] = _find("method", name, METHODS)
    return kind


def kind(name: str) -> type[Fitted]:
    """The class of a stored model."""
    kind: type[Fitted] = _find("kind of model", name, KINDS)
    return kind


def _find(what: str, name: str, table: dict[str, str]) -> type:
    if name not in table:
        raise SettingsError(unknown(what, name, table))
    module, _, attribute = table[name].partition(":")
    kind: type = getattr(import_module(module), attribute)
    return kind
