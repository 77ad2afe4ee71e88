"""The runbook's rehearsal, typed as it stands: what the paper says is what the commands do."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.softhsm import needs_softhsm

ROOT = Path(__file__).resolve().parents[1]
SECTION = "## A rehearsal, command by command"

KILLED = """
import os, sys
from ceremony.cli import cli
from ceremony.transcript import Transcript
append, left = Transcript.append, [int(sys.argv.pop(1))]
def killed(self, kind, body):
    record = append(self, kind, body)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), 9)
    return record
Transcript.append = killed
cli()
"""

KILLS = {"rehearse root": 16, "rehearse backup": 6, "rehearse amend": 4}
"""The commands that are killed, right after so many records of theirs."""


def typed_commands() -> list[str]:
    """Return the shell commands of the section, in order; a here-document and a continued line stay whole."""
    text = (ROOT / "docs" / "ceremony.md").read_text().partition(SECTION)[2].partition("\n## ")[0]
    commands: list[str] = []
    ending: str | None = None
    for line in "".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).splitlines():
        if ending is not None or (commands and commands[-1].endswith("\\\n")):
            commands[-1] += line + "\n"
            ending = None if line == ending else ending
            continue
        commands.append(line + "\n")
        found = re.search(r"<<(\w+)$", line)
        ending = found.group(1) if found else None
    return commands


def shell(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(directory), "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=directory, env=environment, capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip


@needs_softhsm
@pytest.mark.skipif(
    shutil.which("ceremony", path=str(Path(sys.executable).parent)) is None,
    reason="the commands are not installed here",
)
def test_the_rehearsal_runs_as_it_is_written_and_is_killed_twice(tmp_path: Path) -> None:
    """A runbook is followed by tired people word by word: a command that fails in it fails on the day."""
    killed = []
    setting = ""
    for command in typed_commands():
        if not command.startswith(("ceremony ", "online ")):
            setting += command if "=$(" in command else ""
            done = shell(setting + command, tmp_path)
            assert done.returncode == 0, (command, done.stderr)
            continue
        arguments = shlex.split(command.replace("\\\n", " "))
        name = " ".join(arguments[1:3])
        if name in KILLS:
            killed.append(name)
            program = [sys.executable, "-c", KILLED, str(KILLS[name]), *arguments[1:]]
            gone = subprocess.run(
                program, cwd=tmp_path, capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
            assert gone.returncode == -9, (name, gone.stderr)
            # What resume does not finish itself, it says how to finish: by the same command.
            done = shell("ceremony rehearse resume --dir practice --hsm hsm.toml --words-file words.txt", tmp_path)
            if done.returncode == 0:
                continue
            assert "resume.own-way" in done.stderr, (name, done.stderr)
        done = shell(command, tmp_path)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert sorted(killed) == sorted(KILLS)
    assert (tmp_path / "alpha-home" / "certs" / "intermediate_ca.crt").is_file()
    assert len(list((tmp_path / "practice" / "crl").glob("year-*.crl"))) == 4
    # Another checkout, no network, no HSM: the copy of the directory is enough.
    copy = shutil.copytree(tmp_path / "practice", tmp_path / "elsewhere")
    done = shell(f"ceremony verify {copy}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stdout
