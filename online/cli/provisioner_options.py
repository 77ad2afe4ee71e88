"""Options of the commands that edit the provisioners of a ca.json."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from online.cli.options import FILE, done
from online.config import Config
from online.config.settings import AuthoritySource
from online.pidfile import check_node_runs, reload_node
from online.provisioners.entries import ClaimWishes, ListWishes, OidcWishes
from shared import terminal

config_option = click.option("--ca-config", type=FILE, help="The ca.json to edit, instead of the home's.")
"""``--ca-config``."""


def tell_place(file: Path, config: Config) -> None:
    """Say where the provisioners stand that were edited.

    Args:
        file: the ca.json.
        config: as it is now.
    """
    if config.authority is AuthoritySource.DATABASE:
        done("Authority", f"version {config.authority_version} in the database")
    else:
        done("Configuration", file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """Whether, and how, the running node is told."""

    wanted: bool
    pidfile: Path | None

    def check(self) -> None:
        """Make sure that it can be told, before the file is edited."""
        if self.pidfile is not None:
            check_node_runs(self.pidfile)

    def do(self, config: Config) -> None:
        """Tell it, or say how to.

        Args:
            config: as it is now.
        """
        if config.authority is AuthoritySource.DATABASE:
            terminal.say("Every node takes it up from the database within seconds; none need be told to reload.")
        elif not self.wanted:
            terminal.say("A running node takes it up when it is told: see --reload.")
        elif self.pidfile is None:
            terminal.say("Make the running node read it: systemctl reload coldroot, or kill -HUP its first process.")
        else:
            done("Reloading", f"process {reload_node(self.pidfile)}; its log says whether it took the file")


def reload_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--reload`` and ``--pidfile``; the command gets a ``Reload`` as ``reload``."""

    @functools.wraps(command)
    def collected(*, reload: bool, pidfile: Path | None, **others: Any) -> None:
        command(reload=Reload(wanted=reload or pidfile is not None, pidfile=pidfile), **others)

    decorated = click.option(
        "--pidfile", type=FILE, help="The one that was given to online serve: the node is told to reload."
    )(collected)
    return click.option(
        "--reload", is_flag=True, help="Make the running node read the file; without --pidfile, say how."
    )(decorated)


def claim_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the limits that a provisioner may state; the command gets a ``ClaimWishes`` as ``claims``."""

    @functools.wraps(command)
    def collected(
        *,
        x509_min_dur: str | None,
        x509_max_dur: str | None,
        x509_default_dur: str | None,
        disable_renewal: bool | None,
        allow_renewal_after_expiry: bool | None,
        **others: Any,
    ) -> None:
        claims = ClaimWishes(
            least=x509_min_dur,
            most=x509_max_dur,
            default=x509_default_dur,
            disable_renewal=disable_renewal,
            allow_renewal_after_expiry=allow_renewal_after_expiry,
        )
        command(claims=claims, **others)

    decorated = collected
    for flag, what in (
        ("allow-renewal-after-expiry", "Renew certificates that have expired."),
        ("disable-renewal", "Renew no certificate."),
    ):
        decorated = click.option(f"--{flag}/--no-{flag}", default=None, help=what)(decorated)
    for flag, what in (("default", "Life of certificates that ask for none"), ("max", "Longest"), ("min", "Shortest")):
        text = what if flag == "default" else f"{what} life of certificates"
        decorated = click.option(f"--x509-{flag}-dur", metavar="DURATION", help=f'{text}, such as 24h; "" for none.')(
            decorated
        )
    return decorated


def oidc_options(*, removing: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add what an OIDC provisioner says; the command gets an ``OidcWishes`` as ``oidc``.

    Args:
        removing: also offer to take members out of its lists.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def collected(
            *,
            client_id: str | None,
            configuration_endpoint: str | None,
            tenant_id: str | None,
            listen_address: str | None,
            **others: Any,
        ) -> None:
            lists = {name: ListWishes(add=others.pop(name), remove=others.pop(f"remove_{name}", ())) for name in _LISTS}
            oidc = OidcWishes(
                client_id=client_id,
                endpoint=configuration_endpoint,
                tenant=tenant_id,
                listen=listen_address,
                admins=lists["admin"],
                domains=lists["domain"],
                groups=lists["group"],
                scopes=lists["scope"],
                parameters=lists["auth_param"],
            )
            command(oidc=oidc, **others)

        decorated = collected
        for name, what in reversed(_LISTS.items()):
            flag = name.replace("_", "-")
            if removing:
                decorated = click.option(
                    f"--remove-{flag}",
                    f"remove_{name}",
                    multiple=True,
                    metavar="TEXT",
                    help="Take one out. Repeatable.",
                )(decorated)
            decorated = click.option(f"--{flag}", name, multiple=True, metavar="TEXT", help=f"OIDC: {what}")(decorated)
        for flag, metavar, what in (
            ("listen-address", "HOST:PORT", "where clients listen for the identity provider's answer."),
            ("tenant-id", "ID", "the one organisation whose people are let in, where a provider serves many."),
            ("configuration-endpoint", "URL", "address of the identity provider's configuration."),
            ("client-id", "ID", "the client that the identity provider knows the CA's users by."),
        ):
            decorated = click.option(f"--{flag}", metavar=metavar, help=f"OIDC: {what}")(decorated)
        return decorated

    return decorate


_LISTS = {
    "admin": "address, or group, of somebody who may ask for any names and revoke. Repeatable.",
    "domain": "domain whose addresses are let in. Repeatable; without it, all are.",
    "group": "group whose members are let in. Repeatable; without it, all are.",
    "scope": "what clients ask the identity provider for. Repeatable.",
    "auth_param": "key=value that clients give the identity provider. Repeatable.",
}
