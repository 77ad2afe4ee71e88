"""Two calls of PKCS#11 that python-pkcs11 lacks: C_InitToken, and the PIN lengths of C_GetTokenInfo.

They go through the same library in the same process, which python-pkcs11 has loaded and initialised, and under
the same lock. A PIN is passed in memory, where ``softhsm2-util`` and its kind want it on a command line.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from pkcs11 import exceptions as p11

from shared.errors import PeerFailed, Unsupported
from shared.keystore import Module
from shared.keystore.failures import translate
from shared.keystore.module import LOCK, FoundToken

# PKCS#11 v2.40 §3.6: the order of CK_FUNCTION_LIST.
_FUNCTIONS = 68
_GET_TOKEN_INFO = 6
_INIT_TOKEN = 9
_LABEL_BYTES = 32
# CKR_CRYPTOKI_NOT_INITIALIZED: p11-kit's proxy gives every caller an instance of its own, which ours is not.
_ANOTHER_INSTANCE = 0x190
_UNAVAILABLE = ctypes.c_ulong(-1).value
_CODES: dict[int, type[p11.PKCS11Error]] = {
    0x03: p11.SlotIDInvalid,
    0x05: p11.GeneralError,
    0x06: p11.FunctionFailed,
    0x07: p11.ArgumentsBad,
    0x30: p11.DeviceError,
    0x31: p11.DeviceMemory,
    0x32: p11.DeviceRemoved,
    0x54: p11.FunctionNotSupported,
    0xA0: p11.PinIncorrect,
    0xA1: p11.PinInvalid,
    0xA2: p11.PinLenRange,
    0xA4: p11.PinLocked,
    0xB6: p11.SessionExists,
    0xE0: p11.TokenNotPresent,
    0xE1: p11.TokenNotRecognised,
    0xE2: p11.TokenWriteProtected,
}


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * _FUNCTIONS))


class _TokenInfo(ctypes.Structure):
    _fields_ = (
        ("label", ctypes.c_char * 32),
        ("manufacturer", ctypes.c_char * 32),
        ("model", ctypes.c_char * 16),
        ("serial", ctypes.c_char * 16),
        ("flags", ctypes.c_ulong),
        ("session_counts", ctypes.c_ulong * 4),
        ("longest_pin", ctypes.c_ulong),
        ("shortest_pin", ctypes.c_ulong),
        ("memory", ctypes.c_ulong * 4),
        ("versions", ctypes.c_ubyte * 4),
        ("utc_time", ctypes.c_char * 16),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PinLimits:
    """The lengths that a token takes for a PIN, in bytes."""

    shortest: int
    longest: int


def pin_limits(module: Module, token: FoundToken) -> PinLimits:
    """Ask a token for the lengths of its PINs.

    Raises:
        Unsupported: ``hsm.behind-proxy``.
        PeerFailed: ``hsm.*``.
    """
    info = _TokenInfo()
    with LOCK:
        call = _function(module, _GET_TOKEN_INFO, ctypes.c_ulong, ctypes.POINTER(_TokenInfo))
        _check(call(token.slot_id, ctypes.byref(info)), "asking the token for its PIN lengths")
    # CK_UNAVAILABLE_INFORMATION and nonsense: then the token itself must refuse.
    longest = int(info.longest_pin) if 0 < info.longest_pin < _UNAVAILABLE else 255
    return PinLimits(shortest=max(1, min(int(info.shortest_pin), longest)), longest=longest)


def initialise(module: Module, token: FoundToken, *, label: str, so_pin: bytes) -> None:
    """Initialise a token (C_InitToken): destroys what it holds.

    Args:
        module: with no session open.
        token: just listed.
        label: at most 32 bytes of UTF-8.
        so_pin: the security officer's PIN; of an initialised token it must be the present one.

    Raises:
        Unauthenticated: ``hsm.wrong-pin`` or ``hsm.pin-locked``.
        Unsupported: ``hsm.behind-proxy``.
        PeerFailed: ``hsm.*``.
    """
    padded = label.encode("utf-8").ljust(_LABEL_BYTES)
    with LOCK:
        call = _function(module, _INIT_TOKEN, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
        _check(call(token.slot_id, so_pin, len(so_pin), padded), "initialising the token")


def _function(module: Module, index: int, *arguments: Any) -> Any:
    functions = ctypes.POINTER(_FunctionList)()
    try:
        code = ctypes.CDLL(str(module.path)).C_GetFunctionList(ctypes.byref(functions))
        address = functions.contents.functions[index] if code == 0 else None
    except (OSError, AttributeError, ValueError):
        address = None
    if address is None:
        raise PeerFailed("hsm.module-unusable", f"the PKCS#11 module {module.path} has no such function")
    return ctypes.CFUNCTYPE(ctypes.c_ulong, *arguments)(address)


def _check(code: int, doing: str) -> None:
    if code == 0:
        return
    if code == _ANOTHER_INSTANCE:
        raise Unsupported(
            "hsm.behind-proxy",
            f"{doing}: not possible through a module that stands for other modules",
            hint="name the HSM's own module in hsm.toml",
        )
    kind = _CODES.get(code)
    if kind is None:
        raise PeerFailed("hsm.failed", f"{doing}: the HSM module answered code 0x{code:x}")
    raise translate(kind(), doing)
