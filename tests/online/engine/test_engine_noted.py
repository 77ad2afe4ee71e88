"""What an operator sees of handshakes that came to nothing."""

from __future__ import annotations

import contextlib
import socket
from datetime import UTC, datetime
from pathlib import Path

from fakes.hierarchy import make_pki
from fakes.live import live
from fakes.tls import foreign_leaf

from online.engine import Refusal
from online.metrics.exposition import Picture, expose
from online.metrics.meter import Meter


def test_a_refused_handshake_is_one_line_with_its_reason_and_none_of_its_bytes(tmp_path: Path) -> None:
    """Without this, whoever is asked why a client cannot connect would find nothing, or what a stranger wrote."""
    with live(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
            plain.sendall(b"GET /c4n4ry HTTP/1.1\r\n\r\n")
            assert plain.recv(4096).startswith(b"HTTP/1.1 400 ")
        other = make_pki(now=datetime.now(UTC))
        leaf, key = foreign_leaf(other.intermediate, other.intermediate_key)
        with contextlib.suppress(OSError):
            server.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", server.context((leaf,), key))
        assert server.request("GET", "/health").status == 200
        noted = [line.partition(" ")[2] for line in server.lines if "handshake" in line]
    assert noted == [
        "TLS handshake refused: remote=127.0.0.1 reason=plain-http (http request)",
        "TLS handshake refused: remote=127.0.0.1 reason=unknown-ca (certificate verify failed)",
    ]


def test_refused_handshakes_are_counted_by_their_reason() -> None:
    """Without this, a fleet whose clients all fail in the handshake would look like one that sleeps."""
    meter = Meter()
    for refusal in (Refusal.EXPIRED, Refusal.EXPIRED, Refusal.TIMEOUT):
        meter.handshake_refused(refusal)
    shown, _ = expose(Picture(tally=meter.tally, workers=1, uptime=1.0, version="1", census=None), "")
    lines = shown.decode().splitlines()
    assert 'coldroot_tls_handshakes_refused_total{reason="certificate-expired"} 2.0' in lines
    assert 'coldroot_tls_handshakes_refused_total{reason="timeout"} 1.0' in lines
