"""Requests against tokens: the token decides who, and no trick in a request adds a name to it."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AttributeOID, NameOID
from fakes.hierarchy import make_csr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from online.csr import TokenNames, accept_csr
from online.tokens import csr_confirmation
from shared.errors import ColdrootError, PolicyDenied, RequestRejected
from shared.keys import KeyKind, generate
from shared.names import SanSet, parse_sans
from shared.pem import load_csr

Grow = Callable[[x509.CertificateSigningRequestBuilder], x509.CertificateSigningRequestBuilder]

KEY = generate(KeyKind.EC_P256)
NAMES = ("a.example.com", "b.example.com", "10.0.0.1", "2001:db8::1", "me@example.com", "spiffe://example.com/x")
TOKEN = TokenNames.of("a.example.com", NAMES)


def accept(csr: x509.CertificateSigningRequest, names: TokenNames = TOKEN, confirmation: str | None = None) -> object:
    return accept_csr(csr, names, confirmation=confirmation)


@pytest.mark.parametrize(
    "common", ["", "a.example.com", "b.example.com", "10.0.0.1", "me@example.com", "A.Example.COM"]
)
def test_the_common_name_may_be_any_name_of_the_token(common: str) -> None:
    """step writes the subject there, openssl users any of the names, some nothing at all."""
    assert accept(make_csr(common, key=KEY)) == KEY.public_key()


@pytest.mark.parametrize(
    "common", ["c.example.com", "example.com", "a.example.com.", "a.example.com x", "*", "10.0.0.2"]
)
def test_a_foreign_common_name_is_refused_in_steps_words(common: str) -> None:
    """A common name that nobody allowed still convinces old clients; the CLI shows the sentence."""
    with pytest.raises(PolicyDenied) as refusal:
        accept(make_csr(common, key=KEY), TokenNames.of("a.example.com", ("a.example.com",)))
    assert refusal.value.message == (
        f"certificate request does not contain the valid common name - got {common}, want [a.example.com a.example.com]"
    )


@pytest.mark.parametrize(
    "sans",
    [
        NAMES,
        tuple(reversed(NAMES)),
        ("a.example.com", "b.example.com"),
        ("B.EXAMPLE.com", "a.example.com"),
        ("10.0.0.1", "2001:0db8:0::1"),
        ("me@EXAMPLE.com",),
        ("SPIFFE://example.com/x",),
        (),
    ],
)
def test_names_that_are_the_tokens_pass_in_any_order_and_case(sans: Sequence[str]) -> None:
    """A kind that is absent is filled from the token; order and case of host names mean nothing."""
    accept(make_csr("", parse_sans(sans), key=KEY))


@pytest.mark.parametrize(
    ("sans", "code"),
    [
        (("a.example.com",), "csr.dns-names"),
        (("a.example.com", "b.example.com", "c.example.com"), "csr.dns-names"),
        (("a.example.com", "*.example.com"), "csr.dns-names"),
        (("10.0.0.1",), "csr.ip-addresses"),
        (("10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"), "csr.ip-addresses"),
        (("you@example.com",), "csr.email-addresses"),
        (("ME@example.com",), "csr.email-addresses"),
        (("spiffe://example.com/X",), "csr.uris"),
        ((*NAMES, "https://example.com/"), "csr.uris"),
    ],
)
def test_one_name_more_or_less_is_refused(sans: Sequence[str], code: str) -> None:
    """Set equality a kind: a subset could hide that the requester believes in another set, a superset is theft."""
    with pytest.raises(PolicyDenied) as refusal:
        accept(make_csr("", parse_sans(sans), key=KEY))
    assert refusal.value.code == code


def test_the_refusal_reads_as_steps() -> None:
    """Programs and tests of step users compare this sentence."""
    names = TokenNames.of("other.example.com", ("other.example.com",))
    with pytest.raises(PolicyDenied) as refusal:
        accept(make_csr("", parse_sans(("c.example.com",)), key=KEY), names)
    assert refusal.value.message == (
        "certificate request does not contain the valid DNS names - got [c.example.com], want [other.example.com]"
    )


def dns(*names: str) -> Grow:
    """Write DNS names into a request as they are, without this project's checks."""
    values = [x509.DNSName._init_without_validation(name) for name in names]
    return lambda builder: builder.add_extension(x509.SubjectAlternativeName(values), critical=False)


