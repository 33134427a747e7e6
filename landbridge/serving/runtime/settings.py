"""How a run folder is served: address, limits, key and store, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError

from landbridge.config import SettingsTable
from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import Values


class ServeSettings(SettingsTable):
    """What can be set; times are in seconds, sizes in bytes.

    ``items``: a table of the items with the columns that ``where`` may name. ``events``: the event store's
    path or URL. ``cors``: web origins whose pages may call, none by default. ``poll``: how often the run
    folder is checked for a new model. ``timeout``: for a whole answer; ``body_timeout``: for the body to
    arrive. ``log_users``: user ids and addresses appear in the log. ``approximate``: search large catalogues
    by :mod:`landbridge.serving.engine.approximate`.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    workers: int = Field(default=1, ge=1, le=64)
    items: Path | None = None
    approximate: bool = False
    events: SecretStr | None = None
    api_key: SecretStr | None = None
    cors: tuple[str, ...] = ()
    poll: float = Field(default=2.0, gt=0)
    timeout: float = Field(default=10.0, gt=0)
    body_timeout: float = Field(default=5.0, gt=0)
    max_body: int = Field(default=256 * 1024, ge=1024)
    log_users: bool = False


def serve_settings(given: Values) -> ServeSettings:
    """The settings that are given (not None), validated; SettingsError names the first bad one."""
    try:
        return ServeSettings.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise SettingsError(unknown("setting of serve", name, ServeSettings.model_fields)) from None
        raise SettingsError(f"--{name.replace('_', '-')}: {first['msg']}.") from None


def to_json(run: Path, settings: ServeSettings) -> str:
    """A run folder and its settings as text, secrets included."""
    import orjson

    return orjson.dumps({"run": run, **dict(settings)}, default=_plain).decode()


def from_json(text: str) -> tuple[Path, ServeSettings]:
    """What :func:`to_json` wrote."""
    import orjson

    given = orjson.loads(text)
    return Path(given.pop("run")), ServeSettings.model_validate(given)


def key_from(environment: Mapping[str, str], name: str | None) -> str | None:
    """The key in the environment variable ``name``; None where no name is given."""
    if name is None:
        return None
    if not environment.get(name):
        raise SettingsError(f"The environment variable {name} is empty; put the key there, or leave it out.")
    return environment[name]


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
