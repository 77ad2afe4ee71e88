"""Looking certificates up: which rows are meant, and the statement that finds them without reading the others.

The table holds every certificate that was ever issued, and only grows. So a search begins at one index, the first in
this list that it gives something for (the numbers return in the code):

1. one serial, one lineage or one name: the rows of that index. For a part of a name, all names are read, each of
   which stands there once, and the numbers of their certificates gathered;
2. revoked ones only: the revocations;
3. ones in their time only: the live rows, by their end;
4. one provisioner or one kind: the rows of that index, newest first, until the page is full;
5. otherwise all rows, newest first, until the page is full.

SQLite's planner does not know how much an index is going to yield, and must not choose another beginning: everywhere
else a column stands inside an expression, where no index fits it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from online.store.protocol import CertificateKind
from online.store.rows import fold, seconds, serial_text
from online.store.schema import CERTIFICATE, CERTIFICATE_NAME, NAME, REVOCATION
from shared.errors import RequestRejected

LARGEST_PAGE = 1000
_CURSOR = re.compile(r"(?:(?P<end>[0-9]{1,18})\.)?(?P<number>[0-9]{1,18})", re.ASCII)


class Status(StrEnum):
    """What a certificate counts as today: the last of these that is true of it."""

    VALID = "valid"
    """None of the others; also one whose time is yet to come."""
    RENEWED = "renewed"
    """It has a successor."""
    EXPIRED = "expired"
    REVOKED = "revoked"


_IN_TIME = frozenset({Status.VALID, Status.RENEWED})
CLIENTS = frozenset(CertificateKind) - {CertificateKind.OWN}
"""The kinds that clients asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which certificates are wanted: those that fit everything that is given."""

    now: datetime
    """Aware UTC: statuses are those of this moment."""
    text: str = ""
    """Part of an alternative name or of the subject, in any case."""
    exact: bool = False
    """Whether ``text`` is all of an alternative name, a common name or a subject."""
    serial: int | None = None
    lineage: int | None = None
    """The serial of a member; meant are its ancestors, and whatever was renewed from any of them."""
    provisioner: str = ""
    statuses: frozenset[Status] = frozenset(Status)
    kinds: frozenset[CertificateKind] = CLIENTS
    ends_before: datetime | None = None
    """Aware UTC. When given, the first to end come first; otherwise the last to be issued."""
    limit: int = 50
    after: str = ""
    """Where the page before ended: its ``next``."""

    def __post_init__(self) -> None:
        """Check the page.

        Raises:
            RequestRejected: ``search.limit`` or ``search.cursor``.
        """
        if not 1 <= self.limit <= LARGEST_PAGE:
            raise RequestRejected("search.limit", f"a page has 1 to {LARGEST_PAGE} certificates, not {self.limit}")
        match = _CURSOR.fullmatch(self.after)
        if self.after and (match is None or (match["end"] is None) != (self.ends_before is None)):
            raise RequestRejected(
                "search.cursor",
                "the page does not continue this search",
                hint="repeat the search with the same options, and what it named as next",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """When and why a certificate was revoked."""

    at: datetime
    reason_code: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A certificate that fits a search."""

    serial: int
    subject: str
    sans: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    provisioner: str
    """Its name; empty for the node's own leaf."""
    kind: CertificateKind
    status: Status
    renewed_from: int | None
    renewed_to: tuple[int, ...]
    """More than one when the same certificate was renewed several times."""
    withdrawal: Withdrawal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of what fits a search."""

    found: tuple[Found, ...]
    next: str
    """Where the next page begins; empty on the last one."""


_Condition = sa.ColumnElement[bool]
_View = Callable[[sa.Column[Any]], sa.ColumnElement[Any]]


class _Order(StrEnum):
    """The order in which an index yields rows, where that is one that a page can have."""

    NUMBER = "number"
    END = "end"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """A part of a search that has an index."""

    condition: Callable[[_View], _Condition]
    """Made with the columns bare, to begin at the index, or aside."""
    order: _Order = _Order.OTHER


def _bare(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    return column


def _aside(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return the column's value in a form for which SQLite looks for no index."""
    return column + 0 if isinstance(column.type, sa.Integer) else column.concat("")


def statement(search: Search) -> sa.Select[Any]:
    """Return the statement for one page, and for one row more, which tells whether there is a next page."""
    moment = seconds(search.now)
    first, *others = _terms(search, moment)
    wanted = [first.condition(_bare), *(each.condition(_aside) for each in others), *_filters(search, moment)]
    row, revocation = CERTIFICATE.c, REVOCATION.c
    number = (_bare if first.order is _Order.NUMBER else _aside)(row.number)
    end = (_bare if first.order is _Order.END else _aside)(row.not_after)
    if search.ends_before is not None:
        wanted.append(end <= seconds(search.ends_before))
    if search.after:
        wanted.append(_behind(search.after, number, end))
    return (
        sa.select(
            *(row.number, row.serial, row.subject, row.sans, row.not_before, row.not_after),
            *(row.provisioner_name, row.kind, row.parent, _successors()),
            *(revocation.revoked_at, revocation.reason_code, revocation.reason),
        )
        .select_from(sa.outerjoin(CERTIFICATE, REVOCATION, revocation.serial == row.serial))
        .where(*wanted)
        .order_by(*((number.desc(),) if search.ends_before is None else (end, row.number)))
        .limit(search.limit + 1)
    )


