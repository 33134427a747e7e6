"""The log: one JSON object per line, without user ids unless they are wanted."""

from __future__ import annotations

import logging
import re
import traceback
import uuid
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

import orjson

from landbridge.core.types import Record

LOG = logging.getLogger("landbridge.serving")
FIELDS = "fields"  # the attribute of a record with further keys
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the request that is answered
# a client's id is repeated in headers and in the log: no blanks, no quotes, nothing that ends a line
SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class JsonLines(logging.Formatter):
    """A record as a line. Of an error: its kind and where it arose; its message may name a user."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: Record = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0]:
            # places in the code only: the message and the locals of an error may hold user ids
            frames = traceback.extract_tb(record.exc_info[2])
            line["kind"] = record.exc_info[0].__name__
            line["where"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        return orjson.dumps(line, default=str, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def log(level: int, event: str, **fields: object) -> None:
    """Write one line, with the id of the request that is answered, if one is."""
    if LOG.isEnabledFor(level):
        LOG.log(level, event, extra={FIELDS: {**of_request(), **fields}})


def of_request() -> dict[str, str]:
    """The id of the request that is answered, as a field of a line; nothing outside of requests."""
    request_id = REQUEST_ID.get()
    return {} if request_id is None else {"request_id": request_id}


def request_id_of(given: Sequence[bytes]) -> str:
    """The id that a client sent, if it sent one that is harmless in headers and logs; else a new one."""
    if len(given) == 1 and SANE_ID.fullmatch(given[0]):
        return given[0].decode()
    return uuid.uuid4().hex


def configuration() -> Record:
    """The ``logging.config`` of a server: ours and uvicorn's lines, all as JSON on standard error."""
    loud = {"handlers": ["stderr"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {"landbridge.serving": loud, "uvicorn": loud},
    }
