"""What several commands of the ceremony share: their options, and what an act takes place with."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ceremony.cli.deviations import watch_of
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.setting import Scene, Setting
from ceremony.hsm import load_hsm_settings
from ceremony.printing import printer
from ceremony.records import Mode
from ceremony.terminal import AtTerminal, People
from shared import terminal
from shared.clock import SystemClock
from shared.crossing.words import digest_words

_PATH = click.Path(path_type=Path)
_Command = Callable[..., Any]


def dir_option(command: _Command) -> _Command:
    """Add ``--dir``."""
    return click.option("--dir", "directory", type=_PATH, required=True, help="The ceremony's directory.")(command)


def hsm_option(command: _Command) -> _Command:
    """Add ``--hsm``."""
    return click.option(
        "--hsm", "hsm_file", type=_PATH, required=True, help="Where the HSM is (see the example in `root create`)."
    )(command)


def plan_option(command: _Command) -> _Command:
    """Add ``--plan``."""
    return click.option("--plan", "plan_file", type=_PATH, required=True, help="The plan that was agreed on.")(command)


def out_option(command: _Command) -> _Command:
    """Add ``--out``, for a reply."""
    return click.option(
        "--out", type=_PATH, required=True, help="Directory for the reply: reply.bundle and its QR codes."
    )(command)


def words_option(command: _Command) -> _Command:
    """Add ``--words-file``, which rehearsals alone have."""
    return click.option(
        "--words-file", type=_PATH, required=True, help="Private file with the words of all shares. Rehearsals only."
    )(command)


def scan_option(command: _Command) -> _Command:
    """Add ``--scan``: sheets that were scanned instead of typed."""
    return click.option(
        "--scan",
        "scans",
        type=_PATH,
        multiple=True,
        help="An image of a sheet's QR code, instead of typing its words; may be repeated.",
    )(command)


def sample_option(command: _Command) -> _Command:
    """Add ``--sample``: names on which name constraints are shown."""
    return click.option(
        "--sample",
        "samples",
        multiple=True,
        metavar="NAME",
        help="A name on which the planned name constraints are shown; may be repeated. Some are made without it.",
    )(command)


def print_option(command: _Command) -> _Command:
    """Add ``--print-with``: how sheets are printed."""
    return click.option(
        "--print-with", metavar="COMMAND", help="Prints a sheet, for example 'lp -d sheets'; the file's path is added."
    )(command)


def rehearsed_option(command: _Command) -> _Command:
    """Add ``--rehearsed``, for real acts."""
    return click.option(
        "--rehearsed", type=_PATH, help="A rehearsal's directory: stop where this run is not what was practised there."
    )(command)


def setting(directory: Path, hsm_file: Path, mode: Mode, people: People, *, rehearsed: Path | None = None) -> Setting:
    """Put together what an act takes place with."""
    return Setting(
        directory=CeremonyDirectory(path=directory),
        hsm=load_hsm_settings(hsm_file),
        people=people,
        clock=SystemClock(),
        rng=os.urandom,
        mode=mode,
        watch=watch_of(rehearsed),
    )


def scene(directory: Path, mode: Mode, people: People, *, rehearsed: Path | None = None) -> Scene:
    """Put together what an act takes place with that needs no HSM."""
    return Scene(
        directory=CeremonyDirectory(path=directory),
        people=people,
        clock=SystemClock(),
        mode=mode,
        watch=watch_of(rehearsed),
    )


def at_terminal(*, scans: Sequence[Path] = (), print_with: str | None = None) -> AtTerminal:
    """Return the real people: what they scanned, and how their sheets are printed.

    Raises:
        RequestRejected: ``printer.command``.
    """
    return AtTerminal(scans=scans, printer=printer(print_with) if print_with is not None else None, guided=True)


def show_head(head: bytes) -> None:
    """Show the transcript's head in words, for the witnesses."""
    terminal.say("head of the transcript, to copy by hand:")
    terminal.say(f"  {' '.join(digest_words(head))}")
