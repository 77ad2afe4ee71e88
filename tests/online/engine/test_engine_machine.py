"""The engines without a socket: whatever bytes come, and in the sandbox that a service manager puts around the node."""

from __future__ import annotations

import ctypes
import gc
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from fakes.tls import Identities
from hypothesis import given, settings
from hypothesis import strategies as st

from online.config import TlsEngine, TlsSettings
from online.engine.machine import Machine
from online.engine.native import _offers_http
from online.engine.refusals import HandshakeRefused, Refusal, refusal_of
from shared.errors import PeerFailed
from shared.pem import certificate_pem

_ROOT = Path(__file__).parents[3]


class Pair:
    """A machine and a client, between two buffers."""

    def __init__(self, identities: Identities, machine: Machine) -> None:
        """Put them face to face."""
        context = ssl.create_default_context(cadata=certificate_pem(identities.pki.root).decode())
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.machine = machine

    def shake(self) -> None:
        """Do the handshake."""
        done = False
        while not done:
            with suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.machine.receive(self.outgoing.read())
            done = self.machine.shake()
            self.incoming.write(self.machine.take())

    def hello(self) -> bytes:
        """Return the client's first flight."""
        with suppress(ssl.SSLWantReadError):
            self.client.do_handshake()
        return self.outgoing.read()


def machine_of(identities: Identities, engine: TlsEngine) -> Machine:
    """Begin a connection."""
    return identities.context(TlsSettings(engine=engine)).machine()


@pytest.fixture(scope="module", params=list(TlsEngine), ids=lambda engine: engine.value)
def bench(request: pytest.FixtureRequest, identities: Identities) -> tuple[Identities, TlsEngine]:
    """An engine and somebody to talk to it; Hypothesis wants one that lasts."""
    return identities, request.param


