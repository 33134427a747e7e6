"""Certificates: who is let in, and that existing keys stay."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from landbridge.core.errors import FederationError, SettingsError
from landbridge.federation import keys


def handshake(server: Path, client: Path, host: str = "127.0.0.1") -> str:
    """A TLS handshake in memory; the name that the server reads."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    served = keys.server_context(server).wrap_bio(to_server, to_client, server_side=True)
    connected = keys.client_context(client).wrap_bio(to_client, to_server, server_hostname=host)
    for _ in range(4):
        for side in (connected, served):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert served.version() == "TLSv1.3"
    return keys.common_name(served.getpeercert())


@pytest.fixture
def made(tmp_path: Path) -> Path:
    keys.make(tmp_path, ["books", "movies"], ["127.0.0.1", "coordinator.example"])
    return tmp_path


@pytest.mark.parametrize("host", ["127.0.0.1", "coordinator.example"])
def test_the_server_reads_the_name_of_the_party(made: Path, host: str) -> None:
    assert handshake(made / "coordinator", made / "movies", host) == "movies"
    assert keys.own_name(made / "movies") == "movies"


def test_another_host_is_refused(made: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made / "coordinator", made / "movies", "elsewhere.example")


def test_another_authority_is_refused_on_both_sides(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    keys.make(other, ["books"], ["127.0.0.1"])
    with pytest.raises(ssl.SSLError):
        handshake(made / "coordinator", other / "books")
    # trusted by the client, but not by the server
    (other / "books" / keys.CA).write_bytes((made / "books" / keys.CA).read_bytes())
    with pytest.raises(ssl.SSLError):
        handshake(made / "coordinator", other / "books")


def test_a_party_cannot_pass_for_the_coordinator_nor_the_reverse(made: Path) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(made / "books", made / "movies")
    with pytest.raises(ssl.SSLError):
        handshake(made / "coordinator", made / "coordinator")


def test_more_parties_later_and_nothing_else_changes(made: Path) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    assert keys.make(made, ["books", "food"], []) == [made / "food"]
    assert before == {path: path.read_bytes() for path in before}
    assert handshake(made / "coordinator", made / "food") == "food"


def test_only_the_owner_reads_and_the_coordinator_has_no_secret(made: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in made.rglob("*") if path.is_file()} == {0o600}
    secrets = [path.parent.name for path in made.rglob("users.secret")]
    assert sorted(secrets) == ["books", "ca", "movies"]


def test_wrong_input_is_one_sentence(tmp_path: Path) -> None:
    for parties, hosts in ((["../x"], ["h"]), (["ca"], ["h"]), (["coordinator"], ["h"]), (["books"], [])):
        with pytest.raises(SettingsError):
            keys.make(tmp_path, parties, hosts)
    for context in (keys.server_context, keys.client_context, keys.own_name):
        with pytest.raises(FederationError, match="party keys"):
            context(tmp_path / "nothing")
