"""The key kinds that coldroot makes and accepts, and what is computed from a public key.

Invariants: the kinds are an allow-list (NIST P-256, P-384, P-521; RSA of 2048 to 8192 bits; Ed25519; and ML-DSA-65
for the CAs of a ceremony); a kind in hand was checked. ``KeyKind``, ``PublicKey`` and ``PrivateKey`` are the classical
ones: whoever takes ML-DSA too says so by ``CaKind``, ``CaPublicKey`` or ``CaPrivateKey``. No private key is written or
read here: see ``shared.keystore``.
"""

from __future__ import annotations

import functools
import hashlib
from enum import StrEnum
from typing import cast, overload

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.errors import RequestRejected

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
CaPublicKey = PublicKey | mldsa.MLDSA65PublicKey
CaPrivateKey = PrivateKey | mldsa.MLDSA65PrivateKey
SignatureHash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512

# NIST SP 800-57 part 1: 112 bits of strength is the least still allowed; above 8192 a verifier pays too much.
LEAST_RSA_BITS = 2048
MOST_RSA_BITS = 8192
_LEAST_RSA_EXPONENT = 65537


class KeyKind(StrEnum):
    """A key algorithm with its parameters, as plans and profiles name it."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    EC_P521 = "ec-p521"
    RSA = "rsa"
    ED25519 = "ed25519"


class PostQuantum(StrEnum):
    """Kinds of key that only the CAs of a ceremony have: the node's TLS and its tokens know none of them."""

    ML_DSA_65 = "ml-dsa-65"
    """FIPS 204; in certificates as RFC 9881 has it."""


CaKind = KeyKind | PostQuantum
CA_KINDS: frozenset[CaKind] = frozenset((*KeyKind, *PostQuantum))

_CURVES: dict[str, KeyKind] = {
    "secp256r1": KeyKind.EC_P256,
    "secp384r1": KeyKind.EC_P384,
    "secp521r1": KeyKind.EC_P521,
}
_CURVE_OF: dict[KeyKind, type[ec.EllipticCurve]] = {
    KeyKind.EC_P256: ec.SECP256R1,
    KeyKind.EC_P384: ec.SECP384R1,
    KeyKind.EC_P521: ec.SECP521R1,
}
_NAMES: dict[CaKind, str] = {
    KeyKind.EC_P256: "EC P-256",
    KeyKind.EC_P384: "EC P-384",
    KeyKind.EC_P521: "EC P-521",
    KeyKind.ED25519: "Ed25519",
    PostQuantum.ML_DSA_65: "ML-DSA-65",
}
_HASH_OF: dict[CaKind, type[SignatureHash]] = {
    KeyKind.EC_P256: hashes.SHA256,
    KeyKind.EC_P384: hashes.SHA384,
    KeyKind.EC_P521: hashes.SHA512,
    KeyKind.RSA: hashes.SHA256,
}


