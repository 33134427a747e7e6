"""Lazy import of torch, with a clear error where the ``neural`` extra is not installed."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from landbridge.core.errors import MissingExtraError, SettingsError

if TYPE_CHECKING:
    import torch as torch
else:

    class _LazyTorch:
        """Stands for the module and imports it at the first use: importing torch takes seconds."""

        def __getattr__(self, name: str) -> object:
            try:
                import torch as module
            except ModuleNotFoundError:
                raise MissingExtraError(
                    "Networks need torch, which is not installed: pip install 'landbridge[neural]'."
                ) from None
            return getattr(module, name)

    torch = _LazyTorch()


def device(requested: str) -> torch.device:
    """The torch device for ``FitOptions.device``; SettingsError for CUDA where there is none."""
    available = torch.cuda.is_available()
    if requested == "cuda" and not available:
        raise SettingsError("device is 'cuda', but torch finds no CUDA device here; use 'auto' or 'cpu'.")
    return torch.device("cuda" if available and requested != "cpu" else "cpu")


def lacks_bfloat16(where: torch.device) -> bool:
    """Whether 16-bit products are emulated there: on processors of x86 without AVX-512."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return bool(where.type == "cpu" and x86 and "AVX512" not in torch.backends.cpu.get_cpu_capability())
