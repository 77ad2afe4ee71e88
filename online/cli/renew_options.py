"""The options of ``online renew`` that say who is told afterwards, and what else is written."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from online.cli.options import FILE
from online.renewal.hooks import DEFAULT_TIMEOUT, Hooks, parse_signal, shell_command, split_command
from online.renewal.outputs import Outputs
from shared.durations import parse_duration


def hook_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add who is told; the command gets a ``Hooks`` as ``hooks``."""

    @functools.wraps(command)
    def collected(
        *,
        execute: tuple[str, ...],
        execute_shell: tuple[str, ...],
        exec_timeout: str | None,
        exec_retries: int,
        pid: int | None,
        pid_file: Path | None,
        signal_name: str,
        **others: Any,
    ) -> None:
        hooks = Hooks(
            commands=(*map(split_command, execute), *map(shell_command, execute_shell)),
            pid=pid,
            pid_file=pid_file,
            signal=parse_signal(signal_name),
            timeout=parse_duration(exec_timeout) if exec_timeout is not None else DEFAULT_TIMEOUT,
            retries=exec_retries,
        )
        command(hooks=hooks, **others)

    decorated = click.option(
        "--signal", "signal_name", default="HUP", show_default=True, help="Which signal: 1, HUP or SIGHUP."
    )(collected)
    decorated = click.option(
        "--pid-file", type=FILE, help="Signal the process whose number this file holds, read when it is sent."
    )(decorated)
    decorated = click.option("--pid", type=int, help="Signal this process after a renewal.")(decorated)
    decorated = click.option(
        "--exec-retries", type=int, default=0, show_default=True, help="Run a command that failed so often again."
    )(decorated)
    decorated = click.option(
        "--exec-timeout", metavar="TIME", help="Kill a command, and what it started, after this time. [default: 2m]"
    )(decorated)
    decorated = click.option(
        "--exec-shell",
        "execute_shell",
        metavar="TEXT",
        multiple=True,
        help="Have /bin/sh run this after a renewal, after the commands of --exec. Repeatable.",
    )(decorated)
    return click.option(
        "--exec",
        "execute",
        metavar="COMMAND",
        multiple=True,
        help="Run this after a renewal: words, with quotes as in a shell, but without one. Repeatable.",
    )(decorated)


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what else is written; the command gets an ``Outputs`` as ``outputs``."""

    @functools.wraps(command)
    def collected(*, combined: Path | None, p12: Path | None, p12_password_file: Path | None, **others: Any) -> None:
        if (p12 is None) != (p12_password_file is None):
            raise click.UsageError("give --p12 and --p12-password-file together")
        command(outputs=Outputs(combined=combined, pkcs12=p12, pkcs12_password_file=p12_password_file), **others)

    decorated = click.option("--p12-password-file", type=FILE, help="Private file with the password of --p12.")(
        collected
    )
    decorated = click.option("--p12", type=FILE, help="Keep certificate and key in this PKCS#12 file too.")(decorated)
    return click.option(
        "--combined", type=FILE, help="Keep certificate and key in this one PEM file too, as HAProxy reads it."
    )(decorated)
