"""A PostgreSQL server of Debian's packages, started for tests on a port of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from landbridge.serving.events import database

PASSWORD = "open-sesame"
NUMBERS = count()
UNPRIVILEGED = ("postgres", "nobody")  # who runs the server where the tests are root's, which it refuses


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server: its programs, its folder (data, socket, log) and its port."""

    programs: Path
    folder: Path
    port: int

    def run(self, program: str, *words: object) -> None:
        command = [str(self.programs / program), *map(str, words)]
        with open(self.folder / "output", "a") as output:
            done = subprocess.run(command, stdout=output, stderr=output, **someone())
        assert done.returncode == 0, (self.folder / "output").read_text()

    def start(self) -> None:
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self.run(
            "pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w", "-o", settings, "start"
        )

    def stop(self, how: str) -> None:
        self.run("pg_ctl", "-D", self.folder / "data", "-w", "-m", how, "stop")

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://keeper:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def empty_schema(self) -> str:
        """The URL of a schema of its own."""
        schema = f"events{next(NUMBERS)}"
        with bare(self.url()).begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        return f"{self.url()}?options=-csearch_path%3D{schema}"


def someone() -> dict[str, Any]:
    """Arguments for a process of a user without rights, where this one has them all."""
    import pwd

    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = next(known[name] for name in UNPRIVILEGED if name in known)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def programs() -> Path:
    """The newest server's programs; Debian keeps them out of the PATH."""
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found and (beside := shutil.which("initdb")):
        found = [Path(beside)]
    if not found:
        pytest.skip("no PostgreSQL server is installed here (Debian: apt-get install postgresql)")
    return found[-1].parent


@contextmanager
def postgres() -> Iterator[Server]:
    """A running server; the test is skipped where none is installed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="landbridge-"))
    started = Server(programs(), folder, port)
    (folder / "password").write_text(PASSWORD)
    if owner := someone():
        for path in (folder, folder / "password"):
            os.chown(path, owner["user"], owner["group"])
    try:
        started.run(
            "initdb", "-D", folder / "data", "-U", "keeper", "--auth=scram-sha-256",
            "--pwfile", folder / "password", "--no-sync",
        )  # fmt: skip
        started.start()
        try:
            yield started
        finally:
            started.stop("immediate")
    finally:
        shutil.rmtree(folder)


def bare(url: str) -> sa.Engine:
    """An engine without the store's ways."""
    return sa.create_engine(database.address_of(url), poolclass=sa.NullPool)
