"""Each rule for revocation lists: a list that breaks it, and the finding that must come.

The lists are built by hand, past the signing path, because the path would refuse to make them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from fakes.certificates import make_intermediate, make_root

from shared import der
from shared.issue import Issuer
from shared.keys import KeyKind
from shared.lint import Severity
from shared.lint.crl import CrlContext, lint_crl
from shared.signing import algorithm_identifier, sign

ROOT, ROOT_KEY = make_root()
INTERMEDIATE, KEY = make_intermediate(ROOT, ROOT_KEY)
ISSUER = Issuer.from_certificate(INTERMEDIATE)
NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
DAY = timedelta(days=1)
POINT = x509.IssuingDistributionPoint(
    full_name=[x509.UniformResourceIdentifier("http://ca.example/crl")],
    relative_name=None,
    only_contains_user_certs=False,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)
CONTEXT = CrlContext(
    issuer_name=INTERMEDIATE.subject,
    issuer=INTERMEDIATE,
    authority_key_identifier=ISSUER.authority_key_identifier(),
    number=7,
    previous_number=6,
    this_update=NOW,
    next_update=NOW + DAY,
    longest=DAY,
    now=NOW,
    distribution_point=POINT,
    entries={5: (NOW, 1), 6: (NOW, 0)},
    listed=2,
)
Extensions = dict[type[x509.ExtensionType], tuple[x509.ExtensionType, bool]]
Builder = x509.CertificateRevocationListBuilder


def extensions() -> Extensions:
    return {
        x509.AuthorityKeyIdentifier: (ISSUER.authority_key_identifier(), False),
        x509.CRLNumber: (x509.CRLNumber(7), False),
        x509.IssuingDistributionPoint: (POINT, True),
    }


def revoked(serial: int, *values: tuple[x509.ExtensionType, bool], at: datetime = NOW) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
    for value, critical in values:
        builder = builder.add_extension(value, critical)
    return builder.build()


def reason(flag: x509.ReasonFlags = x509.ReasonFlags.key_compromise) -> tuple[x509.ExtensionType, bool]:
    return x509.CRLReason(flag), False


GOOD = (revoked(5, reason()), revoked(6))


def build(
    found: Extensions | None = None,
    entries: tuple[x509.RevokedCertificate, ...] = GOOD,
    *,
    issuer: x509.Name = INTERMEDIATE.subject,
    this_update: datetime = NOW,
    next_update: datetime = NOW + DAY,
    hash_: hashes.SHA256 | hashes.SHA224 | None = None,
) -> x509.CertificateRevocationList:
    builder = Builder().issuer_name(issuer).last_update(this_update).next_update(next_update)
    for value, critical in (extensions() if found is None else found).values():
        builder = builder.add_extension(value, critical)
    for each in entries:
        builder = builder.add_revoked_certificate(each)
    return builder.sign(KEY, hash_ or hashes.SHA256())


def codes(crl: x509.CertificateRevocationList, context: CrlContext = CONTEXT) -> set[str]:
    findings = lint_crl(crl, context)
    assert all(finding.citation and finding.severity is Severity.ERROR for finding in findings)
    return {finding.code for finding in findings}


def test_a_good_list_has_no_finding() -> None:
    """A rule that fires on a good list would leave everybody without one."""
    assert codes(build()) == set()


def without(kind: type[x509.ExtensionType]) -> Extensions:
    return {key: value for key, value in extensions().items() if key is not kind}


def with_(value: x509.ExtensionType, *, critical: bool) -> Extensions:
    return {**extensions(), type(value): (value, critical)}


def point(**changes: object) -> x509.IssuingDistributionPoint:
    given: dict[str, object] = {
        "full_name": POINT.full_name,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**(given | changes))  # type: ignore[arg-type]


WRONG_NAME = point(full_name=[x509.UniformResourceIdentifier("http://other.example/crl")])
SOME_REASONS = point(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise}))
FRESHEST = x509.FreshestCRL([x509.DistributionPoint(POINT.full_name, None, None, None)])


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (without(x509.AuthorityKeyIdentifier), "crl.aki"),
        (with_(ISSUER.authority_key_identifier(), critical=True), "crl.aki"),
        (with_(x509.AuthorityKeyIdentifier(b"x" * 20, None, None), critical=False), "crl.aki"),
        (without(x509.CRLNumber), "crl.number"),
        (with_(x509.CRLNumber(8), critical=False), "crl.number"),
        (with_(x509.CRLNumber(7), critical=True), "crl.number"),
        (without(x509.IssuingDistributionPoint), "crl.idp-missing"),
        (with_(POINT, critical=False), "crl.idp-criticality"),
        (with_(WRONG_NAME, critical=True), "crl.idp"),
        (with_(point(only_contains_ca_certs=True), critical=True), "crl.idp"),
        (with_(point(indirect_crl=True), critical=True), "crl.idp"),
        (with_(SOME_REASONS, critical=True), "crl.idp"),
        (with_(x509.DeltaCRLIndicator(6), critical=True), "crl.extension"),
        (with_(FRESHEST, critical=False), "crl.extension"),
    ],
)
def test_an_extension_that_must_not_be_so(found: Extensions, code: str) -> None:
    """A relying party would refuse the list, or take it for one of other certificates."""
    assert codes(build(found)) == {code}


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ((revoked(5, reason()),), "crl.incomplete"),
        ((*GOOD, revoked(7)), "crl.entry"),
        ((revoked(5, reason()), revoked(8)), "crl.entry"),
        ((revoked(5), revoked(6)), "crl.entry"),
        ((revoked(5, reason(x509.ReasonFlags.superseded)), revoked(6)), "crl.entry"),
        ((revoked(5, reason()), revoked(6, reason(x509.ReasonFlags.unspecified))), "crl.entry"),
        ((revoked(5, (x509.CRLReason(x509.ReasonFlags.key_compromise), True)), revoked(6)), "crl.entry"),
        ((revoked(5, reason(), (x509.InvalidityDate(datetime(2026, 1, 1)), False)), revoked(6)), "crl.entry"),  # noqa: DTZ001
        ((revoked(5, reason(), at=NOW - DAY), revoked(6)), "crl.entry"),
    ],
)
def test_entries_that_are_not_those_asked_for(entries: tuple[x509.RevokedCertificate, ...], code: str) -> None:
    """A list that forgets a certificate lets a stolen key live; one that says too much kills a good one."""
    assert codes(build(entries=entries)) == {code}


def test_an_entry_from_the_future() -> None:
    """A reader may take it for a mistake and ignore it."""
    late = NOW + timedelta(seconds=1)
    context = replace(CONTEXT, entries={5: (late, 1), 6: (NOW, 0)})
    assert codes(build(entries=(revoked(5, reason(), at=late), revoked(6))), context) == {"crl.entry-date"}


def test_an_entry_twice() -> None:
    """Readers differ in which of two entries counts."""
    context = replace(CONTEXT, entries={5: (NOW, 1)})
    assert codes(build(entries=(GOOD[0], GOOD[0])), context) == {"crl.duplicate", "crl.incomplete"}


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (lambda: build(this_update=NOW - timedelta(seconds=1)), "crl.dates"),
        (lambda: build(next_update=NOW + timedelta(hours=1)), "crl.dates"),
        (lambda: build(issuer=ROOT.subject), "crl.issuer"),
        (lambda: build(hash_=hashes.SHA224()), "signature.weak-hash"),
    ],
)
def test_a_list_that_is_not_the_one_asked_for(made: Callable[[], x509.CertificateRevocationList], code: str) -> None:
    """What is signed must be what was meant."""
    assert code in codes(made())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"longest": DAY - timedelta(seconds=1)}, "crl.too-long"),
        ({"now": NOW + DAY}, "crl.not-current"),
        ({"now": NOW - timedelta(microseconds=1)}, "crl.not-current"),
        ({"previous_number": 7}, "crl.number-order"),
        ({"distribution_point": None}, "crl.idp"),
    ],
)
def test_the_wishes_that_a_list_breaks(changes: dict[str, object], code: str) -> None:
    """The bounds are the owner's, and inclusive to the second."""
    assert codes(build(), replace(CONTEXT, **changes)) == {code}  # type: ignore[arg-type]


