"""``report``: the ceremony report, from a record that verifies."""

from __future__ import annotations

from pathlib import Path

import click

from ceremony import verify as verify_room
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.document.report_pdf import Report, report_pdf
from shared import durable, terminal

_PATH = click.Path(path_type=Path)


@click.command("report")
@click.option("--dir", "directory", type=_PATH, required=True, help="The ceremony's directory.")
@click.option("--pdf", type=_PATH, required=True, help="Write the report to this new file.")
def report(directory: Path, pdf: Path) -> None:
    """Write the ceremony report for signature: roles, phases, device, keys, certificates, exceptions.

    It has what ETSI EN 319 411-1, 6.5.1, asks for. Everything in it comes from plan and record, after they were
    verified; the same record gives the same bytes.

    \b
    Example:
      ceremony report --dir root-2026 --pdf report.pdf
    """
    verify_room.verify(directory, report=lambda _: None)
    place = CeremonyDirectory(path=directory)
    records = place.load_records()
    durable.write_new(pdf, report_pdf(Report(plans=place.load_plans(records), records=records)))
    terminal.result(str(pdf))
