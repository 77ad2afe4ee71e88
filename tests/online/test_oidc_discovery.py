"""Fetching and keeping an issuer's keys: from whom, how often, for how long; and what a hostile issuer can do."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from fakes.oidc import ENDPOINT, ISSUER, FakeIssuer, serving

from online.jose.jwk import PrivateJwk
from online.oidc_discovery import KeySource, configuration_url, parse_discovery, parse_key_set
from online.oidc_fetch import LARGEST_DOCUMENT, check_url, https_fetch
from shared.errors import PeerFailed, RequestRejected
from shared.keys import KeyKind, generate


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def source(issuer: FakeIssuer, clock: Hand | None = None) -> KeySource:
    """Return the source of an issuer's keys."""
    return KeySource(ENDPOINT, tenant="", fetch=issuer.fetch, clock=clock or Hand())


async def test_keys_are_kept() -> None:
    """Without this, each request for a certificate would ask the issuer twice."""
    issuer, clock = FakeIssuer(), Hand()
    keys = source(issuer, clock)
    kid = issuer.signers[0].kid
    await keys.refresh(kid)
    for _ in range(5):
        clock.now += 600
        await keys.refresh(kid)
    assert len(issuer.asked) == 2
    clock.now += 601
    await keys.refresh(kid)
    assert len(issuer.asked) == 4
    assert keys.keys().issuer == ISSUER


async def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    """Without this, an issuer that changed its key would lock everybody out for an hour."""
    issuer, clock = FakeIssuer(), Hand()
    keys = source(issuer, clock)
    await keys.refresh(issuer.signers[0].kid)
    fresh = PrivateJwk.of(generate(KeyKind.EC_P256))
    issuer.signers = [fresh]
    clock.now += 31
    await keys.refresh(fresh.kid)
    assert keys.keys().candidates(fresh.kid, "ES256")
    # The old one is gone with it: what the issuer took back counts no more.
    assert len(keys.keys().by_kid) == 1


async def test_strangers_cannot_make_us_ask_all_the_time() -> None:
    """Without this, whoever sends tokens with random keys would turn the node against its identity provider."""
    issuer, clock = FakeIssuer(), Hand()
    keys = source(issuer, clock)
    for number in range(100):
        await keys.refresh(f"stranger-{number}")
    assert len(issuer.asked) == 2
    clock.now += 31
    for number in range(100):
        await keys.refresh(f"stranger-{number}")
    assert len(issuer.asked) == 4


async def test_strangers_cannot_make_us_ask_an_issuer_that_fails() -> None:
    """Without this, tokens that nobody verified could keep the node calling an issuer that is down or sends rubbish."""
    down, rubbish = FakeIssuer(down=True), FakeIssuer(issuer="https://other.example.com")

    def never_right(url: str) -> bytes:
        rubbish.asked.append(url)
        return b"{}"

    for issuer, fetch in ((down, down.fetch), (rubbish, never_right)):
        clock = Hand()
        keys = KeySource(ENDPOINT, tenant="", fetch=fetch, clock=clock)
        for rounds in (1, 2, 3):
            for number in range(50):
                clock.now += 0.5
                await keys.refresh(f"stranger-{number}" if number % 2 else "")
                with pytest.raises(PeerFailed):
                    keys.keys()
            assert len(issuer.asked) == rounds
            clock.now += 30


async def test_many_at_once_ask_once() -> None:
    """Without this, a full office on Monday morning would be an attack on the issuer."""
    issuer = FakeIssuer()
    keys = source(issuer)
    await asyncio.gather(*(keys.refresh(f"k{number}") for number in range(50)))
    assert len(issuer.asked) == 2


async def test_an_issuer_that_is_away() -> None:
    """Without this, its keys would be lost at once, or believed for ever."""
    issuer, clock = FakeIssuer(down=True), Hand()
    keys = source(issuer, clock)
    await keys.refresh("")
    with pytest.raises(PeerFailed, match="down"):
        keys.keys()
    issuer.down = False
    await keys.refresh("")
    with pytest.raises(PeerFailed):
        keys.keys()
    clock.now += 31
    await keys.refresh("")
    issuer.down = True
    clock.now += 80_000
    await keys.refresh("")
    assert keys.keys().issuer == ISSUER
    clock.now += 7_000
    await keys.refresh("")
    with pytest.raises(PeerFailed):
        keys.keys()


async def test_fetching_blocks_nobody() -> None:
    """Without this, an issuer that is slow would stop the whole node."""
    issuer, begun, go_on = FakeIssuer(), threading.Event(), threading.Event()

    def slow(url: str) -> bytes:
        begun.set()
        assert go_on.wait(10)
        return issuer.fetch(url)

    keys = KeySource(ENDPOINT, tenant="", fetch=slow, clock=Hand())
    asking = asyncio.create_task(keys.refresh(""))
    assert await asyncio.to_thread(begun.wait, 10)
    assert not asking.done()
    go_on.set()
    await asking
    assert keys.keys().issuer == ISSUER


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example.com"},
        {"issuer": "https://accounts.example.com.evil.example"},
        {"issuer": ISSUER + "/tenant"},
        {"issuer": "https://accounts.example.com/{tenantid}"},
        {"issuer": 7},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "http://accounts.example.com/keys"},
        {"jwks_uri": "https://accounts.example.com@evil.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://accounts.example.com/keys#x"},
        {"jwks_uri": "https://a.example.com/\r\nX: y"},
    ],
)
async def test_a_document_that_speaks_for_another(document: dict[str, Any]) -> None:
    """Without this, the document of one issuer could make tokens of another count, or send us anywhere."""
    issuer = FakeIssuer(document=document)
    keys = source(issuer)
    await keys.refresh("")
    with pytest.raises(PeerFailed) as caught:
        keys.keys()
    assert caught.value.code in {"oidc.document", "oidc.url"}
    assert issuer.asked == [ENDPOINT]


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"issuer":1,"issuer":2}', b"[" * 10_000])
def test_a_document_that_is_none(data: bytes) -> None:
    """Without this, an error page, or an attack on the parser, would end in something else than a refusal."""
    for parse in (parse_key_set, lambda each: parse_discovery(each, endpoint=ENDPOINT, tenant="")):
        with pytest.raises((PeerFailed, RequestRejected)) as caught:
            parse(data)
        assert caught.value.code.startswith("oidc.")


