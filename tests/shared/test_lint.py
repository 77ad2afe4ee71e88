"""Each lint rule: a certificate that breaks it, and the finding that must come.

The certificates are built by hand, past the signing path, because the path would refuse to make them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fakes.certificates import make_intermediate, make_root

from shared import keys, names
from shared.keys import KeyKind
from shared.lint import Severity, lint_certificate
from shared.lint.rules import Context
from shared.profile import Profile, intermediate_profile, leaf_profile, root_profile
from shared.serials import LARGEST_SERIAL

ROOT, ROOT_KEY = make_root(kind=KeyKind.EC_P256)
INTERMEDIATE, _ = make_intermediate(ROOT, ROOT_KEY)
KEY = keys.generate(KeyKind.EC_P256)
NOW = datetime.now(UTC).replace(microsecond=0)
LEAF = leaf_profile(longest=timedelta(hours=25))
Extensions = dict[type[x509.ExtensionType], tuple[x509.ExtensionType, bool]]


def _context(profile: Profile) -> Context:
    return Context(profile=profile, issuer_name=ROOT.subject, issuer_key=ROOT_KEY.public_key(), issuer=ROOT)


def _leaf_extensions() -> Extensions:
    san = x509.SubjectAlternativeName([x509.DNSName("a.example")])
    return {
        x509.KeyUsage: (LEAF.key_usage(KeyKind.EC_P256), True),
        x509.ExtendedKeyUsage: (x509.ExtendedKeyUsage(LEAF.extended_key_usage), False),
        x509.SubjectKeyIdentifier: (x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()), False),
        x509.AuthorityKeyIdentifier: (
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ROOT_KEY.public_key()),
            False,
        ),
        x509.SubjectAlternativeName: (san, False),
    }


def _certificate(extensions: Extensions, **changes: object) -> x509.Certificate:
    given = {
        "subject": names.subject(common="a.example"),
        "issuer": ROOT.subject,
        "key": KEY.public_key(),
        "serial": 1 << 120,
        "begin": NOW,
        "end": NOW + timedelta(hours=24),
    } | changes
    builder = (
        x509.CertificateBuilder()
        .subject_name(given["subject"])  # type: ignore[arg-type]
        .issuer_name(given["issuer"])  # type: ignore[arg-type]
        .public_key(given["key"])  # type: ignore[arg-type]
        .serial_number(given["serial"])  # type: ignore[arg-type]
        .not_valid_before(given["begin"])  # type: ignore[arg-type]
        .not_valid_after(given["end"])  # type: ignore[arg-type]
    )
    for value, critical in extensions.values():
        builder = builder.add_extension(value, critical)
    return builder.sign(ROOT_KEY, hashes.SHA256())


def _codes(certificate: x509.Certificate, profile: Profile = LEAF) -> set[str]:
    findings = lint_certificate(certificate, _context(profile))
    assert all(finding.citation and finding.severity is Severity.ERROR for finding in findings)
    return {finding.code for finding in findings}


def test_good_certificates_have_no_finding() -> None:
    """A rule that fires on a good certificate would stop the CA."""
    assert _codes(_certificate(_leaf_extensions())) == set()
    assert _codes(INTERMEDIATE, intermediate_profile()) == set()
    root_context = Context(
        profile=root_profile(), issuer_name=ROOT.subject, issuer_key=ROOT_KEY.public_key(), issuer=None
    )
    assert lint_certificate(ROOT, root_context) == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"serial": 7}, "serial.too-short"),
        ({"end": NOW + timedelta(hours=26)}, "validity.too-long"),
        ({"begin": ROOT.not_valid_before_utc - timedelta(days=1)}, "validity.before-issuer"),
        ({"end": ROOT.not_valid_after_utc + timedelta(days=1)}, "validity.outlives-issuer"),
        ({"issuer": names.subject(common="other")}, "issuer.name"),
        ({"key": ROOT_KEY.public_key()}, "key.is-issuers"),
        ({"subject": names.subject(common="b.example")}, "san.common-name"),
        ({"subject": x509.Name([])}, "san.criticality"),
        (
            {"subject": x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a\u202eb")])},
            "subject.unprintable",
        ),
        (
            {"subject": x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")] * 2)},
            "subject.common-names",
        ),
        (
            {
                "subject": x509.Name(
                    [
                        x509.RelativeDistinguishedName(
                            [
                                x509.NameAttribute(NameOID.COMMON_NAME, "a.example"),
                                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o"),
                            ]
                        )
                    ]
                )
            },
            "subject.multi-valued",
        ),
    ],
)
def test_fields(changes: dict[str, object], code: str) -> None:
    """Each of these fields went wrong at some public CA."""
    assert code in _codes(_certificate(_leaf_extensions(), **changes))


def _without(kind: type[x509.ExtensionType]) -> Extensions:
    return {each: value for each, value in _leaf_extensions().items() if each is not kind}


def _with(value: x509.ExtensionType, *, critical: bool = False) -> Extensions:
    return _leaf_extensions() | {type(value): (value, critical)}


@pytest.mark.parametrize(
    ("extensions", "code"),
    [
        (lambda: _without(x509.AuthorityKeyIdentifier), "aki.missing"),
        (lambda: _with(x509.AuthorityKeyIdentifier(b"x" * 20, None, None)), "aki.mismatch"),
        (lambda: _without(x509.SubjectKeyIdentifier), "ski.mismatch"),
        (lambda: _with(x509.SubjectKeyIdentifier(b"x" * 20)), "ski.mismatch"),
        (lambda: _without(x509.KeyUsage), "key-usage.mismatch"),
        (lambda: _with(LEAF.key_usage(KeyKind.EC_P256), critical=False), "key-usage.mismatch"),
        (lambda: _with(intermediate_profile().key_usage(KeyKind.EC_P256), critical=True), "key-usage.mismatch"),
        (lambda: _without(x509.ExtendedKeyUsage), "extended-key-usage.mismatch"),
        (
            lambda: _with(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])),
            "extended-key-usage.mismatch",
        ),
        (lambda: _with(x509.BasicConstraints(ca=True, path_length=0), critical=True), "basic-constraints.leaf-is-ca"),
        (lambda: _without(x509.SubjectAlternativeName), "san.missing"),
        (lambda: _with(x509.SubjectAlternativeName([x509.DNSName("A.example")])), "san.not-canonical"),
        (lambda: _with(x509.SubjectAlternativeName([x509.DNSName("127.1")])), "san.malformed"),
        (lambda: _with(x509.SubjectAlternativeName([])), "san.not-canonical"),
        (
            lambda: _with(x509.SubjectAlternativeName([x509.DNSName("a.example"), x509.DNSName("a.example")])),
            "san.not-canonical",
        ),
        (lambda: _with(x509.OCSPNoCheck()), "extension.foreign"),
    ],
)
def test_extensions(extensions: Callable[[], Extensions], code: str) -> None:
    """An extension that is missing, foreign or not the profile's changes what the certificate may do."""
    assert code in _codes(_certificate(extensions()))


