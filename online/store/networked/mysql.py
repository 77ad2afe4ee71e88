"""MariaDB and MySQL, by asyncmy.

Invariants:

* certificates are recorded under a shared lock on the row of the version, revocations under an exclusive one: of a
  renewal and a revocation of its parent, one sees the other, whatever their nodes;
* where several servers take writes (Galera), locks mean nothing between them. There every look waits until all that
  was committed anywhere is seen, and what was recorded is looked at once more after its COMMIT and before anybody
  gets it: a revocation that was committed before is seen then, one that was not is later than the certificate;
* a server that says that it is read-only is not spoken to.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncmy
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from online.config.check import Check, Outcome
from online.config.database import MysqlTls, parse_mysql
from online.config.settings import DatabaseSettings
from online.store.networked import failures, mysql_record
from online.store.networked.engine import Gate, Issue, Recorded, Session, discard
from online.store.networked.failures import Verdict
from online.store.networked.mysql_record import query
from online.store.networked.promises import tls_check
from online.store.networked.version import require_version
from online.store.protocol import CertificateRow
from online.store.rows import Row
from shared import durable
from shared.errors import ColdrootError, RequestRejected, StoreFailed

_CONNECT_SECONDS = 2.0
_LOCK_SECONDS = 3
_GATES = {
    Gate.SHARED: "SELECT MAX(version) FROM coldroot_schema LOCK IN SHARE MODE",
    Gate.EXCLUSIVE: "SELECT MAX(version) FROM coldroot_schema FOR UPDATE",
    # The change of a table commits what came before, and with it goes every lock but one of this kind.
    Gate.TABLES: f"SELECT GET_LOCK('coldroot.tables', {_LOCK_SECONDS})",
}
_BEGIN = ("START TRANSACTION READ WRITE",)
_SNAPSHOT = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)

_FACTS = (
    "SHOW VARIABLES WHERE Variable_name IN"
    " ('version', 'read_only', 'super_read_only', 'wsrep_on', 'idle_transaction_timeout')"
)
_SETTINGS = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', group_concat_max_len = 1048576",
    f"SET SESSION innodb_lock_wait_timeout = {_LOCK_SECONDS}",
    # So that text in a statement is compared as the text in the tables is.
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
)
# The server ends what a node that vanished had begun, so that its locks go.
_IDLE = "SET SESSION idle_transaction_timeout = 10"
_CAUSAL = "SET SESSION wsrep_sync_wait = 1"
_ON = frozenset({"ON", "1"})
# The first version of MariaDB that returns what it inserted.
_RETURNS = (10, 5)

_DURABLE = (("innodb_flush_log_at_trx_commit", "1"), ("sync_binlog", "1"))

_VERDICTS: dict[int, Verdict] = {
    1062: failures.CONFLICT,
    **dict.fromkeys((1020, 1205, 1213), failures.DEADLOCK),
    **dict.fromkeys((1290, 1792, 1836), failures.READ_ONLY),
    1047: failures.UNREADY,
    **dict.fromkeys((1044, 1045, 1698), failures.DENIED),
    **dict.fromkeys((1142, 1143), failures.NO_PRIVILEGE),
    1049: failures.NO_DATABASE,
    1146: failures.NO_TABLES,
    **dict.fromkeys((1040, 1203, 1226), failures.CROWDED),
    **dict.fromkeys((1021, 1114), failures.FULL),
    **dict.fromkeys((1053, 1158, 1159, 1160, 1161, 1180, 1317, 1927, 4031), failures.LOST),
    **dict.fromkeys((2002, 2003, 2006, 2013, 2055), failures.LOST),
    **dict.fromkeys((2026, 3159), failures.UNTRUSTED),
}


class StandbyError(Exception):
    """The server is read-only."""


_KINDS: tuple[tuple[type[BaseException], Verdict], ...] = (
    (ssl.SSLError, failures.UNTRUSTED),
    (StandbyError, failures.READ_ONLY),
    (TimeoutError, failures.LATE),
    (OSError, failures.LOST),
    (EOFError, failures.LOST),
    # Without a number it is not the server's word: the driver found its connection closed.
    (asyncmy.errors.InternalError, failures.LOST),
)


class MysqlEngine:
    """See ``online.store.networked.engine.Engine``."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Take an address; nothing is opened.

        Args:
            settings: the ``db`` block.
        """
        self.where = settings.where
        self._address = parse_mysql(settings.data_source, settings.database)
        # Parameters stay out of exceptions and logs: a subject's name is nobody's business there.
        self._engine = create_async_engine(
            "mysql+asyncmy://",
            async_creator=self._connect,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
        )

    async def connect(self) -> Session:
        """See ``Engine.connect``."""
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = await self._engine.connect()
            raw = await connection.get_raw_connection()
            session = Session(connection=connection, driver=raw.driver_connection)
            try:
                await self._prepare(session)
            except BaseException:
                await discard(self, session)
                raise
        return session

    def abort(self, session: Session) -> None:
        """See ``Engine.abort``."""
        session.driver.close()

    async def begin(self, session: Session, gate: Gate) -> None:
        """See ``Engine.begin``."""
        for statement in _SNAPSHOT if gate is Gate.SNAPSHOT else _BEGIN:
            await query(session, statement)
        if gate is not Gate.SNAPSHOT:
            ((found,),) = await query(session, _GATES[gate])
            if gate is Gate.TABLES and found != 1:
                raise StoreFailed("store.busy", "another program changes the tables at present")
            session.version = found

    async def check(self, session: Session) -> None:
        """See ``Engine.check``."""
        if session.version is None:
            ((session.version,),) = await query(session, "SELECT MAX(version) FROM coldroot_schema")
        require_version(session.version, self.where)

    async def commit(self, session: Session) -> None:
        """See ``Engine.commit``."""
        session.version = None
        await query(session, "COMMIT")

    async def rollback(self, session: Session) -> None:
        """See ``Engine.rollback``."""
        session.version = None
        await query(session, "ROLLBACK")

    async def look(self, session: Session, table: sa.Table, serials: Sequence[str]) -> Sequence[Row]:
        """See ``Engine.look``."""
        return await mysql_record.look(session, table, serials)

    async def record(self, session: Session, batch: Sequence[Issue]) -> Sequence[Recorded]:
        """See ``Engine.record``."""
        await self.check(session)
        return await mysql_record.record(session, batch)

    async def recheck(self, session: Session, batch: Sequence[Issue]) -> Sequence[ColdrootError | None]:
        """See ``Engine.recheck``."""
        if not session.clustered:
            # Only one server takes writes, and its locks saw to it.
            return [None] * len(batch)
        return await mysql_record.withdrawn(session, batch)

    def judge(self, error: BaseException) -> Verdict:
        """See ``Engine.judge``."""
        for each in failures.causes(error):
            verdict = _number_verdict(each) or next((found for kind, found in _KINDS if isinstance(each, kind)), None)
            if verdict is not None:
                return verdict
        return failures.other(error)

    def names(self, row: CertificateRow) -> Sequence[str]:
        """See ``Engine.names``."""
        return mysql_record.names(row)

    def promises(self, connection: sa.Connection) -> Iterator[Check]:
        """See ``Engine.promises``."""
        facts: dict[str, str] = {}
        for statement in ("SHOW VARIABLES", "SHOW STATUS"):
            facts |= {str(name).lower(): str(value) for name, value in connection.exec_driver_sql(statement)}
        yield Check(what="server", outcome=Outcome.OK, detail=f"{facts['version']} at {self.where}")
        loose = [name for name, wanted in _DURABLE if facts.get(name, wanted) != wanted]
        if facts.get("log_bin") != "ON":
            loose = [name for name in loose if name != "sync_binlog"]
        yield Check(
            what="durability",
            outcome=Outcome.FAULT if loose else Outcome.OK,
            detail=f"{' and '.join(loose)} not 1: a power cut forgets tokens" if loose else "each commit is flushed",
        )
        if facts.get("wsrep_on") in _ON:
            state = f"{facts.get('wsrep_cluster_status')}, {facts.get('wsrep_local_state_comment')}"
            yield Check(
                what="cluster",
                outcome=Outcome.OK if state == "Primary, Synced" else Outcome.FAULT,
                detail=f"{facts.get('wsrep_cluster_size')} servers; this one: {state}",
            )
        yield tls_check(self.where, protected=bool(facts.get("ssl_cipher")))

    def continue_numbers(self, connection: sa.Connection, column: sa.Column[Any]) -> None:
        """See ``Engine.continue_numbers``: the server saw to it."""
        del connection, column

    async def _prepare(self, session: Session) -> None:
        facts = {str(name).lower(): str(value) for name, value in await query(session, _FACTS)}
        if facts.get("read_only", "OFF") in _ON or facts.get("super_read_only", "OFF") in _ON:
            raise StandbyError
        for statement in _SETTINGS:
            await query(session, statement)
        if "idle_transaction_timeout" in facts:
            await query(session, _IDLE)
        if facts.get("wsrep_on") in _ON:
            session.clustered = True
            await query(session, _CAUSAL)
        version = facts.get("version", "")
        session.returns = "MariaDB" in version and _numbers(version) >= _RETURNS

    async def _connect(self) -> asyncmy.Connection:
        place = self._address
        password = _password(Path(place.passfile)) if place.passfile else place.password
        return await asyncmy.connect(
            user=place.user,
            password=password,
            host=place.host or None,
            port=place.port,
            unix_socket=place.unix_socket or None,
            database=place.database,
            charset="utf8mb4",
            connect_timeout=_CONNECT_SECONDS,
            autocommit=True,
            ssl=None if place.tls is None else _context(place.tls),
            program_name="coldroot",
        )


def _number_verdict(error: BaseException) -> Verdict | None:
    """Return what a number of the server's, or of its driver, means; ``None`` when it has no such number."""
    if isinstance(error.__cause__, ssl.SSLError):
        return failures.UNTRUSTED
    if not isinstance(error, asyncmy.errors.MySQLError) or not error.args or not isinstance(error.args[0], int):
        return None
    return _VERDICTS.get(error.args[0]) or failures.other(error)


def _password(passfile: Path) -> str:
    """Read the file each time: a password that was changed there counts with the next connection."""
    try:
        return durable.read_secret(passfile).decode()
    except (RequestRejected, UnicodeDecodeError) as error:
        hint = error.hint if isinstance(error, RequestRejected) else None
        raise StoreFailed("store.passfile", f"the password file {passfile} cannot be used", hint=hint) from None


def _context(tls: MysqlTls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key or None)
    except OSError:
        raise StoreFailed(
            "store.tls", "the TLS files that db.dataSource names cannot be used", hint="ssl-ca, ssl-cert, ssl-key: PEM"
        ) from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split(".")[:2] if part.isdigit())
