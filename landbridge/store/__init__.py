"""Run folders: a fitted model with its data, settings, log and holdout, in open formats, never pickled.

A versions folder holds several; its path stands for the run folder of its current version.
"""

from landbridge.store.folder import attach, attached, only_writer
from landbridge.store.pointer import run_folder, version_of
from landbridge.store.runs import (
    deployed,
    known_users,
    lacks_test_events,
    load,
    load_holdout,
    load_unverified,
    save,
    save_holdout,
    verify,
)
from landbridge.store.versions import (
    in_use,
    keep_refusal,
    last_refusal,
    new_run,
    prune,
    rollback,
    version_paths,
    versions,
)

__all__ = [
    "attach",
    "attached",
    "deployed",
    "in_use",
    "keep_refusal",
    "known_users",
    "lacks_test_events",
    "last_refusal",
    "load",
    "load_holdout",
    "load_unverified",
    "new_run",
    "only_writer",
    "prune",
    "rollback",
    "run_folder",
    "save",
    "save_holdout",
    "verify",
    "version_of",
    "version_paths",
    "versions",
]
