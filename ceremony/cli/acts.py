"""The acts: ``root``, ``intermediate``, and the same under ``rehearse``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from ceremony.cli.dry_runs import dry_run_option, show_dry_run
from ceremony.cli.keys import rehearse_backup, rehearse_destroy, rehearse_inventory, rehearse_restore_test
from ceremony.cli.options import (
    at_terminal,
    dir_option,
    hsm_option,
    out_option,
    plan_option,
    print_option,
    rehearsed_option,
    sample_option,
    scan_option,
    setting,
    show_head,
    words_option,
)
from ceremony.cli.roots import rehearse_crl, rehearse_cross, rehearse_rollover
from ceremony.cli.shares import rehearse_rotate
from ceremony.conduct.dry_run import dry_run_intermediate, dry_run_root
from ceremony.conduct.intermediate import sign_intermediate
from ceremony.conduct.root import create_root, words_keeper
from ceremony.conduct.setting import Setting
from ceremony.plan import load_plan
from ceremony.records import Mode
from ceremony.terminal import Rehearsing
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
@rehearsed_option
@dry_run_option
def root_create(
    plan_file: Path, hsm_file: Path, directory: Path, *, print_with: str | None, rehearsed: Path | None, dry_run: bool
) -> None:
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
    people = at_terminal(print_with=print_with)
    here = setting(directory, hsm_file, Mode.REAL, people, rehearsed=rehearsed)
    _create_root(here, plan_file, dry_run=dry_run)


@click.group(cls=Group)
def intermediate() -> None:
    """Sign the intermediates that issuing nodes ask for."""


@intermediate.command("sign")
@dir_option
@hsm_option
@out_option
@scan_option
@sample_option
@rehearsed_option
@dry_run_option
@click.argument("request", nargs=-1, required=True, type=_PATH)
def intermediate_sign(
    directory: Path,
    hsm_file: Path,
    out: Path,
    *,
    scans: tuple[Path, ...],
    samples: tuple[str, ...],
    rehearsed: Path | None,
    dry_run: bool,
    request: tuple[Path, ...],
) -> None:
    """Sign an intermediate in a real ceremony.

    REQUEST is the bundle from `online init`: request.bundle, or photographs of its QR codes in any order.
    The digest words are compared aloud, and a quorum of custodians unlocks the HSM.

    \b
    Example:
      ceremony intermediate sign --dir root-2026 --hsm hsm.toml --out usb/ usb/request.bundle
    """
    here = setting(directory, hsm_file, Mode.REAL, at_terminal(scans=scans), rehearsed=rehearsed)
    _sign_intermediate(here, out, request, samples=samples, dry_run=dry_run)


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
@dry_run_option
def rehearse_root(plan_file: Path, hsm_file: Path, directory: Path, *, words_file: Path, dry_run: bool) -> None:
    """Rehearse the creation of a root.

    \b
    Example:
      ceremony rehearse root --plan plan.toml --hsm hsm.toml --dir practice --words-file practice-words.txt
    """
    if os.path.lexists(words_file):
        raise RequestRejected("file.exists", f"{words_file} already exists", hint="give a new file for the words")
    here = setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file))
    _create_root(here, plan_file, words_file=words_file, dry_run=dry_run)


_SIGNING = (rehearse_crl, rehearse_cross, rehearse_rollover)
_KEEPING = (rehearse_rotate, rehearse_backup, rehearse_restore_test, rehearse_inventory, rehearse_destroy)
for _command in (*_SIGNING, *_KEEPING):
    rehearse.add_command(_command)


@rehearse.command("intermediate")
@dir_option
@hsm_option
@words_option
@out_option
@sample_option
@dry_run_option
@click.argument("request", nargs=-1, required=True, type=_PATH)
def rehearse_intermediate(
    directory: Path,
    hsm_file: Path,
    words_file: Path,
    out: Path,
    *,
    samples: tuple[str, ...],
    dry_run: bool,
    request: tuple[Path, ...],
) -> None:
    """Rehearse the signing of an intermediate. REQUEST is a bundle file, or the images of its QR codes.

    \b
    Example:
      ceremony rehearse intermediate --dir practice --hsm hsm.toml --words-file practice-words.txt \\
        --out crossing crossing/request-*.png
    """
    here = setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file))
    _sign_intermediate(here, out, request, samples=samples, dry_run=dry_run)


def _create_root(here: Setting, plan_file: Path, *, words_file: Path | None = None, dry_run: bool) -> None:
    plan_bytes = durable.read_file(plan_file)
    plan = load_plan(plan_bytes)
    outputs = [words_file] if words_file is not None else []
    if dry_run:
        show_dry_run(dry_run_root(here, plan, outputs=outputs))
        return
    keep = words_keeper(words_file) if words_file is not None else None
    made = create_root(here, plan, plan_bytes, keep_shares=keep, outputs=outputs)
    show_head(made.head)
    terminal.result(fingerprint(made.certificate))


def _sign_intermediate(
    here: Setting, out: Path, request: Sequence[Path], *, samples: Sequence[str], dry_run: bool
) -> None:
    if dry_run:
        show_dry_run(dry_run_intermediate(here, request, out, samples=samples))
        return
    made = sign_intermediate(here, request, out, samples=samples)
    terminal.say("digest words of the reply, to compare where it is imported:")
    terminal.say(f"  {' '.join(digest_words(made.reply_digest))}")
    show_head(made.head)
    terminal.result(fingerprint(made.certificate))
