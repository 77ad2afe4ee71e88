"""The client against a CA that answers well, badly, and not at all."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from fakes.ports import free_port
from fakes.step_ca import FakeCa, serving

from online.client import Client, fetch_root
from online.https import LARGEST_ANSWER_BYTES, CaUrl, Identity, parse_ca_url, verified
from shared import keys
from shared.errors import (
    ColdrootError,
    NotFound,
    PeerFailed,
    PolicyDenied,
    RequestRejected,
    Unauthenticated,
    Unsupported,
)
from shared.keys import KeyKind


@pytest.fixture(name="ca")
def _ca(tmp_path: Path) -> Iterator[FakeCa]:
    with serving(FakeCa(), tmp_path) as ca:
        yield ca


@pytest.fixture(name="client")
def _client(ca: FakeCa) -> Client:
    return Client(parse_ca_url(ca.url), roots=(ca.root,))


def _csr(key: keys.PrivateKey, name: str = "foo.local") -> x509.CertificateSigningRequest:
    san = x509.SubjectAlternativeName([x509.DNSName(name)])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(san, critical=True)
    return builder.sign(key, keys.signature_hash(keys.kind_of(key)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ca.local", "https://ca.local"),
        ("https://ca.local:443/", "https://ca.local"),
        ("ca.local:9000", "https://ca.local:9000"),
        ("https://[::1]:9000", "https://[::1]:9000"),
        ("https://127.0.0.1:9000", "https://127.0.0.1:9000"),
    ],
)
def test_addresses(text: str, shown: str) -> None:
    """The address goes into token audiences: it must come out as the CA compares it."""
    assert str(parse_ca_url(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "http://ca.local", "https://", "https://ca.local/path", "https://me:pw@ca.local", "https://ca.local:x"),
        *("https://ca.local?x", "ftp://ca", "https://a b", "https://ca.local:99999", "https://ca.local\r\nX: y"),
    ],
)
def test_no_addresses(text: str) -> None:
    """A password in a URL, a plain-text scheme or a header smuggled into the host must not get as far as a socket."""
    with pytest.raises(RequestRejected, match="address of a CA"):
        parse_ca_url(text)


def test_reads(ca: FakeCa, client: Client) -> None:
    """Every public read is understood in step-ca's shape, 201 included."""
    assert client.health() == "ok"
    assert client.version() == "0.30.2"
    assert client.roots() == (ca.root,)
    assert client.federation() == (ca.root,)
    assert client.intermediates() == (ca.intermediate,)
    assert fetch_root(client.url, ca.fingerprint.upper()) == ca.root


def test_provisioners_follow_the_cursor(ca: FakeCa, client: Client) -> None:
    """A CA with more than a page of provisioners would hide some of them otherwise."""
    first = {"type": "jwk", "name": "a", "key": {"kid": "k"}, "encryptedKey": "e"}
    ca.overrides["/provisioners?limit=100"] = (200, {"provisioners": [first], "nextCursor": "a/b"})
    ca.overrides["/provisioners?limit=100&cursor=a%2Fb"] = (200, {"provisioners": [{"type": "ACME", "name": "b"}]})
    found = client.provisioners()
    assert [(each.name, each.kind, each.kid, each.encrypted_key) for each in found] == [
        ("a", "JWK", "k", "e"),
        ("b", "ACME", "", ""),
    ]


def test_endless_pages_end(ca: FakeCa, client: Client) -> None:
    """A CA that always has one page more must not keep the client for ever."""
    page = (200, {"provisioners": [], "nextCursor": "x"})
    ca.overrides |= {"/provisioners?limit=100": page, "/provisioners?limit=100&cursor=x": page}
    with pytest.raises(PeerFailed, match="nextCursor"):
        client.provisioners()


def test_sign_sends_what_step_sends(ca: FakeCa, client: Client) -> None:
    """step-ca takes empty strings for times that are not asked for; a missing key would not matter, null would."""
    key = keys.generate(KeyKind.EC_P256)
    chain = client.sign(_csr(key), "token", not_after="1h")
    assert keys.certificate_key(chain[0]) == key.public_key()
    assert chain[1] == ca.intermediate
    body = ca.requests[-1][2]
    assert (body["ott"], body["notAfter"], body["notBefore"]) == ("token", "1h", "")
    assert "templateData" not in body


def test_renew_by_certificate_and_by_token(ca: FakeCa, client: Client) -> None:
    """The certificate must reach the CA in the handshake, with its intermediate; the token in the header."""
    key = keys.generate(KeyKind.EC_P384)
    chain = ca.leaf(key.public_key(), "foo.local")
    renewed = client.renew(identity=Identity(chain=chain, key=key))
    assert keys.certificate_key(renewed[0]) == key.public_key()
    assert ca.requests[-1][4] == chain[0]
    client.renew(token="t.o.k")
    assert ca.requests[-1][3]["Authorization"] == "Bearer t.o.k"
    assert ca.requests[-1][4] is None


def test_revoke_body(ca: FakeCa, client: Client) -> None:
    """step-ca wants the serial in decimal and passive to be true."""
    client.revoke(1234, reason_code=4, reason="gone", token="t")
    assert ca.requests[-1][2] == {"serial": "1234", "ott": "t", "reasonCode": 4, "reason": "gone", "passive": True}


