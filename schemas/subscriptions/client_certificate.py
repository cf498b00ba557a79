"""Client certificates for endpoints that require them (mTLS). Pure.

Certificates and key are parsed and serialized again. Other contents of a file, such as a key among the certificates,
are dropped and never reach a topic unsealed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from schemas.catalog.errors import InvalidInput

MAX_PEM: Final = 64 * 1024
SOON: Final = timedelta(days=30)
_LEAST_RSA_BITS: Final = 2048
_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


@dataclass(frozen=True, slots=True)
class GivenCertificate:
    """A certificate with its chain, the certificate itself first, and its key: PEM texts from `read_certificate`."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """The displayed properties of a certificate: its subject and the end of its validity."""

    subject: str
    until: datetime


def read_certificate(certificate: str, key: str) -> GivenCertificate:
    """Read PEM texts of a user; the message of InvalidInput contains nothing of the key."""
    chain = _chain(certificate)
    if len(key) > MAX_PEM:
        raise InvalidInput(f"the key has {len(key)} characters; at most {MAX_PEM} are allowed")
    try:
        private = load_pem_private_key(key.encode(), password=None)
    except TypeError:
        raise InvalidInput("the key has a passphrase; give it without one, it is sealed before it is written") from None
    except (ValueError, UnsupportedAlgorithm):  # their messages may contain parts of the key
        raise InvalidInput("the key is not a private key in PEM (-----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(private, _PrivateKey):
        raise InvalidInput("the key has a type that TLS does not use; expected RSA, EC or Ed25519")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < _LEAST_RSA_BITS:
        raise InvalidInput(f"the key has {private.key_size} bits; RSA keys need {_LEAST_RSA_BITS} or more")
    if _public(private.public_key()) != _public(chain[0].public_key()):
        others = any(_public(private.public_key()) == _public(other.public_key()) for other in chain[1:])
        hint = ": it belongs to a later certificate of the chain; the order of the chain is wrong" if others else ""
        raise InvalidInput(f"the key does not belong to the certificate{hint}")
    return GivenCertificate(
        "".join(each.public_bytes(Encoding.PEM).decode() for each in chain),
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def certificate_problems(certificate: str, now: datetime) -> Iterator[str]:
    """Yield the reasons why a certificate cannot be used now."""
    first = _chain(certificate)[0]
    if first.not_valid_after_utc <= now:
        yield f"client_certificate: it expired at {_time(first.not_valid_after_utc)}"
    if first.not_valid_before_utc > now + timedelta(days=1):  # one day of tolerance for wrong clocks and time zones
        yield f"client_certificate: it is not valid before {_time(first.not_valid_before_utc)}"


def certificate_warning(certificate: str, now: datetime) -> str | None:
    """Return a sentence if a certificate has expired or expires soon."""
    until = shown(certificate).until
    if until <= now:
        return f"the client certificate expired at {_time(until)}"
    return f"the client certificate expires at {_time(until)}" if until - now < SOON else None


def shown(certificate: str) -> Shown:
    """Return the displayed properties of a certificate; InvalidInput if it is invalid."""
    first = _chain(certificate)[0]
    return Shown(first.subject.rfc4514_string() or "(no name)", first.not_valid_after_utc)


def _chain(certificate: str) -> list[x509.Certificate]:
    if len(certificate) > MAX_PEM:
        raise InvalidInput(f"the certificate has {len(certificate)} characters; at most {MAX_PEM} are allowed")
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
        for each in chain:  # cryptography parses keys lazily
            _public(each.public_key())
    except (ValueError, UnsupportedAlgorithm, TypeError) as error:
        raise InvalidInput("the certificate is not a certificate in PEM (-----BEGIN CERTIFICATE-----)") from error
    return chain


def _public(key: object) -> bytes:
    if not hasattr(key, "public_bytes"):
        raise TypeError(f"a public key of an unknown type: {type(key).__name__}")
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
