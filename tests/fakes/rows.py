"""Rows for store tests: valid, and different from one another where it matters."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timedelta

from fakes.clock import NOON

from online.store import CertificateKind, CertificateRow, Revocation, RevocationProof, TokenUse
from shared.serials import random_serial

PROVISIONER_ID = "admin:kid"


def token_use(name: str = "t", *, provisioner: str = PROVISIONER_ID, expires: datetime = NOON) -> TokenUse:
    """Return the use of the token with a name; the same name is the same token."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return TokenUse(provisioner_id=provisioner, digest=digest, expires=expires)


def certificate_row(
    *,
    serial: int | None = None,
    parent: int | None = None,
    subject: str = "CN=a",
    key: str = "k",
    begin: datetime = NOON,
) -> CertificateRow:
    """Return a certificate with a fresh serial unless one is given."""
    return CertificateRow(
        serial=serial if serial is not None else random_serial(os.urandom),
        der=b"\x30\x03\x02\x01\x00",
        subject=subject,
        sans=("a.example.com", "10.0.0.1"),
        not_before=begin,
        not_after=begin + timedelta(days=1),
        key_digest=hashlib.sha256(key.encode()).hexdigest(),
        provisioner_id=PROVISIONER_ID,
        provisioner_name="admin",
        parent=parent,
        kind=CertificateKind.SIGNED if parent is None else CertificateKind.RENEWED,
    )


def revocation_of(serial: int, *, key: str | None = None) -> Revocation:
    """Return a revocation; with ``key``, of a compromised one."""
    return Revocation(
        serial=serial,
        revoked_at=NOON,
        reason_code=0 if key is None else 1,
        reason="because",
        proof=RevocationProof.TOKEN,
        provisioner_id=PROVISIONER_ID,
        compromised_key=None if key is None else hashlib.sha256(key.encode()).hexdigest(),
    )
