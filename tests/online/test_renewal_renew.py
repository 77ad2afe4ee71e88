"""Renewing and rekeying against a CA: what is sent, what is believed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.step_ca import FakeCa, serving

from online.client import AskedToWait
from online.https import Identity, parse_ca_url
from online.jose import jws
from online.renewal.renew import check_pair, finish_interrupted, may_use_tls, rekey, renew
from online.tokens import csr_confirmation
from online.trust import Trust
from shared import keys
from shared.errors import PeerFailed, RequestRejected, Unauthenticated
from shared.keys import KeyKind, certificate_key
from shared.names import sans_of

KEY = keys.generate(KeyKind.EC_P256)


@pytest.fixture(name="ca")
def _ca(tmp_path: Path) -> Iterator[FakeCa]:
    ca = FakeCa()
    ca.token_renewal = (KEY.public_key(), ("foo.local", "10.0.0.7"))
    with serving(ca, tmp_path) as running:
        yield running


@pytest.fixture(name="trust")
def _trust(ca: FakeCa) -> Trust:
    return Trust(url=parse_ca_url(ca.url), roots=(ca.root,))


def _identity(ca: FakeCa, *, ago: timedelta = timedelta(hours=20)) -> Identity:
    now = datetime.now(UTC)
    return Identity(chain=ca.leaf(KEY.public_key(), "foo.local", "10.0.0.7", begin=now - ago), key=KEY)


def test_renewed_by_tls(ca: FakeCa, trust: Trust) -> None:
    """The certificate itself is the proof, and its successor comes back."""
    identity = _identity(ca)
    chain = renew(trust, identity, mtls=True, now=datetime.now(UTC))
    assert certificate_key(chain[0]) == KEY.public_key()
    assert ca.requests[-1][4] == identity.chain[0]
    assert "Authorization" not in ca.requests[-1][3]


@pytest.mark.parametrize(("mtls", "ago"), [(False, timedelta(hours=20)), (True, timedelta(hours=30))])
def test_renewed_by_token(ca: FakeCa, trust: Trust, ago: timedelta, *, mtls: bool) -> None:
    """Without mutual TLS, and for an expired certificate always, the key signs a token in step's form."""
    identity = _identity(ca, ago=ago)
    renew(trust, identity, mtls=mtls, now=datetime.now(UTC))
    _, path, _, headers, peer = ca.requests[-1]
    assert (path, peer) == ("/renew", None)
    token = jws.split_unverified(
        headers["Authorization"].removeprefix("Bearer "), key_members=frozenset({"x5cInsecure"})
    )
    claims = jws.verify(token, KEY.public_key())
    assert claims["aud"] == f"{ca.url}/renew"
    assert claims["sub"] == "foo.local"


def test_an_answer_that_is_no_successor_is_not_handed_on(ca: FakeCa, trust: Trust) -> None:
    """Whatever check_successor refuses must stop here, before the caller can install it."""
    ca.tamper = lambda chain: (chain[0],)
    with pytest.raises(PeerFailed, match="not signed by a trusted root"):
        renew(trust, _identity(ca), mtls=True, now=datetime.now(UTC))


def test_a_refusal_keeps_the_reason(ca: FakeCa, trust: Trust) -> None:
    """401 after a revocation is what an operator must be able to tell from a broken network."""
    ca.overrides["/renew"] = (401, {"status": 401, "message": "The request lacked necessary authorization."})
    with pytest.raises(Unauthenticated, match="lacked necessary authorization"):
        renew(trust, _identity(ca), mtls=True, now=datetime.now(UTC))


