"""Filling in the unit files: which user, which places, which program.

Invariants:

* a value that could end a line, a word or a quotation, or that systemd would expand, never gets into a unit:
  paths and names are of plain characters, or refused;
* a place that the sandbox hides from the service (``/home``, ``/root``, ``/tmp``) is refused here, where it can be
  explained, and not found out by a service that does not start;
* every ``@NAME@`` of a template is filled in, and nothing is filled in that no template asks for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from shared.durations import parse_duration
from shared.errors import RequestRejected
from shared.names import printable

SERVICE = "coldroot.service"
SOCKET = "coldroot.socket"
UNIT_DIRECTORY = Path("/etc/systemd/system")
CRON_FILE = Path("/etc/cron.d/coldroot-renew")

_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
# No white space, quotes, "%", "$", "\\" or ";": systemd and cron would give each of them a meaning.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._+@-]{0,1000}", re.ASCII)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_ADDRESS = re.compile(r"(?:(?:[0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\]):)?([0-9]{1,5})", re.ASCII)
_HIGHEST_PORT = 65535
# What PrivateTmp= takes away, and ProtectHome= with it.
_HIDDEN_TMP = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 (named, not used)
_HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"), *_HIDDEN_TMP)

_LOW_PORT = (
    "# Its one privilege: to listen on a port below 1024.\n"
    "AmbientCapabilities=CAP_NET_BIND_SERVICE\n"
    "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
)
_NO_PRIVILEGE = (
    "# No privilege at all, and users of its own: not even its root would be root.\n"
    "CapabilityBoundingSet=\n"
    "PrivateUsers=yes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One file, filled in."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUnits:
    """The service of the issuing node."""

    program: Path
    """The ``online`` command."""
    home: Path
    user: str = "step"
    database_directory: Path | None = None
    """The only directory that the node may write; ``db`` in the home when not given."""
    password_file: Path | None = None
    """Of the intermediate's key; where ``online init`` leaves it when not given."""
    workers: int = 1
    low_port: bool = True
    """Whether the node itself listens below 1024."""
    listen: str | None = None
    """Have the service manager listen here: a port, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            RequestRejected: ``systemd.*``.
        """
        _check_user(self.user)
        for path, what in (
            (self.program, "program"),
            (self.home, "home"),
            (self._database, "directory of the database"),
        ):
            _check_path(path, what)
            _check_visible(path, what)
        # The service manager itself reads the password, from outside of the sandbox.
        _check_path(self._password, "password file")
        if self.listen is not None:
            _check_listen(self.listen)

    def render(self) -> tuple[Unit, ...]:
        """Return the service, and the socket when there is one."""
        by_socket = self.listen is not None
        service = _fill(
            SERVICE,
            {
                "PROGRAM": str(self.program),
                "HOME": str(self.home),
                "USER": self.user,
                "DATABASE_DIRECTORY": str(self._database),
                "PASSWORD_FILE": str(self._password),
                "WORKERS": str(self.workers),
                "PRIVILEGES": _LOW_PORT if self.low_port and not by_socket else _NO_PRIVILEGE,
                "SOCKET": f"Requires={SOCKET}\nAfter={SOCKET}" if by_socket else "",
                "ALSO": f"Also={SOCKET}" if by_socket else "",
            },
        )
        if self.listen is None:
            return (service,)
        return service, _fill(SOCKET, {"LISTEN": self.listen})

    @property
    def _database(self) -> Path:
        return self.database_directory or self.home / "db"

    @property
    def _password(self) -> Path:
        return self.password_file or self.home / "secrets" / "intermediate_password.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewerUnits:
    """The templates that keep certificates fresh, by a timer or by a process each."""

    program: Path
    home: Path
    """Of the client: it holds ``defaults.json`` and the trusted root."""
    certificates: Path
    """Where ``NAME.crt`` and ``NAME.key`` lie, unless a drop-in says otherwise."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            RequestRejected: ``systemd.*``.
        """
        for path, what in (
            (self.program, "program"),
            (self.home, "home"),
            (self.certificates, "directory of certificates"),
        ):
            _check_path(path, what)
        # Renewers see the homes, where certificates may lie, but a /tmp of their own.
        _check_visible(self.program, "program", _HIDDEN_TMP)

    def render(self) -> tuple[Unit, ...]:
        """Return service and timer, and the daemon that takes the place of both."""
        values = {"PROGRAM": str(self.program), "HOME": str(self.home), "CERTIFICATES": str(self.certificates)}
        timer = _fill("cert-renewer@.timer", {})
        return (
            _fill("cert-renewer@.service", values),
            timer,
            _fill("cert-renewer-daemon@.service", values),
        )


def cron_line(*, program: Path, home: Path, user: str, certificate: Path, key: Path, expires_in: str) -> Unit:
    """Return the file for ``/etc/cron.d`` that renews one certificate.

    Args:
        program: the ``online`` command.
        home: of the client.
        user: who runs it.
        certificate: file.
        key: file.
        expires_in: a Go duration such as ``4h``: renew when the certificate ends within this time.

    Raises:
        RequestRejected: ``systemd.*`` or ``duration.*``.
    """
    _check_user(user)
    for path, what in ((program, "program"), (home, "home"), (certificate, "certificate"), (key, "key")):
        _check_path(path, what)
    parse_duration(expires_in)
    filled = _fill(
        "renew.cron",
        {
            "PROGRAM": str(program),
            "HOME": str(home),
            "USER": user,
            "CERTIFICATE": str(certificate),
            "KEY": str(key),
            "EXPIRES_IN": expires_in,
        },
    )
    return Unit(name=CRON_FILE.name, text=filled.text)


def _fill(name: str, values: Mapping[str, str]) -> Unit:
    template = resources.files("online.units").joinpath(name).read_text(encoding="utf-8")
    wanted = set(_PLACEHOLDER.findall(template))
    assert wanted == set(values), f"{name}: {wanted ^ set(values)}"
    # A line whose only content is a value that is empty goes away with it.
    empty = "|".join(key for key, value in values.items() if not value)
    if empty:
        template = re.sub(rf"^@(?:{empty})@\n", "", template, flags=re.MULTILINE)
    return Unit(name=name, text=_PLACEHOLDER.sub(lambda match: values[match[1]], template))


def _check_user(user: str) -> None:
    if not _USER.fullmatch(user):
        raise RequestRejected(
            "systemd.user",
            f"{printable(user)!r} is no name of a system user",
            hint="lower-case letters, digits, - and _, beginning with a letter",
        )


def _check_path(path: Path, what: str) -> None:
    text = str(path)
    if not _PLAIN_PATH.fullmatch(text) or ".." in path.parts:
        raise RequestRejected(
            "systemd.path",
            f"the {what} {printable(text)!r} cannot stand in a unit file",
            hint="an absolute path without spaces, quotes, %, $ and ..",
        )


def _check_visible(path: Path, what: str, hidden_places: Sequence[Path] = _HIDDEN) -> None:
    for hidden in hidden_places:
        if path.is_relative_to(hidden):
            raise RequestRejected(
                "systemd.hidden-path",
                f"the {what} {path} lies in {hidden}, which the service does not see",
                hint="move it, for example to /opt, /usr/local or /etc, and name the new place",
            )


def _check_listen(text: str) -> None:
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match[1]) <= _HIGHEST_PORT:
        raise RequestRejected(
            "systemd.listen",
            f"{printable(text)!r} is nothing to listen on",
            hint="write 443, 192.0.2.1:443 or [2001:db8::1]:443",
        )
