"""Single rules of a policy: what is accepted at load, what a rule matches, and what must never match."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from online.policy import parse_policy
from online.policy.patterns import NameKind, parse_pattern, uri_host
from online.strict_json import Json
from shared.errors import ColdrootError, RequestRejected, Unsupported

PATH = "authority.policy"


def refuse(x509: Any) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        parse_policy({"x509": x509}, path=PATH)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "*.",
        ".",
        ".example.com",
        "example.com.",
        "a..example.com",
        "*.*.example.com",
        "*a.example.com",
        "a*.example.com",
        "www.*.com",
        "bücher.example",
        "xn--bcher-kva.例え",
        "a" * 64 + ".example.com",
        ".".join(["a" * 60] * 5),
        "a b.example.com",
        " example.com",
        "example.com\n",
        "example.com\0",
        "-a.example.com",
        "10.0.0.1",
        "127.1",
        "https://example.com",
        "a/b",
        "\u202eexample.com",
    ],
)
@pytest.mark.parametrize("kind", ["dns", "uri"])
@pytest.mark.parametrize("side", ["allow", "deny"])
def test_a_domain_that_could_be_misread_is_refused_where_it_stands(side: str, kind: str, text: str) -> None:
    """step-ca's engine panicked on an empty or lone-star domain; a rule that never matches protects nobody."""
    error = refuse({side: {kind: ["ok.example.com", text]}})
    assert error.code == "config.malformed"
    assert error.message.startswith(f"authority.policy.x509.{side}.{kind}[1]: ")
    assert error.message.isprintable()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("ip", "10.0.0.1/8"),
        ("ip", "10.0.0.0/33"),
        ("ip", "10.0.0.0/255.0.0.0"),
        ("ip", "10.0.0.0/0.255.255.255"),
        ("ip", "010.0.0.1"),
        ("ip", "0x7f.1"),
        ("ip", "fe80::1%eth0"),
        ("ip", "*"),
        ("ip", "10.0.0.0/"),
        ("ip", "example.com"),
        ("email", "*@example.com"),
        ("email", "@*.example.com"),
        ("email", "@"),
        ("email", "a@b@example.com@"),
        ("email", ".a@example.com"),
        ("email", "jane@example.com."),
        ("email", "@bücher.example"),
        ("uri", "example.com:443"),
        ("uri", "[::1]"),
        ("cn", "*"),
        ("cn", " x"),
        ("cn", "a\nb"),
        ("cn", "x" * 65),
    ],
)
def test_other_rules_that_could_be_misread(kind: str, text: str) -> None:
    """What a person would read in one way and the engine in another must not load."""
    error = refuse({"deny": {kind: [text]}})
    assert error.message.startswith(f"authority.policy.x509.deny.{kind}[0]: ")


@pytest.mark.parametrize(
    ("x509", "code", "where"),
    [
        ({"allow": {"dnss": ["a.b"]}}, "config.unknown-key", "authority.policy.x509.allow.dnss"),
        ({"alow": {}}, "config.unknown-key", "authority.policy.x509.alow"),
        ({"allow": {"dns": "a.b"}}, "config.wrong-type", "authority.policy.x509.allow.dns"),
        ({"allow": {"dns": [""]}}, "config.malformed", "authority.policy.x509.allow.dns[0]"),
        ({"allow": {"dns": [1]}}, "config.wrong-type", "authority.policy.x509.allow.dns[0]"),
        ({"allowWildcardNames": "true"}, "config.wrong-type", "authority.policy.x509.allowWildcardNames"),
        ({"keys": {"kinds": []}}, "config.malformed", "authority.policy.x509.keys.kinds"),
        ({"keys": {"kinds": ["dsa"]}}, "config.malformed", "authority.policy.x509.keys.kinds[0]"),
        ({"keys": {"minRSABits": 1024}}, "config.malformed", "authority.policy.x509.keys.minRSABits"),
        ({"keys": {"minRSABits": 3072.5}}, "config.malformed", "authority.policy.x509.keys.minRSABits"),
        ({"keys": {"minRSABits": True}}, "config.wrong-type", "authority.policy.x509.keys.minRSABits"),
        (
            {"keys": {"kinds": ["ed25519"], "minRSABits": 3072}},
            "config.malformed",
            "authority.policy.x509.keys.minRSABits",
        ),
    ],
)
def test_a_policy_that_says_something_else_than_meant(x509: Any, code: str, where: str) -> None:
    """A typing error in a policy must stop the node, not open it."""
    error = refuse(x509)
    assert error.code == code
    assert error.message.startswith(where)


def test_the_ssh_side_is_refused_by_name_and_nothing_is_nothing() -> None:
    """An operator who limited SSH names must learn that there is no SSH; empty objects are what tools write."""
    with pytest.raises(Unsupported):
        parse_policy({"ssh": {"host": {"allow": {"dns": ["a.b"]}}}}, path=PATH)
    nothing: list[Json] = [None, {}, {"x509": None}, {"x509": {}}, {"x509": {"allow": None, "deny": {}}, "ssh": {}}]
    for value in nothing:
        policy = parse_policy(value, path=PATH)
        assert not policy.allow
        assert not policy.deny
        assert policy.allows_wildcards()


