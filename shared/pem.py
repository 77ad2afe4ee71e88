"""PEM in and out (RFC 7468), strict about what a file holds.

Invariants: sizes are capped before parsing; a parser's exception becomes ``RequestRejected``; text between
blocks is tolerated (``openssl x509 -text`` writes it), a foreign block is not.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from shared.errors import RequestRejected

# The largest certificate or request read; a leaf is under 2 kB, an ML-DSA-87 certificate 8 kB.
LARGEST_OBJECT_BYTES = 64 << 10
MOST_CERTIFICATES = 16
# A million entries of 49 bytes.
LARGEST_CRL_BYTES = 64 << 20
_UNPARSABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion)
_Loaded = TypeVar("_Loaded", x509.Certificate, x509.CertificateSigningRequest)
_CRL_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----\s[A-Za-z0-9+/=\s]*-----END X509 CRL-----", re.ASCII)
_BEGIN, _END = b"-----BEGIN ", b"-----END "
_FIRST_LINE = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n")


def load_certificates(data: bytes, *, what: str = "certificate file") -> tuple[x509.Certificate, ...]:
    """Read one or more PEM certificates, or exactly one in DER.

    Args:
        data: file content or wire field.
        what: how to call it in an error.

    Raises:
        RequestRejected: ``pem.*`` or ``certificate.malformed``.
    """
    if data[:1] == b"\x30":
        return (load_certificate_der(data, what=what),)
    blocks = _blocks(data, what)
    if not blocks:
        raise RequestRejected(
            "pem.missing",
            f"the {what} holds no PEM certificate",
            hint="is it the right one? such a certificate starts with -----BEGIN CERTIFICATE-----",
        )
    if len(blocks) > MOST_CERTIFICATES:
        raise RequestRejected("pem.too-many", f"the {what} holds more than {MOST_CERTIFICATES} certificates")
    found = []
    for label, block in blocks:
        if label != "CERTIFICATE":
            raise RequestRejected("pem.foreign", f"the {what} holds a {label}, not only certificates")
        try:
            found.append(_parse(x509.load_pem_x509_certificate, block))
        except _UNPARSABLE:
            raise RequestRejected("certificate.malformed", f"the {what} holds a malformed certificate") from None
    return tuple(found)


def load_certificate(data: bytes, *, what: str = "certificate file") -> x509.Certificate:
    """Read exactly one certificate.

    Raises:
        RequestRejected: as ``load_certificates``; ``pem.too-many`` when there are several.
    """
    found = load_certificates(data, what=what)
    if len(found) != 1:
        raise RequestRejected("pem.too-many", f"the {what} holds {len(found)} certificates, one is wanted")
    return found[0]


def load_certificate_der(data: bytes, *, what: str = "certificate") -> x509.Certificate:
    """Read one certificate in DER.

    Raises:
        RequestRejected: ``certificate.malformed`` or ``pem.too-large``.
    """
    _check_size(data, what)
    try:
        return _parse(x509.load_der_x509_certificate, data)
    except _UNPARSABLE:
        raise RequestRejected("certificate.malformed", f"the {what} is malformed") from None


def load_csr(data: bytes, *, what: str = "certificate request") -> x509.CertificateSigningRequest:
    """Read one PKCS#10 request in PEM or DER (RFC 2986). Its signature is *not* checked here.

    Raises:
        RequestRejected: ``pem.*`` or ``csr.malformed``.
    """
    _check_size(data, what)
    try:
        if data[:1] == b"\x30":
            return _parse(x509.load_der_x509_csr, data)
        blocks = _blocks(data, what)
        if len(blocks) != 1 or blocks[0][0] not in {"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"}:
            raise RequestRejected("pem.missing", f"the {what} is not one PEM certificate request")
        return _parse(x509.load_pem_x509_csr, blocks[0][1])
    except _UNPARSABLE:
        raise RequestRejected("csr.malformed", f"the {what} is malformed") from None


def load_crl(data: bytes, *, what: str = "revocation list") -> x509.CertificateRevocationList:
    """Read one certificate revocation list in PEM or DER. Its signature is *not* checked here.

    Raises:
        RequestRejected: ``pem.missing``, ``pem.too-large`` or ``crl.malformed``.
    """
    if len(data) > 2 * LARGEST_CRL_BYTES:
        raise RequestRejected("pem.too-large", f"the {what} is too large")
    try:
        if data[:1] == b"\x30":
            crl = x509.load_der_x509_crl(data)
        else:
            blocks = _CRL_BLOCK.findall(data)
            if len(blocks) != 1:
                raise RequestRejected("pem.missing", f"the {what} is not one PEM revocation list")
            crl = x509.load_pem_x509_crl(blocks[0])
        # Every part that the library parses only when it is asked for; the entries one by one.
        _ = (crl.issuer, crl.extensions, crl.last_update_utc, crl.next_update_utc, crl.signature_algorithm_oid)
        for entry in crl:
            _ = (entry.serial_number, entry.revocation_date_utc, entry.extensions)
    except _UNPARSABLE:
        raise RequestRejected("crl.malformed", f"the {what} is malformed") from None
    return crl


def certificate_pem(*certificates: x509.Certificate) -> bytes:
    """Write certificates as PEM, one after the other, each ending with a newline."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def certificate_der(certificate: x509.Certificate) -> bytes:
    """Write one certificate as DER."""
    return certificate.public_bytes(Encoding.DER)


def chain_pem(chain: Sequence[x509.Certificate]) -> list[str]:
    """Write each certificate of a chain as PEM text, leaf first, as the wire format's lists have them."""
    return [each.public_bytes(Encoding.PEM).decode("ascii") for each in chain]


def _parse(load: Callable[[bytes], _Loaded], data: bytes) -> _Loaded:
    """Read every part that the library parses only when it is asked for, so that it fails here and not later."""
    with warnings.catch_warnings():
        # The library warns of what RFC 5280 forbids and some CA wrote nevertheless; our own checks decide on that.
        warnings.simplefilter("ignore")
        loaded = load(data)
        _ = (loaded.subject, loaded.extensions, loaded.signature_hash_algorithm)
        if isinstance(loaded, x509.Certificate):
            _ = (loaded.issuer, loaded.not_valid_before_utc, loaded.not_valid_after_utc, loaded.version)
            if loaded.serial_number <= 0:
                raise ValueError
    return loaded


def _blocks(data: bytes, what: str) -> list[tuple[str, bytes]]:
    if len(data) > LARGEST_OBJECT_BYTES * MOST_CERTIFICATES:
        raise RequestRejected("pem.too-large", f"the {what} is too large")
    blocks, begin = [], data.find(_BEGIN)
    # Each byte is looked at once, whatever is in it: an expression that looks for the end of each beginning is not so.
    while begin >= 0:
        first, end, following = _FIRST_LINE.match(data, begin), data.find(_END, begin), data.find(_BEGIN, begin + 1)
        last = _END + first[1] + b"-----" if first is not None else b""
        if first is None or not data.startswith(last, end) or end < 0 or 0 <= following < end:
            raise RequestRejected("pem.malformed", f"the {what} holds a broken PEM block")
        blocks.append((first[1].decode("ascii"), data[begin : end + len(last)]))
        begin = following
    return blocks


def _check_size(data: bytes, what: str) -> None:
    if len(data) > LARGEST_OBJECT_BYTES:
        raise RequestRejected("pem.too-large", f"the {what} is larger than {LARGEST_OBJECT_BYTES} bytes")
