"""The table of what modules do otherwise than the standard says."""

from __future__ import annotations

import pytest

from ceremony.hsm import check_attributes
from shared.errors import Fatal
from shared.keystore.quirks import STANDARD, TABLE, Quirks, quirks_named, quirks_of

GOOD = {
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


@pytest.mark.parametrize(
    ("library", "manufacturer", "model", "name"),
    [
        ("SoftHSM", "SoftHSM project", "SoftHSM v2", "softhsm"),
        ("PKCS#11 Kit", "Mozilla Foundation", "NSS 3", "nss"),
        ("IBM", "IBM Corp.", "IBM SoftTok", "opencryptoki-soft"),
        # The token says who made the TPM, the library who made the module.
        ("tpm2-software.github.io", "IBM", "SW   TPM", "tpm2-pkcs11"),
        ("tpm2-software.github.io", "Infineon", "SLB9670", "tpm2-pkcs11"),
        ("Kryoptic", "Kryoptic Project", "v1", "kryoptic"),
        ("IBM", "IBM Corp.", "IBM CCA Token", "standard"),
        ("Yubico", "Yubico (www.yubico.com)", "YubiHSM", "standard"),
        ("", "", "", "standard"),
    ],
)
def test_each_token_has_its_profile(library: str, manufacturer: str, model: str, name: str) -> None:
    """The wrong profile asks a token for what it cannot do, or excuses what it should be refused for."""
    found = quirks_of(library, manufacturer, model)
    assert found.name == name
    assert quirks_named(name) == found


def test_names_are_told_apart() -> None:
    """The transcript knows a profile by its name alone; an unknown name excuses nothing."""
    assert len({each.name for each in (*TABLE, STANDARD)}) == len(TABLE) + 1
    assert quirks_named("no such profile") == STANDARD
    assert not STANDARD.misreported
    assert "87654321" not in repr(TABLE)


@pytest.mark.parametrize("quirks", TABLE, ids=lambda each: each.name)
def test_what_is_misreported_is_excused_in_practice_alone(quirks: Quirks) -> None:
    """An excuse that reached a real ceremony would let a key pass that nobody proved."""
    for name, right in GOOD.items():
        wrong = {**GOOD, name: not right}
        with pytest.raises(Fatal):
            check_attributes(wrong, quirks=quirks)
        if name in quirks.misreported:
            weak = check_attributes(wrong, quirks=quirks, rehearsal=True)
            assert [each.split(" ")[0] for each in weak] == [name]
        else:
            with pytest.raises(Fatal):
                check_attributes(wrong, quirks=quirks, rehearsal=True)
        missing = {each: value for each, value in GOOD.items() if each != name}
        with pytest.raises(Fatal) as refused:
            check_attributes(missing, quirks=quirks, rehearsal=True)
        assert f"{name} is unknown" in refused.value.message
    assert check_attributes(GOOD, quirks=quirks) == ()
