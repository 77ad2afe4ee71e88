"""Rows and what they stand for: numbers, moments and lists in the one form that the tables keep."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from online.store.protocol import CertificateKind, CertificateRow, Revocation, RevocationProof, TokenUse

Row = sa.RowMapping | Mapping[str, Any]
_PLAIN_COMMON_NAME = re.compile(r"CN=([^,+\\]+)")


def serial_text(serial: int) -> str:
    """Write a serial as 40 lower-case hex digits: RFC 5280 allows 20 octets."""
    return f"{serial:040x}"


def seconds(moment: datetime) -> int:
    """Write an aware moment as whole seconds since 1970; a fraction is dropped."""
    return int(moment.timestamp())


def token_values(token: TokenUse) -> dict[str, Any]:
    """Return the columns of ``used_token``. The end is rounded up: a use is never forgotten too early."""
    return {
        "provisioner_id": token.provisioner_id,
        "digest": token.digest,
        "expires": -int(-token.expires.timestamp() // 1),
    }


def fold(text: str) -> str:
    """Return a name in the form in which names are compared when somebody searches: without regard to case."""
    return text.casefold()


def names_of(row: CertificateRow) -> tuple[str, ...]:
    """Return the names under which a certificate is found, folded: the alternative names, the subject, the common name.

    A common name with characters that RFC 4514 escapes is found as a part of the subject only.
    """
    common = _PLAIN_COMMON_NAME.fullmatch(row.subject)
    return tuple(dict.fromkeys(map(fold, (*row.sans, row.subject, *((common[1],) if common else ())))))


def certificate_values(row: CertificateRow) -> dict[str, Any]:
    """Return the columns of ``certificate``."""
    return {
        "serial": serial_text(row.serial),
        "der": row.der,
        "subject": row.subject,
        "sans": json.dumps(row.sans),
        "not_before": seconds(row.not_before),
        "not_after": seconds(row.not_after),
        "key_digest": row.key_digest,
        "provisioner_id": row.provisioner_id,
        "provisioner_name": row.provisioner_name,
        "parent": None if row.parent is None else serial_text(row.parent),
        "kind": row.kind.value,
    }


def certificate_of(row: Row) -> CertificateRow:
    """Read a row of ``certificate``."""
    return CertificateRow(
        serial=int(row["serial"], 16),
        der=row["der"],
        subject=row["subject"],
        sans=tuple(json.loads(row["sans"])),
        not_before=_moment(row["not_before"]),
        not_after=_moment(row["not_after"]),
        key_digest=row["key_digest"],
        provisioner_id=row["provisioner_id"],
        provisioner_name=row["provisioner_name"],
        parent=None if row["parent"] is None else int(row["parent"], 16),
        kind=CertificateKind(row["kind"]),
    )


def revocation_values(revocation: Revocation) -> dict[str, Any]:
    """Return the columns of ``revocation``."""
    return {
        "serial": serial_text(revocation.serial),
        "revoked_at": seconds(revocation.revoked_at),
        "reason_code": revocation.reason_code,
        "reason": revocation.reason,
        "proof": revocation.proof.value,
        "provisioner_id": revocation.provisioner_id,
        "compromised_key": revocation.compromised_key,
    }


def revocation_of(row: Row) -> Revocation:
    """Read a row of ``revocation``."""
    return Revocation(
        serial=int(row["serial"], 16),
        revoked_at=_moment(row["revoked_at"]),
        reason_code=row["reason_code"],
        reason=row["reason"],
        proof=RevocationProof(row["proof"]),
        provisioner_id=row["provisioner_id"],
        compromised_key=row["compromised_key"],
    )


def _moment(value: int) -> datetime:
    return datetime.fromtimestamp(value, UTC)
