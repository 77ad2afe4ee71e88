"""Kinds of key, what an unverified token is read for, and requests that fit it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from fakes.step_ca import FakeCa, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from online.enrol import certify, csr_names, make_csr, read_token
from online.https import CaUrl, parse_ca_url
from online.jose import b64
from online.key_choice import KeyChoice, choose_key
from online.trust import Trust
from shared import keys
from shared.errors import ColdrootError, PeerFailed, RequestRejected
from shared.keys import KeyKind
from shared.names import sans_of

KEY = keys.generate(KeyKind.EC_P256)


def _token(**claims: object) -> str:
    parts = (json.dumps({"alg": "ES256", "typ": "JWT", "kid": "k"}), json.dumps(claims))
    return ".".join([*(b64.encode(each.encode()) for each in parts), b64.encode(b"x" * 64)])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("EC", None, None), KeyChoice(kind=KeyKind.EC_P256)),
        (("EC", "P-521", None), KeyChoice(kind=KeyKind.EC_P521)),
        (("OKP", None, None), KeyChoice(kind=KeyKind.ED25519)),
        (("OKP", "Ed25519", None), KeyChoice(kind=KeyKind.ED25519)),
        (("RSA", None, None), KeyChoice(kind=KeyKind.RSA, rsa_bits=2048)),
        (("RSA", None, 3072), KeyChoice(kind=KeyKind.RSA, rsa_bits=3072)),
    ],
)
def test_step_words_for_keys(arguments: tuple[str, str | None, int | None], expected: KeyChoice) -> None:
    """The three options must mean what they mean to step."""
    assert choose_key(*arguments) == expected


@pytest.mark.parametrize(
    "arguments", [("EC", "Ed25519", None), ("EC", None, 2048), ("RSA", "P-256", None), ("OKP", "P-256", None)]
)
def test_contradictions_are_refused(arguments: tuple[str, str | None, int | None]) -> None:
    """A key of another kind than the operator believes is found out too late."""
    with pytest.raises(RequestRejected, match="--"):
        choose_key(*arguments)


def test_a_weak_rsa_key_is_not_made() -> None:
    """--size 1024 must fail here, not at the CA after the token is spent."""
    with pytest.raises(RequestRejected, match="2048"):
        choose_key("RSA", None, 1024)


def test_a_token_leads_to_its_ca() -> None:
    """Subject, names, address and root: all that a machine without configuration needs."""
    facts = read_token(
        _token(sub="a.local", sans=["a.local", "10.0.0.7"], sha="AB" * 32, aud="https://ca:9000/1.0/sign")
    )
    assert (facts.subject, facts.sans) == ("a.local", ("a.local", "10.0.0.7"))
    assert (facts.hint.url, facts.hint.fingerprint) == (CaUrl(host="ca", port=9000), "ab" * 32)


@pytest.mark.parametrize("audience", [None, 1, [], "urn:ca", "http://ca/1.0/sign", "https://me@ca/sign", ["a", "b"]])
def test_an_odd_audience_leads_nowhere(audience: object) -> None:
    """A token must not be able to name a plain-text or disguised address."""
    assert read_token(_token(sub="a.local", aud=audience)).hint.url is None


def test_a_token_without_names_is_for_its_subject() -> None:
    """As the CA reads it."""
    assert read_token(_token(sub="a.local")).sans == ("a.local",)


@given(st.text(max_size=200))
@settings(max_examples=100)
def test_no_text_is_more_than_refused(text: str) -> None:
    """What a person pastes instead of a token must be one line, whatever it is."""
    with pytest.raises(ColdrootError):
        read_token(text)


@given(st.dictionaries(st.sampled_from(["sub", "sans", "sha", "aud"]), st.recursive(st.none() | st.text(), st.lists)))
@settings(max_examples=100)
def test_no_claims_are_more_than_refused(claims: dict[str, object]) -> None:
    """Claims of any type: a fact or a refusal, never a foreign exception."""
    try:
        facts = read_token(_token(**claims))
    except ColdrootError:
        return
    assert facts.subject
    assert all(isinstance(each, str) for each in facts.sans)


def test_a_request_names_what_was_asked() -> None:
    """All four kinds of name, and the subject, survive into the request and out of it."""
    sans = ("a.local", "me@a.local", "10.0.0.7", "spiffe://a/b")
    csr = make_csr(KEY, "a.local", sans)
    assert keys.csr_key(csr) == KEY.public_key()
    assert sans_of(csr.extensions).texts() == sans
    assert csr_names(csr) == ("a.local", sans)


def test_requests_without_a_common_name_or_any_name() -> None:
    """The first alternative name stands in; a request for nobody is refused."""
    san = x509.SubjectAlternativeName([x509.DNSName("a.local")])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    algorithm = keys.signature_hash(KeyKind.EC_P256)
    named = builder.add_extension(san, critical=True).sign(KEY, algorithm)
    assert csr_names(named) == ("a.local", ("a.local",))
    with pytest.raises(RequestRejected, match="nobody"):
        csr_names(builder.sign(KEY, algorithm))


@pytest.fixture(name="ca")
def _ca(tmp_path: Path) -> Iterator[FakeCa]:
    with serving(FakeCa(), tmp_path) as ca:
        yield ca


def test_a_certificate_for_another_key_is_not_handed_on(ca: FakeCa) -> None:
    """The CA's mix-up must be found before the pair is written."""
    trust = Trust(url=parse_ca_url(ca.url), roots=(ca.root,))
    csr = make_csr(KEY, "a.local", ["a.local"])
    now = datetime.now(UTC)
    assert certify(trust, csr, _token(sub="a.local"), not_before="", not_after="", now=now)[1] == ca.intermediate
    ca.tamper = lambda _: ca.leaf(keys.generate(KeyKind.EC_P256).public_key(), "a.local")
    with pytest.raises(PeerFailed, match="another key"):
        certify(trust, csr, _token(sub="a.local"), not_before="", not_after="", now=now)
