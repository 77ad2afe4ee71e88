"""A token's life in a ceremony: initialised once, its PINs derived from the ceremony's secret, opened by them.

The secret shall contain the HSM's own randomness, and the PINs are derived from the secret: but SoftHSM, and
many a smart card, give no randomness before they are initialised with PINs. ``initialise_with`` breaks the
circle for every device in one way: throw-away PINs first, the real ones after. There is no key in the token yet.

Invariants: a token with the label is never initialised again; nothing is tried with PINs that cannot be; a
PIN that was replaced is proven dead.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ceremony.hsm import cryptoki
from ceremony.hsm.pins import Pins, check_pins, fitted, replace_pins
from ceremony.hsm.practice import PracticeToken
from ceremony.hsm.settings import HsmSettings
from ceremony.secret import PIN_SYMBOLS
from shared.errors import PeerFailed, RequestRejected, Unsupported
from shared.keys import CaKind, PostQuantum
from shared.keystore import Module, Quirks, Token, TokenInfo, require_mechanism
from shared.keystore.failures import translated
from shared.keystore.module import LOCK, FoundToken, pin_text
from shared.keystore.quirks import SHORTEST_DERIVED_PIN

RANDOM_BYTES = 64
_THROW_AWAY_BYTES = 20


def check_blank(settings: HsmSettings, kinds: Iterable[CaKind] = ()) -> None:
    """Insist that there is exactly one blank token to initialise, and that the label is free. Changes nothing.

    Args:
        settings: module, label and perhaps serial.
        kinds: of keys that it shall make later; those that ``software_keys`` stands in for are not asked for.

    Raises:
        Unsupported: ``hsm.unsupported`` naming the mechanism that the token lacks.
        RequestRejected: ``hsm.token-exists``, ``hsm.no-blank-token`` or ``hsm.token-ambiguous``.
        NotFound: ``hsm.module-missing``.
        PeerFailed: ``hsm.*``.
    """
    directory = settings.softhsm_directory
    fresh = directory is not None and not directory.exists()
    try:
        module = settings.activate(create=True)
        blank = _blank_token(module, settings)
        if (longest := cryptoki.pin_limits(module, blank).longest) < SHORTEST_DERIVED_PIN:
            raise RequestRejected(
                "hsm.pin-length",
                f"the token takes PINs of at most {longest} characters; the least is {SHORTEST_DERIVED_PIN}",
                hint="use another HSM",
            )
        for kind in kinds:
            if not (settings.software_keys and isinstance(kind, PostQuantum)):
                # Some tokens do not say before they are initialised what they can do.
                with contextlib.suppress(PeerFailed):
                    require_mechanism(module, blank, kind)
    finally:
        if directory is not None and fresh:
            # SoftHSM must have a directory to be asked at all; the act makes it again when it comes to that.
            shutil.rmtree(directory, ignore_errors=True)


def initialise_token(settings: HsmSettings, *, so_pin: bytes, user_pin: bytes) -> TokenInfo:
    """Initialise the one blank token, or the blank token with the serial of the settings.

    1. everything that can be refused is, before anything is changed: label taken, no blank token, PIN lengths;
    2. C_InitToken with the security officer's PIN; some tokens come with one, which is replaced then;
    3. the token is found again, by its label; it has its serial now;
    4. the security officer sets the user PIN;
    5. the user PIN is proven by a login.

    Args:
        settings: module, label and perhaps serial.
        so_pin: security officer's PIN, UTF-8.
        user_pin: user PIN, UTF-8.

    Raises:
        RequestRejected: ``hsm.token-exists``, ``hsm.no-blank-token``, ``hsm.token-ambiguous``,
            ``hsm.pin-length`` or ``hsm.pin-malformed``.
        NotFound: ``hsm.module-missing``.
        PeerFailed: ``hsm.*``; the token may be left initialised without a user PIN.
    """
    module = settings.activate(create=True)
    # 1. Refuse first.
    blank = _blank_token(module, settings)
    check_pins(module, blank, Pins(so=so_pin, user=user_pin))
    # 2. Initialise.
    factory = module.quirks(blank).factory_so_pin
    cryptoki.initialise(module, blank, label=settings.token_label, so_pin=factory or so_pin)
    # 3. Slots and serials are new after that.
    made = module.select(label=settings.token_label)
    if factory is not None:
        with (
            module.session(made, factory, writable=True, security_officer=True) as session,
            LOCK,
            translated("replacing the security officer's PIN that the token came with"),
        ):
            session.set_pin(pin_text(factory), pin_text(so_pin))
    # 4. The user PIN.
    with (
        module.session(made, so_pin, writable=True, security_officer=True) as session,
        LOCK,
        translated("setting the user PIN"),
    ):
        session.init_pin(pin_text(user_pin))
    # 5. Prove it.
    with Token.open(module, serial=made.info.serial, pin=user_pin) as token:
        return token.info


def initialise_with(
    settings: HsmSettings, derive: Callable[[bytes], Pins], *, rng: Callable[[int], bytes] = os.urandom
) -> TokenInfo:
    """Initialise a token whose PINs depend on its own randomness.

    1. initialise under throw-away PINs;
    2. draw 64 bytes from the token's generator;
    3. ``derive`` mixes them into the ceremony's secret, has the shares proven, and returns the PINs;
    4. the throw-away PINs are replaced, and proven dead.

    Args:
        settings: module, label and perhaps serial.
        derive: from the token's 64 random bytes to its PINs. When it raises, a token without a key stays behind.
        rng: returns the asked number of random bytes, for the throw-away PINs.

    Raises:
        Fatal: ``hsm.old-pin-alive``.
        RequestRejected: as ``initialise_token``, and what ``derive`` raises.
        PeerFailed: ``hsm.*``.
    """
    module = settings.activate(create=True)
    longest = cryptoki.pin_limits(module, _blank_token(module, settings)).longest
    # 1. Throw-away PINs.
    temporary = Pins(so=_throw_away(rng, longest), user=_throw_away(rng, longest))
    info = initialise_token(settings, so_pin=temporary.so, user_pin=temporary.user)
    # 2. The token's randomness.
    drawn = hsm_random(settings, RANDOM_BYTES, serial=info.serial)
    # 3. The real PINs.
    pins = derive(drawn)
    # 4. Replace.
    replace_pins(settings, info.serial, old=temporary, new=pins)
    return info


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What is recorded of an initialised token, beside its name."""

    quirks: Quirks
    """What it does otherwise than the standard says."""
    pin_symbols: int
    """How many symbols of the derived PINs it takes, 5 bits each."""


