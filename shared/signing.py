"""What the signing of certificates and of lists has in common: the signature, and its check.

Signing a certificate goes through ``shared.issue``, signing a revocation list through ``shared.crl``; nothing else
calls these, but for the node's proof that its key signs (``online.signing_key``).
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

from shared import der
from shared.errors import Fatal
from shared.keys import (
    CaKind,
    CaPrivateKey,
    CaPublicKey,
    KeyKind,
    PostQuantum,
    kind_of,
    signature_hash,
)

# AlgorithmIdentifier in DER, as each kind of key signs with the hash of ``shared.keys.signature_hash``:
# RFC 5758 §3.2 (no parameters), RFC 4055 §5 (NULL), RFC 8410 §3 and RFC 9881 §2 (no parameters).
_ALGORITHM: dict[CaKind, bytes] = {
    KeyKind.EC_P256: bytes.fromhex("300a06082a8648ce3d040302"),
    KeyKind.EC_P384: bytes.fromhex("300a06082a8648ce3d040303"),
    KeyKind.EC_P521: bytes.fromhex("300a06082a8648ce3d040304"),
    KeyKind.RSA: bytes.fromhex("300d06092a864886f70d01010b0500"),
    KeyKind.ED25519: bytes.fromhex("300506032b6570"),
    PostQuantum.ML_DSA_65: bytes.fromhex("300b0609608648016503040312"),
}


def algorithm_identifier(kind: CaKind) -> bytes:
    """Return the AlgorithmIdentifier, in DER, of what ``sign`` does with a key of a kind."""
    return _ALGORITHM[kind]


def sign(key: CaPrivateKey, data: bytes) -> bytes:
    """Sign bytes, with the hash that goes with the key's kind.

    Args:
        key: software or HSM.
        data: not hashed yet.

    Raises:
        PeerFailed: ``hsm.*``.
    """
    if isinstance(key, ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey):
        return key.sign(data)
    algorithm = signature_hash(kind_of(key))
    assert algorithm is not None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(algorithm))
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(data, padding.PKCS1v15(), algorithm)


def sign_whole(key: CaPrivateKey, tbs: bytes) -> bytes:
    """Sign a TBSCertificate or TBSCertList and put the whole together (RFC 5280 §4.1, §5.1).

    Args:
        key: software or HSM, or for a draft a stand-in (``shared.stand_in``).
        tbs: in DER; it names the algorithm that goes with the key's kind.

    Raises:
        PeerFailed: ``hsm.*``.
    """
    return _whole(tbs, kind_of(key), sign(key, tbs))


def unsigned(tbs: bytes, kind: CaKind) -> bytes:
    """Put a TBSCertificate or TBSCertList together with an empty signature, for those who read and do not trust it.

    Args:
        tbs: in DER.
        kind: of the key that would sign it.
    """
    return _whole(tbs, kind, b"")


def _whole(tbs: bytes, kind: CaKind, signature: bytes) -> bytes:
    return der.tlv(der.SEQUENCE, tbs, algorithm_identifier(kind), der.tlv(der.BIT_STRING, b"\x00", signature))


def check_signature(key: CaPublicKey, *, signature: bytes, data: bytes, algorithm: hashes.HashAlgorithm | None) -> None:
    """Insist that a signature verifies under a public key.

    Args:
        key: the issuer's.
        signature: as it stands in the certificate or list.
        data: what was signed.
        algorithm: the hash that the certificate or list names; ``None`` for Ed25519 and ML-DSA.

    Raises:
        Fatal: ``issue.bad-signature``.
    """
    try:
        _verify(key, signature, data, algorithm)
    except (InvalidSignature, ValueError, TypeError):
        raise Fatal("issue.bad-signature", "the signature does not verify under the issuer's key") from None


def _verify(key: CaPublicKey, signature: bytes, data: bytes, algorithm: hashes.HashAlgorithm | None) -> None:
    if isinstance(key, ed25519.Ed25519PublicKey | mldsa.MLDSA65PublicKey):
        key.verify(signature, data)
    elif algorithm is None:
        raise InvalidSignature
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(algorithm))
    else:
        key.verify(signature, data, padding.PKCS1v15(), algorithm)
