"""Deprecated names: they work for two minor versions, and say what they are called now."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

GOES = "0.4"  # the first version without the names that 0.2 deprecated


def renamed(old: str, new: str) -> str:
    """The sentence of a warning: what ``old`` is called now, and when it goes."""
    return f"{old} is now {new}; the old name goes in version {GOES}."


def renamed_argument(old: str, new: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Accept the keyword ``old`` for the argument ``new`` of the decorated function, with a warning."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if old in kwargs:
                message = renamed(f"The argument {old!r}", repr(new))
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


def moved(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a former module whose ``names`` live elsewhere now: name -> new module."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        message = renamed(f"{module}.{name}", f"{names[name]}.{name}")
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(import_module(names[name]), name)

    return find
