"""Errors at the edge: one line, a hint, a status; never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from shared.command import Group, reported
from shared.errors import ColdrootError, Fatal, RequestRejected


@click.group(cls=Group)
def tool() -> None:
    """A tool."""


@tool.group()
def inner() -> None:
    """A group inside."""


class _Answering(click.Command):
    """A command that answers by its exit status."""

    def invoke(self, ctx: click.Context) -> object:
        with reported(ctx, lambda error: 2 if error.code == "a.b" else 255):
            return super().invoke(ctx)


def _fail(what: str) -> None:
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


@inner.command()
@click.argument("what")
def fail(what: str) -> None:
    """Fail as asked."""
    _fail(what)


@inner.command(cls=_Answering)
@click.argument("what")
def answer(what: str) -> None:
    """Fail as asked, with other statuses."""
    _fail(what)


def _run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(tool, ["inner", "fail", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_our_errors() -> None:
    """A person at three in the morning needs the line and the hint; a script needs the status."""
    assert _run("ours") == (1, "", "error: it went wrong [a.b]\nhint: do it right\n")


@pytest.mark.parametrize(("what", "status"), [("ours", 2), ("foreign", 255), ("interrupt", 130), ("fine", 0)])
def test_a_command_may_choose_the_status(what: str, status: int) -> None:
    """Where 1 is an answer, no failure may look like it; line and hint are as everywhere."""
    done = CliRunner().invoke(tool, ["inner", "answer", what])
    assert done.exit_code == status
    assert done.stderr == _run(what)[2]


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


@pytest.mark.parametrize(("kind", "status"), [("", 1), ("cls=Answering", 255)])
def test_closed_pipe(kind: str, status: int) -> None:
    """``ceremony … | head`` must not end in a traceback, and its status must not look like an answer."""
    program = (
        "import click\nfrom shared.command import Group, reported\n"
        "class Answering(click.Command):\n"
        "    def invoke(self, ctx):\n"
        "        with reported(ctx, lambda error: 255):\n            return super().invoke(ctx)\n"
        "@click.group(cls=Group)\ndef tool(): ...\n"
        f"@tool.command({kind})\ndef much():\n    [click.echo('x' * 1000) for _ in range(1000)]\n"
        "tool()"
    )
    done = subprocess.run(
        ["sh", "-c", f'{{ {sys.executable} -c "$0" much; echo $? >&2; }} | head -c 1', program],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("x", f"{status}\n")
