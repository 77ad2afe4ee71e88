"""A small CA that speaks step-ca's API over real TLS on loopback, to test the client against good and bad answers.

It issues with the product's own signing path and checks nothing: whatever a test wants wrong, it puts wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.certificates import make_intermediate, make_root

from shared import keys, names
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.keys import KeyKind, PublicKey, fingerprint
from shared.pem import certificate_pem, chain_pem
from shared.profile import leaf_profile
from shared.serials import random_serial

Answer = tuple[int, object]


class FakeCa:
    """A root, an intermediate, and a server that answers for them."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        self.root, root_key = make_root(begin=now - timedelta(days=7))
        self.intermediate, self._key = make_intermediate(self.root, root_key)
        self.requests: list[tuple[str, str, dict[str, object], dict[str, str], x509.Certificate | None]] = []
        """(method, path, body, headers, client certificate) of each request."""
        self.overrides: dict[str, Callable[[], Answer] | Answer] = {}
        """Answers by path, instead of the usual ones. Bytes are sent as they are."""
        self.headers: dict[str, str] = {}
        """Header fields that go with each answer."""
        self.tamper: Callable[[tuple[x509.Certificate, ...]], tuple[x509.Certificate, ...]] = lambda chain: chain
        """Applied to each issued chain before it goes out."""
        self.provisioners: list[dict[str, object]] = []
        self.token_renewal: tuple[PublicKey, tuple[str, ...]] = (
            keys.generate(KeyKind.EC_P256).public_key(),
            ("foo.local",),
        )
        """The key and names that a renewal by token is for: the token itself is not read."""
        self.url = ""

    @property
    def fingerprint(self) -> str:
        """The root's fingerprint."""
        return fingerprint(self.root)

    def leaf(
        self,
        key: PublicKey,
        *sans: str,
        life: timedelta = timedelta(hours=24),
        begin: datetime | None = None,
    ) -> tuple[x509.Certificate, ...]:
        """Issue a leaf for names; the first is the common name."""
        start = begin or datetime.now(UTC) - timedelta(minutes=1)
        request = IssuanceRequest(
            subject=names.subject(common=sans[0]),
            public_key=key,
            serial=random_serial(os.urandom),
            not_before=start,
            not_after=start + life,
            sans=names.parse_sans(sans),
        )
        profile = leaf_profile(longest=life)
        issuer = Issuer.from_certificate(self.intermediate)
        return (issue(prepare(profile, request, issuer), self._key), self.intermediate)

    def answer(self, path: str, body: dict[str, object], peer: x509.Certificate | None) -> Answer:
        """Answer as step-ca would, if it never refused anything."""
        override = self.overrides.get(path)
        if override is not None:
            return override() if callable(override) else override
        route = path.split("/")[1].partition("?")[0]
        if route in {"sign", "renew", "rekey"}:
            return self._issue(route, body, peer)
        fixed: dict[str, Answer] = {
            "health": (200, {"status": "ok"}),
            "version": (200, {"version": "0.30.2"}),
            "revoke": (200, {"status": "ok"}),
            "roots": (201, {"crts": chain_pem((self.root,))}),
            "federation": (201, {"crts": chain_pem((self.root,))}),
            "intermediates": (201, {"crts": chain_pem((self.intermediate,))}),
            "provisioners": (200, {"provisioners": self.provisioners, "nextCursor": ""}),
        }
        if path == f"/root/{self.fingerprint}":
            return 200, {"ca": certificate_pem(self.root).decode()}
        if path.endswith("/encrypted-key"):
            return 200, {"key": self.provisioners[0]["encryptedKey"]}
        return fixed.get(route, (404, {"status": 404, "message": "not found"}))

    def _issue(self, route: str, body: dict[str, object], peer: x509.Certificate | None) -> Answer:
        key, sans = self.token_renewal
        if peer is not None:
            key, sans = keys.certificate_key(peer), names.sans_of(peer.extensions).texts()
        if "csr" in body:
            csr = x509.load_pem_x509_csr(str(body["csr"]).encode())
            key = keys.csr_key(csr)
            sans = names.sans_of(csr.extensions).texts() if route == "sign" else sans
        chain = self.tamper(self.leaf(key, *sans))
        texts = chain_pem(chain)
        return 201, {"crt": texts[0], "ca": texts[-1], "certChain": texts}


@contextlib.contextmanager
def serving(ca: FakeCa, directory: Path) -> Iterator[FakeCa]:
    """Run a CA's server on a free port of loopback; ``ca.url`` says which."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def log_message(self, *arguments: object) -> None:
            """Stay silent."""

        def _serve(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(size)
            body = json.loads(raw) if raw else {}
            connection = self.connection
            assert isinstance(connection, ssl.SSLSocket)
            der = connection.getpeercert(binary_form=True)
            peer = x509.load_der_x509_certificate(der) if der else None
            ca.requests.append((self.command, self.path, body, dict(self.headers), peer))
            status, content = ca.answer(self.path, body, peer)
            encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response_only(status)
            for name, value in ca.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(encoded)))
            self.send_header("X-Request-Id", "request-1")
            if 300 <= status < 400:
                self.send_header("Location", "https://elsewhere.example/")
            self.end_headers()
            self.wfile.write(encoded)

    key = keys.generate(KeyKind.EC_P256)
    chain = ca.leaf(key.public_key(), "localhost", "127.0.0.1")
    pair = directory / "server.pem"
    pair.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate_pem(*chain),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    context.load_verify_locations(cadata=certificate_pem(ca.root, ca.intermediate).decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    server = _QuietServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    ca.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield ca
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _QuietServer(ThreadingHTTPServer):
    """A client that hangs up in the handshake is what some tests want; nobody needs to read about it."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""
