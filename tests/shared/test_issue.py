"""The one signing path, judged by openssl; and each way to get around it."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from fakes.certificates import make_intermediate, make_root

from shared import keys, names
from shared.errors import ColdrootError, Fatal, PolicyDenied, RequestRejected
from shared.issue import IssuanceRequest, Issuer, clip_to_issuer, issue, lifetime, prepare
from shared.keys import KeyKind
from shared.oids import STEP_PROVISIONER
from shared.pem import certificate_pem
from shared.profile import leaf_profile
from shared.serials import random_serial

NOW = datetime(2026, 11, 24, 6, 0, 0, 123456, tzinfo=UTC)
STEP: x509.Extension[x509.ExtensionType] = x509.Extension(
    STEP_PROVISIONER, False, x509.UnrecognizedExtension(STEP_PROVISIONER, b"\x30\x00")
)
PROFILE = leaf_profile(longest=timedelta(hours=25), allowed_extensions=frozenset({STEP_PROVISIONER}))


def _request(key: keys.PublicKey, **changes: object) -> IssuanceRequest:
    given: dict[str, object] = {
        "subject": names.subject(common="foo.example"),
        "public_key": key,
        "serial": random_serial(os.urandom),
        "not_before": NOW,
        "not_after": NOW + timedelta(hours=24),
        "sans": names.parse_sans(["foo.example", "10.0.0.1", "a@b.example", "spiffe://a/b"]),
    }
    return IssuanceRequest(**(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("issuer_kind", list(KeyKind))
def test_openssl_accepts_the_chain(tmp_path: Path, issuer_kind: KeyKind) -> None:
    """Whatever we believe of our certificates, it is other programs that must accept them."""
    root, root_key = make_root(kind=issuer_kind)
    intermediate, intermediate_key = make_intermediate(root, root_key, kind=issuer_kind)
    issuer = Issuer.from_certificate(intermediate)
    (tmp_path / "root").write_bytes(certificate_pem(root))
    (tmp_path / "intermediate").write_bytes(certificate_pem(intermediate))
    for kind in KeyKind:
        leaf = issue(prepare(PROFILE, _request(keys.generate(kind).public_key()), issuer), intermediate_key)
        (tmp_path / "leaf").write_bytes(certificate_pem(leaf))
        for purpose in ("sslserver", "sslclient"):
            done = subprocess.run(
                ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-attime",
                 str(int(NOW.timestamp()) + 5), "-CAfile", tmp_path / "root", "-untrusted", tmp_path / "intermediate",
                 "-verify_hostname", "foo.example", tmp_path / "leaf"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr


def test_order_and_criticality_are_steps() -> None:
    """Clients that compare certificates of both programs must see the same shape (reference order KU … SAN)."""
    root, root_key = make_root()
    extra = x509.Extension(STEP_PROVISIONER, False, x509.UnrecognizedExtension(STEP_PROVISIONER, b"\x30\x00"))
    leaf = issue(
        prepare(
            PROFILE,
            _request(keys.generate(KeyKind.EC_P256).public_key(), extra=(extra,)),
            Issuer.from_certificate(root),
        ),
        root_key,
    )
    assert [(type(each.value).__name__, each.critical) for each in leaf.extensions] == [
        ("KeyUsage", True),
        ("ExtendedKeyUsage", False),
        ("SubjectKeyIdentifier", False),
        ("AuthorityKeyIdentifier", False),
        ("SubjectAlternativeName", False),
        ("UnrecognizedExtension", False),
    ]
    assert leaf.not_valid_before_utc == NOW.replace(microsecond=0)


@pytest.mark.parametrize("moment", [NOW, datetime(2055, 3, 1, 12, tzinfo=timezone(timedelta(hours=5)))])
def test_the_parts_are_where_the_library_puts_them(moment: datetime) -> None:
    """The builder is handed all parts at once: one in the place of another would be a certificate of somebody else."""
    root, root_key = make_root(begin=moment.replace(microsecond=0) - timedelta(days=1))
    key = keys.generate(KeyKind.EC_P256).public_key()
    request = _request(key, not_before=moment, not_after=moment + timedelta(hours=24), extra=(STEP,))
    prepared = prepare(PROFILE, request, Issuer.from_certificate(root))
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(root.subject)
        .public_key(key)
        .serial_number(request.serial)
        .not_valid_before(moment.replace(microsecond=0))
        .not_valid_after((moment + timedelta(hours=24)).replace(microsecond=0))
    )
    for extension in issue(prepared, root_key).extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    expected = builder.sign(root_key, keys.signature_hash(keys.kind_of(root_key)))
    assert prepared.tbs == expected.tbs_certificate_bytes


def test_a_prepared_certificate_is_spent_after_one_use() -> None:
    """Two certificates from one approval would be one too many."""
    root, root_key = make_root()
    prepared = prepare(PROFILE, _request(keys.generate(KeyKind.EC_P256).public_key()), Issuer.from_certificate(root))
    issue(prepared, root_key)
    with pytest.raises(Fatal) as fatal:
        issue(prepared, root_key)
    assert fatal.value.code == "issue.spent"


def test_only_the_issuers_key_signs() -> None:
    """A mixed-up key file would issue certificates that nobody can verify."""
    root, _ = make_root()
    prepared = prepare(PROFILE, _request(keys.generate(KeyKind.EC_P256).public_key()), Issuer.from_certificate(root))
    with pytest.raises(Fatal) as fatal:
        issue(prepared, keys.generate(KeyKind.EC_P256))
    assert fatal.value.code == "issue.wrong-key"


class _LyingKey(ec.EllipticCurvePrivateKey):
    """An HSM that answers with a signature over something else."""

    def __init__(self, honest: ec.EllipticCurvePrivateKey) -> None:
        self._honest = honest

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._honest.public_key()

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._honest.curve

    @property
    def key_size(self) -> int:
        return self._honest.key_size

    def sign(self, data: object, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        del data
        return self._honest.sign(b"something else", signature_algorithm)

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        raise TypeError

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        raise TypeError

    def private_bytes(self, *_: object, **__: object) -> bytes:
        raise TypeError

    def __copy__(self) -> _LyingKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> _LyingKey:
        return self


def test_a_wrong_signature_never_leaves() -> None:
    """An HSM with a fault, or somebody between it and us, must be noticed before the certificate is used."""
    root, root_key = make_root(kind=KeyKind.EC_P256)
    assert isinstance(root_key, ec.EllipticCurvePrivateKey)
    prepared = prepare(PROFILE, _request(keys.generate(KeyKind.EC_P256).public_key()), Issuer.from_certificate(root))
    with pytest.raises(Fatal) as fatal:
        issue(prepared, _LyingKey(root_key))
    assert fatal.value.code == "issue.bad-signature"


def test_renewal_keeps_the_extensions() -> None:
    """A renewed certificate keeps names and extensions in their order; authority first, as step-ca has it."""
    root, root_key = make_root()
    issuer = Issuer.from_certificate(root)
    extra = x509.Extension(STEP_PROVISIONER, False, x509.UnrecognizedExtension(STEP_PROVISIONER, b"\x30\x00"))
    key = keys.generate(KeyKind.EC_P256).public_key()
    old = issue(prepare(PROFILE, _request(key, extra=(extra,)), issuer), root_key)
    rsa_key = keys.generate(KeyKind.RSA).public_key()
    for new_key in (key, rsa_key):
        request = _request(new_key, subject=old.subject, renewed_from=old, sans=names.SanSet())
        new = issue(prepare(PROFILE, request, issuer), root_key)
        assert [type(each.value).__name__ for each in new.extensions] == [
            "AuthorityKeyIdentifier",
            "KeyUsage",
            "ExtendedKeyUsage",
            "SubjectKeyIdentifier",
            "SubjectAlternativeName",
            "UnrecognizedExtension",
        ]
        usage = new.extensions.get_extension_for_class(x509.KeyUsage).value
        assert usage.key_encipherment == (new_key is rsa_key)
        assert lifetime(new) == timedelta(hours=24)


def test_a_leaf_never_outlives_its_issuer() -> None:
    """Such a leaf fails at every relying party on the day its issuer ends."""
    root, _ = make_root()
    issuer = Issuer.from_certificate(root)
    late = root.not_valid_after_utc + timedelta(seconds=1)
    request = _request(
        keys.generate(KeyKind.EC_P256).public_key(), not_before=late - timedelta(hours=1), not_after=late
    )
    with pytest.raises(PolicyDenied) as denied:
        prepare(PROFILE, request, issuer)
    assert denied.value.code == "lint.validity.outlives-issuer"
    assert clip_to_issuer(late, issuer) == root.not_valid_after_utc


@pytest.mark.parametrize(
    "changes",
    [
        {"not_before": datetime(1800, 1, 1, tzinfo=UTC)},
        {"not_after": NOW - timedelta(days=1)},
        {"serial": 0},
        {"serial": -1},
        {"serial": 1 << 159},
        {"serial": 1 << 200},
        {"extra": (STEP, STEP)},
        {"subject": x509.Name([]), "sans": names.SanSet()},
    ],
)
def test_what_cannot_be_encoded_or_linted_is_refused(changes: dict[str, object]) -> None:
    """The library's own exceptions must not cross the boundary as a server error."""
    root, _ = make_root()
    with pytest.raises(ColdrootError) as refused:
        prepare(
            PROFILE, _request(keys.generate(KeyKind.EC_P256).public_key(), **changes), Issuer.from_certificate(root)
        )
    assert isinstance(refused.value, RequestRejected | PolicyDenied)
