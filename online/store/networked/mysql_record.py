"""Recording a batch of certificates in MariaDB or MySQL, in a fixed number of statements.

Invariants: what is decided here is decided as ``online.store.operations.record_certificate`` decides it; a unique key
decides who uses a token; rows are inserted in the order of their keys, so that batches of several nodes wait for each
other and seldom block each other; all that is not ours goes into a statement as a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from asyncmy.errors import IntegrityError

from online.store.networked import refusals
from online.store.networked.engine import Issue, Recorded, Session
from online.store.networked.rows import older_than, searchable
from online.store.protocol import MOST_COUNTED, CertificateRow
from online.store.rows import certificate_values, serial_text, token_values
from online.store.schema import CERTIFICATE, CERTIFICATE_NAME, NAME, USED_TOKEN
from shared.errors import ColdrootError

_TOKEN = ("provisioner_id", "digest", "expires")
_COLUMNS = tuple(each.name for each in CERTIFICATE.c if each.name != "number")
_Rows = Sequence[Sequence[Any]]
_WITHDRAWN = (
    "SELECT 1, serial FROM revocation WHERE serial IN ({})"
    " UNION ALL SELECT 2, key_digest FROM compromised_key WHERE key_digest IN ({})"
)


async def record(session: Session, batch: Sequence[Issue]) -> Sequence[Recorded]:
    """Record certificates inside a transaction behind the shared gate.

    1. A renewal's parent must not be revoked, nor superseded where that counts; the key must not be known as
       compromised.
    2. The tokens are used, where nobody was quicker.
    3. The certificates are recorded, and the names that they are searched by.

    Args:
        session: in the transaction.
        batch: no token occurs twice.
    """
    # 1.
    outcomes: list[Recorded] = [each or 1 for each in await withdrawn(session, batch)]
    others = await _others(session, batch)
    for at, each in enumerate(batch):
        if isinstance(outcomes[at], int) and others[at]:
            newest_only = each.lineage is not None and each.lineage.newest_only
            outcomes[at] = refusals.superseded() if newest_only else 1 + others[at]
    # 2.
    tokens = {at: token_values(each.token) for at, each in _allowed(batch, outcomes) if each.token is not None}
    for at in await _taken(session, tokens):
        outcomes[at] = refusals.used()
    # 3.
    allowed = [each for _, each in _allowed(batch, outcomes)]
    if allowed:
        await _link_names(session, allowed, await _insert_certificates(session, allowed))
    return outcomes


async def withdrawn(session: Session, batch: Sequence[Issue]) -> list[ColdrootError | None]:
    """Tell which certificates must not be: their parent is revoked, or their key is compromised."""
    parents = sorted({serial_text(each.certificate.parent) for each in batch if each.certificate.parent is not None})
    keys = sorted({each.certificate.key_digest for each in batch})
    # A list has one member at least; no serial is empty.
    rows = await query(session, _WITHDRAWN.format(_places(parents or [""]), _places(keys)), [*(parents or [""]), *keys])
    revoked = {serial for kind, serial in rows if kind == 1}
    compromised = {key for kind, key in rows if kind != 1}
    found: list[ColdrootError | None] = []
    for each in batch:
        parent = each.certificate.parent
        if parent is not None and serial_text(parent) in revoked:
            found.append(refusals.revoked())
        else:
            found.append(refusals.compromised() if each.certificate.key_digest in compromised else None)
    return found


def names(row: CertificateRow) -> Sequence[str]:
    """Return the names under which a certificate is found. Trailing spaces do not count in comparisons here."""
    return tuple(dict.fromkeys(filter(None, (name.rstrip(" ") for name in searchable(row)))))


async def look(session: Session, table: sa.Table, serials: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a table that have one of some serials."""
    columns = table.c.keys()
    statement = f"SELECT {', '.join(columns)} FROM {table.name} WHERE serial IN ({_places(serials)})"  # noqa: S608 (ours)
    return [dict(zip(columns, row, strict=True)) for row in await query(session, statement, serials)]


async def query(session: Session, statement: str, values: Sequence[Any] = ()) -> _Rows:
    """Run a statement; return its rows."""
    async with session.driver.cursor() as cursor:
        await cursor.execute(statement, values or None)
        rows: _Rows = await cursor.fetchall() if cursor.description else ()
    return rows


