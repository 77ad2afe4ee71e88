"""HSM keys that ``cryptography`` takes for its own: they subclass its private-key interfaces.

So there is one signing path for software and HSM keys: builders of certificates, requests and CRLs, and PyJWT,
call ``sign``. Invariants:

* hashing happens here, the token sees digests only (Ed25519 and ML-DSA hash inside by design, RFC 8032 and FIPS
  204): no token needs a mechanism for each hash, and SoftHSM 2.6 has none for ECDSA;
* a signature that does not verify under the key's own public key never leaves this module;
* the private key cannot be exported, copied or used for anything but signing;
* no state of PKCS#11 is here: how a raw signature is made is a callback of the token's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Self, overload

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa, utils
from pkcs11 import MGF, Mechanism

from shared.errors import PeerFailed, Unsupported
from shared.keys import CaPublicKey, PublicKey

PssParameters = tuple[Mechanism, MGF, int]
RawSign = Callable[[Mechanism, PssParameters | None, bytes], bytes]
"""Mechanism, its parameter, and what to sign; returns the token's signature or raises an error of ours."""

# DigestInfo without the digest, RFC 8017 §9.2 note 1.
_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_PSS = {
    "sha256": (Mechanism.SHA256, MGF.SHA256),
    "sha384": (Mechanism.SHA384, MGF.SHA384),
    "sha512": (Mechanism.SHA512, MGF.SHA512),
}


class _InToken:
    """What all HSM keys have in common: where they are, and that they stay there."""

    def __init__(self, *, label: str, key_id: bytes, raw_sign: RawSign) -> None:
        self.label = label
        self.key_id = key_id
        self._raw_sign = raw_sign

    def _refuse(self, *_args: Any, **_keywords: Any) -> NoReturn:
        raise Unsupported("hsm.not-exportable", "the private key is in an HSM and cannot leave it")

    private_bytes = private_bytes_raw = private_numbers = _refuse

    def _refuse_use(self, *_args: Any, **_keywords: Any) -> NoReturn:
        raise Unsupported("hsm.sign-only", "the private key in the HSM is for signing only")

    decrypt = exchange = _refuse_use

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label!r} id {self.key_id.hex()}>"


class HsmEcKey(_InToken, ec.EllipticCurvePrivateKey):
    """An ECDSA key in a token."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey, *, label: str, key_id: bytes, raw_sign: RawSign) -> None:
        super().__init__(label=label, key_id=key_id, raw_sign=raw_sign)
        self._public_key = public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """The curve's size in bits."""
        return self._public_key.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public key."""
        return self._public_key

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign with ECDSA (FIPS 186-5 §6.4.1).

        Args:
            data: bytes, or a digest under ``Prehashed``.
            signature_algorithm: ``ec.ECDSA`` of any hash.

        Raises:
            Unsupported: ``hsm.unsupported``.
            PeerFailed: ``hsm.*``.
        """
        if not isinstance(signature_algorithm, ec.ECDSA) or signature_algorithm.deterministic_signing:
            raise Unsupported("hsm.unsupported", "an EC key in an HSM signs with plain ECDSA only")
        width = (self.key_size + 7) // 8
        # The leftmost bits of a digest that is longer than the curve's order. All our curves that are shorter
        # than some hash (P-256, P-384) have whole bytes.
        digest = _digest(data, signature_algorithm.algorithm)[:width]
        raw = self._raw_sign(Mechanism.ECDSA, None, digest)
        if len(raw) != 2 * width:
            raise _bad_signature()
        r, s = int.from_bytes(raw[:width], "big"), int.from_bytes(raw[width:], "big")
        signature = utils.encode_dss_signature(r, s)
        return _verified(signature, lambda: self._public_key.verify(signature, data, signature_algorithm))


class HsmRsaKey(_InToken, rsa.RSAPrivateKey):
    """An RSA key in a token, for PKCS#1 v1.5 and PSS signatures."""

    def __init__(self, public_key: rsa.RSAPublicKey, *, label: str, key_id: bytes, raw_sign: RawSign) -> None:
        super().__init__(label=label, key_id=key_id, raw_sign=raw_sign)
        self._public_key = public_key

    @property
    def key_size(self) -> int:
        """The size of the modulus in bits."""
        return self._public_key.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        """Return the public key."""
        return self._public_key

    def sign(self, data: bytes, padding: Any, algorithm: Any) -> bytes:
        """Sign with RSASSA-PKCS1-v1_5 or RSASSA-PSS (RFC 8017 §8).

        Args:
            data: bytes, or a digest under ``Prehashed``.
            padding: ``PKCS1v15``, or ``PSS`` with MGF1 of the same hash.
            algorithm: SHA-256, SHA-384 or SHA-512, or ``Prehashed`` of one.

        Raises:
            Unsupported: ``hsm.unsupported``.
            PeerFailed: ``hsm.*``.
        """
        hash_ = _hash_of(algorithm)
        if hash_ is None or hash_.name not in _DIGEST_INFO:
            raise Unsupported("hsm.unsupported", "an RSA key in an HSM signs with SHA-256, SHA-384 or SHA-512 only")
        mechanism, parameters = self._scheme(padding, hash_)
        digest = _digest(data, algorithm)
        block = digest if parameters else _DIGEST_INFO[hash_.name] + digest
        signature = self._raw_sign(mechanism, parameters, block)
        return _verified(signature, lambda: self._public_key.verify(signature, data, padding, algorithm))

    def _scheme(self, scheme: object, hash_: hashes.HashAlgorithm) -> tuple[Mechanism, PssParameters | None]:
        if isinstance(scheme, padding.PKCS1v15):
            return Mechanism.RSA_PKCS, None
        if isinstance(scheme, padding.PSS):
            mgf = scheme.mgf
            salt = _salt_length(scheme, hash_, self.key_size)
            if isinstance(mgf, padding.MGF1) and mgf._algorithm.name == hash_.name and salt is not None:  # noqa: SLF001
                return Mechanism.RSA_PKCS_PSS, (*_PSS[hash_.name], salt)
        raise Unsupported("hsm.unsupported", "an RSA key in an HSM signs with PKCS#1 v1.5 or plain PSS only")


