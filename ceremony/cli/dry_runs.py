"""Printing dry runs: the steps as on the script, what would be signed, written and changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ceremony.conduct.dry_run import DryRun
from shared import terminal
from shared.crossing.words import digest_words

_Command = Callable[..., Any]


def dry_run_option(command: _Command) -> _Command:
    """Add ``--dry-run`` to an act."""
    return click.option(
        "--dry-run", is_flag=True, help="Check everything, print what would be done, and touch nothing."
    )(command)


def show_dry_run(found: DryRun) -> None:
    """Print a dry run on stdout."""
    terminal.result(f"dry run of {found.act} ({found.mode}): nothing is touched, nobody is asked")
    terminal.result("steps")
    for number, step in found.steps:
        terminal.result(f"  {number:6}[{step.name}] {step.name.heading}")
        terminal.result(f"        {step.who}{'; from here on, to stop is not free' if step.commits else ''}")
    for what, digest in found.compares:
        terminal.result(f"would be compared aloud: {what}")
        terminal.result(f"  {' '.join(digest_words(digest))}")
    for each in found.signs:
        terminal.result(f"would be signed: {each.file}")
        if each.digest is not None:
            terminal.result(f"  sha256 {each.digest.hex()}")
        for missing in each.missing:
            terminal.result(f"  digest not known: {missing}")
    terminal.result("would be written")
    for path in found.writes:
        terminal.result(f"  {path}")
    for change in found.changes:
        terminal.result(f"would change: {change}")
