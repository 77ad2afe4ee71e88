"""The signing path of revocation lists, judged by OpenSSL, GnuTLS and the library; and each way to get around it."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.certificates import BEGIN, make_intermediate, make_root
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import keys, names
from shared.crl import CrlRequest, Reason, RevokedEntry, Scope, SignedCrl, issue_crl, prepare_crl, verify_crl_signature
from shared.errors import ColdrootError, Fatal, PeerFailed, PolicyDenied, RequestRejected
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.keys import KeyKind, PrivateKey
from shared.pem import certificate_pem, load_crl
from shared.profile import leaf_profile
from shared.serials import LARGEST_SERIAL, random_serial

ROOT, ROOT_KEY = make_root()
INTERMEDIATE, KEY = make_intermediate(ROOT, ROOT_KEY)
ISSUER = Issuer.from_certificate(INTERMEDIATE)
NOW = datetime(2026, 11, 24, 6, 0, 0, 123456, tzinfo=UTC)
URL = "http://ca.example.com/1.0/crl"
REVOKING = [reason for reason in Reason if reason.revokes]


def entry(reason: Reason = Reason.UNSPECIFIED, **changes: object) -> RevokedEntry:
    given_: dict[str, object] = {"serial": random_serial(os.urandom), "revoked_at": NOW, "reason": reason}
    return RevokedEntry(**(given_ | changes))  # type: ignore[arg-type]


def request(**changes: object) -> CrlRequest:
    given_: dict[str, object] = {
        "number": 7,
        "this_update": NOW,
        "next_update": NOW + timedelta(days=1),
        "entries": tuple(map(entry, REVOKING)),
        "url": URL,
        "now": NOW,
    }
    return CrlRequest(**(given_ | changes))  # type: ignore[arg-type]


def make(wanted: CrlRequest | None = None, issuer: Issuer = ISSUER, key: PrivateKey = KEY) -> SignedCrl:
    return issue_crl(prepare_crl(wanted or request(), issuer), key)


def refusal(wanted: CrlRequest, issuer: Issuer = ISSUER) -> ColdrootError:
    with pytest.raises(ColdrootError) as caught:
        prepare_crl(wanted, issuer)
    return caught.value


@pytest.mark.parametrize("kind", list(KeyKind))
@pytest.mark.parametrize("count", [0, 1, 300])
def test_openssl_and_gnutls_accept_a_list_of_every_kind_of_key(tmp_path: Path, kind: KeyKind, count: int) -> None:
    """Whatever we believe of our lists, it is other programs that must verify them."""
    intermediate, key = make_intermediate(ROOT, ROOT_KEY, kind=kind)
    entries = [entry(REVOKING[index % len(REVOKING)], revoked_at=BEGIN) for index in range(count)]
    now = datetime.now(UTC)
    wanted = request(entries=entries, this_update=now, next_update=now + timedelta(days=1), now=now)
    made = make(wanted, Issuer.from_certificate(intermediate), key)
    (tmp_path / "ca.pem").write_bytes(certificate_pem(intermediate))
    (tmp_path / "crl.der").write_bytes(made.der)
    shown = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-in", tmp_path / "crl.der", "-CAfile", tmp_path / "ca.pem", "-text"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "verify OK" in shown.stderr
    assert shown.stdout.count("Serial Number") == count
    assert ("No Revoked Certificates" in shown.stdout) == (count == 0)
    if shutil.which("certtool"):
        (tmp_path / "crl.pem").write_bytes(made.crl.public_bytes(Encoding.PEM))
        verified = subprocess.run(
            ["certtool", "--verify-crl", "--load-ca-certificate", tmp_path / "ca.pem",
             "--infile", tmp_path / "crl.pem"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert "Verification output: Verified." in verified.stdout


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("url", ["", URL])
def test_the_same_bytes_as_the_librarys_builder(scope: Scope, url: str) -> None:
    """The entries are written here because the builder is slow; they must not differ from what it would write."""
    wanted = request(scope=scope, url=url)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(INTERMEDIATE.subject)
        .last_update(NOW.replace(microsecond=0))
        .next_update(NOW.replace(microsecond=0) + timedelta(days=1))
        .add_extension(ISSUER.authority_key_identifier(), critical=False)
        .add_extension(x509.CRLNumber(7), critical=False)
    )
    if url or scope is not Scope.ALL:
        point = x509.IssuingDistributionPoint(
            full_name=[x509.UniformResourceIdentifier(url)] if url else None,
            relative_name=None,
            only_contains_user_certs=scope is Scope.LEAVES,
            only_contains_ca_certs=scope is Scope.CAS,
            only_some_reasons=None,
            indirect_crl=False,
            only_contains_attribute_certs=False,
        )
        builder = builder.add_extension(point, critical=True)
    for each in sorted(wanted.entries, key=lambda each: each.serial):
        revoked = (
            x509.RevokedCertificateBuilder().serial_number(each.serial).revocation_date(NOW.replace(microsecond=0))
        )
        if each.reason is not Reason.UNSPECIFIED:
            flag = next(flag for flag in x509.ReasonFlags if flag.value == each.reason.label)
            revoked = revoked.add_extension(x509.CRLReason(flag), critical=False)
        builder = builder.add_revoked_certificate(revoked.build())
    theirs = builder.sign(KEY, keys.signature_hash(KeyKind.EC_P256))
    assert prepare_crl(wanted, ISSUER).tbs == theirs.tbs_certlist_bytes


serials = st.integers(min_value=1, max_value=LARGEST_SERIAL)
moments = st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2026, 11, 24), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.dictionaries(serials, st.tuples(moments, st.sampled_from(REVOKING)), max_size=30))
@settings(max_examples=40, deadline=None)
def test_what_goes_in_comes_out(listed: dict[int, tuple[datetime, Reason]]) -> None:
    """Any serial, any time and any reason must reach the reader of the list, each once."""
    entries = [RevokedEntry(serial=serial, revoked_at=at, reason=reason) for serial, (at, reason) in listed.items()]
    crl = make(request(entries=entries)).crl
    found = {}
    for each in crl:
        reason = Reason.UNSPECIFIED.label
        if list(each.extensions):
            reason = each.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
        found[each.serial_number] = (each.revocation_date_utc, reason)
    assert found == {serial: (at.replace(microsecond=0), reason.label) for serial, (at, reason) in listed.items()}
    assert [each.serial_number for each in crl] == sorted(listed)


def test_the_extensions_of_a_list() -> None:
    """RFC 5280 §5.2 wants key identifier and number in every list, and the distribution point critical."""
    crl = make().crl
    assert [(each.oid, each.critical) for each in crl.extensions] == [
        (x509.AuthorityKeyIdentifier.oid, False),
        (x509.CRLNumber.oid, False),
        (x509.IssuingDistributionPoint.oid, True),
    ]
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    assert crl.last_update_utc == NOW.replace(microsecond=0)


def test_a_roots_list_speaks_of_cas_only() -> None:
    """With onlyContainsCACerts nobody takes a root's list for one of leaves."""
    wanted = request(scope=Scope.CAS, url="", next_update=NOW + timedelta(days=365), now=None)
    crl = make(wanted, Issuer.from_certificate(ROOT), ROOT_KEY).crl
    point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert point.critical
    assert point.value.only_contains_ca_certs
    assert not point.value.only_contains_user_certs


