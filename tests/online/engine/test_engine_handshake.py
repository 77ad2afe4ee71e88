"""Handshakes that succeed, and those that must not: what both sides are told, over both engines."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.certificates import make_intermediate
from fakes.hierarchy import make_pki
from fakes.tls import Stage, foreign_leaf, make_identities, until

from online.config import TlsEngine, TlsSettings
from online.engine import Limits
from shared.keys import KeyKind
from shared.pem import certificate_pem

Play = Callable[..., None]
_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", _VERSIONS)
def test_a_client_without_a_certificate_has_none(play: Play, version: ssl.TLSVersion) -> None:
    """Without this, a stranger could pass for somebody."""

    async def act(stage: Stage) -> None:
        context = stage.client_context(version=version)
        context.set_alpn_protocols(["h2", "http/1.1"])
        client = await stage.shaken(context)
        assert client.tls.selected_alpn_protocol() == "http/1.1"
        assert client.tls.compression() is None
        await client.send(b"hello")
        assert await client.exactly(5) == b"hello"
        assert (await stage.protocol()).peer is None
        assert stage.refused == []

    play(act)


@pytest.mark.parametrize("offered", [None, ["h2"]])
def test_nothing_is_said_of_protocols_that_nobody_here_speaks(play: Play, offered: list[str] | None) -> None:
    """Without this, a client could take the node for one that speaks HTTP/2, or be turned away for asking."""

    async def act(stage: Stage) -> None:
        context = stage.client_context()
        if offered is not None:
            context.set_alpn_protocols(offered)
        client = await stage.shaken(context)
        assert client.tls.selected_alpn_protocol() is None

    play(act)


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize("whole", [True, False], ids=["with-intermediate", "leaf-only"])
def test_a_client_of_ours_is_known(play: Play, version: ssl.TLSVersion, whole: bool) -> None:
    """Without this, clients that send their leaf only, as many do, could not renew."""

    async def act(stage: Stage) -> None:
        chain, key = stage.identities.client
        pair = (chain if whole else chain[:1], key)
        client = await stage.shaken(stage.client_context(pair, version=version))
        await client.send(b"x")
        assert await client.exactly(1) == b"x"
        assert (await stage.protocol()).peer == chain[0]

    play(act)


@pytest.mark.parametrize("kind", [KeyKind.EC_P384, KeyKind.EC_P521, KeyKind.RSA, KeyKind.ED25519])
def test_a_client_s_key_may_be_of_any_kind_that_is_certified(play: Play, kind: KeyKind) -> None:
    """Without this, the node could issue certificates that it then does not take."""

    async def act(stage: Stage) -> None:
        pki = stage.identities.pki
        leaf, key = foreign_leaf(pki.intermediate, pki.intermediate_key, kind=kind)
        client = await stage.shaken(stage.client_context(((leaf,), key)))
        await client.send(b"x")
        assert await client.exactly(1) == b"x"
        assert (await stage.protocol()).peer == leaf

    play(act)


async def alert_of(stage: Stage, context: ssl.SSLContext, *, piece: int = 1 << 20) -> str:
    """Shake hands, send a request at once, and return the alert that comes back."""
    client = await stage.connect(context, piece=piece)
    try:
        await client.shake()
        # In TLS 1.3 the client is done before its certificate is looked at, and what it sends now is never read. Were
        # the socket closed on it, the reset would destroy the alert.
        await client.send(b"x" * 5000)
        await client.receive()
    except ssl.SSLError as error:
        return str(error.reason)
    finally:
        client.close()
    raise AssertionError("no alert came")


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize(
    ("hours", "usage", "told"),
    [
        (-3.0, ExtendedKeyUsageOID.CLIENT_AUTH, ("certificate-expired", "ALERT_CERTIFICATE_EXPIRED")),
        (1.0, ExtendedKeyUsageOID.CLIENT_AUTH, ("certificate-not-yet-valid", "ALERT_BAD_CERTIFICATE")),
        (-0.1, ExtendedKeyUsageOID.SERVER_AUTH, ("certificate-purpose", "ALERT_UNSUPPORTED_CERTIFICATE")),
    ],
    ids=["expired", "not-yet-valid", "server-only"],
)
def test_a_certificate_outside_its_time_or_purpose_is_refused_with_the_reason(
    play: Play, version: ssl.TLSVersion, hours: float, usage: x509.ObjectIdentifier, told: tuple[str, str]
) -> None:
    """Without this, a certificate could serve when, or for what, it must not; or nobody would learn why it does not."""

    async def act(stage: Stage) -> None:
        pki = stage.identities.pki
        since = datetime.now(UTC) + timedelta(hours=hours)
        leaf, key = foreign_leaf(pki.intermediate, pki.intermediate_key, begin=since, usage=usage)
        context = stage.client_context(((leaf, pki.intermediate), key), version=version)
        assert (await alert_of(stage, context)).endswith(told[1])
        assert stage.refusals == [told[0]]
        assert stage.refused[0].remote == "127.0.0.1"
        assert stage.protocols == []

    play(act)


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize("sent", ["whole", "leaf-only", "self-signed"])
def test_a_client_of_another_ca_is_refused_with_the_reason(play: Play, version: ssl.TLSVersion, sent: str) -> None:
    """Without this, anybody's certificate could come as far as HTTP; or its owner would see a dead connection only."""

    async def act(stage: Stage) -> None:
        other = make_pki(now=datetime.now(UTC))
        leaf, key = foreign_leaf(other.intermediate, other.intermediate_key)
        pair = ((leaf, other.intermediate, other.root), key) if sent == "whole" else ((leaf,), key)
        if sent == "self-signed":
            pair = ((other.root,), other.root_key)
        assert "UNKNOWN_CA" in await alert_of(stage, stage.client_context(pair, version=version))
        assert stage.refusals == ["unknown-ca"]

    play(act)


