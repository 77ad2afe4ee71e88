"""An HSM that fails, lies or disappears: a fake device with faults behind the real adapter."""

from __future__ import annotations

import inspect
import logging
import traceback
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fakes.hsm import FakeDevice, FakeLibrary
from pkcs11 import Attribute
from pkcs11 import exceptions as p11

from shared.errors import ColdrootError, NotFound, PeerFailed, RequestRejected, Unauthenticated, Unsupported
from shared.keys import KeyKind
from shared.keystore import CaHsmKey, Module, Token, load_module
from shared.keystore.failures import translate, translated

PIN = b"1234"
SHA256 = ec.ECDSA(hashes.SHA256())


def fake(*devices: FakeDevice) -> tuple[Module, FakeLibrary]:
    library = FakeLibrary(list(devices))
    return Module(Path("/fake/module.so"), library), library


def device_with_key() -> FakeDevice:
    device = FakeDevice()
    device.add_key("k")
    return device


def sign(key: CaHsmKey) -> bytes:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(b"data", SHA256)
    key.public_key().verify(signature, b"data", SHA256)
    return signature


def code_of(error: pytest.ExceptionInfo[ColdrootError]) -> str:
    return error.value.code


def test_wrong_pins_lock_the_token_and_are_told() -> None:
    """A locked token must be called locked: another try is useless, and the hint is another."""
    device = FakeDevice()
    module, _ = fake(device)
    codes = []
    for _ in range(4):
        with pytest.raises(Unauthenticated) as caught:
            Token.open(module, pin=b"9999", label="fake")
        codes.append(caught.value.code)
    assert codes == ["hsm.wrong-pin"] * 3 + ["hsm.pin-locked"]
    with pytest.raises(Unauthenticated) as caught:
        Token.open(module, pin=PIN, label="fake")
    assert caught.value.code == "hsm.pin-locked"


def test_one_open_is_one_try() -> None:
    """A retry inside the adapter would burn a token's three tries on one typing mistake."""
    device = FakeDevice()
    module, _ = fake(device)
    with pytest.raises(Unauthenticated):
        Token.open(module, pin=b"9999", label="fake")
    assert device.logins == 1


def test_two_tokens_of_one_label() -> None:
    """The wrong one of two tokens would be initialised, or refuse a right PIN until it locks."""
    module, _ = fake(FakeDevice(serial="a"), FakeDevice(serial="b"))
    with pytest.raises(RequestRejected) as caught:
        Token.open(module, pin=PIN, label="fake")
    assert caught.value.code == "hsm.token-ambiguous"
    assert "a, b" in str(caught.value.hint)
    with Token.open(module, pin=PIN, serial="b") as token:
        assert token.info.serial == "b"


def test_no_token() -> None:
    """Before a PIN is typed, a missing token must be known to be missing."""
    module, _ = fake(FakeDevice(present=False))
    with pytest.raises(NotFound) as caught:
        Token.open(module, pin=PIN, label="fake")
    assert caught.value.code == "hsm.token-missing"


def test_device_removed_while_signing_ends_a_ceremony_step() -> None:
    """Without a kept PIN nothing can be retried; the failure must be the HSM's, and no signature comes out."""
    device = device_with_key()
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake") as token:
        key = token.find(label="k")
        sign(key)
        device.present = False
        with pytest.raises(PeerFailed) as caught:
            sign(key)
        assert caught.value.code == "hsm.device-removed"
        device.present = True
        assert device.logins == 1


def test_device_comes_back_for_a_node() -> None:
    """A node must answer again when its HSM does, without a restart and without anybody typing a PIN."""
    device = device_with_key()
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake", reconnect=True) as token:
        key = token.find(label="k")
        device.present = False
        for _ in range(3):
            with pytest.raises(PeerFailed) as caught:
                sign(key)
            assert caught.value.code == "hsm.device-removed"
        assert device.logins == 1
        device.present = True
        sign(key)
        assert device.logins == 2


@pytest.mark.parametrize(
    "fault", [p11.SessionHandleInvalid, p11.SessionClosed, p11.KeyHandleInvalid, p11.UserNotLoggedIn]
)
def test_a_lost_session_is_opened_once_more(fault: type[Exception]) -> None:
    """An HSM that restarted has forgotten our session: one login and one more try hide that from the client."""
    device = device_with_key()
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake", reconnect=True) as token:
        key = token.find(label="k")
        device.sign_faults = [fault()]
        sign(key)
        assert device.logins == 2
        device.sign_faults = [fault(), fault()]
        with pytest.raises(PeerFailed) as caught:
            sign(key)
        assert caught.value.code == "hsm.session-lost"
        assert device.logins == 3
        sign(key)


