"""Every method and every kind of fitted model by name, of plug-ins too; classes are imported on demand."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from landbridge.core import plugins
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
    "mvdnn": "landbridge.models.towers.mvdnn:MVDNN",
    "neumf": "landbridge.models.towers.neumf:NeuMF",
    "pepnet": "landbridge.models.towers.pepnet:PEPNet",
    "popularity": "landbridge.models.popularity:Popularity",
    "recsysdan": "landbridge.models.towers.recsysdan:RecSysDAN",
    "sasrec": "landbridge.models.sequential.sasrec:SASRec",
    "seqrules": "landbridge.models.linear.sequential_rules:SequentialRules",
    "uclr": "landbridge.models.uclr.method:UCLR",
    "unicdr": "landbridge.models.towers.unicdr:UniCDR",
}

KINDS = {
    "aggregated": "landbridge.models.towers.aggregation:AggregatedModel",
    "combined": "landbridge.models.towers.combination:CombinedModel",
    "counts": "landbridge.models.popularity:PopularityModel",
    "encoded": "landbridge.models.uclr.fitted:AutoencoderModel",
    "factors": "landbridge.models.als.fitted:ALSModel",
    "graph": "landbridge.models.graph.fitted:GraphModel",
    "item_item": "landbridge.models.linear.fitted:ItemItemModel",
    "mapped": "landbridge.models.mapping.fitted:MappedModel",
    "mixture": "landbridge.models.mixture:BlendModel",
    "network": "landbridge.models.towers.fitted:TowerModel",
    "rules": "landbridge.models.linear.sequential_rules:RulesModel",
    "sequence": "landbridge.models.sequential.fitted:SequenceModel",
    "transferred": "landbridge.models.uclr.transfer:TransferModel",
    "vectors": "landbridge.models.pairwise.fitted:EmbeddingModel",
}


def names() -> tuple[str, ...]:
    """The names of all methods, sorted."""
    return tuple(sorted({*METHODS, *plugins.plugins(plugins.METHODS)}))


def methods() -> tuple[dict[str, type[Method]], list[str]]:
    """Name -> class of all methods that can be loaded, and one sentence for each plug-in that cannot."""
    found, broken = {name: method(name) for name in sorted(METHODS)}, []
    for name, plugin in plugins.plugins(plugins.METHODS).items():
        try:
            if name in METHODS:
                raise plugin.error("has the name of a method of landbridge")
            found[name] = method(name)
        except SettingsError as error:
            broken.append(str(error))
    return found, broken


def method(name: str) -> type[Method]:
    """The method's class."""
    kind: type[Method] = _find("method", name, METHODS, plugins.METHODS, Method)
    if name not in METHODS and kind.name != name:
        raise plugins.plugins(plugins.METHODS)[name].error(f"is a method called {kind.name!r}")
    return kind


def kind(name: str) -> type[Fitted]:
    """The class of a stored model."""
    kind: type[Fitted] = _find("kind of model", name, KINDS, plugins.KINDS, Fitted)
    return kind


def package_of(name: str) -> str | None:
    """The package whose plug-in a method is; None for a method of landbridge."""
    plugin = None if name in METHODS else plugins.plugins(plugins.METHODS).get(name)
    return None if plugin is None else plugin.package


def _find(what: str, name: str, table: Mapping[str, str], group: str, base: type) -> type:
    if name in table:
        module, _, attribute = table[name].partition(":")
        kind: type = getattr(import_module(module), attribute)
        return kind
    added = plugins.plugins(group)
    if name not in added:
        raise SettingsError(unknown(what, name, {*table, *added}))
    found = added[name].load()
    if not (isinstance(found, type) and issubclass(found, base)):
        raise added[name].error(f"is no {base.__name__}")
    return found
