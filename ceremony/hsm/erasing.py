"""The end of a token: erased by its security officer, and proven to open no more.

Invariant: ``erase_token`` returns only when the PIN that opened the token does not open it any more.
"""

from __future__ import annotations

from ceremony.hsm import cryptoki
from ceremony.hsm.pins import fitted
from ceremony.hsm.settings import HsmSettings
from shared.errors import Fatal, NotFound, PeerFailed, Unauthenticated

ERASED_LABEL = "erased"
_CLOSED = frozenset({"hsm.wrong-pin", "hsm.no-user-pin", "hsm.not-initialised", "hsm.token-missing"})


def erase_token(
    settings: HsmSettings, serial: str, *, so_pin: bytes, user_pin: bytes, tried_before: bool = False
) -> str:
    """Initialise a token anew (C_InitToken), which destroys all that it holds, and leave it without a user.

    Args:
        settings: the module.
        serial: the token's, as recorded.
        so_pin: the security officer's PIN, which it keeps.
        user_pin: the PIN that must not open it afterwards.
        tried_before: an earlier attempt was interrupted: then a token that is not there any more counts as erased,
            for many get a new serial by that.

    Returns:
        The code of how the token refuses now.

    Raises:
        Unauthenticated: ``hsm.wrong-pin``.
        NotFound: ``hsm.token-missing``.
        Fatal: ``hsm.not-erased``.
        PeerFailed: ``hsm.*``.
    """
    module = settings.activate()
    token = next((each for each in module.tokens() if each.info.serial == serial), None)
    if token is not None:
        so_pin, user_pin = fitted(module, token, so_pin), fitted(module, token, user_pin)
    try:
        cryptoki.initialise(module, module.select(serial=serial), label=ERASED_LABEL, so_pin=so_pin)
    except NotFound as missing:
        if not tried_before:
            raise
        return missing.code
    try:
        with module.session(module.select(serial=serial), user_pin):
            pass
    except (Unauthenticated, PeerFailed, NotFound) as refusal:
        if refusal.code in _CLOSED:
            return refusal.code
        raise
    raise Fatal("hsm.not-erased", "the token was erased and still takes its old PIN")
