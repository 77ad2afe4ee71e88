"""Path validation: each rule of RFC 5280 §6 broken once, with ``openssl`` and ``cryptography`` as the judges."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError
from hypothesis import given, settings
from hypothesis import strategies as st

from online.path_validation import check_host, validate_path
from shared import keys
from shared.errors import ColdrootError, RequestRejected
from shared.keys import KeyKind, PrivateKey, signature_hash
from shared.pem import certificate_pem, load_certificate_der
from shared.serials import random_serial

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
_KEYS = {kind: keys.generate(kind) for kind in KeyKind}


@dataclass(frozen=True, kw_only=True)
class Party:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey


def make(
    name: str,
    issuer: Party | None = None,
    *,
    ca: bool = True,
    length: int | None = None,
    sign_usage: bool = True,
    key: PrivateKey | None = None,
    sans: Sequence[x509.GeneralName] = (),
    more: Sequence[x509.Extension[x509.ExtensionType]] = (),
    begin: datetime = NOW - DAY,
    end: datetime = NOW + DAY,
    digest: hashes.HashAlgorithm | None = None,
    subject: x509.Name | None = None,
) -> Party:
    """Sign anything, whatever a CA should sign."""
    own = key or keys.generate(KeyKind.EC_P256)
    named = subject if subject is not None else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by = issuer or Party(certificate=None, key=own)  # type: ignore[arg-type]
    builder = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(issuer.certificate.subject if issuer else named)
        .public_key(own.public_key())
        .serial_number(random_serial(os.urandom))
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=length), critical=True)
        .add_extension(_usage(ca=ca and sign_usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), critical=False)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    for extension in more:
        builder = builder.add_extension(extension.value, extension.critical)
    chosen = digest or signature_hash(keys.kind_of(by.key))
    return Party(certificate=builder.sign(by.key, chosen), key=own)  # type: ignore[arg-type]


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def critical(value: x509.ExtensionType) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, True, value)


def constraints(
    permitted: Sequence[x509.GeneralName] | None = None, excluded: Sequence[x509.GeneralName] | None = None
) -> x509.Extension[x509.ExtensionType]:
    return critical(x509.NameConstraints(permitted, excluded))


ROOT = make("Root")
INTERMEDIATE = make("Intermediate", ROOT, length=0)
LEAF = make("leaf", INTERMEDIATE, ca=False, sans=[x509.DNSName("a.example")])


def judge(leaf: Party, others: Sequence[Party] = (INTERMEDIATE,), roots: Sequence[Party] = (ROOT,)) -> str:
    """Return the code of our refusal, or nothing."""
    try:
        path = validate_path(
            leaf.certificate, [each.certificate for each in others], [each.certificate for each in roots], now=NOW
        )
    except RequestRejected as refusal:
        return refusal.code
    assert path[0] == leaf.certificate
    return ""


def openssl_accepts(directory: Path, leaf: Party, others: Sequence[Party], roots: Sequence[Party]) -> bool:
    files = {}
    for name, parties in (("leaf", [leaf]), ("others", others), ("roots", roots)):
        files[name] = directory / f"{name}.pem"
        files[name].write_bytes(certificate_pem(*(each.certificate for each in parties)))
    untrusted = ("-untrusted", str(files["others"])) if others else ()
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", str(files["roots"]), *untrusted, str(files["leaf"])],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def library_accepts(leaf: Party, others: Sequence[Party], roots: Sequence[Party]) -> bool:
    authorities = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    store = Store([each.certificate for each in roots])
    builder = PolicyBuilder().store(store).extension_policies(
        ca_policy=authorities, ee_policy=ExtensionPolicy.permit_all()
    )  # fmt: skip
    try:
        builder.time(NOW).build_client_verifier().verify(leaf.certificate, [each.certificate for each in others])
    except VerificationError:
        return False
    return True


def test_a_good_path() -> None:
    """Without this, the refusals below would prove nothing; order, surplus and repetition must not matter."""
    assert judge(LEAF) == ""
    surplus = [make(f"other {number}") for number in range(3)]
    assert judge(LEAF, [*surplus, LEAF, INTERMEDIATE, INTERMEDIATE, ROOT], [*surplus, ROOT]) == ""
    assert judge(INTERMEDIATE, ()) == ""
    assert judge(ROOT, ()) == ""


@pytest.mark.parametrize("kind", list(KeyKind))
def test_every_kind_of_issuer(kind: KeyKind) -> None:
    """Ed25519 issuers are why this judge exists."""
    root = make("Root", key=_KEYS[kind])
    intermediate = make("Intermediate", root, key=_KEYS[kind])
    assert judge(make("leaf", intermediate, ca=False), [intermediate], [root]) == ""


_OTHER_ROOT = make("Root")
_SHORT = make("Short", ROOT, length=0)
_BELOW = make("Below", _SHORT)
_NO_CA = make("No CA", ROOT, ca=False)
_NO_SIGN = make("No sign", ROOT, sign_usage=False)
_OLD = make("Old", ROOT, begin=NOW - 2 * DAY, end=NOW - DAY)
_OLD_ROOT = make("Old root", begin=NOW - 2 * DAY, end=NOW - DAY)
_STRANGE = critical(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"))


@pytest.mark.parametrize(
    ("leaf", "others", "roots", "code"),
    [
        (LEAF, (), (ROOT,), "path.unknown-issuer"),
        (LEAF, (INTERMEDIATE,), (_OTHER_ROOT,), "path.unknown-issuer"),
        (make("leaf", Party(certificate=INTERMEDIATE.certificate, key=_KEYS[KeyKind.EC_P256]), ca=False),
         (INTERMEDIATE,), (ROOT,), "path.unknown-issuer"),
        (make("self", ca=False), (), (ROOT,), "path.unknown-issuer"),
        (make("leaf", INTERMEDIATE, ca=False, begin=NOW - 2 * DAY, end=NOW - DAY),
         (INTERMEDIATE,), (ROOT,), "path.expired"),
        (make("leaf", INTERMEDIATE, ca=False, begin=NOW + DAY / 2), (INTERMEDIATE,), (ROOT,), "path.not-yet-valid"),
        (make("leaf", _OLD, ca=False), (_OLD,), (ROOT,), "path.expired"),
        (make("leaf", _OLD_ROOT, ca=False), (), (_OLD_ROOT,), "path.expired"),
        (make("leaf", _NO_CA, ca=False), (_NO_CA,), (ROOT,), "path.not-a-ca"),
        (make("leaf", _NO_SIGN, ca=False), (_NO_SIGN,), (ROOT,), "path.not-a-ca"),
        (make("leaf", LEAF, ca=False), (LEAF, INTERMEDIATE), (ROOT,), "path.not-a-ca"),
        (make("leaf", _BELOW, ca=False), (_BELOW, _SHORT), (ROOT,), "path.too-long"),
        (make("leaf", INTERMEDIATE, ca=False, more=[_STRANGE]), (INTERMEDIATE,), (ROOT,), "path.critical"),
    ],
)  # fmt: skip
def test_each_rule_broken(
    leaf: Party, others: tuple[Party, ...], roots: tuple[Party, ...], code: str, tmp_path: Path
) -> None:
    """Every one of these would let somebody be who they are not; the other judges agree."""
    assert judge(leaf, others, roots) == code
    assert not openssl_accepts(tmp_path, leaf, others, roots)
    # The library looks at key usage only when its policy for web servers is asked for.
    assert library_accepts(leaf, others, roots) is (_NO_SIGN in others)


def test_weak_hashes_and_keys() -> None:
    """Short hashes can be forged, and short RSA keys factored, whatever the dates say."""
    issuer = make("RSA", ROOT, key=_KEYS[KeyKind.RSA])
    old = make("leaf", issuer, ca=False, digest=hashes.SHA224())
    assert judge(old, [issuer]) == "path.weak-signature"
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505
    assert judge(make("leaf", INTERMEDIATE, ca=False, key=short)) == "key.weak"


def test_the_limits_of_validity_are_inclusive() -> None:
    """RFC 5280 §4.1.2.5: both ends belong to the validity; a second off is an outage or a hole."""
    begin, end = LEAF.certificate.not_valid_before_utc, LEAF.certificate.not_valid_after_utc
    chain, roots = [INTERMEDIATE.certificate], [ROOT.certificate]
    for moment in (begin, end):
        validate_path(LEAF.certificate, chain, roots, now=moment)
    for moment in (begin - timedelta(seconds=1), end + timedelta(seconds=1)):
        with pytest.raises(RequestRejected):
            validate_path(LEAF.certificate, chain, roots, now=moment)


def test_a_second_path_is_tried() -> None:
    """A CA that was renewed has two certificates with one key; the expired one must not hide the good one."""
    renewed = make("Old", ROOT, key=_OLD.key)
    assert judge(make("leaf", _OLD, ca=False), (_OLD, renewed)) == ""


def test_many_issuers_of_one_name_end() -> None:
    """A hostile file with loops and hundreds of look-alikes must not cost more than a bounded number of signatures."""
    key = _KEYS[KeyKind.EC_P256]
    ring = [make("Ring", Party(certificate=ROOT.certificate, key=key), key=key) for _ in range(2)]
    loop = [make("Ring", ring[0], key=key) for _ in range(30)]
    assert judge(make("leaf", ring[0], ca=False), loop) == "path.unknown-issuer"


# Name constraints.

_DNS, _EMAIL, _URI, _IP = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress


def _network(text: str) -> x509.IPAddress:
    return _IP(ipaddress.ip_network(text))


def _address(text: str) -> x509.IPAddress:
    return _IP(ipaddress.ip_address(text))


def _directory_name(*organizations: str, common: str = "") -> x509.DirectoryName:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
    if common:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common))
    return x509.DirectoryName(x509.Name(attributes))


@pytest.mark.parametrize(
    ("permitted", "excluded", "name", "good"),
    [
        (_DNS("example"), None, _DNS("a.example"), True),
        (_DNS("example"), None, _DNS("example"), True),
        (_DNS("example"), None, _DNS("A.EXAMPLE"), True),
        (_DNS("example"), None, _DNS("*.example"), True),
        (_DNS("example"), None, _DNS("notexample"), False),
        (_DNS("a.example"), None, _DNS("*.example"), False),
        (_DNS("example"), None, _address("10.0.0.1"), True),
        (None, _DNS("b.example"), _DNS("a.example"), True),
        (None, _DNS("example"), _DNS("a.example"), False),
        (_DNS("example"), _DNS("b.example"), _DNS("c.b.example"), False),
        (_network("10.0.0.0/8"), None, _address("10.1.2.3"), True),
        (_network("10.0.0.0/8"), None, _address("11.0.0.1"), False),
        (_network("10.0.0.0/8"), None, _address("::1"), False),
        (None, _network("10.0.0.0/8"), _address("10.1.2.3"), False),
        (_EMAIL("example.org"), None, _EMAIL("a@example.org"), True),
        (_EMAIL("example.org"), None, _EMAIL("a@b.example.org"), False),
        (_EMAIL(".example.org"), None, _EMAIL("a@b.example.org"), True),
        (_EMAIL(".example.org"), None, _EMAIL("a@example.org"), False),
        (_EMAIL("a@example.org"), None, _EMAIL("a@EXAMPLE.org"), True),
        (_EMAIL("a@example.org"), None, _EMAIL("b@example.org"), False),
        (_URI("example.org"), None, _URI("https://example.org/x"), True),
        (_URI(".example.org"), None, _URI("https://a.example.org:8443/x"), True),
        (_URI("example.org"), None, _URI("https://a.example.org/"), False),
        (None, _URI("example.org"), _URI("spiffe://example.org/x"), False),
        (_URI("example.org"), None, _URI("urn:a:b"), False),
        (_directory_name("Acme"), None, _directory_name("Acme", common="x"), True),
        (_directory_name("Acme"), None, _directory_name("Other", common="x"), False),
    ],
)
def test_name_constraints(
    permitted: x509.GeneralName | None,
    excluded: x509.GeneralName | None,
    name: x509.GeneralName,
    good: bool,
    tmp_path: Path,
) -> None:
    """RFC 5280 §4.2.1.10: a CA for one zone must not vouch for another; OpenSSL judges the same way."""
    extension = constraints([permitted] if permitted else None, [excluded] if excluded else None)
    issuer = make("Constrained", ROOT, more=[extension])
    subject = name.value if isinstance(name, x509.DirectoryName) else x509.Name([])
    sans = () if isinstance(name, x509.DirectoryName) else [name]
    leaf = make("", issuer, ca=False, sans=sans, subject=subject)
    assert judge(leaf, [issuer]) == ("" if good else "path.name-constraints")
    assert openssl_accepts(tmp_path, leaf, [issuer], [ROOT]) is good


@pytest.mark.parametrize(
    ("permitted", "excluded", "name"),
    [
        # A wildcard that covers a part of what is excluded.
        (None, _DNS("b.example"), _DNS("*.example")),
        # Names that cannot be judged.
        (_URI("example.org"), None, _URI("https://10.0.0.1/")),
        (None, _URI("example.org"), _URI("urn:a:b")),
        (_URI("example.org"), None, _URI("https://[::1/")),
        (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), None, x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))),
    ],
)
def test_in_doubt_the_answer_is_no(
    permitted: x509.GeneralName | None, excluded: x509.GeneralName | None, name: x509.GeneralName
) -> None:
    """A name that no rule understands must not slip through the constraint on its kind."""
    extension = constraints([permitted] if permitted else None, [excluded] if excluded else None)
    issuer = make("Constrained", ROOT, more=[extension])
    leaf = make("leaf", issuer, ca=False, sans=[name], subject=x509.Name([]))
    assert judge(leaf, [issuer]) == "path.name-constraints"


def test_addresses_in_the_subject_count() -> None:
    """RFC 5280 §4.2.1.10: an e-mail address in the subject is a way around the constraint if nobody looks there."""
    issuer = make("Constrained", ROOT, more=[constraints([_EMAIL("example.org")])])
    for address, code in (("a@example.org", ""), ("a@evil.example", "path.name-constraints")):
        subject = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, address)])
        assert judge(make("", issuer, ca=False, subject=subject), [issuer]) == code


def test_constraints_hold_for_all_below() -> None:
    """A sub-CA below the constrained one must not get rid of the constraint."""
    constrained = make("Constrained", ROOT, more=[constraints([_DNS("example")])])
    below = make("Below", constrained)
    leaf = make("leaf", below, ca=False, sans=[_DNS("a.test")])
    assert judge(leaf, [constrained, below]) == "path.name-constraints"


# Hosts.


@pytest.mark.parametrize(
    ("names", "host", "good"),
    [
        ([_DNS("a.example")], "a.example", True),
        ([_DNS("a.example")], "A.Example.", True),
        ([_DNS("a.example")], "b.a.example", False),
        ([_DNS("*.example")], "a.example", True),
        ([_DNS("*.example")], "a.b.example", False),
        ([_DNS("*.example")], "example", False),
        ([_DNS("*.example")], ".example", False),
        ([_DNS("a*.example")], "ab.example", False),
        ([_address("10.0.0.1")], "10.0.0.1", True),
        ([_address("::1")], "[::1]", True),
        ([_address("::1")], "0:0:0:0:0:0:0:1", True),
        ([_DNS("10.0.0.1")], "10.0.0.1", False),
        ([_EMAIL("a@a.example")], "a.example", False),
        ([], "leaf", False),
    ],
)
def test_hosts(names: list[x509.GeneralName], host: str, good: bool) -> None:
    """RFC 9525: a host is who the alternative names say, by whole labels, and never who the common name says."""
    leaf = make("leaf", INTERMEDIATE, ca=False, sans=names).certificate
    if good:
        check_host(leaf, host)
        return
    with pytest.raises(RequestRejected) as caught:
        check_host(leaf, host)
    assert caught.value.code == "path.host"


_ENCODED = LEAF.certificate.public_bytes(Encoding.DER)


@given(st.integers(min_value=0, max_value=8 * len(_ENCODED) - 1))
@settings(max_examples=120, deadline=None)
def test_no_bit_may_change(flip: int) -> None:
    """One flipped bit anywhere in a leaf ends in a refusal by one of our errors, never in an acceptance or a crash."""
    data = bytearray(_ENCODED)
    data[flip // 8] ^= 1 << flip % 8
    with pytest.raises(ColdrootError):
        validate_path(load_certificate_der(bytes(data)), [INTERMEDIATE.certificate], [ROOT.certificate], now=NOW)


def test_policy_constraints_are_refused() -> None:
    """Certificate policies are passed over because nothing can require one; what could do so must be refused."""
    extension = critical(x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None))
    issuer = make("Policies", ROOT, more=[extension])
    assert judge(make("leaf", issuer, ca=False), [issuer]) == "path.critical"
