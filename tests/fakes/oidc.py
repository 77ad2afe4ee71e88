"""An OpenID Connect issuer: its keys, its documents, ID tokens of every kind; and one that serves over loopback TLS."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fakes.hierarchy import Pki, make_pki
from fakes.leaves import sloppy_leaf
from fakes.tokens import NOW, forge

from online.jose.jwk import PrivateJwk
from online.oidc_discovery import WELL_KNOWN
from online.provisioners.oidc import OidcProvisioner
from shared.errors import PeerFailed
from shared.keys import KeyKind, generate
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

ISSUER = "https://accounts.example.com"
ENDPOINT = ISSUER + WELL_KNOWN
CLIENT = "8a7f-client"


def oidc_provisioner(**changes: Any) -> OidcProvisioner:
    """Return an OIDC provisioner, by default one that lets everybody of the issuer in."""
    return OidcProvisioner(**{"name": "people", "client_id": CLIENT, "endpoint": ENDPOINT, **changes})


def id_claims(**changes: object) -> dict[str, object]:
    """Return the claims of a good ID token with changes; a change to ``...`` removes the claim."""
    moment = int(NOW.timestamp())
    good: dict[str, object] = {
        "iss": ISSUER,
        "aud": CLIENT,
        "sub": "248289761001",
        "exp": moment + 3600,
        "iat": moment,
        "nonce": "n-0S6_WzA2Mj",
        "email": "jane@example.com",
        "email_verified": True,
        **changes,
    }
    return {name: value for name, value in good.items() if value is not ...}


@dataclass(kw_only=True)
class FakeIssuer:
    """An issuer whose documents can be changed; ``fetch`` counts who asks for what."""

    signers: list[PrivateJwk] = field(default_factory=lambda: [PrivateJwk.of(generate(KeyKind.EC_P256))])
    issuer: str = ISSUER
    document: dict[str, object] = field(default_factory=dict)
    """Changes to the configuration document."""
    extra_keys: list[Any] = field(default_factory=list)
    """Further entries of the key set, whatever they are."""
    down: bool = False
    asked: list[str] = field(default_factory=list)

    def documents(self) -> Mapping[str, bytes]:
        """Return what is served, by URL."""
        algorithms = sorted({each.algorithm for each in self.signers})
        configuration = {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": algorithms,
            **self.document,
        }
        keys = [*(each.public().to_json() for each in self.signers), *self.extra_keys]
        return {
            self.issuer + WELL_KNOWN: json.dumps(configuration).encode(),
            f"{self.issuer}/keys": json.dumps({"keys": keys}).encode(),
        }

    def fetch(self, url: str) -> bytes:
        """Answer as ``online.oidc_fetch`` does."""
        self.asked.append(url)
        if self.down:
            raise PeerFailed("oidc.unreachable", "the issuer is down")
        return self.documents()[url]

    def token(
        self, signer: PrivateJwk | None = None, *, head: Mapping[str, object] | None = None, **claims: object
    ) -> str:
        """Sign an ID token; ``claims`` are changes to ``id_claims``, ``head`` to the header."""
        chosen = signer or self.signers[0]
        header = {"alg": chosen.algorithm, "kid": chosen.kid, "typ": "JWT", **(head or {})}
        return forge(
            id_claims(**{"iss": self.issuer, **claims}),
            {name: value for name, value in header.items() if value is not ...},
            key=chosen.key,
            algorithm=chosen.algorithm,
        )


@contextlib.contextmanager
def serving(
    issuer: FakeIssuer, directory: Path, answers: Mapping[str, tuple[int, dict[str, str], bytes]] | None = None
) -> Iterator[tuple[str, Path, Pki]]:
    """Serve an issuer over TLS on loopback; its name becomes the address.

    Args:
        issuer: whose documents.
        directory: gets the certificate files.
        answers: by path, what to answer instead: status, headers, body.

    Yields:
        The issuer's address, the file of the root to trust, and its CA.
    """
    now = datetime.now(UTC)
    pki = make_pki(now=now)
    key = generate(KeyKind.EC_P256)
    leaf = sloppy_leaf(
        pki,
        public_key=key.public_key(),
        common="localhost",
        san="localhost",
        not_before=now - timedelta(minutes=5),
        not_after=now + timedelta(hours=1),
    )
    pair = directory / "issuer.pem"
    pair.write_bytes(certificate_pem(leaf, pki.intermediate) + private_key_pem(key, None))
    root = directory / "issuer_root.pem"
    root.write_bytes(certificate_pem(pki.root))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            known = {url.removeprefix(issuer.issuer): body for url, body in issuer.documents().items()}
            status, headers, body = (answers or {}).get(self.path) or (
                (200, {}, known[self.path]) if self.path in known else (404, {}, b"{}")
            )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    issuer.issuer = f"https://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield issuer.issuer, root, pki
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