def test_equal_requests_are_equal_bytes() -> None:
    """A list that is signed in advance must be computable by whoever checks the ceremony."""
    entries = tuple(map(entry, REVOKING))
    first, second = (prepare_crl(request(entries=each), ISSUER) for each in (entries, tuple(reversed(entries))))
    assert (first.tbs, first.tbs_digest) == (second.tbs, second.tbs_digest)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"next_update": NOW}, "lint.crl.order"),
        ({"next_update": NOW + timedelta(days=2), "longest": timedelta(days=1)}, "lint.crl.too-long"),
        ({"next_update": NOW + timedelta(days=367)}, "lint.crl.too-long"),
        ({"now": NOW + timedelta(days=1)}, "lint.crl.not-current"),
        ({"now": NOW - timedelta(seconds=1)}, "lint.crl.not-current"),
        ({"previous_number": 7}, "lint.crl.number-order"),
        ({"number": 1 << 159}, "lint.crl.number-range"),
        ({"number": -1}, "crl.unencodable"),
        ({"url": "not ascii: ä"}, "crl.unencodable"),
        ({"entries": (entry(revoked_at=NOW + timedelta(seconds=1)),)}, "lint.crl.entry-date"),
        ({"entries": (entry(serial=5), entry(serial=5))}, "lint.crl.duplicate"),
        ({"this_update": NOW - timedelta(days=3000), "now": None}, "lint.crl.too-long"),
        (
            {"this_update": NOW + timedelta(days=2000), "next_update": NOW + timedelta(days=2001), "now": None},
            "lint.crl.outside-issuer",
        ),
    ],
)
def test_a_list_that_must_not_be(changes: dict[str, object], code: str) -> None:
    """Each of these would be refused, or worse be believed, by relying parties; no real key may sign it."""
    assert refusal(request(**changes)).code == code


def test_a_list_longer_than_its_issuer_is_noticed() -> None:
    """It is no error, for a list may be replaced; whoever signs lists in advance must hear of it."""
    end = INTERMEDIATE.not_valid_after_utc
    wanted = request(this_update=end - timedelta(days=1), next_update=end + timedelta(days=1), now=None)
    assert [each.code for each in prepare_crl(wanted, ISSUER).findings] == ["crl.outlives-issuer"]


