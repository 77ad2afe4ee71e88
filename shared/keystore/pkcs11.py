"""A token that we are logged in to: its keys, its randomness, its inventory.

Invariants:

* keys are made inside, sensitive, not modifiable, for signing only, and not extractable unless a backup shall be;
* a label or an id that exists is never used again, and a label that two keys have is never guessed at;
* a private key is always paired with its public key by CKA_ID;
* a token is used by the process that opened it, one call at a time (see ``shared.keystore.module``);
* with ``reconnect`` a lost session is opened again, once for each signature, and a PIN that was refused then is
  forgotten: nothing here can lock a token by trying. Without it no PIN is kept.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, types
from pkcs11.constants import DEFAULT

from shared.errors import ColdrootError, NotFound, PeerFailed, RequestRejected, Unauthenticated, Unsupported
from shared.keys import LEAST_RSA_BITS, MOST_RSA_BITS, CaKind, CaPublicKey, KeyKind, PostQuantum, spki
from shared.keystore import wrapping
from shared.keystore.failures import LOST, translated
from shared.keystore.hsm_keys import CaHsmKey, PssParameters, hsm_key
from shared.keystore.module import LOCK, FoundToken, Module, TokenInfo
from shared.keystore.objects import (
    EC_PARAMETERS,
    ML_DSA_65,
    TokenObject,
    describe,
    public_key_of,
    read,
    read_attributes,
)
from shared.keystore.quirks import Quirks
from shared.keystore.wrapping import Unwrapped, WrappedKey

_ID_BYTES = 16
_LONGEST_LABEL = 64
_MOST_RANDOM = 4096
_SIGN_ONLY = {
    Attribute.SENSITIVE: True,
    Attribute.MODIFIABLE: False,
    # SoftHSM leaves this one on unless told otherwise.
    Attribute.SIGN_RECOVER: False,
    Attribute.DERIVE: False,
    Attribute.DECRYPT: False,
    Attribute.UNWRAP: False,
}

# PKCS#11 v3.2 §4.3, §4.5 and §4.13: what is no storage object.
_OF_THE_MODULE = frozenset({ObjectClass.HW_FEATURE, ObjectClass.MECHANISM, ObjectClass.PROFILE})
_GENERATED_BY: dict[CaKind, Mechanism] = {
    KeyKind.EC_P256: Mechanism.EC_KEY_PAIR_GEN,
    KeyKind.EC_P384: Mechanism.EC_KEY_PAIR_GEN,
    KeyKind.EC_P521: Mechanism.EC_KEY_PAIR_GEN,
    KeyKind.RSA: Mechanism.RSA_PKCS_KEY_PAIR_GEN,
    KeyKind.ED25519: Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
    PostQuantum.ML_DSA_65: Mechanism.ML_DSA_KEY_PAIR_GEN,
}


@dataclass(slots=True, kw_only=True)
class _Handle:
    """The private key object in the current session, to be looked up again in the next."""

    key_id: bytes
    label: str
    public: bytes
    generation: int
    private: Any


class Token:
    """A session with a token. Use ``open``, and the result as a context manager."""

    def __init__(self, module: Module, found: FoundToken, session: types.Session, *, writable: bool) -> None:
        self._module = module
        self._found = found
        self._session: types.Session | None = session
        self._writable = writable
        self._pin: bytes | None = None
        self._pid = os.getpid()
        self._generation = 0

    @classmethod
    def open(
        cls,
        module: Module,
        *,
        pin: bytes | None,
        label: str | None = None,
        serial: str | None = None,
        manufacturer: str | None = None,
        model: str | None = None,
        writable: bool = False,
        reconnect: bool = False,
    ) -> Self:
        """Find the one token with the given properties and log in.

        Args:
            module: from ``load_module``; call this after any fork.
            pin: the user PIN in UTF-8; ``None`` for what needs no login (randomness).
            label: the token's label.
            serial: its serial number, the only name that is surely its own.
            manufacturer: as the token says.
            model: as the token says.
            writable: whether keys will be made.
            reconnect: keep the PIN in memory and log in again when the device was away.

        Raises:
            NotFound: ``hsm.token-missing``.
            RequestRejected: ``hsm.token-ambiguous`` or ``hsm.pin-malformed``.
            Unauthenticated: ``hsm.wrong-pin``, ``hsm.pin-locked`` or ``hsm.pin-expired``.
            PeerFailed: ``hsm.*``.
        """
        with module.turn():
            found = module.select(label=label, serial=serial, manufacturer=manufacturer, model=model)
            token = cls(module, found, module.login(found, pin, writable=writable), writable=writable)
        token._pin = pin if reconnect else None
        return token

    @property
    def info(self) -> TokenInfo:
        """What the token says about itself."""
        return self._found.info

    @property
    def quirks(self) -> Quirks:
        """What the token does otherwise than the standard says."""
        return self._module.quirks(self._found)

    def require(self, kind: CaKind) -> None:
        """Insist that the token has the mechanism that makes keys of a kind.

        Raises:
            Unsupported: ``hsm.unsupported`` naming the mechanism and the token.
            PeerFailed: ``hsm.*``.
        """
        require_mechanism(self._module, self._found, kind)

    def close(self) -> None:
        """Log out and forget the PIN. Keys of this token cannot sign any more."""
        self._pin = None
        if self._session is not None and self._pid == os.getpid():
            self._module.logout(self._session)
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def random(self, size: int) -> bytes:
        """Draw bytes from the token's own generator.

        Args:
            size: 1 to 4096 bytes.

        Raises:
            PeerFailed: ``hsm.*``.
        """
        if not 1 <= size <= _MOST_RANDOM:
            raise RequestRejected("hsm.random-size", f"1 to {_MOST_RANDOM} random bytes can be drawn at once")
        with LOCK:
            session = self._live_session()
            with translated("drawing random bytes"):
                drawn = session.generate_random(size * 8)
        # A generator that is stuck must not seed a ceremony.
        if len(drawn) != size or (size >= _ID_BYTES and len(set(drawn)) == 1):
            raise PeerFailed("hsm.bad-random", "the HSM's random bytes are not random")
        return drawn

    def generate(
        self,
        kind: CaKind,
        *,
        label: str,
        key_id: bytes | None = None,
        rsa_bits: int = LEAST_RSA_BITS,
        extractable: bool = False,
    ) -> CaHsmKey:
        """Make a key pair inside the token, for signing only.

        Args:
            kind: of key.
            label: CKA_LABEL of both halves; must not exist in the token.
            key_id: CKA_ID; must not exist; drawn from the token's generator when not given.
            rsa_bits: length of an RSA modulus.
            extractable: whether it may leave the token wrapped; it stays sensitive and never leaves in the clear.

        Raises:
            RequestRejected: ``hsm.key-exists``, ``hsm.label``, ``hsm.read-only`` or ``key.weak``.
            Unsupported: ``hsm.unsupported``.
            PeerFailed: ``hsm.*``.
        """
        if kind is KeyKind.RSA and not LEAST_RSA_BITS <= rsa_bits <= MOST_RSA_BITS:
            raise RequestRejected("key.weak", f"RSA keys have {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits, not {rsa_bits}")
        with LOCK:
            session = self._live_session()
            identifier = self.check_new(label, key_id or self.random(_ID_BYTES))
            self.require(kind)
            common = {
                "id": identifier,
                "label": label,
                "store": True,
                "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
                "private_template": _SIGN_ONLY
                | {Attribute.EXTRACTABLE: extractable}
                | dict.fromkeys(self.quirks.omitted, DEFAULT),
            }
            with translated("generating a key in the token"):
                _generate_pair(session, kind, rsa_bits, dict.fromkeys(self.quirks.omitted_public, DEFAULT), common)
            return self.find(key_id=identifier)

    def check_new(self, label: str, key_id: bytes) -> bytes:
        """Insist that a label and an id are fit for a new key, and that no object has either; return the id.

        Raises:
            RequestRejected: ``hsm.label`` or ``hsm.key-exists``.
            PeerFailed: ``hsm.*``.
        """
        if not label or len(label.encode("utf-8")) > _LONGEST_LABEL or not label.isprintable():
            raise RequestRejected("hsm.label", f"a key's label has 1 to {_LONGEST_LABEL} printable bytes")
        # Any object, a certificate too: whatever bears the name would be confused with the key.
        if self._objects({Attribute.LABEL: label}) or self._objects({Attribute.ID: key_id}):
            raise RequestRejected(
                "hsm.key-exists",
                f"the token {self.info.label!r} already has an object with the label {label!r} or its id",
                hint="choose another label; nothing in a token is ever overwritten",
            )
        return key_id

    def find(self, *, label: str | None = None, key_id: bytes | None = None) -> CaHsmKey:
        """Find a signing key by label, id, or both.

        Raises:
            NotFound: ``hsm.key-missing``.
            RequestRejected: ``hsm.key-ambiguous``, ``hsm.key-unusable``, ``key.weak`` or ``key.unsupported``.
            PeerFailed: ``hsm.*``.
        """
        with self._module.turn():
            private = self._private_object(label, key_id)
            found_id, found_label = read(private, Attribute.ID), read(private, Attribute.LABEL)
            if not isinstance(found_id, bytes) or not found_id:
                raise RequestRejected(
                    "hsm.key-unusable", "the key in the token has no CKA_ID to find its public key by"
                )
            if not isinstance(private, types.SignMixin):
                raise RequestRejected("hsm.key-unusable", "the key in the token may not sign (CKA_SIGN is false)")
            if read(private, Attribute.ALWAYS_AUTHENTICATE) is True:
                raise RequestRejected("hsm.key-unusable", "the key in the token wants its PIN for each signature")
            publics = self._objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: found_id})
            if len(publics) > 1:
                raise _ambiguous("public keys", found_id.hex())
            with translated("reading a key in the token"):
                public_key = public_key_of(private, publics[0] if publics else None)
            handle = _Handle(
                key_id=found_id,
                label=found_label if isinstance(found_label, str) else "",
                public=spki(public_key),
                generation=self._generation,
                private=private,
            )
            return hsm_key(
                public_key,
                label=handle.label,
                key_id=found_id,
                raw_sign=functools.partial(self._sign, handle),
            )

    def attributes(self, key: CaHsmKey) -> dict[str, bool | str]:
        """Read back what the token says of a private key, by PKCS#11's names without ``CKA_``.

        Raises:
            NotFound: ``hsm.key-missing``.
            PeerFailed: ``hsm.*``.
        """
        with LOCK:
            private = self._private_object(None, key.key_id)
            with translated("reading a key in the token"):
                return read_attributes(private)

    def inventory(self) -> tuple[TokenObject, ...]:
        """List all objects that the login can see, in a stable order.

        Raises:
            PeerFailed: ``hsm.*``.
        """
        with LOCK, translated("listing the objects in the token"):
            found = [describe(each) for each in self._stored({})]
        return tuple(sorted(found, key=lambda each: (each.kind, each.label, each.key_id)))

    def wrap(self, key: CaHsmKey, secret: bytes) -> WrappedKey:
        """Wrap an extractable private key for a backup (see ``shared.keystore.wrapping``).

        Args:
            key: of this token.
            secret: the wrapping key, 32 bytes.

        Raises:
            Unsupported: ``hsm.not-extractable`` or ``hsm.unsupported``.
            NotFound: ``hsm.key-missing``.
            PeerFailed: ``hsm.*``.
        """
        with LOCK:
            return wrapping.wrap(self._live_session(), self._private_object(None, key.key_id), secret)

    @contextmanager
    def unwrapped(self, wrapped: WrappedKey, secret: bytes, public_key: CaPublicKey) -> Iterator[Unwrapped]:
        """Bring a wrapped private key back for the length of a ``with`` block, as an object of the session only.

        Args:
            wrapped: from ``wrap``, of this token or another.
            secret: the wrapping key, 32 bytes.
            public_key: whose private key it must be: a signature that does not verify under it is never returned.

        Raises:
            PolicyDenied: ``hsm.wrong-wrapping-key``.
            Unsupported: ``hsm.unsupported``.
            PeerFailed: ``hsm.*``.
        """
        with LOCK, wrapping.unwrapped(self._live_session(), wrapped, secret, public_key) as found:
            yield found

    def destroy(self, key_id: bytes | None = None) -> tuple[TokenObject, ...]:
        """Destroy all objects of an id, or all that the login can see; return what was destroyed.

        Args:
            key_id: CKA_ID; ``None`` for everything.

        Raises:
            RequestRejected: ``hsm.read-only``.
            PeerFailed: ``hsm.*``.
        """
        with LOCK:
            doomed = self._stored({Attribute.ID: key_id} if key_id is not None else {})
            destroyed = []
            with translated("destroying an object in the token"):
                for each in doomed:
                    destroyed.append(describe(each))
                    each.destroy()
        return tuple(sorted(destroyed, key=lambda each: (each.kind, each.label, each.key_id)))

    def _live_session(self) -> types.Session:
        if self._pid != os.getpid():
            raise PeerFailed(
                "hsm.forked", "the HSM session belongs to the parent process", hint="open the key after the fork"
            )
        if self._session is None:
            raise PeerFailed("hsm.session-lost", "the session with the HSM is closed")
        return self._session

    def _objects(self, template: dict[Attribute, Any]) -> list[types.Object]:
        session = self._live_session()
        with translated("searching the token"):
            return list(session.get_objects(template))

    def _stored(self, template: dict[Attribute, Any]) -> list[types.Object]:
        # A module may show its mechanisms, clocks and profiles as objects. They lie in no token, and nobody made them.
        found = self._objects(template)
        return [each for each in found if read(each, Attribute.CLASS) not in _OF_THE_MODULE]

    def _private_object(self, label: str | None, key_id: bytes | None) -> types.Object:
        if label is None and key_id is None:
            raise RequestRejected("hsm.key-unnamed", "a key in a token is found by its label or its id")
        template: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
        if label is not None:
            template[Attribute.LABEL] = label
        if key_id is not None:
            template[Attribute.ID] = key_id
        found = self._objects(template)
        name = repr(label) if label is not None else f"id {key_id.hex() if key_id else ''}"
        if not found:
            raise NotFound("hsm.key-missing", f"the token {self.info.label!r} has no private key {name}")
        if len(found) > 1:
            raise _ambiguous("private keys", name)
        return found[0]

    def _sign(self, handle: _Handle, mechanism: Mechanism, parameters: PssParameters | None, data: bytes) -> bytes:
        """Sign; when the session or the device was lost, log in again and try once more."""
        with LOCK:
            try:
                return self._sign_once(handle, mechanism, parameters, data)
            except PeerFailed as error:
                if error.code not in LOST or self._pin is None:
                    raise
            self._reconnect(self._pin)
            return self._sign_once(handle, mechanism, parameters, data)

    def _sign_once(self, handle: _Handle, mechanism: Mechanism, parameters: PssParameters | None, data: bytes) -> bytes:
        self._live_session()
        if handle.generation != self._generation:
            key = self.find(key_id=handle.key_id)
            if spki(key.public_key()) != handle.public:
                raise PeerFailed("hsm.key-changed", "the HSM came back with another key under the same id")
            handle.private = self._private_object(None, handle.key_id)
            handle.generation = self._generation
        with translated("signing in the HSM"):
            signature = handle.private.sign(data, mechanism=mechanism, mechanism_param=parameters)
            return bytes(signature)

    def _reconnect(self, pin: bytes) -> None:
        if self._session is not None:
            self._module.logout(self._session)
            self._session = None
        failure: ColdrootError
        try:
            with self._module.turn():
                self._found = self._module.select(serial=self.info.serial, label=self.info.label)
                self._session = self._module.login(self._found, pin, writable=self._writable)
        except Unauthenticated:
            # The PIN was right when we opened. One more try with it could lock the token for everybody.
            self._pin = None
            raise
        except (NotFound, RequestRejected):
            failure = PeerFailed(
                "hsm.device-removed",
                f"the token {self.info.label!r} is not connected",
                hint="connect it again and retry",
            )
        else:
            self._generation += 1
            return
        raise failure


def require_mechanism(module: Module, found: FoundToken, kind: CaKind) -> None:
    """Insist that a token, initialised or not, has the mechanism that makes keys of a kind.

    Raises:
        Unsupported: ``hsm.unsupported`` naming the mechanism and the token.
        PeerFailed: ``hsm.*``.
    """
    wanted = _GENERATED_BY[kind]
    if wanted not in module.mechanisms(found):
        info = found.info
        raise Unsupported(
            "hsm.unsupported",
            f"the token {info.label!r} ({info.manufacturer} {info.model}) lacks the mechanism CKM_{wanted.name}: "
            f"it makes no keys of the kind {kind}",
            hint="choose another kind of key, or another HSM",
        )


def _generate_pair(
    session: types.Session, kind: CaKind, rsa_bits: int, public: Mapping[Attribute, Any], common: Mapping[str, Any]
) -> None:
    if kind is KeyKind.RSA:
        session.generate_keypair(KeyType.RSA, rsa_bits, public_template=dict(public), **common)
    elif isinstance(kind, PostQuantum):
        session.generate_keypair(
            KeyType.ML_DSA,
            mechanism=_GENERATED_BY[kind],
            public_template={**public, Attribute.PARAMETER_SET: ML_DSA_65},
            **common,
        )
    else:
        session.generate_keypair(
            KeyType.EC_EDWARDS if kind is KeyKind.ED25519 else KeyType.EC,
            mechanism=_GENERATED_BY[kind],
            public_template={**public, Attribute.EC_PARAMS: EC_PARAMETERS[kind]},
            **common,
        )


def _ambiguous(what: str, name: str) -> RequestRejected:
    return RequestRejected(
        "hsm.key-ambiguous", f"the token has several {what} {name}", hint="name one by its id, or clean the token up"
    )
