"""Keys that stand in for an issuer's while a certificate or list is drafted: of its kind, and signing nothing.

The library builds no certificate without a key. Under a stand-in its builder makes the very bytes that the real key
will sign, names the algorithm that goes with that kind of key, and puts an empty signature behind them. Such a draft
is for the lint; no program takes it for a certificate.

Invariants: there is no key material in here, so nothing that a stand-in "signed" can ever be accepted; whatever else a
key can be asked for is refused.
"""

from __future__ import annotations

from typing import Any, NoReturn, Self

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from shared.errors import Fatal
from shared.keys import CaPrivateKey, CaPublicKey

_NO_SIGNATURE = b""


class _NoKey:
    """What all stand-ins have in common: an empty signature, and nothing else."""

    def sign(self, *_arguments: Any) -> bytes:
        """Return the empty signature."""
        return _NO_SIGNATURE

    def _refuse(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        raise Fatal("issue.stand-in", "a stand-in for a key was taken for the key")

    public_key = private_bytes = private_bytes_raw = private_numbers = decrypt = exchange = sign_mu = _refuse

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self


class _NoEcKey(_NoKey, ec.EllipticCurvePrivateKey):
    """``shared.keys.kind_of`` asks for the curve."""

    def __init__(self, curve: ec.EllipticCurve) -> None:
        self._curve = curve

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve of the issuer's key."""
        return self._curve

    @property
    def key_size(self) -> int:
        """The curve's size in bits."""
        return self._curve.key_size


class _NoRsaKey(_NoKey, rsa.RSAPrivateKey):
    """The library insists on a size, and does not look at it."""

    @property
    def key_size(self) -> int:
        """There is no modulus."""
        return 0


class _NoEd25519Key(_NoKey, ed25519.Ed25519PrivateKey):
    """Its kind is all that it has."""


class _NoMlDsaKey(_NoKey, mldsa.MLDSA65PrivateKey):
    """Its kind is all that it has."""


def stand_in(public_key: CaPublicKey) -> CaPrivateKey:
    """Return a stand-in for the private key of an issuer.

    Args:
        public_key: the issuer's, of an accepted kind.
    """
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return _NoEcKey(public_key.curve)
    if isinstance(public_key, rsa.RSAPublicKey):
        return _NoRsaKey()
    return _NoEd25519Key() if isinstance(public_key, ed25519.Ed25519PublicKey) else _NoMlDsaKey()