@pytest.mark.parametrize(
    ("status", "family"),
    [
        *((400, RequestRejected), (401, Unauthenticated), (403, PolicyDenied), (404, NotFound)),
        *((501, Unsupported), (500, PeerFailed), (503, PeerFailed), (418, PeerFailed)),
    ],
)
def test_refusals_keep_their_reason(ca: FakeCa, client: Client, status: int, family: type[ColdrootError]) -> None:
    """An operator who reads only a number cannot know what to change."""
    ca.overrides["/health"] = (status, {"status": status, "message": "because\nof\x1b[31m this"})
    with pytest.raises(family, match=r"because\\nof\\x1b\[31m this") as caught:
        client.health()
    assert type(caught.value) is family
    assert "request-1" in (caught.value.hint or "")


@pytest.mark.parametrize("status", [429, 503])
def test_when_to_come_again_is_said(ca: FakeCa, client: Client, status: int) -> None:
    """Without this, whoever is turned away by a busy CA would ask again at once, and be turned away again."""
    ca.overrides["/health"] = (status, {"status": status, "message": "busy"})
    ca.headers["Retry-After"] = "7"
    with pytest.raises(PeerFailed, match="come again in 7 s"):
        client.health()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"\xff", b'{"crts": []}', b'{"crts": [1]}', b'{"crts": ["x"]}']
)
def test_odd_answers_are_refused(ca: FakeCa, client: Client, body: bytes) -> None:
    """A proxy's error page or a truncated body must be named, never raise a foreign exception."""
    ca.overrides["/roots"] = (201, body)
    with pytest.raises(PeerFailed):
        client.roots()


def test_redirects_are_not_followed(ca: FakeCa, client: Client) -> None:
    """A token must not be carried to whoever a redirect names."""
    ca.overrides["/health"] = (302, {"status": "ok"})
    with pytest.raises(PeerFailed, match="302"):
        client.health()


def test_endless_answers_are_cut(ca: FakeCa, client: Client) -> None:
    """A peer must not be able to fill the client's memory."""
    ca.overrides["/health"] = (200, b" " * (LARGEST_ANSWER_BYTES + 1))
    with pytest.raises(PeerFailed, match="more than"):
        client.health()


def test_another_root_is_not_trusted(ca: FakeCa) -> None:
    """Only the pinned root counts, not the machine's trust store nor what the server shows."""
    with pytest.raises(PeerFailed, match="not trusted"):
        Client(parse_ca_url(ca.url), roots=(FakeCa().root,)).health()


def test_another_name_is_not_trusted(ca: FakeCa) -> None:
    """A leaf of the same CA for another host must not pass for the CA."""
    url = CaUrl(host="127.0.0.2", port=parse_ca_url(ca.url).port)
    with pytest.raises(PeerFailed):
        Client(url, roots=(ca.root,)).health()


def test_fetched_root_must_have_the_fingerprint(ca: FakeCa) -> None:
    """This is the one exchange without TLS verification: only the fingerprint stands between us and anybody."""
    other = FakeCa()
    ca.overrides[f"/root/{other.fingerprint}"] = lambda: ca.answer(f"/root/{ca.fingerprint}", {}, None)
    with pytest.raises(PeerFailed, match="another fingerprint"):
        fetch_root(parse_ca_url(ca.url), other.fingerprint)


def test_nobody_there() -> None:
    """A CA that is down is one line with the address."""
    port = free_port()
    with pytest.raises(PeerFailed, match=f"127.0.0.1:{port} cannot be reached"):
        fetch_root(CaUrl(host="127.0.0.1", port=port), "00" * 32)


def test_a_server_without_tls(tmp_path: Path) -> None:
    """Pointing at a plain HTTP port must not look like a certificate problem, nor hang."""
    del tmp_path
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        port: int = server.getsockname()[1]
        context = verified((FakeCa().root,))
        assert context.verify_mode is ssl.CERT_REQUIRED
        client = Client(CaUrl(host="127.0.0.1", port=port), roots=(FakeCa().root,))

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(PeerFailed, match="TLS"):
            client.health()
        thread.join()


def test_an_expired_client_certificate_is_named(ca: FakeCa, client: Client) -> None:
    """step-ca refuses it in the handshake, before HTTP: the reason must still reach the operator."""
    key = keys.generate(KeyKind.EC_P256)
    begin = datetime.now(UTC) - timedelta(hours=2)
    chain = ca.leaf(key.public_key(), "foo.local", begin=begin, life=timedelta(hours=1))
    with pytest.raises((Unauthenticated, PeerFailed)) as caught:
        client.renew(identity=Identity(chain=chain, key=key))
    # The alert may be lost when the server hangs up while we still send: then the hint must lead there.
    assert "expired" in caught.value.message or "refuses the client's certificate" in (caught.value.hint or "")


def test_a_foreign_key_is_refused_locally(ca: FakeCa, client: Client) -> None:
    """Certificate and key that do not match must not be tried on the CA."""
    chain = ca.leaf(keys.generate(KeyKind.EC_P256).public_key(), "foo.local")
    before = len(ca.requests)
    with pytest.raises(RequestRejected, match="belong together"):
        client.renew(identity=Identity(chain=chain, key=keys.generate(KeyKind.EC_P256)))
    assert len(ca.requests) == before


def test_identity_hides_its_key(ca: FakeCa) -> None:
    """A repr in a log line must not reach for the key."""
    key = keys.generate(KeyKind.EC_P256)
    assert "key" not in repr(Identity(chain=ca.leaf(key.public_key(), "x.local"), key=key)).split("certificate")[-1]
