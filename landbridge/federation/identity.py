"""Who a party is to the other parties: keys for masks, signed with the key of its TLS certificate.

The coordinator passes public keys from party to party. It could put its own in their place and read every
message. So a key is signed for one session,

    signature = ECDSA-SHA-256(key of the certificate; session, name, public key)                       (1)

and the others check the signature, and the certificate against their authority.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

from landbridge.core.errors import FederationError
from landbridge.federation.keys import CA, CERT, KEY, own_name
from landbridge.federation.messages import SignedKey

PURPOSE = "landbridge mask key 1"


class Identity(Protocol):
    """A name that other parties can check."""

    @property
    def name(self) -> str:
        """Of the party."""

    def signed(self, session: str, public: bytes) -> SignedKey:
        """A public key for the other parties of a session."""

    def verified(self, session: str, name: str, signed: SignedKey) -> bytes:
        """The public key of the party ``name``; FederationError where it is not of this party."""


@dataclass(frozen=True)
class Certificate:
    """The identity of a folder of keys, see :mod:`landbridge.federation.keys`."""

    folder: Path

    @cached_property
    def name(self) -> str:
        """The common name."""
        return own_name(self.folder)

    def signed(self, session: str, public: bytes) -> SignedKey:
        """Eq. (1). FederationError for a certificate without an elliptic-curve key."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

        private = load_pem_private_key((self.folder / KEY).read_bytes(), None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise FederationError(
                "Masks need a certificate with an elliptic-curve key, as `landbridge party keys` makes it."
            )
        signature = private.sign(_statement(session, self.name, public), ec.ECDSA(SHA256()))
        # the first certificate of the file is the party's own
        own = x509.load_pem_x509_certificate((self.folder / CERT).read_bytes())
        text = own.public_bytes(Encoding.PEM).decode()
        return SignedKey(key=public.hex(), certificate=text, signature=signature.hex())

    def verified(self, session: str, name: str, signed: SignedKey) -> bytes:
        """As in :class:`Identity`."""
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature

        public = bytes.fromhex(signed.key)
        try:
            self._verify(name, _statement(session, name, public), signed)
        # what the library raises for a signature, a text or a kind of key that it does not take
        except (InvalidSignature, x509.ExtensionNotFound, ValueError, TypeError):
            raise FederationError(
                f"The key of {name!r} is not signed with a certificate of this name and of this party's "
                "authority; the coordinator may have changed it."
            ) from None
        return public

    def _verify(self, name: str, statement: bytes, signed: SignedKey) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        certificate = x509.load_pem_x509_certificate(signed.certificate.encode())
        authority = x509.load_pem_x509_certificate((self.folder / CA).read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = [each.value for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        now = datetime.now(UTC)
        if (
            names != [name]
            or ExtendedKeyUsageOID.CLIENT_AUTH not in purposes  # the coordinator's own is for servers
            or not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        ):
            raise ValueError
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise TypeError
        key.verify(bytes.fromhex(signed.signature), statement, ec.ECDSA(SHA256()))


def _statement(session: str, name: str, public: bytes) -> bytes:
    """What is signed; none of the parts holds the separator."""
    return "\0".join((PURPOSE, session, name, public.hex())).encode()
