"""The commands ``crl``, ``cross`` and ``rollover``: what a root signs besides intermediates; and their rehearsals."""

from __future__ import annotations

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
from ceremony.conduct.crl import sign_lists
from ceremony.conduct.cross import sign_cross
from ceremony.conduct.dry_later import dry_run_cross, dry_run_lists, dry_run_rollover
from ceremony.conduct.rollover import roll_over
from ceremony.conduct.setting import Setting
from ceremony.records import Mode
from ceremony.terminal import Rehearsing
from shared import terminal
from shared.command import Group
from shared.keys import fingerprint

_PATH = click.Path(path_type=Path)


@click.group(cls=Group)
def crl() -> None:
    """Sign the root's revocation lists, one or a calendar of them."""


@crl.command("sign")
@dir_option
@hsm_option
@scan_option
@rehearsed_option
@dry_run_option
@click.argument("name")
def crl_sign(
    directory: Path, hsm_file: Path, *, scans: tuple[Path, ...], rehearsed: Path | None, dry_run: bool, name: str
) -> None:
    """Sign the lists of the plan's [[crl]] NAME in a real ceremony: crl/NAME-0001.crl and on, in DER.

    A calendar is a series of lists that are signed now and published one after the other, each when it begins.

    \b
    Example:
      ceremony crl sign --dir root-2026 --hsm hsm.toml yearly
    """
    here = setting(directory, hsm_file, Mode.REAL, at_terminal(scans=scans), rehearsed=rehearsed)
    _sign_lists(here, name, dry_run=dry_run)


@click.command("crl")
@dir_option
@hsm_option
@words_option
@dry_run_option
@click.argument("name")
def rehearse_crl(directory: Path, hsm_file: Path, words_file: Path, *, dry_run: bool, name: str) -> None:
    """Rehearse the signing of revocation lists. NAME is the plan's [[crl]].

    \b
    Example:
      ceremony rehearse crl --dir practice --hsm hsm.toml --words-file practice-words.txt yearly
    """
    _sign_lists(setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file)), name, dry_run=dry_run)


@click.group(cls=Group)
def cross() -> None:
    """Certify another CA's root for those who trust only this one."""


@cross.command("sign")
@dir_option
@hsm_option
@scan_option
@rehearsed_option
@dry_run_option
@click.argument("name")
@click.argument("certificate", type=_PATH)
def cross_sign(
    directory: Path,
    hsm_file: Path,
    *,
    scans: tuple[Path, ...],
    rehearsed: Path | None,
    dry_run: bool,
    name: str,
    certificate: Path,
) -> None:
    """Certify another CA's root in a real ceremony: cross/NAME.crt.

    NAME is the plan's [[cross]], which fixes the fingerprint. CERTIFICATE is the other root's own, PEM or DER; the
    words of its fingerprint are compared aloud.

    \b
    Example:
      ceremony cross sign --dir root-2026 --hsm hsm.toml partner usb/partner-root.crt
    """
    here = setting(directory, hsm_file, Mode.REAL, at_terminal(scans=scans), rehearsed=rehearsed)
    _sign_cross(here, name, certificate, dry_run=dry_run)


@click.command("cross")
@dir_option
@hsm_option
@words_option
@dry_run_option
@click.argument("name")
@click.argument("certificate", type=_PATH)
def rehearse_cross(
    directory: Path, hsm_file: Path, words_file: Path, *, dry_run: bool, name: str, certificate: Path
) -> None:
    """Rehearse a cross-certificate. NAME is the plan's [[cross]], CERTIFICATE the other root's own.

    \b
    Example:
      ceremony rehearse cross --dir practice --hsm hsm.toml --words-file practice-words.txt partner partner-root.crt
    """
    here = setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file))
    _sign_cross(here, name, certificate, dry_run=dry_run)


@click.command()
@dir_option
@hsm_option
@scan_option
@rehearsed_option
@dry_run_option
@click.argument("name")
def rollover(
    directory: Path, hsm_file: Path, *, scans: tuple[Path, ...], rehearsed: Path | None, dry_run: bool, name: str
) -> None:
    """Make the next root beside the present one, in a real ceremony: rollover/NAME/*.crt.

    Its key is generated in the same HSM. Beside its certificate there are two that lead from one root to the other:
    new-with-old.crt for who trusts only the present root, old-with-new.crt for who trusts only the next one.

    \b
    Example:
      ceremony rollover --dir root-2026 --hsm hsm.toml next
    """
    here = setting(directory, hsm_file, Mode.REAL, at_terminal(scans=scans), rehearsed=rehearsed)
    _roll_over(here, name, dry_run=dry_run)


@click.command("rollover")
@dir_option
@hsm_option
@words_option
@dry_run_option
@click.argument("name")
def rehearse_rollover(directory: Path, hsm_file: Path, words_file: Path, *, dry_run: bool, name: str) -> None:
    """Rehearse a rollover. NAME is the plan's [[rollover]].

    \b
    Example:
      ceremony rehearse rollover --dir practice --hsm hsm.toml --words-file practice-words.txt next
    """
    _roll_over(setting(directory, hsm_file, Mode.REHEARSAL, Rehearsing(words_file)), name, dry_run=dry_run)


def _sign_lists(here: Setting, name: str, *, dry_run: bool) -> None:
    if dry_run:
        show_dry_run(dry_run_lists(here, name))
        return
    made = sign_lists(here, name)
    show_head(made.head)
    for file in made.files:
        terminal.result(str(here.directory.path / file))


def _sign_cross(here: Setting, name: str, certificate: Path, *, dry_run: bool) -> None:
    if dry_run:
        show_dry_run(dry_run_cross(here, name, certificate))
        return
    made = sign_cross(here, name, certificate)
    show_head(made.head)
    terminal.result(fingerprint(made.certificate))


def _roll_over(here: Setting, name: str, *, dry_run: bool) -> None:
    if dry_run:
        show_dry_run(dry_run_rollover(here, name))
        return
    made = roll_over(here, name)
    show_head(made.head)
    terminal.result(fingerprint(made.root))
