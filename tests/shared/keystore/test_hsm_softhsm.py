"""Keys in a real PKCS#11 token (SoftHSM): certificates, requests, CRLs, and what happens around them."""

from __future__ import annotations

import copy
import datetime as dt
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401

from shared import keys
from shared.errors import NotFound, PeerFailed, RequestRejected, Unauthenticated, Unsupported
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.keys import CaPrivateKey, KeyKind, signature_hash
from shared.keystore import HsmEcKey, HsmMlDsaKey, HsmRsaKey, Token, create_key, open_key, private_key_pem
from shared.profile import intermediate_profile, root_profile

pytestmark = needs_softhsm

PIN = b"user-pin-1"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
ROOT_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Root")])
INTERMEDIATE_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Intermediate")])


@contextmanager
def opened(hsm: SoftHsm, label: str = "root", **options: Any) -> Iterator[Token]:
    with Token.open(hsm.module, label=label, pin=options.pop("pin", PIN), **options) as token:
        yield token


def secret(prompt: str) -> bytes:
    assert "PIN of the HSM token" in prompt
    return PIN


def openssl(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def self_signed(key: CaPrivateKey, name: x509.Name = ROOT_NAME) -> x509.Certificate:
    """Make a root by the one signing path."""
    request = IssuanceRequest(
        subject=name, public_key=key.public_key(), serial=1 << 126, not_before=NOW, not_after=NOW + 3650 * DAY
    )
    return issue(prepare(root_profile(), request, Issuer.new_root(name, key.public_key())), key)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_whole_hierarchy(softhsm: SoftHsm, tmp_path: Path, kind: KeyKind) -> None:
    """HSM keys of each kind must sign roots, intermediates, requests and CRLs that OpenSSL accepts."""
    softhsm.token()
    with opened(softhsm, writable=True) as token:
        root_key = token.generate(kind, label="root-key")
        other_key = token.generate(kind, label="intermediate-key")
        root = self_signed(root_key)
        csr = x509.CertificateSigningRequestBuilder().subject_name(INTERMEDIATE_NAME)
        request = csr.sign(other_key, signature_hash(kind))
        assert keys.csr_key(request) == other_key.public_key()
        issuer = Issuer.from_certificate(root)
        wanted = IssuanceRequest(
            subject=INTERMEDIATE_NAME,
            public_key=keys.csr_key(request),
            serial=(1 << 126) + 1,
            not_before=NOW,
            not_after=NOW + 1000 * DAY,
        )
        intermediate = issue(prepare(intermediate_profile(), wanted, issuer), root_key)
        revoked = x509.RevokedCertificateBuilder().serial_number(5).revocation_date(NOW).build()
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(ROOT_NAME)
            .last_update(NOW)
            .next_update(NOW + 30 * DAY)
            .add_revoked_certificate(revoked)
            .sign(root_key, signature_hash(kind))
        )
    (tmp_path / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (tmp_path / "intermediate.pem").write_bytes(intermediate.public_bytes(Encoding.PEM))
    (tmp_path / "request.pem").write_bytes(request.public_bytes(Encoding.PEM))
    (tmp_path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    moment = str(int((NOW + DAY).timestamp()))
    checked = openssl(
        tmp_path,
        "verify",
        "-x509_strict",
        "-check_ss_sig",
        "-attime",
        moment,
        "-CAfile",
        "root.pem",
        "intermediate.pem",
    )
    assert "intermediate.pem: OK" in checked
    assert "verify OK" in openssl(tmp_path, "req", "-verify", "-noout", "-in", "request.pem")
    assert "verify OK" in openssl(tmp_path, "crl", "-noout", "-CAfile", "root.pem", "-in", "crl.pem")


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_rsa_schemes(softhsm: SoftHsm, digest: hashes.HashAlgorithm) -> None:
    """Provisioner keys sign PS256 and RS384 too; a wrong DigestInfo or salt would pass no verifier but ours."""
    softhsm.token()
    with opened(softhsm, writable=True) as token:
        key = token.generate(KeyKind.RSA, label="k")
        assert isinstance(key, HsmRsaKey)
        pss = [
            padding.PSS(padding.MGF1(digest), each) for each in (20, padding.PSS.DIGEST_LENGTH, padding.PSS.MAX_LENGTH)
        ]
        for scheme in (padding.PKCS1v15(), *pss):
            key.public_key().verify(key.sign(b"data", scheme, digest), b"data", scheme, digest)
        hashed = hashes.Hash(digest)
        hashed.update(b"data")
        signature = key.sign(hashed.finalize(), padding.PKCS1v15(), utils.Prehashed(digest))
        key.public_key().verify(signature, b"data", padding.PKCS1v15(), digest)


def test_what_an_rsa_key_refuses(softhsm: SoftHsm) -> None:
    """SHA-1, a foreign MGF or raw signatures must be refused here, not by chance of the device."""
    softhsm.token()
    with opened(softhsm, writable=True) as token:
        key = token.generate(KeyKind.RSA, label="k")
        assert isinstance(key, HsmRsaKey)
        sha256 = hashes.SHA256()
        mixed = padding.PSS(padding.MGF1(hashes.SHA512()), 32)
        automatic = padding.PSS(padding.MGF1(sha256), padding.PSS.AUTO)
        oaep = padding.OAEP(padding.MGF1(sha256), sha256, None)
        for scheme, digest in (
            (padding.PKCS1v15(), hashes.SHA1()),  # noqa: S303 (it is refused)
            (padding.PKCS1v15(), utils.NoDigestInfo()),
            (mixed, sha256),
            (automatic, sha256),
            (oaep, sha256),
        ):
            with pytest.raises(Unsupported):
                key.sign(b"data", scheme, digest)
        with pytest.raises(Unsupported):
            key.sign(b"short", padding.PKCS1v15(), utils.Prehashed(sha256))
        with pytest.raises(Unsupported):
            key.decrypt(b"x", padding.PKCS1v15())


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_ecdsa_with_any_digest(softhsm: SoftHsm, digest: hashes.HashAlgorithm) -> None:
    """A digest longer than the curve must be cut at its left end (FIPS 186-5), or nothing verifies."""
    softhsm.token()
    with opened(softhsm, writable=True) as token:
        key = token.generate(KeyKind.EC_P256, label="k")
        assert isinstance(key, HsmEcKey)
        key.public_key().verify(key.sign(b"data", ec.ECDSA(digest)), b"data", ec.ECDSA(digest))
        hashed = hashes.Hash(digest)
        hashed.update(b"data")
        signature = key.sign(hashed.finalize(), ec.ECDSA(utils.Prehashed(digest)))
        key.public_key().verify(signature, b"data", ec.ECDSA(digest))
        with pytest.raises(Unsupported):
            key.exchange(ec.ECDH(), key.public_key())


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_key_cannot_be_exported(softhsm: SoftHsm, kind: KeyKind) -> None:
    """Whoever asks an HSM key for its bytes must get one clear line, and copies must stay the same key."""
    softhsm.token()
    with opened(softhsm, writable=True) as token:
        key = token.generate(kind, label="k")
        assert not isinstance(key, HsmMlDsaKey)
        with pytest.raises(Unsupported) as caught:
            private_key_pem(key, b"x")
        assert caught.value.code == "hsm.not-exportable"
        with pytest.raises(Unsupported):
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        if isinstance(key, ed25519.Ed25519PrivateKey):
            with pytest.raises(Unsupported):
                key.private_bytes_raw()
        else:
            with pytest.raises(Unsupported):
                key.private_numbers()
        assert copy.copy(key) is key
        assert copy.deepcopy(key) is key
        assert "'k'" in repr(key)
        assert keys.kind_of(key) is kind


def test_attributes_of_a_new_key(softhsm: SoftHsm) -> None:
    """The evidence of a ceremony: born inside, never outside, for signing only."""
    softhsm.token()
    with opened(softhsm, writable=True) as token:
        key = token.generate(KeyKind.EC_P384, label="k", key_id=b"\x0a\x0b")
        found = token.attributes(key)
        assert found["ID"] == "0a0b"
        assert (found["KEY_TYPE"], found["KEY_GEN_MECHANISM"]) == ("EC", "EC_KEY_PAIR_GEN")
        for name in ("SENSITIVE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "LOCAL", "SIGN", "PRIVATE", "TOKEN"):
            assert found[name] is True
        for name in ("EXTRACTABLE", "MODIFIABLE", "DECRYPT", "UNWRAP", "DERIVE", "SIGN_RECOVER"):
            assert found[name] is False
        assert [(each.kind, each.label, each.key_id) for each in token.inventory()] == [
            ("PRIVATE_KEY", "k", "0a0b"),
            ("PUBLIC_KEY", "k", "0a0b"),
        ]


def test_labels_and_sizes_are_checked(softhsm: SoftHsm) -> None:
    """An empty label or an RSA key of 512 bits must not reach a token that would take it."""
    softhsm.token()
    with opened(softhsm, writable=True) as token:
        for label in ("", "a\nb", "x" * 65):
            with pytest.raises(RequestRejected):
                token.generate(KeyKind.EC_P256, label=label)
        with pytest.raises(RequestRejected):
            token.generate(KeyKind.RSA, label="k", rsa_bits=512)
        token.generate(KeyKind.EC_P256, label="k")
        with pytest.raises(RequestRejected) as caught:
            token.generate(KeyKind.EC_P256, label="k")
        assert caught.value.code == "hsm.key-exists"
        assert len(token.inventory()) == 2


def test_a_read_only_session_makes_no_keys(softhsm: SoftHsm) -> None:
    """A node opens its token for signing only; a defect must not be able to fill it with keys."""
    softhsm.token()
    with opened(softhsm) as token, pytest.raises(RequestRejected) as caught:
        token.generate(KeyKind.EC_P256, label="k")
    assert caught.value.code == "hsm.read-only"


def test_wrong_pin_and_the_right_one_after(softhsm: SoftHsm) -> None:
    """A refused login leaves a half-open session in the binding; the next login must not stumble over it."""
    softhsm.token()
    for _ in range(3):
        with pytest.raises(Unauthenticated) as caught, opened(softhsm, pin=b"wrong-pin"):
            pass
        assert caught.value.code == "hsm.wrong-pin"
        with opened(softhsm) as token:
            assert len(token.random(32)) == 32


def test_two_tokens_of_one_label(softhsm: SoftHsm) -> None:
    """SoftHSM allows twins; only the serial tells them apart."""
    info = softhsm.token()
    softhsm.twin("root")
    with pytest.raises(RequestRejected) as caught, opened(softhsm):
        pass
    assert caught.value.code == "hsm.token-ambiguous"
    with Token.open(softhsm.module, serial=info.serial, pin=PIN) as token:
        assert token.info == info


URI = "pkcs11:token=root;object=issuing%20key?module-name=softhsm2"


def test_create_and_open_by_uri(softhsm: SoftHsm, tmp_path: Path) -> None:
    """`online init --key-uri` makes the key, every later start opens it: by the same text."""
    softhsm.token()
    public = create_key(URI, KeyKind.EC_P256, secret)
    with open_key(URI, secret) as key:
        assert key.public_key() == public
        assert self_signed(key).public_key() == public
    with pytest.raises(RequestRejected) as caught:
        create_key(URI, KeyKind.EC_P256, secret)
    assert caught.value.code == "hsm.key-exists"
    (tmp_path / "pin").write_bytes(PIN + b"\n")
    (tmp_path / "pin").chmod(0o600)
    with open_key(URI + "&pin-source=pin", lambda _: b"not asked", base=tmp_path) as key:
        assert key.public_key() == public
    (tmp_path / "pin").chmod(0o644)
    with pytest.raises(RequestRejected) as caught, open_key(URI + "&pin-source=pin", secret, base=tmp_path):
        pass
    assert caught.value.code == "file.exposed"


def test_create_key_with_an_id(softhsm: SoftHsm) -> None:
    """A URI with label and id must name the key that was made under it."""
    softhsm.token()
    uri = f"pkcs11:token=root;object=k;id=%0A%0B?module-path={softhsm.path}"
    public = create_key(uri, KeyKind.RSA, secret, rsa_bits=2048)
    with open_key(uri, secret) as key:
        assert isinstance(key, rsa.RSAPrivateKey)
        assert key.public_key() == public
    with pytest.raises(NotFound) as caught, open_key(uri.replace("%0B", "%0C"), secret):
        pass
    assert caught.value.code == "hsm.key-missing"


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("secrets/key", "key-uri.not-pkcs11"),
        ("pkcs11:token=root;id=%01?module-name=softhsm2", "key-uri.no-label"),
        ("pkcs11:token=other;object=k?module-name=softhsm2", "hsm.token-missing"),
        ("pkcs11:token=root;object=k?module-path=/nowhere.so", "hsm.module-missing"),
    ],
)
def test_create_key_refuses_before_a_pin_is_asked(softhsm: SoftHsm, uri: str, code: str) -> None:
    """Nobody shall type a PIN for a token that is not there, or into a URI that cannot work."""
    softhsm.token()
    with pytest.raises(RequestRejected) as caught:
        create_key(uri, KeyKind.EC_P256, lambda _: pytest.fail("the PIN was asked for"))
    assert caught.value.code == code


def test_token_away_and_back(softhsm: SoftHsm) -> None:
    """A node whose token is pulled answers with a failure, and signs again when the token is back."""
    softhsm.token()
    create_key(URI, KeyKind.EC_P256, secret)
    with open_key(URI, secret) as key:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        sign = ec.ECDSA(hashes.SHA256())
        key.sign(b"data", sign)
        softhsm.unplug()
        for _ in range(2):
            with pytest.raises(PeerFailed) as caught:
                key.sign(b"data", sign)
            assert caught.value.code == "hsm.device-removed"
        softhsm.plug()
        key.public_key().verify(key.sign(b"data", sign), b"data", sign)


def test_issuing_passes_the_hsm_failure_through(softhsm: SoftHsm) -> None:
    """The certificate builder must hand our error on as it is: it decides 503 against 500."""
    softhsm.token()
    with opened(softhsm, writable=True) as token:
        key = token.generate(KeyKind.EC_P256, label="k")
    with pytest.raises(PeerFailed) as caught:
        self_signed(key)
    assert caught.value.code == "hsm.session-lost"


def in_child(work: Any) -> int:
    """Run something in a forked child and return its exit status: 0 when it returns a truth."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_workers_open_after_the_fork(softhsm: SoftHsm) -> None:
    """Each worker has its own session; the parent's must go on working beside them."""
    softhsm.token()
    public = create_key(URI, KeyKind.EC_P256, secret)

    def work() -> bool:
        with open_key(URI, secret) as key:
            return self_signed(key).public_key() == public

    assert in_child(work) == 0
    with open_key(URI, secret) as key:
        assert [in_child(work), in_child(work)] == [0, 0]
        assert self_signed(key).public_key() == public


def test_a_key_from_before_the_fork_refuses(softhsm: SoftHsm) -> None:
    """The parent's session in a child is undefined by PKCS#11: it must be refused, not tried."""
    softhsm.token()
    create_key(URI, KeyKind.EC_P256, secret)
    with open_key(URI, secret) as key:

        def work() -> bool:
            try:
                self_signed(key)
            except PeerFailed as error:
                return error.code == "hsm.forked"
            return False

        assert in_child(work) == 0
        self_signed(key)


def test_no_pin_in_environment_or_arguments(softhsm: SoftHsm) -> None:
    """A PIN in the environment or the arguments of a process can be read by others."""
    softhsm.token()
    create_key(URI, KeyKind.EC_P256, secret)
    with open_key(URI, secret):
        shown = Path("/proc/self/cmdline").read_bytes() + Path("/proc/self/environ").read_bytes()
        assert PIN not in shown
        assert PIN.decode() not in str(dict(os.environ))


def test_a_foreign_key_is_read(softhsm: SoftHsm, tmp_path: Path) -> None:
    """An operator's key may have come from another tool; its public part must be read the same."""
    info = softhsm.token()
    key = ec.generate_private_key(ec.SECP384R1())
    (tmp_path / "k.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption()))
    command = ["softhsm2-util", "--import", "k.pem", "--serial", info.serial, "--label", "foreign", "--id", "0102"]
    done = subprocess.run([*command, "--pin", PIN.decode()], cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("softhsm2-util cannot import here: " + done.stderr.strip()[:80])
    with opened(softhsm) as token:
        found = token.find(label="foreign")
        assert found.public_key() == key.public_key()
        assert found.key_id == b"\x01\x02"
        assert token.attributes(found)["LOCAL"] is False
