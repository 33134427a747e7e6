"""What UCLR can start from: methods that say so themselves."""

from __future__ import annotations

import pytest

from landbridge.core.errors import SettingsError
from landbridge.models import registry
from landbridge.models.uclr.method import UCLR


def test_methods_with_embeddings_say_so() -> None:
    able = {name for name in registry.names() if registry.method(name).pretrains}
    assert able == {"bprmf", "ials", "lightgcn", "pepnet"}


@pytest.mark.parametrize(("name", "nearest"), [("popularity", "pretrain.method"), ("ial", "ials")])
def test_others_are_refused_in_one_sentence(name: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=nearest):
        UCLR.from_settings({"pretrain.method": name})
