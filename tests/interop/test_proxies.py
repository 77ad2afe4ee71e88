"""nginx and HAProxy, the real programs with the files of ``examples/``, in front of two nodes."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.fronts import PROXIES, in_front, listens
from fakes.hierarchy import PROVISIONER, make_csr
from fakes.node import Node, NodeHome, make_home, running, start

from online.provisioners.protocol import Operation
from online.tokens import audience, mint_sign_token
from shared.keys import KeyKind, PrivateKey, generate
from shared.keystore import private_key_pem
from shared.pem import load_certificates


@dataclass(frozen=True, kw_only=True)
class Front:
    """A proxy with two nodes behind it."""

    home: NodeHome
    nodes: tuple[Node, Node]
    port: int

    def connect(self, pair: Path | None = None) -> HTTPSConnection:
        """Return a connection through the proxy, with a client certificate if one is given."""
        context = ssl.create_default_context(cafile=str(self.home.root))
        if pair is not None:
            context.load_cert_chain(pair)
        # The node's own name: what is verified is the node's certificate, end to end.
        return HTTPSConnection("localhost", self.port, timeout=20, context=context)

    def ask(self, method: str, path: str, body: bytes = b"", *, pair: Path | None = None) -> tuple[int, bytes]:
        """Ask through the proxy on a new connection."""
        connection = self.connect(pair)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeHome, tuple[Node, Node]]]:
    """Two nodes on one home: the same intermediate, provisioners and database."""
    home = make_home(tmp_path_factory.mktemp("front") / "home")
    with ExitStack() as stack:
        first = stack.enter_context(running(home))
        second = stack.enter_context(running(home))
        yield home, (first, second)


@pytest.fixture(params=PROXIES)
def front(request: pytest.FixtureRequest, tmp_path: Path, house: tuple[NodeHome, tuple[Node, Node]]) -> Iterator[Front]:
    """Each proxy in turn."""
    home, nodes = house
    with in_front(request.param, tmp_path, root=home.root, ports=[each.port for each in nodes]) as port:
        yield Front(home=home, nodes=nodes, port=port)


def leaf(front: Front, directory: Path, subject: str = "a.example.com") -> tuple[x509.Certificate, Path]:
    """Get a certificate through the proxy; return it, and a file with the pair."""
    key = generate(KeyKind.EC_P256)
    token = mint_sign_token(
        front.home.signer,
        issuer=PROVISIONER,
        audience=audience(f"https://localhost:{front.port}", Operation.SIGN),
        subject=subject,
        sans=[],
        root_fingerprint=front.home.fingerprint,
        now=datetime.now(UTC),
        rng=os.urandom,
    )
    csr = make_csr(subject, key=key).public_bytes(Encoding.PEM).decode()
    status, answer = front.ask("POST", "/1.0/sign", json.dumps({"csr": csr, "ott": token}).encode())
    assert status == 201, answer
    return keep(answer, key, directory)


def keep(answer: bytes, key: PrivateKey, directory: Path) -> tuple[x509.Certificate, Path]:
    """Put the certificate of an answer and its key into one file."""
    chain = "".join(json.loads(answer)["certChain"]).encode()
    pair = directory / f"{time.monotonic_ns()}.pem"
    pair.touch(mode=0o600)
    pair.write_bytes(chain + private_key_pem(key, None))
    return load_certificates(chain)[0], pair


def test_renewal_by_client_certificate_passes_through(front: Front, tmp_path: Path) -> None:
    """Without this, a proxy as in the examples could end TLS, and every renewal with it."""
    old, pair = leaf(front, tmp_path)
    status, answer = front.ask("POST", "/1.0/renew", pair=pair)
    assert status == 201
    new = load_certificates(json.loads(answer)["crt"].encode())[0]
    assert new.serial_number != old.serial_number
    assert new.public_key() == old.public_key()
    assert front.ask("POST", "/1.0/renew")[0] == 400


def test_a_revocation_through_the_proxy_holds_on_both_nodes(front: Front, tmp_path: Path) -> None:
    """Without this, the node that did not take the revocation would renew."""
    certificate, pair = leaf(front, tmp_path)
    body = json.dumps({"serial": str(certificate.serial_number), "passive": True, "reasonCode": 0}).encode()
    assert front.ask("POST", "/1.0/revoke", body, pair=pair)[0] == 200
    assert {front.ask("POST", "/1.0/renew", pair=pair)[0] for _ in range(6)} == {401}


def test_what_is_not_tls_is_not_served(front: Front) -> None:
    """Without this, something in plain HTTP might be answered between client and proxy."""
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        with suppress(ConnectionError):
            while chunk := connection.recv(4096):
                received += chunk
    # Nothing at all, or the node's hint that this is not the way.
    assert not received or received.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("kind", PROXIES)
def test_a_dead_node_costs_no_request(tmp_path: Path, house: tuple[NodeHome, tuple[Node, Node]], kind: str) -> None:
    """Without this, each second request would fail until somebody notices."""
    home, (survivor, _) = house
    doomed = start(home)
    try:
        doomed.port = int(doomed.wait_for("READY ").split("https://localhost:")[1].split()[0])
        with in_front(kind, tmp_path, root=home.root, ports=(survivor.port, doomed.port)) as port:
            front = Front(home=home, nodes=(survivor, doomed), port=port)
            assert {front.ask("GET", "/health")[0] for _ in range(6)} == {200}
            # All at once, as when the machine loses its power.
            for pid in (doomed.process.pid, *doomed.workers()):
                os.kill(pid, signal.SIGKILL)
            # What was on its way to it in that moment is lost with it; what comes afterwards must not be.
            while listens(doomed.port):
                time.sleep(0.02)
            assert {front.ask("GET", "/health")[0] for _ in range(20)} == {200}
    finally:
        doomed.process.kill()
        doomed.process.wait()
        assert doomed.process.stderr is not None
        doomed.process.stderr.close()
