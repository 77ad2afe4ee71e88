"""The kind of key that an operator asks for, in step's words: ``--kty``, ``--curve``, ``--size``."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import RequestRejected
from shared.keys import LEAST_RSA_BITS, MOST_RSA_BITS, KeyKind, PrivateKey, generate

_CURVES = {"P-256": KeyKind.EC_P256, "P-384": KeyKind.EC_P384, "P-521": KeyKind.EC_P521}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChoice:
    """The kind of key to make."""

    kind: KeyKind = KeyKind.EC_P256
    rsa_bits: int = LEAST_RSA_BITS

    def generate(self) -> PrivateKey:
        """Make a key."""
        return generate(self.kind, rsa_bits=self.rsa_bits)


def choose_key(kty: str, curve: str | None, size: int | None) -> KeyChoice:
    """Read ``--kty``, ``--curve`` and ``--size`` as step means them.

    Args:
        kty: ``EC``, ``RSA`` or ``OKP``.
        curve: for EC ``P-256`` (the default), ``P-384`` or ``P-521``; for OKP ``Ed25519``.
        size: bits of an RSA modulus, 2048 by default.

    Raises:
        RequestRejected: ``key.choice`` for a combination that makes no sense, ``key.weak`` for a size out of bounds.
    """
    if size is not None and kty != "RSA":
        raise RequestRejected("key.choice", f"--size is for RSA keys, not for {kty}")
    if size is not None and not LEAST_RSA_BITS <= size <= MOST_RSA_BITS:
        # Said here, before a CA is asked for anything or a token is spent.
        raise RequestRejected("key.weak", f"RSA keys have {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits, not {size}")
    if kty == "RSA" and curve is None:
        return KeyChoice(kind=KeyKind.RSA, rsa_bits=LEAST_RSA_BITS if size is None else size)
    if kty == "OKP" and curve in {None, "Ed25519"}:
        return KeyChoice(kind=KeyKind.ED25519)
    if kty == "EC" and (curve or "P-256") in _CURVES:
        return KeyChoice(kind=_CURVES[curve or "P-256"])
    raise RequestRejected("key.choice", f"--curve {curve} does not go with --kty {kty}")
