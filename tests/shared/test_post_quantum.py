"""ML-DSA-65 on the one signing path (FIPS 204, RFC 9881): for CAs of a ceremony, and for nobody else."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.ca_keys import generate_for_ca
from fakes.certificates import BEGIN

from shared import keys, names
from shared.crl import CrlRequest, RevokedEntry, issue_crl, prepare_crl, verify_crl_signature
from shared.errors import ColdrootError, Fatal, PolicyDenied, RequestRejected
from shared.issue import IssuanceRequest, Issuer, issue, prepare, verify_signature
from shared.keys import CaPrivateKey, CaPublicKey, KeyKind, PostQuantum
from shared.keystore import load_private_key
from shared.pem import certificate_pem
from shared.profile import Profile, intermediate_profile, leaf_profile, root_profile
from shared.serials import random_serial

# id-ml-dsa-65 without parameters, RFC 9881 §2.
ALGORITHM = bytes.fromhex("300b0609608648016503040312")
KEY = generate_for_ca(PostQuantum.ML_DSA_65)


def _request(key: CaPublicKey, common: str, *, sans: str = "") -> IssuanceRequest:
    return IssuanceRequest(
        subject=names.subject(common=common),
        public_key=key,
        serial=random_serial(os.urandom),
        not_before=BEGIN,
        not_after=BEGIN + timedelta(hours=20),
        sans=names.parse_sans([sans] if sans else []),
    )


def _issued(
    profile: Profile, key: CaPublicKey, issuer: x509.Certificate | None, issuer_key: CaPrivateKey, *, sans: str = ""
) -> x509.Certificate:
    request = _request(key, sans or f"Test {profile.name}", sans=sans)
    by = Issuer.from_certificate(issuer) if issuer is not None else Issuer.new_root(request.subject, key)
    return issue(prepare(profile, request, by), issuer_key)


ROOT = _issued(root_profile(), KEY.public_key(), None, KEY)


def _openssl_knows() -> bool:
    program = shutil.which("openssl")
    if program is None:
        return False
    shown = subprocess.run([program, "list", "-public-key-algorithms"], capture_output=True, text=True, check=False)
    return "ML-DSA-65" in shown.stdout


def test_a_root_and_what_it_signs() -> None:
    """The library must read, in each place where the identifier stands, what RFC 9881 says; signatures must hold."""
    classical = keys.generate(KeyKind.EC_P256)
    intermediate = _issued(intermediate_profile(), classical.public_key(), ROOT, KEY)
    intermediate.verify_directly_issued_by(ROOT)
    for certificate in (ROOT, intermediate):
        assert certificate.signature_algorithm_oid.dotted_string == "2.16.840.1.101.3.4.3.18"
        # Once in the part that is signed, once behind it; and once in the root's public key.
        encoded = certificate.public_bytes(Encoding.DER)
        assert encoded.count(ALGORITHM) == 2 + (certificate is ROOT)
        assert len(certificate.signature) == 3309
    assert keys.describe(keys.ca_key(ROOT)) == "ML-DSA-65"
    usage = ROOT.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.crl_sign


def test_a_list() -> None:
    """A root that cannot sign its lists cannot take back an intermediate."""
    entry = RevokedEntry(serial=2**100, revoked_at=BEGIN)
    request = CrlRequest(
        number=1, this_update=BEGIN, next_update=BEGIN + timedelta(hours=9), entries=(entry,), url="", now=BEGIN
    )
    issuer = Issuer.from_certificate(ROOT)
    made = issue_crl(prepare_crl(request, issuer), KEY)
    assert made.der.count(ALGORITHM) == 2
    changed = x509.load_der_x509_crl(made.der[:-1] + bytes([made.der[-1] ^ 1]))
    with pytest.raises(Fatal) as refused:
        verify_crl_signature(changed, issuer)
    assert refused.value.code == "issue.bad-signature"


@pytest.mark.parametrize("place", [0, 1654, 3308])
def test_a_changed_signature_is_noticed(place: int) -> None:
    """A verifier that takes any signature of the right length would make the root worthless."""
    encoded = bytearray(ROOT.public_bytes(Encoding.DER))
    encoded[len(encoded) - 3309 + place] ^= 1
    with pytest.raises(Fatal) as refused:
        verify_signature(x509.load_der_x509_certificate(bytes(encoded)), KEY.public_key())
    assert refused.value.code == "issue.bad-signature"


def test_the_node_takes_no_such_key() -> None:
    """TLS and tokens of the node know nothing of it: it must be refused by its name, wherever it comes in."""
    leaf_key = generate_for_ca(PostQuantum.ML_DSA_65)
    csr = x509.CertificateSigningRequestBuilder().subject_name(names.subject(common="foo.example"))
    signed = csr.sign(leaf_key, None)
    assert keys.csr_ca_key(signed) == leaf_key.public_key()
    assert isinstance(leaf_key, mldsa.MLDSA65PrivateKey)
    pem = leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for deed in (
        lambda: keys.csr_key(signed),
        lambda: keys.certificate_key(ROOT),
        lambda: keys.check_public_key(leaf_key.public_key()),
        lambda: load_private_key(pem, lambda _: b"", what="key file"),
    ):
        with pytest.raises(RequestRejected) as refused:
            deed()
        assert refused.value.code == "key.unsupported"


def test_no_leaf_has_such_a_key() -> None:
    """The profile of a leaf is the last gate before a signature."""
    classical = keys.generate(KeyKind.EC_P256)
    intermediate = _issued(intermediate_profile(), classical.public_key(), ROOT, KEY)
    profile = leaf_profile(longest=timedelta(hours=25))
    _issued(profile, classical.public_key(), ROOT, KEY, sans="foo.example").verify_directly_issued_by(ROOT)
    refused: ColdrootError | None = None
    try:
        _issued(profile, KEY.public_key(), intermediate, classical, sans="foo.example")
    except PolicyDenied as error:
        refused = error
    assert refused is not None
    assert refused.code == "lint.key.kind"


@pytest.mark.skipif(not _openssl_knows(), reason="this openssl has no ML-DSA (3.5 and later have)")
def test_openssl_accepts_them(tmp_path: Path) -> None:
    """Whatever we believe of our certificates, it is other programs that must accept them."""
    lower = generate_for_ca(PostQuantum.ML_DSA_65)
    intermediate = _issued(intermediate_profile(), lower.public_key(), ROOT, KEY)
    (tmp_path / "root.pem").write_bytes(certificate_pem(ROOT))
    (tmp_path / "below.pem").write_bytes(certificate_pem(intermediate))
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-attime", str(int(BEGIN.timestamp()) + 5),
         "-CAfile", tmp_path / "root.pem", tmp_path / "below.pem"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