def test_an_issuer_of_many_organisations() -> None:
    """Without this, Entra ID could not be used, or people of all organisations would be let in."""
    endpoint = "https://login.example.com/organizations/v2.0/.well-known/openid-configuration"
    document = {"issuer": "https://login.example.com/{tenantid}/v2.0", "jwks_uri": "https://login.example.com/keys"}
    issuer, algorithms, _ = parse_discovery(json.dumps(document).encode(), endpoint=endpoint, tenant="t-1")
    assert issuer == "https://login.example.com/t-1/v2.0"
    assert algorithms == {"RS256"}
    elsewhere = {**document, "issuer": "https://login.evil.example/{tenantid}/v2.0"}
    with pytest.raises(PeerFailed):
        parse_discovery(json.dumps(elsewhere).encode(), endpoint=endpoint, tenant="t-1")


def test_unusable_keys_are_passed_over() -> None:
    """Without this, one key for encryption, or a weak one, would lock everybody out; or a secret would be a key."""
    good = PrivateJwk.of(generate(KeyKind.EC_P256)).public().to_json()
    odd: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "curve"},
        {**PrivateJwk.of(generate(KeyKind.EC_P256)).public().to_json(), "use": "enc", "kid": "enc"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "weak"},
        {"kid": "nothing"},
        7,
        None,
    ]
    assert list(parse_key_set(json.dumps({"keys": [*odd, good]}).encode())) == [good["kid"]]
    for keys in (odd, [], [good] * 101):
        with pytest.raises(PeerFailed):
            parse_key_set(json.dumps({"keys": keys}).encode())


def test_two_keys_of_one_name() -> None:
    """Without this, the first of two keys of one name would hide the other (RFC 7517 §4.5 allows them)."""
    ec, ed = (PrivateJwk.of(generate(kind)).public().to_json() for kind in (KeyKind.EC_P256, KeyKind.ED25519))
    found = parse_key_set(json.dumps({"keys": [{**ec, "kid": "k"}, {**ed, "kid": "k"}]}).encode())
    assert [each.key.algorithm for each in found["k"]] == ["ES256", "EdDSA"]


def test_where_the_document_is() -> None:
    """Without this, the address of the issuer alone, as step takes it, would not do."""
    for text in (ISSUER, ISSUER + "/", ENDPOINT):
        assert configuration_url(text) == ENDPOINT
    for text in (
        "",
        "accounts.example.com",
        "http://a.example.com",
        "https://",
        "https://a b",
        "https://a/é",
        "https://" + "a" * 3000,
    ):
        with pytest.raises(RequestRejected):
            configuration_url(text)
    with pytest.raises(RequestRejected):
        check_url("https://[::1/x", what="it")


def context(root: Path) -> ssl.SSLContext:
    """Trust a root and nothing else."""
    return ssl.create_default_context(cafile=str(root))


async def test_over_real_tls(tmp_path: Path) -> None:
    """Without this, only the fakes would ever have been asked."""
    issuer = FakeIssuer()
    with serving(issuer, tmp_path) as (url, root, _):
        keys = KeySource(configuration_url(url), tenant="", fetch=https_fetch(context(root)))
        await keys.refresh("")
        assert keys.keys().issuer == url
        assert issuer.signers[0].kid in keys.keys().by_kid


def test_an_issuer_that_is_not_trusted(tmp_path: Path) -> None:
    """Without this, whoever sits in between could hand us their keys."""
    with serving(FakeIssuer(), tmp_path) as (url, _, _), pytest.raises(PeerFailed) as caught:
        https_fetch()(f"{url}/keys")
    assert caught.value.code == "oidc.untrusted"


@pytest.mark.parametrize(
    "answer",
    [
        (302, {"Location": "https://localhost:1/elsewhere"}, b""),
        (301, {"Location": "/keys"}, b""),
        (500, {}, b"{}"),
        (204, {}, b""),
        (200, {}, b"x" * (LARGEST_DOCUMENT + 1)),
    ],
)
def test_answers_that_lead_elsewhere_or_never_end(tmp_path: Path, answer: tuple[int, dict[str, str], bytes]) -> None:
    """Without this, an issuer could send us to any address inside our network, or fill our memory."""
    issuer = FakeIssuer()
    with serving(issuer, tmp_path, {"/x": answer}) as (url, root, _), pytest.raises(PeerFailed) as caught:
        https_fetch(context(root))(f"{url}/x")
    assert caught.value.code == "oidc.answer"
    assert issuer.asked == ["/x"]


def test_no_proxy_and_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, the environment could put somebody in between."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    issuer = FakeIssuer()
    with serving(issuer, tmp_path) as (url, root, _):
        assert b"keys" in https_fetch(context(root))(f"{url}/keys")
    with pytest.raises(PeerFailed) as caught:
        https_fetch(context(root))("https://127.0.0.1:1/keys")
    assert caught.value.code == "oidc.unreachable"
