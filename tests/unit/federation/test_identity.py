"""Keys that parties sign for each other: what another party, coordinator or session cannot pass off."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from landbridge.core.errors import FederationError
from landbridge.federation import keys
from landbridge.federation.identity import Certificate

SESSION = "5" * 32


@pytest.fixture
def made(tmp_path: Path) -> Path:
    keys.make(tmp_path, ["books", "movies"], ["127.0.0.1"])
    return tmp_path


def test_a_signed_key_is_that_of_its_party(made: Path) -> None:
    public = secrets.token_bytes(32)
    books, movies = Certificate(made / "books"), Certificate(made / "movies")
    signed = books.signed(SESSION, public)
    assert books.name == "books"
    assert movies.verified(SESSION, "books", signed) == public


@pytest.mark.parametrize(
    "wrong", ["key", "session", "name", "signature", "other certificate", "coordinator", "authority", "text"]
)
def test_a_key_that_is_not_the_partys_is_refused(made: Path, tmp_path: Path, wrong: str) -> None:
    keys.make(tmp_path / "other", ["books"], ["127.0.0.1"])
    public, folder = secrets.token_bytes(32), "coordinator" if wrong == "coordinator" else "books"
    signer = tmp_path / "other" if wrong == "authority" else made
    signed = Certificate(signer / folder).signed(SESSION, public)
    changes = {
        "key": {"key": secrets.token_hex(32)},
        "signature": {"signature": "00"},
        "other certificate": {
            "certificate": Certificate(made / "movies").signed(SESSION, public).certificate
        },
        "text": {"certificate": "no certificate"},
    }
    name = {"name": "movies", "coordinator": "coordinator"}.get(wrong, "books")
    session = "6" * 32 if wrong == "session" else SESSION
    with pytest.raises(FederationError, match="may have changed it"):
        Certificate(made / "movies").verified(session, name, signed.model_copy(update=changes.get(wrong, {})))


def test_a_party_cannot_sign_for_another_one(made: Path) -> None:
    movies = Certificate(made / "movies")
    movies.__dict__["name"] = "books"  # what it says, not what its certificate says
    signed = movies.signed(SESSION, secrets.token_bytes(32))
    with pytest.raises(FederationError, match="may have changed it"):
        movies.verified(SESSION, "books", signed)
