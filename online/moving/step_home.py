"""The home of a step-ca (its ``$STEPPATH``): read, judged part by part, and taken over without touching it.

The order of writing (the numbers return in the code):

1. nothing is written while a finding stops the move;
2. the node's database, in a directory of its own;
3. the node's ca.json, beside step-ca's. Everything else is used where it lies.

Invariant: no file of step-ca's is changed, moved or removed: going back is starting step-ca again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from online.config import Config, parse_config
from online.moving.findings import Fate, Finding
from online.moving.step_config import convert
from online.store.sqlite import create_database
from online.strict_json import JsonObject, parse_object
from shared import durable
from shared.errors import ColdrootError, RequestRejected, Unsupported
from shared.keystore import is_pkcs11

WRITTEN = "coldroot.json"
"""The name of the new configuration, beside step-ca's ca.json."""
_DATABASE = "coldroot/coldroot.db"
_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")
_LARGEST_KEY_FILE = 64 << 10
# What lies in a home beside the configuration, with what becomes of it. The key of the root comes first: it matters.
_ASIDE = (
    (
        "secrets/root_ca_key",
        Fate.TO_DO,
        "the root's key is on this machine: who breaks in owns the CA. Move it to offline media, and erase it here",
    ),
    ("secrets/ssh_host_ca_key", Fate.DROPS, "the node issues X.509 certificates only"),
    ("secrets/ssh_user_ca_key", Fate.DROPS, "the node issues X.509 certificates only"),
    ("templates", Fate.DROPS, "templates of SSH configurations; the node issues X.509 certificates only"),
    ("config/defaults.json", Fate.CARRIES, "clients of this home find the CA as before"),
    ("config/identity.json", Fate.DROPS, "the node's clients need no standing identity"),
    ("contexts.json", Fate.DROPS, "there are no contexts: give each CA a home of its own, with --home"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepHome:
    """A step-ca installation, looked at."""

    path: Path
    document: JsonObject
    """The ca.json that the node would have."""
    findings: tuple[Finding, ...]

    @property
    def target(self) -> Path:
        """Where that ca.json goes."""
        return self.path / "config" / WRITTEN

    @property
    def stops(self) -> bool:
        """Whether something makes the move impossible as it is."""
        return any(each.fate is Fate.STOPS for each in self.findings)

    def content(self) -> bytes:
        """Return the text of that ca.json."""
        return (json.dumps(self.document, indent="\t", ensure_ascii=False) + "\n").encode("utf-8")


def read_step_home(path: Path) -> StepHome:
    """Look at a step-ca installation. Nothing is written.

    Args:
        path: the home: the directory with ``config/ca.json``.

    Raises:
        RequestRejected: ``import-step.no-home``, ``file.*``, or ``config.*`` when its ca.json is no strict JSON.
    """
    home = path.absolute()
    config_file = home / "config" / "ca.json"
    if not config_file.is_file():
        raise RequestRejected(
            "import-step.no-home",
            f"{path} holds no config/ca.json",
            hint="give the directory that step path prints on the CA's machine",
        )
    old = parse_object(durable.read_file(config_file), what="configuration of step-ca", room="config")

    def locate(text: str) -> str:
        return _located(text, home)

    document, findings = convert(old, data_source=_DATABASE, home=home, locate=locate)
    looked = StepHome(path=home, document=document, findings=findings)
    return StepHome(path=home, document=document, findings=(*findings, *_further(looked)))


def take_over(home: StepHome) -> tuple[Path, ...]:
    """Write what the node needs beside what step-ca has.

    Args:
        home: looked at a moment ago.

    Returns:
        The files that were made.

    Raises:
        RequestRejected: ``import-step.stops`` or ``file.exists``.
        StoreFailed: ``file.write-failed`` or ``store.*``; nothing stays.
    """
    # 1.
    if home.stops:
        raise RequestRejected(
            "import-step.stops", "the move is not possible as it is", hint="see the lines that stop it"
        )
    if os.path.lexists(home.target):
        raise RequestRejected(
            "file.exists", f"{home.target} already exists", hint="move it away: nothing is ever overwritten in silence"
        )
    # 2.
    database = home.path / _DATABASE
    fresh = not database.exists()
    try:
        if fresh:
            durable.make_directory(database.parent, private=True)
            create_database(database)
        # 3. It may hold a password.
        durable.write_new(home.target, home.content(), mode=durable.PRIVATE)
    except ColdrootError:
        if fresh:
            with contextlib.suppress(OSError):
                # SQLite and its writers keep files beside it.
                for each in database.parent.glob(f"{database.name}*"):
                    each.unlink()
                database.parent.rmdir()
        raise
    return (home.target, database) if fresh else (home.target,)


def _located(text: str, home: Path) -> str:
    """Return a path that is there: the old one, or the same place under a home that was moved."""
    if ":" in text.partition("/")[0] or Path(text).is_absolute() is False or Path(text).exists():
        return text
    parts = Path(text).parts
    for index in range(1, len(parts)):
        inside = Path(*parts[index:])
        if (home / inside).exists():
            return str(inside)
    return text


def _further(home: StepHome) -> Iterator[Finding]:
    config: Config | None = None
    try:
        config = parse_config(home.content(), path=home.target)
    except (RequestRejected, Unsupported) as error:
        hint = f"; {error.hint}" if error.hint else ""
        if not home.stops:
            yield Finding(fate=Fate.STOPS, what="the whole file", detail=f"{error.message}{hint}")
    if config is not None:
        yield _key(config)
        yield from _missing(config)
    for name, fate, detail in _ASIDE:
        if (home.path / name).exists():
            yield Finding(fate=fate, what=name, detail=detail)


def _key(config: Config) -> Finding:
    if is_pkcs11(config.key):
        return Finding(fate=Fate.CARRIES, what="the intermediate's key", detail="stays in its HSM")
    path = Path(config.key)
    try:
        content = durable.read_private(path, limit=_LARGEST_KEY_FILE)
    except RequestRejected as error:
        fate = Fate.TO_DO if error.code == "file.exposed" else Fate.STOPS
        return Finding(fate=fate, what=str(path), detail=f"{error.message}{f'; {error.hint}' if error.hint else ''}")
    if not any(each in content for each in _ENCRYPTED):
        return Finding(
            fate=Fate.TO_DO, what=str(path), detail="it is not encrypted: give it a password with online change-pass"
        )
    return Finding(
        fate=Fate.CARRIES,
        what=str(path),
        detail="give its password to online serve, with --password-file as to step-ca, or when it asks",
    )


def _missing(config: Config) -> Iterator[Finding]:
    for path in (*config.roots, *config.federated_roots, config.crt):
        if not path.is_file():
            yield Finding(fate=Fate.STOPS, what=str(path), detail="it does not exist")
