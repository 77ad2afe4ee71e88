"""Filling in unit files: what is in them, and what must never get into them."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online.cli import cli
from online.units import RenewerUnits, ServerUnits, Unit, cron_line
from shared.errors import RequestRejected

PROGRAM = Path("/opt/coldroot/bin/online")
HOME = Path("/etc/coldroot")


def server(**changes: Any) -> tuple[Unit, ...]:
    """Return the units of a node."""
    return ServerUnits(**{"program": PROGRAM, "home": HOME, **changes}).render()


def renewer(**changes: Any) -> tuple[Unit, ...]:
    """Return the units of renewals."""
    return RenewerUnits(
        **{"program": PROGRAM, "home": HOME, "certificates": Path("/etc/step/certs"), **changes}
    ).render()


def value(unit: Unit, section: str, key: str) -> list[str]:
    """Return all values of a key in a section."""
    body = unit.text.split(f"[{section}]\n")[1].split("\n[")[0]
    return re.findall(rf"^{key}=(.*)$", body, re.MULTILINE)


def test_the_service_runs_the_program_as_the_user_in_the_home() -> None:
    """Without this, the one line that starts the node could start something else."""
    (unit,) = server(user="ca", workers=3)
    assert unit.name == "coldroot.service"
    assert value(unit, "Service", "User") == ["ca"]
    assert value(unit, "Service", "Group") == ["ca"]
    (start,) = value(unit, "Service", "ExecStart")
    program, *arguments = start.split()
    assert program == "/opt/coldroot/bin/online"
    assert arguments[:2] == ["serve", "/etc/coldroot/config/ca.json"]
    assert arguments[2:] == ["--password-file", "${CREDENTIALS_DIRECTORY}/password", "--workers", "3"]
    assert value(unit, "Service", "LoadCredential") == ["password:/etc/coldroot/secrets/intermediate_password.txt"]


@pytest.mark.parametrize(
    "setting",
    [
        "NoNewPrivileges=yes", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes", "ProtectClock=yes",
        "ProtectControlGroups=yes", "ProtectKernelTunables=yes", "ProtectKernelLogs=yes", "ProtectKernelModules=yes",
        "LockPersonality=yes", "RestrictSUIDSGID=yes", "RemoveIPC=yes", "RestrictRealtime=yes",
        "RestrictNamespaces=yes", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "SystemCallFilter=@system-service",
        "SystemCallArchitectures=native", "MemoryDenyWriteExecute=yes", "AmbientCapabilities=CAP_NET_BIND_SERVICE",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "ExecReload=/bin/kill -HUP $MAINPID", "Restart=on-failure",
        "RestartSec=5", "TimeoutStopSec=30", "StartLimitIntervalSec=30", "StartLimitBurst=3",
        "WantedBy=multi-user.target", "After=network-online.target", "Wants=network-online.target",
        # Stricter than the page.
        "Type=notify", "WatchdogSec=30", "ProtectSystem=strict", "SystemCallFilter=~@privileged @resources",
        "UMask=0077", "LimitCORE=0", "MemorySwapMax=0", "RestartPreventExitStatus=77",
    ],
)  # fmt: skip
def test_nothing_of_the_sandbox_is_missing(setting: str) -> None:
    """Without this, a protection of step-ca's own unit could get lost, and nobody would notice."""
    (unit,) = server()
    assert setting in unit.text.splitlines()


def test_only_the_database_is_writable() -> None:
    """Without this, a node that was taken over could rewrite its own configuration and keys."""
    (unit,) = server(database_directory=Path("/srv/ca-db"))
    assert value(unit, "Service", "ReadWritePaths") == ["/srv/ca-db"]
    assert value(server()[0], "Service", "ReadWritePaths") == ["/etc/coldroot/db"]


@pytest.mark.parametrize("changes", [{"low_port": False}, {"listen": "443"}])
def test_without_a_low_port_there_is_no_capability(changes: dict[str, Any]) -> None:
    """Without this, a node that does not need the right to a low port would have it all the same."""
    unit = server(**changes)[0]
    assert value(unit, "Service", "CapabilityBoundingSet") == [""]
    assert value(unit, "Service", "AmbientCapabilities") == []
    assert value(unit, "Service", "PrivateUsers") == ["yes"]


@pytest.mark.parametrize("listen", ["443", "192.0.2.1:443", "[2001:db8::1]:8443"])
def test_a_socket_belongs_to_its_service(listen: str) -> None:
    """Without this, the service could be started without the socket that it is to take over."""
    service, socket = server(listen=listen)
    assert value(socket, "Socket", "ListenStream") == [listen]
    assert value(service, "Unit", "Requires") == [socket.name]
    assert value(service, "Install", "Also") == [socket.name]


