"""Client certificates: what an endpoint that asks who calls (mTLS) is shown. Pure.

Only what was understood is kept: certificates and key are written anew, so that nothing else of a file, least of all a
key among the certificates, comes to a topic unsealed.
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
class CertificateWish:
    """A certificate with its chain, the certificate itself first, and its key: PEM as `read_certificate` made it."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """What is said of a certificate: whom it names, and until when it holds."""

    subject: str
    until: datetime


def read_certificate(certificate: str, key: str) -> CertificateWish:
    """Read PEM texts as somebody gave them; InvalidInput says what is wrong, without anything of the key."""
    chain = _chain(certificate)
    if len(key) > MAX_PEM:
        raise InvalidInput(f"the key has {len(key)} characters, at most {MAX_PEM} are read")
    try:
        private = load_pem_private_key(key.encode(), password=None)
    except TypeError:
        raise InvalidInput("the key needs a passphrase; give it without, it is sealed before it is written") from None
    except (ValueError, UnsupportedAlgorithm):  # whose texts may hold some of it
        raise InvalidInput("the key is no private key in PEM (-----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(private, _PrivateKey):
        raise InvalidInput("the key is of a kind that TLS does not use; RSA, EC and Ed25519 are known")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < _LEAST_RSA_BITS:
        raise InvalidInput(f"the key has {private.key_size} bits; TLS takes RSA keys of {_LEAST_RSA_BITS} and more")
    if _public(private.public_key()) != _public(chain[0].public_key()):
        others = any(_public(private.public_key()) == _public(other.public_key()) for other in chain[1:])
        hint = ": it belongs to a later one of the chain, whose order is wrong" if others else ""
        raise InvalidInput(f"the key is not the key of the certificate{hint}")
    return CertificateWish(
        "".join(each.public_bytes(Encoding.PEM).decode() for each in chain),
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def certificate_problems(certificate: str, now: datetime) -> Iterator[str]:
    """Return what keeps a certificate from being used now."""
    first = _chain(certificate)[0]
    if first.not_valid_after_utc <= now:
        yield f"client_certificate: it expired at {_time(first.not_valid_after_utc)}"
    if first.not_valid_before_utc > now + timedelta(days=1):  # a day for clocks and zones of those who make them
        yield f"client_certificate: it holds only from {_time(first.not_valid_before_utc)} on"


def certificate_warning(certificate: str, now: datetime) -> str | None:
    """Return a sentence if a certificate has expired or will soon."""
    until = shown(certificate).until
    if until <= now:
        return f"the client certificate expired at {_time(until)}"
    return f"the client certificate expires at {_time(until)}" if until - now < SOON else None


def shown(certificate: str) -> Shown:
    """Return what is said of a certificate; InvalidInput if it is none."""
    first = _chain(certificate)[0]
    return Shown(first.subject.rfc4514_string() or "(no name)", first.not_valid_after_utc)


def _chain(certificate: str) -> list[x509.Certificate]:
    if len(certificate) > MAX_PEM:
        raise InvalidInput(f"the certificate has {len(certificate)} characters, at most {MAX_PEM} are read")
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
        for each in chain:  # parsed only when it is asked for
            _public(each.public_key())
    except (ValueError, UnsupportedAlgorithm, TypeError) as error:
        raise InvalidInput("the certificate is none in PEM (-----BEGIN CERTIFICATE-----)") from error
    return chain


def _public(key: object) -> bytes:
    if not hasattr(key, "public_bytes"):
        raise TypeError(f"a public key of an unknown kind: {type(key).__name__}")
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
