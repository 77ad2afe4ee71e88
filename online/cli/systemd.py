"""``online systemd``: unit files for the node and for the renewal of certificates, printed or installed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from online.cli.options import FILE, done, force_option, json_option, workers_option
from online.units import RenewerUnits, ServerUnits, Unit, cron_line
from online.units.render import CRON_FILE, UNIT_DIRECTORY
from shared import durable, terminal
from shared.command import Group
from shared.errors import RequestRejected

_HOME = Path("/etc/coldroot")
_CERTIFICATES = Path("/etc/step/certs")

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@click.group(cls=Group)
def systemd() -> None:
    """Print or install unit files of systemd, for the node and for renewals.

    \b
    Examples:
      online systemd server --install --user step --home /etc/coldroot
      online systemd renewer --install
    """


def _install_options(command: _Decorated) -> _Decorated:
    command = json_option(command)
    command = force_option("Replace installed files that were changed.")(command)
    command = click.option(
        "--directory", type=FILE, default=UNIT_DIRECTORY, show_default=True, help="Where --install puts unit files."
    )(command)
    return click.option("--install", is_flag=True, help="Write the files instead of printing them.")(command)


def _place_options(command: _Decorated) -> _Decorated:
    command = click.option(
        "--program", type=FILE, help="Path of the online command on the machine that runs it. [default: this one]"
    )(command)
    return click.option("--home", type=FILE, help=f"Home directory, as an absolute path. [default: {_HOME}]")(command)


@systemd.command()
@click.option("--user", default="step", show_default=True, help="System user and group that run the node.")
@click.option("--db", type=FILE, help="Directory of the database, the only one it may write. [default: HOME/db]")
@click.option(
    "--password-file",
    type=FILE,
    help="File with the password of the intermediate's key, or the HSM's PIN; root may be its only reader. "
    "[default: HOME/secrets/intermediate_password.txt]",
)
@workers_option
@click.option(
    "--low-port/--no-low-port", default=True, show_default=True, help="Allow the node to listen on a port below 1024."
)
@click.option(
    "--socket",
    "listen",
    metavar="[ADDRESS:]PORT",
    help="Let systemd listen and start the node at the first connection; the node then needs no privilege.",
)
@_place_options
@_install_options
@click.pass_context
def server(
    ctx: click.Context,
    *,
    home: Path | None,
    program: Path | None,
    user: str,
    db: Path | None,
    password_file: Path | None,
    workers: int,
    low_port: bool,
    listen: str | None,
    install: bool,
    directory: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Print or install the unit of the issuing node.

    The node runs as a user of its own that can write its database and nothing else. It tells systemd when it is
    ready and that it is alive; systemd gives it the password in memory. docs/operations.md explains every line, and
    the drop-in for an HSM.

    \b
    Examples:
      online systemd server > coldroot.service
      online systemd server --install --user step --home /etc/coldroot
      online systemd server --install --socket 443
    """
    units = ServerUnits(
        program=_program(program),
        home=_home(ctx, home),
        user=user,
        database_directory=db,
        password_file=password_file,
        workers=workers,
        low_port=low_port,
        listen=listen,
    ).render()
    if not install:
        _print(units, as_json=as_json)
        return
    _install(units, directory, force=force)
    start = units[-1].name
    terminal.say("\nNext, as root:")
    terminal.say(f"  useradd --system --home {_home(ctx, home)} --shell /bin/false {user}     (unless it exists)")
    terminal.say(f"  chown -R {user}:{user} {_home(ctx, home)}")
    terminal.say(f"  systemctl daemon-reload && systemctl enable --now {start}")


@systemd.command()
@click.option(
    "--certs",
    type=FILE,
    default=_CERTIFICATES,
    show_default=True,
    help="Where NAME.crt and NAME.key lie; a drop-in can say otherwise for one NAME.",
)
@click.option("--cron", is_flag=True, help="The line for cron instead; it needs --cert and --key.")
@click.option("--cert", type=FILE, help="With --cron: the certificate.")
@click.option("--key", type=FILE, help="With --cron: its key.")
@click.option("--user", default="step", show_default=True, help="With --cron: who runs it and may write both files.")
@click.option("--expires-in", default="4h", show_default=True, help="With --cron: renew this long before the end.")
@_place_options
@_install_options
@click.pass_context
def renewer(
    ctx: click.Context,
    *,
    home: Path | None,
    program: Path | None,
    certs: Path,
    cron: bool,
    cert: Path | None,
    key: Path | None,
    user: str,
    expires_in: str,
    install: bool,
    directory: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Print or install the units that keep certificates fresh.

    cert-renewer@NAME.timer starts cert-renewer@NAME.service every five to ten minutes; it renews NAME.crt when a
    third of its life remains, and reloads the service NAME if there is one. cert-renewer-daemon@NAME.service is one
    process for the same purpose. Nothing runs before a timer or daemon is enabled.

    \b
    Examples:
      online systemd renewer --install && systemctl daemon-reload
      systemctl enable --now cert-renewer@postgresql.timer
      online systemd renewer --cron --cert /home/step/foo.crt --key /home/step/foo.key
    """
    if not cron:
        if cert is not None or key is not None:
            raise click.UsageError("--cert and --key belong to --cron; units take the files from --certs")
        units = RenewerUnits(program=_program(program), home=_home(ctx, home), certificates=certs).render()
        if install:
            _install(units, directory, force=force)
            terminal.say("\nNext, as root: systemctl daemon-reload && systemctl enable --now cert-renewer@NAME.timer")
        else:
            _print(units, as_json=as_json)
        return
    if cert is None or key is None:
        raise click.UsageError("--cron needs --cert and --key")
    line = cron_line(
        program=_program(program), home=_home(ctx, home), user=user, certificate=cert, key=key, expires_in=expires_in
    )
    if install:
        _install((line,), CRON_FILE.parent if directory == UNIT_DIRECTORY else directory, force=force)
    else:
        _print((line,), as_json=as_json)


def _home(ctx: click.Context, option: Path | None) -> Path:
    # COLDROOT_HOME is the caller's own home, not the service's.
    return option or ctx.find_root().params.get("home") or _HOME


def _program(option: Path | None) -> Path:
    """Return the path of the ``online`` command, by default of the one that runs."""
    if option is not None:
        return option
    running = shutil.which(sys.argv[0])
    if running is None:
        raise RequestRejected(
            "systemd.program", "it is not known where the online command lies", hint="say it with --program"
        )
    return Path(os.path.abspath(running))  # noqa: PTH100 (a link in /usr/local/bin stays what the unit names)


def _print(units: Sequence[Unit], *, as_json: bool) -> None:
    if as_json:
        terminal.result_json({unit.name: unit.text for unit in units})
        return
    for unit in units:
        if len(units) > 1:
            terminal.result(f"# --- {unit.name}")
        terminal.result(unit.text if len(units) > 1 else unit.text.rstrip("\n"))


def _install(units: Sequence[Unit], directory: Path, *, force: bool) -> None:
    """Write all files or none; one that is there as it should be is left alone."""
    changed = [unit for unit in units if _present(directory / unit.name) != unit.text]
    with durable.Staging() as staging:
        for unit in changed:
            staging.add(directory / unit.name, unit.text.encode(), overwrite=force)
    for unit in units:
        done("written" if unit in changed else "unchanged", directory / unit.name)


def _present(path: Path) -> str | None:
    return durable.read_text(path) if path.is_file() else None