@pytest.mark.parametrize(
    "name",
    [
        "10.0.0.1",
        "127.1",
        "0x7f.1",
        "a.example.com.",
        ".a",
        "a..b",
        "a\0.example.com",
        "a b",
        "-a.example.com",
        "*",
        "*.",
    ],
)
def test_odd_dns_names_in_a_request_are_refused(name: str) -> None:
    """An IP address as a DNS name, a NUL, a trailing dot: one reader drops what another believes."""
    with pytest.raises(ColdrootError):
        accept(make_csr("", key=KEY, more=dns(name)))


def general(
    name: x509.GeneralName,
) -> Grow:
    return lambda builder: builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)


@pytest.mark.parametrize(
    "name",
    [
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x03adm"),
        x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4")),
    ],
)
def test_kinds_of_names_that_a_set_comparison_forgets_are_refused(name: x509.GeneralName) -> None:
    """A Windows user name in otherName slips past a comparison that knows four kinds."""
    with pytest.raises(RequestRejected) as refusal:
        accept(make_csr("", key=KEY, more=general(name)))
    assert refusal.value.code == "name.unsupported-kind"


def test_two_common_names_are_refused() -> None:
    """One is checked, the other is believed."""
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.COMMON_NAME, "a.example.com"),
                    x509.NameAttribute(NameOID.COMMON_NAME, "root"),
                ]
            )
        )
        .sign(KEY, hashes.SHA256())
    )
    with pytest.raises(RequestRejected) as refusal:
        accept(csr)
    assert refusal.value.code == "name.common-name"


def test_a_subject_of_a_thousand_parts_is_refused() -> None:
    """Work for the parser, the log and everybody after them."""
    many = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, str(each)) for each in range(1000)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(many).sign(KEY, hashes.SHA256())
    with pytest.raises(RequestRejected) as refusal:
        accept(csr)
    assert refusal.value.code in {"csr.subject", "csr.too-large"}


def test_a_common_name_that_is_too_long_is_refused_without_a_warning() -> None:
    """The library prints a warning for it: strangers would write to the node's stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a" * 70, _validate=False)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(KEY, hashes.SHA256())
        der = csr.public_bytes(Encoding.DER)
    with pytest.raises(PolicyDenied) as refusal:
        accept(load_csr(der))
    assert refusal.value.code == "csr.common-name"


def test_an_attribute_that_stands_there_twice_is_refused() -> None:
    """Two lists of extensions: one is checked, the other is believed."""
    csr = make_csr("a.example.com", parse_sans(("a.example.com", "b.example.com")), key=KEY)
    der = csr.public_bytes(Encoding.DER)
    assert accept(load_csr(der), TokenNames.of("a.example.com", ("a.example.com", "b.example.com"))) == KEY.public_key()
    with pytest.raises(RequestRejected) as refusal:
        accept(load_csr(doubled_attribute(der)))
    assert refusal.value.message == "the request holds an attribute twice"


def test_a_challenge_password_and_other_extensions_decide_nothing() -> None:
    """Old tools send them; the profile decides, so they are neither obeyed nor an error."""
    csr = make_csr(
        "a.example.com",
        key=KEY,
        more=lambda builder: (
            builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"secret")
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.3")]), critical=True)
        ),
    )
    assert accept(csr) == KEY.public_key()


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (ec.generate_private_key(ec.SECP224R1()), "key.unsupported"),
        (ec.generate_private_key(ec.SECP256K1()), "key.unsupported"),
        (rsa.generate_private_key(65537, 1024), "key.weak"),  # noqa: S505 (that is the point)
        (rsa.generate_private_key(3, 2048), "key.weak"),
    ],
)
def test_weak_and_foreign_keys_are_refused(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, code: str) -> None:
    """A factored key is anybody's certificate."""
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with pytest.raises(RequestRejected) as refusal:
        accept(csr)
    assert refusal.value.code == code


def test_ed448_is_refused_and_ed25519_is_not() -> None:
    """An unknown kind must be a refusal, not a crash on the way to the profile."""
    odd = (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(ed448.Ed448PrivateKey.generate(), None)
    )
    with pytest.raises(RequestRejected):
        accept(odd)
    accept(make_csr("", key=generate(KeyKind.ED25519)))


def test_a_request_signed_by_another_key_is_refused() -> None:
    """Without proof of possession, somebody else's public key is certified for the requester's name."""
    der = bytearray(make_csr("a.example.com", key=KEY).public_bytes(Encoding.DER))
    der[-1] ^= 1
    with pytest.raises(RequestRejected) as refusal:
        accept(load_csr(bytes(der)))
    assert refusal.value.code == "csr.invalid-signature"


