"""``online inspect`` and ``online fingerprint``: reading certificates in files, and those that a server shows."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from online import inspect as describing
from online.cli.certificate_source import CertificateSource, source_options
from online.cli.options import format_options, json_option
from shared import keys, terminal
from shared.pem import certificate_pem


@click.command()
@click.argument("crt", metavar="CRT")
@click.option("--short", is_flag=True, help="Only the main facts.")
@click.option("--bundle", is_flag=True, help="Show every certificate in the file, not only the first.")
@format_options("Text for people, JSON for programs, or the PEM itself.")
@source_options
def inspect(*, source: CertificateSource, crt: str, short: bool, bundle: bool, form: str) -> None:
    """Show what a certificate says.

    CRT is a file in PEM or DER, - for stdin, or the https:// address of a server. A file is not verified, whatever
    --roots says: see online verify. A server must lead to a trusted root and be who it should be, unless --insecure
    is given. With --format json, dates, names and extensions stand where step puts them.

    \b
    Examples:
      online inspect foo.crt
      online inspect --short foo.crt
      online inspect --format json foo.crt | jq .validity.end
      online inspect https://ca.acme.local:9000 --roots root_ca.crt --bundle
    """
    if short and form != "text":
        raise click.UsageError("--short is for the text format")
    found = source.chain(crt, now=datetime.now(UTC))
    chosen = found if bundle else found[:1]
    if form == "json":
        described = [describing.describe(each) for each in chosen]
        terminal.result_json(described if bundle else described[0])
    elif form == "pem":
        terminal.result(certificate_pem(*chosen).decode("ascii").rstrip("\n"))
    else:
        terminal.result("\n".join(describing.short(each) if short else describing.text(each) for each in chosen))


@click.command()
@click.argument("crt", metavar="CRT")
@click.option("--bundle", is_flag=True, help="Print one line for every certificate of CRT, not only for the first.")
@json_option
@source_options
def fingerprint(*, source: CertificateSource, crt: str, bundle: bool, as_json: bool) -> None:
    """Print the SHA-256 fingerprint of a certificate in hex.

    It is what online bootstrap, online init and online import want to know of a root. CRT is a file, - for stdin, or
    the https:// address of a server, which is then verified.

    \b
    Examples:
      online fingerprint root_ca.crt
      online fingerprint https://foo.local --bundle
    """
    found = source.chain(crt, now=datetime.now(UTC))
    prints = [keys.fingerprint(each) for each in (found if bundle else found[:1])]
    if as_json:
        terminal.result_json({"fingerprints": prints} if bundle else {"fingerprint": prints[0]})
    else:
        terminal.result("\n".join(prints))
