"""Talking to a person: results on stdout, talk on stderr, secrets from the terminal.

Only this module (and ``ceremony.terminal``, which builds on it) prints or prompts; every other room takes a
callback. Colours and progress bars appear only where a person looks: on a terminal, and not under ``NO_COLOR``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click

from shared import durable
from shared.errors import RequestRejected

_T = TypeVar("_T")

SecretCallback = Callable[[str], bytes]
"""Given the prompt to show, returns a secret. Called only when the secret is really needed."""


def result(text: str) -> None:
    """Print a result on stdout: what a script would read."""
    click.echo(text)


def result_json(value: object) -> None:
    """Print a result as JSON on stdout, keys in the order given.

    Characters that a terminal could obey or misread are written as JSON escapes: the value is the same to a parser.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo("".join(each if each in " \n" or each.isprintable() else json.dumps(each)[1:-1] for each in text))


def say(text: str = "") -> None:
    """Say something to the person on stderr."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    """Warn the person on stderr."""
    click.echo(f"{paint('warning:', 'yellow')} {text}", err=True)


def paint(text: str, colour: str, *, bold: bool = False) -> str:
    """Colour a text for stderr when it is a terminal, else leave it."""
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=colour, bold=bold)


def ask_secret(prompt: str, *, confirm: bool = False) -> bytes:
    """Ask for a secret without showing it.

    Args:
        prompt: what is asked for, without a colon.
        confirm: ask twice and insist that both agree.

    Raises:
        RequestRejected: ``terminal.missing`` when nobody can answer.
    """
    if not sys.stdin.isatty():
        raise RequestRejected(
            "terminal.missing", f"nobody is at a terminal to answer: {prompt}", hint="give the secret in a file instead"
        )
    answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer.encode("utf-8")


def ask_line(prompt: str) -> str:
    """Ask for one visible line; from a pipe, read the next line.

    Raises:
        RequestRejected: ``terminal.missing`` when there is no further line.
    """
    if sys.stdin.isatty():
        answer: str = click.prompt(prompt, err=True)
        return answer.strip()
    line = sys.stdin.readline()
    if not line:
        raise RequestRejected("terminal.missing", f"there is no answer to: {prompt}")
    return line.strip()


def secret_from(file: Path | None, *, confirm: bool = False) -> SecretCallback:
    """Return a callback that reads a secret from a private file, or asks for it when there is none."""

    def from_file(prompt: str) -> bytes:
        del prompt
        assert file is not None
        return durable.read_secret(file)

    def from_person(prompt: str) -> bytes:
        return ask_secret(prompt, confirm=confirm)

    return from_file if file is not None else from_person


@contextmanager
def progress(items: Iterable[_T], label: str, *, length: int | None = None) -> Iterator[Iterable[_T]]:
    """Wrap an iterable so that its progress shows as a bar on stderr, on a terminal only."""
    if not sys.stderr.isatty():
        yield items
        return
    with click.progressbar(items, label=label, length=length, file=sys.stderr) as bar:
        yield bar
