"""``online db``: the node's database, whatever kind it is."""

from __future__ import annotations

from pathlib import Path

import click

from online.cli.options import FILE, home_option
from online.config import load_config
from online.home import Home
from online.store import upkeep
from shared import terminal
from shared.command import Group

_config_option = click.option("--ca-config", type=FILE, help="The node's ca.json, instead of the home's.")


@click.group(cls=Group)
def db() -> None:
    """Look after the database that the node's ca.json names.

    \b
    Examples:
      online db upgrade
    """


@db.command("upgrade")
@_config_option
@home_option
def upgrade(*, home: Home, ca_config: Path | None) -> None:
    """Make the tables on a database server, or bring those of any database to this program's version.

    Nodes of another version refuse from then on, so upgrade them first or together: a node never changes tables by
    itself. Back the database up before. There is no way back but a backup.

    \b
    Examples:
      online db upgrade
      online db upgrade --ca-config /etc/coldroot/config/ca.json
    """
    settings = load_config(ca_config or home.config).db
    done = upkeep.upgrade(settings, say=terminal.say)
    if done.found == done.reached:
        terminal.say(f"The tables have version {done.reached} already.")
    else:
        terminal.say(f"The tables have version {done.reached} now.")
