"""Lazy import of torch, which is an extra: imported on demand, with one sentence where it is missing."""

from __future__ import annotations

from typing import Any

from landbridge.core.errors import MissingExtraError, SettingsError


def torch() -> Any:
    """The torch module; MissingExtraError says how to install it."""
    try:
        import torch as module
    except ModuleNotFoundError:
        raise MissingExtraError(
            "Networks need torch, which is not installed: pip install 'landbridge[neural]'."
        ) from None
    return module


def device(wanted: str) -> Any:
    """The torch device for ``FitOptions.device``; SettingsError for CUDA where there is none."""
    found = torch().cuda.is_available()
    if wanted == "cuda" and not found:
        raise SettingsError("device is 'cuda', but torch finds no CUDA device here; use 'auto' or 'cpu'.")
    return torch().device("cuda" if found and wanted != "cpu" else "cpu")
