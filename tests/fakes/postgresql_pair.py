"""PostgreSQL on loopback as it is run where nothing may be lost: a primary, and a standby that commits wait for."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fakes.ports import free_port
from fakes.servers import Server, directory_for_others, own_directory, program, run_as, user_for

_VERSIONS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
_POSTGRES, _INITDB = program("postgres", among=_VERSIONS), program("initdb", among=_VERSIONS)
_BASEBACKUP, _PSQL = program("pg_basebackup", among=_VERSIONS), program("psql")
MISSING = (
    None if _POSTGRES and _INITDB and _BASEBACKUP and _PSQL else "PostgreSQL is not installed (Debian: postgresql)"
)
"""Why there can be none here."""

DATABASE, OWNER = "ca", "ca"
_SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
wal_keep_size = 256MB
"""


@dataclass(kw_only=True)
class PostgreSql(Server):
    """One server."""

    port: int

    @property
    def data_source(self) -> str:
        """Its address."""
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{DATABASE}"

    def sql(self, statement: str, *, database: str = DATABASE) -> str:
        """Return what a statement says, as its superuser.

        Raises:
            AssertionError: it failed.
        """
        done = self._ask(statement, database)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def is_ready(self) -> bool:
        """See ``Server.is_ready``."""
        return self._ask("SELECT 1", "postgres").returncode == 0

    def _ask(self, statement: str, database: str) -> subprocess.CompletedProcess[str]:
        assert _PSQL is not None
        command = [_PSQL, "--no-psqlrc", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database]
        return subprocess.run(
            [*command, "-Atqc", statement], capture_output=True, text=True, check=False, timeout=30,
            env={"PGCONNECT_TIMEOUT": "5"}, cwd="/",
        )  # fmt: skip


@dataclass(kw_only=True)
class Pair:
    """A primary and its synchronous standby."""

    primary: PostgreSql
    standby: PostgreSql

    @property
    def data_source(self) -> str:
        """Both addresses: a node looks for the one that takes writes."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://{OWNER}@{hosts}/{DATABASE}"

    def promote(self) -> PostgreSql:
        """Make the standby the primary, as whoever watches over the two would, and return it."""
        assert self.standby.sql("SELECT pg_promote(true, 30)", database="postgres") == "t"
        return self.standby

    def do_without_standby(self) -> None:
        """Let the primary commit alone."""
        self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = ''", database="postgres")
        self.primary.sql("SELECT pg_reload_conf()", database="postgres")


def _server(directory: Path, port: int, user: str | None) -> PostgreSql:
    assert _POSTGRES is not None
    return PostgreSql(
        command=[_POSTGRES, "-D", str(directory)],
        log=directory.parent / f"{directory.name}.log",
        user=user,
        goodbye=signal.SIGINT,  # "fast": open transactions are broken off
        port=port,
    )


@contextmanager
def postgresql() -> Iterator[PostgreSql]:
    """Run one server with an empty database until the block ends."""
    assert _INITDB is not None
    user = user_for("postgres")
    with directory_for_others() as base:
        made = _prepare(base / "first", user)
        try:
            made.start()
            made.sql(f"CREATE ROLE {OWNER} LOGIN", database="postgres")
            made.sql(f"CREATE DATABASE {DATABASE} OWNER {OWNER}", database="postgres")
            yield made
        finally:
            made.stop()


@contextmanager
def postgresql_pair() -> Iterator[Pair]:
    """Run a primary with an empty database, and its standby, until the block ends."""
    assert _BASEBACKUP is not None
    user = user_for("postgres")
    with postgresql() as first:
        base = first.log.parent
        standby = own_directory(base / "second", user)
        from_primary = f"host=127.0.0.1 port={first.port} user=postgres application_name=second"
        run_as(user, [_BASEBACKUP, "-d", from_primary, "-D", standby, "-R", "-c", "fast", "-C", "-S", "second"])
        port = free_port()
        with (standby / "postgresql.conf").open("a") as settings:
            settings.write(f"port = {port}\n")
        with (standby / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{from_primary}'\n")
        second = _server(standby, port, user)
        try:
            second.start()
            first.sql("ALTER SYSTEM SET synchronous_standby_names = 'second'", database="postgres")
            first.sql("SELECT pg_reload_conf()", database="postgres")
            yield Pair(primary=first, standby=second)
        finally:
            second.stop()


def _prepare(directory: Path, user: str | None) -> PostgreSql:
    assert _INITDB is not None
    own_directory(directory, user)
    run_as(user, [_INITDB, "-D", directory, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"])
    port = free_port()
    with (directory / "postgresql.conf").open("a") as settings:
        settings.write(_SETTINGS.format(port=port))
    return _server(directory, port, user)