def _allowed(batch: Sequence[Issue], outcomes: Sequence[Recorded]) -> list[tuple[int, Issue]]:
    return [(at, each) for at, each in enumerate(batch) if isinstance(outcomes[at], int)]


async def _others(session: Session, batch: Sequence[Issue]) -> list[int]:
    """Count for each how many older successors its parent has."""
    limits = [older_than(each.certificate, each.lineage) for each in batch]
    parents = sorted(
        {
            serial_text(each.certificate.parent)
            for each, limit in zip(batch, limits, strict=True)
            if limit is not None and each.certificate.parent is not None
        }
    )
    if not parents:
        return [0] * len(batch)
    statement = (
        "SELECT parent, not_before FROM certificate"  # noqa: S608 (places)
        f" WHERE parent IN ({_places(parents)}) AND not_before < %s LIMIT {MOST_COUNTED * len(parents)}"
    )
    latest = max(limit for limit in limits if limit is not None)
    successors = await query(session, statement, [*parents, latest])
    return [
        0
        if limit is None or each.certificate.parent is None
        else sum(
            parent == serial_text(each.certificate.parent) and not_before < limit for parent, not_before in successors
        )
        for each, limit in zip(batch, limits, strict=True)
    ]


async def _taken(session: Session, tokens: Mapping[int, Mapping[str, Any]]) -> list[int]:
    """Use tokens; return the places of those that somebody used before."""
    places = sorted(tokens, key=lambda at: (tokens[at]["provisioner_id"], tokens[at]["digest"]))
    if await _insert_all(session, [tokens[at] for at in places]):
        return []
    # Only the statement was undone. Now each for itself.
    return [at for at in places if not await _insert_all(session, [tokens[at]])]


async def _insert_all(session: Session, tokens: Sequence[Mapping[str, Any]]) -> bool:
    if not tokens:
        return True
    try:
        await _insert(session, USED_TOKEN, _TOKEN, [[each[column] for column in _TOKEN] for each in tokens])
    except IntegrityError:
        return False
    return True


async def _insert_certificates(session: Session, issues: Sequence[Issue]) -> dict[str, int]:
    """Record certificates; return their numbers by serial."""
    rows = [certificate_values(each.certificate) for each in issues]
    values = [[row[column] for column in _COLUMNS] for row in rows]
    if session.returns:
        found = await _insert(session, CERTIFICATE, _COLUMNS, values, end=" RETURNING serial, number")
    else:
        await _insert(session, CERTIFICATE, _COLUMNS, values)
        serials = [row["serial"] for row in rows]
        statement = f"SELECT serial, number FROM certificate WHERE serial IN ({_places(serials)})"  # noqa: S608 (places)
        found = await query(session, statement, serials)
    return {str(serial): int(number) for serial, number in found}


async def _link_names(session: Session, issues: Sequence[Issue], numbers: Mapping[str, int]) -> None:
    """Record the names that certificates are searched by.

    Those that are known are only looked at: no lock is taken on what every renewal brings again.
    """
    wanted = [
        (name, numbers[serial_text(each.certificate.serial)]) for each in issues for name in names(each.certificate)
    ]
    texts = sorted({name for name, _ in wanted})
    if not texts:
        return
    known = await _known(session, texts)
    missing = [name for name in texts if name not in known]
    if missing:
        # Somebody else may add them in this moment: then there is waiting for him, and his are taken.
        await _insert(session, NAME, ("text",), [[name] for name in missing], begin="INSERT IGNORE")
        known |= await _known(session, missing)
    links = sorted({(known[name], number) for name, number in wanted if name in known})
    await _insert(session, CERTIFICATE_NAME, ("name_id", "number"), links)


async def _known(session: Session, texts: Sequence[str]) -> dict[str, int]:
    rows = await query(session, f"SELECT text, id FROM name WHERE text IN ({_places(texts)})", texts)  # noqa: S608 (places)
    return {str(text): int(number) for text, number in rows}


async def _insert(
    session: Session,
    table: sa.Table,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    begin: str = "INSERT",
    end: str = "",
) -> _Rows:
    values = [value for row in rows for value in row]
    places = ", ".join([f"({_places(columns)})"] * (len(values) // len(columns)))
    return await query(session, f"{begin} INTO {table.name} ({', '.join(columns)}) VALUES {places}{end}", values)


def _places(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))
