"""Pretrained embeddings that a method starts from: which method learns them, and how a run keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.settings import Settings, schema, setting
from landbridge.core.types import AnyArray, Arrays, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.models.base import Method, StoredState
from landbridge.models.common.dot_product import DotProductModel
from landbridge.training.options import FitOptions

PREFIX = "base/"  # of the pretrained model's arrays in those of the model that holds it


@dataclass(frozen=True)
class Pretraining(Settings):
    """The method that learns the first embeddings of users and items."""

    method: str = setting(
        "bprmf", "The method of the first embeddings of users and items (bprmf, ials, lightgcn, ...)."
    )
    settings: Values = setting({"reg": 1e-5}, "Its settings.")

    def chosen(self, factors: int, sharing: str) -> Method:
        """The method, with embeddings of this length and ``sharing`` where it has the choice.

        SettingsError for a method that gives no embeddings, and for settings that it does not know.
        """
        from landbridge.models import registry

        if self.method not in registry.names() or not registry.method(self.method).pretrains:
            able = [name for name, kind in registry.methods()[0].items() if kind.pretrains]
            raise SettingsError(unknown("pretrain.method", self.method, able))
        kind = registry.method(self.method)
        shared = {"sharing": sharing} if "sharing" in schema(kind) else {}
        return kind.from_settings({"factors": factors, **shared, **self.settings})

    def stopped(self, pretrainer: Method, best: Mapping[str, int], phase: str) -> Record:
        """The setting of the best number of epochs of ``phase``; none if it has no epochs to choose."""
        if phase not in best or not pretrainer.has_epochs:
            return {}
        return {"pretrain.settings": {**self.settings, "epochs": best[phase]}}


def migrated_pretraining(settings: Record, default: Pretraining) -> Record:
    """Settings by dotted name, the pretrainer's own with today's names; ``default``: where none is named."""
    from landbridge.models import registry

    inner = settings.get("pretrain.settings")
    if not isinstance(inner, Mapping):  # refused later, with its name
        return settings
    kind = registry.method(settings.get("pretrain.method", default.method))
    return {**settings, "pretrain.settings": kind.migrated(inner)}


def pretrained(pretrainer: Method, train: MultiDomain, options: FitOptions) -> DotProductModel:
    """The pretrainer's model."""
    return cast(DotProductModel, pretrainer.fit(train, options))  # what ``Method.pretrains`` promises


def base_state(base: DotProductModel) -> tuple[Arrays, Record]:
    """The pretrained model as a part of the state of the model that holds it."""
    arrays, about = base.state()
    method = base.method
    description = {"kind": base.kind, "method": method.name, "settings": method.flat(), "about": about}
    return {PREFIX + name: array for name, array in arrays.items()}, {"base": description}


def base_from(history: MultiDomain, arrays: Mapping[str, AnyArray], about: Values) -> DotProductModel:
    """The inverse of :func:`base_state`."""
    from landbridge.models import registry

    base = about["base"]
    own = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    kind = registry.method(base["method"])
    method = kind.from_settings(kind.migrated(base["settings"]))
    stored = StoredState(history, method, (), own, base["about"])
    return cast(DotProductModel, registry.kind(base["kind"]).from_state(stored))
