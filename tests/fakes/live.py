"""The real server over real TLS on loopback, in a thread of the test's process, on a CA in memory."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from fakes.hierarchy import Pki, World, make_world

from online.accesslog import Log
from online.config import Config, TlsSettings, parse_config, render_config
from online.hierarchy import Chain
from online.http import Layer, Limits
from online.listener import bind
from online.loop import run as run_loop
from online.server import Pace, Server
from online.store.activity import Activity
from shared.clock import Clock, SystemClock
from shared.keys import PrivateKey
from shared.keystore import private_key_pem
from shared.pem import certificate_pem, load_certificate_der

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(kw_only=True)
class Live:
    """A running server."""

    world: World
    directory: Path
    port: int
    loop: asyncio.AbstractEventLoop
    lines: list[str] = field(default_factory=list)
    """What it logged."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://localhost:{self.port}"

    @property
    def root(self) -> Path:
        """A file with the root certificate."""
        path = self.directory / "root.pem"
        if not path.exists():
            path.write_bytes(certificate_pem(self.world.pki.root))
        return path

    def call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def leaf(self, subject: str = "a.example.com") -> tuple[Chain, PrivateKey]:
        """Have a leaf issued."""
        return self.call(self.world.leaf(subject))

    def context(self, chain: Chain | None = None, key: PrivateKey | None = None) -> ssl.SSLContext:
        """Return a client's context that trusts the root, with a client certificate if one is given."""
        context = ssl.create_default_context(cafile=str(self.root))
        if chain is not None and key is not None:
            pair = self.directory / f"{chain[0].serial_number}.pem"
            pair.write_bytes(certificate_pem(*chain) + private_key_pem(key, None))
            context.load_cert_chain(pair)
        return context

    def connect(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """Open a TLS connection."""
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        try:
            return (context or self.context()).wrap_socket(raw, server_hostname="localhost")
        except BaseException:
            raw.close()
            raise

    def send(self, data: bytes, context: ssl.SSLContext | None = None) -> list[Answer]:
        """Send bytes as they are on one connection, and return every answer until it closes or falls silent."""
        with self.connect(context) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
            return list(answers(connection))

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """Send one honest request; the connection closes after it."""
        fields = {"Host": "localhost", "Connection": "close", **(headers or {})}
        if body or method == "POST":
            fields.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        found = self.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body, context)
        assert len(found) == 1
        return found[0]

    def server_certificate(self) -> x509.Certificate:
        """Return the certificate that a new connection is shown."""
        with self.connect() as connection:
            der = connection.getpeercert(binary_form=True)
        assert der is not None
        return load_certificate_der(der)


def answers(connection: ssl.SSLSocket) -> Iterator[Answer]:
    """Yield the answers on a connection until it ends."""
    while True:
        try:
            response = HTTPResponse(connection)
            response.begin()
            body = response.read()
        except (OSError, ValueError):
            return
        except Exception as error:
            if type(error).__name__ in {"RemoteDisconnected", "BadStatusLine"}:
                return
            raise
        headers = {name.lower(): value for name, value in response.getheaders()}
        yield Answer(status=response.status, headers=headers, body=body)
        if response.will_close:
            # Whatever follows would be a second answer to what must be one request.
            rest = b""
            with contextlib.suppress(OSError):
                while chunk := connection.recv(4096):
                    rest += chunk
            assert rest == b""
            return


def config_for(tls: TlsSettings | None = None) -> Config:
    """Return a configuration of which the server reads the TLS and logger blocks only."""
    import json  # noqa: PLC0415 (used here only)

    document = render_config(dns_names=("localhost",), address="127.0.0.1:0", provisioners=(), tls=tls)
    config = parse_config(json.dumps(document).encode(), path=Path("/nowhere/config/ca.json"))
    return config if tls is None else replace(config, tls=tls)


@contextlib.contextmanager
def live(
    directory: Path,
    *,
    pki: Pki | None = None,
    limits: Limits | None = None,
    pace: Pace | None = None,
    clock: Clock | None = None,
    tls: TlsSettings | None = None,
    world: World | None = None,
    layer: Layer = Layer.THIN,
    activity: Activity | None = None,
) -> Iterator[Live]:
    """Run a server until the block ends; nothing it did may have failed unseen."""
    time = clock or SystemClock()
    world = world or make_world(pki=pki, now=datetime.now(UTC), clock=time)
    listener = bind("127.0.0.1", 0)
    started = threading.Event()
    lines: list[str] = []
    found: list[Live] = []
    stops: list[asyncio.Event] = []
    failures: list[BaseException] = []

    async def main() -> None:
        stop = asyncio.Event()
        stops.append(stop)
        server = Server(
            authority=world.authority,
            config=config_for(tls),
            listener=listener,
            log=Log(time, sink=lines.append),
            clock=time,
            limits=limits,
            pace=pace or Pace(look=0.05, drain=5.0),
            layer=layer,
            activity=activity,
        )
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: failures.append(RuntimeError(str(context))))
        port = listener.getsockname()[1]
        found.append(Live(world=world, directory=directory, port=port, loop=loop, lines=lines))
        await server.serve(stop, started.set)

    def run() -> None:
        try:
            run_loop(main())
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(20)
        if failures:
            raise failures[0]
        yield found[0]
    finally:
        if stops and thread.is_alive():
            found[0].loop.call_soon_threadsafe(stops[0].set)
        thread.join(30)
        listener.close()
    assert not thread.is_alive()
    assert not failures, failures
