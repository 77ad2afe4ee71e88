"""Binding the port, and telling the service manager."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from online.listener import bind
from online.notify import notify
from shared.errors import RequestRejected


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
def test_a_free_port_is_listened_on(host: str) -> None:
    """Without this, one of the ways to write an address could fail."""
    with bind(host, 0) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()


def test_all_interfaces_are_both_families_where_there_are_two() -> None:
    """Without this, ``:443`` would leave out IPv6 clients, or IPv4 ones."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with bind("", 0) as listener:
        port = listener.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port)).close()


def test_a_port_in_use() -> None:
    """Without this, an operator would read a traceback."""
    with bind("127.0.0.1", 0) as taken, pytest.raises(RequestRejected) as failure:
        bind("127.0.0.1", taken.getsockname()[1])
    assert failure.value.code == "listen.in-use"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine(host: str) -> None:
    """Without this, a mistyped address would be a traceback."""
    with pytest.raises(RequestRejected) as failure:
        bind(host, 0)
    assert failure.value.code in {"listen.unknown-host", "listen.failed"}


def test_a_port_that_needs_a_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, the usual mistake of running on port 443 as nobody would be a traceback."""

    def refuse(*_: object, **__: object) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(RequestRejected) as failure:
        bind("127.0.0.1", 443)
    assert failure.value.code == "listen.not-permitted"
    assert failure.value.hint is not None


def test_a_kernel_without_ipv6_still_gets_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, the node would not start where IPv6 is switched off."""
    real = socket.create_server

    def refuse(address: tuple[str, int], *, family: int = socket.AF_INET, **_: object) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(address, family=family)

    monkeypatch.setattr(socket, "create_server", refuse)
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: True)
    with bind("", 0) as listener:
        assert listener.family == socket.AF_INET


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_manager_gets_a_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool) -> None:
    """Without this, systemd would wait for a node that is ready."""
    name = f"coldroot-test-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else str(tmp_path / "notify"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else str(tmp_path / "notify"))
        notify("READY=1", "STATUS=x")
        assert manager.recv(100) == b"READY=1\nSTATUS=x"


@pytest.mark.parametrize("address", [None, "", "relative", "/nowhere/notify"])
def test_without_a_service_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    """Without this, a node that is started by hand would fail."""
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