def page_of(search: Search, rows: list[sa.RowMapping]) -> Page:
    """Read the rows that ``statement`` yielded."""
    shown = rows[: search.limit]
    following = ""
    if len(rows) > len(shown):
        last = shown[-1]
        following = f"{last['not_after']}.{last['number']}" if search.ends_before is not None else f"{last['number']}"
    return Page(found=tuple(_found(each, search.now) for each in shown), next=following)


def _terms(search: Search, moment: int) -> Iterator[_Term]:
    row = CERTIFICATE.c
    # 1.
    if search.serial is not None:
        wanted = serial_text(search.serial)
        yield _Term(condition=lambda view: view(row.serial) == wanted)
    if search.lineage is not None:
        members = _lineage(search.lineage)
        yield _Term(condition=lambda view: view(row.serial).in_(members))
    if search.text:
        named = _named(search.text, exact=search.exact)
        yield _Term(condition=lambda view: view(row.number).in_(named), order=_Order.NUMBER)
    # 2.
    if search.statuses == {Status.REVOKED}:
        yield _Term(condition=lambda view: view(row.serial).in_(sa.select(REVOCATION.c.serial)))
    # 3.
    if search.statuses <= _IN_TIME:
        yield _Term(condition=lambda view: view(row.not_after) >= moment, order=_Order.END)
    # 4.
    if search.provisioner:
        yield _Term(condition=lambda view: view(row.provisioner_name) == search.provisioner, order=_Order.NUMBER)
    if len(search.kinds) == 1:
        (kind,) = search.kinds
        yield _Term(condition=lambda view: view(row.kind) == kind.value, order=_Order.NUMBER)
    # 5.
    yield _Term(condition=lambda view: view(row.number) > 0, order=_Order.NUMBER)


def _filters(search: Search, moment: int) -> Iterator[_Condition]:
    row = CERTIFICATE.c
    yield _aside(row.kind).in_(sorted(each.value for each in search.kinds))
    if search.statuses != frozenset(Status):
        revoked = REVOCATION.c.revoked_at.is_not(None)
        ended = _aside(row.not_after) < moment
        renewed = sa.exists().where(_CHILD.c.parent == row.serial)
        conditions = {
            Status.REVOKED: revoked,
            Status.EXPIRED: sa.and_(~revoked, ended),
            Status.RENEWED: sa.and_(~revoked, ~ended, renewed),
            Status.VALID: sa.and_(~revoked, ~ended, ~renewed),
        }
        yield sa.or_(sa.false(), *(conditions[each] for each in sorted(search.statuses)))


def _behind(after: str, number: sa.ColumnElement[Any], end: sa.ColumnElement[Any]) -> _Condition:
    match = _CURSOR.fullmatch(after)
    assert match is not None
    last_number = int(match["number"])
    if match["end"] is None:
        return number < last_number
    last_end = int(match["end"])
    return sa.and_(end >= last_end, sa.or_(_aside(CERTIFICATE.c.not_after) > last_end, number > last_number))


_CHILD = CERTIFICATE.alias("child")


def _successors() -> sa.Label[str]:
    listed = sa.select(sa.func.aggregate_strings(_CHILD.c.serial, ",")).where(_CHILD.c.parent == CERTIFICATE.c.serial)
    return listed.scalar_subquery().label("successors")


def _named(text: str, *, exact: bool) -> sa.Select[int]:
    folded = fold(text)
    fits = NAME.c.text == folded if exact else NAME.c.text.contains(folded, autoescape=True)
    ids = sa.select(NAME.c.id).where(fits)
    return sa.select(CERTIFICATE_NAME.c.number).where(CERTIFICATE_NAME.c.name_id.in_(ids))


def _lineage(serial: int) -> sa.Select[str]:
    member = CERTIFICATE.alias("member")
    up = sa.select(sa.literal(serial_text(serial), sa.String).label("serial")).cte("up", recursive=True)
    parents = sa.select(member.c.parent).where(member.c.serial == up.c.serial, member.c.parent.is_not(None))
    up = up.union(parents)
    down = sa.select(up.c.serial).cte("down", recursive=True)
    down = down.union(sa.select(member.c.serial).where(member.c.parent == down.c.serial))
    return sa.select(down.c.serial)


def _found(row: sa.RowMapping, now: datetime) -> Found:
    successors = tuple(sorted(int(each, 16) for each in (row["successors"] or "").split(",") if each))
    ended = row["not_after"] < seconds(now)
    withdrawal = None
    if row["revoked_at"] is not None:
        withdrawal = Withdrawal(at=_moment(row["revoked_at"]), reason_code=row["reason_code"], reason=row["reason"])
    return Found(
        serial=int(row["serial"], 16),
        subject=row["subject"],
        sans=tuple(json.loads(row["sans"])),
        not_before=_moment(row["not_before"]),
        not_after=_moment(row["not_after"]),
        provisioner=row["provisioner_name"],
        kind=CertificateKind(row["kind"]),
        status=_status(revoked=withdrawal is not None, ended=ended, renewed=bool(successors)),
        renewed_from=None if row["parent"] is None else int(row["parent"], 16),
        renewed_to=successors,
        withdrawal=withdrawal,
    )


def _status(*, revoked: bool, ended: bool, renewed: bool) -> Status:
    if revoked:
        return Status.REVOKED
    if ended:
        return Status.EXPIRED
    return Status.RENEWED if renewed else Status.VALID


def _moment(value: int) -> datetime:
    return datetime.fromtimestamp(value, UTC)
