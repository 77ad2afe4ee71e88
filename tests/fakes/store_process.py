"""A process that records certificates in a shared store, for tests that race or kill it.

Run as ``python store_process.py PATH COUNT NAME [KILL]``: uses the tokens ``NAME-0`` to ``NAME-(COUNT-1)``, each for
a certificate whose subject is the token's name, and prints a line per answer *after* it came: ``ok``, ``used`` or
the code of a failure, and the token's name. With KILL it dies by SIGKILL at that moment (see ``Disk.kill_at``) of its
third transaction.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fakes.disk import Disk
from fakes.rows import certificate_row, token_use

from online.store.sqlite import SqliteStore
from shared.errors import ColdrootError

_FATAL_TRANSACTION = 3


async def main(path: Path, count: int, name: str, kill: str) -> None:
    """Record certificates one after the other, as quickly as the store lets us."""
    disk = Disk()
    store = SqliteStore(path, connect=disk.connect)
    seen = 0

    def fatal(moment: str) -> bool:
        nonlocal seen
        seen += moment.startswith("BEGIN")
        return bool(kill) and seen == _FATAL_TRANSACTION and moment.startswith(kill)

    disk.kill_at = fatal
    for each in range(count):
        token = f"{name}-{each}"
        try:
            await store.record_certificate(token=token_use(token), certificate=certificate_row(subject=token))
            answer = "ok"
        except ColdrootError as error:
            answer = "used" if error.code == "token.used" else error.code
        print(answer, token, flush=True)  # noqa: T201 (this is how the test hears of it)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else ""))
