"""``resume``: go on after the power failed, or the program was killed."""

from __future__ import annotations

from pathlib import Path

import click

from ceremony.cli.options import at_terminal, dir_option, hsm_option, scan_option, setting, show_head, words_option
from ceremony.conduct.resume import resume as go_on
from ceremony.conduct.setting import Setting
from ceremony.records import Mode
from ceremony.terminal import Rehearsing
from shared import terminal
from shared.errors import PolicyDenied

_PATH = click.Path(path_type=Path)
_out_option = click.option("--out", type=_PATH, help="Directory for the reply of an intermediate that was signed.")


@click.command("resume")
@dir_option
@hsm_option
@scan_option
@_out_option
def resume(directory: Path, hsm_file: Path, *, scans: tuple[Path, ...], out: Path | None) -> None:
    """Go on with the act that was killed, in a real ceremony.

    The record tells how far it came. Where it does not tell whether the HSM acted, the HSM is looked into and what it
    shows is recorded. Exits 1 when the act cannot be finished, and says what to do instead.

    \b
    Example:
      ceremony resume --dir root-2026 --hsm hsm.toml
    """
    _go_on(setting(directory, hsm_file, Mode.REAL, at_terminal(scans=scans)), out)


@click.command("resume")
@dir_option
@hsm_option
@words_option
@_out_option
def rehearse_resume(directory: Path, hsm_file: Path, words_file: Path, out: Path | None) -> None:
    """Rehearse going on after a kill.

    \b
    Example:
      ceremony rehearse resume --dir practice --hsm hsm.toml --words-file practice-words.txt
    """
    _go_on(setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file)), out)


def _go_on(here: Setting, out: Path | None) -> None:
    done = go_on(here, out=out)
    show_head(done.head)
    if not done.finished:
        raise PolicyDenied("resume.given-up", done.what)
    terminal.result(done.what)
