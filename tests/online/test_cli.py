"""The command line as a whole: help that teaches, usage errors, the missing extra, homes, secrets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from online.cli import cli

ROOT = Path(__file__).parents[2]


def _commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli, info_name="online")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                found = command.get_command(context, sub)
                assert found is not None
                yield f"{name} {sub}", found
        else:
            yield name, command


COMMANDS = dict(_commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_with_an_example(name: str) -> None:
    """Somebody who reads only --help must see how the command is used."""
    result = CliRunner().invoke(cli, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"online {name}" in result.output.partition("Example")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    """An option without help must be guessed."""
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and parameter.name != "form":
            assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.parametrize("name", [each for each in COMMANDS if " " not in each])
def test_the_list_says_what_the_command_says(name: str) -> None:
    """The list of commands is written apart, so that help needs no imports; both must begin alike."""
    context = click.Context(cli, info_name="online")
    formatter = click.HelpFormatter(width=200)
    cli.format_commands(context, formatter)
    listed = {line.split()[0]: " ".join(line.split()[1:]) for line in formatter.getvalue().splitlines()[1:]}
    assert COMMANDS[name].get_short_help_str(200).split()[:3] == listed[name].split()[:3]


def test_group_help_lists_everything_and_tells_of_completion() -> None:
    """The first screen is the map."""
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name.split()[0]} " in result.output
    assert "_ONLINE_COMPLETE=bash_source" in result.output
    assert result.stderr == ""


@pytest.mark.parametrize(("name", "status"), [("renew", "3"), ("serve", "77"), ("needs-renewal", "255")])
def test_an_exit_status_of_its_own_is_in_the_help(name: str, status: str) -> None:
    """A script that only knows 0, 1 and 2 would take "not due" or "wrong password" for something else."""
    first = " ".join(CliRunner().invoke(cli, ["--help"]).output.split())
    assert "2 wrong usage, unless a command's own help says otherwise" in first
    own = CliRunner().invoke(cli, [name, "--help"]).output
    assert f" {status} " in own.partition("Exit status")[2]


def test_completion_knows_commands_and_options() -> None:
    """What the help promises must work through click's own protocol."""
    environment = {"_ONLINE_COMPLETE": "bash_complete", "COMP_WORDS": "online ren", "COMP_CWORD": "1"}
    result = CliRunner().invoke(cli, [], env=environment, prog_name="online")
    assert "plain,renew" in result.output
    environment |= {"COMP_WORDS": "online renew --mt", "COMP_CWORD": "2"}
    result = CliRunner().invoke(cli, [], env=environment, prog_name="online")
    assert "plain,--mtls" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["token"],
        ["renew", "a"],
        ["certificate", "x", "a", "b", "--kty", "DSA"],
        ["certificate", "x", "a", "b", "--token", "t", "--san", "y"],
        ["certificate", "x", "a", "b", "--token", "t", "--token-file", "f"],
        ["token", "--revoke", "1", "--san", "x"],
        ["revoke"],
        ["revoke", "--cert", "a"],
        ["revoke", "--cert", "a", "--key", "b", "--token", "t"],
        ["rekey", "a", "b", "--out-key", "c"],
        ["inspect", "a", "--short", "--format", "json"],
        ["serve", "--workers", "0"],
    ],
)
def test_wrong_usage_is_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """A script must be able to tell its own mistake from a refusal."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, arguments, env={"COLDROOT_HOME": "home", "COLDROOT_DEBUG": "1"})
    assert result.exit_code == 2, result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["health"], "bootstrap"),
        (["inspect", "missing.crt"], "does not exist"),
        (["renew", "missing.crt", "missing.key"], "does not exist"),
        (["certificate", "x.local", "no/where.crt", "x.key", "--token", "t"], "directory no does not exist"),
        (["certificate", "x.local", "x.crt", "x.key", "--token", "t.t"], "three parts"),
        (["certificate", "x.local", "x.crt", "x.key", "--token", " "], "empty"),
        (["certificate", "x.local", "x.crt", "x.key", "--kty", "RSA", "--curve", "P-256"], "does not go with"),
        (["token", "x.local", "--offline"], "ca.json does not exist"),
        (["certificate", "x.local", "x.crt", "x.key", "--not-after", "yesterday"], "neither a time nor a duration"),
        (["certificate", "x.local", "x.crt", "x.key", "--not-after", "2001-01-01T00:00:00Z"], "is in the past"),
        (["certificate", "x.local", "x.crt", "x.key", "--not-before", "1h", "--not-after", "-5m"], "[validity."),
        (["sign", "x.csr", "x.crt", "--not-before", "tomorrow"], "neither a time nor a duration"),
        (["certificate", "x.local", "x.crt", "x.crt"], "cannot go into the same file [output.same-file]"),
        (["token", "--revoke", "1x"], "serial"),
        (["token", "x.local", "--not-after", "soon"], "neither a time nor a duration"),
        (["revoke", "1", "--reasonCode", "7"], "not a reason"),
        (["bootstrap", "--ca-url", "http://x", "--fingerprint", "00" * 32], "address of a CA"),
        (["bootstrap", "--ca-url", "x", "--fingerprint", "short"], "fingerprint"),
        (["init", "--name", "A", "--dns", "a", "--address", "x"], "address"),
        (["import", "missing.bundle"], "does not exist"),
        (["serve", "missing.json"], "does not exist"),
    ],
)
def test_each_refusal_is_one_line_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    """One clear line, at most a hint, a stable code, no file left."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, arguments, env={"COLDROOT_HOME": "home", "COLDROOT_DEBUG": "1"})
    assert list(tmp_path.iterdir()) == []
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert words in lines[0] + lines[-1]
    assert lines[0].startswith("error: ")
    assert lines[0].endswith("]")
    assert len(lines) <= 2


