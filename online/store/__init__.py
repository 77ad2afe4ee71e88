"""What the issuing node must remember: issued certificates, used tokens, revocations."""

from __future__ import annotations

from online.store.protocol import (
    Census,
    CertificateKind,
    CertificateRow,
    Revocation,
    RevocationProof,
    Store,
    TokenUse,
)

__all__ = ["Census", "CertificateKind", "CertificateRow", "Revocation", "RevocationProof", "Store", "TokenUse"]
