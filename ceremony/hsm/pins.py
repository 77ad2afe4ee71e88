"""A token's two PINs: replaced, proven dead, and put right after a replacement that was cut off half-way.

A replacement has two steps, the user PIN and the security officer's. Whoever has the secrets of both sides can tell
from the token which steps were done, at the cost of one wrong try each that the next right login resets.

The PINs that are derived from the ceremony's secret have 32 symbols. A token that takes fewer gets the first ones, as
many as it says that it takes; the transcript tells how many those were.

Invariants: a PIN that was replaced is proven dead, unless the token never forgets a wrong try; never are two wrong
PINs tried one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ceremony.hsm import cryptoki
from ceremony.hsm.settings import HsmSettings
from shared.errors import Fatal, PeerFailed, RequestRejected, Unauthenticated, Unsupported
from shared.keystore import Module
from shared.keystore.failures import translated
from shared.keystore.module import LOCK, FoundToken, pin_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The two PINs of a token, in UTF-8. They do not show in a representation."""

    so: bytes = field(repr=False)
    """The security officer's: initialises, and sets a new user PIN."""
    user: bytes = field(repr=False)
    """The user's: makes keys and signs."""


REFUSED, NOT_TRIED = "refused", "not-tried"
"""What became of the old PINs, as the transcript says it."""


def fitted(module: Module, token: FoundToken, pin: bytes) -> bytes:
    """Return as much of a derived PIN as a token takes: its first symbols, all of them where it does not say.

    Raises:
        PeerFailed: ``hsm.*``.
    """
    try:
        return pin[: cryptoki.pin_limits(module, token).longest]
    except Unsupported:
        return pin


def fitted_pins(module: Module, token: FoundToken, pins: Pins) -> Pins:
    """Return both PINs as ``fitted`` does.

    Raises:
        PeerFailed: ``hsm.*``.
    """
    return Pins(so=fitted(module, token, pins.so), user=fitted(module, token, pins.user))


def replace_pins(settings: HsmSettings, serial: str, *, old: Pins, new: Pins) -> str:
    """Replace both PINs of a token (C_SetPIN) and prove that the new ones hold and the old ones do not.

    The proof costs one wrong try of each PIN, which the following right login resets. A token on which it does not is
    known by its profile; there the proof is left out.

    Args:
        settings: the module.
        serial: the token's.
        old: the PINs that hold now.
        new: the PINs that shall hold.

    Returns:
        ``refused`` or ``not-tried``: what is known of the old PINs.

    Raises:
        Fatal: ``hsm.old-pin-alive``: the device lies about its PINs.
        RequestRejected: ``hsm.pin-length`` or ``hsm.pin-malformed``.
        Unauthenticated: ``hsm.wrong-pin`` for an old PIN.
        PeerFailed: ``hsm.*``.
    """
    module = settings.activate()
    token = module.select(serial=serial)
    old, new = fitted_pins(module, token, old), fitted_pins(module, token, new)
    check_pins(module, token, new)
    for officer in (False, True):
        _replace(module, serial, old, new, officer=officer)
        _prove(module, serial, old, new, officer=officer)
    return _known_of_old(module, token)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinsFound:
    """Which of two PINs a token takes."""

    user: bool
    so: bool

    @property
    def both(self) -> bool:
        """Whether it takes both."""
        return self.user and self.so


def try_pins(settings: HsmSettings, serial: str, pins: Pins) -> PinsFound:
    """Find out which of two PINs a token takes. Costs a try for each that it does not take.

    Raises:
        Unauthenticated: ``hsm.pin-locked``.
        PeerFailed: ``hsm.*``.
    """
    module = settings.activate()
    pins = fitted_pins(module, module.select(serial=serial), pins)
    return PinsFound(
        user=_opens(module, serial, pins.user, officer=False), so=_opens(module, serial, pins.so, officer=True)
    )


