"""Options that several commands share, each in one wording."""

from __future__ import annotations

import dataclasses
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
from online.jose.jwk import PrivateJwk
from online.jose.jws import LARGEST_TOKEN
from online.key_choice import choose_key
from online.provisioners.protocol import Operation
from online.signer import (
    Credential,
    Minter,
    Secrets,
    load_own_key,
    offline_minter,
    offline_own_key_minter,
    offline_x5c_minter,
    online_minter,
    online_x5c_minter,
    own_key_minter,
)
from online.trust import TokenHint, Trust, resolve
from online.workers import MOST_WORKERS, default_workers
from shared import durable, terminal
from shared.errors import RequestRejected
from shared.keystore import open_key
from shared.pem import load_certificates
from shared.terminal import SecretCallback

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
"""A path; whether it may exist is decided where it is opened, with a better message."""


def _home(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Home:
    del parameter
    return choose_home(value or ctx.find_root().params.get("home"), os.environ, Path.home())


def workers_option(command: _Decorated) -> _Decorated:
    """Add ``--workers``; the command gets a number as ``workers``."""
    return click.option(
        "--workers",
        type=click.IntRange(1, MOST_WORKERS),
        default=default_workers,
        show_default="one fewer than there are cores, at least one",
        help="Number of processes that answer.",
    )(command)


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
    """Who signs a token: a provisioner's key with its password, or a certificate's key."""

    name: str | None
    kid: str | None
    password_file: Path | None
    certificate: Path | None = None
    """For an X5C provisioner: file of the certificate, with its issuers."""
    key: str | None = None
    """Its key: a path, or a ``pkcs11:`` URI."""
    own_key: str | None = None
    """The key of a JWK provisioner in a file of its own, or a ``pkcs11:`` URI."""

    def secrets(self, home: Home) -> Secrets:
        """Return where the password of a provisioner comes from: the file given, else the home's, else a person."""

        def of(name: str) -> SecretCallback:
            own = home.password_of(name)
            kept = own if own is not None and own.exists() else home.provisioner_password
            return secret_source(self.password_file, kept)

        return of

    def online(self, trust: Trust, operation: Operation, home: Home) -> Minter:
        """Return a minter for a CA that can be asked, and say whose key it uses."""
        credential = self.credential()
        if credential is not None:
            return _told(online_x5c_minter(trust, operation, credential, name=self.name))
        own = self._own_key()
        if own is not None:
            return _told(own_key_minter(trust, operation, own, name=self.name))
        return _told(online_minter(trust, operation, self.secrets(home), name=self.name, kid=self.kid))

    def offline(self, config: Config, operation: Operation, home: Home) -> Minter:
        """Return a minter for a CA whose ca.json is here, and say whose key it uses."""
        credential = self.credential()
        if credential is not None:
            return _told(offline_x5c_minter(config, operation, credential, name=self.name))
        own = self._own_key()
        if own is not None:
            return _told(offline_own_key_minter(config, operation, own, name=self.name))
        return _told(offline_minter(config, operation, self.secrets(home), name=self.name, kid=self.kid))

    def credential(self) -> Credential | None:
        """Return the certificate, with its key open until the command ends; ``None`` when another key signs."""
        if self.certificate is None or self.key is None:
            return None
        chain = load_certificates(durable.read_file(self.certificate), what=f"file {self.certificate}")
        key = click.get_current_context().with_resource(open_key(self.key, terminal.secret_from(self.password_file)))
        return Credential(chain=chain, key=key)

    def _own_key(self) -> PrivateJwk | None:
        """Read the provisioner's key, or open it until the command ends."""
        if self.own_key is None:
            return None
        secret = terminal.secret_from(self.password_file)
        if self.own_key.lower().startswith("pkcs11:"):
            found = PrivateJwk.of(click.get_current_context().with_resource(open_key(self.own_key, secret)))
        else:
            found = load_own_key(Path(self.own_key), secret)
        return found if self.kid is None else dataclasses.replace(found, kid=self.kid)


def signer_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the choice of who signs a token; the command gets a ``SignerChoice`` as ``signer``."""

    @functools.wraps(command)
    def collected(
        *,
        provisioner: str | None,
        kid: str | None,
        password_file: Path | None,
        x5c_cert: Path | None,
        x5c_key: str | None,
        **others: Any,
    ) -> None:
        if (x5c_cert is None) != (x5c_key is None):
            raise click.UsageError("give --x5c-cert and --x5c-key together")
        if x5c_cert is not None and kid is not None:
            raise click.UsageError("--kid is for JWK provisioners, not for --x5c-cert")
        signer = SignerChoice(name=provisioner, kid=kid, password_file=password_file, certificate=x5c_cert, key=x5c_key)
        command(signer=signer, **others)

    decorated = click.option(
        "--x5c-key", metavar="KEY", help="Private key of that certificate: a file, or a pkcs11: URI."
    )(collected)
    decorated = click.option(
        "--x5c-cert",
        type=FILE,
        help="Authorise with this certificate, followed by its issuers, at an X5C provisioner: no password is needed.",
    )(decorated)
    decorated = click.option(
        "--provisioner-password-file",
        "--password-file",
        "password_file",
        type=FILE,
        help="Private file with the password of the provisioner, or of --x5c-key. Without it: the one that online init "
        "left in the home's secrets/, else you are asked.",
    )(decorated)
    decorated = click.option("--kid", help="Key of the provisioner, when several have one name.")(decorated)
    return click.option("--provisioner", "--issuer", "provisioner", help="Name of the provisioner.")(decorated)


def token_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--token`` and ``--token-file``; the command gets the token, or ``None``, as ``token``."""

    @functools.wraps(command)
    def collected(*, token: str | None, token_file: Path | None, **others: Any) -> None:
        command(token=_one_time_token(token, token_file), **others)

    decorated = click.option(
        "--token-file", type=FILE, help="File with the one-time token from online token, or step's; - for stdin."
    )(collected)
    return click.option(
        "--token", metavar="TOKEN", help="The token itself. Other users of this machine may see it while this runs."
    )(decorated)


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


def format_options(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add ``--format`` and ``--json``; the command gets ``text``, ``json`` or ``pem`` as ``form``.

    Args:
        what: the help of ``--format``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def collected(*, form: str, as_json: bool, **others: Any) -> None:
            command(form="json" if as_json else form, **others)

        decorated = click.option("--json", "as_json", is_flag=True, help="The same as --format json.")(collected)
        return click.option(
            "--format", "form", type=click.Choice(["text", "json", "pem"]), default="text", show_default=True, help=what
        )(decorated)

    return decorate


def secret_source(option: Path | None, convenience: Path) -> SecretCallback:
    """Return where a password comes from: the file given, else the one that ``online init`` left, else a person."""
    return terminal.secret_from(option or (convenience if convenience.exists() else None))


def _one_time_token(token: str | None, file: Path | None) -> str | None:
    """Return the token that was given on the command line or in a file; ``None`` for neither."""
    if token is not None and file is not None:
        raise click.UsageError("give --token or --token-file, not both")
    text = _token_in(file) if file is not None else token
    if text is None:
        return None
    if not text.strip():
        raise RequestRejected("token.empty", "the token is empty", hint="make one with online token")
    return text.strip()


def _token_in(file: Path) -> str:
    if file != Path("-"):
        return durable.read_text(file)
    # One byte more than is accepted, so that too much is refused and not cut off.
    return sys.stdin.buffer.read(LARGEST_TOKEN + 1).decode("utf-8", "replace")


def _told(minter: Minter) -> Minter:
    done("Provisioner", f"{minter.signer.name} [ID: {minter.signer.key.kid}]")
    return minter


def agree(question: str) -> bool:
    """Ask a yes-or-no question where a person is at the terminal; nobody there means no."""
    return sys.stdin.isatty() and terminal.ask_line(f"{question} [y/n]").lower() in {"y", "yes"}


def done(label: str, value: object) -> None:
    """Say on stderr what was done."""
    terminal.say(f"{terminal.paint('✔', 'green')} {label}: {value}")
