"""Trackers by name: where the values of a fit are reported besides the terminal.

A tracker is a class or function of a place (a folder, an address) and the inner :class:`Progress`, to which
it passes every report on; it gives a :class:`Progress`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.plugins import TRACKERS, plugins
from landbridge.core.progress import Progress


def tracked(text: str, inner: Progress) -> Progress:
    """``inner`` behind the tracker of ``NAME=PLACE``, such as ``tensorboard=curves``.

    SettingsError for an unknown tracker or a text of another form.
    """
    name, equals, place = text.partition("=")
    if not (name and equals and place):
        raise SettingsError(f"A tracker is given as NAME=PLACE, such as tensorboard=curves, not {text!r}.")
    return _tracker(name)(place, inner)


def _tracker(name: str) -> Callable[[str, Progress], Progress]:
    if name in _OWN:
        return _OWN[name]
    added = plugins(TRACKERS)
    if name not in added:
        raise SettingsError(unknown("tracker", name, {*_OWN, *added}))
    found: Callable[[str, Progress], Progress] = added[name].load()
    if not callable(found):
        raise added[name].error("is no function")
    return found


def _tensorboard(place: str, inner: Progress) -> Progress:
    from landbridge.core.tensorboard import TensorBoard

    return TensorBoard(Path(place), inner)


def _mlflow(place: str, inner: Progress) -> Progress:
    from landbridge.core import tracker_runs

    return tracker_runs.mlflow(place, inner)


def _wandb(place: str, inner: Progress) -> Progress:
    from landbridge.core import tracker_runs

    return tracker_runs.wandb(place, inner)


_OWN = {"mlflow": _mlflow, "tensorboard": _tensorboard, "wandb": _wandb}
