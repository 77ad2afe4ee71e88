"""The runbook names every command of a ceremony, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from ceremony.cli import cli
from shared.keystore.quirks import STANDARD, TABLE

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "ceremony.md").read_text(encoding="utf-8")
INDEX = TEXT[TEXT.index("## Every command") :]


def _leaves(command: click.Command, name: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        for child in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), child)
            assert found is not None
            yield from _leaves(found, f"{name} {child}")
    else:
        yield name


def test_every_command_is_named_and_no_other() -> None:
    """A command that the runbook does not name is not there when it is needed; one that is not there stops people."""
    named = re.findall(r"`(ceremony [a-z -]+?)`", INDEX)
    assert sorted(named) == sorted(_leaves(cli, "ceremony"))


def test_what_goes_wrong_is_told_with_its_command() -> None:
    """In a safe room nobody searches: crash, torn record and deviation each have their command in the text."""
    before = TEXT[: TEXT.index("## Every command")]
    for wanted in (
        "ceremony resume",
        "ceremony rehearse resume",
        "ceremony exception",
        "transcript.torn-",
        "--take-back",
    ):
        assert wanted in before
    assert "--record" in TEXT


def test_every_profile_is_told() -> None:
    """People choose their HSM by what they read there."""
    named = re.findall(r"^\| `([a-z0-9-]+)` \|", TEXT[TEXT.index("## HSMs and their habits") :], re.MULTILINE)
    assert set(named) >= {each.name for each in TABLE}
    assert STANDARD.name not in named
