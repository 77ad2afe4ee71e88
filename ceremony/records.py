"""What the transcript says: the kinds of record and the facts in each, in one place for writer and verifier.

Invariant: the facts of a certificate are computed from its bytes by one function, for the record on the day
and for whoever compares years later. Nothing here is secret.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Mapping
from enum import StrEnum
from importlib import metadata

from cryptography import x509

from ceremony.host.wheelhouse import manifest_digest
from ceremony.transcript import GENESIS, Json
from shared.clock import rfc3339
from shared.keys import ca_key, describe, fingerprint, public_key_digest
from shared.names import format_name
from shared.pem import certificate_der, load_certificate_der

Facts = Mapping[str, Json]

FORMAT = 2
"""Of an act's records. From 2 on, what people confirmed is recorded."""
_TOOLS = ("coldroot", "cryptography", "python-pkcs11", "qrcode", "reportlab", "shamir-mnemonic")


class Act(StrEnum):
    """What a ceremony does from opening to closing the transcript."""

    ROOT = "root"
    AMEND = "amend"
    INTERMEDIATE = "intermediate"
    ROTATE = "rotate"
    CRL = "crl"
    CROSS = "cross"
    ROLLOVER = "rollover"
    BACKUP = "backup"
    RESTORE_TEST = "restore-test"
    DESTROY = "destroy"
    INVENTORY = "inventory"


class Mode(StrEnum):
    """Whether it counts. A rehearsal may run on a networked host and write the shares' words to a file."""

    REHEARSAL = "rehearsal"
    REAL = "real"


class Kind(StrEnum):
    """The kinds of record. The genesis opens the root act; every later act has an opening of its own."""

    GENESIS = GENESIS
    ACT_OPENED = "act-opened"
    HOST_CHECKED = "host-checked"
    ENTROPY_MIXED = "entropy-mixed"
    HSM_INTENT = "hsm-intent"
    TOKEN_INITIALISED = "token-initialised"  # noqa: S105 (an HSM's token)
    KEY_GENERATED = "key-generated"
    CERTIFICATE_PREPARED = "certificate-prepared"
    CERTIFICATE_ISSUED = "certificate-issued"
    SHARES_DEALT = "shares-dealt"
    SHEET_WRITTEN = "sheet-written"
    SHEET_READ_BACK = "sheet-read-back"
    SHEET_REMOVED = "sheet-removed"
    SHARES_READ_BACK = "shares-read-back"
    QUORUM_UNLOCKED = "quorum-unlocked"
    QUORUM_RECOMBINED = "quorum-recombined"
    PINS_REPLACED = "pins-replaced"
    SHARES_RETIRED = "shares-retired"
    REQUEST_ACCEPTED = "request-accepted"
    DIGEST_CONFIRMED = "digest-confirmed"
    FACT_CONFIRMED = "fact-confirmed"
    STEP_CONFIRMED = "step-confirmed"
    PLAN_AMENDED = "plan-amended"
    REPLY_WRITTEN = "reply-written"
    CERTIFICATE_DELIVERED = "certificate-delivered"
    INVENTORY_TAKEN = "inventory-taken"
    LIST_PREPARED = "list-prepared"
    LIST_ISSUED = "list-issued"
    OTHER_ROOT_ACCEPTED = "other-root-accepted"
    CROSS_ISSUED = "cross-issued"
    NEXT_KEY_GENERATED = "next-key-generated"
    NEXT_ROOT_ISSUED = "next-root-issued"
    FILES_WRITTEN = "files-written"
    KEY_WRAPPED = "key-wrapped"
    BACKUP_RESTORED = "backup-restored"
    KEY_DESTROYED = "key-destroyed"
    ABSENCE_PROVEN = "absence-proven"
    TOKEN_ERASED = "token-erased"  # noqa: S105 (an HSM's token)
    EXCEPTION = "exception"
    BAG_SEALED = "bag-sealed"
    BAG_OPENED = "bag-opened"
    ACT_FAILED = "act-failed"
    ACT_ABANDONED = "act-abandoned"
    SCRIPT_RENDERED = "script-rendered"
    ACT_RESUMED = "act-resumed"
    OUTCOME_FOUND = "outcome-found"
    ACT_CLOSED = "act-closed"
    ACT_SIGNED = "act-signed"
    TRANSCRIPT_MENDED = "transcript-mended"