@pytest.mark.parametrize(
    "arguments", [["certificate", "x.local", "x.crt", "x.key"], ["revoke"]], ids=["certificate", "revoke"]
)
@pytest.mark.parametrize(
    ("text", "words"), [("t.t\n", "three parts"), ("\n", "empty"), ("\xff.t.t", "token"), ("t" * 70000, "token")]
)
def test_a_token_comes_from_stdin_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str, words: str
) -> None:
    """An argument can be read by every user of the machine, and a pipe by nobody else."""
    monkeypatch.chdir(tmp_path)
    given = text.encode("latin-1")
    result = CliRunner().invoke(
        cli, [*arguments, "--token-file", "-"], input=given, env={"COLDROOT_HOME": "home", "COLDROOT_DEBUG": "1"}
    )
    assert result.exit_code == 1, result.output
    assert words in result.stderr.splitlines()[0]
    assert len(result.stderr.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_one_line_with_2() -> None:
    """On the air-gapped machine only the base is installed: help and inspect work, the rest says what to install."""
    program = (
        "import sys\n"
        "sys.modules.update(aiohttp=None, jwt=None, sqlalchemy=None)\n"
        "from online.cli import cli\n"
        "cli(prog_name='online', args=sys.argv[1:])\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )

    assert run("--help").returncode == 0
    for command in (["serve"], ["token", "x", "--san", "y"], ["init", "--help"]):
        done = run(*command)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert "pip install 'coldroot[online]'" in done.stderr


def test_home_before_or_after_the_command(tmp_path: Path) -> None:
    """Both places are natural; the one nearer to the command wins, and both win over the environment."""
    environment = {"COLDROOT_HOME": str(tmp_path / "environment"), "COLDROOT_DEBUG": "1"}
    token = ["token", "x.local", "--offline"]
    for arguments, expected in (
        (token, "environment"),
        (["--home", str(tmp_path / "group"), *token], "group"),
        (["--home", str(tmp_path / "group"), *token, "--home", str(tmp_path / "command")], "command"),
    ):
        result = CliRunner().invoke(cli, arguments, env=environment)
        assert f"{tmp_path / expected}/config/ca.json does not exist" in result.stderr


def test_no_option_takes_a_password() -> None:
    """A password in argv is in every process list and shell history."""
    for name, command in COMMANDS.items():
        for parameter in command.params:
            flag = isinstance(parameter, click.Option) and parameter.is_flag
            if not flag and any("password" in each or "pin" in each.split("-") for each in parameter.opts):
                assert isinstance(parameter.type, click.Path), f"{name} {parameter.opts}"
