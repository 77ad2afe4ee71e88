"""Commands about a CA as a whole: trust in it, its roots, its health."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from cryptography import x509

from online import trust
from online.cli.options import FILE, Where, done, force_option, home_option, json_option, where_options
from online.cli.trust_store import put_in
from online.client import fetch_root
from online.home import Home, load_defaults
from online.https import parse_ca_url
from online.renewal.install import check_output, install_certificate
from online.trust_store import TrustStore
from shared import keys, terminal
from shared.errors import RequestRejected
from shared.names import format_name
from shared.pem import certificate_pem


@click.command()
@click.option("--ca-url", required=True, metavar="URL", help="Address of the CA.")
@click.option("--fingerprint", required=True, help="SHA-256 fingerprint of its root, from somebody you trust.")
@click.option(
    "--install", is_flag=True, help="Also make every program of this machine trust it; see online install. Needs root."
)
@force_option("Replace the trust in another CA.")
@home_option
def bootstrap(*, home: Home, ca_url: str, fingerprint: str, install: bool, force: bool) -> None:
    """Make this machine trust a CA, by the fingerprint of its root.

    Fetches the root, checks it against the fingerprint, and writes certs/root_ca.crt and config/defaults.json into
    the home; the other commands then know address and root. Done again, it changes nothing.

    \b
    Example:
      online bootstrap --ca-url https://ca.acme.local:9000 --fingerprint 8cae…e532
      sudo online bootstrap --ca-url https://ca.acme.local:9000 --fingerprint 8cae…e532 --install
    """
    if install:
        TrustStore().check()
    found = trust.bootstrap(home, ca_url=ca_url, wanted=fingerprint, force=force)
    terminal.say(f"The root certificate has been saved in {home.root_certificate}.")
    terminal.say(f"The authority configuration has been saved in {home.defaults}.")
    if install:
        put_in(found)


@click.command()
@click.argument("root_file", metavar="[FILE]", type=FILE, required=False)
@click.option("--ca-url", metavar="URL", help="Address of the CA, instead of the home's.")
@click.option("--fingerprint", help="SHA-256 fingerprint of the root. [default: the pinned one]")
@json_option
@force_option("Replace FILE.")
@home_option
def root(
    *,
    home: Home,
    root_file: Path | None,
    ca_url: str | None,
    fingerprint: str | None,
    as_json: bool,
    force: bool,
) -> None:
    """Fetch a CA's root by its fingerprint, and print it or write it to FILE.

    \b
    Example:
      online root root_ca.crt --ca-url https://ca.acme.local:9000 --fingerprint 8cae…e532
    """
    defaults = load_defaults(home)
    address, wanted = ca_url or defaults.ca_url, fingerprint or defaults.fingerprint
    if address is None or wanted is None:
        raise RequestRejected(
            "trust.no-root", "the CA and the root's fingerprint are not known", hint="give --ca-url and --fingerprint"
        )
    if root_file is not None:
        check_output(root_file, overwrite=force)
    _hand_over((fetch_root(parse_ca_url(address), wanted),), root_file, as_json=as_json, force=force)


@click.command()
@click.argument("roots_file", metavar="[FILE]", type=FILE, required=False)
@json_option
@force_option("Replace FILE.")
@where_options
def roots(*, where: Where, roots_file: Path | None, as_json: bool, force: bool) -> None:
    """Fetch the roots of a CA, over a connection that is trusted already.

    \b
    Example:
      online roots roots.crt
    """
    if roots_file is not None:
        check_output(roots_file, overwrite=force)
    found = where.trust().client().roots()
    _hand_over(found, roots_file, as_json=as_json, force=force)


@click.command()
@click.argument("roots_file", metavar="[FILE]", type=FILE, required=False)
@json_option
@force_option("Replace FILE.")
@where_options
def federation(*, where: Where, roots_file: Path | None, as_json: bool, force: bool) -> None:
    """Fetch the roots of a CA and of those that it is federated with.

    \b
    Example:
      online federation --json
    """
    if roots_file is not None:
        check_output(roots_file, overwrite=force)
    found = where.trust().client().federation()
    _hand_over(found, roots_file, as_json=as_json, force=force)


@click.command()
@json_option
@where_options
def health(*, where: Where, as_json: bool) -> None:
    """Ask a CA whether it is well; prints ok.

    \b
    Example:
      online health --ca-url https://ca.acme.local:9000
    """
    status = where.trust().client().health()
    if as_json:
        terminal.result_json({"status": status})
    else:
        terminal.result(status)
    if status != "ok":
        raise SystemExit(1)


@click.command()
@json_option
@where_options
def version(*, where: Where, as_json: bool) -> None:
    """Ask a CA for its version.

    That of this program is printed by online --version.

    \b
    Example:
      online version --json
    """
    found = where.trust().client().version()
    if as_json:
        terminal.result_json({"version": found})
    else:
        terminal.result(found)


@click.command(hidden=True)
@home_option
def path(*, home: Home) -> None:
    """Print the home directory, for scripts that are written for step: $(online path)/config/ca.json.

    \b
    Example:
      online path
    """
    terminal.result(str(home.path))


def _hand_over(found: Sequence[x509.Certificate], file: Path | None, *, as_json: bool, force: bool) -> None:
    if file is not None:
        install_certificate(file, found, overwrite=force)
        done("Certificates", file)
    if as_json:
        terminal.result_json([_entry(each) for each in found])
    elif file is None:
        terminal.result(certificate_pem(*found).decode("ascii").rstrip("\n"))


def _entry(certificate: x509.Certificate) -> dict[str, str]:
    return {
        "subject": format_name(certificate.subject),
        "fingerprint": keys.fingerprint(certificate),
        "pem": certificate_pem(certificate).decode("ascii"),
    }
