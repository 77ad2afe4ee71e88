"""One way to a private key, wherever it is: by URI, with secrets by callback.

For a server: call ``open_key`` in each worker, after the fork. A ``pkcs11:`` key that is open in the parent
refuses to sign in the child (``hsm.forked``). Each worker has one session, and logs in again by itself when the
device was away; its PIN stays in the worker's memory until the block ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared import durable
from shared.errors import RequestRejected
from shared.keys import LEAST_RSA_BITS, KeyKind, PrivateKey, PublicKey, check_public_key
from shared.keystore.hsm_keys import HsmMlDsaKey
from shared.keystore.module import load_module
from shared.keystore.pkcs11 import Token
from shared.keystore.software import read_private_key
from shared.keystore.uri import FileUri, Pkcs11Uri, parse_key_uri
from shared.terminal import SecretCallback


@contextmanager
def open_key(uri: str, secret: SecretCallback, *, base: Path = Path()) -> Iterator[PrivateKey]:
    """Open a private key for the length of a ``with`` block.

    Args:
        uri: a path or ``file:PATH`` of a PEM file, or ``pkcs11:…`` (RFC 7512).
        secret: asked for the file's password or the token's PIN, only when one is needed. A URI with
            ``pin-source=file:PATH`` takes the PIN from that private file instead.
        base: what relative paths are relative to.

    Raises:
        RequestRejected: ``key-uri.*``, ``file.*``, ``key.*``, ``hsm.*``.
        NotFound: ``hsm.module-missing``, ``hsm.token-missing`` or ``hsm.key-missing``.
        Unauthenticated: ``key.wrong-password``, ``hsm.wrong-pin``, ``hsm.pin-locked`` or ``hsm.pin-expired``.
        PeerFailed: ``hsm.*``.
    """
    place = parse_key_uri(uri, base=base)
    if isinstance(place, FileUri):
        yield read_private_key(place.path, secret)
        return
    with _open_token(place, secret, writable=False) as token:
        key = token.find(label=place.label, key_id=place.key_id)
        if isinstance(key, HsmMlDsaKey):
            # The node signs tokens and TLS handshakes, and its intermediate is one that every client reads.
            raise RequestRejected("key.unsupported", f"the key {key.label!r} is ML-DSA-65: that is for roots only")
        yield key


def create_key(
    uri: str,
    kind: KeyKind,
    secret: SecretCallback,
    *,
    rsa_bits: int = LEAST_RSA_BITS,
    base: Path = Path(),
) -> PublicKey:
    """Make a key inside a token; afterwards ``open_key`` with the same URI opens it.

    Args:
        uri: ``pkcs11:…`` with ``object=LABEL``, and ``id=`` unless the token shall draw one.
        kind: of key.
        secret: asked for the token's PIN, unless the URI has a ``pin-source``.
        rsa_bits: length of an RSA modulus.
        base: what a relative ``pin-source`` is relative to.

    Raises:
        RequestRejected: ``key-uri.not-pkcs11``, ``key-uri.no-label``, ``hsm.key-exists``, and as ``open_key``.
        Unsupported: ``hsm.unsupported``.
        NotFound: as ``open_key``.
        Unauthenticated: as ``open_key``.
        PeerFailed: ``hsm.*``.
    """
    place = parse_key_uri(uri, base=base)
    if not isinstance(place, Pkcs11Uri):
        raise RequestRejected("key-uri.not-pkcs11", "a key is made in an HSM under a pkcs11: URI only")
    if place.label is None:
        raise RequestRejected("key-uri.no-label", "the URI gives the new key no label", hint="add object=LABEL")
    with _open_token(place, secret, writable=True) as token:
        key = token.generate(kind, label=place.label, key_id=place.key_id, rsa_bits=rsa_bits)
        return check_public_key(key.public_key(), what="key in the token")


def _open_token(place: Pkcs11Uri, secret: SecretCallback, *, writable: bool) -> Token:
    module = load_module(place.module())
    # Is it there at all? Nobody shall type a PIN for nothing.
    found = module.select(label=place.token, serial=place.serial, manufacturer=place.manufacturer, model=place.model)
    if place.pin_file is not None:
        pin = durable.read_secret(place.pin_file)
    else:
        pin = secret(f"PIN of the HSM token {found.info.label} (serial {found.info.serial})")
    return Token.open(
        module, pin=pin, label=found.info.label, serial=found.info.serial, writable=writable, reconnect=not writable
    )