def habits_of(settings: HsmSettings, serial: str) -> Habits:
    """Return what is recorded of an initialised token, beside its name.

    Raises:
        NotFound: ``hsm.token-missing``.
        PeerFailed: ``hsm.*``.
    """
    module = settings.activate()
    token = module.select(serial=serial)
    return Habits(quirks=module.quirks(token), pin_symbols=len(fitted(module, token, bytes(PIN_SYMBOLS))))


@contextmanager
def open_token(settings: HsmSettings, serial: str | None, pin: bytes, *, writable: bool = True) -> Iterator[Token]:
    """Log in to the ceremony's token for the length of a ``with`` block.

    Args:
        settings: the module, and the token's name when no serial is given.
        serial: the token's serial, as recorded in the transcript.
        pin: the user PIN, UTF-8. It is not kept: a token that goes away meanwhile ends the ceremony's step.
        writable: whether keys will be made.

    Raises:
        NotFound: ``hsm.token-missing``, ``hsm.token-directory-missing`` or ``hsm.module-missing``.
        Unauthenticated: ``hsm.wrong-pin`` or ``hsm.pin-locked``.
        RequestRejected: ``hsm.token-ambiguous``.
        PeerFailed: ``hsm.*``.
    """
    module = settings.activate()
    # A serial is surely the token's own; a label is what somebody wrote, and some modules decorate it.
    known = serial or settings.token_serial
    label = None if known else settings.token_label
    kind = PracticeToken if settings.software_keys else Token
    pin = fitted(module, module.select(serial=known, label=label), pin)
    with kind.open(module, pin=pin, serial=known, label=label, writable=writable) as token:
        yield token


def hsm_random(settings: HsmSettings, size: int, *, serial: str | None = None) -> bytes:
    """Draw random bytes from the HSM without a login.

    Args:
        settings: the module.
        size: 1 to 4096 bytes.
        serial: an initialised token's; ``None`` tries the blank token that would be initialised.

    Raises:
        Unsupported: ``hsm.random-before-init`` when the device gives none before it is initialised, as SoftHSM.
        PeerFailed: ``hsm.*``.
    """
    module = settings.activate(create=serial is None)
    if serial is not None:
        with Token.open(module, serial=serial, pin=None) as token:
            return token.random(size)
    blank = _blank_token(module, settings)
    with contextlib.ExitStack() as stack:
        session = None
        with contextlib.suppress(PeerFailed):
            session = stack.enter_context(module.session(blank, None))
        if session is not None:
            return Token(module, blank, session, writable=False).random(size)
    raise Unsupported(
        "hsm.random-before-init",
        "the HSM gives no random bytes before it is initialised",
        hint="initialise it under throw-away PINs first",
    )


def _blank_token(module: Module, settings: HsmSettings) -> FoundToken:
    tokens = module.tokens()
    if any(token.initialised and token.info.label == settings.token_label for token in tokens):
        raise RequestRejected(
            "hsm.token-exists",
            f"a token with the label {settings.token_label!r} exists already",
            hint="a token is never initialised twice: take another label, or remove it with the vendor's tool",
        )
    blank = [token for token in tokens if not token.initialised and settings.token_serial in {None, token.info.serial}]
    if not blank:
        raise RequestRejected(
            "hsm.no-blank-token", "no blank token is connected", hint="reset one with the vendor's tool first"
        )
    if len(blank) > 1:
        raise RequestRejected(
            "hsm.token-ambiguous", f"{len(blank)} blank tokens are connected", hint="set token_serial in hsm.toml"
        )
    return blank[0]


def _throw_away(rng: Callable[[int], bytes], longest: int) -> bytes:
    return base64.b32encode(rng(_THROW_AWAY_BYTES))[:longest]
