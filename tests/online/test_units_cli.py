"""``online systemd``: printing and installing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from online.cli import cli

PROGRAM = "/opt/coldroot/bin/online"


def run(*arguments: str) -> Result:
    """Run the command line."""
    return CliRunner().invoke(cli, ["systemd", *arguments])


def test_the_printed_unit_is_the_result() -> None:
    """Without this, ``online systemd server > coldroot.service`` would put talk into a unit file."""
    done = run("server", "--program", PROGRAM)
    assert done.exit_code == 0
    assert done.stderr == ""
    assert done.stdout.startswith("# Written by: online systemd server")
    assert done.stdout.endswith("WantedBy=multi-user.target\n")


def test_json_names_each_file() -> None:
    """Without this, a configuration manager could not tell two files apart."""
    done = run("server", "--program", PROGRAM, "--socket", "443", "--json")
    assert list(json.loads(done.stdout)) == ["coldroot.service", "coldroot.socket"]


def test_install_writes_and_then_leaves_alone(tmp_path: Path) -> None:
    """Without this, a second run would fail, or touch what a configuration manager watches."""
    first = run("renewer", "--program", PROGRAM, "--install", "--directory", str(tmp_path))
    assert first.exit_code == 0
    assert first.stdout == ""
    assert first.stderr.count("written") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cert-renewer-daemon@.service", "cert-renewer@.service", "cert-renewer@.timer",
    ]  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
    second = run("renewer", "--program", PROGRAM, "--install", "--directory", str(tmp_path))
    assert second.exit_code == 0
    assert second.stderr.count("unchanged") == 3


def test_a_changed_file_is_kept_unless_forced(tmp_path: Path) -> None:
    """Without this, an operator's own changes would be lost in silence; and all files come or none."""
    service = tmp_path / "coldroot.service"
    service.write_text("mine\n")
    arguments = ("server", "--program", PROGRAM, "--socket", "443", "--install", "--directory", str(tmp_path))
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert "[file.exists]" in refused.stderr
    assert service.read_text() == "mine\n"
    assert [path.name for path in tmp_path.iterdir()] == ["coldroot.service"]
    assert run(*arguments, "--force").exit_code == 0
    assert service.read_text() != "mine\n"
    assert (tmp_path / "coldroot.socket").exists()


def test_installing_tells_the_next_steps(tmp_path: Path) -> None:
    """Without this, an operator would have to guess which of two units to enable."""
    arguments = ("server", "--program", PROGRAM, "--user", "ca", "--install", "--directory", str(tmp_path))
    assert "systemctl enable --now coldroot.service" in " ".join(run(*arguments).stderr.split())
    again = run(*arguments, "--socket", "443", "--force")
    assert "systemctl enable --now coldroot.socket" in " ".join(again.stderr.split())
    assert "--shell /bin/false ca" in again.stderr


def test_the_callers_own_home_is_not_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, an administrator's ~/.coldroot would end up in the unit of the service."""
    monkeypatch.setenv("COLDROOT_HOME", "/nowhere/mine")
    assert "/nowhere" not in run("server", "--program", PROGRAM).stdout


def test_cron_needs_its_files_and_units_have_none() -> None:
    """Without this, a line for cron could name no certificate."""
    assert run("renewer", "--program", PROGRAM, "--cron").exit_code == 2
    assert run("renewer", "--program", PROGRAM, "--cert", "/a.crt").exit_code == 2
    done = run("renewer", "--program", PROGRAM, "--cron", "--cert", "/a.crt", "--key", "/a.key", "--expires-in", "8h")
    assert done.exit_code == 0
    assert "--expires-in 8h /a.crt /a.key" in done.stdout


def test_the_cron_file_is_installed_under_a_name_that_cron_reads(tmp_path: Path) -> None:
    """cron passes over files whose names have a dot."""
    arguments = ("renewer", "--program", PROGRAM, "--cron", "--cert", "/a.crt", "--key", "/a.key")
    assert run(*arguments, "--install", "--directory", str(tmp_path)).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["coldroot-renew"]


def test_a_program_out_of_sight_is_said() -> None:
    """Without this, a node installed in somebody's home would not start, for no reason that is shown."""
    done = run("server", "--program", "/home/me/.venv/bin/online")
    assert done.exit_code == 1
    assert "[systemd.hidden-path]" in done.stderr
    assert done.stdout == ""