class HsmEd25519Key(_InToken, ed25519.Ed25519PrivateKey):
    """An Ed25519 key in a token."""

    def __init__(self, public_key: ed25519.Ed25519PublicKey, *, label: str, key_id: bytes, raw_sign: RawSign) -> None:
        super().__init__(label=label, key_id=key_id, raw_sign=raw_sign)
        self._public_key = public_key

    def public_key(self) -> ed25519.Ed25519PublicKey:
        """Return the public key."""
        return self._public_key

    def sign(self, data: Any) -> bytes:
        """Sign (RFC 8032).

        Raises:
            PeerFailed: ``hsm.*``.
        """
        signature = self._raw_sign(Mechanism.EDDSA, None, bytes(data))
        return _verified(signature, lambda: self._public_key.verify(signature, data))


class HsmMlDsaKey(_InToken, mldsa.MLDSA65PrivateKey):
    """An ML-DSA-65 key in a token (PKCS#11 3.2), or in the stead of one."""

    def __init__(self, public_key: mldsa.MLDSA65PublicKey, *, label: str, key_id: bytes, raw_sign: RawSign) -> None:
        super().__init__(label=label, key_id=key_id, raw_sign=raw_sign)
        self._public_key = public_key

    def public_key(self) -> mldsa.MLDSA65PublicKey:
        """Return the public key."""
        return self._public_key

    def sign(self, data: Any, context: Any = None) -> bytes:
        """Sign (FIPS 204 §5.2), with the empty context that certificates and lists have (RFC 9881 §3).

        Raises:
            Unsupported: ``hsm.unsupported`` for another context.
            PeerFailed: ``hsm.*``.
        """
        if context:
            raise Unsupported("hsm.unsupported", "an ML-DSA key in an HSM signs with the empty context only")
        signature = self._raw_sign(Mechanism.ML_DSA, None, bytes(data))
        return _verified(signature, lambda: self._public_key.verify(signature, data))

    sign_mu = _InToken._refuse_use  # noqa: SLF001 (of its own base)


HsmKey = HsmEcKey | HsmRsaKey | HsmEd25519Key
CaHsmKey = HsmKey | HsmMlDsaKey


@overload
def hsm_key(public_key: PublicKey, *, label: str, key_id: bytes, raw_sign: RawSign) -> HsmKey: ...
@overload
def hsm_key(public_key: CaPublicKey, *, label: str, key_id: bytes, raw_sign: RawSign) -> CaHsmKey: ...
def hsm_key(public_key: CaPublicKey, *, label: str, key_id: bytes, raw_sign: RawSign) -> CaHsmKey:
    """Make the key object that goes with a public key.

    Args:
        public_key: checked already.
        label: CKA_LABEL.
        key_id: CKA_ID.
        raw_sign: makes the token's signature.
    """
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return HsmEcKey(public_key, label=label, key_id=key_id, raw_sign=raw_sign)
    if isinstance(public_key, rsa.RSAPublicKey):
        return HsmRsaKey(public_key, label=label, key_id=key_id, raw_sign=raw_sign)
    if isinstance(public_key, mldsa.MLDSA65PublicKey):
        return HsmMlDsaKey(public_key, label=label, key_id=key_id, raw_sign=raw_sign)
    return HsmEd25519Key(public_key, label=label, key_id=key_id, raw_sign=raw_sign)


def _hash_of(algorithm: object) -> hashes.HashAlgorithm | None:
    if isinstance(algorithm, utils.Prehashed):
        algorithm = algorithm._algorithm  # noqa: SLF001 (the only way to know)
    return algorithm if isinstance(algorithm, hashes.HashAlgorithm) else None


def _digest(data: Any, algorithm: hashes.HashAlgorithm | utils.Prehashed) -> bytes:
    if isinstance(algorithm, utils.Prehashed):
        digest = bytes(data)
        if len(digest) != algorithm.digest_size:
            raise Unsupported("hsm.unsupported", "the digest to be signed has a wrong length")
        return digest
    context = hashes.Hash(algorithm)
    context.update(data)
    return context.finalize()


def _salt_length(scheme: padding.PSS, hash_: hashes.HashAlgorithm, key_size: int) -> int | None:
    salt = scheme._salt_length  # noqa: SLF001 (the builders pass the object, and it has no other reader)
    if isinstance(salt, int):
        return salt
    if salt is padding.PSS.DIGEST_LENGTH:
        return hash_.digest_size
    if salt is padding.PSS.MAX_LENGTH:
        # emLen - hLen - 2, RFC 8017 §9.1.1.
        return (key_size + 6) // 8 - hash_.digest_size - 2
    return None


def _verified(signature: bytes, verify: Callable[[], None]) -> bytes:
    """Let a signature out only if it verifies: a broken or cheating token would cost the key's good name."""
    try:
        verify()
    except (InvalidSignature, ValueError):
        raise _bad_signature() from None
    return signature


def _bad_signature() -> PeerFailed:
    return PeerFailed("hsm.bad-signature", "the HSM's signature does not verify under the key's public key")
