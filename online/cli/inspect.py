"""``online inspect`` and ``online fingerprint``: reading certificates in files. Neither needs the network."""

from __future__ import annotations

from pathlib import Path

import click

from online import inspect as describing
from online.cli.options import FILE, json_option
from shared import durable, keys, terminal
from shared.errors import RequestRejected
from shared.pem import certificate_pem, load_certificates


@click.command()
@click.argument("crt_file", metavar="CRT", type=FILE)
@click.option("--short", is_flag=True, help="Only the main facts.")
@click.option("--bundle", is_flag=True, help="Show every certificate in the file, not only the first.")
@click.option("--format", "form", type=click.Choice(["text", "json", "pem"]), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def inspect(*, crt_file: Path, short: bool, bundle: bool, form: str, as_json: bool) -> None:
    """Show what a certificate says. Nothing is verified.

    CRT is in PEM or DER. With --format json, dates, names and extensions stand where step puts them.

    \b
    Examples:
      online inspect foo.crt
      online inspect --short foo.crt
      online inspect --format json foo.crt | jq .validity.end
    """
    if as_json:
        form = "json"
    if short and form != "text":
        raise click.UsageError("--short is for the text format")
    found = load_certificates(durable.read_file(crt_file), what=f"file {crt_file}")
    chosen = found if bundle else found[:1]
    if form == "json":
        described = [describing.describe(each) for each in chosen]
        terminal.result_json(described if bundle else described[0])
    elif form == "pem":
        terminal.result(certificate_pem(*chosen).decode("ascii").rstrip("\n"))
    else:
        terminal.result("\n".join(describing.short(each) if short else describing.text(each) for each in chosen))


@click.command()
@click.argument("crt_file", metavar="CRT", type=FILE)
@click.option("--bundle", is_flag=True, help="Print one line for every certificate in the file.")
@json_option
def fingerprint(*, crt_file: Path, bundle: bool, as_json: bool) -> None:
    """Print the SHA-256 fingerprint of a certificate in hex.

    It is what online bootstrap, online init and online import want to know of a root.

    \b
    Example:
      online fingerprint root_ca.crt
    """
    found = load_certificates(durable.read_file(crt_file), what=f"file {crt_file}")
    if len(found) > 1 and not bundle:
        raise RequestRejected(
            "fingerprint.several", f"{crt_file} holds {len(found)} certificates", hint="give --bundle to print each"
        )
    prints = [keys.fingerprint(each) for each in found]
    if as_json:
        terminal.result_json({"fingerprints": prints} if bundle else {"fingerprint": prints[0]})
    else:
        terminal.result("\n".join(prints))
