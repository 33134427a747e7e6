"""Certificates for mutual TLS: a small authority, its certificates for a coordinator and parties, contexts.

Folders that ``make`` writes, the first of which stays with whom it was made by:

    ca/            ca.pem  ca.key         signs; makes more certificates later
    coordinator/   ca.pem  cert.pem  key.pem
    PARTY/         ca.pem  cert.pem  key.pem  users.secret

A certificate's common name is the name of the party, and nothing that a party sends says who it is. The
coordinator's certificate is good for servers only and a party's for clients only, so that no party can pass
for the coordinator. Any other authority does as well: the contexts read the same files.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landbridge.core.errors import FederationError, MissingExtraError, SettingsError
from landbridge.core.files import make_folder, temporary_path, write_errors
from landbridge.federation.terms import check_names
from landbridge.federation.user_codes import SECRET, SECRET_BYTES

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AUTHORITY, COORDINATOR = "ca", "coordinator"
CA, CERT, KEY, CA_KEY = "ca.pem", "cert.pem", "key.pem", "ca.key"
DAYS = 825


def make(folder: Path, parties: Sequence[str], hosts: Sequence[str]) -> list[Path]:
    """Make the authority, unless it is there, and certificates for the coordinator and parties that have
    none; returns the new folders. ``hosts``: where parties reach the coordinator, names and addresses."""
    _check_library()
    check_names(tuple(parties))
    if reserved := {AUTHORITY, COORDINATOR} & set(parties):
        raise SettingsError(f"A party cannot have the name {reserved.pop()!r}; choose another.")
    made = []
    authority = folder / AUTHORITY
    if not (authority / CA_KEY).exists():
        _make_authority(authority)
        made.append(authority)
    if not (folder / COORDINATOR / CERT).exists():
        if not hosts:
            raise SettingsError("Give --host: the name or address under which parties reach the coordinator.")
        _issue(authority, folder / COORDINATOR, COORDINATOR, hosts)
        made.append(folder / COORDINATOR)
    for name in parties:
        if not (folder / name / CERT).exists():
            write_private(folder / name / SECRET, _secret(authority))
            _issue(authority, folder / name, name, ())
            made.append(folder / name)
    return made


def server_context(folder: Path) -> ssl.SSLContext:
    """The context of a coordinator: TLS 1.3, and only clients with a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, folder)


def client_context(folder: Path) -> ssl.SSLContext:
    """The context of a party: TLS 1.3, and only a server with a certificate of the authority for its host."""
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), folder)


def own_name(folder: Path) -> str:
    """The name in the certificate of a folder of keys."""
    _check_library()
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        certificate = x509.load_pem_x509_certificate((folder / CERT).read_bytes())
    except (OSError, ValueError):
        raise FederationError(_no_keys(folder)) from None
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def common_name(certificate: Any) -> str:
    """The common name in a peer's certificate, as :mod:`ssl` gives it; empty where there is none."""
    fields = dict(pair for part in (certificate or {}).get("subject", ()) for pair in part)
    return str(fields.get("commonName", ""))


def _loaded(context: ssl.SSLContext, folder: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(folder / CERT, folder / KEY)
        context.load_verify_locations(folder / CA)
    except (OSError, ssl.SSLError):
        raise FederationError(_no_keys(folder)) from None
    return context


def _no_keys(folder: Path) -> str:
    return f"{folder} must hold {CERT}, {KEY} and {CA}; make them with `landbridge party keys`."


def _check_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "Keys are made by the library cryptography: pip install 'landbridge[federation]'."
        ) from None


def _make_authority(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("landbridge parties")
    usage = _usage(signs_certificates=True)
    builder = _builder(name, name, key).add_extension(x509.BasicConstraints(True, 0), critical=True)
    certificate = _signed(builder.add_extension(usage, critical=True), key, key)
    write_private(folder / SECRET, secrets.token_hex(SECRET_BYTES).encode())
    write_private(folder / CA, _pem(certificate))
    write_private(folder / CA_KEY, _key_pem(key))  # last: the authority is complete where its key is


def _issue(authority: Path, folder: Path, name: str, hosts: Sequence[str]) -> None:
    """A certificate for a server at ``hosts`` or, without any, for a client."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    ca, ca_key = _authority(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(_name(name), ca.subject, key)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    )
    if hosts:
        names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    certificate = _signed(builder, key, ca_key)
    write_private(folder / CA, _pem(ca))
    write_private(folder / KEY, _key_pem(key))
    write_private(folder / CERT, _pem(certificate))  # last: a folder is complete where its certificate is


def _authority(folder: Path) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key((folder / CA_KEY).read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((folder / CA).read_bytes())
    except (OSError, ValueError) as error:
        raise FederationError(f"The authority in {folder} cannot be read ({type(error).__name__}).") from None
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return certificate, key


def _secret(authority: Path) -> bytes:
    try:
        return (authority / SECRET).read_bytes()
    except OSError:
        raise FederationError(f"{authority / SECRET} is missing; restore it.") from None


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _signed(
    builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey, ca_key: EllipticCurvePrivateKey
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return builder.add_extension(issuer, critical=False).sign(ca_key, SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_private(path: Path, content: bytes) -> None:
    """A new file that only its owner reads."""
    make_folder(path.parent)
    temporary = temporary_path(path)
    with write_errors(path):
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(handle)
        os.replace(temporary, path)
