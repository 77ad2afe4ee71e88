"""Clients of several nodes over one database: alone, in a race for one token, and many while something breaks."""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPException, HTTPSConnection
from itertools import count as count_from
from itertools import cycle
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.hierarchy import PROVISIONER, make_csr
from fakes.node import NodeHome

from online.provisioners.protocol import Operation
from online.store.rows import serial_text
from online.tokens import audience, mint_revoke_token, mint_sign_token
from shared.keys import KeyKind, PrivateKey, generate
from shared.keystore import private_key_pem
from shared.pem import load_certificates

Answer = tuple[int, bytes]
"""Status and body. The status is 0 when no answer came."""

_PATIENCE = 40.0
_EACH = 3
"""Of so many certificates one is revoked."""


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A certificate that a client holds, and its key."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    @property
    def serial(self) -> str:
        """Its number, as the tables write it."""
        return serial_text(self.certificate.serial_number)


@dataclass(frozen=True, kw_only=True)
class Client:
    """Somebody who holds the provisioner's key. The nodes are named by their ports."""

    home: NodeHome
    directory: Path
    """For keys that the TLS library wants to read from files."""

    def ask(self, port: int, path: str, body: object = None, *, leaf: Leaf | None = None) -> Answer:
        """Send a request on a connection of its own; return status and body.

        Raises:
            OSError, HTTPException: no answer came.
        """
        context = ssl.create_default_context(cafile=str(self.home.root))
        if leaf is not None:
            context.load_cert_chain(self._file(leaf))
        connection = HTTPSConnection("localhost", port, timeout=_PATIENCE, context=context)
        try:
            method, sent = ("GET", None) if path == "/health" else ("POST", json.dumps(body or {}))
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def request(self, name: str, key: PrivateKey) -> dict[str, str]:
        """Return what asks for a certificate, with a new token."""
        token = mint_sign_token(
            self.home.signer,
            issuer=PROVISIONER,
            audience=audience("https://localhost", Operation.SIGN),
            subject=name,
            sans=[],
            root_fingerprint=self.home.fingerprint,
            now=datetime.now(UTC),
            rng=os.urandom,
        )
        return {"csr": make_csr(name, key=key).public_bytes(Encoding.PEM).decode(), "ott": token}

    def leaf(self, port: int, name: str) -> Leaf:
        """Get a certificate.

        Raises:
            AssertionError: it was refused.
        """
        key = generate(KeyKind.EC_P256)
        status, answer = self.ask(port, "/1.0/sign", self.request(name, key))
        assert status == 201, answer
        return Leaf(certificate=load_certificates(json.loads(answer)["crt"].encode())[0], key=key)

    def renew(self, port: int, leaf: Leaf) -> int:
        """Return the status that a renewal gets, proved by the certificate in the TLS handshake."""
        return self.ask(port, "/1.0/renew", leaf=leaf)[0]

    def revoke(self, port: int, leaf: Leaf) -> int:
        """Return the status that a revocation gets."""
        serial = leaf.certificate.serial_number
        token = mint_revoke_token(
            self.home.signer,
            issuer=PROVISIONER,
            audience=audience("https://localhost", Operation.REVOKE),
            serial=serial,
            root_fingerprint=self.home.fingerprint,
            now=datetime.now(UTC),
            rng=os.urandom,
        )
        body = {"serial": str(serial), "ott": token, "passive": True, "reasonCode": 0, "reason": ""}
        return self.ask(port, "/1.0/revoke", body)[0]

    def _file(self, leaf: Leaf) -> Path:
        path = self.directory / f"{leaf.serial}.pem"
        if not path.exists():
            written = path.with_suffix(f".{threading.get_ident()}")
            written.touch(mode=0o600)
            written.write_bytes(
                leaf.certificate.public_bytes(Encoding.PEM)
                + (self.home.path / "certs" / "intermediate_ca.crt").read_bytes()
                + private_key_pem(leaf.key, None)
            )
            written.replace(path)
        return path


