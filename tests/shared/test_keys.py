"""Keys: an allow-list of kinds and strengths, and what is computed from them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding

from shared import keys
from shared.errors import RequestRejected
from shared.keys import KeyKind


@pytest.mark.parametrize("kind", list(KeyKind))
def test_each_kind_is_made_and_recognised(kind: KeyKind) -> None:
    """A kind that is offered but not accepted would fail only at the first user."""
    key = keys.generate(kind)
    assert keys.kind_of(keys.check_public_key(key.public_key())) is kind
    assert keys.kind_of(key) is kind
    assert len(keys.subject_key_identifier(key.public_key())) == 20
    assert keys.describe(key.public_key())


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.BrainpoolP256R1()),
        rsa.generate_private_key(65537, 1024),  # noqa: S505 (weak on purpose)
        rsa.generate_private_key(3, 2048),
        dsa.generate_private_key(2048),
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
    ],
    ids=lambda key: type(key).__name__,
)
def test_other_kinds_are_refused(key: ec.EllipticCurvePrivateKey) -> None:
    """A weak or exotic key under our name would be our weakness."""
    with pytest.raises(RequestRejected) as refused:
        keys.check_public_key(key.public_key())
    assert refused.value.code in {"key.weak", "key.unsupported"}


def test_weak_rsa_is_not_made() -> None:
    """A length given by a flag must not get below what is accepted."""
    for bits in (1024, 16384):
        with pytest.raises(RequestRejected):
            keys.generate(KeyKind.RSA, rsa_bits=bits)


def test_possession_must_be_proven() -> None:
    """Without the check anybody could have somebody else's public key certified under an own name."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    good = builder.sign(keys.generate(KeyKind.EC_P256), hashes.SHA256())
    assert keys.csr_key(good) == good.public_key()
    der = bytearray(good.public_bytes(Encoding.DER))
    der[-1] ^= 1
    with pytest.raises(RequestRejected) as refused:
        keys.csr_key(x509.load_der_x509_csr(bytes(der)))
    assert refused.value.code == "csr.invalid-signature"


def test_request_signed_with_sha1(tmp_path: Path) -> None:
    """A signature under a broken hash proves nothing; made by openssl, as cryptography refuses to."""
    path = tmp_path / "r.pem"
    subprocess.run(
        ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "k", "-sha1", "-subj",
         "/CN=a", "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(RequestRejected) as refused:
        keys.csr_key(x509.load_pem_x509_csr(path.read_bytes()))
    assert refused.value.code in {"csr.weak-hash", "csr.malformed"}


def test_fingerprints_agree_with_openssl(tmp_path: Path) -> None:
    """People compare our fingerprint with the one another tool prints."""
    path = tmp_path / "c.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
         tmp_path / "k", "-subj", "/CN=a", "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    printed = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed.strip().rpartition("=")[2].replace(":", "").lower() == keys.fingerprint(certificate)
