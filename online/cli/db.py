"""``online db``: the node's database, whatever kind it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from online.accesslog import Log
from online.cli.options import FILE, home_option, json_option
from online.config import load_config
from online.config.check import Outcome
from online.config.settings import DatabaseSettings
from online.home import Home
from online.keeper import housekeeper
from online.store import upkeep
from online.store.open import open_store
from shared import terminal
from shared.clock import SystemClock
from shared.command import EXIT_FAILED, Group
from shared.names import printable

_config_option = click.option("--ca-config", type=FILE, help="The node's ca.json, instead of the home's.")


@click.group(cls=Group)
def db() -> None:
    """Look after the database that the node's ca.json names.

    \b
    Examples:
      online db upgrade
      online db check
      online db backup ca-2026-11-24.backup
      online db restore ca-2026-11-24.backup
      online db prune
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
    done = upkeep.upgrade(_settings(home, ca_config), say=terminal.say)
    if done.found == done.reached:
        terminal.say(f"The tables have version {done.reached} already.")
    else:
        terminal.say(f"The tables have version {done.reached} now.")


@db.command("check")
@json_option
@_config_option
@home_option
@click.pass_context
def check(ctx: click.Context, *, home: Home, ca_config: Path | None, as_json: bool) -> None:
    """Tell whether the database is whole and keeps what it is told.

    Looks at the version of the tables, at a file's mode and every page of it, or at what a server promises: whether it
    flushes each commit, whether a standby confirms it, whether the way to it is protected. A write takes its turn, and
    writes nothing.

    \b
    Exit status: 0 when a node could work with it, 1 when not.

    \b
    Examples:
      online db check
      online db check --json | jq '.[] | select(.outcome != "ok")'
    """
    checks = list(upkeep.check(_settings(home, ca_config)))
    if as_json:
        terminal.result_json([{"what": each.what, "outcome": each.outcome, "detail": each.detail} for each in checks])
    else:
        for each in checks:
            terminal.result(f"{each.outcome:<7}  {each.what:<10}  {printable(each.detail, limit=400)}")
    if any(each.outcome is Outcome.FAULT for each in checks):
        ctx.exit(EXIT_FAILED)


@db.command("backup")
@click.argument("file", type=FILE)
@_config_option
@home_option
def backup(*, home: Home, file: Path, ca_config: Path | None) -> None:
    """Copy everything that the CA remembers into FILE, as it is at one moment; nodes may be at work meanwhile.

    FILE is a SQLite database, whatever kind the node's is, readable by its owner only. It holds no key and no token.
    A large database on a server is copied faster by the server's own tools.

    \b
    Examples:
      online db backup ca-2026-11-24.backup
    """
    upkeep.backup(_settings(home, ca_config), file, say=terminal.say)
    terminal.say(f"The backup is {file}.")


@db.command("restore")
@click.argument("file", type=FILE)
@_config_option
@home_option
def restore(*, home: Home, file: Path, ca_config: Path | None) -> None:
    """Restore FILE, a backup of any kind of database, into the one that ca.json names.

    Stop all nodes first. A file is replaced, and what stood there kept beside it; a database on a server must have its
    tables (online db upgrade) and be empty. So a CA also moves from SQLite to a server, or back.

    What came after the backup is forgotten: revoke again what was revoked since, and start the nodes only when the last
    tokens that were used since have expired (an hour, unless longer ones were allowed), for they would count as unused.

    \b
    Examples:
      online db restore ca-2026-11-24.backup
    """
    upkeep.restore(_settings(home, ca_config), file, say=terminal.say)
    terminal.say("Restored. Tokens that were used after the backup count as unused until they expire.")


@db.command("prune")
@_config_option
@home_option
def prune(*, home: Home, ca_config: Path | None) -> None:
    """Do now what the keeper of a running node does every hour: drop what need not be remembered.

    The uses of tokens that expired a day ago go; certificates that ended long ago go to the archive, where ca.json says
    when; what is superseded is revoked, where ca.json says so. In small steps, beside running nodes or without one.

    \b
    Examples:
      online db prune
    """
    config = load_config(ca_config or home.config)
    # The lines of the log are the talk of this command.
    log = Log(SystemClock(), sink=terminal.say)

    async def tidy() -> None:
        store = open_store(config.db)
        try:
            await housekeeper(config, store, clock=SystemClock(), log=log, revoked=lambda: None).tidy()
        finally:
            await store.close()

    asyncio.run(tidy())
    terminal.say("Nothing that need not be remembered is left.")


def _settings(home: Home, ca_config: Path | None) -> DatabaseSettings:
    return load_config(ca_config or home.config).db
