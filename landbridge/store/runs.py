"""Saving and loading fitted models and the holdouts they are to be evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from landbridge.core.errors import SettingsError, StoreError, as_store_error
from landbridge.core.files import StoredFile, locked, read_arrays, write_arrays, write_hashed
from landbridge.core.types import Record, Values
from landbridge.data.arrays import data_arrays, data_from, users_from
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Holdout
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.base import Fitted, Method, StoredState
from landbridge.store import serialization
from landbridge.store.folder import (
    FORMAT,
    VERSION,
    Manifest,
    attach,
    file_to_map,
    prepare,
    publish,
    read_manifest,
    stored_files,
    verified_file,
    verify_mapped,
)
from landbridge.store.pointer import run_folder


def save(fitted: Fitted, path: str | Path, *, deployed: bool = False, gate: Values | None = None) -> None:
    """Write a fitted model as a run folder, or replace the run there.

    ``deployed``: the model knows all events, those of a test part included. ``gate``: what the gate of a
    refit reported of it, kept in the manifest.

    A kill at any moment leaves the old run or the new one. Other folders are never touched.
    """
    folder = Path(path)
    prepare(folder)
    with locked(folder):
        publish(folder, _manifest(fitted, deployed, gate), _write_files(fitted, folder))


LOADED = ("settings", "data", "arrays", "log")  # roles of the files of which a model is made


def load(path: str | Path) -> Fitted:
    """The fitted model in a run folder, or in the current version of a versions folder.

    StoreError where the folder is damaged, foreign or newer.
    """
    return _loaded(run_folder(path), verified_file)


def load_unverified(path: str | Path) -> Fitted:
    """As :func:`load`, but checksums of files that are mapped are left to :func:`verify`.

    Their sizes and headers are compared, and what all data obey is checked: no index leads out of an array.
    """
    return _loaded(run_folder(path), file_to_map)


def verify(path: str | Path) -> None:
    """Compare the checksums that :func:`load_unverified` leaves; StoreError for the first that differs."""
    folder = run_folder(path)
    with as_store_error(f"The run {folder} cannot be read"), locked(folder, shared=True):
        manifest = read_manifest(folder)
        for role in LOADED:
            verify_mapped(folder, manifest, role)


def _loaded(folder: Path, file_of: Callable[[Path, Manifest, str], Path]) -> Fitted:
    """``file_of``: the path of the file in a role, checked."""
    read_manifest(folder)
    # the manifest is read again under the lock: a save may have replaced it since
    with as_store_error(f"The run {folder} cannot be loaded"), locked(folder, shared=True):
        manifest = read_manifest(folder)
        files = {role: file_of(folder, manifest, role) for role in LOADED}
        history = data_from(*read_arrays(files["data"]))
        arrays, about = read_arrays(files["arrays"])
        log = _read_log(files["log"])
        _check_package(folder, manifest)
        method = _method(folder, files["settings"].read_bytes())
        return _kind(folder, manifest["kind"]).from_state(StoredState(history, method, log, arrays, about))


def save_holdout(path: str | Path, holdout: Holdout) -> None:
    """Keep what a run is to be evaluated on inside its folder, until another model is saved there."""
    arrays, about = serialization.holdout_arrays(holdout)
    attach(path, "holdout", "safetensors", lambda file: write_arrays(file, arrays, about))


def load_holdout(path: str | Path, history: MultiDomain) -> Holdout:
    """The holdout kept in a run folder, over the ``history`` data it was held out of."""
    folder = run_folder(path)
    read_manifest(folder)
    with as_store_error(f"The test part of {folder} cannot be loaded"), locked(folder, shared=True):
        manifest = read_manifest(folder)
        if "holdout" not in stored_files(folder, manifest):
            raise StoreError(f"The run {folder} was fitted without a test part; fit it again with a split.")
        arrays, about = read_arrays(verified_file(folder, manifest, "holdout"))
        if about["known"] != history.fingerprint:
            raise StoreError(
                f"The test part in {folder} was held out of other data than the model knows; "
                "fit with --no-deploy to keep a model that does not know its test events."
            )
        return serialization.holdout_from(arrays, about, history)


def deployed(path: str | Path) -> bool:
    """Whether the run's model knows its test events, so that only its stored evaluation is honest."""
    has_test_part, is_deployed = _test_part(path)
    return has_test_part and is_deployed


