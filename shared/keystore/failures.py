"""What an HSM module's return codes mean to a person: the one table from python-pkcs11's exceptions to ours.

Invariants: no exception of python-pkcs11 leaves the keystore, nor shows as the cause of ours; no message is
built from what the module or the library said, only from what coldroot was doing and the name of the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pkcs11 import exceptions as p11

from shared.errors import ColdrootError, PeerFailed, RequestRejected, Unauthenticated, Unsupported

# The session or the device went away: a new login may help. Nothing else is worth a second try.
LOST = frozenset({"hsm.device-removed", "hsm.session-lost"})

_Row = tuple[tuple[type[p11.PKCS11Error], ...], type[ColdrootError], str, str, str | None]
_TABLE: tuple[_Row, ...] = (
    (
        # A PIN of impossible length is a wrong PIN: the right one has a possible length.
        (p11.PinIncorrect, p11.PinInvalid, p11.PinLenRange),
        Unauthenticated,
        "hsm.wrong-pin",
        "the token refused the PIN",
        "check it before the next try: most tokens lock themselves after a few",
    ),
    (
        (p11.PinLocked,),
        Unauthenticated,
        "hsm.pin-locked",
        "the token has locked its PIN after too many wrong ones",
        "the security officer's PIN can set a new one",
    ),
    ((p11.PinExpired,), Unauthenticated, "hsm.pin-expired", "the PIN has expired and must be changed first", None),
    ((p11.PinTooWeak,), RequestRejected, "hsm.pin-too-weak", "the token finds the new PIN too weak", None),
    (
        (p11.UserPinNotInitialized,),
        PeerFailed,
        "hsm.no-user-pin",
        "the token has no user PIN yet",
        "initialise the token again",
    ),
    (
        (p11.DeviceRemoved, p11.TokenNotPresent, p11.SlotIDInvalid, p11.DeviceError, p11.GeneralError),
        PeerFailed,
        "hsm.device-removed",
        "the HSM does not answer or was removed",
        "connect it again and retry",
    ),
    (
        (
            p11.SessionClosed,
            p11.SessionHandleInvalid,
            p11.ObjectHandleInvalid,
            p11.KeyHandleInvalid,
            p11.UserNotLoggedIn,
            p11.OperationActive,
        ),
        PeerFailed,
        "hsm.session-lost",
        "the HSM has ended our session",
        "retry; if it happens again, look at the HSM",
    ),
    (
        (p11.UserAlreadyLoggedIn, p11.AnotherUserAlreadyLoggedIn, p11.UserTooManyTypes, p11.SessionExists),
        PeerFailed,
        "hsm.already-open",
        "this process is logged in to the token already, so the PIN was not checked",
        "close the other session first",
    ),
    (
        (p11.TokenNotRecognised,),
        PeerFailed,
        "hsm.not-initialised",
        "the token is not initialised or is of another kind than its module",
        None,
    ),
    (
        (p11.SessionReadOnly, p11.TokenWriteProtected, p11.AttributeReadOnly),
        RequestRejected,
        "hsm.read-only",
        "the token, the session or the object cannot be written",
        None,
    ),
    (
        (p11.MechanismInvalid, p11.MechanismParamInvalid, p11.FunctionNotSupported, p11.DomainParamsInvalid),
        Unsupported,
        "hsm.unsupported",
        "the token cannot do that with this kind of key",
        "choose another kind of key",
    ),
    ((p11.KeySizeRange,), Unsupported, "hsm.unsupported", "the token has no keys of this size", None),
    ((p11.DeviceMemory, p11.HostMemory, p11.SessionCount), PeerFailed, "hsm.full", "the HSM has no room left", None),
)


def translate(error: p11.PKCS11Error, doing: str) -> ColdrootError:
    """Make our error from one of python-pkcs11.

    Args:
        error: only its class is looked at.
        doing: what was tried, for example ``signing``.
    """
    for kinds, family, code, message, hint in _TABLE:
        if isinstance(error, kinds):
            return family(code, f"{doing}: {message}", hint=hint)
    return PeerFailed("hsm.failed", f"{doing}: the HSM module answered {type(error).__name__}")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Translate whatever goes wrong while the module is called.

    Args:
        doing: what is tried, for example ``signing``.
    """
    try:
        yield
    except p11.PKCS11Error as error:
        raise translate(error, doing) from None
    except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, ArithmeticError):
        # The binding unpacks what the module returned, and a module may return anything.
        raise PeerFailed("hsm.malformed", f"{doing}: the HSM module gave an answer that cannot be read") from None
