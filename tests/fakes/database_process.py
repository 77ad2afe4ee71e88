"""A process that records certificates in a shared database, for tests that race several.

Run as ``python database_process.py TYPE SOURCE DATABASE RIVALS COUNT NAME``: so many rivals use the tokens ``NAME-0``
to ``NAME-(COUNT-1)`` all at once, each for a certificate of its own whose subject is the token's name. A line an
answer: ``ok``, ``used`` or the code of a failure, and the token's name.
"""

from __future__ import annotations

import asyncio
import sys

from fakes.rows import certificate_row, token_use

from online.config.settings import DatabaseSettings
from online.store.open import CaStore, open_store
from shared.errors import ColdrootError


async def main(settings: DatabaseSettings, rivals: int, count: int, name: str) -> None:
    """Let the rivals run, and print what they were told."""
    store = open_store(settings)
    await store.ready()
    # Whoever started several processes lets them all begin at once.
    print("ready", name, flush=True)  # noqa: T201 (this is how the test hears of it)
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(rival(store, count, name) for _ in range(rivals)))
    await store.close()


async def rival(store: CaStore, count: int, name: str) -> None:
    """Use all tokens, one after the other."""
    for each in range(count):
        token = f"{name}-{each}"
        try:
            await store.record_certificate(token=token_use(token), certificate=certificate_row(subject=token))
            answer = "ok"
        except ColdrootError as error:
            answer = "used" if error.code == "token.used" else error.code
        print(answer, token, flush=True)  # noqa: T201


if __name__ == "__main__":
    kind, source, database, rivals, count, name = sys.argv[1:]
    settings = DatabaseSettings(type=kind, data_source=source, database=database)
    asyncio.run(main(settings, int(rivals), int(count), name))