def raw(*parts: bytes) -> x509.CertificateRevocationList:
    """Sign a TBSCertList of hand-made parts."""
    algorithm = algorithm_identifier(KeyKind.EC_P256)
    tbs = der.tlv(der.SEQUENCE, der.integer(1), algorithm, INTERMEDIATE.subject.public_bytes(), *parts)
    signature = der.tlv(der.BIT_STRING, b"\x00", sign(KEY, tbs))
    return x509.load_der_x509_crl(der.tlv(der.SEQUENCE, tbs, algorithm, signature))


def tail() -> bytes:
    tbs = build().tbs_certlist_bytes
    return der.tlv(der.EXPLICIT_0, der.outline(tbs)[-1][1])


def test_an_empty_list_of_entries_must_be_absent() -> None:
    """RFC 5280 §5.1.2.6; strict parsers refuse the whole list otherwise."""
    context = replace(CONTEXT, entries={}, listed=0)
    dates = der.time(NOW), der.time(NOW + DAY)
    assert codes(raw(*dates, tail()), context) == set()
    assert codes(raw(*dates, der.tlv(der.SEQUENCE), tail()), context) == {"crl.empty-list"}


def test_a_date_in_the_form_of_another_century() -> None:
    """RFC 5280 §5.1.2.4: UTCTime through 2049, whatever a parser takes."""
    context = replace(CONTEXT, entries={}, listed=0)
    crl = raw(der.generalized_time(NOW), der.time(NOW + DAY), tail())
    assert "crl.time-form" in codes(crl, context)


def test_a_list_without_an_end() -> None:
    """RFC 5280 §5.1.2.5: every list says when the next one comes."""
    context = replace(CONTEXT, entries={}, listed=0)
    assert "crl.no-next-update" in codes(raw(der.time(NOW), tail()), context)


def test_what_cannot_be_parsed_is_one_finding() -> None:
    """Whatever a broken extension does to a parser, it must not pass for a good list."""
    broken = der.tlv(
        der.EXPLICIT_0,
        der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, der.object_identifier("2.5.29.20"), der.tlv(4, b"\x05\x00"))),
    )
    crl = raw(der.time(NOW), der.time(NOW + DAY), broken)
    assert codes(crl) == {"crl.malformed"}
