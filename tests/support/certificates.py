"""Certificates for tests: a certificate authority, and certificates that it signs."""

from __future__ import annotations

import ssl
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# The validity of a certificate: over, present, not begun, or over in a day after a month.
When: TypeAlias = Literal["past", "now", "future", "ending"]
_SHIFT_DAYS: Final[dict[When, int]] = {"past": -3, "now": 0, "future": 3, "ending": 0}


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A certificate authority; `roots` is the file with its certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        own = self._builder("tests", "tests", self._key, now - timedelta(days=9), now + timedelta(days=9))
        certificate = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
            self._key, hashes.SHA256()
        )
        self.roots = folder / "roots.pem"
        self.roots.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(
        self,
        host: str,
        *,
        when: When = "now",
        self_signed: bool = False,
        clients: bool = False,
    ) -> ssl.SSLContext:
        """Return the TLS context of a server; with `clients` it requires client certificates of this authority."""
        file = self.server_file(host, when=when, self_signed=self_signed)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.roots)
        return context

    def old_server(self, host: str) -> ssl.SSLContext:
        """Return the TLS context of a server that supports TLS 1.1 at most."""
        context = self.server(host)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):  # the old version is intended
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context

    def server_file(self, host: str, *, when: When = "now", self_signed: bool = False) -> Path:
        """Return a file with the certificate and key of a server."""
        file = self._folder / f"{host}.{when}.{self_signed}.pem"
        file.write_bytes(b"".join(self._pair(host, when=when, self_signed=self_signed)))
        return file

    def client(self, name: str, *, trusted: bool = True) -> tuple[bytes, bytes]:
        """Return certificate and key of a client in PEM; self-signed unless `trusted`."""
        return self._pair(name, self_signed=not trusted)

    def _pair(self, name: str, *, when: When = "now", self_signed: bool = False) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC) + timedelta(days=_SHIFT_DAYS[when])
        since = now - timedelta(days=29 if when == "ending" else 2)
        issuer, signing = (name, key) if self_signed else ("tests", self._key)
        builder = self._builder(name, issuer, key, since, now + timedelta(days=1))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        certificate = builder.sign(signing, hashes.SHA256())
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), secret

    @staticmethod
    def _builder(
        subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, since: datetime, until: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
        )
