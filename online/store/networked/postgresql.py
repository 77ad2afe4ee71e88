"""PostgreSQL, by asyncpg.

Invariants:

* certificates are recorded behind a shared advisory lock, revocations behind the same one exclusively: of a renewal
  and a revocation of its parent, one sees the other, whatever their nodes;
* only a server that takes writes is spoken to, so that nothing is read from a standby that lags;
* a COMMIT counts when the server says so without a warning: it warns when it gave up waiting for its standby, and
  "success" then means that a fail-over may forget the rows.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from online.config.check import Check, Outcome
from online.config.settings import DatabaseSettings
from online.store.networked import failures
from online.store.networked.engine import CommitDoubtedError, Gate, Issue, Recorded, Session, discard
from online.store.networked.failures import Fate, Verdict
from online.store.networked.postgresql_record import RECORD, arguments, outcomes
from online.store.networked.promises import tls_check
from online.store.networked.rows import searchable
from online.store.networked.version import require_version
from online.store.protocol import CertificateRow
from online.store.rows import Row
from online.store.schema import CERTIFICATE, REVOCATION
from shared.errors import ColdrootError, StoreFailed

_CONNECT_SECONDS = 2.0
# The lock's number means nothing to anybody else; such locks are apart by database.
_GATE = 0x636F6C64726F6F74
_BEGIN = {
    Gate.SHARED: f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock_shared({_GATE})",
    Gate.EXCLUSIVE: f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock({_GATE})",
    Gate.TABLES: f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock({_GATE})",
    Gate.SNAPSHOT: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
}
_SETTINGS = {
    "application_name": "coldroot",
    # A limit of the server's own would also end the wait for a synchronous standby, and report success.
    "statement_timeout": "0",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "10000",
    # All statements look rows up by a key. What is right for an empty table must not be kept when it has grown.
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
_READING = {"application_name": "coldroot", "jit": "off", "statement_timeout": "0"}
_PROMISES = (
    "SELECT name, setting FROM pg_settings"
    " WHERE name IN ('server_version', 'fsync', 'full_page_writes', 'synchronous_standby_names')"
)
_TLS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"

_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")

_VERDICTS = {
    "40001": failures.DEADLOCK,
    "40P01": failures.DEADLOCK,
    "55P03": failures.DEADLOCK,
    "23505": failures.CONFLICT,
    "25006": failures.READ_ONLY,
    "28000": failures.DENIED,
    "28P01": failures.DENIED,
    "3D000": failures.NO_DATABASE,
    "42P01": failures.NO_TABLES,
    "42501": failures.NO_PRIVILEGE,
    "53100": failures.FULL,
    "53300": failures.CROWDED,
    "25P03": failures.LOST,
    "57P01": failures.LOST,
    "57P02": failures.LOST,
    "57P03": failures.LOST,
    "57P05": failures.LOST,
}
_ADDRESS = Verdict(
    fate=Fate.HOPELESS,
    code="store.address",
    message="db.dataSource is not an address that the PostgreSQL driver understands",
    hint="docs/databases.md has examples",
)
_KINDS: tuple[tuple[type[BaseException], Verdict], ...] = (
    (ssl.SSLError, failures.UNTRUSTED),
    (asyncpg.TargetServerAttributeNotMatched, failures.READ_ONLY),
    (asyncpg.exceptions.ClientConfigurationError, _ADDRESS),
    (TimeoutError, failures.LATE),
    (OSError, failures.LOST),
    (asyncpg.InterfaceError, failures.LOST),
    (EOFError, failures.LOST),
)

# Past SQLAlchemy's results, which cost more than the look.
_LOOKS = {
    table: f"SELECT {', '.join(table.c.keys())} FROM {table.name} WHERE serial = ANY ($1::text[])"  # noqa: S608 (ours)
    for table in (CERTIFICATE, REVOCATION)
}


class PostgresqlEngine:
    """See ``online.store.networked.engine.Engine``."""

    def __init__(self, settings: DatabaseSettings, *, reading: bool = False) -> None:
        """Take an address; nothing is opened.

        Args:
            settings: the ``db`` block.
            reading: for large reads: the planner is left its choice.
        """
        self.where = settings.where
        self._database = settings.database or None
        self._settings = _READING if reading else _SETTINGS
        self._addresses = _apart(settings.data_source)
        named = dict(parse_qsl(urlsplit(settings.data_source).query))
        self._files = tuple(named[each] for each in _FILES if each in named)
        # Parameters stay out of exceptions and logs: a subject's name is nobody's business there.
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
        )

    async def connect(self) -> Session:
        """See ``Engine.connect``."""
        connection = await self._engine.connect()
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        session = Session(connection=connection, driver=driver)
        driver.add_log_listener(lambda _connection, message: session.notices.append(message))
        try:
            await driver.execute(_DURABLE)
        except BaseException:
            await discard(self, session)
            raise
        return session

    def abort(self, session: Session) -> None:
        """See ``Engine.abort``."""
        session.driver.terminate()

    async def begin(self, session: Session, gate: Gate) -> None:
        """See ``Engine.begin``."""
        await session.driver.execute(_BEGIN[gate])

    async def check(self, session: Session) -> None:
        """See ``Engine.check``."""
        require_version(await session.driver.fetchval("SELECT max(version) FROM coldroot_schema"), self.where)

    async def commit(self, session: Session) -> None:
        """See ``Engine.commit``."""
        session.notices.clear()
        status = await session.driver.execute("COMMIT")
        if status != "COMMIT" or any(each.severity_en == "WARNING" for each in session.notices):
            raise CommitDoubtedError

    async def rollback(self, session: Session) -> None:
        """See ``Engine.rollback``."""
        await session.driver.execute("ROLLBACK")

    async def look(self, session: Session, table: sa.Table, serials: Sequence[str]) -> Sequence[Row]:
        """See ``Engine.look``."""
        rows: Sequence[Row] = await session.driver.fetch(_LOOKS[table], serials)
        return rows

    async def record(self, session: Session, batch: Sequence[Issue]) -> Sequence[Recorded]:
        """See ``Engine.record``: one statement for all."""
        rows = await session.driver.fetch(RECORD, *arguments(batch))
        require_version(rows[0]["version"], self.where)
        return outcomes(batch, rows)

    async def recheck(self, session: Session, batch: Sequence[Issue]) -> Sequence[ColdrootError | None]:
        """See ``Engine.recheck``: only one server takes writes, and its locks saw to it."""
        del session
        return [None] * len(batch)

    def judge(self, error: BaseException) -> Verdict:
        """See ``Engine.judge``."""
        for each in failures.causes(error):
            state = getattr(each, "sqlstate", None) or ""
            # Class 08 is what the standard calls a connection's failure.
            known = _VERDICTS.get(state, failures.LOST if state.startswith("08") else None)
            known = known or next((verdict for kind, verdict in _KINDS if isinstance(each, kind)), None)
            if known is not None:
                return known
        return failures.other(error)

    def names(self, row: CertificateRow) -> Sequence[str]:
        """See ``Engine.names``."""
        return searchable(row)

    def promises(self, connection: sa.Connection) -> Iterator[Check]:
        """See ``Engine.promises``."""
        settings = {str(name): str(value) for name, value in connection.exec_driver_sql(_PROMISES)}
        yield Check(
            what="server", outcome=Outcome.OK, detail=f"PostgreSQL {settings['server_version']} at {self.where}"
        )
        off = [name for name in ("fsync", "full_page_writes") if settings[name] != "on"]
        yield Check(
            what="durability",
            outcome=Outcome.FAULT if off else Outcome.OK,
            detail=f"{' and '.join(off)} off: a power cut forgets tokens, or breaks the database"
            if off
            else "each commit is flushed",
        )
        standbys = settings["synchronous_standby_names"]
        yield Check(
            what="standby",
            outcome=Outcome.OK,
            detail=f"synchronous: {standbys}"
            if standbys
            else "none is synchronous: after a fail-over to one,"
            " tokens and revocations of the last moments may be forgotten",
        )
        yield tls_check(self.where, protected=bool(connection.exec_driver_sql(_TLS).scalar()))

    def continue_numbers(self, connection: sa.Connection, column: sa.Column[Any]) -> None:
        """See ``Engine.continue_numbers``."""
        sequence = sa.func.pg_get_serial_sequence(column.table.name, column.name)
        newest = sa.select(sa.func.coalesce(sa.func.max(column), 0) + 1).scalar_subquery()
        connection.execute(sa.select(sa.func.setval(sequence, newest, sa.false())))

    async def _connect(self) -> asyncpg.Connection[Any]:
        """Try the addresses in turn, each with a limit of its own: one that is silent must not hide the next."""
        for path in self._files:
            if not os.access(path, os.R_OK):
                # The driver would say the same as of a server that is away.
                raise StoreFailed("store.tls", f"{path} cannot be read", hint="db.dataSource in ca.json names it")
        failed: Exception | None = None
        for address in tuple(self._addresses):
            try:
                opened: asyncpg.Connection[Any] = await asyncpg.connect(
                    address,
                    database=self._database,
                    timeout=_CONNECT_SECONDS,
                    server_settings=self._settings,
                    **({} if _chooses(address) else {"target_session_attrs": "read-write"}),
                )
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                failed = error
                continue
            # Where it was found it is looked for first.
            self._addresses.remove(address)
            self._addresses.insert(0, address)
            return opened
        assert failed is not None
        raise failed


def _chooses(address: str) -> bool:
    return "target_session_attrs" in dict(parse_qsl(urlsplit(address).query))


def _apart(data_source: str) -> list[str]:
    """Return an address a server; one with several hosts is several addresses."""
    url = urlsplit(data_source)
    user, at, hosts = url.netloc.rpartition("@")
    if "," not in hosts:
        return [data_source]
    return [urlunsplit(url._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",") if host]
