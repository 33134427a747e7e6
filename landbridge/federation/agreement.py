"""Keys that two parties agree on through a coordinator that learns nothing of them, and what they seal.

X25519 (RFC 7748) gives each pair of parties a secret, HKDF (RFC 5869) a key for every purpose from it, and
ChaCha20-Poly1305 (RFC 8439) a text that only the other one can read and no third one can change.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from landbridge.core.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

SECRET_BYTES = 32
TAG_BYTES = 16  # by which a sealed text is longer
NONCE_BYTES = 12
NONCE = bytes(NONCE_BYTES)  # zeros, where a key seals one text, the same whenever the party is made again


def draw_key() -> bytes:
    """An X25519 key for one session, from the operating system's source of randomness.

    All that a party sends follows from it, so a killed round can go on: shares and masks are the same again.
    The message and the survivors that were reported must be stored with the round, before they are used: two
    messages under the same masks show their difference, and shares that are revealed to two different reports
    open a message.
    """
    return secrets.token_bytes(SECRET_BYTES)


def public_key(key: bytes) -> bytes:
    """What the other parties need of a key."""
    return _private(key).public_key().public_bytes_raw()


def agreed(own: bytes, public: bytes) -> bytes:
    """The X25519 secret of two parties; DataError for a key that is none."""
    private = _private(own)
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    try:
        # a point of small order gives zeros, which the library refuses
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise DataError("A public key is no usable X25519 key.") from None


def derived(secret: bytes, context: bytes, size: int = SECRET_BYTES) -> bytes:
    """A key of ``size`` bytes for one purpose (HKDF with SHA-256)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), size, salt=None, info=context).derive(secret)


def context_of(*parts: str) -> bytes:
    """What a key is for: other parts give another context."""
    # lengths, because a name may hold any separator
    return hashlib.sha256(b"".join(len(p.encode()).to_bytes(4) + p.encode() for p in parts)).digest()


def sealed(key: bytes, text: bytes, nonce: bytes = NONCE) -> bytes:
    """The text, for who has the key; no two texts have the same key and nonce."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key).encrypt(nonce, text, None)


def opened(key: bytes, sealed_text: bytes, nonce: bytes = NONCE) -> bytes:
    """What was sealed; ValueError for anything else."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed_text, None)
    except InvalidTag:
        raise ValueError("not what was sealed with this key") from None


def _private(key: bytes) -> X25519PrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    except ImportError:
        raise MissingExtraError(
            "Secure aggregation needs cryptography: pip install 'landbridge[federation]'."
        ) from None
    return X25519PrivateKey.from_private_bytes(key)
