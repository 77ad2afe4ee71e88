"""Both ends of TLS in one event loop: the engine below a protocol that tells what it sees, and a client.

The client is Python's ``ssl`` between two buffers, so that a test decides in which pieces its bytes travel.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.hierarchy import Pki, World, make_world

from online.config import TlsEngine, TlsSettings
from online.engine import Acceptor, Context, Limits, Refused, make_context, peer_certificate
from online.hierarchy import Chain
from online.tls import OwnLeaf, make_own_leaf
from shared import keys, names
from shared.clock import SystemClock
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.keys import KeyKind, PrivateKey
from shared.keystore import private_key_pem
from shared.pem import certificate_pem
from shared.profile import leaf_profile
from shared.serials import random_serial

_T = TypeVar("_T")
_PATIENCE = 10.0


@dataclass(frozen=True, kw_only=True)
class Identities:
    """A CA, its node's leaf, and a client's."""

    world: World
    own: OwnLeaf
    client: tuple[Chain, PrivateKey]

    @property
    def pki(self) -> Pki:
        """Root and intermediate."""
        return self.world.pki

    def context(self, settings: TlsSettings) -> Context:
        """Make the node's context."""
        own = self.own
        return make_context(key=own.key, chain=own.chain, trusted=(self.pki.intermediate,), settings=settings)


async def make_identities() -> Identities:
    """Make them."""
    world = make_world(now=datetime.now(UTC), clock=SystemClock())
    return Identities(world=world, own=await make_own_leaf(world.authority), client=await world.leaf("a.example.com"))


def foreign_leaf(
    issuer: x509.Certificate,
    key: PrivateKey,
    *,
    begin: datetime | None = None,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    kind: KeyKind = KeyKind.EC_P256,
) -> tuple[x509.Certificate, PrivateKey]:
    """Make a leaf of one hour outside of the authority."""
    own = keys.generate(kind)
    begin = begin or datetime.now(UTC) - timedelta(minutes=5)
    profile = replace(leaf_profile(longest=timedelta(days=1)), extended_key_usage=(usage,))
    request = IssuanceRequest(
        subject=names.subject(common="x.example.com"),
        public_key=own.public_key(),
        serial=random_serial(os.urandom),
        not_before=begin,
        not_after=begin + timedelta(hours=1),
        sans=names.parse_sans(["x.example.com"]),
    )
    return issue(prepare(profile, request, Issuer.from_certificate(issuer)), key), own


class Recorder(asyncio.Protocol):
    """The protocol above: it notes what it gets, and does what a test tells it to."""

    def __init__(self, stage: Stage) -> None:
        """Wait for the connection."""
        self.stage = stage
        self.received = bytearray()
        self.events: list[str] = []
        self.error: Exception | None = None
        self.keep_open = False
        stage.protocols.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.stage.transports.append(weakref.ref(transport))
        self.peer = peer_certificate(transport)
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        """Note it, and do what the stage says."""
        self.received += data
        self.stage.on_data(self, data)

    def eof_received(self) -> bool:
        """Note it."""
        self.events.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        """Note it."""
        self.events.append("pause")

    def resume_writing(self) -> None:
        """Note it."""
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it."""
        self.error = exc if exc is None else type(exc)(*exc.args)
        self.events.append("lost")


def echo(protocol: Recorder, data: bytes) -> None:
    """Send back what came."""
    protocol.transport.write(data)


def silent(_protocol: Recorder, _data: bytes) -> None:
    """Do nothing."""


@dataclass(kw_only=True)
class Stage:
    """A listening engine."""

    identities: Identities
    port: int = 0
    acceptor: Acceptor = field(init=False)
    on_data: Callable[[Recorder, bytes], None] = echo
    protocols: list[Recorder] = field(default_factory=list)
    transports: list[weakref.ref[asyncio.Transport]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def refusals(self) -> list[str]:
        """The reasons of the handshakes that were refused."""
        return [each.refusal.value for each in self.refused]

    async def protocol(self, index: int = 0) -> Recorder:
        """Wait for a connection's protocol."""
        await until(lambda: len(self.protocols) > index)
        return self.protocols[index]

    def client_context(
        self, pair: tuple[Chain, PrivateKey] | None = None, *, version: ssl.TLSVersion | None = None
    ) -> ssl.SSLContext:
        """Make a client's context that trusts the root."""
        context = ssl.create_default_context(cadata=certificate_pem(self.identities.pki.root).decode())
        # Some releases of Python ask OpenSSL to take any end for a proper one (Debian 12's 3.11.2 does).
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if pair is not None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(certificate_pem(*pair[0]) + private_key_pem(pair[1], None))
                file.flush()
                context.load_cert_chain(file.name)
        return context

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a TCP connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer

    async def connect(self, context: ssl.SSLContext | None = None, *, piece: int = 1 << 20) -> Client:
        """Open a TCP connection; nothing of TLS is said yet."""
        reader, writer = await self.raw()
        return Client(reader, writer, context or self.client_context(), piece=piece)

    async def shaken(self, context: ssl.SSLContext | None = None, *, piece: int = 1 << 20) -> Client:
        """Open a TCP connection and do the handshake."""
        client = await self.connect(context, piece=piece)
        await client.shake()
        return client


