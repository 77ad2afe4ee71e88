"""What pyOpenSSL has no public way for, reached through the bindings beneath it; nowhere else is that done.

* *ALPN.* pyOpenSSL's callback is a ``cffi.callback()``, which wants memory that is writable and executable; systemd's
  ``MemoryDenyWriteExecute=`` forbids that. ``ctypes`` makes its callbacks without it.
* *The verdict on a client's certificate.* pyOpenSSL would tell it to a callback only, with the same fault.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

_PROTOCOL = b"http/1.1"
_OFFER = bytes([len(_PROTOCOL)]) + _PROTOCOL
# SSL_CTX_set_alpn_select_cb(3): what the callback returns, and OpenSSL's declaration of it.
_CHOSEN, _NOTHING_SAID = 0, 3
_SELECT = "int (*)(SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)"
_Select = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_void_p,
)
# OpenSSL copies what is chosen, but only after the callback has returned.
_chosen = ctypes.create_string_buffer(_PROTOCOL, len(_PROTOCOL))


def _choose(_ssl: int, chosen: int, length: int, offered: int, size: int, _argument: int) -> int:
    """Choose HTTP/1.1 if it is among what the client offers (RFC 7301); else say nothing, as for a client without."""
    if not _offers_http(ctypes.string_at(offered, size)):
        return _NOTHING_SAID
    ctypes.c_void_p.from_address(chosen).value = ctypes.addressof(_chosen)
    ctypes.c_ubyte.from_address(length).value = len(_PROTOCOL)
    return _CHOSEN


def _offers_http(offered: bytes) -> bool:
    position = 0
    while position < len(offered):
        if offered.startswith(_OFFER, position):
            return True
        position += 1 + offered[position]
    return False


# It lives as long as the process: contexts that are long gone from here may still have connections.
_select = _Select(_choose)


def choose_http_1_1(context: SSL.Context) -> None:
    """Have a context answer ALPN."""
    address = ctypes.cast(_select, ctypes.c_void_p).value
    lib.SSL_CTX_set_alpn_select_cb(context._context, ffi.cast(_SELECT, address), ffi.NULL)  # noqa: SLF001


def verdict_on_peer(connection: SSL.Connection) -> int:
    """Return OpenSSL's number for what it found wrong with the peer's certificate; 0 for nothing."""
    verdict: Callable[[object], int] = lib.SSL_get_verify_result
    return int(verdict(connection._ssl))  # noqa: SLF001