@pytest.mark.parametrize("serial", [0, -1, LARGEST_SERIAL + 1])
def test_an_entry_is_a_serial_that_can_be(serial: int) -> None:
    """A number that no certificate can have is a mistake of whoever revokes."""
    with pytest.raises(RequestRejected, match="serial"):
        entry(serial=serial)


def test_nothing_is_taken_off_a_complete_list() -> None:
    """removeFromCRL belongs into delta lists; in a complete one readers would take it for a revocation."""
    with pytest.raises(RequestRejected, match="removeFromCRL"):
        entry(Reason.REMOVE_FROM_CRL)
    assert not Reason.REMOVE_FROM_CRL.revokes
    assert 7 not in list(Reason)


def test_an_issuer_that_may_not_sign_lists_does_not() -> None:
    """Relying parties refuse a list under a certificate without cRLSign."""
    wanted = IssuanceRequest(
        subject=names.subject(common="a.example"),
        public_key=keys.generate(KeyKind.EC_P256).public_key(),
        serial=random_serial(os.urandom),
        not_before=BEGIN,
        not_after=BEGIN + timedelta(days=9),
        sans=names.parse_sans(["a.example"]),
    )
    leaf = issue(prepare(leaf_profile(longest=timedelta(days=9)), wanted, ISSUER), KEY)
    assert refusal(request(), Issuer.from_certificate(leaf)).code == "lint.crl.issuer-usage"


def test_a_prepared_list_is_signed_once() -> None:
    """Two signatures under one number would be two lists under one number."""
    prepared = prepare_crl(request(), ISSUER)
    issue_crl(prepared, KEY)
    with pytest.raises(Fatal) as caught:
        issue_crl(prepared, KEY)
    assert caught.value.code == "issue.spent"


def test_another_key_does_not_sign() -> None:
    """A list under the wrong key revokes nothing."""
    with pytest.raises(Fatal) as caught:
        issue_crl(prepare_crl(request(), ISSUER), ROOT_KEY)
    assert caught.value.code == "issue.wrong-key"


def test_a_broken_signature_is_not_let_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """An HSM that computes nonsense must stop the node, not be published."""
    prepared = prepare_crl(request(), ISSUER)
    monkeypatch.setattr("shared.signing.sign", lambda key, data: key and bytes(len(data) % 9 + 60))
    with pytest.raises(Fatal) as caught:
        issue_crl(prepared, KEY)
    assert caught.value.code == "issue.bad-signature"


def test_an_hsm_that_is_away_is_the_hsms_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again later, where a bad signature never is."""
    prepared = prepare_crl(request(), ISSUER)

    def away(*_: object) -> bytes:
        raise PeerFailed("hsm.away", "gone")

    monkeypatch.setattr("shared.signing.sign", away)
    with pytest.raises(PeerFailed):
        issue_crl(prepared, KEY)


def test_a_list_of_another_issuer_is_told_apart() -> None:
    """The same key under another name is another CA to everybody who verifies."""
    crl = make().crl
    verify_crl_signature(crl, ISSUER)
    other = Issuer(name=ROOT.subject, public_key=KEY.public_key(), certificate=None)
    for wrong in (other, Issuer.from_certificate(ROOT)):
        with pytest.raises(Fatal):
            verify_crl_signature(crl, wrong)


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_lists_are_read_in_both_forms(encoding: Encoding) -> None:
    """Operators have either."""
    made = make()
    assert load_crl(made.crl.public_bytes(encoding)) == made.crl


@pytest.mark.parametrize("position", range(0, 200, 7))
def test_a_damaged_list_is_refused_or_does_not_verify(position: int) -> None:
    """One changed byte anywhere must be noticed."""
    made = make(request(entries=()))
    damaged = bytearray(made.der)
    damaged[position] ^= 0x55
    try:
        verify_crl_signature(load_crl(bytes(damaged)), ISSUER)
    except (RequestRejected, Fatal):
        return
    pytest.fail("nobody noticed")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "pem.missing"),
        (b"\x30\x03\x02\x01\x00", "crl.malformed"),
        (certificate_pem(ROOT), "pem.missing"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "crl.malformed"),
        (make().crl.public_bytes(Encoding.PEM) * 2, "pem.missing"),
    ],
)
def test_what_is_no_list(data: bytes, code: str) -> None:
    """A parser's exception must not get out."""
    with pytest.raises(RequestRejected) as caught:
        load_crl(data)
    assert caught.value.code == code


def test_twenty_thousand_entries_are_one_list() -> None:
    """With the library's builder this takes a minute; with a quadratic step of ours it would show here."""
    entries = [RevokedEntry(serial=(1 << 126) + index, revoked_at=NOW) for index in range(20_000)]
    with pytest.raises(PolicyDenied):
        prepare_crl(request(entries=[*entries, entries[0]]), ISSUER)
    assert len(make(request(entries=entries)).crl) == 20_000
