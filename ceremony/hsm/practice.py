"""Keys for practice: made in software where the token lacks the mechanism, and kept in the token as its PIN's secret.

Few devices make ML-DSA keys yet, and SoftHSM makes none. Whoever wants to practise such a ceremony all the same sets
``software_keys`` in ``hsm.toml``: the key's seed (FIPS 204 §5.1, 32 bytes of the token's own generator) lies in the
token as a generic secret that can be read, under the PIN from the shares, and this process signs with it. Everything
else (shares, PINs, inventory, every act) is as with a key that the token made.

Invariants: only kinds that the token lacks are made so; the key says of itself what it is, in its attributes; a real
ceremony refuses such settings, and ``ceremony verify`` such a key.
"""

from __future__ import annotations

import functools
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric import mldsa
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from shared.errors import PeerFailed, Unsupported
from shared.keys import LEAST_RSA_BITS, CaKind, PostQuantum
from shared.keystore import CaHsmKey, HsmMlDsaKey, Token, WrappedKey
from shared.keystore.failures import translated
from shared.keystore.hsm_keys import PssParameters
from shared.keystore.module import LOCK
from shared.keystore.objects import read, read_attributes

SOFTWARE = "SOFTWARE"
"""The attribute by which a key for practice says what it is; PKCS#11 has none of this name."""
_SEED_BYTES = 32
_ID_BYTES = 16
_STORED = {
    Attribute.CLASS: ObjectClass.SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.MODIFIABLE: False,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}


class PracticeToken(Token):
    """A token that is helped out in software with the kinds of key that it lacks."""

    def generate(
        self,
        kind: CaKind,
        *,
        label: str,
        key_id: bytes | None = None,
        rsa_bits: int = LEAST_RSA_BITS,
        extractable: bool = False,
    ) -> CaHsmKey:
        """Make a key pair in the token; in software when it lacks the mechanism.

        Raises:
            RequestRejected: as ``Token.generate``.
            PeerFailed: ``hsm.*``.
        """
        if not isinstance(kind, PostQuantum) or self._can(kind):
            return super().generate(kind, label=label, key_id=key_id, rsa_bits=rsa_bits, extractable=extractable)
        with LOCK:
            identifier = self.check_new(label, key_id or self.random(_ID_BYTES))
            seed = self.random(_SEED_BYTES)
            with translated("storing a key for practice"):
                self._live_session().create_object(
                    {**_STORED, Attribute.LABEL: label, Attribute.ID: identifier, Attribute.VALUE: seed}
                )
            return self.find(key_id=identifier)

    def find(self, *, label: str | None = None, key_id: bytes | None = None) -> CaHsmKey:
        """Find a signing key of the token, or one for practice.

        Raises:
            NotFound: ``hsm.key-missing``.
            RequestRejected: as ``Token.find``.
            PeerFailed: ``hsm.*``.
        """
        with LOCK:
            found = self._practice_objects(label, key_id)
            if not found:
                return super().find(label=label, key_id=key_id)
            seed = read(found[0], Attribute.VALUE)
            if len(found) > 1 or not isinstance(seed, bytes) or len(seed) != _SEED_BYTES:
                raise PeerFailed("hsm.malformed", "the key for practice in the token cannot be read")
            key = mldsa.MLDSA65PrivateKey.from_seed_bytes(seed)
            shown, identifier = read(found[0], Attribute.LABEL), read(found[0], Attribute.ID)
            return HsmMlDsaKey(
                key.public_key(),
                label=shown if isinstance(shown, str) else "",
                key_id=identifier if isinstance(identifier, bytes) else b"",
                raw_sign=functools.partial(_sign, key),
            )

    def attributes(self, key: CaHsmKey) -> dict[str, bool | str]:
        """Read back what the token says of a key; of one for practice, it also says that it is one.

        Raises:
            NotFound: ``hsm.key-missing``.
            PeerFailed: ``hsm.*``.
        """
        with LOCK:
            found = self._practice_objects(None, key.key_id)
            if not found:
                return super().attributes(key)
            with translated("reading a key in the token"):
                return {**read_attributes(found[0]), SOFTWARE: True}

    def wrap(self, key: CaHsmKey, secret: bytes) -> WrappedKey:
        """Wrap a key of the token; one for practice is not worth a backup.

        Raises:
            Unsupported: ``hsm.unsupported``, and as ``Token.wrap``.
            PeerFailed: ``hsm.*``.
        """
        with LOCK:
            if self._practice_objects(None, key.key_id):
                self._refuse_backup()
        return super().wrap(key, secret)

    def _refuse_backup(self) -> NoReturn:
        raise Unsupported("hsm.unsupported", "a software key for practice is not backed up")

    def _can(self, kind: CaKind) -> bool:
        try:
            self.require(kind)
        except Unsupported:
            return False
        return True

    def _practice_objects(self, label: str | None, key_id: bytes | None) -> list[Any]:
        wanted: dict[Attribute, Any] = {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        }
        wanted |= {Attribute.LABEL: label} if label is not None else {}
        wanted |= {Attribute.ID: key_id} if key_id is not None else {}
        return list(self._objects(wanted))


def _sign(key: mldsa.MLDSA65PrivateKey, mechanism: Mechanism, parameters: PssParameters | None, data: bytes) -> bytes:
    assert mechanism is Mechanism.ML_DSA
    assert parameters is None
    return key.sign(data)
