"""Real database servers, each a private one in a directory of its own on loopback, for as long as the tests run.

A server that a test kills, freezes or starts again is its own (``start_server``); all others share one a
process (``shared_server``) and get a fresh database each (``fresh``).
"""

from __future__ import annotations

import asyncio
import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from fakes.ports import free_port
from fakes.servers import descendants

from online.config.settings import DatabaseSettings
from online.store import upkeep
from online.store.open import CaStore, open_store
from online.store.sqlite import create_database

NETWORKED = ("postgresql", "mysql")
"""The kinds of server, as ca.json names them; the second is a MariaDB here."""
KINDS = ("sqlite", *NETWORKED)
"""All kinds of database."""

_POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: float(each.parent.name))
_SECONDS = 60.0
# Where flushing costs nothing. No test cuts the power of a server; SQLite's tests do that for its file.
_MEMORY = Path("/dev/shm")
_PREFIX = "coldroot-server-"
_numbers = count()


class DatabaseServer(ABC):
    """One server process."""

    kind: str
    account: str
    admin_database: str
    extra: Mapping[str, object] = {}
    """Further settings."""

    def __init__(self, directory: Path) -> None:
        """Prepare a server in an empty directory; ``up`` starts it."""
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Make what the server needs before its first start."""

    def up(self) -> None:
        """Start it, and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
            )
        deadline = time.monotonic() + _SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.down()
                raise AssertionError((self.directory / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    def down(self) -> None:
        """Stop it at once; what it committed stays."""
        if self._process is not None:
            self.thaw()
            self._process.kill()
            self._process.wait(_SECONDS)
            self._process = None

    def kill(self) -> None:
        """Kill it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(_SECONDS)
        self._process = None

    def freeze(self) -> None:
        """Let it answer nobody, without a word: all its processes stand still."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def fresh(self) -> DatabaseSettings:
        """Return a new database with all tables."""
        settings = self.empty()
        upkeep.upgrade(settings, say=lambda _: None)
        return settings

    def empty(self) -> DatabaseSettings:
        """Return a new database without tables."""
        name = f"ca{next(_numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return self.settings(name)

    @abstractmethod
    def settings(self, database: str) -> DatabaseSettings:
        """Return how a node names a database of this server."""

    def run(self, statement: str, *, database: str | None = None) -> str:
        """Run a statement as the server's administrator; return what it prints, without headings."""
        command = self._client(statement, database or self.admin_database)
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def answers(self) -> bool:
        """Tell whether it takes connections."""
        command = self._client("SELECT 1", self.admin_database)
        return subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False).returncode == 0

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        for each in (self._process.pid, *descendants(self._process.pid)):
            with suppress(ProcessLookupError):
                os.kill(each, number)

    @abstractmethod
    def _client(self, statement: str, database: str) -> list[str]:
        """Return the command that runs a statement."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the server's command."""

    def _as_account(self) -> list[str]:
        """Return what makes a command run as the server's user: as root it would refuse."""
        if os.geteuid() != 0:
            return ["setpriv", "--pdeathsig", "KILL"]
        return [
            "setpriv",
            f"--reuid={self.account}",
            f"--regid={self.account}",
            "--init-groups",
            "--pdeathsig",
            "SIGKILL",
        ]


class PostgresqlServer(DatabaseServer):
    """PostgreSQL."""

    kind = "postgresql"
    account = "postgres"
    admin_database = "postgres"

    def prepare(self) -> None:
        """Make the cluster."""
        command = [
            *self._as_account(), str(_POSTGRESQL[-1] / "initdb"), "-D", str(self.directory / "data"), "-A", "trust",
            "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS, cwd=self.directory)

    def settings(self, database: str) -> DatabaseSettings:
        """See ``DatabaseServer.settings``."""
        where = f"127.0.0.1:{self.port}"
        return DatabaseSettings(
            type="postgresql",
            data_source=f"postgresql://postgres@{where}/{database}?sslmode=disable",
            where=f"{where}/{database}",
        )

    def _command(self) -> list[str]:
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.directory,
            "fsync": "off", "shared_buffers": "16MB", "max_connections": 60,
            # Else what a killed server shared stays for ever.
            "dynamic_shared_memory_type": "mmap",
            **self.extra,
        }  # fmt: skip
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*self._as_account(), str(_POSTGRESQL[-1] / "postgres"), "-D", str(self.directory / "data"), *options]

    def _client(self, statement: str, database: str) -> list[str]:
        address = f"postgresql://postgres@127.0.0.1:{self.port}/{database}?connect_timeout=2"
        return [str(_POSTGRESQL[-1] / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, address]


class MariadbServer(DatabaseServer):
    """MariaDB."""

    kind = "mysql"
    account = "mysql"
    admin_database = "mysql"

    def prepare(self) -> None:
        """Make the server's own tables, and users."""
        command = [
            *self._as_account(), "mariadb-install-db", "--no-defaults", f"--datadir={self.directory}/data",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
            # Its own: a server that starts clears away what it takes for the remains of others.
            f"--tmpdir={self.directory}",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS, cwd=self.directory)

    def settings(self, database: str) -> DatabaseSettings:
        """See ``DatabaseServer.settings``."""
        where = f"127.0.0.1:{self.port}"
        return DatabaseSettings(
            type="mysql", data_source=f"root:@tcp({where})/", database=database, where=f"{where}/{database}"
        )

    def _command(self) -> list[str]:
        settings = {
            "datadir": self.directory / "data", "tmpdir": self.directory, "socket": self.directory / "socket",
            "pid-file": self.directory / "pid", "bind-address": "127.0.0.1", "port": self.port,
            "innodb-flush-log-at-trx-commit": 2, "innodb-buffer-pool-size": "32M", "innodb-log-file-size": "16M",
            "max-connections": 60, **self.extra,
        }  # fmt: skip
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [*self._as_account(), "mariadbd", "--no-defaults", *options]

    def _client(self, statement: str, database: str) -> list[str]:
        place = ["--host=127.0.0.1", f"--port={self.port}", "--user=root", "--connect-timeout=2", "--skip-ssl"]
        return ["mariadb", "--no-defaults", *place, "-NBe", statement, database]


def start_server(kind: str, *, files: Mapping[str, bytes] | None = None, **extra: object) -> DatabaseServer:
    """Start a server of a test's own. It ends with the thread that calls this; its directory goes with ``discard``.

    Args:
        kind: as ca.json names it.
        files: put into its directory before it starts, for its user only.
        extra: further settings; ``DIRECTORY`` in them is its directory.
    """
    _require(kind)
    server_type: type[DatabaseServer] = PostgresqlServer if kind == "postgresql" else MariadbServer
    place = _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())
    _sweep(place)
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
    server = server_type(directory)
    atexit.register(discard, server)
    server.extra = {name: str(value).replace("DIRECTORY", str(directory)) for name, value in extra.items()}
    for name, content in (files or {}).items():
        (directory / name).touch(mode=0o600)
        (directory / name).write_bytes(content)
    with suppress(KeyError):
        account = pwd.getpwnam(server.account)
        if os.geteuid() == 0:
            for path in (directory, *directory.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
    server.prepare()
    server.up()
    return server


def discard(server: DatabaseServer) -> None:
    """Stop a server and remove its directory."""
    server.down()
    shutil.rmtree(server.directory, ignore_errors=True)


@cache
def shared_server(kind: str) -> DatabaseServer:
    """Return the server that all tests of this process share; no test may harm it."""
    return start_server(kind)


def fresh_settings(kind: str, directory: Path) -> DatabaseSettings:
    """Return an empty database of a kind, with all tables: a file in the directory, or one on the shared server."""
    if kind == "sqlite":
        path = directory / f"ca{next(_numbers)}.db"
        create_database(path)
        return DatabaseSettings(data_source=str(path))
    return shared_server(kind).fresh()


async def fresh_store(kind: str, directory: Path) -> CaStore:
    """Open an empty store of a kind; the caller closes it."""
    if kind != "sqlite":
        # On this very thread: a server ends with the thread that started it.
        shared_server(kind)
    return open_store(await asyncio.to_thread(fresh_settings, kind, directory))


def _sweep(place: Path) -> None:
    """Remove the directories of processes that were killed: memory is not to be filled with them."""
    for path in place.glob(f"{_PREFIX}*"):
        owner = path.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(path, ignore_errors=True)


def _require(kind: str) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    if kind == "postgresql" and not _POSTGRESQL:
        pytest.skip("PostgreSQL is not installed")
    if kind == "mysql" and shutil.which("mariadb-install-db") is None:
        pytest.skip("MariaDB is not installed")
