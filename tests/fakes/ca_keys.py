"""Software keys of every kind that a CA may have. The product itself makes ML-DSA keys in tokens, or for practice."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import mldsa

from shared import keys
from shared.keys import CaKind, CaPrivateKey, PostQuantum


def generate_for_ca(kind: CaKind) -> CaPrivateKey:
    """Make a key."""
    return mldsa.MLDSA65PrivateKey.generate() if isinstance(kind, PostQuantum) else keys.generate(kind)