class DigestCheck(StrEnum):
    """How a digest was confirmed."""

    TYPED = "typed"
    """Words that only the other side's paper shows were read aloud and typed; the machine showed its own afterwards."""
    REHEARSED = "rehearsed"
    """Shown, and compared by nobody: a rehearsal that runs by itself."""


class Retirement(StrEnum):
    """Why a set of shares is dead."""

    REPLACED = "replaced"
    """The HSM's PINs are another set's now."""
    ABANDONED = "abandoned"
    """It was dealt and never came to unlock anything."""


BETWEEN_ACTS = frozenset(
    {
        Kind.EXCEPTION,
        Kind.BAG_SEALED,
        Kind.BAG_OPENED,
        Kind.ACT_SIGNED,
        Kind.TRANSCRIPT_MENDED,
        Kind.SCRIPT_RENDERED,
        Kind.FACT_CONFIRMED,
        Kind.STEP_CONFIRMED,
    }
)
"""What may stand outside any act: what people record when it happens, and the signature under an act."""
OPENINGS = frozenset({Kind.GENESIS, Kind.ACT_OPENED})
ENDINGS = frozenset({Kind.ACT_CLOSED, Kind.ACT_FAILED, Kind.ACT_ABANDONED})
"""How an act ends: done, with an error that was recorded, or found open by the act after it."""


def opening(act: Act, mode: Mode, *, plan_digest: bytes, title: str) -> Facts:
    """Return the facts of an act's first record: what is done, by which plan and which tool."""
    tools: dict[str, Json] = {name: metadata.version(name) for name in _TOOLS}
    return {
        "format": FORMAT,
        "act": act.value,
        "mode": mode.value,
        "plan": plan_digest.hex(),
        "title": title,
        "tools": tools | {"python": platform.python_version()},
        "wheelhouse": manifest_digest(),
    }


def certificate_facts(file: str, certificate: x509.Certificate) -> Facts:
    """Return what is recorded of a certificate, all of it computed from its bytes.

    Args:
        file: its name in the ceremony's directory.
        certificate: the certificate.
    """
    key = ca_key(certificate)
    return {
        "file": file,
        "subject": format_name(certificate.subject),
        "issuer": format_name(certificate.issuer),
        "serial": f"{certificate.serial_number:x}",
        "not_before": rfc3339(certificate.not_valid_before_utc),
        "not_after": rfc3339(certificate.not_valid_after_utc),
        "key": describe(key),
        "public_key_sha256": public_key_digest(key),
        "tbs_sha256": hashlib.sha256(certificate.tbs_certificate_bytes).hexdigest(),
        "sha256": fingerprint(certificate),
        "der": base64.b64encode(certificate_der(certificate)).decode("ascii"),
    }


def recorded_certificate(facts: Facts) -> x509.Certificate:
    """Return the certificate that a record holds.

    Raises:
        RequestRejected: ``certificate.malformed``.
    """
    try:
        der = base64.b64decode(str(facts.get("der")), validate=True)
    except ValueError:
        der = b""
    return load_certificate_der(der, what="recorded certificate")


def key_facts(*, label: str, key_id: bytes, public_key_sha256: str, attributes: Mapping[str, bool | str]) -> Facts:
    """Return what is recorded of the key that was generated in the HSM, as the HSM reports it."""
    return {
        "label": label,
        "id": key_id.hex(),
        "public_key_sha256": public_key_sha256,
        "attributes": dict(attributes),
    }
