"""The revocations that a move brings along: serial numbers in a text file, for the old CA's database is not read.

Invariant: a file that is not understood to its last line records nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from online.config import load_config
from online.moving.step_home import StepHome
from online.revocation import revoke_unknown
from online.store.open import open_store
from shared import durable
from shared.crl import Reason
from shared.errors import RequestRejected
from shared.serials import parse_serial


def read_revoked(path: Path) -> tuple[int, ...]:
    """Read serial numbers, one a line, decimal or hexadecimal after ``0x``; ``#`` begins a comment.

    Returns:
        Each number once, in the order of the file.

    Raises:
        RequestRejected: ``file.*``, or ``import-step.revoked`` with the number of the line.
    """
    found: dict[int, None] = {}
    for number, line in enumerate(durable.read_text(path).splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            found[parse_serial(text)] = None
        except RequestRejected as error:
            raise RequestRejected(
                "import-step.revoked", f"{path}, line {number}: {error.message}", hint=error.hint
            ) from None
    return tuple(found)


async def record_revoked(home: StepHome, serials: Sequence[int], *, now: datetime) -> None:
    """Record that certificates of the old CA are revoked, in the database that was made for the node.

    One that is recorded already stays as it is.

    Args:
        home: taken over.
        serials: of the certificates.
        now: the moment that counts as that of their revocation.

    Raises:
        RequestRejected: ``config.*``, ``revoke.*``.
        StoreFailed: ``store.*``; give the file again with ``online revoke --offline --unknown``.
    """
    store = open_store(load_config(home.target).db)
    try:
        for serial in serials:
            if await store.revocation(serial) is None:
                await revoke_unknown(
                    store,
                    serial=serial,
                    reason_code=Reason.UNSPECIFIED,
                    reason="revoked by the CA before this one",
                    now=now,
                )
    finally:
        await store.close()
