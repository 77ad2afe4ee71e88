"""PEM: exactly the objects that are asked for, within limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.certificates import make_root
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import keys, pem
from shared.errors import RequestRejected

ROOT = make_root()[0]
PEM = pem.certificate_pem(ROOT)
CSR = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(keys.generate(keys.KeyKind.EC_P256), hashes.SHA256())
)


def test_round_trips() -> None:
    """What we write must be what we read, in PEM and in DER, one or several."""
    assert pem.load_certificates(PEM + b"text between\n" + PEM) == (ROOT, ROOT)
    assert pem.load_certificate(pem.certificate_der(ROOT)) == ROOT
    assert pem.load_csr(CSR.public_bytes(Encoding.PEM)) == CSR
    assert pem.load_csr(CSR.public_bytes(Encoding.DER)) == CSR
    assert pem.chain_pem([ROOT])[0].encode() == PEM


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        PEM[:-30],
        PEM.replace(b"CERTIFICATE", b"PRIVATE KEY"),
        PEM + PEM[:40],
        PEM.replace(b"MII", b"MIJ"),
        PEM * 17,
        b"\x30\x80",
        b"-----BEGIN CERTIFICATE-----\n" + b"A" * 200_000 + b"\n-----END CERTIFICATE-----\n",
        CSR.public_bytes(Encoding.PEM),
    ],
)
def test_other_content_is_refused(data: bytes) -> None:
    """A key, a request or a fragment in the place of a certificate is a mistake that must be named."""
    with pytest.raises(RequestRejected):
        pem.load_certificates(data)


def test_one_means_one() -> None:
    """Taking the first of several roots in silence would pin the wrong one."""
    with pytest.raises(RequestRejected) as refused:
        pem.load_certificate(PEM + PEM)
    assert refused.value.code == "pem.too-many"


@pytest.mark.parametrize("load", [pem.load_certificates, pem.load_csr, pem.load_certificate_der])
@given(data=st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: PEM[:100] + tail))
def test_any_bytes_are_read_or_refused(load: Callable[[bytes], object], data: bytes) -> None:
    """A parser's own exception would turn a bad request into a server error."""
    with pytest.raises(RequestRejected):
        load(data)


def test_request_files() -> None:
    """A certificate, or two requests, in the place of one request is a mistake that must be named."""
    csr = CSR.public_bytes(Encoding.PEM)
    for data in (PEM, csr + csr, b"\x30\x03\x02\x01\x00", bytes(70_000)):
        with pytest.raises(RequestRejected):
            pem.load_csr(data)


@settings(max_examples=300)
@given(place=st.integers(0, 400), byte=st.integers(1, 255))
def test_damaged_certificates_fail_here_or_never(place: int, byte: int) -> None:
    """The library parses some parts only when asked: such a fault would surface far away, as a foreign exception."""
    der = bytearray(pem.certificate_der(ROOT))
    der[place % len(der)] ^= byte
    try:
        found = pem.load_certificate_der(bytes(der))
    except RequestRejected:
        return
    assert all(part is not None for part in (found.subject, found.issuer, found.extensions, found.version))
    assert found.signature_hash_algorithm is None or found.signature_hash_algorithm.name


@pytest.mark.parametrize(
    "data",
    [
        b"-----BEGIN A-----\n" * 50_000,
        b"-----BEGIN A-----\n" + b"-----END B-----\n" * 50_000,
        b"-----BEGIN CERTIFICATE-----\n" + b"-" * 900_000,
        PEM + b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN X-----\n" + PEM,
        b"-----BEGIN " + b"A" * 41 + b"-----\n-----END " + b"A" * 41 + b"-----\n",
    ],
    ids=["beginnings", "other ends", "dashes", "a beginning behind", "a beginning before", "a long label"],
)
def test_blocks_that_do_not_end(data: bytes) -> None:
    """Each must be refused after one reading: to look for an end from each beginning takes a minute of each core."""
    with pytest.raises(RequestRejected) as refused:
        pem.load_certificates(data)
    assert refused.value.code == "pem.malformed"