def test_a_refusal_is_not_retried() -> None:
    """Only a lost session is worth a second try: repeating a refusal doubles the load of a sick HSM."""
    device = device_with_key()
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake", reconnect=True) as token:
        key = token.find(label="k")
        device.sign_faults = [p11.MechanismInvalid()]
        with pytest.raises(Unsupported):
            sign(key)
        assert device.logins == 1


def test_a_changed_pin_is_tried_once_only() -> None:
    """A node that tries its old PIN for every request would lock the token for everybody."""
    device = device_with_key()
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake", reconnect=True) as token:
        key = token.find(label="k")
        device.pin, device.sign_faults = "5678", [p11.SessionClosed()]
        with pytest.raises(Unauthenticated):
            sign(key)
        for _ in range(5):
            with pytest.raises(PeerFailed):
                sign(key)
        assert device.tries == 2


def test_another_key_after_the_return() -> None:
    """A device that comes back with another key under the same id must not sign in the old one's name."""
    device = device_with_key()
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake", reconnect=True) as token:
        key = token.find(label="k")
        device.objects.clear()
        device.add_key("k")
        device.sign_faults = [p11.DeviceRemoved()]
        with pytest.raises(PeerFailed) as caught:
            sign(key)
        assert caught.value.code in {"hsm.key-changed", "hsm.session-lost", "hsm.bad-signature"}


@pytest.mark.parametrize("forge", [lambda raw: raw[::-1], lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda _: b""])
def test_a_wrong_signature_never_leaves(forge: object) -> None:
    """A broken token's signature in a CRL or a certificate would be found by the clients, in the field."""
    device = device_with_key()
    device.forge = forge  # type: ignore[assignment]
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake") as token:
        with pytest.raises(PeerFailed) as caught:
            sign(token.find(label="k"))
        assert caught.value.code == "hsm.bad-signature"


def test_existing_label_or_id_is_not_used_again() -> None:
    """Two keys of one name: sooner or later the wrong one signs."""
    device = device_with_key()
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake", writable=True) as token:
        with pytest.raises(RequestRejected) as caught:
            token.generate(KeyKind.EC_P256, label="k")
        assert caught.value.code == "hsm.key-exists"
        with pytest.raises(RequestRejected) as caught:
            token.generate(KeyKind.EC_P256, label="other", key_id=b"\x01")
        assert caught.value.code == "hsm.key-exists"
        assert len(token.inventory()) == 2
        assert sign(token.generate(KeyKind.EC_P256, label="other", key_id=b"\x02"))


def test_two_keys_of_one_label() -> None:
    """Somebody else's tool made two keys of one name; guessing would sign with either."""
    device = device_with_key()
    device.add_key("k", b"\x02")
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake") as token:
        with pytest.raises(RequestRejected) as caught:
            token.find(label="k")
        assert caught.value.code == "hsm.key-ambiguous"
        assert token.find(label="k", key_id=b"\x02").key_id == b"\x02"


def test_keys_that_cannot_be_used() -> None:
    """Half a pair, a key that may not sign, no key: each must be told apart before it is needed."""
    device = FakeDevice()
    device.add_key("no-public", b"\x01", with_public=False)
    device.add_key("no-sign", b"\x02", may_sign=False)
    device.add_key("no-id", b"")
    device.add_key("each-time", b"\x03")
    device.objects[-2]._attributes[Attribute.ALWAYS_AUTHENTICATE] = True
    module, _ = fake(device)
    wanted = {
        "no-public": "hsm.public-key-missing",
        "no-sign": "hsm.key-unusable",
        "no-id": "hsm.key-unusable",
        "each-time": "hsm.key-unusable",
        "absent": "hsm.key-missing",
    }
    with Token.open(module, pin=PIN, label="fake") as token:
        for label, code in wanted.items():
            with pytest.raises(ColdrootError) as caught:
                token.find(label=label)
            assert caught.value.code == code
        with pytest.raises(RequestRejected):
            token.find()


@pytest.mark.parametrize(
    "point", [b"", b"\x04\x41" + b"\x04" * 65, b"\x04\x42" + b"\x04" * 65, b"\xff" * 200, p11.FunctionFailed()]
)
def test_garbled_public_keys(point: object) -> None:
    """What a module returns may be anything; it must end as one line, not as a parser's exception."""
    device = device_with_key()
    device.objects[1]._attributes[Attribute.EC_POINT] = point
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake") as token:
        with pytest.raises(PeerFailed) as caught:
            token.find(label="k")
        assert caught.value.code == "hsm.malformed"


def test_inventory_survives_strange_objects() -> None:
    """An object with a garbled label must not hide the rest of the inventory."""
    device = device_with_key()
    device.objects[0]._attributes[Attribute.LABEL] = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake") as token:
        assert [each.label for each in token.inventory()] == ["", "k"]


