"""How a run folder is served: address, limits, key and store, as frozen values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationError

from landbridge.config import SettingsTable
from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import Values
from landbridge.serving.runtime.keys import ScopedKey, check_key, digest_of


def web_origin(text: str) -> str:
    """An origin as browsers send it; ValueError for what no browser sends, such as a path after it."""
    origin = text.lower()
    found = ORIGIN.fullmatch(origin)
    if not found or int((found[2] or ":0")[1:]) > LAST_PORT:
        raise ValueError(f"{text!r} is no origin; write https://shop.example or http://localhost:3000")
    # browsers leave the usual port out
    return origin.removesuffix(":443" if origin.startswith("https") else ":80")


def host_name(text: str) -> str:
    """A name in lower case; ValueError for what is none, such as a URL or a name with a port."""
    if not HOST_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no host name; write recommend.example, without scheme and port")
    return text.lower()


LAST_PORT = 65_535
HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
Origin = Annotated[str, AfterValidator(web_origin)]
HostName = Annotated[str, AfterValidator(host_name)]


class ServeSettings(SettingsTable):
    """What can be set; times are in seconds, sizes in bytes.

    ``items``: a table of the items with the columns that ``where`` may name. ``where``: a rule about it that
    every listed item obeys, beside that of the request. ``item_features``: a table of item features, whose
    new items are listed. ``events``: the event store's
    path or URL. ``cors``: web origins whose pages may call, none by default. ``allow_host``: names that the
    server answers to beside those of this machine. ``api_key``: may do everything; ``scoped_keys``: others,
    each with its scopes. ``without_key``: no key although others reach the store.
    ``poll``: how often the run folder is checked for a new model. ``timeout``: for a whole answer;
    ``body_timeout``: for the body to arrive. ``log_users``: user ids and addresses appear in the log.
    ``against``: another run, which serves the ``share`` of the users that an A/B test called ``test`` draws.
    ``impressions``: a folder for the log of what was listed, of at most ``impressions_bytes`` in all.
    ``approximate``: search large catalogues by :mod:`landbridge.serving.engine.approximate`.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=LAST_PORT)
    workers: int = Field(default=1, ge=1, le=64)
    items: Path | None = None
    where: str = ""
    item_features: Path | None = None
    approximate: bool = False
    against: Path | None = None
    share: float = Field(default=0.5, gt=0, lt=1)
    test: str = Field(default="ab", min_length=1)
    events: SecretStr | None = None
    api_key: SecretStr | None = None
    scoped_keys: tuple[ScopedKey, ...] = ()
    cors: tuple[Origin, ...] = ()
    allow_host: tuple[HostName, ...] = ()
    without_key: bool = False
    poll: float = Field(default=2.0, gt=0)
    timeout: float = Field(default=10.0, gt=0)
    body_timeout: float = Field(default=5.0, gt=0)
    max_body: int = Field(default=256 * 1024, ge=1024)
    log_users: bool = False
    impressions: Path | None = None
    impressions_bytes: int = Field(default=1 << 30, ge=1 << 20)

    @property
    def all_keys(self) -> tuple[ScopedKey, ...]:
        """The keys with their scopes, and the one that may do everything; none where no key is needed."""
        if self.api_key is None:
            return self.scoped_keys
        return (*self.scoped_keys, ScopedKey("api key", digest_of(self.api_key.get_secret_value())))


def serve_settings(given: Values) -> ServeSettings:
    """The settings that are given (not None), validated; SettingsError names the first bad one."""
    try:
        return ServeSettings.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise SettingsError(unknown("setting of serve", name, ServeSettings.model_fields)) from None
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"--{name.replace('_', '-')}: {message}.") from None


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
    check_key(environment[name], name)
    return environment[name]


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
