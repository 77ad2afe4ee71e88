"""A token's life in a ceremony, on SoftHSM: initialised once, PINs replaced, the root key proven."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401

from ceremony.hsm import (
    Pins,
    check_attributes,
    generate_root_key,
    hsm_random,
    initialise_token,
    initialise_with,
    key_attributes,
    open_token,
    replace_pins,
)
from ceremony.hsm.cryptoki import pin_limits
from shared.errors import Fatal, NotFound, PeerFailed, RequestRejected, Unauthenticated, Unsupported
from shared.keys import KeyKind, kind_of
from shared.keystore import Token

SO, USER = b"S" * 32, b"U" * 32
GOOD_ATTRIBUTES: dict[str, bool | str] = {
    "LABEL": "k",
    "TOKEN": True,
    "PRIVATE": True,
    "SENSITIVE": True,
    "ALWAYS_SENSITIVE": True,
    "EXTRACTABLE": False,
    "NEVER_EXTRACTABLE": True,
    "LOCAL": True,
    "MODIFIABLE": False,
    "SIGN": True,
    "SIGN_RECOVER": False,
    "DECRYPT": False,
    "UNWRAP": False,
    "DERIVE": False,
}


@needs_softhsm
def test_initialise_and_open(softhsm: SoftHsm) -> None:
    """The token must be found again by its serial in a later run, and open to its user PIN only."""
    settings = softhsm.settings("my root")
    info = initialise_token(settings, so_pin=SO, user_pin=USER)
    assert (info.label, info.manufacturer) == ("my root", "SoftHSM project")
    assert re.fullmatch(r"[0-9a-f]{16}", info.serial)
    for serial in (info.serial, None):
        with open_token(settings, serial, USER) as token:
            assert token.info == info
            assert token.inventory() == ()
    with pytest.raises(Unauthenticated), open_token(settings, info.serial, SO):
        pass
    with pytest.raises(NotFound), open_token(settings, "0" * 16, USER):
        pass


@needs_softhsm
def test_a_token_is_never_initialised_twice(softhsm: SoftHsm) -> None:
    """C_InitToken destroys every key: a second run of a ceremony must refuse, with everything intact."""
    settings = softhsm.settings()
    info = initialise_token(settings, so_pin=SO, user_pin=USER)
    with open_token(settings, info.serial, USER) as token:
        generate_root_key(token, label="k")
    with pytest.raises(RequestRejected) as caught:
        initialise_token(settings, so_pin=SO, user_pin=USER)
    assert caught.value.code == "hsm.token-exists"
    with open_token(settings, info.serial, USER) as token:
        assert token.find(label="k").label == "k"


@needs_softhsm
@pytest.mark.parametrize(
    ("so_pin", "user_pin", "code"),
    [
        (b"123", USER, "hsm.pin-length"),
        (SO, b"123", "hsm.pin-length"),
        (SO, b"x" * 256, "hsm.pin-length"),
        (SO, b"", "hsm.pin-malformed"),
        (b"\xff" * 8, USER, "hsm.pin-malformed"),
    ],
)
def test_impossible_pins_change_nothing(softhsm: SoftHsm, so_pin: bytes, user_pin: bytes, code: str) -> None:
    """A PIN that the token will refuse must be refused before the token is initialised under half of them."""
    with pytest.raises(RequestRejected) as caught:
        initialise_token(softhsm.settings(), so_pin=so_pin, user_pin=user_pin)
    assert caught.value.code == code
    assert not any(token.initialised for token in softhsm.module.tokens())


@needs_softhsm
def test_a_serial_that_no_blank_token_has(softhsm: SoftHsm) -> None:
    """With a serial in hsm.toml only that device may be initialised, whatever else is plugged in."""
    with pytest.raises(RequestRejected) as caught:
        initialise_token(softhsm.settings(serial="42"), so_pin=SO, user_pin=USER)
    assert caught.value.code == "hsm.no-blank-token"


@needs_softhsm
def test_pin_lengths_are_asked_of_the_token(softhsm: SoftHsm) -> None:
    """The structure that is read by hand must be the one that the module fills: SoftHSM takes 4 to 255 bytes."""
    (blank,) = softhsm.module.tokens()
    limits = pin_limits(softhsm.module, blank)
    assert (limits.shortest, limits.longest) == (4, 255)


@needs_softhsm
def test_randomness(softhsm: SoftHsm) -> None:
    """SoftHSM gives none before it is initialised, which must be told apart from a failure; later no PIN is needed."""
    settings = softhsm.settings()
    with pytest.raises(Unsupported) as caught:
        hsm_random(settings, 64)
    assert caught.value.code == "hsm.random-before-init"
    info = initialise_token(settings, so_pin=SO, user_pin=USER)
    drawn = {hsm_random(settings, 64, serial=info.serial) for _ in range(3)}
    assert [len(each) for each in drawn] == [64, 64, 64]


@needs_softhsm
def test_initialise_with_the_tokens_own_randomness(softhsm: SoftHsm) -> None:
    """The PINs depend on bytes that the token gives only when it has PINs; the first ones must be dead at the end."""
    settings = softhsm.settings()
    seen: list[bytes] = []
    throw_away: list[bytes] = []

    def derive(random: bytes) -> Pins:
        seen.append(random)
        return Pins(so=SO, user=USER)

    def rng(size: int) -> bytes:
        throw_away.append(os.urandom(size))
        return throw_away[-1]

    info = initialise_with(settings, derive, rng=rng)
    assert [len(each) for each in seen] == [64]
    assert len(throw_away) == 2
    with open_token(settings, info.serial, USER) as token:
        assert token.inventory() == ()


@needs_softhsm
def test_replaced_pins_are_dead(softhsm: SoftHsm) -> None:
    """After a change of share holders the old quorum must not open the token, nor its old SO PIN reset it."""
    settings = softhsm.settings()
    old, new = Pins(so=SO, user=USER), Pins(so=b"T" * 32, user=b"V" * 32)
    info = initialise_token(settings, so_pin=old.so, user_pin=old.user)
    replace_pins(settings, info.serial, old=old, new=new)
    with pytest.raises(Unauthenticated), open_token(settings, info.serial, old.user):
        pass
    with pytest.raises(Unauthenticated) as caught:
        replace_pins(settings, info.serial, old=old, new=new)
    assert caught.value.code == "hsm.wrong-pin"
    with open_token(settings, info.serial, new.user) as token:
        assert token.info == info
    found = softhsm.module.select(serial=info.serial)
    with softhsm.module.session(found, new.so, writable=True, security_officer=True):
        pass


@needs_softhsm
def test_a_quorum_login_proves_the_pin(softhsm: SoftHsm) -> None:
    """While a session is open any PIN would pass: logging in again from shares must then be refused, not accepted."""
    settings = softhsm.settings()
    info = initialise_token(settings, so_pin=SO, user_pin=USER)
    with (
        open_token(settings, info.serial, USER),
        pytest.raises(PeerFailed) as caught,
        open_token(settings, info.serial, b"not the PIN"),
    ):
        pass
    assert caught.value.code == "hsm.already-open"


@needs_softhsm
@pytest.mark.parametrize("kind", [KeyKind.EC_P384, KeyKind.EC_P256, KeyKind.ED25519])
def test_root_key(softhsm: SoftHsm, kind: KeyKind) -> None:
    """The root key must be provably born in the token and unable to leave it."""
    settings = softhsm.settings()
    info = initialise_token(settings, so_pin=SO, user_pin=USER)
    with open_token(settings, info.serial, USER) as token:
        key = generate_root_key(token, label="root-key", kind=kind)
        assert kind_of(key) is kind
        check_attributes(key_attributes(token, key))
        with pytest.raises(RequestRejected) as caught:
            generate_root_key(token, label="root-key", kind=kind)
        assert caught.value.code == "hsm.key-exists"


@needs_softhsm
def test_tokens_are_the_owners_only(softhsm: SoftHsm) -> None:
    """SoftHSM's files hold the keys: nobody else may read them."""
    initialise_token(softhsm.settings(), so_pin=SO, user_pin=USER)
    modes = {path: path.stat().st_mode & 0o077 for path in Path(softhsm.directory).rglob("*")}
    assert modes
    assert not any(modes.values())


