"""Profiles: what a kind of certificate may and must look like.

Invariants: a ``Profile`` in hand is valid; contradictions (a path length without CA, a CA with extended key
usage, keyCertSign on a leaf) cannot be built. The profile decides, never the request's extensions.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from shared.errors import RequestRejected
from shared.keys import CA_KINDS, CaKind, KeyKind, PostQuantum

_DAY = timedelta(days=1)


class Role(StrEnum):
    """The place of a certificate in the hierarchy."""

    ROOT = "root"
    INTERMEDIATE = "intermediate"
    LEAF = "leaf"


class KeyPurpose(StrEnum):
    """What a leaf's key may be good for (RFC 5280 §4.2.1.3); signing certificates and lists is not among it."""

    DIGITAL_SIGNATURE = "digitalSignature"
    CONTENT_COMMITMENT = "contentCommitment"
    KEY_ENCIPHERMENT = "keyEncipherment"
    DATA_ENCIPHERMENT = "dataEncipherment"
    KEY_AGREEMENT = "keyAgreement"


# TLS: leaves sign, and RSA leaves also receive keys (TLS 1.2 key transport).
LEAF_PURPOSES = frozenset({KeyPurpose.DIGITAL_SIGNATURE, KeyPurpose.KEY_ENCIPHERMENT})
TLS_USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
# What a kind of key can do at all: RFC 3279 §2.3.1, RFC 8813 §3, RFC 8410 §5, RFC 9881 §5.
_RSA_CAN = frozenset(KeyPurpose) - {KeyPurpose.KEY_AGREEMENT}
_EC_CAN = frozenset({KeyPurpose.DIGITAL_SIGNATURE, KeyPurpose.CONTENT_COMMITMENT, KeyPurpose.KEY_AGREEMENT})
_SIGNERS_CAN = frozenset({KeyPurpose.DIGITAL_SIGNATURE, KeyPurpose.CONTENT_COMMITMENT})
_CAN: dict[CaKind, frozenset[KeyPurpose]] = {
    KeyKind.RSA: _RSA_CAN,
    KeyKind.ED25519: _SIGNERS_CAN,
    PostQuantum.ML_DSA_65: _SIGNERS_CAN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The shape of one kind of certificate."""

    name: str
    role: Role
    longest: timedelta
    """The longest validity, notAfter minus notBefore."""
    path_length: int | None = None
    """pathLenConstraint of a CA (RFC 5280 §4.2.1.9); ``None`` for a leaf."""
    extended_key_usage: tuple[x509.ObjectIdentifier, ...] = ()
    key_kinds: frozenset[CaKind] = frozenset(KeyKind)
    """Kinds of subject key that are accepted."""
    needs_san: bool = False
    allowed_extensions: frozenset[x509.ObjectIdentifier] = frozenset()
    """Further extensions that may stand in the certificate."""
    purposes: frozenset[KeyPurpose] = LEAF_PURPOSES
    """What a leaf's key is for, as far as its kind can do it. Not looked at for a CA."""

    def __post_init__(self) -> None:
        if self.longest < timedelta(seconds=1):
            raise RequestRejected("profile.validity", f"profile {self.name}: the validity is not positive")
        if self.is_ca != (self.path_length is not None) or (self.path_length or 0) < 0:
            raise RequestRejected("profile.path-length", f"profile {self.name}: a CA, and only a CA, has a path length")
        if self.is_ca and self.extended_key_usage:
            raise RequestRejected(
                "profile.extended-key-usage",
                f"profile {self.name}: extended key usage on a CA would forbid client certificates below it",
            )
        if KeyPurpose.DIGITAL_SIGNATURE not in self.purposes:
            raise RequestRejected(
                "profile.purposes", f"profile {self.name}: a leaf that does not sign cannot prove who it is"
            )
        if not self.key_kinds:
            raise RequestRejected("profile.key-kinds", f"profile {self.name}: no kind of key is accepted")

    @property
    def is_ca(self) -> bool:
        """Whether the subject may sign certificates."""
        return self.role is not Role.LEAF

    def key_usage(self, kind: CaKind) -> x509.KeyUsage:
        """Return the key usage for a subject key of a kind (RFC 5280 §4.2.1.3).

        CAs sign certificates and CRLs; leaves do what the profile wants of those things that the kind of key can do.
        """
        return _key_usage(None if self.is_ca else self.purposes, kind)


# Purposes and kinds are few, leaves are many.
@functools.lru_cache(maxsize=256)
def _key_usage(purposes: frozenset[KeyPurpose] | None, kind: CaKind) -> x509.KeyUsage:
    """Return the key usage for a leaf's purposes; a CA's for ``None``."""
    can = frozenset() if purposes is None else purposes & _CAN.get(kind, _EC_CAN)
    return x509.KeyUsage(
        digital_signature=KeyPurpose.DIGITAL_SIGNATURE in can,
        content_commitment=KeyPurpose.CONTENT_COMMITMENT in can,
        key_encipherment=KeyPurpose.KEY_ENCIPHERMENT in can,
        data_encipherment=KeyPurpose.DATA_ENCIPHERMENT in can,
        key_agreement=KeyPurpose.KEY_AGREEMENT in can,
        key_cert_sign=purposes is None,
        crl_sign=purposes is None,
        encipher_only=False,
        decipher_only=False,
    )


def root_profile(
    *,
    longest: timedelta = 3653 * _DAY,
    path_length: int = 1,
    allowed_extensions: frozenset[x509.ObjectIdentifier] = frozenset(),
) -> Profile:
    """Return the profile of a root: ten years (leap days included), one level of CAs below unless told otherwise."""
    return Profile(
        name="root",
        role=Role.ROOT,
        longest=longest,
        path_length=path_length,
        key_kinds=CA_KINDS,
        allowed_extensions=allowed_extensions,
    )


def intermediate_profile(
    *, longest: timedelta = 3653 * _DAY, allowed_extensions: frozenset[x509.ObjectIdentifier] = frozenset()
) -> Profile:
    """Return the profile of an issuing intermediate: no CA below it, no extended key usage."""
    return Profile(
        name="intermediate",
        role=Role.INTERMEDIATE,
        longest=longest,
        path_length=0,
        key_kinds=CA_KINDS,
        allowed_extensions=allowed_extensions,
    )


def leaf_profile(
    *,
    longest: timedelta,
    allowed_extensions: frozenset[x509.ObjectIdentifier] = frozenset(),
    purposes: frozenset[KeyPurpose] = LEAF_PURPOSES,
    extended_key_usage: tuple[x509.ObjectIdentifier, ...] = TLS_USAGES,
) -> Profile:
    """Return the profile of a leaf, by default of a TLS leaf for servers and clients.

    Args:
        longest: the longest validity, backdating included.
        allowed_extensions: further non-critical extensions that the issuer adds.
        purposes: what its key is for, as far as its kind can do it.
        extended_key_usage: what the leaf is for.
    """
    return Profile(
        name="leaf",
        role=Role.LEAF,
        longest=longest,
        extended_key_usage=extended_key_usage,
        needs_san=True,
        allowed_extensions=allowed_extensions,
        purposes=purposes,
    )
