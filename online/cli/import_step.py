"""``online import-step``."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from online.cli.options import FILE, done, json_option
from online.moving.revoked import read_revoked, record_revoked
from online.moving.step_home import read_step_home, take_over
from shared import terminal
from shared.command import EXIT_FAILED
from shared.names import printable


@click.command("import-step")
@click.argument("directory", metavar="DIR", type=FILE)
@click.option("--write", is_flag=True, help="Make the node's ca.json and database, beside step-ca's own.")
@click.option(
    "--revoked",
    type=FILE,
    help="With --write: file of the serial numbers that step-ca revoked, one a line, decimal or hexadecimal after 0x.",
)
@json_option
@click.pass_context
def import_step(ctx: click.Context, *, directory: Path, write: bool, revoked: Path | None, as_json: bool) -> None:
    """Tell what of a step-ca installation comes along, and what does not.

    DIR is its home, the directory that step path prints. One line for each part: what carries over as it is, what
    changes, what is dropped, what you must do, and what stops the move. With --write, the node's configuration is put
    beside step-ca's, as config/coldroot.json, with a database of its own. Nothing of step-ca's is touched: keys,
    certificates and passwords are used where they are, and going back is starting step-ca again.

    \b
    Exit status: 0 when the move is possible, 1 when something stops it.

    \b
    Examples:
      online import-step /etc/step-ca
      online import-step /etc/step-ca --write
      online import-step /etc/step-ca --write --revoked revoked.txt
      online config check /etc/step-ca/config/coldroot.json
      online serve /etc/step-ca/config/coldroot.json --password-file /etc/step-ca/password.txt
    """
    if revoked is not None and not write:
        raise click.UsageError("--revoked goes with --write")
    # Read before anything is written.
    serials = read_revoked(revoked) if revoked is not None else ()
    home = read_step_home(directory)
    if as_json:
        terminal.result_json([{"fate": each.fate, "what": each.what, "detail": each.detail} for each in home.findings])
    else:
        for each in home.findings:
            what = printable(each.what, limit=200)
            terminal.result(f"{each.fate:<7}  {what}: {printable(each.detail, limit=400)}")
    if home.stops:
        ctx.exit(EXIT_FAILED)
    if write:
        for path in take_over(home):
            done("Written", path)
        if serials:
            asyncio.run(record_revoked(home, serials, now=datetime.now(UTC)))
            done("Revoked", f"{len(serials)} certificates of step-ca; they are not renewed")
        terminal.say(f"Look it over, then: online serve {home.target} --password-file FILE")
