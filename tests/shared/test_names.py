"""Names: what is accepted is canonical, what is ambiguous is refused."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from shared import names
from shared.errors import RequestRejected


def test_sorted_into_kinds() -> None:
    """step sorts names by their look; sorting otherwise would certify another kind of name."""
    found = names.parse_sans(
        ["Foo.Example.com", "*.example.com", "10.0.0.1", "::1", "me@Example.com", "spiffe://td/x", "foo.example.com"]
    )
    assert found.dns == ("foo.example.com", "*.example.com")
    assert found.ips == (ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("::1"))
    assert found.emails == ("me@example.com",)
    assert found.uris == ("spiffe://td/x",)
    assert len(found.general_names()) == 6


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "a\nb", "a\0b", "a\u202eb", "münchen", "x" * 64,
        ".".join(["a" * 60] * 5), "127.1", "0x7f.1", "1", "0x", "256.256.256.256", "*", "*.", "*.com", "a.*.b", "*a.b",
        "**.a.b", "a.0x7f", "fe80::1%eth0",
    ],
)  # fmt: skip
def test_doubtful_names_are_refused(text: str) -> None:
    """Each of these is read differently by some other program, or by a person."""
    with pytest.raises(RequestRejected):
        names.parse_sans([text])


@pytest.mark.parametrize(
    "text", ["@a.b", "a@", "a@b@c.d", ".a@b.c", "a.@b.c", "a..b@c.d", "a b@c.d", "a@*.b.c", "a@127.1"]
)
def test_doubtful_addresses_are_refused(text: str) -> None:
    """An address that mail systems quote or rewrite is not the same for everybody."""
    with pytest.raises(RequestRejected):
        names.canonical_email(text)


@pytest.mark.parametrize("text", ["http:", "//a", "a b:c", "http://a b", "http://ä", "http://<a>", "1a:b"])
def test_doubtful_uris_are_refused(text: str) -> None:
    """A URI with raw spaces or brackets is parsed differently by different libraries."""
    with pytest.raises(RequestRejected):
        names.canonical_uri(text)


@pytest.mark.parametrize(
    "text",
    ["http://", "https://:443", "spiffe://", "http:///path", "http://?q", "http://#f", "http://me@:80/x", "ldap://@"],
)
def test_an_authority_without_a_host_is_refused(text: str) -> None:
    """Name constraints judge the host: a URI that has none would be judged by every reader in its own way."""
    with pytest.raises(RequestRejected) as caught:
        names.canonical_uri(text)
    assert caught.value.code == "name.uri"


@pytest.mark.parametrize(
    "text", ["http://a", "https://me@a:443/x", "https://[::1]:443/", "spiffe://td/x", "urn:a//b", "file:/x"]
)
def test_uris_with_a_host_or_without_an_authority_stay(text: str) -> None:
    """Without this, the rule about hosts would refuse names that are in use."""
    assert names.canonical_uri(text) == text


@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_names_are_read_or_refused(texts: list[str]) -> None:
    """A parser that raises anything else would turn a bad request into a server error."""
    try:
        found = names.parse_sans(texts)
    except RequestRejected:
        return
    assert names.parse_sans(found.texts()) == found
    assert all(text.isascii() and text.isprintable() for text in found.texts())


@pytest.mark.parametrize("text", ["a.example", "a@b.example", "fe80::1", "urn:a@b.example", "10.0.0.1", "mailto:a@b"])
def test_a_name_is_of_one_kind(text: str) -> None:
    """The lint compares values and not kinds: a text of two kinds could stand as the wrong one in a certificate."""
    readers: tuple[Callable[[], names.SanSet], ...] = (
        lambda: names.SanSet(dns=(names.canonical_dns(text),)),
        lambda: names.SanSet(emails=(names.canonical_email(text),)),
        lambda: names.SanSet(uris=(names.canonical_uri(text),)),
        lambda: names.SanSet(ips=(names.canonical_ip(text),)),
    )
    as_kinds = []
    for read in readers:
        with contextlib.suppress(RequestRejected):
            as_kinds.append(read().values())
    assert as_kinds
    assert len(set(as_kinds)) == len(as_kinds)


def test_kinds_of_names_that_nobody_compares() -> None:
    """A request could hide a directoryName or a network beside harmless names; a set comparison would miss it."""
    hidden = [
        x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"),
        x509.IPAddress(ipaddress.ip_network("10.0.0.0/8")),
    ]
    for name in hidden:
        extension = x509.Extension(
            x509.SubjectAlternativeName.oid, False, x509.SubjectAlternativeName([x509.DNSName("a.b"), name])
        )
        with pytest.raises(RequestRejected) as refused:
            names.sans_of(x509.Extensions([extension]))
        assert refused.value.code == "name.unsupported-kind"


def test_too_many_names() -> None:
    """A thousand names make a certificate that no handshake carries."""
    with pytest.raises(RequestRejected) as refused:
        names.parse_sans([f"a{number}.example" for number in range(101)])
    assert refused.value.code == "name.too-many"


@pytest.mark.parametrize("text", ["", " a", "a ", "a\tb", "a\u202eb", "a\u200bb", "x" * 65])
def test_common_names_that_do_not_show(text: str) -> None:
    """An operator who reads the name aloud in a ceremony must read what is signed."""
    with pytest.raises(RequestRejected):
        names.common_name(text)


def test_common_names_of_a_subject() -> None:
    """Two common names: each reader takes another one for the truth."""
    one = x509.NameAttribute(NameOID.COMMON_NAME, "a")
    assert names.common_name_of(x509.Name([one])) == "a"
    assert not names.common_name_of(x509.Name([]))
    with pytest.raises(RequestRejected):
        names.common_name_of(x509.Name([one, one]))


def test_log_lines_cannot_be_forged() -> None:
    """A newline or escape sequence in a subject must not write a log line or move a cursor."""
    assert names.printable("a\nb\x1b[2J\u202ec") == "a\\nb\\x1b[2J\\u202ec"
    assert names.printable("x" * 200) == "x" * 100 + "…"
    shown = names.format_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a\nb")]))
    assert "\n" not in shown
