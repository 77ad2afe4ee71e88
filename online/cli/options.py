"""Options that several commands share, each in one wording."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from online.config import Config
from online.home import Home, choose_home
from online.key_choice import choose_key
from online.provisioners.protocol import Operation
from online.signer import Minter, offline_minter, online_minter
from online.trust import TokenHint, Trust, resolve
from shared import durable, terminal
from shared.errors import RequestRejected
from shared.terminal import SecretCallback

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
"""A path; whether it may exist is decided where it is opened, with a better message."""


def _home(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Home:
    del parameter
    return choose_home(value or ctx.find_root().params.get("home"), os.environ, Path.home())


def home_option(command: _Decorated) -> _Decorated:
    """Add ``--home``; the command gets a ``Home`` as ``home``."""
    return click.option(
        "--home",
        type=FILE,
        callback=_home,
        expose_value=True,
        help="Home directory; also COLDROOT_HOME. [default: ~/.coldroot]",
    )(command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which CA a command speaks to: the home, and the options that win over its defaults."""

    home: Home
    ca_url: str | None
    root: Path | None

    def trust(self, token: TokenHint | None = None) -> Trust:
        """Resolve it; see ``online.trust.resolve``."""
        return resolve(self.home, ca_url=self.ca_url, root=self.root, token=token)


def where_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--home``, ``--ca-url`` and ``--root``; the command gets a ``Where`` as ``where``."""

    @functools.wraps(command)
    def collected(*, home: Home, ca_url: str | None, root: Path | None, **others: Any) -> None:
        command(where=Where(home=home, ca_url=ca_url, root=root), **others)

    decorated = home_option(collected)
    decorated = click.option("--root", type=FILE, help="File of the trusted root, instead of the home's.")(decorated)
    return click.option("--ca-url", metavar="URL", help="Address of the CA, instead of the home's.")(decorated)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerChoice:
    """Which provisioner signs a token, and where its password comes from."""

    name: str | None
    kid: str | None
    password_file: Path | None

    def secret(self, home: Home) -> SecretCallback:
        """Return the source of the password."""
        return secret_source(self.password_file, home.provisioner_password)

    def online(self, trust: Trust, operation: Operation, home: Home) -> Minter:
        """Return a minter with the key that the CA hands out, and say whose it is."""
        return _told(online_minter(trust, operation, self.secret(home), name=self.name, kid=self.kid))

    def offline(self, config: Config, operation: Operation, home: Home) -> Minter:
        """Return a minter with the key out of a ca.json, and say whose it is."""
        return _told(offline_minter(config, operation, self.secret(home), name=self.name, kid=self.kid))


def signer_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the choice of a provisioner and of its password; the command gets a ``SignerChoice`` as ``signer``."""

    @functools.wraps(command)
    def collected(*, provisioner: str | None, kid: str | None, password_file: Path | None, **others: Any) -> None:
        command(signer=SignerChoice(name=provisioner, kid=kid, password_file=password_file), **others)

    decorated = click.option(
        "--provisioner-password-file",
        "--password-file",
        "password_file",
        type=FILE,
        help="Private file with the provisioner's password. Without it: the one that online init left in the home's "
        "secrets/, else you are asked.",
    )(collected)
    decorated = click.option("--kid", help="Key of the provisioner, when several have one name.")(decorated)
    return click.option("--provisioner", "--issuer", "provisioner", help="Name of the provisioner.")(decorated)


def token_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--token`` and ``--token-file``; the command gets the token, or ``None``, as ``token``."""

    @functools.wraps(command)
    def collected(*, token: str | None, token_file: Path | None, **others: Any) -> None:
        command(token=_one_time_token(token, token_file), **others)

    decorated = click.option("--token-file", type=FILE, help="File with the one-time token.")(collected)
    return click.option("--token", metavar="TOKEN", help="One-time token from online token, or step's.")(decorated)


def key_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the kind of key to make; the command gets a ``KeyChoice`` as ``key``."""

    @functools.wraps(command)
    def collected(*, kty: str, curve: str | None, size: int | None, **others: Any) -> None:
        command(key=choose_key(kty, curve, size), **others)

    decorated = click.option("--size", type=int, help="Bits of an RSA key. [default: 2048]")(collected)
    decorated = click.option(
        "--curve",
        "--crv",
        "curve",
        type=click.Choice(["P-256", "P-384", "P-521", "Ed25519"]),
        help="Curve of an EC or OKP key. [default: P-256, Ed25519]",
    )(decorated)
    return click.option(
        "--kty", type=click.Choice(["EC", "OKP", "RSA"]), default="EC", show_default=True, help="Kind of the new key."
    )(decorated)


def force_option(what: str) -> Callable[[_Decorated], _Decorated]:
    """Add ``--force``.

    Args:
        what: it does, as the help says it.
    """
    return click.option("-f", "--force", is_flag=True, help=what)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""``--json`` of a command that reads."""


def secret_source(option: Path | None, convenience: Path) -> SecretCallback:
    """Return where a password comes from: the file given, else the one that ``online init`` left, else a person."""
    return terminal.secret_from(option or (convenience if convenience.exists() else None))


def _one_time_token(token: str | None, file: Path | None) -> str | None:
    """Return the token that was given on the command line or in a file; ``None`` for neither."""
    if token is not None and file is not None:
        raise click.UsageError("give --token or --token-file, not both")
    text = durable.read_text(file) if file is not None else token
    if text is None:
        return None
    if not text.strip():
        raise RequestRejected("token.empty", "the token is empty", hint="make one with online token")
    return text.strip()


def _told(minter: Minter) -> Minter:
    done("Provisioner", f"{minter.signer.name} [ID: {minter.signer.key.kid}]")
    return minter


def agree(question: str) -> bool:
    """Ask a yes-or-no question where a person is at the terminal; nobody there means no."""
    return sys.stdin.isatty() and terminal.ask_line(f"{question} [y/n]").lower() in {"y", "yes"}


def done(label: str, value: object) -> None:
    """Say on stderr what was done."""
    terminal.say(f"{terminal.paint('✔', 'green')} {label}: {value}")
