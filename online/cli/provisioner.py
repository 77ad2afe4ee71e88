"""``online provisioner``."""

from __future__ import annotations

import click

from online.cli.options import Where, json_option, where_options
from shared import terminal
from shared.command import Group
from shared.names import printable


@click.group(cls=Group)
def provisioner() -> None:
    """Look at the provisioners of a CA: those who may authorise certificates."""


@provisioner.command("list")
@json_option
@where_options
def list_(*, where: Where, as_json: bool) -> None:
    """List the provisioners of a CA: name, type, key.

    \b
    Examples:
      online provisioner list
      online provisioner list --json | jq '.[].name'
    """
    found = where.trust().client().provisioners()
    if as_json:
        terminal.result_json([each.json for each in found])
        return
    width = max((len(printable(each.name)) for each in found), default=0)
    for each in found:
        terminal.result(f"{printable(each.name):<{width}}  {printable(each.kind):<6} {printable(each.kid)}".rstrip())
