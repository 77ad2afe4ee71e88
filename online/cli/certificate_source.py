"""Where a command finds the certificates that it looks at: a file, stdin, or a TLS server."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from online.cli.options import home_option
from online.home import Home
from online.path_validation import check_host, validate_path
from online.peer_chain import fetch_chain, parse_tls_address
from online.trust_anchors import load_roots
from shared import durable
from shared.pem import LARGEST_OBJECT_BYTES, MOST_CERTIFICATES, load_certificates

Chain = tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSource:
    """How the certificates of a server are fetched and judged. Those of a file are only read."""

    home: Home
    roots: str | None
    server_name: str | None
    insecure: bool

    def chain(self, place: str, *, now: datetime, ended_is_fine: bool = False) -> Chain:
        """Read certificates, leaf first.

        Args:
            place: a path, ``-`` for stdin, or the address of a TLS server.
            now: aware UTC; a server's chain must hold at this time.
            ended_is_fine: judge a server's chain as of the leaf's last moment, when that is over.

        Raises:
            RequestRejected: ``file.*``, ``pem.*``, ``certificate.malformed``, ``tls-address.malformed``, ``path.*``.
            PeerFailed: ``tls.*``.
        """
        if place == "-":
            # One byte more than is accepted, so that too much is refused and not cut off.
            return load_certificates(sys.stdin.buffer.read(LARGEST_OBJECT_BYTES * MOST_CERTIFICATES + 1), what="input")
        address = parse_tls_address(place)
        if address is None:
            return load_certificates(durable.read_file(Path(place)), what=f"file {place}")
        chain = fetch_chain(address, server_name=self.server_name)
        if not self.insecure:
            moment = min(now, chain[0].not_valid_after_utc) if ended_is_fine else now
            validate_path(chain[0], chain[1:], load_roots(self.roots, self.home), now=moment)
            check_host(chain[0], self.server_name or address.host)
        return chain


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--roots``, ``--servername``, ``--insecure``, ``--home``; the command gets a ``CertificateSource``."""

    @functools.wraps(command)
    def collected(*, home: Home, roots: str | None, server_name: str | None, insecure: bool, **others: Any) -> None:
        source = CertificateSource(home=home, roots=roots, server_name=server_name, insecure=insecure)
        command(source=source, **others)

    decorated = home_option(collected)
    decorated = click.option("--insecure", is_flag=True, help="Look at a server's certificate unverified.")(decorated)
    decorated = click.option(
        "--servername", "server_name", metavar="NAME", help="Name to ask a server for. [default: that of its address]"
    )(decorated)
    return click.option(
        "--roots",
        metavar="FILE",
        help="Roots that a server must lead to: a file, files with commas between, or a folder. "
        "[default: the home's root, else the system's]",
    )(decorated)
