"""``online provisioner add`` and ``update``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from online.cli.options import FILE, done, home_option, key_options
from online.cli.provisioner_options import (
    Reload,
    claim_options,
    config_option,
    oidc_options,
    reload_options,
    tell_place,
)
from online.home import Home
from online.jose.jwk import Jwk
from online.jose.trusted_keys import read_trusted_key
from online.key_choice import KeyChoice
from online.provisioners import managing
from online.provisioners.entries import ClaimWishes, OidcWishes, Wishes
from online.provisioners.managing import KeyWishes, Managed
from online.provisioners.protocol import ProvisionerType
from online.provisioners.x5c import check_root
from shared import durable, terminal
from shared.errors import RequestRejected
from shared.keystore import open_key
from shared.pem import load_certificates

_KINDS = [each.wire_name for each in ProvisionerType]


def _key_file_options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option(
        "--x5c-roots", "--x5c-root", "x5c_roots", type=FILE, help="X5C: file of the roots whose certificates count."
    )(command)
    command = click.option(
        "--password-file",
        type=FILE,
        help="JWK: private file with your own password for the key. Without it, one is drawn and kept under secrets/.",
    )(command)
    command = click.option(
        "--private-key", metavar="KEY", help="JWK: publish this existing private key, encrypted, instead of a new one."
    )(command)
    return click.option(
        "--public-key", type=FILE, help="JWK: only this public key (PEM or JWK); the private one is kept elsewhere."
    )(command)


@click.command()
@click.argument("name")
@click.option(
    "--type",
    "kind",
    type=click.Choice(_KINDS, case_sensitive=False),
    default="JWK",
    show_default=True,
    help="JWK: by a key with a password. X5C: by certificates. OIDC: by an identity provider.",
)
@click.option("--create", is_flag=True, help="JWK: make a key; that is the default.")
@_key_file_options
@key_options
@oidc_options(removing=False)
@claim_options
@config_option
@reload_options
@home_option
def add(
    *,
    home: Home,
    name: str,
    kind: str,
    create: bool,
    public_key: Path | None,
    private_key: str | None,
    password_file: Path | None,
    key: KeyChoice,
    x5c_roots: Path | None,
    oidc: OidcWishes,
    claims: ClaimWishes,
    ca_config: Path | None,
    reload: Reload,
) -> None:
    """Add a provisioner to a node's ca.json.

    \b
    Examples:
      online provisioner add web --x509-max-dur 168h --x509-default-dur 24h
      online provisioner add ci --public-key ci.pub
      online provisioner add hosts --type X5C --x5c-roots other_root.crt
      online provisioner add people --type OIDC --client-id 8a7f… --domain example.com --admin anna@example.com \\
        --configuration-endpoint https://accounts.example.com/.well-known/openid-configuration
    """
    chosen = ProvisionerType[kind.upper()]
    is_jwk = chosen is ProvisionerType.JWK
    if (create or public_key or private_key or password_file) and not is_jwk:
        raise click.UsageError(f"--create, --public-key, --private-key and --password-file are not for {kind}")
    key_wishes = _key_wishes(key, public_key, private_key, password_file, create=create) if is_jwk else None
    wishes = Wishes(key=_public_key(public_key), roots=_roots(x5c_roots), oidc=oidc, claims=claims)
    file = ca_config or home.config
    reload.check()
    managed = managing.add(file, chosen, name, wishes, key=key_wishes, rng=os.urandom)
    _tell(managed, file, name)
    reload.do(managed.config)


@click.command()
@click.argument("name")
@click.option("--name", "new_name", help="New name. Certificates issued under the old one are not renewed any more.")
@click.option(
    "--create", is_flag=True, help="JWK: make a new key. Certificates of the old one are not renewed any more."
)
@_key_file_options
@key_options
@oidc_options(removing=True)
@claim_options
@config_option
@reload_options
@home_option
def update(
    *,
    home: Home,
    name: str,
    new_name: str | None,
    create: bool,
    public_key: Path | None,
    private_key: str | None,
    password_file: Path | None,
    key: KeyChoice,
    x5c_roots: Path | None,
    oidc: OidcWishes,
    claims: ClaimWishes,
    ca_config: Path | None,
    reload: Reload,
) -> None:
    """Change a provisioner in a node's ca.json. What is not named stays as it is.

    \b
    Examples:
      online provisioner update web --x509-max-dur 720h --reload --pidfile /run/coldroot/pid
      online provisioner update web --no-disable-renewal
      online provisioner update people --domain example.org --remove-domain example.com
      online provisioner update web --create
    """
    if password_file is not None and not (create or private_key):
        raise click.UsageError("--password-file goes with --create or --private-key")
    replaced = (
        _key_wishes(key, public_key, private_key, password_file, create=create) if create or private_key else None
    )
    wishes = Wishes(key=_public_key(public_key), roots=_roots(x5c_roots), oidc=oidc, claims=claims)
    if new_name is None and replaced is None and wishes == Wishes():
        raise click.UsageError("nothing to change: see --help")
    file = ca_config or home.config
    reload.check()
    managed = managing.update(file, name, wishes, new_name=new_name, key=replaced, rng=os.urandom)
    _tell(managed, file, new_name or name)
    # An OIDC provisioner is known by its client ID, whatever its name.
    kinds = {each.name: each.type for each in managed.config.provisioners}
    renamed = new_name is not None and kinds[new_name] is not ProvisionerType.OIDC
    if replaced is not None or public_key is not None or renamed:
        terminal.say("Certificates issued before stay valid until they end, and cannot be renewed any more.")
    reload.do(managed.config)


def _key_wishes(
    choice: KeyChoice, public_key: Path | None, private_key: str | None, password_file: Path | None, *, create: bool
) -> KeyWishes | None:
    if sum(bool(each) for each in (create, public_key, private_key)) > 1:
        raise click.UsageError("give one of --create, --public-key and --private-key")
    if public_key is not None:
        if password_file is not None:
            raise click.UsageError("--password-file goes with a private key, not with --public-key")
        return None
    existing: Any = None
    if private_key is not None:
        source = terminal.secret_from(None)
        existing = click.get_current_context().with_resource(open_key(private_key, source))
    password = durable.read_secret(password_file) if password_file is not None else None
    return KeyWishes(choice=choice, existing=existing, password=password)


def _public_key(file: Path | None) -> Jwk | None:
    if file is None:
        return None
    found = read_trusted_key(file, terminal.secret_from(None))
    plain = Jwk.of(found.key)
    return Jwk(key=found.key, kid=found.kid or plain.kid, algorithm=found.algorithm or plain.algorithm)


def _roots(file: Path | None) -> tuple[x509.Certificate, ...]:
    if file is None:
        return ()
    roots = load_certificates(durable.read_file(file), what=f"file {file}")
    for root in roots:
        try:
            check_root(root, what=f"file {file}")
        except RequestRejected as error:
            raise RequestRejected("provisioner.root", error.message) from None
    return roots


def _tell(managed: Managed, file: Path, name: str) -> None:
    tell_place(file, managed.config)
    if managed.password_file is not None:
        done("Password", managed.password_file)
    for each in managed.config.provisioners:
        if each.name == name:
            done("Provisioner", f"{name} ({each.type.wire_name}) [ID: {each.kid or each.id}]")