def test_allowed_extensions_are_not_critical() -> None:
    """A critical extension that nobody knows makes every relying party refuse the certificate."""
    oid = x509.ObjectIdentifier("1.2.3.4")
    profile = leaf_profile(longest=timedelta(hours=25), allowed_extensions=frozenset({oid}))
    foreign = x509.UnrecognizedExtension(oid, b"\x05\x00")
    assert _codes(_certificate(_with(foreign)), profile) == set()
    assert _codes(_certificate(_with(foreign, critical=True)), profile) == {"extension.critical"}


def test_intermediate_rules() -> None:
    """A CA without its constraints could make further CAs, or be none."""
    common: Extensions = {
        x509.KeyUsage: (intermediate_profile().key_usage(KeyKind.EC_P256), True),
        x509.SubjectKeyIdentifier: (x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()), False),
        x509.AuthorityKeyIdentifier: (
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ROOT_KEY.public_key()),
            False,
        ),
    }
    profile = intermediate_profile()
    assert "basic-constraints.missing" in _codes(_certificate(common), profile)
    deep: Extensions = {x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=1), True)}
    assert "basic-constraints.path-length" in _codes(_certificate(common | deep), profile)
    good: Extensions = {x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=0), True)}
    assert "subject.empty" in _codes(_certificate(common | good, subject=x509.Name([])), profile)
    san: Extensions = {x509.SubjectAlternativeName: (x509.SubjectAlternativeName([x509.DNSName("a.example")]), False)}
    assert "san.on-ca" in _codes(_certificate(common | good | san), profile)


def test_root_rules() -> None:
    """A root that is not signed by its own key and name is not a root."""
    other = keys.generate(KeyKind.EC_P384)
    context = Context(profile=root_profile(), issuer_name=ROOT.subject, issuer_key=other.public_key(), issuer=None)
    assert "key.not-issuers" in {finding.code for finding in lint_certificate(ROOT, context)}
    context = Context(profile=root_profile(), issuer_name=ROOT.subject, issuer_key=ROOT_KEY.public_key(), issuer=None)
    assert "issuer.not-self-issued" in {finding.code for finding in lint_certificate(INTERMEDIATE, context)}


def test_largest_serial_passes() -> None:
    """Twenty octets are allowed; refusing the largest would be a rule of our own."""
    assert _codes(_certificate(_leaf_extensions(), serial=LARGEST_SERIAL)) == set()
