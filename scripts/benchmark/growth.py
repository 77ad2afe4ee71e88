"""A database as it is after a long time."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from datetime import UTC, datetime, timedelta

from fakes.node import NodeHome

from online.config import load_config
from online.store.protocol import CertificateKind, CertificateRow, TokenUse
from online.store.sqlite import open_store
from shared.serials import random_serial

CERTIFICATES, TOKENS = 1_000_000, 100_000
_BATCH = 2000
_SIZE = 700
"""Bytes of a certificate for one name."""


async def grow(home: NodeHome, *, share: float = 1.0) -> float:
    """Fill the database of a node that does not run, by the store's own statements.

    Args:
        home: the node's.
        share: of the full number.

    Returns:
        The seconds it took.
    """
    begun = time.monotonic()
    store = open_store(load_config(home.config).db)
    try:
        total = int(CERTIFICATES * share)
        for first in range(0, total, _BATCH):
            batch = range(first, min(first + _BATCH, total))
            await asyncio.gather(
                *(
                    store.record_certificate(
                        token=_token(number) if number < TOKENS * share else None, certificate=_row(number)
                    )
                    for number in batch
                )
            )
    finally:
        await store.close()
    return time.monotonic() - begun


def _token(number: int) -> TokenUse:
    digest = hashlib.sha256(b"token" + number.to_bytes(8, "big")).hexdigest()
    return TokenUse(provisioner_id="admin", digest=digest, expires=datetime.now(UTC) + timedelta(hours=1))


def _row(number: int) -> CertificateRow:
    name = f"host-{number}.grown.example.com"
    begin = datetime.now(UTC) - timedelta(minutes=1)
    return CertificateRow(
        serial=random_serial(os.urandom),
        der=os.urandom(_SIZE),
        subject=f"CN={name}",
        sans=(name,),
        not_before=begin,
        not_after=begin + timedelta(days=1),
        key_digest=hashlib.sha256(number.to_bytes(8, "big")).hexdigest(),
        provisioner_id="admin",
        provisioner_name="admin",
        parent=None,
        kind=CertificateKind.SIGNED,
    )
