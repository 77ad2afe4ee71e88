"""The acts: ``root``, ``intermediate``, and the same under ``rehearse``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from ceremony.cli.options import (
    at_terminal,
    dir_option,
    hsm_option,
    out_option,
    plan_option,
    print_option,
    scan_option,
    setting,
    show_head,
    words_option,
)
from ceremony.cli.shares import rehearse_rotate
from ceremony.conduct.intermediate import sign_intermediate
from ceremony.conduct.root import create_root, words_keeper
from ceremony.plan import load_plan
from ceremony.records import Mode
from ceremony.terminal import People, Rehearsing
from shared import durable, terminal
from shared.command import Group
from shared.crossing.words import digest_words
from shared.errors import RequestRejected
from shared.keys import fingerprint

_PATH = click.Path(path_type=Path)


@click.group(cls=Group)
def root() -> None:
    """Create the root: its key in the HSM, its certificate, its shares."""


@root.command("create")
@plan_option
@hsm_option
@dir_option
@print_option
def root_create(plan_file: Path, hsm_file: Path, directory: Path, print_with: str | None) -> None:
    """Create a root in a real ceremony.

    The host must be fit (see `ceremony host check`). The custodians must be present: one after the
    other, each gets a sheet at the printer and types it back; in the end a quorum unlocks the HSM once more.

    \b
    hsm.toml for a real HSM:             for SoftHSM:
      module = "/usr/lib/libhsm.so"        module = "softhsm2"
      token_label = "root-2026"            token_label = "root-2026"
                                           [softhsm]
                                           directory = "tokens"
    """
    _create_root(
        plan_file,
        hsm_file,
        directory,
        mode=Mode.REAL,
        people=at_terminal(print_with=print_with),
        words_file=None,
    )


@click.group(cls=Group)
def intermediate() -> None:
    """Sign the intermediates that issuing nodes ask for."""


@intermediate.command("sign")
@dir_option
@hsm_option
@out_option
@scan_option
@click.argument("request", nargs=-1, required=True, type=_PATH)
def intermediate_sign(
    directory: Path, hsm_file: Path, out: Path, scans: tuple[Path, ...], request: tuple[Path, ...]
) -> None:
    """Sign an intermediate in a real ceremony.

    REQUEST is the bundle from `online init`: request.bundle, or photographs of its QR codes in any order.
    The digest words are compared aloud, and a quorum of custodians unlocks the HSM.

    \b
    Example:
      ceremony intermediate sign --dir root-2026 --hsm hsm.toml --out usb/ usb/request.bundle
    """
    _sign_intermediate(directory, hsm_file, out, request, mode=Mode.REAL, people=at_terminal(scans=scans))


@click.group(cls=Group)
def rehearse() -> None:
    """Practise a ceremony: the same acts, on a host of any kind, with nobody asked.

    A rehearsal is marked as one in its transcript and on its sheets, for ever. It keeps the words of all shares
    in a file, so that it can go on alone; a real ceremony has no such option.
    """


@rehearse.command("root")
@plan_option
@hsm_option
@dir_option
@words_option
def rehearse_root(plan_file: Path, hsm_file: Path, directory: Path, words_file: Path) -> None:
    """Rehearse the creation of a root.

    \b
    Example:
      ceremony rehearse root --plan plan.toml --hsm hsm.toml --dir practice --words-file practice-words.txt
    """
    if os.path.lexists(words_file):
        raise RequestRejected("file.exists", f"{words_file} already exists", hint="give a new file for the words")
    people = Rehearsing(words_file)
    _create_root(plan_file, hsm_file, directory, mode=Mode.REHEARSAL, people=people, words_file=words_file)


rehearse.add_command(rehearse_rotate)


@rehearse.command("intermediate")
@dir_option
@hsm_option
@words_option
@out_option
@click.argument("request", nargs=-1, required=True, type=_PATH)
def rehearse_intermediate(
    directory: Path, hsm_file: Path, words_file: Path, out: Path, request: tuple[Path, ...]
) -> None:
    """Rehearse the signing of an intermediate. REQUEST is a bundle file, or the images of its QR codes.

    \b
    Example:
      ceremony rehearse intermediate --dir practice --hsm hsm.toml --words-file practice-words.txt \\
        --out crossing crossing/request-*.png
    """
    people = Rehearsing(words_file)
    _sign_intermediate(directory, hsm_file, out, request, mode=Mode.REHEARSAL, people=people)


def _create_root(
    plan_file: Path, hsm_file: Path, directory: Path, *, mode: Mode, people: People, words_file: Path | None
) -> None:
    plan_bytes = durable.read_file(plan_file)
    made = create_root(
        setting(directory, hsm_file, mode, people),
        load_plan(plan_bytes),
        plan_bytes,
        keep_shares=words_keeper(words_file) if words_file is not None else None,
        outputs=[words_file] if words_file is not None else [],
    )
    show_head(made.head)
    terminal.result(fingerprint(made.certificate))


def _sign_intermediate(
    directory: Path, hsm_file: Path, out: Path, request: Sequence[Path], *, mode: Mode, people: People
) -> None:
    made = sign_intermediate(setting(directory, hsm_file, mode, people), request, out)
    terminal.say("digest words of the reply, to compare where it is imported:")
    terminal.say(f"  {' '.join(digest_words(made.reply_digest))}")
    show_head(made.head)
    terminal.result(fingerprint(made.certificate))
