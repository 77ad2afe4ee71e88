"""``online config``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from online.cli.options import FILE, home_option, json_option
from online.config.check import Outcome, check_config
from online.home import Home
from online.shared_authority import load_node_config
from shared import terminal
from shared.command import EXIT_FAILED, Group
from shared.names import printable


@click.group(cls=Group)
def config() -> None:
    """Look at a node's configuration, its ca.json.

    \b
    Examples:
      online config check
      online config check /etc/coldroot/config/ca.json
    """


@config.command("check")
@click.argument("file", type=FILE, required=False)
@json_option
@home_option
@click.pass_context
def check(ctx: click.Context, *, home: Home, file: Path | None, as_json: bool) -> None:
    """Tell whether a node could start with a ca.json, before it has to.

    Reads FILE (the home's without it) as strictly as the node does, and looks at everything that it names: roots, the
    intermediate and its chain, the key's file or HSM module, the database, the provisioners. The key is not opened.

    \b
    Exit status: 0 when a node would start, 1 when not.

    \b
    Examples:
      online config check
      online config check new.json && mv new.json config/ca.json && systemctl reload coldroot
      online config check --json | jq '.[] | select(.outcome != "ok")'
    """
    checks = check_config(load_node_config(file or home.config), now=datetime.now(UTC))
    if as_json:
        terminal.result_json([{"what": each.what, "outcome": each.outcome, "detail": each.detail} for each in checks])
    else:
        for each in checks:
            terminal.result(f"{each.outcome:<7}  {each.what:<14}  {printable(each.detail, limit=400)}".rstrip())
    if any(each.outcome is Outcome.FAULT for each in checks):
        ctx.exit(EXIT_FAILED)