@needs_softhsm
def test_keys_of_another_token_are_not_seen(softhsm: SoftHsm) -> None:
    """Two tokens side by side: a key is found in its own only."""
    one, two = softhsm.token("one"), softhsm.token("two")
    with Token.open(softhsm.module, serial=one.serial, pin=b"user-pin-1", writable=True) as token:
        token.generate(KeyKind.EC_P256, label="k")
    with (
        Token.open(softhsm.module, serial=two.serial, pin=b"user-pin-1") as token,
        pytest.raises(NotFound),
    ):
        token.find(label="k")


def test_good_attributes_pass() -> None:
    """A rule that refuses good keys would stop every ceremony."""
    check_attributes(GOOD_ATTRIBUTES)


@pytest.mark.parametrize("name", [each for each in GOOD_ATTRIBUTES if each != "LABEL"])
def test_each_attribute_counts(name: str) -> None:
    """One wrong or unknown attribute is one way out for the key."""
    wrong = {**GOOD_ATTRIBUTES, name: not GOOD_ATTRIBUTES[name]}
    with pytest.raises(Fatal) as caught:
        check_attributes(wrong)
    assert caught.value.code == "hsm.key-exposed"
    assert f"{name} is" in caught.value.message
    with pytest.raises(Fatal) as caught:
        check_attributes({key: value for key, value in GOOD_ATTRIBUTES.items() if key != name})
    assert f"{name} is unknown" in caught.value.message


def test_pins_do_not_show() -> None:
    """A PIN in a representation ends in a log."""
    assert "SSSS" not in repr(Pins(so=SO, user=USER))
    assert "UUUU" not in repr(Pins(so=SO, user=USER))
