"""What a database server did, said in our words, and what may be done about it.

Invariants: no exception of a driver passes ``failure``, and none of its text, for that can repeat a row or an
address; whether a transaction may have happened is decided by ``Fate`` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from shared.errors import StoreFailed


class Fate(Enum):
    """What became of a transaction that failed before its COMMIT was sent, and what follows."""

    AGAIN = auto()
    """Rolled back for the sake of another one: the same again may well succeed."""
    LOST = auto()
    """The connection is gone, and with it whatever was not committed: another connection may do it."""
    TAKEN = auto()
    """A row with one of the keys is there already."""
    REFUSED = auto()
    """The server does not do this; it may do something else."""
    HOPELESS = auto()
    """The server does nothing at all at present."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A failure, judged."""

    fate: Fate
    code: str
    message: str
    hint: str | None = None

    @property
    def error(self) -> StoreFailed:
        """Return a fresh exception: each goes to another caller."""
        return StoreFailed(self.code, self.message, hint=self.hint)


DEADLOCK = Verdict(
    fate=Fate.AGAIN, code="store.busy", message="the database rolled the transaction back for another one's sake"
)
LOST = Verdict(
    fate=Fate.LOST,
    code="store.unreachable",
    message="the database cannot be reached",
    hint="is it running, and does a firewall let the node through?",
)
LATE = Verdict(fate=Fate.LOST, code="store.unreachable", message="the database does not answer in time")
READ_ONLY = Verdict(
    fate=Fate.HOPELESS,
    code="store.readonly",
    message="the database server takes no writes: it is a standby, or read-only",
    hint="name the primary in db.dataSource, or all servers (docs/databases.md)",
)
UNREADY = Verdict(
    fate=Fate.HOPELESS,
    code="store.unready",
    message="the database server does not take part in its cluster at present",
)
DENIED = Verdict(
    fate=Fate.HOPELESS,
    code="store.denied",
    message="the database refuses the node's user or password",
    hint="look at db.dataSource in ca.json and at the server's own rules",
)
NO_DATABASE = Verdict(
    fate=Fate.HOPELESS,
    code="store.missing",
    message="the server has no database of that name",
    hint="create it, then: online db upgrade",
)
NO_TABLES = Verdict(
    fate=Fate.HOPELESS,
    code="store.foreign",
    message="the database holds no tables of coldroot",
    hint="online db upgrade makes them",
)
NO_PRIVILEGE = Verdict(
    fate=Fate.HOPELESS,
    code="store.denied",
    message="the node's user may not use the tables",
    hint="docs/databases.md lists the privileges",
)
CROWDED = Verdict(
    fate=Fate.HOPELESS, code="store.crowded", message="the database server has no connection to spare at present"
)
FULL = Verdict(
    fate=Fate.HOPELESS, code="store.full", message="the database's disk is full", hint="make room on the server"
)
CONFLICT = Verdict(fate=Fate.TAKEN, code="store.conflict", message="the database refused the row")
UNKNOWN = Verdict(
    fate=Fate.HOPELESS,
    code="store.outcome-unknown",
    message="the connection to the database failed while it committed",
    hint="what was asked for may or may not be recorded; its token counts as used",
)
UNTRUSTED = Verdict(
    fate=Fate.HOPELESS,
    code="store.tls",
    message="the connection to the database cannot be protected",
    hint="look at the TLS parameters of db.dataSource and at the server's certificate",
)


def other(error: BaseException) -> Verdict:
    """Return the verdict on what nobody thought of; only the kind of the exception is told."""
    return Verdict(fate=Fate.REFUSED, code="store.failed", message=f"the database failed: {type(error).__name__}")


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from, a driver's own among them."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "orig", None) or current.__cause__
