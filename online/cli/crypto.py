"""``online crypto``: the longer spellings of step for commands that stand at the top here. Not listed in the help."""

from __future__ import annotations

import click

from online.cli.change_pass import change_pass
from online.cli.jwt import jwt
from shared.command import Group


@click.group(cls=Group, hidden=True)
def crypto() -> None:
    """Spell online change-pass and online jwt as step does: online crypto change-pass, online crypto jwt."""


crypto.add_command(change_pass)
crypto.add_command(jwt)
