"""The ``online`` command line.

Invariants: a command's file is imported only when that command runs, so a machine without the ``online`` extra can
still show help and inspect certificates, and is told in one line what to install for the rest; every error is one
line and an exit status (``shared.command``).
"""

from __future__ import annotations

import gc
import importlib
from pathlib import Path
from typing import Any, NoReturn

import click

from shared.command import Group

INSTALL = "python3 -m pip install 'coldroot[online]'"
_EXTRA = frozenset(
    {"OpenSSL", "aiohttp", "alembic", "asyncmy", "asyncpg", "httptools", "jwt", "prometheus_client", "sqlalchemy"}
)

# The order is the order of a first day with the node: make it, run it, use it, look at it.
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("establish", "init", "Make an issuing node and the request for its certificate."),
    "import": ("establish", "import_reply", "Install the certificates that the ceremony sent back."),
    "import-step": ("import_step", "import_step", "Tell what of a step-ca installation comes along."),
    "config": ("config", "config", "Look at a node's configuration, its ca.json."),
    "db": ("db", "db", "Look after the node's database: upgrade, check, backup, restore, prune."),
    "intermediate": ("intermediate", "intermediate", "Change the intermediate of a node that is in use."),
    "serve": ("serve", "serve", "Run the issuing node until it is told to stop."),
    "bootstrap": ("trust", "bootstrap", "Make this machine trust a CA, by the fingerprint of its root."),
    "install": ("trust_store", "install", "Make every program of this machine trust a root."),
    "uninstall": ("trust_store", "uninstall", "Take a root out of this machine's trust store again."),
    "token": ("token", "token", "Mint a one-time token."),
    "certificate": ("certificate", "certificate", "Get a new key and a certificate for it."),
    "sign": ("certificate", "sign", "Get a certificate for a request (CSR) whose key was made elsewhere."),
    "renew": ("renew", "renew", "Renew a certificate before it ends: once, or for as long as it is needed."),
    "rekey": ("rekey", "rekey", "Renew a certificate for a new key."),
    "revoke": ("revoke", "revoke", "Revoke a certificate: it is not renewed any more."),
    "list": ("list", "list_certificates", "List the certificates that were issued here, the newest first."),
    "inspect": ("inspect", "inspect", "Show what a certificate says."),
    "fingerprint": ("inspect", "fingerprint", "Print the SHA-256 fingerprint of a certificate in hex."),
    "verify": ("certificate_tools", "verify", "Verify that a certificate leads to a trusted root."),
    "needs-renewal": ("certificate_tools", "needs_renewal", "Tell by the exit status whether renewal is due."),
    "p12": ("certificate_tools", "p12", "Put a certificate and its key into a PKCS#12 file."),
    "crl": ("crl", "crl", "Fetch a revocation list, verify it, and show what it says."),
    "change-pass": ("change_pass", "change_pass", "Change the password of a private key file."),
    "jwt": ("jwt", "jwt", "Look at a JSON Web Token, or verify it."),
    "root": ("trust", "root", "Fetch a CA's root by its fingerprint, and print it or write it to FILE."),
    "roots": ("trust", "roots", "Fetch the roots of a CA, over a connection that is trusted already."),
    "federation": ("trust", "federation", "Fetch the roots of a CA and of those that it is federated with."),
    "health": ("trust", "health", "Ask a CA whether it is well; prints ok."),
    "version": ("trust", "version", "Ask a CA for its version."),
    "provisioner": ("provisioner", "provisioner", "Look at the provisioners of a CA, or manage a node's."),
    "authority": ("authority", "authority", "Have provisioners and policy in the database, for all nodes at once."),
    "policy": ("policy", "policy", "Ask a policy which rule decides, or test it."),
    "systemd": ("systemd", "systemd", "Print or install unit files: the node, renewals."),
}

# Spellings for hands that are used to step; not listed in the help.
_HIDDEN: dict[str, tuple[str, str, str]] = {
    "crypto": ("crypto", "crypto", "The same as online change-pass and online jwt."),
    "path": ("trust", "path", "Print the home directory."),
}


class MissingExtra(click.ClickException):
    """The command needs what only the ``online`` extra installs."""

    exit_code = 2


class LazyGroup(Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the table."""
        del ctx
        # Not list(…): the module of the command of that name becomes an attribute of this package once it is imported.
        return [*_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; without the extra, return one that says what to install."""
        del ctx
        known = _COMMANDS | _HIDDEN
        if cmd_name not in known:
            return None
        module, attribute, summary = known[cmd_name]
        # Nothing of what is loaded is garbage, and to look for some takes a sixth of the time.
        gc.disable()
        try:
            command = getattr(importlib.import_module(f"online.cli.{module}"), attribute)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in _EXTRA:
                raise
            return _unavailable(cmd_name, summary, missing)
        finally:
            gc.enable()
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them all."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in _COMMANDS.items()])


def _unavailable(name: str, summary: str, missing: str) -> click.Command:
    @click.command(
        name=name, short_help=summary, context_settings={"ignore_unknown_options": True}, add_help_option=False
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def unavailable(**arguments: Any) -> NoReturn:
        del arguments
        raise MissingExtra(f"online {name} needs the package {missing}; install it with: {INSTALL}")

    return unavailable


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Home directory of this CA or client; also COLDROOT_HOME. [default: ~/.coldroot]",
)
@click.version_option(package_name="coldroot", message="%(package)s %(version)s")
def cli(home: Path | None) -> None:
    """Run an issuing node, and get, renew and revoke its certificates.

    The client commands also work against a step-ca. The home directory is laid out like step's STEPPATH.
    Results go to stdout, all talk to stderr. Exit status: 0 done, 1 refused or failed, 2 wrong usage,
    unless a command's own help says otherwise.

    \b
    A first day, after a root exists (see: ceremony --help):
      online init --name Acme --dns ca.acme.local --address :9000 --fingerprint HEX
      ceremony intermediate sign …          (on the offline machine)
      online import crossing/reply-*.png
      online serve
      online token foo.local --output-file foo.token
      online certificate foo.local foo.crt foo.key --token-file foo.token
      online renew foo.crt foo.key

    \b
    Completion of commands and options in bash (zsh and fish likewise):
      eval "$(_ONLINE_COMPLETE=bash_source online)"
    """
    # Read again by online.cli.options.home_option, which each command has for itself.
    del home
