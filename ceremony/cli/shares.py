"""The ``share`` commands: check a sheet, change the custodians, read old shares of another tool."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ceremony.cli.dry_runs import dry_run_option, show_dry_run
from ceremony.cli.options import (
    at_terminal,
    dir_option,
    hsm_option,
    print_option,
    rehearsed_option,
    scan_option,
    setting,
    show_head,
    words_option,
)
from ceremony.conduct import rotation
from ceremony.conduct.directory import CeremonyDirectory, open_journal
from ceremony.conduct.dry_rotation import dry_run_rotation
from ceremony.records import Mode
from ceremony.share_legacy import Alphabet, recover_legacy
from ceremony.share_scan import scan_share
from ceremony.terminal import AtTerminal, Rehearsing
from shared import durable, terminal
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


@share.command("import-legacy")
@click.option(
    "--shares", "count", type=click.IntRange(2, 64), help="How many shares there are to type; each is typed unseen."
)
@click.option("--file", type=_PATH, help="A private file with one share a line, instead of typing.")
@click.option(
    "--alphabet",
    type=click.Choice([each.value for each in Alphabet]),
    default=Alphabet.TEXT.value,
    show_default=True,
    help="What was shared: text (PlaintextToHexSecretSharer) or hex (SecretSharer).",
)
@click.option("--length", type=click.IntRange(1, 400), help="How many symbols the secret has: puts lost zeros back.")
@click.option("--reveal", is_flag=True, help="Print the secret on stdout. Without it, only what can be told of it.")
def share_import_legacy(
    *, count: int | None, file: Path | None, alphabet: str, length: int | None, reveal: bool
) -> None:
    """Recover a secret from shares of the Python package secretsharing: strings such as 1-58cbd305….

    For moving an old PIN or password to a ceremony's shares. That format cannot notice a wrong digit, a missing
    share or one of another set: any shares give some secret. Type one share more than needed, and it is checked
    that all agree. Nothing is stored.

    \b
    Example:
      ceremony share import-legacy --shares 4 --length 32 --reveal
    """
    if (count is None) is (file is None):
        raise click.UsageError("give either --shares or --file")
    if file is not None:
        lines = durable.read_private(file, limit=64 << 10).decode("ascii", "replace").split()
    else:
        lines = [
            terminal.ask_secret(f"Share {number} of {count}").decode("utf-8", "replace")
            for number in range(1, (count or 0) + 1)
        ]
    found = recover_legacy(lines, Alphabet(alphabet), length=length)
    if not found.agree:
        terminal.warn("nothing shows that this is the secret: there was no share to spare, or the shares disagree")
    for number, _ in enumerate(found.others, start=1):
        terminal.warn(f"the secret is short: under another prime it would be another one (possibility {number})")
    if length is None:
        terminal.warn("zeros at its beginning are lost in this format: give --length when it is known")
    if not reveal:
        terminal.result(f"a secret of {len(found.text)} symbols; --reveal prints it")
        return
    for text in (found.text, *found.others):
        terminal.result(text if text.isprintable() else json.dumps(text))


@share.command("rotate")
@dir_option
@hsm_option
@scan_option
@print_option
@click.option("--take-back", is_flag=True, help="Undo an interrupted rotation, by the old shares alone.")
@rehearsed_option
@dry_run_option
@click.argument("name", required=False)
def share_rotate(
    directory: Path,
    hsm_file: Path,
    *,
    scans: tuple[Path, ...],
    print_with: str | None,
    take_back: bool,
    rehearsed: Path | None,
    dry_run: bool,
    name: str | None,
) -> None:
    """Give the root to new custodians, in a real ceremony: a new secret, new PINs, and the old shares dead.

    NAME is the plan's [[rotation]]; it can be left out when there is one. The old quorum unlocks the HSM, each new
    custodian gets a sheet and reads it back, a quorum of the new sheets is put together, and only then the PINs are
    replaced. After an interruption, run it again: it finishes what was begun.

    \b
    Example:
      ceremony share rotate --dir root-2026 --hsm hsm.toml --print-with "lp -d sheets" board-2028
    """
    people = at_terminal(scans=scans, print_with=print_with)
    here = setting(directory, hsm_file, Mode.REAL, people, rehearsed=rehearsed)
    if dry_run:
        show_dry_run(dry_run_rotation(here, name))
        return
    _show(rotation.take_back(here) if take_back else rotation.rotate(here, name))


@click.command("rotate")
@dir_option
@hsm_option
@words_option
@click.option("--new-words-file", type=_PATH, required=True, help="New private file for the words of the new shares.")
@click.option("--take-back", is_flag=True, help="Undo an interrupted rotation, by the old shares alone.")
@dry_run_option
@click.argument("name", required=False)
def rehearse_rotate(
    directory: Path,
    hsm_file: Path,
    words_file: Path,
    new_words_file: Path,
    *,
    take_back: bool,
    dry_run: bool,
    name: str | None,
) -> None:
    """Rehearse a rotation of the custodians. NAME is the plan's [[rotation]].

    \b
    Example:
      ceremony rehearse rotate --dir practice --hsm hsm.toml --words-file practice-words.txt \\
        --new-words-file practice-words-2.txt
    """
    here = setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file, new_words_file))
    if dry_run:
        show_dry_run(dry_run_rotation(here, name, outputs=(new_words_file,)))
        return
    if take_back:
        _show(rotation.take_back(here))
        return
    keep = rotation.words_keeper(new_words_file)
    _show(rotation.rotate(here, name, keep_shares=keep, outputs=(new_words_file,)))


def _show(done: rotation.Rotated) -> None:
    show_head(done.head)
    terminal.result(f"set {done.commitments.set_id} unlocks the HSM: {done.commitments.shape.describe()}")