def test_a_leaf_that_another_intermediate_of_our_root_issued_is_not_ours(play: Play) -> None:
    """Without this, a sister CA's clients would come as far as HTTP, where nothing is for them."""

    async def act(stage: Stage) -> None:
        pki = stage.identities.pki
        sister, sister_key = make_intermediate(pki.root, pki.root_key)
        leaf, key = foreign_leaf(sister, sister_key)
        context = stage.client_context(((leaf, sister), key))
        assert "UNKNOWN_CA" in await alert_of(stage, context)

    play(act)


def test_a_client_that_does_not_trust_the_node_is_noted(play: Play) -> None:
    """Without this, nobody at the node would learn that clients have an old root."""

    async def act(stage: Stage) -> None:
        client = await stage.connect(ssl.create_default_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.shake()
        await until(lambda: stage.refusals == ["client-refused"])
        assert "unknown ca" in stage.refused[0].detail

    play(act)


def old_context(stage: Stage) -> ssl.SSLContext:
    """Make a context for a client that speaks TLS 1.1."""
    context = stage.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def test_old_versions_and_suites_are_refused_with_the_reason(play: Play) -> None:
    """Without this, a man in the middle could talk both sides down."""

    async def act(stage: Stage) -> None:
        assert "PROTOCOL_VERSION" in await alert_of(stage, old_context(stage))
        suites = stage.client_context(version=ssl.TLSVersion.TLSv1_2)
        suites.set_ciphers("ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0")
        assert "HANDSHAKE_FAILURE" in await alert_of(stage, suites)
        assert stage.refusals == ["version", "no-common-algorithm"]

    play(act)


@pytest.mark.parametrize("version", _VERSIONS)
def test_a_handshake_byte_by_byte_is_a_handshake(play: Play, version: ssl.TLSVersion) -> None:
    """Without this, what a network cuts into pieces could hang, as earlier attempts at such an engine did."""

    async def act(stage: Stage) -> None:
        client = await stage.shaken(stage.client_context(stage.identities.client, version=version), piece=1)
        await client.send(b"hello")
        assert await client.exactly(5) == b"hello"
        assert (await stage.protocol()).peer == stage.identities.client[0][0]

    play(act)


@pytest.mark.parametrize("version", _VERSIONS)
def test_a_refusal_byte_by_byte_has_its_reason(play: Play, version: ssl.TLSVersion) -> None:
    """Without this, a client on a slow line would not learn why it is refused."""

    async def act(stage: Stage) -> None:
        other = make_pki(now=datetime.now(UTC))
        leaf, key = foreign_leaf(other.intermediate, other.intermediate_key)
        context = stage.client_context(((leaf,), key), version=version)
        assert "UNKNOWN_CA" in await alert_of(stage, context, piece=7)

    play(act)


@pytest.mark.parametrize("version", _VERSIONS)
def test_the_last_flight_with_a_request_and_the_end_in_one_piece(play: Play, version: ssl.TLSVersion) -> None:
    """Without this, a request that arrives with the end of the handshake could wait for bytes that never come."""

    async def act(stage: Stage) -> None:
        client = await stage.connect(stage.client_context(stage.identities.client, version=version))
        if version is ssl.TLSVersion.TLSv1_3:
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.do_handshake()
            await client.flush()
            # One read may end within the server's flight.
            while True:
                await client.more()
                try:
                    client.tls.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                break
        else:
            await client.shake()
        for _ in range(20):
            client.tls.write(b"x" * 1000)
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.unwrap()
        await client.flush()
        protocol = await stage.protocol()
        await until(lambda: "lost" in protocol.events)
        assert protocol.received == b"x" * 20_000
        assert protocol.events == ["made", "eof", "lost"]

    play(act)


def test_plain_http_is_told_to_come_with_tls(play: Play) -> None:
    """Without this, whoever forgets the s of https would see an empty answer."""

    async def act(stage: Stage) -> None:
        reader, writer = await stage.raw()
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"x" * 100_000)
        answer = await reader.read()
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
        assert b"HTTPS" in body
        assert stage.refusals == ["plain-http"]

    play(act)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 64,
        b"\xff" * 6000,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + b"a" * 65535,
        b"\x17\x03\x03\x00\x10" + b"a" * 16,
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 443\r\n",
    ],
    ids=["zeros", "ones", "ssh", "no-hello", "huge-record", "data-first", "alert-first", "proxy-protocol"],
)
def test_garbage_is_refused_at_once_and_noted_without_its_bytes(play: Play, data: bytes) -> None:
    """Without this, a scanner could hold connections, or write into the log."""

    async def act(stage: Stage) -> None:
        reader, writer = await stage.raw()
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await until(lambda: len(stage.refused) == 1)
        assert stage.refusals[0] in {"not-tls", "version", "client-refused", "too-large", "client-left"}
        assert len(answer) < 16
        assert stage.refused[0].detail.replace("/", " ").replace(" ", "").isalnum() or not stage.refused[0].detail

    play(act)


