"""``online crl``: the revocation list, of the home's CA or of any place."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from online import crl_reading
from online.cli.options import FILE, Where, done, force_option, format_options, where_options
from online.crl_fetch import fetch, is_url
from online.issued import is_signed_by
from online.trust import Trust
from online.trust_anchors import load_roots
from shared import durable, terminal
from shared.issue import Issuer
from shared.pem import LARGEST_CRL_BYTES, load_certificates, load_crl

_SHOWN = 20


@click.command()
@click.option("--inspect", "place", metavar="FILE|URL", help="Look at this list instead of the CA's; - for stdin.")
@click.option(
    "--issuer", "issuer_file", type=FILE, help="File with the certificate of the CA that must have signed it."
)
@click.option(
    "--output-file", type=FILE, help="Also write the list to this file: in PEM when its name ends so, or DER."
)
@click.option("--all", "everything", is_flag=True, help=f"Show every entry, not the first {_SHOWN} only.")
@format_options("What to print: the facts, for people or programs, or the list itself.")
@force_option("Replace the output file.")
@where_options
def crl(
    *,
    where: Where,
    place: str | None,
    issuer_file: Path | None,
    output_file: Path | None,
    everything: bool,
    form: str,
    force: bool,
) -> None:
    """Fetch a revocation list, verify it, and show what it says.

    Without --inspect it is the list of the home's CA. Its signature is verified under the CA's intermediates, and it
    must be in force; otherwise the command fails. With --inspect, FILE is in PEM or DER, and URL is where a certificate
    says that its list is; the signature is verified when --issuer names the CA. The JSON has the names that step crl
    inspect prints.

    \b
    Examples:
      online crl
      online crl --json | jq '.revoked_certificates | length'
      online crl --inspect http://ca.acme.local/1.0/crl --issuer intermediate_ca.crt
      online crl --output-file ca.crl
    """
    now = datetime.now(UTC)
    if place is None:
        trust = where.trust()
        data = trust.client().crl()
        issuers: tuple[x509.Certificate, ...] | None = _issuers_of(trust)
    else:
        data, issuers = _read(place, where), None
    if issuer_file is not None:
        issuers = load_certificates(durable.read_file(issuer_file), what=f"file {issuer_file}")
    found = load_crl(data)
    issuer = None if issuers is None else crl_reading.verify(found, issuers, now=now)
    if output_file is not None:
        _write(output_file, found, force=force)
    if form == "json":
        terminal.result_json(crl_reading.describe(found, issuer=issuer, now=now))
    elif form == "pem":
        terminal.result(found.public_bytes(Encoding.PEM).decode("ascii").rstrip("\n"))
    else:
        most = len(found) if everything else _SHOWN
        terminal.result(crl_reading.text(found, issuer=issuer, now=now, most=most))


def _read(place: str, where: Where) -> bytes:
    if place == "-":
        return sys.stdin.buffer.read(LARGEST_CRL_BYTES + 1)
    if is_url(place):
        roots = str(where.root) if where.root is not None else None
        return fetch(place, roots=load_roots(roots, where.home) if place.lower().startswith("https:") else ())
    return durable.read_file(Path(place), limit=2 * LARGEST_CRL_BYTES)


def _issuers_of(trust: Trust) -> tuple[x509.Certificate, ...]:
    """Return the CA's intermediates, as far as a trusted root signed them."""
    roots = tuple(map(Issuer.from_certificate, trust.roots))
    intermediates = trust.client().intermediates()
    return tuple(each for each in intermediates if any(is_signed_by(each, root) for root in roots))


def _write(path: Path, found: x509.CertificateRevocationList, *, force: bool) -> None:
    encoding = Encoding.PEM if path.suffix.lower() == ".pem" else Encoding.DER
    content = found.public_bytes(encoding)
    if force:
        durable.replace(path, content)
    else:
        durable.write_new(path, content)
    done("Revocation list", path)
