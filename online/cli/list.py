"""``online list``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click

from online import inventory as showing
from online.cli.options import FILE, home_option, json_option
from online.config import load_config
from online.home import Home
from online.store import CertificateKind
from online.store.open import open_inventory
from online.store.search import CLIENTS, LARGEST_PAGE, Found, Search, Status
from shared import terminal
from shared.durations import parse_duration
from shared.errors import RequestRejected
from shared.serials import parse_serial

_COLOURS = {Status.VALID: "green", Status.RENEWED: "cyan", Status.EXPIRED: "yellow", Status.REVOKED: "red"}
_EXPIRING = frozenset({Status.VALID})


@click.command("list")
@click.argument("name", required=False, default="")
@click.option("--exact", is_flag=True, help="NAME is all of an alternative name, common name or subject.")
@click.option("--serial", help="The certificate with this serial number, decimal, or hexadecimal after 0x.")
@click.option("--lineage", metavar="SERIAL", help="The certificate, its ancestors, and all their successors.")
@click.option("--provisioner", default="", help="Only those that this provisioner vouched for.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([each.value for each in Status]),
    help="Only these. Repeatable. [default: all]",
)
@click.option(
    "--expiring",
    metavar="DURATION",
    help="Valid ones that end within this time, the first to end first: what nobody has renewed yet.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([each.value for each in CertificateKind]),
    help="Only these. Repeatable. [default: all but own, the node's own TLS certificates]",
)
@click.option(
    "--limit", type=click.IntRange(1, LARGEST_PAGE), default=50, show_default=True, help="Certificates on a page."
)
@click.option("--after", default="", metavar="NEXT", help="Continue where the page before ended.")
@click.option("--all", "everything", is_flag=True, help="All pages, whatever their number.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV that is safe to open in a spreadsheet.")
@json_option
@click.option("--ca-config", type=FILE, help="The node's ca.json, instead of the home's.")
@home_option
def list_certificates(
    *,
    home: Home,
    name: str,
    exact: bool,
    serial: str | None,
    lineage: str | None,
    provisioner: str,
    statuses: tuple[str, ...],
    expiring: str | None,
    kinds: tuple[str, ...],
    limit: int,
    after: str,
    everything: bool,
    as_csv: bool,
    as_json: bool,
    ca_config: Path | None,
) -> None:
    """List the certificates that were issued here, the newest first.

    Runs where the node is, on the database that its ca.json names, whether the node runs or not. NAME is a part of an
    alternative name or of the subject. Statuses: valid; renewed (in its time, and there is a successor); expired;
    revoked.

    \b
    Examples:
      online list
      online list foo.local --exact
      online list --expiring 8h
      online list --status revoked --json
      online list --provisioner ci --all --csv > ci.csv
      online list --lineage 59636004850364466675608080466579278406
    """
    if as_csv and as_json:
        raise click.UsageError("give --csv or --json, not both")
    if expiring is not None and statuses:
        raise click.UsageError("--expiring means valid ones: leave out --status")
    if exact and not name:
        raise click.UsageError("--exact needs a NAME")
    if everything and after:
        raise click.UsageError("give --all or --after, not both")
    now = datetime.now(UTC)
    chosen = frozenset(map(Status, statuses)) or frozenset(Status)
    search = Search(
        now=now,
        text=name,
        exact=exact,
        serial=parse_serial(serial) if serial is not None else None,
        lineage=parse_serial(lineage) if lineage is not None else None,
        provisioner=provisioner,
        statuses=_EXPIRING if expiring is not None else chosen,
        kinds=frozenset(map(CertificateKind, kinds)) or CLIENTS,
        ends_before=_horizon(now, expiring) if expiring is not None else None,
        limit=limit,
        after=after,
    )
    with open_inventory(load_config(ca_config or home.config).db) as inventory:
        following = ""
        found: Iterable[Found]
        if everything:
            found = inventory.all(search)
        else:
            page = inventory.page(search)
            found, following = page.found, page.next
        if as_json:
            _print(showing.json_lines(found, following))
        elif as_csv:
            _print(showing.csv_lines(found))
        else:
            _print_table(tuple(found), now)
    if following and not as_json:
        terminal.say(f"There are more: repeat it with --after {following}, or with --all.")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        terminal.result(line)


def _print_table(found: tuple[Found, ...], now: datetime) -> None:
    if found:
        terminal.result(showing.table(found, now=now, paint=_paint))
    else:
        terminal.say("No certificate fits.")


def _paint(cell: str, status: Status) -> str:
    # click drops the codes where nobody looks: in a pipe or a file.
    return cell if os.environ.get("NO_COLOR") else click.style(cell, fg=_COLOURS[status])


def _horizon(now: datetime, text: str) -> datetime:
    end = now + parse_duration(text)
    if end < now:
        raise RequestRejected("list.expiring", "--expiring looks ahead, its duration must not be negative")
    return end
