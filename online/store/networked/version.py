"""Which version of the tables a database has, and whether this program may use it."""

from __future__ import annotations

from online.store.schema import VERSION
from shared.errors import StoreFailed

UPGRADE = "online db upgrade brings it along; back it up first"


def require_version(found: int | None, where: str) -> None:
    """Insist on this program's version of the tables.

    Args:
        found: as the database says; ``None`` when it says nothing.
        where: the database, safe to show.

    Raises:
        StoreFailed: ``store.version``.
    """
    if found == VERSION:
        return
    if found is None:
        raise StoreFailed(
            "store.version", f"{where} does not say which version of the tables it has", hint="online db upgrade"
        )
    older = found < VERSION
    raise StoreFailed(
        "store.version",
        f"{where} has the tables of {'an older' if older else 'a newer'} version of coldroot:"
        f" {found}, this program needs {VERSION}",
        hint=UPGRADE if older else "run the version that upgraded it, or a later one",
    )
