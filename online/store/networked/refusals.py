"""Why a certificate is not recorded: the same words from every database."""

from __future__ import annotations

from shared.errors import PolicyDenied, Unauthenticated


def revoked() -> Unauthenticated:
    """Return the refusal to renew what is revoked."""
    return Unauthenticated("certificate.revoked", "the certificate is revoked")


def compromised() -> PolicyDenied:
    """Return the refusal to certify a key that is known to be in wrong hands."""
    return PolicyDenied("key.compromised", "the public key was revoked as compromised")


def superseded() -> PolicyDenied:
    """Return the refusal to renew what has an heir, where only the newest may be."""
    return PolicyDenied("renew.superseded", "the certificate was renewed before: only its successor may be")


def used() -> Unauthenticated:
    """Return the refusal of a token that was used."""
    return Unauthenticated("token.used", "the token was used before")
