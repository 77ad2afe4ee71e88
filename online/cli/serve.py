"""``online serve``."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path

import click

from online import supervisor
from online.cli.options import FILE, home_option, secret_source, workers_option
from online.home import Home
from online.pidfile import pid_file
from online.shared_authority import load_node_config
from shared.command import report
from shared.errors import RequestRejected, Unauthenticated

EXIT_WRONG_SECRET = 77
"""EX_NOPERM of sysexits(3): a service manager must not try again, for an HSM locks itself after a few attempts."""

_HIGHEST_PORT = 65535


@click.command()
@click.argument("config_file", metavar="[CONFIG]", type=FILE, required=False)
@click.option(
    "--password-file",
    type=FILE,
    help="Private file with the password of the intermediate's key, or the HSM's PIN. Without it: the one in ca.json, "
    "else the one that online init left in the home's secrets/, else you are asked.",
)
@click.option("--address", metavar="HOST:PORT", help="Listen here, instead of where ca.json says.")
@workers_option
@click.option(
    "--pidfile", type=FILE, help="Keep the number of the process in this file; --reload finds the node by it."
)
@home_option
@click.pass_context
def serve(
    ctx: click.Context,
    *,
    home: Home,
    config_file: Path | None,
    password_file: Path | None,
    address: str | None,
    workers: int,
    pidfile: Path | None,
) -> None:
    """Run the issuing node until it is told to stop.

    CONFIG is a ca.json; without it, the home's. TERM or INT ends the node after the requests in progress, HUP reads
    CONFIG again without dropping any. Logs go to stderr. A listening socket of systemd's is taken over, unless
    --address is given; online systemd server makes the unit files.

    \b
    Exit status:
      0   ended as it was told
      1   could not start, or cannot go on
      2   wrong usage
      77  wrong password or PIN: trying again would not help, and could lock an HSM

    \b
    Examples:
      online serve
      online serve /etc/coldroot/config/ca.json --password-file /etc/coldroot/password.txt --workers 4
    """
    config = load_node_config(config_file or home.config)
    if password_file is not None:
        # The option wins over a password in the file.
        config = dataclasses.replace(config, password=None)
    host, port = _address(address) if address is not None else (None, None)
    secret = secret_source(password_file, Home(path=config.home).intermediate_password)
    try:
        with pid_file(pidfile) if pidfile is not None else nullcontext():
            supervisor.serve(config, secret=secret, workers=workers, host=host, port=port)
    except Unauthenticated as error:
        report(error)
        ctx.exit(EXIT_WRONG_SECRET)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > _HIGHEST_PORT:  # noqa: PLR2004
        raise RequestRejected(
            "serve.address", "--address is not HOST:PORT", hint="write :9000, 127.0.0.1:9000 or [::1]:9000"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)
