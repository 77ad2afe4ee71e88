"""The commands ``backup``, ``destroy``, ``hsm`` and ``inventory``: what becomes of the key; and their rehearsals."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ceremony.cli.dry_runs import dry_run_option, show_dry_run
from ceremony.cli.options import (
    at_terminal,
    dir_option,
    hsm_option,
    rehearsed_option,
    scan_option,
    setting,
    show_head,
    words_option,
)
from ceremony.conduct.backup import make_backup, try_backup
from ceremony.conduct.destroy import destroy as destroy_key
from ceremony.conduct.dry_later import dry_run_backup, dry_run_destroy, dry_run_restore
from ceremony.conduct.inventory import look
from ceremony.conduct.setting import Setting
from ceremony.hsm import load_hsm_settings
from ceremony.hsm.listing import list_tokens
from ceremony.records import Mode
from ceremony.terminal import Rehearsing
from shared import terminal
from shared.command import Group
from shared.crossing.words import digest_words

_PATH = click.Path(path_type=Path)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group(cls=Group)
def backup() -> None:
    """Wrap the root key for a backup, and try the backup. Only under a plan with backup = true."""


@backup.command("wrap")
@dir_option
@hsm_option
@scan_option
@rehearsed_option
@dry_run_option
def backup_wrap(
    directory: Path, hsm_file: Path, *, scans: tuple[Path, ...], rehearsed: Path | None, dry_run: bool
) -> None:
    """Wrap the root key in a real ceremony: backup/backup-1.json.

    Only a quorum of the present custodians can restore it. After a rotation of custodians make a new one, and destroy
    the old.

    \b
    Example:
      ceremony backup wrap --dir root-2026 --hsm hsm.toml
    """
    here = setting(directory, hsm_file, Mode.REAL, at_terminal(scans=scans), rehearsed=rehearsed)
    _make_backup(here, dry_run=dry_run)


@click.command("backup")
@dir_option
@hsm_option
@words_option
@dry_run_option
def rehearse_backup(directory: Path, hsm_file: Path, words_file: Path, *, dry_run: bool) -> None:
    """Rehearse a backup.

    \b
    Example:
      ceremony rehearse backup --dir practice --hsm hsm.toml --words-file practice-words.txt
    """
    _make_backup(setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file)), dry_run=dry_run)


@backup.command("restore-test")
@dir_option
@hsm_option
@scan_option
@rehearsed_option
@dry_run_option
@click.argument("file", type=_PATH, required=False)
def backup_restore_test(
    directory: Path,
    hsm_file: Path,
    *,
    scans: tuple[Path, ...],
    rehearsed: Path | None,
    dry_run: bool,
    file: Path | None,
) -> None:
    """Try a backup in a real ceremony: unwrapped for a moment, one signature, destroyed again.

    FILE is the backup on its medium; without it, the last one in the ceremony's directory.

    \b
    Example:
      ceremony backup restore-test --dir root-2026 --hsm hsm.toml usb/backup-1.json
    """
    here = setting(directory, hsm_file, Mode.REAL, at_terminal(scans=scans), rehearsed=rehearsed)
    _try_backup(here, file, dry_run=dry_run)


@click.command("restore-test")
@dir_option
@hsm_option
@words_option
@dry_run_option
@click.argument("file", type=_PATH, required=False)
def rehearse_restore_test(
    directory: Path, hsm_file: Path, words_file: Path, *, dry_run: bool, file: Path | None
) -> None:
    """Rehearse the trial of a backup.

    \b
    Example:
      ceremony rehearse restore-test --dir practice --hsm hsm.toml --words-file practice-words.txt
    """
    _try_backup(setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file)), file, dry_run=dry_run)


@click.command()
@dir_option
@hsm_option
@scan_option
@rehearsed_option
@dry_run_option
def destroy(directory: Path, hsm_file: Path, *, scans: tuple[Path, ...], rehearsed: Path | None, dry_run: bool) -> None:
    """Destroy the root key in a real ceremony, prove that it is gone, and erase the token.

    There is no way back. destruction.pdf is the page for people to sign.

    \b
    Example:
      ceremony destroy --dir root-2026 --hsm hsm.toml
    """
    here = setting(directory, hsm_file, Mode.REAL, at_terminal(scans=scans), rehearsed=rehearsed)
    _destroy(here, dry_run=dry_run)


@click.command("destroy")
@dir_option
@hsm_option
@words_option
@dry_run_option
def rehearse_destroy(directory: Path, hsm_file: Path, words_file: Path, *, dry_run: bool) -> None:
    """Rehearse the end of the root key.

    \b
    Example:
      ceremony rehearse destroy --dir practice --hsm hsm.toml --words-file practice-words.txt
    """
    _destroy(setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file)), dry_run=dry_run)


@click.group(cls=Group)
def hsm() -> None:
    """Look at the HSM."""


@hsm.command("info")
@hsm_option
@_json_option
def hsm_info(hsm_file: Path, as_json: bool) -> None:
    """List the tokens of the HSM: no PIN is asked for, nothing is changed.

    \b
    Example:
      ceremony hsm info --hsm hsm.toml
    """
    tokens = list_tokens(load_hsm_settings(hsm_file))
    if as_json:
        terminal.result_json([asdict(each) for each in tokens])
        return
    for each in tokens:
        terminal.result(f"token       {each.label or '(blank)'}{'  (named in hsm.toml)' if each.chosen else ''}")
        terminal.result(f"  serial    {each.serial}")
        terminal.result(f"  device    {each.manufacturer} {each.model}, firmware {each.firmware}")
        terminal.result(f"  state     {'initialised' if each.initialised else 'blank'}")
        terminal.result(f"  PIN       {each.shortest_pin} to {each.longest_pin} bytes")
        terminal.result(f"  profile   {each.profile}")
        terminal.result(
            f"  makes     {'unknown until it is initialised' if each.makes is None else ' '.join(each.makes)}"
        )


@click.command("inventory")
@dir_option
@hsm_option
@scan_option
@_json_option
def inventory(directory: Path, hsm_file: Path, *, scans: tuple[Path, ...], as_json: bool) -> None:
    """Compare everything in the HSM with the record, in a real ceremony. A quorum unlocks it.

    Exits 1 when an object is missing, or is there without a record. Every act does the same before and after it
    uses the HSM.

    \b
    Example:
      ceremony inventory --dir root-2026 --hsm hsm.toml
    """
    _look(setting(directory, hsm_file, Mode.REAL, at_terminal(scans=scans)), as_json=as_json)


hsm.add_command(inventory)


@click.command("inventory")
@dir_option
@hsm_option
@words_option
@_json_option
def rehearse_inventory(directory: Path, hsm_file: Path, words_file: Path, as_json: bool) -> None:
    """Rehearse looking into the HSM.

    \b
    Example:
      ceremony rehearse inventory --dir practice --hsm hsm.toml --words-file practice-words.txt
    """
    _look(setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file)), as_json=as_json)


def _make_backup(here: Setting, *, dry_run: bool) -> None:
    if dry_run:
        show_dry_run(dry_run_backup(here))
        return
    made = make_backup(here)
    terminal.say("digest words of the backup, to write on its bag:")
    terminal.say(f"  {' '.join(digest_words(made.digest))}")
    show_head(made.head)
    terminal.result(str(here.directory.path / made.file))


def _try_backup(here: Setting, file: Path | None, *, dry_run: bool) -> None:
    if dry_run:
        show_dry_run(dry_run_restore(here, file))
        return
    made = try_backup(here, file)
    show_head(made.head)
    terminal.result(f"{made.file} restores the key: sha256 {made.digest.hex()}")


def _destroy(here: Setting, *, dry_run: bool) -> None:
    if dry_run:
        show_dry_run(dry_run_destroy(here))
        return
    made = destroy_key(here)
    show_head(made.head)
    terminal.result(str(here.directory.path / made.file))


def _look(here: Setting, *, as_json: bool) -> None:
    found = look(here)
    show_head(found.head)
    if as_json:
        terminal.result_json([asdict(each) for each in found.objects])
        return
    for each in found.objects:
        terminal.result(f"{each.kind:12} {each.key_type:10} {each.label}  {each.key_id}")
