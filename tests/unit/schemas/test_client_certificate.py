"""Client certificates of subscriptions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from schemas.catalog.errors import InvalidInput
from schemas.subscriptions.client_certificate import certificate_problems, certificate_warning, read_certificate, shown

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def certificate(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = KEY, *, begins: int = -365, ends: int = 90
) -> str:
    """Return a self-signed certificate; its first and last day count from NOW."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signpost")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW + timedelta(days=begins))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = builder.not_valid_after(NOW + timedelta(days=ends)).sign(key, algorithm)
    return made.public_bytes(Encoding.PEM).decode()


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey) -> str:
    """Return a private key as unencrypted PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize("key", [KEY, ed25519.Ed25519PrivateKey.generate()])
def test_certificate_and_key_are_accepted(key):
    """Both are returned as PEM, and the repr of the pair does not show the key."""
    found = read_certificate(certificate(key), pem(key))
    assert found.key == pem(key)
    assert found.certificate.count("BEGIN CERTIFICATE") == 1
    assert pem(key)[30:60] not in repr(found)
    assert shown(found.certificate).subject == "CN=signpost"


def test_only_certificates_of_a_file_are_kept():
    """A key or other text in the certificate file never reaches the topic unsealed."""
    found = read_certificate(f"some text\n{pem(KEY)}{certificate()}{certificate(OTHER)}", pem(KEY))
    assert "PRIVATE" not in found.certificate
    assert found.certificate.count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize(
    ("given", "key", "expected"),
    [
        ("", pem(KEY), "the certificate is not a certificate in PEM"),
        ("x" * 70_000, pem(KEY), "the certificate has 70000 characters"),
        (certificate(), "canary", "the key is not a private key in PEM"),
        (certificate(), certificate(), "the key is not a private key in PEM"),
        (certificate(), pem(OTHER), "the key does not belong to the certificate"),
        (certificate(OTHER) + certificate(), pem(KEY), "the order of the chain is wrong"),
        (certificate(), pem(rsa.generate_private_key(65537, 1024)), "the key has 1024 bits"),
        (
            certificate(),
            KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"canary")).decode(),
            "the key has a passphrase",
        ),
    ],
)
def test_invalid_pair_is_refused(given, key, expected):
    """A file that is not PEM, a wrong key, a passphrase or a weak key gives an error without the key."""
    with pytest.raises(InvalidInput, match=expected) as caught:
        read_certificate(given, key)
    assert "canary" not in str(caught.value)
    assert key[30:60] not in str(caught.value) or len(key) < 60


def test_certificate_must_be_valid_now():
    """An expired or future certificate is refused; one that expires soon is accepted with a warning."""
    good, soon, late, early = (
        certificate(),
        certificate(ends=10),
        certificate(ends=-1),
        certificate(begins=7),
    )
    found = [[*certificate_problems(each, NOW)] for each in (good, soon, late, early)]
    assert found[:2] == [[], []]
    assert found[2:] == [
        ["client_certificate: it expired at 2025-12-31T00:00:00Z"],
        ["client_certificate: it is not valid before 2026-01-08T00:00:00Z"],
    ]
    assert [certificate_warning(each, NOW) for each in (good, soon, late)] == [
        None,
        "the client certificate expires at 2026-01-11T00:00:00Z",
        "the client certificate expired at 2025-12-31T00:00:00Z",
    ]
