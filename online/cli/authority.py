"""``online authority``: provisioners, policy and limits that all nodes of one database have from there."""

from __future__ import annotations

from pathlib import Path

import click

from online import shared_authority
from online.cli.options import FILE, done, home_option
from online.config import Config
from online.home import Home
from online.shared_authority import Prefer
from shared import durable, terminal
from shared.clock import rfc3339
from shared.command import Group
from shared.names import printable

_config_option = click.option("--ca-config", type=FILE, help="The node's ca.json, instead of the home's.")


@click.group(cls=Group)
def authority() -> None:
    """Keep provisioners, policy and limits in the database, for all of its nodes at once.

    Without this they stand in each node's ca.json. Once they are shared, online provisioner add, update and remove
    change what the database has, on any node, and every node takes it up within seconds.

    \b
    Examples:
      online authority share
      online authority show > authority.json
      online authority set authority.json --if-version 7
      online authority unshare
    """


@authority.command("share")
@click.option(
    "--prefer",
    type=click.Choice([each.value for each in Prefer]),
    help="Which one counts when the database has one already that differs from the file's.",
)
@_config_option
@home_option
def share(*, home: Home, ca_config: Path | None, prefer: str | None) -> None:
    """Take the authority of ca.json into the database; on further nodes: take it from there.

    Moves provisioners, claims, policy, template and backdate. The file is written anew, without them and with
    coldroot.authority. Run it on each node, with the same ca.json or with --prefer database, and make the node reload
    once.

    \b
    Examples:
      online authority share
      online authority share --prefer database
    """
    file = ca_config or home.config
    config = shared_authority.share(file, prefer=None if prefer is None else Prefer(prefer))
    _tell(file, config)
    terminal.say("A running node takes it from the database from its next reload on: systemctl reload coldroot.")


@authority.command("unshare")
@_config_option
@home_option
def unshare(*, home: Home, ca_config: Path | None) -> None:
    """Take the authority from the database back into ca.json.

    Other nodes go on with what the database has, which stays there.

    \b
    Examples:
      online authority unshare
    """
    file = ca_config or home.config
    shared_authority.unshare(file)
    done("Configuration", file)
    terminal.say("A running node has it from the file from its next reload on: systemctl reload coldroot.")


@authority.command("show")
@_config_option
@home_option
def show(*, home: Home, ca_config: Path | None) -> None:
    """Print what the database has.

    \b
    Examples:
      online authority show
      online authority show | jq '.authority.policy'
    """
    found = shared_authority.shown(ca_config or home.config)
    terminal.result(found.text.rstrip("\n"))
    terminal.say(f"Version {found.version}, of {rfc3339(found.changed_at)}, by {printable(found.changed_by)}.")


@authority.command("set")
@click.argument("file", type=FILE)
@click.option("--if-version", type=int, metavar="NUMBER", help="Only if nobody changed it since this version.")
@_config_option
@home_option
def set_(*, home: Home, ca_config: Path | None, file: Path, if_version: int | None) -> None:
    """Put FILE, in the shape that show prints, in the place of what the database has.

    It is read as every node will read it; what a node would refuse changes nothing. For the policy, the limits and the
    template; provisioners have commands of their own.

    \b
    Examples:
      online authority show > authority.json
      online authority set authority.json --if-version 7
    """
    place = ca_config or home.config
    config = shared_authority.replace_document(place, durable.read_text(file), version=if_version)
    _tell(place, config)
    terminal.say("Every node takes it up within seconds.")


def _tell(file: Path, config: Config) -> None:
    done("Configuration", file)
    done("Authority", f"version {config.authority_version} in the database")
