"""Services that several files look at; they never change, so one of each kind is enough."""

from __future__ import annotations

from typing import Any

import pytest
from shops import FEW, MODELS, fit, opened

from landbridge.models import registry
from landbridge.models.als.cdimf import CDIMF
from landbridge.serving.engine.service import Service


@pytest.fixture(scope="session", params=list(MODELS))
def service(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service of every kind of model."""
    method = registry.method(request.param).from_settings(MODELS[request.param])
    return opened(fit(method), tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """One of CDIMF."""
    return opened(fit(CDIMF(**FEW)), tmp_path_factory.mktemp("joint"))