@given(data=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_waited_for_or_refused(bench: tuple[Identities, TlsEngine], data: list[bytes]) -> None:
    """Without this, bytes that nobody thought of could end a worker."""
    machine = machine_of(*bench)
    with suppress(HandshakeRefused):
        for each in data:
            machine.receive(each)
            assert not machine.shake()
    machine.take()
    machine.close()


@given(position=st.integers(0, 4000), value=st.integers(0, 255), cut=st.integers(1, 4000))
@settings(max_examples=80, deadline=None)
def test_a_hello_that_was_changed_anywhere_is_answered_or_refused(
    bench: tuple[Identities, TlsEngine], position: int, value: int, cut: int
) -> None:
    """Without this, a parser's bad luck with one byte could end a worker."""
    machine = machine_of(*bench)
    hello = bytearray(Pair(bench[0], machine).hello())
    hello[position % len(hello)] = value
    with suppress(HandshakeRefused):
        for start in range(0, len(hello), cut):
            machine.receive(bytes(hello[start : start + cut]))
            assert not machine.shake()


@given(position=st.integers(0, 400), bit=st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_a_record_that_was_changed_anywhere_is_never_read(
    bench: tuple[Identities, TlsEngine], position: int, bit: int
) -> None:
    """Without this, a byte that was changed on the way could be taken for content."""
    machine = machine_of(*bench)
    pair = Pair(bench[0], machine)
    pair.shake()
    pair.client.write(b"x" * 300)
    record = bytearray(pair.outgoing.read())
    record[position % len(record)] ^= 1 << bit
    machine.receive(bytes(record))
    with suppress(PeerFailed):
        assert machine.read() is None


def test_a_fault_elsewhere_in_the_process_is_not_taken_for_the_connection_s(
    bench: tuple[Identities, TlsEngine],
) -> None:
    """Without this, an error that another use of OpenSSL left in the thread's queue could end a connection."""
    from cryptography import x509  # noqa: PLC0415 (used here only)
    from OpenSSL import crypto  # noqa: PLC0415

    machine = machine_of(*bench)
    pair = Pair(bench[0], machine)
    pair.shake()
    with suppress(crypto.Error):
        crypto.load_certificate(crypto.FILETYPE_ASN1, b"\x30\x03\x02\x01\x01")
    with suppress(ValueError):
        x509.load_der_x509_certificate(b"\x30\x03\x02\x01\x01")
    assert machine.read() is None
    pair.client.write(b"hello")
    machine.receive(pair.outgoing.read())
    assert machine.read() == b"hello"


def test_a_certificate_has_one_reason_whatever_the_engine_calls_it() -> None:
    """Without this, a dashboard would depend on the engine, or a label's values on what clients send."""
    for spelling in ("certificate verify failed", "CERTIFICATE_VERIFY_FAILED"):
        assert refusal_of([spelling], 10).refusal is Refusal.EXPIRED
        assert refusal_of(["asn1 error", spelling], 20).refusal is Refusal.UNKNOWN_CA
        assert refusal_of([spelling], 7).refusal is Refusal.CERTIFICATE
        assert refusal_of([spelling], None).refusal is Refusal.CERTIFICATE
    assert refusal_of(["tlsv1 alert unknown ca"], 0).refusal is Refusal.CLIENT_ALERT
    assert refusal_of(["no shared cipher"], 0).refusal is Refusal.ALGORITHM
    assert refusal_of([], 0).refusal is Refusal.PROTOCOL
    assert refusal_of(["something new"], 0).refusal is Refusal.PROTOCOL


@pytest.mark.parametrize(
    ("offered", "found"),
    [
        (b"", False),
        (b"\x08http/1.1", True),
        (b"\x02h2\x08http/1.1", True),
        (b"\x02h2", False),
        (b"\x09\x08http/1.1", False),
        (b"\x00\x08http/1.1", True),
        (b"\xff\x08http/1.1", False),
    ],
)
def test_the_protocol_is_looked_for_where_one_begins(offered: bytes, found: bool) -> None:
    """Without this, a client could be told a protocol that it did not offer."""
    assert _offers_http(offered) is found


def knows_mdwe() -> bool:
    """Tell whether the kernel knows PR_GET_MDWE."""
    return sys.platform == "linux" and int(ctypes.CDLL(None).prctl(66, 0, 0, 0, 0)) >= 0


_SANDBOXED = """
import asyncio, ctypes, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0) != 0:
    raise SystemExit("the kernel refused PR_SET_MDWE")
sys.path[:0] = sys.argv[1:]
from fakes.hierarchy import make_pki
from fakes.tls import foreign_leaf, make_identities, run, stage
from online.config import TlsEngine
from online.loop import loop_factory
from datetime import UTC, datetime
import ssl

async def main():
    async with stage(await make_identities(), TlsEngine.BUNDLED) as shown:
        context = shown.client_context(shown.identities.client)
        context.set_alpn_protocols(["h2", "http/1.1"])
        client = await shown.shaken(context)
        assert client.tls.selected_alpn_protocol() == "http/1.1"
        await client.send(b"x")
        assert await client.exactly(1) == b"x"
        assert (await shown.protocol()).peer is not None
        other = make_pki(now=datetime.now(UTC))
        leaf, key = foreign_leaf(other.intermediate, other.intermediate_key)
        stranger = await shown.connect(shown.client_context(((leaf,), key)))
        try:
            await stranger.shake()
            await stranger.receive()
        except ssl.SSLError:
            pass
        assert shown.refusals == ["unknown-ca"], shown.refusals

run(loop_factory(), main())
"""


@pytest.mark.skipif(not knows_mdwe(), reason="this kernel has no PR_SET_MDWE (Linux 6.3)")
def test_no_memory_is_writable_and_executable() -> None:
    """Without this, the engine could not run under the unit file: pyOpenSSL's own callbacks need such memory."""
    arguments = [sys.executable, "-c", _SANDBOXED, str(_ROOT), str(_ROOT / "tests")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_context_that_is_dropped_lets_its_connections_live(bench: tuple[Identities, TlsEngine]) -> None:
    """Without this, a connection from before the node's leaf was renewed could use what is freed."""
    identities, engine = bench
    context = identities.context(TlsSettings(engine=engine))
    pair = Pair(identities, context.machine())
    del context
    gc.collect()
    pair.shake()
    pair.client.write(b"hello")
    pair.machine.receive(pair.outgoing.read())
    assert pair.machine.read() == b"hello"
