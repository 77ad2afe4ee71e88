"""PKCS#12 files (RFC 7292), for programs that want certificate and key in one file with a password.

Invariant: certificate and key belong together, or no file is made. The encryption is PBES2 with AES-256 and
HMAC-SHA-256, which OpenSSL 1.1, Java 8u301, Windows Server 2019 and Firefox read; ``legacy`` is for what is older.
The checksum that such a file must have costs only 2048 rounds a guess, here as in step and OpenSSL, whatever the
encryption costs: the password should be a long random one, and the file as private as the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import KeySerializationEncryption, NoEncryption, PrivateFormat, pkcs12

from shared.errors import RequestRejected, Unsupported
from shared.keys import PrivateKey, certificate_key
from shared.names import format_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """How a file is protected."""

    password: bytes | None = field(repr=False)
    """``None``: not at all."""
    legacy: bool = False
    """Triple DES and SHA-1, for programs that know nothing newer."""

    def algorithm(self) -> KeySerializationEncryption:
        """Return the library's description of it.

        Raises:
            RequestRejected: ``pkcs12.empty-password``.
        """
        if self.password is None:
            return NoEncryption()
        if not self.password:
            raise RequestRejected("pkcs12.empty-password", "an empty password protects nothing")
        builder = PrivateFormat.PKCS12.encryption_builder()
        if self.legacy:
            builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC).hmac_hash(hashes.SHA1())  # noqa: S303
        else:
            builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).hmac_hash(hashes.SHA256())
        return builder.build(self.password)


def identity_file(chain: Sequence[x509.Certificate], key: PrivateKey, sealing: Sealing) -> bytes:
    """Put a certificate, its intermediates and its key into one file.

    Args:
        chain: leaf first.
        key: the leaf's.
        sealing: protects the file.

    Raises:
        RequestRejected: ``pkcs12.pair`` when they do not belong together, ``pkcs12.empty-password``.
        Unsupported: ``pkcs12.key-not-exportable`` for a key in an HSM.
    """
    leaf, *others = chain
    if certificate_key(leaf) != key.public_key():
        raise RequestRejected("pkcs12.pair", "the certificate and the key do not belong together")
    try:
        return pkcs12.serialize_key_and_certificates(_label(leaf), key, leaf, others or None, sealing.algorithm())
    except (TypeError, ValueError, NotImplementedError):
        raise Unsupported("pkcs12.key-not-exportable", "this key cannot be written into a file") from None


def trust_file(roots: Sequence[x509.Certificate], sealing: Sealing) -> bytes:
    """Put trusted certificates into a trust store as Java reads it.

    Raises:
        RequestRejected: ``pkcs12.empty-password``.
    """
    entries = [pkcs12.PKCS12Certificate(root, _label(root)) for root in roots]
    return pkcs12.serialize_java_truststore(entries, sealing.algorithm())


def _label(certificate: x509.Certificate) -> bytes:
    return format_name(certificate.subject).encode("utf-8")
