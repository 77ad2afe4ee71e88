"""``online install`` and ``online uninstall``: our root among those that every program of the machine trusts."""

from __future__ import annotations

from pathlib import Path

import click
from cryptography import x509

from online.cli.options import FILE, done, home_option
from online.home import Home
from online.trust_store import TrustStore
from shared import durable, terminal
from shared.errors import RequestRejected
from shared.keys import fingerprint
from shared.pem import load_certificates


def put_in(root: x509.Certificate) -> None:
    """Put a root into the machine's trust store, and say so."""
    done("Trusted by this machine", TrustStore().install(root))


@click.command()
@click.argument("root_file", metavar="[ROOT]", type=FILE, required=False)
@home_option
def install(*, home: Home, root_file: Path | None) -> None:
    """Make every program of this machine trust a root.

    ROOT is a file with the root's certificate; without it, the root that the home trusts. Needs root; uses the system's
    own update-ca-certificates or update-ca-trust. Programs with a trust store of their own (Firefox, Java) do not
    look there. Done again, it changes nothing.

    \b
    Examples:
      online install
      online install root_ca.crt
    """
    put_in(_root(home, root_file))


@click.command()
@click.argument("root_file", metavar="[ROOT]", type=FILE, required=False)
@home_option
def uninstall(*, home: Home, root_file: Path | None) -> None:
    """Take a root out of the trust store of this machine that online install put in.

    ROOT is a file with the root's certificate; without it, the root that the home trusts.

    \b
    Examples:
      online uninstall
      online uninstall root_ca.crt
    """
    root = _root(home, root_file)
    gone = TrustStore().uninstall(root)
    if gone is None:
        terminal.say(f"The root {fingerprint(root)} was not there; nothing changed.")
    else:
        done("Removed", gone)


def _root(home: Home, file: Path | None) -> x509.Certificate:
    path = file or home.root_certificate
    found = load_certificates(
        durable.read_file(path, if_missing="give the file of a root, or run online bootstrap once"),
        what=f"file {path}",
    )
    if len(found) != 1:
        raise RequestRejected(
            "trust-store.several",
            f"{path} holds {len(found)} certificates",
            hint="put each root into a file of its own",
        )
    return found[0]