def lacks_test_events(path: str | Path) -> bool:
    """Whether the run has a test part whose events its model does not know."""
    has_test_part, is_deployed = _test_part(path)
    return has_test_part and not is_deployed


def known_users(folder: Path) -> Vocabulary:
    """The users of a run's data, without loading its model."""
    with locked(folder, shared=True):
        return users_from(*read_arrays(verified_file(folder, read_manifest(folder), "data")))


def _test_part(path: str | Path) -> tuple[bool, bool]:
    """Whether a run has a test part, and whether it is marked as deployed."""
    folder = run_folder(path)
    manifest = read_manifest(folder)
    return "holdout" in stored_files(folder, manifest), bool(manifest.get("deployed", False))


def _manifest(fitted: Fitted, deployed: bool, gate: Values | None) -> Record:
    from landbridge.models import registry
    from landbridge.version import __version__

    package = registry.package_of(fitted.method.name)
    return {
        "format": FORMAT,
        "version": VERSION,
        "landbridge": __version__,
        "numpy": np.__version__,
        "kind": fitted.kind,
        "method": fitted.method.name,
        "domains": list(fitted.history.domain_names),
        "data": fitted.history.fingerprint,
        "events": fitted.history.n_events,
        "deployed": deployed,
        **({"package": package} if package else {}),
        **({"decisions": list(fitted.decisions)} if fitted.decisions else {}),
        **({} if gate is None else {"gate": gate}),
        **({} if (privacy := fitted.privacy_facts) is None else {"privacy": privacy}),
        # milliseconds: no two states of a folder have one manifest
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def _write_files(fitted: Fitted, folder: Path) -> dict[str, StoredFile]:
    arrays, about = fitted.state()
    data, names = data_arrays(fitted.history)
    # everything that can fail is computed before the first file is written
    settings = serialization.settings_toml(fitted.method)
    log = _log_lines(fitted.log)
    return {
        "settings": write_hashed(folder, "settings", "toml", lambda file: file.write_bytes(settings)),
        "data": write_hashed(folder, "data", "safetensors", lambda file: write_arrays(file, data, names)),
        "arrays": write_hashed(
            folder, "arrays", "safetensors", lambda file: write_arrays(file, arrays, about)
        ),
        "log": write_hashed(folder, "log", "jsonl", lambda file: file.write_bytes(log)),
    }


def _log_lines(log: Sequence[Values]) -> bytes:
    import orjson

    options = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
    return b"".join(orjson.dumps(dict(record), option=options) for record in log)


def _read_log(path: Path) -> tuple[Record, ...]:
    import orjson

    return tuple(orjson.loads(line) for line in path.read_bytes().splitlines())


def _check_package(folder: Path, manifest: Record) -> None:
    """StoreError where the run's method is of a plug-in that is not installed."""
    from landbridge.models import registry

    if "package" in manifest and manifest["method"] not in registry.names():
        raise StoreError(
            f"The run {folder} is of the method {manifest['method']!r}, a plug-in of the package "
            f"{manifest['package']}, which is not installed; install that package."
        )


def _method(folder: Path, toml: bytes) -> Method:
    from landbridge.models import registry

    name, settings = serialization.settings_from(toml)
    try:
        kind = registry.method(name)
        return kind.from_settings(kind.migrated(settings))  # names of 0.1 load without a warning
    except SettingsError as error:
        raise StoreError(
            f"The run {folder} needs another version of landbridge or a plug-in: {error}"
        ) from error


def _kind(folder: Path, name: str) -> type[Fitted]:
    from landbridge.models import registry

    try:
        return registry.kind(name)
    except SettingsError as error:
        raise StoreError(
            f"The run {folder} needs another version of landbridge or a plug-in: {error}"
        ) from error
