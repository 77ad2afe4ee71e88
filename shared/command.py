"""What both command lines share: errors in one line, exit statuses.

Exit statuses: 0 done; 1 refused or failed; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from shared.errors import ColdrootError, Fatal, PeerFailed
from shared.names import printable
from shared.terminal import paint

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_LONGEST_LINE = 1000


def _failed(error: ColdrootError) -> int:
    del error
    return EXIT_FAILED


@contextmanager
def reported(ctx: click.Context, status: Callable[[ColdrootError], int] = _failed) -> Iterator[None]:
    """Turn every error in a ``with`` block into one line (and a hint) and an exit status; click's own pass through.

    Args:
        ctx: of the command that runs.
        status: tells the exit status of an error, where it is not always 1.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except ColdrootError as error:
        report(error)
        ctx.exit(status(error))
    except KeyboardInterrupt:
        ctx.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ctx.exit(status(PeerFailed("output.closed", "nobody reads the output any more")))
    except Exception as error:
        if os.environ.get("COLDROOT_DEBUG"):
            raise
        # The text of a foreign exception may hold anything, a secret too: only its kind is shown.
        unexpected = Fatal(
            "internal.unexpected",
            f"an unexpected {type(error).__name__} stopped the command",
            hint="run it again with COLDROOT_DEBUG=1 for the details, and please report them",
        )
        report(unexpected)
        ctx.exit(status(unexpected))


class Group(click.Group):
    """A click group whose commands end as ``reported`` says."""

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke as click does; report an error of ours and exit, never show a traceback of an unknown one."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        with reported(ctx):
            return super().invoke(ctx)


Group.group_class = Group


def report(error: ColdrootError) -> None:
    """Print an error on stderr: one line with its code, and a hint when there is one."""
    # A message may quote a path or a name that somebody chose to disturb a terminal or to forge a second line.
    message = printable(error.message, limit=_LONGEST_LINE)
    click.echo(f"{paint('error:', 'red', bold=True)} {message} [{error.code}]", err=True)
    if error.hint:
        click.echo(f"{paint('hint:', 'cyan')} {printable(error.hint, limit=_LONGEST_LINE)}", err=True)
