"""Password-encrypted JWE in compact form (RFC 7516, RFC 7518 §4.8): how a provisioner's private key is published.

Invariants: the only key wrapping is PBES2-HS256+A128KW, the only content encryptions are A256GCM (written) and
A128GCM (read: older step releases wrote it); the iteration count is capped before any work is done for it,
and compressed content is refused. Whether the password or the ciphertext was wrong cannot be told apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from online.jose import b64
from online.strict_json import parse_object
from shared.errors import RequestRejected, Unauthenticated

WRITTEN_ITERATIONS = 600_000
"""What step writes today, after OWASP's advice for PBKDF2-HMAC-SHA256."""
MOST_ITERATIONS = 1_000_000
"""step's library refuses more; a larger number would also let a JWE keep a processor busy for minutes."""
LEAST_ITERATIONS = 1000
"""RFC 7518 §4.8.1.2."""
LARGEST_JWE = 64 << 10

_ALGORITHM = "PBES2-HS256+A128KW"
_KEK_BYTES = 16
_SALT_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
_LONGEST_SALT = 1024
_LEAST_SALT = 8
_KEY_BYTES = {"A256GCM": 32, "A128GCM": 16}
_PARTS = 5
_KNOWN_MEMBERS = frozenset({"alg", "enc", "cty", "typ", "kid", "p2c", "p2s"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    encoded_header: str
    encryption: str
    iterations: int
    salt: bytes
    wrapped_key: bytes = field(repr=False)
    nonce: bytes
    ciphertext: bytes = field(repr=False)
    tag: bytes


def encrypt(
    payload: bytes,
    password: bytes,
    *,
    rng: Callable[[int], bytes],
    p2c: int = WRITTEN_ITERATIONS,
    cty: str = "jwk+json",
) -> str:
    """Encrypt a payload under a password.

    1. Draw salt, content key and nonce.
    2. Derive the wrapping key from the password and wrap the content key.
    3. Encrypt, the protected header as additional data.

    Args:
        payload: for a provisioner, the private JWK.
        password: not empty.
        rng: returns the asked number of random bytes.
        p2c: iterations of PBKDF2, 1000 to 1 000 000.
        cty: the kind of the content.

    Returns:
        The compact serialisation.

    Raises:
        RequestRejected: ``jwe.password`` or ``jwe.iterations``.
    """
    if not password:
        raise RequestRejected("jwe.password", "the password is empty")
    _check_iterations(p2c)
    # 1
    salt, content_key, nonce = rng(_SALT_BYTES), rng(_KEY_BYTES["A256GCM"]), rng(_NONCE_BYTES)
    # Sorted, as Go writes a map.
    header = {"alg": _ALGORITHM, "cty": cty, "enc": "A256GCM", "p2c": p2c, "p2s": b64.encode(salt)}
    protected = b64.encode(json.dumps(header, separators=(",", ":")).encode("ascii"))
    # 2
    wrapped = aes_key_wrap(derive_wrapping_key(password, salt, p2c), content_key)
    # 3
    sealed = AESGCM(content_key).encrypt(nonce, payload, protected.encode("ascii"))
    parts = (wrapped, nonce, sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:])
    return ".".join((protected, *map(b64.encode, parts)))


def decrypt(token: str, password: bytes) -> bytes:
    """Decrypt what ``encrypt``, or step, encrypted under a password.

    1. Shape, header and iteration count, before the password costs anything.
    2. Derive the wrapping key and unwrap the content key.
    3. Decrypt and authenticate.

    Args:
        token: the compact serialisation.
        password: as given to ``encrypt``.

    Raises:
        RequestRejected: ``jwe.malformed``, ``jwe.unsupported`` or ``jwe.iterations``.
        Unauthenticated: ``jwe.wrong-password``.
    """
    # 1
    parts = _parse(token)
    try:
        # 2
        content_key = aes_key_unwrap(derive_wrapping_key(password, parts.salt, parts.iterations), parts.wrapped_key)
        if len(content_key) != _KEY_BYTES[parts.encryption]:
            raise RequestRejected("jwe.malformed", "the encrypted key is of the wrong length")
        # 3
        protected = parts.encoded_header.encode("ascii")
        return AESGCM(content_key).decrypt(parts.nonce, parts.ciphertext + parts.tag, protected)
    except (InvalidUnwrap, InvalidTag):
        raise Unauthenticated("jwe.wrong-password", "the password is wrong, or the encrypted key is damaged") from None


def check_shape(token: str) -> None:
    """Insist that a text is a JWE that ``decrypt`` would try a password on.

    Raises:
        RequestRejected: as ``decrypt``.
    """
    _parse(token)


def derive_wrapping_key(password: bytes, salt: bytes, iterations: int) -> bytes:
    """Derive the 16-octet wrapping key; the algorithm's name is part of the salt (RFC 7518 §4.8.1.1).

    Args:
        password: octets.
        salt: the header's ``p2s``, decoded.
        iterations: the header's ``p2c``.
    """
    full_salt = _ALGORITHM.encode("ascii") + b"\x00" + salt
    return PBKDF2HMAC(algorithm=SHA256(), length=_KEK_BYTES, salt=full_salt, iterations=iterations).derive(password)


def _parse(token: str) -> _Parts:
    if len(token) > LARGEST_JWE:
        raise RequestRejected("jwe.malformed", f"the encrypted key is longer than {LARGEST_JWE} characters")
    texts = token.split(".")
    if len(texts) != _PARTS:
        raise RequestRejected("jwe.malformed", "the encrypted key is not a compact JWE: five parts joined by dots")
    octets = [b64.decode(each, what="encrypted key") for each in texts]
    header = parse_object(octets[0], what="encrypted key's header", room="jwe")
    encryption, iterations, salt = header.get("enc"), header.get("p2c"), header.get("p2s")
    if header.get("alg") != _ALGORITHM or not isinstance(encryption, str) or encryption not in _KEY_BYTES:
        raise RequestRejected("jwe.unsupported", f"the encrypted key is not {_ALGORITHM} with A256GCM or A128GCM")
    for member in header:
        if member not in _KNOWN_MEMBERS:
            raise RequestRejected("jwe.unsupported", "the encrypted key's header has a member that is not accepted")
    if isinstance(iterations, bool) or not isinstance(iterations, int):
        raise RequestRejected("jwe.malformed", "the encrypted key's p2c is not a whole number")
    _check_iterations(iterations)
    if not isinstance(salt, str):
        raise RequestRejected("jwe.malformed", "the encrypted key has no p2s")
    salt_bytes = b64.decode(salt, what="encrypted key's p2s")
    if not _LEAST_SALT <= len(salt_bytes) <= _LONGEST_SALT:
        raise RequestRejected("jwe.malformed", "the encrypted key's p2s is too short or too long")
    if len(octets[2]) != _NONCE_BYTES or len(octets[4]) != _TAG_BYTES:
        raise RequestRejected("jwe.malformed", "the encrypted key's nonce or tag is of the wrong length")
    return _Parts(
        encoded_header=texts[0],
        encryption=encryption,
        iterations=iterations,
        salt=salt_bytes,
        wrapped_key=octets[1],
        nonce=octets[2],
        ciphertext=octets[3],
        tag=octets[4],
    )


def _check_iterations(iterations: int) -> None:
    if not LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
        raise RequestRejected("jwe.iterations", f"p2c must lie between {LEAST_ITERATIONS} and {MOST_ITERATIONS}")
