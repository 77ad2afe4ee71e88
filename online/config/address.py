"""``HOST:PORT``, as the addresses of a ca.json are written."""

from __future__ import annotations

import re

from online.strict_json import Fields
from shared.errors import RequestRejected

_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
_HIGHEST_PORT = 65535


def parse_address(found: Fields, key: str) -> tuple[str, int]:
    """Read an address to listen on.

    Args:
        found: the object.
        key: of the setting, which must be there.

    Returns:
        The host, empty for all interfaces, and the port.

    Raises:
        RequestRejected: ``config.*``.
    """
    match = _ADDRESS.fullmatch(found.text(key))
    if match is None or int(match["port"]) > _HIGHEST_PORT:
        raise RequestRejected(
            "config.malformed",
            f"{found.at(key)} is not HOST:PORT",
            hint='write ":443", "127.0.0.1:9000" or "[::1]:9000"',
        )
    return match["host"].strip("[]"), int(match["port"])