@pytest.mark.parametrize(
    ("kind", "rule", "yes", "no"),
    [
        ("dns", "www.example.com", ["www.example.com"], ["example.com", "a.www.example.com", "wwwxexample.com"]),
        (
            "dns",
            "*.Example.COM",
            ["www.example.com", "*.example.com"],
            ["example.com", "a.b.example.com", "xexample.com"],
        ),
        ("dns", "*.local", ["db.local"], ["local", "a.db.local"]),
        ("dns", "xn--bcher-kva.example", ["xn--bcher-kva.example"], ["bcher-kva.example"]),
        ("ip", "10.0.0.0/8", ["10.255.0.1", "::ffff:10.0.0.1"], ["11.0.0.1", "::a00:1"]),
        ("ip", "10.0.0.1", ["10.0.0.1"], ["10.0.0.2"]),
        ("ip", "::ffff:10.0.0.0/104", ["10.9.9.9"], ["11.0.0.1"]),
        ("ip", "2001:db8::/32", ["2001:db8:ffff::1"], ["2001:db9::1", "32.1.13.184"]),
        ("ip", "::/0", ["2001:db8::1"], ["10.0.0.1", "::ffff:10.0.0.1"]),
        ("email", "@example.com", ["jane@example.com"], ["jane@sub.example.com", "jane@example.com.evil"]),
        ("email", "example.com", ["jane@example.com"], ["jane@sub.example.com"]),
        ("email", "Jane@EXAMPLE.com", ["Jane@example.com"], ["jane@example.com", "xJane@example.com"]),
        (
            "uri",
            "example.com",
            ["https://example.com", "spiffe://example.com/a?b#c", "https://u@example.com:8443/"],
            [
                "https://evil.com/example.com",
                "https://example.com@evil.com/",
                "urn:example.com",
                "https://example.com.",
            ],
        ),
        ("uri", "*.example.com", ["https://a.example.com/"], ["https://example.com/", "https://*.example.com/"]),
        ("cn", "Jane Doe", ["jane doe"], ["Jane", "Jane Doe II"]),
    ],
)
def test_what_an_allow_rule_matches(kind: str, rule: str, yes: list[str], no: list[str]) -> None:
    """A wildcard is exactly one label, a URI is its host, a domain is not its subdomains."""
    pattern = parse_pattern(NameKind(kind), rule)
    assert [name for name in yes if not pattern.allows(name)] == []
    assert [name for name in no if pattern.allows(name)] == []


@pytest.mark.parametrize(
    ("kind", "rule", "name"),
    [
        ("dns", "www.example.com", "*.example.com"),
        ("email", "Jane@example.com", "jANE@example.com"),
        ("uri", "example.com", "urn:uuid:1"),
        ("uri", "example.com", "https://10.0.0.1/"),
        ("uri", "example.com", "https://[2001:db8::1]/"),
        ("uri", "example.com", "https://exa%6dple.com/"),
        ("uri", "example.com", "https://example.com:x/"),
        ("ip", "10.0.0.0/8", "::ffff:10.0.0.1"),
        ("cn", "evil", "EVIL"),
    ],
)
def test_a_deny_rule_reaches_further(kind: str, rule: str, name: str) -> None:
    """What is valid for a denied name, or cannot be told apart from it, must not slip past the rule."""
    assert parse_pattern(NameKind(kind), rule).forbids(name)


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("https://Example.COM", "example.com"),
        ("https://a.b:443/x", "a.b"),
        ("https://a.b:/x", "a.b"),
        ("https://u:p@a.b/x", "a.b"),
        ("https://a.b@c.d/x", "c.d"),
        ("https://c.d?@a.b", "c.d"),
        ("https://c.d#@a.b", "c.d"),
        ("https:a.b", None),
        ("https:///a.b", None),
        ("https://", None),
        ("https://*.a.b/", None),
        ("https://a.b:80:80/", None),
        ("https://a..b/", None),
        ("https://127.1/", None),
    ],
)
def test_the_host_of_a_uri_is_what_every_reader_takes_for_it(uri: str, host: str | None) -> None:
    """Two readings of one URI are how an allow rule is walked around; a doubtful host is no host."""
    assert uri_host(uri) == host


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["x509", "allow", "deny", "dns", "ip", "email", "uri", "cn", "keys", "kinds", "minRSABits"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_is_read_or_refused(value: Json) -> None:
    """A loader's own exception at SIGHUP would end a worker."""
    with contextlib.suppress(ColdrootError):
        parse_policy(value, path=PATH)


@given(st.sampled_from(list(NameKind)), st.text(max_size=40) | st.text("*.@-/:%[]a0 ", max_size=20))
@example(NameKind.IP, "1" * 30)
@example(NameKind.EMAIL, "@@")
def test_any_rule_is_read_or_refused(kind: NameKind, text: str) -> None:
    """The same for a single rule; and a rule that was accepted never fails on a canonical name."""
    name = {"ip": "10.0.0.1", "email": "a@b.c", "uri": "https://a.b/"}.get(kind, "a.b")
    with contextlib.suppress(ColdrootError):
        pattern = parse_pattern(kind, text)
        assert pattern.forbids(name) or not pattern.allows(name)
