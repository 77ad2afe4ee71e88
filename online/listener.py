"""The listening socket: bound once, or handed over by systemd, before any worker is forked, and shared by all of them.

A shared socket rather than one a worker (``SO_REUSEPORT``): a worker that is replaced then takes no connection
that waits in its own queue with it.
"""

from __future__ import annotations

import errno
import os
import socket

from shared.errors import RequestRejected
from shared.names import printable

_BACKLOG = 1024
_PRIVILEGED = 1024
# sd_listen_fds(3): sockets that the service manager hands over are numbered from here.
_FIRST_HANDED_OVER = 3


def adopt() -> socket.socket | None:
    """Take over the socket that systemd listens on for this process; ``None`` when it handed none over.

    The variables that tell of it are dropped: they are for this process and not for one that it starts.

    Raises:
        RequestRejected: ``listen.handed-over`` when it is not exactly one TCP socket that listens.
    """
    process, number, _ = (os.environ.pop(f"LISTEN_{each}", "") for each in ("PID", "FDS", "FDNAMES"))
    if process != str(os.getpid()) or number in {"", "0"}:
        return None
    hint = "let coldroot.socket have one ListenStream= with a port"
    if number != "1":
        raise RequestRejected(
            "listen.handed-over", f"systemd handed {printable(number)} sockets over, not one", hint=hint
        )
    try:
        handed = socket.socket(fileno=_FIRST_HANDED_OVER)
        listens = handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except OSError:
        raise RequestRejected("listen.handed-over", "systemd handed over what is no socket", hint=hint) from None
    if not listens or handed.type != socket.SOCK_STREAM or handed.family not in {socket.AF_INET, socket.AF_INET6}:
        handed.close()
        raise RequestRejected(
            "listen.handed-over", "the socket from systemd is not a TCP socket that listens", hint=hint
        )
    handed.set_inheritable(False)
    return handed


def bind(host: str, port: int) -> socket.socket:
    """Bind and listen.

    Args:
        host: a name or an address; empty for all interfaces, IPv6 and IPv4 where the system has both.
        port: 0 lets the system choose.

    Raises:
        RequestRejected: ``listen.in-use``, ``listen.not-permitted``, ``listen.unknown-host`` or
            ``listen.failed``.
    """
    shown = f"{printable(host) or '*'}:{port}"
    try:
        if not host:
            return _bind_all(port)
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=_BACKLOG)
    except socket.gaierror:
        raise RequestRejected(
            "listen.unknown-host", f"{printable(host)} is no address of this machine", hint="check address in ca.json"
        ) from None
    except PermissionError:
        raise RequestRejected(
            "listen.not-permitted",
            f"listening on {shown} is not permitted",
            hint=f"choose a port from {_PRIVILEGED} up, or grant the capability CAP_NET_BIND_SERVICE",
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise RequestRejected(
                "listen.in-use", f"another program listens on {shown}", hint="stop it, or choose another port"
            ) from None
        reason = "is no address of this machine" if error.errno == errno.EADDRNOTAVAIL else "cannot be listened on"
        raise RequestRejected("listen.failed", f"{shown} {reason}", hint="check address in ca.json") from None


def _bind_all(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
        except OSError as error:
            # A kernel can know IPv6 and still have it switched off.
            if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                raise
    return socket.create_server(("", port), backlog=_BACKLOG)
