"""The ``share`` commands: check a sheet, change the custodians, read old shares of another tool."""

from __future__ import annotations

from pathlib import Path

import click

from ceremony.conduct.directory import CeremonyDirectory, open_journal
from ceremony.share_scan import scan_share
from ceremony.terminal import AtTerminal
from shared import terminal
from shared.clock import SystemClock
from shared.command import Group

_PATH = click.Path(path_type=Path)


@click.group(cls=Group)
def share() -> None:
    """Check a share at any later date, change the custodians, read shares of another tool."""


@share.command("check")
@click.option("--dir", "directory", type=_PATH, required=True, help="The ceremony's directory.")
@click.option("--scan", type=_PATH, help="An image of the sheet's QR code, instead of typing its words.")
def share_check(directory: Path, scan: Path | None) -> None:
    """Type or scan one sheet and learn which share it is. Nothing is recovered, one custodian suffices.

    \b
    Example:
      ceremony share check --dir root-2026
    """
    commitments = open_journal(CeremonyDirectory(path=directory), SystemClock()).commitments()
    if scan is not None:
        found = commitments.recognise(scan_share(scan))
    else:
        _, found = AtTerminal().enter(commitments, "Type the words of the sheet")
    terminal.result(f"this is {found.name} of the set {commitments.set_id} ({commitments.shape.describe()})")