def test_a_request_signed_with_sha1_is_refused(tmp_path: Path) -> None:
    """Possession proved by a broken hash is not proved; openssl still makes such requests."""
    key = tmp_path / "key.pem"
    key.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made = subprocess.run(
        ["openssl", "req", "-new", "-sha1", "-key", key, "-subj", "/CN=a.example.com", "-outform", "DER"],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("this openssl refuses to sign with SHA-1")
    with pytest.raises(RequestRejected) as refusal:
        accept(load_csr(made.stdout))
    assert refusal.value.code == "csr.weak-hash"


def test_a_bound_token_takes_its_own_request_only() -> None:
    """A token stolen on its way must be useless with the thief's key (``cnf``)."""
    csr = make_csr("a.example.com", key=KEY)
    accept(csr, confirmation=csr_confirmation(csr))
    other = make_csr("a.example.com", key=generate(KeyKind.EC_P256))
    for confirmation in (
        csr_confirmation(other),
        "",
        csr_confirmation(csr) + "=",
        base64.b64encode(b"x" * 32).decode(),
        "ä",
    ):
        with pytest.raises(PolicyDenied) as refusal:
            accept(csr, confirmation=confirmation)
        assert refusal.value.code == "csr.not-the-tokens"


def test_a_token_without_names_stands_for_its_subject() -> None:
    """step's rule: no ``sans`` means the subject."""
    assert TokenNames.of("a.example.com", ()).sans == parse_sans(("a.example.com",))


@pytest.mark.parametrize("subject", ["a\nb", "a\u202eb", "", "a" * 300, "has space"])
def test_a_token_with_an_impossible_name_is_refused(subject: str) -> None:
    """Even a provisioner's key must not get control characters into a certificate and from there into terminals."""
    with pytest.raises(RequestRejected):
        TokenNames.of(subject, ())


def test_refusals_show_no_control_characters() -> None:
    """The message travels to a terminal and a log line."""
    csr = make_csr("evil\x1b[2Jname\n", key=KEY)
    with pytest.raises(PolicyDenied) as refusal:
        accept(csr)
    assert refusal.value.message.isprintable()


DER = make_csr("a.example.com", parse_sans(NAMES), key=KEY).public_bytes(Encoding.DER)
LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOSTS = st.lists(st.builds("{}.{}.example".format, LABEL, LABEL), min_size=1, max_size=5, unique=True)


def doubled_attribute(der: bytes) -> bytes:
    """Write the request's attributes twice into it and mend the lengths around them; the signature breaks."""
    read, length = _header(der, 0)
    body = der[read : read + length]
    start, inner = _header(body, 0)
    info = body[start : start + inner]
    at = 0
    # RFC 2986 §4.1: version, subject, key, then the attributes.
    for _ in range(3):
        content, size = _header(info, at)
        at = content + size
    inside, size = _header(info, at)
    attribute = info[inside : inside + size]
    info = info[:at] + _tlv(0xA0, attribute * 2)
    return _tlv(0x30, _tlv(0x30, info) + body[start + inner :])


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at a place begins, and its length."""
    first = data[at + 1]
    if first < 0x80:
        return at + 2, first
    count = first & 0x7F
    return at + 2 + count, int.from_bytes(data[at + 2 : at + 2 + count], "big")


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes(2, "big")
    return bytes([tag, 0x82]) + length + content if size > 0xFF else bytes([tag, 0x81, size]) + content


@given(wanted=HOSTS, asked=HOSTS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_dns_names_pass_exactly_when_the_sets_are_equal(wanted: list[str], asked: list[str]) -> None:
    """The rule itself, for any two sets."""
    csr = make_csr("", SanSet(dns=tuple(asked)), key=KEY)
    names = TokenNames.of(wanted[0], wanted)
    if set(wanted) == set(asked):
        accept(csr, names)
    else:
        with pytest.raises(PolicyDenied):
            accept(csr, names)


@given(changes=st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_damaged_request_is_refused_not_crashed_on(changes: list[tuple[int, int]]) -> None:
    """A parser's exception that escapes is a 500 for a stranger, or a dead worker."""
    damaged = bytearray(DER)
    for place, value in changes:
        damaged[place] = value
    with contextlib.suppress(ColdrootError):
        accept(load_csr(bytes(damaged)))
