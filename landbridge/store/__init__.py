"""Run folders: a fitted model with its data, settings, log and holdout, in open formats, never pickled."""

from landbridge.store.folder import attach, attached
from landbridge.store.runs import deployed, lacks_test_events, load, load_holdout, save, save_holdout

__all__ = [
    "attach",
    "attached",
    "deployed",
    "lacks_test_events",
    "load",
    "load_holdout",
    "save",
    "save_holdout",
]