def test_a_probe_that_says_nothing_is_worth_no_line(play: Play) -> None:
    """Without this, a load balancer that looks whether the port is open would fill the log."""

    async def act(stage: Stage) -> None:
        for abort in (False, True):
            _, writer = await stage.raw()
            await until(lambda: len(stage.acceptor.shaking) == 1)
            if abort:
                writer.transport.abort()
            else:
                writer.close()
            await until(lambda: len(stage.acceptor.shaking) == 0)
        assert stage.refused == []

    play(act)


def test_a_client_that_leaves_in_the_middle_is_noted(play: Play) -> None:
    """Without this, handshakes that a firewall cuts would go unseen."""

    async def act(stage: Stage) -> None:
        client = await stage.connect()
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        await client.flush()
        client.close()
        await until(lambda: stage.refusals == ["client-left"])

    play(act)


def test_slow_handshakes_end_at_the_deadline(play: Play) -> None:
    """Without this, clients that never finish could hold all connections."""

    async def act(stage: Stage) -> None:
        silent = await stage.connect()
        hello = await stage.connect()
        with pytest.raises(ssl.SSLWantReadError):
            hello.tls.do_handshake()
        dripping = hello.outgoing.read()
        hello.writer.write(dripping[:50])
        for each in (silent, hello):
            assert not await each.more()
        assert stage.refusals == ["timeout", "timeout"]
        assert len(stage.acceptor.shaking) == 0

    play(act, Limits(handshake=0.15))