def race(client: Client, ports: Sequence[int], *, threads: int, tokens: int) -> list[Counter[int]]:
    """Let so many threads use the same token at the same time, one token after the other; count the answers to each."""
    key = generate(KeyKind.EC_P256)
    requests = [client.request(f"race-{number}.example.com", key) for number in range(tokens)]
    seen: list[Counter[int]] = [Counter() for _ in requests]
    start, lock = threading.Barrier(threads), threading.Lock()

    def run(port: int) -> None:
        for number, request in enumerate(requests):
            start.wait(_PATIENCE)
            status = client.ask(port, "/1.0/sign", request)[0]
            with lock:
                seen[number][status] += 1

    racers = [threading.Thread(target=run, args=(port,)) for port, _ in zip(cycle(ports), range(threads), strict=False)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(_PATIENCE * tokens)
    return seen


@dataclass(kw_only=True)
class Crowd:
    """Clients that get certificates, renew each, and revoke some, for as long as they are let."""

    client: Client
    ports: Sequence[int]
    issued: dict[str, str] = field(default_factory=dict)
    """By the serials of the certificates that were handed out: for whom; the same one never twice."""
    revoked: list[Leaf] = field(default_factory=list)
    """Those whose revocation was acknowledged."""
    statuses: Counter[int] = field(default_factory=Counter)
    """All answers. 0: none came, for the connection was refused or broke."""
    tries: list[int] = field(default_factory=list)
    """How often each certificate was asked for, until it came."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_for_more(self, count: int, *, seconds: float = 60.0) -> None:
        """Wait until so many more certificates were handed out.

        Raises:
            AssertionError: they were not.
        """
        wanted, until = len(self.issued) + count, time.monotonic() + seconds
        while len(self.issued) < wanted:
            assert time.monotonic() < until, f"no certificate comes any more; the answers were {self.statuses}"
            time.sleep(0.02)

    def wait_for(self, status: int, *, seconds: float = 60.0) -> None:
        """Wait until one more answer has a status.

        Raises:
            AssertionError: none had.
        """
        wanted, until = self.statuses[status] + 1, time.monotonic() + seconds
        while self.statuses[status] < wanted:
            assert time.monotonic() < until, f"no {status} comes; the answers were {self.statuses}"
            time.sleep(0.02)

    @contextmanager
    def at_work(self, *, threads: int = 4) -> Iterator[None]:
        """Let them work until the block ends."""
        over = threading.Event()
        workers = [threading.Thread(target=self._work, args=(over, number)) for number in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            over.set()
            for worker in workers:
                worker.join(2 * _PATIENCE)
        assert not any(worker.is_alive() for worker in workers)

    def _work(self, over: threading.Event, number: int) -> None:
        key = generate(KeyKind.EC_P256)
        ports = cycle([*self.ports[number % len(self.ports) :], *self.ports[: number % len(self.ports)]])
        for count in count_from(1):
            name = f"{os.urandom(6).hex()}.example.com"
            # A new token for each attempt: whether one that broke has used its token up is unknown.
            leaf = self._until_issued(over, ports, key, partial(self._sign, name, key))
            if leaf is not None:
                self._note(leaf, name)
                leaf = self._until_issued(over, ports, key, partial(self.client.ask, path="/1.0/renew", leaf=leaf))
            if leaf is None:
                return
            self._note(leaf, f"{name}, renewed")
            if count % _EACH == 0 and self._counted(partial(self._revoke, next(ports), leaf))[0] == 200:
                with self._lock:
                    self.revoked.append(leaf)

    def _note(self, leaf: Leaf, name: str) -> None:
        with self._lock:
            self.issued[leaf.serial] = name

    def _until_issued(
        self, over: threading.Event, ports: Iterator[int], key: PrivateKey, ask: Callable[[int], Answer]
    ) -> Leaf | None:
        for tries in count_from(1):
            if over.is_set():
                return None
            status, body = self._counted(partial(ask, next(ports)))
            if status == 201:
                with self._lock:
                    self.tries.append(tries)
                return Leaf(certificate=load_certificates(json.loads(body)["crt"].encode())[0], key=key)
            time.sleep(0.05)
        raise AssertionError

    def _sign(self, name: str, key: PrivateKey, port: int) -> Answer:
        return self.client.ask(port, "/1.0/sign", self.client.request(name, key))

    def _revoke(self, port: int, leaf: Leaf) -> Answer:
        return self.client.revoke(port, leaf), b""

    def _counted(self, ask: Callable[[], Answer]) -> Answer:
        try:
            answer = ask()
        except (OSError, HTTPException):
            answer = 0, b""
        with self._lock:
            self.statuses[answer[0]] += 1
        return answer
