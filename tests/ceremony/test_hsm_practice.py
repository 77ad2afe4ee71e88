"""Keys that the token cannot make: refused by the mechanism's name, or made in software for practice, and saying so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401

from ceremony.hsm import check_attributes, check_blank, generate_root_key, key_attributes, open_token
from ceremony.hsm.practice import SOFTWARE, PracticeToken
from shared.errors import Fatal, NotFound, RequestRejected, Unsupported
from shared.keys import KeyKind, PostQuantum
from shared.keystore import HsmMlDsaKey, Token

PIN = b"user-pin-1"
pytestmark = needs_softhsm


@contextmanager
def _opened(softhsm: SoftHsm, *, software: bool = True) -> Iterator[Token]:
    settings = replace(softhsm.settings(), software_keys=software)
    with open_token(settings, None, PIN) as token:
        yield token


def test_the_missing_mechanism_is_named_before_anything_changes(softhsm: SoftHsm) -> None:
    """After the shares are dealt it would be late to learn that the HSM cannot make the key."""
    with pytest.raises(Unsupported) as refused:
        check_blank(softhsm.settings(), (KeyKind.EC_P384, PostQuantum.ML_DSA_65))
    assert "CKM_ML_DSA_KEY_PAIR_GEN" in refused.value.message
    assert "SoftHSM v2" in refused.value.message
    check_blank(replace(softhsm.settings(), software_keys=True), (PostQuantum.ML_DSA_65,))
    softhsm.token()
    with _opened(softhsm, software=False) as token, pytest.raises(Unsupported) as refused:
        token.generate(PostQuantum.ML_DSA_65, label="root")
    assert "CKM_ML_DSA_KEY_PAIR_GEN" in refused.value.message
    with _opened(softhsm, software=False) as token:
        assert token.inventory() == ()


def test_a_key_for_practice_is_there_for_whoever_has_the_pin(softhsm: SoftHsm) -> None:
    """It must sign the same in a later act, be found by label and id, and be gone when it is destroyed."""
    softhsm.token()
    with _opened(softhsm) as token:
        key = generate_root_key(token, label="root", kind=PostQuantum.ML_DSA_65, rehearsal=True)
        assert isinstance(key, HsmMlDsaKey)
        public, identifier = key.public_key(), key.key_id
    with _opened(softhsm) as token:
        for again in (token.find(label="root"), token.find(key_id=identifier)):
            assert again.public_key() == public
            assert isinstance(again, HsmMlDsaKey)
            public.verify(again.sign(b"statement"), b"statement")
            with pytest.raises(Unsupported):
                again.sign(b"statement", b"another context")
        with pytest.raises(Unsupported):
            token.wrap(again, bytes(32))
        with pytest.raises(RequestRejected) as refused:
            token.generate(PostQuantum.ML_DSA_65, label="root")
        assert refused.value.code == "hsm.key-exists"
        assert [each.kind for each in token.destroy(identifier)] == ["SECRET_KEY"]
        with pytest.raises(NotFound):
            token.find(label="root")


def test_a_key_for_practice_says_what_it_is(softhsm: SoftHsm) -> None:
    """Taken for a key of the HSM, it would be a root whose key lay open to whoever had the PIN."""
    softhsm.token()
    with _opened(softhsm) as token:
        key = token.generate(PostQuantum.ML_DSA_65, label="root")
        attributes = key_attributes(token, key)
        assert attributes[SOFTWARE] is True
        assert attributes["EXTRACTABLE"] is True
        assert attributes["SENSITIVE"] is False
        with pytest.raises(Fatal) as refused:
            check_attributes(attributes)
        assert refused.value.code == "hsm.key-exposed"
        assert "software key" in check_attributes(attributes, rehearsal=True)[0]
        with pytest.raises(Fatal):
            generate_root_key(token, label="other", kind=PostQuantum.ML_DSA_65)


def test_what_the_token_can_do_it_does(softhsm: SoftHsm) -> None:
    """Practice must be as near to the day as can be: no key is made in software that the token makes."""
    softhsm.token()
    with _opened(softhsm) as token:
        assert isinstance(token, PracticeToken)
        key = generate_root_key(token, label="root")
        assert SOFTWARE not in key_attributes(token, key)