def test_a_stuck_generator_is_noticed() -> None:
    """Constant bytes from a broken generator would go into the ceremony's secret."""
    device = FakeDevice(random=lambda size: b"\0" * size)
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake") as token:
        with pytest.raises(PeerFailed) as caught:
            token.random(32)
        assert caught.value.code == "hsm.bad-random"
        with pytest.raises(RequestRejected):
            token.random(0)


def test_a_second_login_is_refused_since_it_proves_nothing() -> None:
    """While one session is logged in, the module takes any PIN: a quorum's PIN would seem right and be wrong."""
    module, _ = fake(FakeDevice())
    with Token.open(module, pin=PIN, label="fake"):
        with pytest.raises(PeerFailed) as caught:
            Token.open(module, pin=b"9999", label="fake")
        assert caught.value.code == "hsm.already-open"
    with Token.open(module, pin=PIN, label="fake"):
        pass


def test_a_closed_token_does_not_sign() -> None:
    """A key must die with its session, or the end of a `with` block would mean nothing."""
    device = device_with_key()
    module, _ = fake(device)
    with Token.open(module, pin=PIN, label="fake", reconnect=True) as token:
        key = token.find(label="k")
    with pytest.raises(PeerFailed) as caught:
        sign(key)
    assert caught.value.code == "hsm.session-lost"
    assert module.sessions == 0


def test_finalising_may_fail_once() -> None:
    """In a forked child some modules refuse to finalise what they never initialised there."""
    module, library = fake(FakeDevice())
    library.faults = [pkcs11.PKCS11Error("cryptoki not initialized")]
    assert len(module.tokens()) == 1
    library.faults = [pkcs11.GeneralError(), pkcs11.GeneralError()]
    with pytest.raises(PeerFailed):
        module.tokens()


def test_configuration_does_not_change_under_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a session open the module keeps its old configuration; tokens of another would be the wrong ones."""
    module, _ = fake(FakeDevice(), FakeDevice(label="second", serial="f2"))
    monkeypatch.setenv("SOFTHSM2_CONF", "/one")
    with Token.open(module, pin=PIN, label="fake"):
        monkeypatch.setenv("SOFTHSM2_CONF", "/two")
        with pytest.raises(PeerFailed) as caught:
            module.tokens()
        assert caught.value.code == "hsm.busy"
    assert module.tokens()


@pytest.mark.parametrize("pin", [b"", b"\xff\xfe"])
def test_impossible_pins(pin: bytes) -> None:
    """An empty PIN must not become a login without one, nor bytes a decoder's exception that quotes them."""
    device = FakeDevice()
    module, _ = fake(device)
    with pytest.raises(RequestRejected) as caught:
        Token.open(module, pin=pin, label="fake")
    assert caught.value.code == "hsm.pin-malformed"
    assert caught.value.__context__ is None
    assert device.logins == 0


def test_no_pin_in_errors_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    """A PIN in an exception or a log ends in a ticket system."""
    caplog.set_level(logging.DEBUG)
    module, _ = fake(FakeDevice())
    pin = bytes.fromhex("63616e6172792d38363432")  # not in the clear, so that no quoted source line holds it
    assert pin == b"canary-8642"
    with pytest.raises(Unauthenticated) as caught:
        Token.open(module, pin=pin, label="fake")
    error = caught.value
    shown = repr(error) + str(error.hint) + caplog.text + "".join(traceback.format_exception(error))
    assert "canary-8642" not in shown
    assert error.__cause__ is None
    assert error.__suppress_context__


ALL_P11 = [each for _, each in inspect.getmembers(p11, inspect.isclass) if issubclass(each, p11.PKCS11Error)]


@pytest.mark.parametrize("kind", ALL_P11)
def test_every_library_exception_is_ours_outside(kind: type[p11.PKCS11Error]) -> None:
    """An exception of the library that escapes shows a traceback, and may hold what the module said."""
    with pytest.raises(ColdrootError) as caught, translated("testing"):
        raise kind("secret detail")
    assert caught.value.code.startswith("hsm.")
    assert "secret detail" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert type(translate(kind(), "testing")) is type(caught.value)


def test_ours_pass_untouched() -> None:
    """A refusal of ours inside a call must not be renamed to the HSM's fault."""
    with pytest.raises(RequestRejected) as caught, translated("testing"):
        raise RequestRejected("a.b", "c")
    assert code_of(caught) == "a.b"


def test_unusable_modules(tmp_path: Path) -> None:
    """A path typed wrongly, or a library that is no PKCS#11 module, must be one line."""
    with pytest.raises(NotFound):
        load_module(tmp_path / "absent.so")
    with pytest.raises(NotFound):
        load_module(Path("relative.so"))
    text = tmp_path / "text.so"
    text.write_text("not a library")
    with pytest.raises(PeerFailed) as caught:
        load_module(text)
    assert caught.value.code == "hsm.module-unusable"