def check_public_key(key: object, *, what: str = "public key") -> PublicKey:
    """Accept a public key of an allowed kind and sound parameters, refuse any other.

    Args:
        key: what ``cryptography`` parsed.
        what: how to call it in an error.

    Raises:
        RequestRejected: ``key.unsupported`` or ``key.weak``.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise RequestRejected("key.unsupported", f"the {what} is on the curve {key.curve.name}, not a NIST one")
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        if not LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
            raise RequestRejected(
                "key.weak",
                f"the {what} is RSA with {key.key_size} bits, {LEAST_RSA_BITS} to {MOST_RSA_BITS} are allowed",
            )
        if numbers.e < _LEAST_RSA_EXPONENT or numbers.e % 2 == 0 or numbers.n % 2 == 0:
            raise RequestRejected("key.weak", f"the {what} is RSA with unsound parameters")
        return key
    if isinstance(key, mldsa.MLDSA65PublicKey):
        raise RequestRejected(
            "key.unsupported",
            f"the {what} is of the kind {PostQuantum.ML_DSA_65}, which is for the CAs of a ceremony only",
            hint="the node's TLS and its tokens know EC, RSA and Ed25519",
        )
    raise RequestRejected("key.unsupported", f"the {what} is of a kind that is not accepted")


def check_ca_key(key: object, *, what: str = "public key") -> CaPublicKey:
    """Accept the public key of a CA: as ``check_public_key``, and ML-DSA-65 too.

    Raises:
        RequestRejected: ``key.unsupported`` or ``key.weak``.
    """
    return key if isinstance(key, mldsa.MLDSA65PublicKey) else check_public_key(key, what=what)


def certificate_key(certificate: x509.Certificate) -> PublicKey:
    """Return a certificate's public key, checked as ``check_public_key`` does.

    Raises:
        RequestRejected: ``key.unsupported`` or ``key.weak``.
    """
    try:
        return check_public_key(certificate.public_key(), what="certificate's public key")
    except (ValueError, UnsupportedAlgorithm):
        raise RequestRejected("key.unsupported", "the certificate's public key cannot be read") from None


def ca_key(certificate: x509.Certificate) -> CaPublicKey:
    """Return a CA certificate's public key, checked as ``check_ca_key`` does.

    Raises:
        RequestRejected: ``key.unsupported`` or ``key.weak``.
    """
    try:
        return check_ca_key(certificate.public_key(), what="certificate's public key")
    except (ValueError, UnsupportedAlgorithm):
        raise RequestRejected("key.unsupported", "the certificate's public key cannot be read") from None


def csr_key(csr: x509.CertificateSigningRequest) -> PublicKey:
    """Return a request's public key after checking it and the proof of possession (RFC 2986 §4.2).

    Raises:
        RequestRejected: ``csr.invalid-signature``, ``csr.weak-hash``, ``key.unsupported`` or ``key.weak``.
    """
    return check_public_key(csr_ca_key(csr), what="request's public key")


def csr_ca_key(csr: x509.CertificateSigningRequest) -> CaPublicKey:
    """Return the public key of a CA's request, as ``csr_key`` does, and of ML-DSA-65 too.

    Raises:
        RequestRejected: as ``csr_key``.
    """
    try:
        key = check_ca_key(csr.public_key(), what="request's public key")
        algorithm = csr.signature_hash_algorithm
        valid = _is_signed_by(csr, key)
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        raise RequestRejected("csr.malformed", "the request's key or signature cannot be read") from None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        raise RequestRejected("csr.weak-hash", f"the request is signed with {algorithm.name}")
    if not valid:
        raise RequestRejected("csr.invalid-signature", "the request is not signed by the key that it names")
    return key


def _is_signed_by(csr: x509.CertificateSigningRequest, key: CaPublicKey) -> bool:
    scheme = csr.signature_algorithm_parameters
    if not (isinstance(scheme, ec.ECDSA) and isinstance(key, ec.EllipticCurvePublicKey)):
        return csr.is_signature_valid
    # The same check with the key at hand; the library's own would decode it once more, for a fifth of its time.
    try:
        key.verify(csr.signature, csr.tbs_certrequest_bytes, scheme)
    except InvalidSignature:
        return False
    return True


@overload
def kind_of(key: PublicKey | PrivateKey) -> KeyKind: ...
@overload
def kind_of(key: CaPublicKey | CaPrivateKey) -> CaKind: ...
def kind_of(key: CaPublicKey | CaPrivateKey) -> CaKind:
    """Tell the kind of an accepted key (public or private, software or HSM)."""
    kind = _kind_of_class(type(key))
    return _CURVES[cast("ec.EllipticCurvePublicKey", key).curve.name] if kind is None else kind


@functools.cache
def _kind_of_class(each: type) -> CaKind | None:
    """Tell the kind of all keys of a class; ``None`` where the curve decides. Abstract bases answer slowly: once."""
    if issubclass(each, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return None
    if issubclass(each, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return KeyKind.RSA
    if issubclass(each, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return KeyKind.ED25519
    return PostQuantum.ML_DSA_65


def generate(kind: KeyKind, *, rsa_bits: int = LEAST_RSA_BITS) -> PrivateKey:
    """Make a software key.

    Args:
        kind: which.
        rsa_bits: length of an RSA modulus; ignored for other kinds.

    Raises:
        RequestRejected: ``key.weak`` for a length outside 2048 to 8192.
    """
    if kind in _CURVE_OF:
        return ec.generate_private_key(_CURVE_OF[kind]())
    if kind is KeyKind.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    if not LEAST_RSA_BITS <= rsa_bits <= MOST_RSA_BITS:
        raise RequestRejected("key.weak", f"RSA keys have {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits, not {rsa_bits}")
    return rsa.generate_private_key(_LEAST_RSA_EXPONENT, rsa_bits)


def signature_hash(kind: CaKind) -> SignatureHash | None:
    """Return the hash that goes with a signing key's kind; ``None`` for Ed25519 (RFC 8410) and ML-DSA (RFC 9881)."""
    hash_of = _HASH_OF.get(kind)
    return None if hash_of is None else hash_of()


def spki(key: CaPublicKey) -> bytes:
    """Return the SubjectPublicKeyInfo in DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def subject_key_identifier(key: CaPublicKey) -> bytes:
    """Return the 20-byte key identifier, SHA-1 of the public key bit string (RFC 5280 §4.2.1.2 method 1)."""
    return x509.SubjectKeyIdentifier.from_public_key(key).digest


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's DER in lower-case hex, as ``step certificate fingerprint`` prints it."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def public_key_digest(key: CaPublicKey) -> str:
    """Return the SHA-256 of the SubjectPublicKeyInfo in lower-case hex."""
    return hashlib.sha256(spki(key)).hexdigest()


def describe(key: CaPublicKey) -> str:
    """Name a key for people: ``EC P-256``, ``RSA 2048``, ``Ed25519``, ``ML-DSA-65``."""
    kind = kind_of(key)
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return _NAMES[kind]
