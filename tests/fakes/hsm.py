"""A fake of what python-pkcs11 shows of a token, with faults on demand: what SoftHSM never does.

It stands where ``pkcs11.lib`` would and answers with that library's own exceptions, so that translation, retry
and refusal are tested for real. Keys are software keys of ``cryptography``; nothing here is patched into the
product.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pkcs11
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, types
from pkcs11.constants import TokenFlag

_P256 = bytes.fromhex("06082a8648ce3d030107")


@dataclass
class FakeDevice:
    """One token's hardware: its PIN, its lock, its keys, and the faults that a test asks for."""

    label: str = "fake"
    serial: str = "f1"
    pin: str = "1234"
    tries: int = 3
    present: bool = True
    logged_in: bool = False
    logins: int = 0
    objects: list[FakeObject] = field(default_factory=list)
    sign_faults: list[Exception] = field(default_factory=list)
    """Each is raised by one signature, in order."""
    forge: Callable[[bytes], bytes] | None = None
    """Changes a raw signature before it is returned."""
    random: Callable[[int], bytes] = os.urandom

    def add_key(self, label: str, key_id: bytes = b"\x01", *, with_public: bool = True, may_sign: bool = True) -> None:
        """Put a P-256 key pair into the token."""
        key = ec.generate_private_key(ec.SECP256R1())
        common = {Attribute.LABEL: label, Attribute.ID: key_id, Attribute.KEY_TYPE: KeyType.EC}
        private = {**common, Attribute.CLASS: ObjectClass.PRIVATE_KEY}
        self.objects.append((FakeSigningKey if may_sign else FakeObject)(self, private, key))
        if with_public:
            point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            public = {**common, Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.EC_PARAMS: _P256}
            self.objects.append(FakeObject(self, {**public, Attribute.EC_POINT: b"\x04\x41" + point}, key))


class FakeObject(types.Object):
    """An object with the attributes that it was given."""

    def __init__(self, device: FakeDevice, attributes: dict[Attribute, Any], key: ec.EllipticCurvePrivateKey) -> None:
        self._device = device
        self._attributes = attributes
        self._key = key

    def __getitem__(self, key: Attribute) -> Any:
        """Return an attribute, or fail as a module does."""
        if key not in self._attributes:
            raise pkcs11.AttributeTypeInvalid
        value = self._attributes[key]
        if isinstance(value, Exception):
            raise value
        return value

    def matches(self, template: dict[Attribute, Any]) -> bool:
        """Tell whether a search finds this object."""
        return all(self._attributes.get(key) == value for key, value in template.items())


class FakeSigningKey(FakeObject, types.SignMixin):
    """A private key that signs, unless a fault is due."""

    def sign(self, data: Any, **_keywords: Any) -> bytes:
        """Make a raw ECDSA signature of a digest."""
        if not self._device.present:
            raise pkcs11.DeviceRemoved
        if self._device.sign_faults:
            raise self._device.sign_faults.pop(0)
        der = self._key.sign(data, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        r, s = utils.decode_dss_signature(der)
        raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self._device.forge(raw) if self._device.forge else raw


class FakeSession(types.Session):
    """A session on a fake device."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = device

    def close(self) -> None:
        """Log out."""
        if not self._device.present:
            raise pkcs11.DeviceRemoved
        self._device.logged_in = False

    def get_objects(self, attrs: dict[Attribute, Any] | None = None) -> Iterator[types.Object]:
        """Search."""
        if not self._device.present:
            raise pkcs11.TokenNotPresent
        return iter([each for each in self._device.objects if each.matches(attrs or {})])

    def generate_random(self, nbits: int) -> bytes:
        """Draw."""
        return self._device.random(nbits // 8)

    def generate_keypair(self, *_arguments: Any, **keywords: Any) -> Any:
        """Make a P-256 pair, whatever was asked for."""
        self._device.add_key(keywords["label"], keywords["id"])


class FakeToken(types.Token):
    """A token in its slot."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = device

    label = property(lambda self: self._device.label)
    serial = property(lambda self: self._device.serial.encode())
    manufacturer_id = property(lambda _self: "Fake Works")
    model = property(lambda _self: "Fake 1")
    firmware_version = property(lambda _self: (1, 2))
    slot = property(lambda self: FakeSlot(self._device))

    @property
    def flags(self) -> TokenFlag:
        """Always initialised."""
        return TokenFlag.TOKEN_INITIALIZED

    def open(self, *_arguments: Any, **keywords: Any) -> types.Session:
        """Log in, or lock after three wrong tries."""
        user_pin = keywords.get("user_pin")
        device = self._device
        if not device.present:
            raise pkcs11.TokenNotPresent
        if user_pin is not None:
            device.logins += 1
            if device.logged_in:
                raise pkcs11.UserAlreadyLoggedIn
            if device.tries == 0:
                raise pkcs11.PinLocked
            if user_pin != device.pin:
                device.tries -= 1
                raise pkcs11.PinIncorrect
            device.tries = 3
            device.logged_in = True
        return FakeSession(device)


class FakeSlot(types.Slot):
    """The slot of a device."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = device

    @property
    def slot_id(self) -> int:
        """Any number."""
        return 7

    def get_mechanisms(self) -> set[Mechanism]:
        """Tell the one thing that it can make."""
        return {Mechanism.EC_KEY_PAIR_GEN, Mechanism.ECDSA}

    def get_token(self) -> types.Token:
        """Return the token unless it was pulled."""
        if not self._device.present:
            raise pkcs11.TokenNotPresent
        return FakeToken(self._device)


@dataclass
class FakeLibrary:
    """Stands for ``pkcs11.lib``: devices in slots."""

    devices: list[FakeDevice]
    initialised: int = 0
    faults: list[Exception] = field(default_factory=list)
    """Each is raised by one initialisation, in order."""

    def reinitialize(self) -> None:
        """Count, and forget logins as C_Finalize does."""
        if self.faults:
            raise self.faults.pop(0)
        self.initialised += 1
        for device in self.devices:
            device.logged_in = False

    def get_slots(self, token_present: bool = False) -> list[types.Slot]:
        """List a slot for each device."""
        del token_present
        return [FakeSlot(device) for device in self.devices]