def finish_replacing(settings: HsmSettings, serial: str, *, old: Pins, new: Pins, done: PinsFound) -> str:
    """Go on with a replacement that was cut off, and prove it as ``replace_pins`` does.

    Args:
        settings: the module.
        serial: the token's.
        old: the PINs of before.
        new: the PINs that shall hold.
        done: what ``try_pins`` found for the new PINs.

    Returns:
        As ``replace_pins``.

    Raises:
        Fatal: ``hsm.old-pin-alive``.
        Unauthenticated: ``hsm.wrong-pin`` when the token takes neither of two PINs.
        PeerFailed: ``hsm.*``.
    """
    module = settings.activate()
    token = module.select(serial=serial)
    old, new = fitted_pins(module, token, old), fitted_pins(module, token, new)
    for officer, replaced in ((False, done.user), (True, done.so)):
        if not replaced:
            _replace(module, serial, old, new, officer=officer)
        _prove(module, serial, old, new, officer=officer)
    return _known_of_old(module, token)


def take_back(settings: HsmSettings, serial: str, old: Pins) -> None:
    """Undo a replacement that was cut off after the user PIN, by the security officer's old PIN alone.

    Args:
        settings: the module.
        serial: the token's.
        old: the PINs that shall hold again.

    Raises:
        Unauthenticated: ``hsm.wrong-pin`` when the security officer's PIN was replaced already: the replacement is
            done then, and there is no way back.
        PeerFailed: ``hsm.*``.
    """
    module = settings.activate()
    old = fitted_pins(module, module.select(serial=serial), old)
    with (
        module.session(module.select(serial=serial), old.so, writable=True, security_officer=True) as session,
        LOCK,
        translated("setting the user PIN"),
    ):
        session.init_pin(pin_text(old.user))
    if not _opens(module, serial, old.user, officer=False):
        raise PeerFailed("hsm.new-pin-dead", "the token does not take the user PIN that was just set")


def check_pins(module: Module, token: FoundToken, pins: Pins) -> None:
    """Refuse PINs of a length that a token does not take.

    Raises:
        RequestRejected: ``hsm.pin-length`` or ``hsm.pin-malformed``.
    """
    limits = cryptoki.pin_limits(module, token)
    for name, pin in (("security officer's PIN", pins.so), ("user PIN", pins.user)):
        pin_text(pin)
        if not limits.shortest <= len(pin) <= limits.longest:
            raise RequestRejected(
                "hsm.pin-length", f"the {name} must have {limits.shortest} to {limits.longest} bytes for this token"
            )


def _replace(module: Module, serial: str, old: Pins, new: Pins, *, officer: bool) -> None:
    before, after = (old.so, new.so) if officer else (old.user, new.user)
    found = module.select(serial=serial)
    with (
        module.session(found, before, writable=True, security_officer=officer) as session,
        LOCK,
        translated(f"replacing the {_name(officer)}"),
    ):
        session.set_pin(pin_text(before), pin_text(after))


def _prove(module: Module, serial: str, old: Pins, new: Pins, *, officer: bool) -> None:
    before, after = (old.so, new.so) if officer else (old.user, new.user)
    forgets = not module.quirks(module.select(serial=serial)).wrong_tries_stay
    if forgets and before != after and _opens(module, serial, before, officer=officer):
        raise Fatal("hsm.old-pin-alive", f"the token still takes the old {_name(officer)}")
    if not _opens(module, serial, after, officer=officer):
        raise PeerFailed("hsm.new-pin-dead", f"the token does not take the new {_name(officer)}")


def _known_of_old(module: Module, token: FoundToken) -> str:
    return NOT_TRIED if module.quirks(token).wrong_tries_stay else REFUSED


def _name(officer: bool) -> str:
    return "security officer's PIN" if officer else "user PIN"


def _opens(module: Module, serial: str, pin: bytes, *, officer: bool) -> bool:
    # Whether a door opens is the fact that is asked for here, not a permission that is granted.
    found = module.select(serial=serial)
    try:
        with module.session(found, pin, writable=True, security_officer=officer):
            return True
    except Unauthenticated as error:
        if error.code == "hsm.wrong-pin":
            return False
        raise