@asynccontextmanager
async def stage(identities: Identities, engine: TlsEngine, limits: Limits | None = None) -> AsyncIterator[Stage]:
    """Listen until the block ends; nothing that the engine did may have failed unseen."""
    shown = Stage(identities=identities)
    loop = asyncio.get_running_loop()
    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: failures.append(context))
    context = identities.context(TlsSettings(engine=engine))
    shown.acceptor = Acceptor(lambda: Recorder(shown), context, told=shown.refused.append, limits=limits)
    server = await loop.create_server(shown.acceptor, "127.0.0.1", 0)
    shown.port = server.sockets[0].getsockname()[1]
    try:
        yield shown
    finally:
        server.close()
        for writer in shown.writers:
            writer.close()
        await shown.acceptor.settle(0)
        for each in shown.protocols:
            each.transport.abort()
        await shown.acceptor.close(0)
        await asyncio.sleep(0.01)
    assert not failures, failures


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(_PATIENCE):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.002)


def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, _T]) -> _T:
    """Run a test in a loop of its own kind."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main)


class Client:
    """A client whose bytes a test can see and cut."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext, *, piece: int
    ) -> None:
        """Begin with a TCP connection."""
        self.reader, self.writer, self.piece = reader, writer, piece
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    async def flush(self) -> None:
        """Send what TLS wants sent, piece by piece."""
        data = self.outgoing.read()
        for start in range(0, len(data), self.piece):
            self.writer.write(data[start : start + self.piece])
            if self.piece < len(data):
                # A turn of the loop each, so that they arrive apart.
                await asyncio.sleep(0)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def more(self) -> bool:
        """Receive; return false at the end."""
        async with asyncio.timeout(_PATIENCE):
            data = await self.reader.read(1 << 16)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return bool(data)

    async def _do(self, step: Callable[[], _T]) -> _T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self.flush()
                await self.more()
            except ssl.SSLError:
                with suppress(ConnectionError):
                    await self.flush()
                raise
            else:
                await self.flush()
                return done

    async def shake(self) -> None:
        """Do the handshake."""
        await self._do(self.tls.do_handshake)

    async def send(self, data: bytes) -> None:
        """Send."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
            await self.flush()

    async def receive(self, size: int = 1 << 16) -> bytes:
        """Receive something; empty after a proper end.

        Raises:
            ssl.SSLError: the end was not a proper one, or an alert came.
        """
        try:
            return await self._do(lambda: self.tls.read(size))
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError as error:
            # Those releases also have no exception of its own for it.
            if error.reason == "UNEXPECTED_EOF_WHILE_READING":
                raise ssl.SSLEOFError(*error.args) from None
            raise

    async def exactly(self, size: int) -> bytes:
        """Receive so many bytes."""
        data = b""
        while len(data) < size:
            piece = await self.receive(size - len(data))
            assert piece, "the end came too early"
            data += piece
        return data

    async def rest(self) -> bytes:
        """Receive to the proper end."""
        data = bytearray()
        while piece := await self.receive():
            data += piece
        return bytes(data)

    async def close_notify(self) -> None:
        """Say that nothing follows, and go on reading."""
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        await self.flush()

    def close(self) -> None:
        """Close the TCP connection."""
        self.writer.close()