def test_a_handshake_too_many_displaces_the_one_that_has_lasted_longest(play: Play) -> None:
    """Without this, a thousand silent connections could keep every client out."""

    async def act(stage: Stage) -> None:
        waiting = []
        for _ in range(5):
            before = len(stage.refused) + len(stage.acceptor.shaking)
            waiting.append(await stage.connect())
            await until(lambda: len(stage.refused) + len(stage.acceptor.shaking) > before)  # noqa: B023 (awaited here)
        assert len(stage.acceptor.shaking) == 3
        client = await stage.shaken()
        await client.send(b"x")
        assert await client.exactly(1) == b"x"
        for each in waiting[:2]:
            assert not await each.more()
        assert set(stage.refusals) == {"crowded"}

    play(act, Limits(handshakes=3))


def test_a_chain_too_long_to_be_one_is_refused(play: Play) -> None:
    """Without this, a client could have the node parse and search a hundred certificates for nothing."""

    async def act(stage: Stage) -> None:
        pki = stage.identities.pki
        chain, key = stage.identities.client
        context = stage.client_context(((*chain, *[pki.root] * 300), key))
        client = await stage.connect(context)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await client.shake()
            await client.receive()
        client.close()
        assert stage.refusals == ["too-large"]

    play(act)


def test_the_context_is_replaced_without_a_handshake_that_fails(play: Play, engine: TlsEngine) -> None:
    """Without this, each renewal of the node's leaf could cost some clients their request."""
    others = asyncio.run(make_identities())

    async def act(stage: Stage) -> None:
        both = stage.client_context()
        both.load_verify_locations(cadata=certificate_pem(others.pki.root).decode())
        ours, theirs = stage.acceptor.context, others.context(TlsSettings(engine=engine))
        done = False

        async def swap() -> None:
            while not done:
                stage.acceptor.context = theirs if stage.acceptor.context is ours else ours
                # At no fixed pace: one that fell in with the clients' would show them one context only.
                await asyncio.sleep(random.uniform(0, 0.003))  # noqa: S311 (no secret)

        swapping = asyncio.create_task(swap())
        seen = set()
        kept = await stage.shaken(both)

        async def knock() -> None:
            client = await stage.shaken(both)
            seen.add(client.tls.getpeercert(binary_form=True))
            await client.send(b"x")
            assert await client.exactly(1) == b"x"
            client.close()

        for round_ in range(200):
            await asyncio.gather(*(knock() for _ in range(5)))
            if round_ >= 10 and len(seen) == 2:
                break
        done = True
        await swapping
        await kept.send(b"still")
        assert await kept.exactly(5) == b"still"
        assert len(seen) == 2
        assert stage.refused == []

    play(act)


@pytest.mark.parametrize("version", _VERSIONS)
def test_no_session_is_resumed(play: Play, engine: TlsEngine, version: ssl.TLSVersion) -> None:
    """Without this, a session could outlive the client certificate that it was opened with."""
    if engine is TlsEngine.SYSTEM and version is ssl.TLSVersion.TLSv1_2:
        pytest.skip("ssl cannot switch off OpenSSL's own store of TLS 1.2 sessions")

    async def act(stage: Stage) -> None:
        context = stage.client_context(stage.identities.client, version=version)
        session: ssl.SSLSession | None = None
        for _ in range(3):
            client = await stage.connect(context)
            if session is not None:
                client.tls.session = session
            await client.shake()
            await client.send(b"x")
            assert await client.exactly(1) == b"x"
            assert not client.tls.session_reused
            session = client.tls.session

    play(act)
