"""The ``bag`` commands: the register of numbered, tamper-evident bags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ceremony.bags import Seal, read_register
from ceremony.conduct.bagging import Handling, mismatch, open_bag, seal_bag
from ceremony.conduct.directory import CeremonyDirectory, open_journal
from shared import terminal
from shared.clock import SystemClock, rfc3339
from shared.command import Group

_PATH = click.Path(path_type=Path)
_dir_option = click.option("--dir", "directory", type=_PATH, required=True, help="The ceremony's directory.")
_Command = Callable[..., Any]


def _handling_options(command: _Command) -> _Command:
    for option in (
        click.option("--witness", help="Who looked on; asked for when it is not given."),
        click.option("--by", help="Who handled the bag; asked for."),
        click.option("--number", help="The number printed on the bag; asked for."),
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def bag() -> None:
    """Keep the register of tamper-evident bags: what lies in which, since when, and how its seal was."""


@bag.command("seal")
@_dir_option
@_handling_options
@click.option("--holds", help="What is in it, for example 'share 2 of officers'; asked for.")
def bag_seal(*, directory: Path, number: str | None, by: str | None, witness: str | None, holds: str | None) -> None:
    """Record that a bag was sealed. Its number can never be used again.

    \b
    Example:
      ceremony bag seal --dir root-2026 --number A1001 --holds "share 2" --by Blaise --witness Edsger
    """
    handling = _handling(number, by, witness)
    place = CeremonyDirectory(path=directory)
    seal_bag(place, SystemClock(), handling, holds=_asked(holds, "What is in it"))
    terminal.result(f"bag {handling.number} sealed")


@bag.command("open")
@_dir_option
@_handling_options
@click.option(
    "--seal",
    type=click.Choice([each.value for each in Seal]),
    help="How the seal was, before anybody touched it; asked for.",
)
@click.option("--decided", help="What was decided about a mismatch; asked for when there is one.")
def bag_open(
    *,
    directory: Path,
    number: str | None,
    by: str | None,
    witness: str | None,
    seal: str | None,
    decided: str | None,
) -> None:
    """Record that a bag was opened, after number and seal were looked at.

    A bag that the register does not know, that was opened before, or whose seal is broken, is an exception: it is
    recorded as one, with what was decided.

    \b
    Example:
      ceremony bag open --dir root-2026 --number A1001 --by Blaise --witness Edsger --seal intact
    """
    handling = _handling(number, by, witness)
    place, clock = CeremonyDirectory(path=directory), SystemClock()
    found = Seal(seal) if seal is not None else _seal()
    wrong = mismatch(place, clock, handling.number, found)
    if wrong is not None:
        terminal.warn(f"{wrong}: this is an exception")
        decided = _asked(decided, "What was decided, and why it is safe")
    exception = open_bag(place, clock, handling, seal=found, decided=decided)
    if exception is not None:
        terminal.say("write this number on an exception sheet:")
        terminal.result(f"exception {exception}")
        return
    terminal.result(f"bag {handling.number} opened")


@bag.command("list")
@_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def bag_list(directory: Path, as_json: bool) -> None:
    """Print the register: every bag, what it holds, when it was sealed and opened, by whom and seen by whom.

    \b
    Example:
      ceremony bag list --dir root-2026
    """
    bags = read_register(open_journal(CeremonyDirectory(path=directory), SystemClock()).records).values()
    if as_json:
        terminal.result_json(
            [
                {
                    "bag": each.number,
                    "holds": each.holds,
                    "sealed": {"time": rfc3339(each.sealed.time), **_who(each.sealed.body)},
                    "opened": {"time": rfc3339(each.opened.time), **_who(each.opened.body)} if each.opened else None,
                }
                for each in bags
            ]
        )
        return
    for each in bags:
        terminal.result(f"{each.number:16} {each.holds}")
        terminal.result(f"  sealed {rfc3339(each.sealed.time)} by {each.sealed.body['by']}, {_seen(each.sealed.body)}")
        if each.opened is not None:
            body = each.opened.body
            opened = f"opened {rfc3339(each.opened.time)} by {body['by']}, {_seen(body)}"
            terminal.result(f"  {opened}; its seal was {body['seal']}")


def _handling(number: str | None, by: str | None, witness: str | None) -> Handling:
    return Handling(
        number=_asked(number, "Number printed on the bag"),
        by=_asked(by, "Who handles it"),
        witness=_asked(witness, "Who looks on"),
    )


def _seal() -> Seal:
    while (answer := terminal.ask_line("The seal is [intact/broken]").lower()) not in {each.value for each in Seal}:
        terminal.say("type intact or broken")
    return Seal(answer)


def _asked(value: str | None, question: str) -> str:
    return value if value is not None else terminal.ask_line(question)


def _seen(body: Any) -> str:
    return f"seen by {body['witness']}"


def _who(body: Any) -> dict[str, str]:
    return {name: str(body[name]) for name in ("by", "witness", "seal") if name in body}
