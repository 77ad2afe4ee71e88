"""The commands that change nothing: what they print, what they refuse, and in which status."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from fakes.day import DAY
from fakes.keyboard import typed, types
from fakes.rehearsal import Rehearsal, fit_host, full_rehearsal, no_hardening
from fakes.softhsm import needs_softhsm

from ceremony import shares
from ceremony.cli import cli
from ceremony.plan import EXAMPLE
from ceremony.terminal import AtTerminal


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))


@pytest.mark.parametrize("path", [(), *_commands(cli)], ids=" ".join)
def test_every_command_teaches(path: tuple[str, ...]) -> None:
    """A command without help is one that an administrator has to guess at."""
    done = _run(*path, "--help")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) > 5
    for line in done.stdout.splitlines():
        if line.startswith("  --"):
            assert len(line.split()) > 2, line


def test_a_plan_from_new_to_check(tmp_path: Path) -> None:
    """The example is where everybody starts; its words are what everybody compares."""
    file = tmp_path / "plan.toml"
    file.write_text(_run("plan", "new").stdout)
    assert file.read_text() == EXAMPLE
    shown = _run("plan", "check", file)
    facts = json.loads(_run("plan", "check", file, "--json").stdout)
    assert shown.exit_code == 0
    assert facts["sha256"] in shown.stdout
    assert " ".join(facts["words"]) in shown.stdout
    assert facts["shares"]["groups"][0]["threshold"] == 3


def test_bad_plans_are_one_line(tmp_path: Path) -> None:
    """The dotted key leads to the line to mend."""
    file = tmp_path / "plan.toml"
    file.write_text(EXAMPLE.replace("years = 10", "yaers = 10"))
    done = _run("plan", "check", file)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "root.yaers is not a known key" in done.stderr
    assert _run("plan", "check", tmp_path / "none").exit_code == 1
    assert _run("plan", "check").exit_code == 2


def test_a_calendar_that_outlives_its_root_is_refused_on_paper(tmp_path: Path) -> None:
    """The room would learn it when the last act is typed, years of lists short."""
    file, first = tmp_path / "plan.toml", 'this_update = "2026-12-01T12:00:00Z"\nnext_update = "2027-06-01T12:00:00Z"'
    assert first in DAY
    late = first.replace("2027-06-01", "2046-05-01").replace("2026-12-01", "2046-01-01")
    file.write_text(DAY.replace(first, late))
    done = _run("plan", "check", file)
    assert (done.exit_code, "not inside the root's validity" in done.stderr) == (1, True), done.stderr
    file.write_text(DAY)
    assert _run("plan", "check", file).exit_code == 0


def test_host_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that prepares a ceremony relies on the status."""
    no_hardening(monkeypatch)
    fit_host(monkeypatch, fit=False)
    done = _run("host", "check")
    assert (done.exit_code, "not fit" in done.stderr, "fail" in done.stdout) == (1, True, True)
    assert _run("host", "check", "--rehearsal").exit_code == 0
    assert json.loads(_run("host", "check", "--rehearsal", "--json").stdout)[0]["status"] == "fail"
    fit_host(monkeypatch, fit=True)
    assert _run("host", "check").exit_code == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """One finished rehearsal, never changed."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        yield full_rehearsal(tmp_path_factory.mktemp("papers"))


@needs_softhsm
def test_one_custodian_checks_one_sheet(finished: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sheet that rotted in its bag must be noticed while the others are still good."""
    share = shares.read_words_file(finished.words)[1]
    monkeypatch.setattr(AtTerminal.__init__, "__kwdefaults__", _defaults(typed(share.words)))
    done = _run("share", "check", "--dir", finished.directory)
    assert done.stdout.startswith("this is share 2 of the set ")
    wrong = typed((*share.words[:9], *share.words[10:])) + "\r" * 9
    monkeypatch.setattr(AtTerminal.__init__, "__kwdefaults__", _defaults(wrong))
    done = _run("share", "check", "--dir", finished.directory)
    assert done.exit_code == 1
    # Single words of the list are ordinary English; two in their order are no accident.
    assert not [place for place in range(32) if " ".join(share.words[place : place + 2]) in done.output]


def _defaults(text: str) -> dict[str, object]:
    return {**(AtTerminal.__init__.__kwdefaults__ or {}), "keyboard": types(lambda _: text)}


@needs_softhsm
def test_the_head_is_what_sha256sum_prints(finished: Rehearsal) -> None:
    """A witness can compute the head with tools of their own."""
    last = subprocess.run(
        ["sh", "-c", f"tail -n 1 {finished.directory}/transcript.jsonl | sha256sum"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert last.stdout.split()[0] == _run("transcript", "head", finished.directory).stdout.splitlines()[0]
