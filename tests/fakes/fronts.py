"""nginx and HAProxy, the real programs with the files of ``examples/``, in front of two nodes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import create_connection

import pytest
from fakes.ports import free_port
from fakes.servers import program

_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_NGINX, _HAPROXY = program("nginx"), program("haproxy")
_STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
_ADDRESSES = ("192.0.2.11:443", "192.0.2.12:443")
"""Of the two nodes in the examples."""

PROXIES = [
    pytest.param(
        "nginx",
        marks=pytest.mark.skipif(
            _NGINX is None or not _STREAM_MODULE.exists(),
            reason="nginx with its stream module is not installed (Debian: nginx-light libnginx-mod-stream)",
        ),
    ),
    pytest.param(
        "haproxy",
        marks=pytest.mark.skipif(_HAPROXY is None, reason="HAProxy is not installed (Debian: haproxy)"),
    ),
]


@contextmanager
def in_front(kind: str, directory: Path, *, root: Path, ports: Sequence[int]) -> Iterator[int]:
    """Run a proxy until the block ends; yield its port.

    Args:
        kind: one of ``PROXIES``.
        directory: takes its configuration and its log.
        root: the file with the nodes' root certificate.
        ports: of the two nodes.
    """
    name = {"nginx": "nginx-stream.conf", "haproxy": "haproxy.cfg"}[kind]
    text = (_EXAMPLES / name).read_text()
    for address, behind in zip(_ADDRESSES, ports, strict=True):
        assert text.count(address) == 1
        text = text.replace(address, f"127.0.0.1:{behind}")
    port = free_port()
    command = _nginx(directory, text, port) if kind == "nginx" else _haproxy(directory, text, port, root)
    with (directory / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not listens(port):
            assert process.poll() is None, (directory / "proxy.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    """Tell whether anybody accepts connections on a port."""
    with suppress(OSError), create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def _nginx(directory: Path, text: str, port: int) -> list[str]:
    """Complete the example to a whole configuration; return how to run it."""
    (directory / "stream.conf").write_text(text.replace("listen 443;", f"listen 127.0.0.1:{port};"))
    whole = (
        f"load_module {_STREAM_MODULE};\n"
        f"pid {directory}/nginx.pid;\nerror_log stderr info;\ndaemon off;\nmaster_process off;\nworker_processes 1;\n"
        "events {}\n"
        f"include {directory}/stream.conf;\n"
    )
    (directory / "nginx.conf").write_text(whole)
    return [str(_NGINX), "-p", str(directory), "-c", str(directory / "nginx.conf")]


def _haproxy(directory: Path, text: str, port: int, root: Path) -> list[str]:
    """Fill the example in; return how to run it."""
    text = text.replace("bind :443", f"bind 127.0.0.1:{port}").replace("ca.example.com", "localhost")
    (directory / "haproxy.cfg").write_text(text.replace("/etc/coldroot/certs/root_ca.crt", str(root)))
    return [str(_HAPROXY), "-db", "-f", str(directory / "haproxy.cfg")]
