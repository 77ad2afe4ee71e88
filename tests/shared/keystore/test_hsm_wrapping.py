"""Keys that leave a token wrapped, and come back for a moment: on a real (soft) HSM, judged by the library too."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.serialization import load_der_private_key
from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401 (pytest finds the fixture by it)

from ceremony.hsm import open_token
from ceremony.hsm.erasing import erase_token
from ceremony.hsm.listing import list_tokens
from shared.errors import ColdrootError, NotFound, PolicyDenied, RequestRejected, Unsupported
from shared.keys import KeyKind, PrivateKey
from shared.keystore import WrapMechanism, WrappedKey
from shared.signing import sign

pytestmark = needs_softhsm

PIN, SO_PIN = b"user-pin-1", b"so-pin-1"
SECRET = bytes(range(32))


@pytest.mark.parametrize("kind", [KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA])
def test_there_and_back(softhsm: SoftHsm, kind: KeyKind) -> None:
    """A backup is worth what its restoring shows: the same key, for a moment, and nothing left."""
    info = softhsm.token()
    with open_token(softhsm.settings(), info.serial, PIN) as token:
        key = token.generate(kind, label="root", extractable=True)
        before = token.inventory()
        wrapped = token.wrap(key, SECRET)
        assert wrapped.mechanism is WrapMechanism.PADDED
        with token.unwrapped(wrapped, SECRET, key.public_key()) as restored:
            assert sign(restored.key, b"a text")
            assert restored.attributes["TOKEN"] is False
            # The token's word about where the key was is gone.
            assert (restored.attributes["LOCAL"], restored.attributes["NEVER_EXTRACTABLE"]) == (False, False)
        assert token.inventory() == before
    encoded = keywrap.aes_key_unwrap_with_padding(SECRET, wrapped.data)
    # SoftHSM puts zeros behind the PKCS#8.
    size = 2 + encoded[1] if encoded[1] < 0x80 else 4 + int.from_bytes(encoded[2:4], "big")
    found = load_der_private_key(encoded[:size], None)
    assert isinstance(found, PrivateKey)
    assert found.public_key() == key.public_key()


def test_what_does_not_come_back(softhsm: SoftHsm) -> None:
    """A changed backup, another secret, another key: nothing of it may sign anything."""
    info = softhsm.token()
    with open_token(softhsm.settings(), info.serial, PIN) as token:
        key = token.generate(KeyKind.EC_P256, label="root", extractable=True)
        other = token.generate(KeyKind.EC_P256, label="other", extractable=True)
        wrapped = token.wrap(key, SECRET)
        damaged = [
            replace(wrapped, data=wrapped.data[:-1] + bytes([wrapped.data[-1] ^ 1])),
            replace(wrapped, data=wrapped.data[:-3]),
            replace(wrapped, data=b""),
            WrappedKey(mechanism=WrapMechanism.PLAIN, data=wrapped.data),
        ]
        before = token.inventory()
        for each in damaged:
            with pytest.raises(ColdrootError), token.unwrapped(each, SECRET, key.public_key()):
                pass
        with pytest.raises(PolicyDenied) as denied, token.unwrapped(wrapped, os.urandom(32), key.public_key()):
            pass
        assert denied.value.code == "hsm.wrong-wrapping-key"
        # It comes back, and its signatures are none of the key that was named.
        with pytest.raises(ColdrootError) as failed, token.unwrapped(wrapped, SECRET, other.public_key()) as restored:
            sign(restored.key, b"a text")
        assert failed.value.code == "hsm.bad-signature"
        with pytest.raises(RequestRejected):
            token.wrap(key, b"short")
        assert token.inventory() == before


def test_a_key_that_shall_stay_stays(softhsm: SoftHsm) -> None:
    """The token itself refuses: our own checks are not what protects the key."""
    info = softhsm.token()
    with open_token(softhsm.settings(), info.serial, PIN) as token:
        key = token.generate(KeyKind.EC_P256, label="root")
        with pytest.raises(Unsupported) as refused:
            token.wrap(key, SECRET)
        assert refused.value.code == "hsm.not-extractable"


def test_destroyed_is_gone(softhsm: SoftHsm) -> None:
    """Both halves go, and nothing else."""
    info = softhsm.token()
    with open_token(softhsm.settings(), info.serial, PIN) as token:
        key, other = (token.generate(KeyKind.EC_P256, label=label) for label in ("root", "other"))
        assert [each.kind for each in token.destroy(key.key_id)] == ["PRIVATE_KEY", "PUBLIC_KEY"]
        with pytest.raises(NotFound):
            token.find(key_id=key.key_id)
        assert token.find(label="other").public_key() == other.public_key()
        assert token.destroy(key.key_id) == ()
        assert len(token.destroy()) == 2
        assert token.inventory() == ()
    with open_token(softhsm.settings(), info.serial, PIN, writable=False) as token, pytest.raises(ColdrootError):
        token.generate(KeyKind.EC_P256, label="x")


def test_an_erased_token_opens_no_more(softhsm: SoftHsm) -> None:
    """A token that keeps its PIN keeps what somebody may have put into it."""
    info = softhsm.token()
    with pytest.raises(ColdrootError):
        erase_token(softhsm.settings(), info.serial, so_pin=b"wrong-pin-9", user_pin=PIN)
    with open_token(softhsm.settings(), info.serial, PIN):
        pass
    assert erase_token(softhsm.settings(), info.serial, so_pin=SO_PIN, user_pin=PIN) in {
        "hsm.no-user-pin", "hsm.token-missing", "hsm.wrong-pin",
    }  # fmt: skip
    assert all(each.label != "root" for each in list_tokens(softhsm.settings()))
    with pytest.raises(NotFound):
        erase_token(softhsm.settings(), "0" * 16, so_pin=SO_PIN, user_pin=PIN)
    gone = erase_token(softhsm.settings(), "0" * 16, so_pin=SO_PIN, user_pin=PIN, tried_before=True)
    assert gone == "hsm.token-missing"


def test_the_list_of_tokens(softhsm: SoftHsm) -> None:
    """Blank and foreign tokens must be told from the ceremony's."""
    info = softhsm.token()
    softhsm.token("another")
    found = list_tokens(softhsm.settings())
    assert [each.label for each in found if each.chosen] == ["root"]
    assert {each.label for each in found if each.initialised} == {"root", "another"}
    assert [each.chosen for each in list_tokens(softhsm.settings(serial=info.serial)) if each.label == "root"] == [True]
