"""The ceremony secret: mixed from sound sources only, bound to its ceremony, and silent."""

from __future__ import annotations

import copy
import pickle

import pytest
from fakes.randomness import seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from ceremony.secret import PIN_ALPHABET, CeremonySecret, mix_secret
from shared.errors import Fatal, RequestRejected

OS_RANDOM = seeded(1)(64)
HSM_RANDOM = seeded(2)(64)


def test_mixing_is_pinned() -> None:
    """A change of the derivation would make every printed share unlock nothing: these values never change."""
    secret = mix_secret(OS_RANDOM, HSM_RANDOM, b"123456", context=b"ceremony")
    assert secret.value.hex() == "88ce9ea4b6a662414e4b753796452b1bdd2b9f28b22555a33734ab7bf5d6d4ae"
    assert secret.user_pin() == b"YRC56NPEERJJ3DKQ7AA99ZLLZG3K3GCA"
    assert secret.so_pin() == b"Q4T3TSH2LU37H625VVRE4Z8F9AZY8PKP"
    assert secret.commitment() == "ffe78ec72b68f6773efa69208c48e191e92302da25725274a51c24b63b1fb8cc"


def test_every_source_counts() -> None:
    """A source that is left out of the mix would be a false comfort to those who watched it."""
    base = mix_secret(OS_RANDOM, HSM_RANDOM, b"11", context=b"a")
    others = [
        mix_secret(seeded(3)(64), HSM_RANDOM, b"11", context=b"a"),
        mix_secret(OS_RANDOM, seeded(3)(64), b"11", context=b"a"),
        mix_secret(OS_RANDOM, HSM_RANDOM, b"12", context=b"a"),
        mix_secret(OS_RANDOM, HSM_RANDOM, b"", context=b"a"),
        mix_secret(OS_RANDOM, HSM_RANDOM, b"11", context=b"b"),
    ]
    assert len({each.value for each in (base, *others)}) == 6


@pytest.mark.parametrize(
    ("os_random", "hsm_random"),
    [
        (b"", HSM_RANDOM),
        (OS_RANDOM, HSM_RANDOM[:63]),
        (OS_RANDOM + b"x", HSM_RANDOM),
        (bytes(64), HSM_RANDOM),
        (OS_RANDOM, b"\xff" * 64),
        (OS_RANDOM, b"abcd" * 16),
        (OS_RANDOM, OS_RANDOM),
    ],
    ids=["os empty", "hsm short", "os long", "os zeros", "hsm ones", "hsm repeats", "the same twice"],
)
def test_broken_source_stops_the_ceremony(os_random: bytes, hsm_random: bytes) -> None:
    """A stuck or short generator must not pass unnoticed into the key that protects the root."""
    with pytest.raises(Fatal) as caught:
        mix_secret(os_random, hsm_random, context=b"a")
    assert caught.value.code == "secret.bad-source"


@pytest.mark.parametrize(("dice", "roll"), [(b"1237", 4), (b"0", 1), (b"1 2", 2), (b"12\n", 3)])
def test_dice_are_dice(dice: bytes, roll: int) -> None:
    """A mistyped roll is named by its number, so that it can be rolled again."""
    with pytest.raises(RequestRejected, match=f"^roll {roll} ") as caught:
        mix_secret(OS_RANDOM, HSM_RANDOM, dice, context=b"a")
    assert caught.value.code == "secret.dice"


@settings(max_examples=50)
@given(st.binary(min_size=32, max_size=32))
def test_pins_are_typable_and_unlike_each_other(value: bytes) -> None:
    """A PIN with a look-alike symbol is mistyped; equal PINs would give the user the security officer's power."""
    secret = CeremonySecret(value=value)
    user, so = secret.user_pin().decode("ascii"), secret.so_pin().decode("ascii")
    assert len(user) == len(so) == 32
    assert set(user + so) <= set(PIN_ALPHABET)
    assert user != so
    assert len(set(PIN_ALPHABET)) == 32
    assert not set("01OI") & set(PIN_ALPHABET)


def test_pins_use_the_whole_alphabet() -> None:
    """A slip in the five-bit cutting would lose symbols, and with them strength."""
    seen = {symbol for seed in range(64) for symbol in CeremonySecret(value=seeded(seed)(32)).user_pin()}
    assert seen == set(PIN_ALPHABET.encode())


@pytest.mark.parametrize("length", [0, 31, 33])
def test_only_32_bytes_are_a_secret(length: int) -> None:
    """A secret of another length would be split into other sheets than the plan speaks of."""
    with pytest.raises(RequestRejected) as caught:
        CeremonySecret(value=bytes(length))
    assert caught.value.code == "secret.wrong-length"


def test_secret_is_silent() -> None:
    """A secret that shows itself ends up in a log, an exception or a pickle."""
    secret = mix_secret(OS_RANDOM, HSM_RANDOM, context=b"a")
    for text in (repr(secret), str(secret), f"{secret}", repr([secret]), secret.commitment()):
        assert secret.value.hex() not in text
        assert repr(secret.value) not in text
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.copy(secret)


def test_secrets_compare_by_value() -> None:
    """The proof of the shares rests on comparing the recovered secret with the original one."""
    secret = CeremonySecret(value=bytes(32))
    assert secret == CeremonySecret(value=bytes(32))
    assert hash(secret) == hash(CeremonySecret(value=bytes(32)))
    assert secret != CeremonySecret(value=b"\1" + bytes(31))
    assert secret != bytes(32)
