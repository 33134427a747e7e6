"""Run folders: a fitted model with its data, settings, log and holdout, in open formats, never pickled."""

from landbridge.store.folder import attach, attached
from landbridge.store.runs import load, load_holdout, save, save_holdout

__all__ = ["attach", "attached", "load", "load_holdout", "save", "save_holdout"]