def test_rekeyed(ca: FakeCa, trust: Trust) -> None:
    """The request repeats the old names, is signed by the new key, and travels under the old certificate."""
    new, identity = keys.generate(KeyKind.RSA), _identity(ca)
    chain = rekey(trust, identity, new, now=datetime.now(UTC))
    assert certificate_key(chain[0]) == new.public_key()
    _, path, body, _, peer = ca.requests[-1]
    assert (path, peer) == ("/rekey", identity.chain[0])
    csr = x509.load_pem_x509_csr(str(body["csr"]).encode())
    assert csr.subject == identity.chain[0].subject
    assert sans_of(csr.extensions) == sans_of(identity.chain[0].extensions)


@pytest.mark.parametrize(("mtls", "ago"), [(False, timedelta(hours=20)), (True, timedelta(hours=30))])
def test_rekeyed_by_token(ca: FakeCa, trust: Trust, ago: timedelta, *, mtls: bool) -> None:
    """Without mutual TLS the old key signs a token, and binds it to the request, so that no other key gets in."""
    new, identity = keys.generate(KeyKind.EC_P256), _identity(ca, ago=ago)
    rekey(trust, identity, new, now=datetime.now(UTC), mtls=mtls)
    _, path, body, headers, peer = ca.requests[-1]
    assert (path, peer) == ("/rekey", None)
    text = headers["Authorization"].removeprefix("Bearer ")
    claims = jws.verify(jws.split_unverified(text, key_members=frozenset({"x5cInsecure"})), KEY.public_key())
    assert claims["aud"] == f"{ca.url}/rekey"
    assert claims["cnf"] == {"x5rt#S256": csr_confirmation(x509.load_pem_x509_csr(str(body["csr"]).encode()))}


def test_a_certificate_for_servers_only_goes_by_token() -> None:
    """TLS lets no such certificate in as a client's: each attempt would be a refusal that nobody understands."""
    now = datetime.now(UTC)
    for purposes, usable in (
        ([ExtendedKeyUsageOID.SERVER_AUTH], False),
        ([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], True),
        ([], True),
    ):
        builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), KEY.public_key(), 1, now, now + timedelta(1))
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        certificate = builder.sign(KEY, hashes.SHA256())
        assert may_use_tls(certificate, now=now) is usable
        assert not may_use_tls(certificate, now=now + timedelta(days=2))


def test_the_wish_of_a_busy_ca_is_handed_on(ca: FakeCa, trust: Trust) -> None:
    """A CA that is overloaded says when to come again; who does not listen keeps it overloaded."""
    ca.headers["Retry-After"] = "17"
    ca.overrides["/renew"] = (503, {"status": 503, "message": "not now"})
    with pytest.raises(AskedToWait, match="not now") as caught:
        renew(trust, _identity(ca), mtls=True, now=datetime.now(UTC))
    assert caught.value.seconds == 17
    ca.headers |= {"Retry-After": "Tue, 24 Nov 2026 08:00:30 GMT", "Date": "Tue, 24 Nov 2026 08:00:00 GMT"}
    with pytest.raises(AskedToWait) as caught:
        renew(trust, _identity(ca), mtls=True, now=datetime.now(UTC))
    assert caught.value.seconds == 30
    for nonsense in ("soon", "-5", "1e9", "Tue, 99 Nov", "Wed, 21 Oct 99999999999 07:28:00 GMT"):
        ca.headers["Retry-After"] = nonsense
        with pytest.raises(PeerFailed) as failed:
            renew(trust, _identity(ca), mtls=True, now=datetime.now(UTC))
        assert not isinstance(failed.value, AskedToWait)


def test_a_pair_that_does_not_match_is_named(ca: FakeCa) -> None:
    """Two files of different pairs, side by side, are an everyday mistake."""
    with pytest.raises(RequestRejected, match="belong together"):
        check_pair(_identity(ca).chain, keys.generate(KeyKind.EC_P256))


def test_a_key_in_a_token_is_never_half_way(tmp_path: Path) -> None:
    """A pkcs11: URI is no path, and must not be looked for beside the certificate."""
    assert not finish_interrupted(tmp_path / "foo.crt", "pkcs11:token=x;object=y")
