"""Errors at the edge: one line, a hint, a status; never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from shared.command import Group
from shared.errors import ColdrootError, Fatal, RequestRejected


@click.group(cls=Group)
def tool() -> None:
    """A tool."""


@tool.group()
def inner() -> None:
    """A group inside."""


@inner.command()
@click.argument("what")
def fail(what: str) -> None:
    """Fail as asked."""
    if what == "ours":
        raise RequestRejected("a.b", "it went wrong", hint="do it right")
    if what == "forged":
        raise RequestRejected("a.b", "a\nfine: all is well\x1b[2J")
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "foreign":
        raise ValueError("secret words")
    click.echo("done")


def _run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(tool, ["inner", "fail", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_our_errors() -> None:
    """A person at three in the morning needs the line and the hint; a script needs the status."""
    assert _run("ours") == (1, "", "error: it went wrong [a.b]\nhint: do it right\n")


def test_foreign_errors_show_their_kind_only() -> None:
    """The text of a library's exception can hold a secret."""
    status, output, talk = _run("foreign")
    assert (status, output) == (1, "")
    assert "ValueError" in talk
    assert "secret" not in talk
    assert "Traceback" not in talk


def test_a_message_is_one_line() -> None:
    """A file name with a line break could forge a second message, an escape sequence could hide the first."""
    assert _run("forged")[2] == "error: a\\nfine: all is well\\x1b[2J [a.b]\n"


def test_usage_and_interruption() -> None:
    """Scripts tell a wrong call (2) from a refusal (1)."""
    assert _run()[0] == 2
    assert _run("interrupt")[0] == 130
    assert _run("fine") == (0, "done\n", "")


def test_the_family_itself_is_never_raised() -> None:
    """An error without a family has no status at any edge."""
    with pytest.raises(TypeError):
        ColdrootError("a", "b")
    assert str(Fatal("a", "b")) == "b"


def test_closed_pipe() -> None:
    """``ceremony … | head`` must not end in a traceback."""
    program = (
        "import click, sys\nfrom shared.command import Group\n"
        "@click.group(cls=Group)\ndef tool(): ...\n"
        "@tool.command()\ndef much():\n    [click.echo('x' * 1000) for _ in range(1000)]\n"
        "tool()"
    )
    done = subprocess.run(
        ["sh", "-c", f'{sys.executable} -c "$0" much | head -c 1', program],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout == "x"
    assert "Traceback" not in done.stderr
