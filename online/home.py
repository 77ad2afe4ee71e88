"""The home directory of the ``online`` command: where everything lies, laid out like step's ``$STEPPATH``.

Invariants: no path is spelled anywhere else; ``defaults.json`` in hand was checked; nothing is created by
looking. An existing step home can be pointed at, and step can be pointed at one of ours: ``defaults.json``
holds the same keys and absolute paths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared import durable
from shared.errors import RequestRejected

ENVIRONMENT_VARIABLE = "COLDROOT_HOME"
_DEFAULT = ".coldroot"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """One home directory; its files need not exist."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration of the issuing node."""
        return self.path / "config" / "ca.json"

    @property
    def defaults(self) -> Path:
        """The client's defaults: address of the CA, pinned root."""
        return self.path / "config" / "defaults.json"

    @property
    def root_certificate(self) -> Path:
        """The trusted root."""
        return self.path / "certs" / "root_ca.crt"

    @property
    def intermediate_certificate(self) -> Path:
        """The certificate that signs leaves; it appears with ``online import``."""
        return self.path / "certs" / "intermediate_ca.crt"

    @property
    def request(self) -> Path:
        """A copy of the request that went to the ceremony; the reply must answer exactly this one."""
        return self.path / "certs" / "intermediate_request.bundle"

    @property
    def next_intermediate(self) -> Path:
        """What ``online intermediate request`` leaves for ``online import``; there while a reply is awaited."""
        return self.path / "config" / "next_intermediate.json"

    @property
    def intermediate_key(self) -> Path:
        """The encrypted key that signs leaves, unless it lives in an HSM."""
        return self.path / "secrets" / "intermediate_ca_key"

    @property
    def intermediate_password(self) -> Path:
        """The password of that key, a convenience of ``online init``."""
        return self.path / "secrets" / "intermediate_password.txt"

    @property
    def provisioner_password(self) -> Path:
        """The password of the first provisioner's key, a convenience of ``online init``."""
        return self.path / "secrets" / "provisioner_password.txt"

    def password_of(self, provisioner: str) -> Path | None:
        """The password of a provisioner that ``online provisioner add`` made; none for a name that is no file name."""
        if not _FILE_NAME.fullmatch(provisioner):
            return None
        return self.path / "secrets" / f"provisioner_password_{provisioner}.txt"

    @property
    def database(self) -> Path:
        """The SQLite database of the issuing node."""
        return self.path / "db" / "coldroot.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What ``defaults.json`` says; every part may be missing."""

    ca_url: str | None = None
    fingerprint: str | None = None
    """SHA-256 of the pinned root's DER, 64 lower-case hex digits."""
    root: Path | None = None

    def encode(self, home: Home) -> bytes:
        """Write the file's content, with the keys and absolute paths that step writes."""
        content = {"ca-url": self.ca_url, "ca-config": str(home.config.absolute()), "fingerprint": self.fingerprint}
        content["root"] = str(self.root.absolute()) if self.root is not None else None
        return (json.dumps({key: each for key, each in content.items() if each}, indent="\t") + "\n").encode()


def choose_home(option: Path | None, environment: Mapping[str, str], user: Path) -> Home:
    """Decide which home is meant: the option, else the environment, else ``~/.coldroot``.

    Args:
        option: the value of ``--home``.
        environment: the process's.
        user: the user's own home directory.
    """
    named = environment.get(ENVIRONMENT_VARIABLE)
    if option is not None:
        return Home(path=option.absolute())
    return Home(path=(Path(named) if named else user / _DEFAULT).absolute())


def load_defaults(home: Home) -> Defaults:
    """Read ``defaults.json``; a home without one has no defaults.

    Keys that only matter to step (``ca-config``, ``redirect-url`` and defaults of its other flags) are passed
    over: the file is step's, and none of them loosens anything here. A relative path counts from the home.

    Raises:
        RequestRejected: ``defaults.malformed`` or ``file.*``.
    """
    if not home.defaults.exists():
        return Defaults()
    where = home.defaults
    try:
        content = json.loads(durable.read_text(where, limit=64 << 10))
    except (ValueError, RecursionError):
        raise RequestRejected("defaults.malformed", f"{where} is not JSON") from None
    if not isinstance(content, dict):
        raise RequestRejected("defaults.malformed", f"{where} does not hold an object")
    fingerprint = _text(content, "fingerprint", where)
    root = _text(content, "root", where)
    return Defaults(
        ca_url=_text(content, "ca-url", where),
        fingerprint=parse_fingerprint(fingerprint, what=f"{where}: fingerprint") if fingerprint else None,
        root=home.path / root if root else None,
    )


def parse_fingerprint(text: str, *, what: str = "the fingerprint") -> str:
    """Read the SHA-256 fingerprint of a certificate as people and programs write it.

    Args:
        text: 64 hex digits of any case; colons, dashes and spaces between them are dropped.
        what: how to call it in an error.

    Raises:
        RequestRejected: ``fingerprint.malformed``.
    """
    digits = re.sub(r"[:\s-]", "", text).lower()
    if not _FINGERPRINT.fullmatch(digits):
        raise RequestRejected(
            "fingerprint.malformed",
            f"{what} is not a SHA-256 fingerprint of 64 hex digits",
            hint="print it with: online fingerprint root_ca.crt",
        )
    return digits


def _text(content: Mapping[str, object], key: str, where: Path) -> str | None:
    value = content.get(key)
    if value is not None and not isinstance(value, str):
        raise RequestRejected("defaults.malformed", f"{where}: {key} is not a text")
    return value or None