def test_no_placeholder_and_no_empty_line_of_one_stays() -> None:
    """Without this, systemd would warn of a line that it cannot read."""
    for unit in (*server(), *server(listen="443"), *renewer()):
        assert not re.search(r"@[A-Z_]+@", unit.text)
        assert "\n\n\n" not in unit.text
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
        parser.read_string(unit.text)
        assert "Unit" in parser.sections()


BAD_PATHS = [
    "relative/path", "/with space", "/with\nnewline", '/with"quote', "/with%specifier", "/with$variable", "/with;end",
    "/with\\slash", "/with'quote", "/../etc", "/umlaut-ä", "/" + "x" * 2000, "/with\x00nul", "/colon:colon",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("key", ["program", "home", "database_directory", "password_file"])
def test_a_path_that_systemd_could_misread_is_refused(key: str, path: str) -> None:
    """Without this, a path could end a line and add another setting."""
    with pytest.raises(RequestRejected) as failure:
        server(**{key: Path(path)})
    assert failure.value.code == "systemd.path"


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_renewer_path_that_systemd_could_misread_is_refused(path: str) -> None:
    """Without this, the units that run as root would be the way in."""
    for key in ("program", "home", "certificates"):
        with pytest.raises(RequestRejected) as failure:
            renewer(**{key: Path(path)})
        assert failure.value.code == "systemd.path"


@pytest.mark.parametrize("user", ["", "Root", "a b", "x\ny", "-x", "0", "a" * 33, "u%i"])
def test_an_odd_user_is_refused(user: str) -> None:
    """Without this, the node could run as another user than meant."""
    with pytest.raises(RequestRejected) as failure:
        server(user=user)
    assert failure.value.code == "systemd.user"


@pytest.mark.parametrize(
    "listen", ["", "0", "65536", "host:443", "443\nFoo=bar", ":443", "[::1]", "/run/x.sock", "4 43"]
)
def test_nothing_but_a_port_can_be_listened_on(listen: str) -> None:
    """Without this, a UNIX socket or a second setting could get into the socket unit."""
    with pytest.raises(RequestRejected) as failure:
        server(listen=listen)
    assert failure.value.code == "systemd.listen"


@pytest.mark.parametrize(
    "hidden", ["/home/me/coldroot", "/root/venv/bin/online", "/tmp/x", "/var/tmp/x", "/run/user/0"]
)
@pytest.mark.parametrize("key", ["program", "home", "database_directory"])
def test_what_the_sandbox_hides_is_refused(key: str, hidden: str) -> None:
    """Without this, the service would fail to start with a status number instead of a reason."""
    with pytest.raises(RequestRejected) as failure:
        server(**{key: Path(hidden)})
    assert failure.value.code == "systemd.hidden-path"
    assert failure.value.hint


def test_the_password_may_lie_where_only_root_looks() -> None:
    """The service manager reads it from outside of the sandbox; without this, /root would be refused for nothing."""
    (unit,) = server(password_file=Path("/root/ca-password"))
    assert value(unit, "Service", "LoadCredential") == ["password:/root/ca-password"]


@given(
    path=st.text(alphabet=st.characters(codec="utf-8"), max_size=40).map(lambda text: f"/{text}"),
    listen=st.text(max_size=12),
)
@settings(max_examples=150)
def test_no_value_adds_a_line(path: str, listen: str) -> None:
    """Without this, a value nobody thought of could bring a setting of its own."""
    lines = [line.split("=")[0] for line in server(listen="443")[0].text.splitlines()]
    try:
        service, socket = server(database_directory=Path(path), listen=listen)
    except RequestRejected:
        return
    assert [line.split("=")[0] for line in service.text.splitlines()] == lines
    assert len(socket.text.splitlines()) == len(server(listen="443")[1].text.splitlines())


def test_the_renewer_asks_first_and_renews_then() -> None:
    """Without this, each run of the timer would renew, or a certificate that is gone would look like one in order."""
    service, timer, daemon = renewer()
    assert [unit.name for unit in (service, timer, daemon)] == [
        "cert-renewer@.service", "cert-renewer@.timer", "cert-renewer-daemon@.service",
    ]  # fmt: skip
    first, second = value(service, "Service", "ExecCondition")
    assert "exit 255" in first
    assert second.startswith(f'/bin/sh -c \'{PROGRAM} needs-renewal --not-due-status 75 "$CERT_LOCATION";')
    assert value(service, "Service", "ExecStart") == [f"{PROGRAM} renew --force ${{CERT_LOCATION}} ${{KEY_LOCATION}}"]
    assert value(service, "Service", "Environment") == [
        "COLDROOT_HOME=/etc/coldroot CERT_LOCATION=/etc/step/certs/%i.crt KEY_LOCATION=/etc/step/certs/%i.key"
    ]
    assert value(service, "Service", "TimeoutStartSec") == ["5min"]


@pytest.mark.parametrize(
    ("program", "status"),
    [("exit 0", 0), ("exit 75", 1), ("exit 1", 255), ("exit 2", 255), ("kill -9 $$", 255), (None, 255)],
)
def test_a_program_that_is_missing_or_crashes_is_not_not_due(tmp_path: Path, program: str | None, status: int) -> None:
    """To systemd 1 to 254 are a clean skip: without this, a broken installation would end renewals in silence."""
    online = tmp_path / "online"
    if program is not None:
        online.write_text(f"#!/bin/sh\n{program}\n")
        online.chmod(0o755)
    condition = value(renewer()[0], "Service", "ExecCondition")[1]
    words = shlex.split(condition.replace("$$", "$").replace(str(PROGRAM), str(online)))
    done = subprocess.run(words, env={"CERT_LOCATION": "/x y.crt"}, check=False, stderr=subprocess.DEVNULL)
    assert done.returncode == status
    # All that systemd itself could read as a specifier or variable is what the unit means.
    assert "%" not in condition
    assert "${" not in condition


@pytest.mark.parametrize("place", ["/tmp/v/bin/online", "/var/tmp/online"])
def test_a_renewer_under_a_private_tmp_is_refused(place: str) -> None:
    """Without this, units with PrivateTmp would name a program that they cannot see."""
    with pytest.raises(RequestRejected) as caught:
        renewer(program=Path(place))
    assert caught.value.code == "systemd.hidden-path"


def test_the_timer_is_the_page_s() -> None:
    """Without this, machines installed together would come to the CA together, or a missed run would be lost."""
    timer = renewer()[1]
    assert value(timer, "Timer", "Persistent") == ["true"]
    assert value(timer, "Timer", "OnCalendar") == ["*:1/5"]
    assert value(timer, "Timer", "AccuracySec") == ["1us"]
    assert value(timer, "Timer", "RandomizedDelaySec") == ["5m"]


COMMANDS = {
    line.split(f"{PROGRAM} ")[1].split()[0]: line
    for unit in (*server(listen="443"), *renewer())
    for line in unit.text.splitlines()
    if line.startswith(("ExecStart=", "ExecCondition=")) and str(PROGRAM) in line and "--daemon" not in line
}
DAEMON = next(line for line in renewer()[2].text.splitlines() if line.startswith("ExecStart="))


def check_command(line: str) -> None:
    """Insist that a unit's command and its options exist."""
    name, *words = line.split(f"{PROGRAM} ")[1].split()
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("line", list(COMMANDS.values()))
def test_every_command_in_a_unit_exists(line: str) -> None:
    """Without this, a renamed option would end all renewals of all machines at their next update."""
    check_command(line)


def test_the_daemon_s_command_exists() -> None:
    """The same for the unit that is written for the renewal daemon."""
    check_command(DAEMON)


def cron(**changes: Any) -> Unit:
    """Return a line for cron."""
    return cron_line(
        **{
            "program": PROGRAM,
            "home": HOME,
            "user": "step",
            "certificate": Path("/home/step/foo.crt"),
            "key": Path("/home/step/foo.key"),
            "expires_in": "4h",
            **changes,
        }
    )


def test_the_cron_line() -> None:
    """Without this, cron would run something else, or refuse the file for its name."""
    unit = cron()
    assert unit.name == "coldroot-renew"
    (line,) = [line for line in unit.text.splitlines() if not line.startswith("#")]
    assert line == (
        "*/5 * * * * step COLDROOT_HOME=/etc/coldroot /opt/coldroot/bin/online renew --force --expires-in 4h"
        " /home/step/foo.crt /home/step/foo.key"
    )
    assert unit.text.endswith("\n"), "cron ignores a last line without an end"


@pytest.mark.parametrize(
    "changes",
    [
        {"certificate": Path("/a%b")},
        {"key": Path("/a b")},
        {"user": "a b"},
        {"expires_in": "4h; rm -rf"},
        {"expires_in": ""},
    ],
)
def test_nothing_gets_into_the_cron_line(changes: dict[str, Any]) -> None:
    """cron ends a command at a percent sign and hands the rest to its input; a semicolon begins another command."""
    with pytest.raises(RequestRejected):
        cron(**changes)
