"""Adding, changing and removing provisioners of a node, with the password files of those that have a key.

They stand in its ca.json, or in the database that it shares with others.

The order (the numbers return in the code), and what a failure at each step leaves:

1. the wishes are checked against the file — nothing changed;
2. a password that was drawn is written to a private file: a key whose password is nowhere is lost;
3. the configuration is replaced. When that fails, the password file is what it was before; when nobody knows whether
   a database took it, it stays.

Invariant: a password is never printed; where it was put is.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from online.config import Config
from online.home import Home
from online.jose import jwe
from online.jose.jwk import PrivateJwk
from online.key_choice import KeyChoice
from online.provisioners.editing import (
    add_provisioner,
    provisioner_entries,
    remove_provisioner,
    replace_provisioner,
    unknown_provisioner,
)
from online.provisioners.entries import Wishes, encrypted_key
from online.provisioners.protocol import ProvisionerType
from online.shared_authority import authority_text, edit_authority
from online.strict_json import JsonObject
from shared import durable
from shared.errors import ColdrootError, RequestRejected, StoreFailed
from shared.keys import PrivateKey

_PASSWORD_BYTES = 32
Rng = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWishes:
    """The signing key that a JWK provisioner shall have, whose private half is published under a password."""

    choice: KeyChoice
    """Of a key to make."""
    existing: PrivateKey | None = None
    """A key that exists, instead."""
    password: bytes | None = None
    """Drawn and written under ``secrets/`` when not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Managed:
    """What was done."""

    config: Config
    """As it is now."""
    password_file: Path | None = None
    """Where a password that was drawn lies."""


def add(
    config_file: Path,
    kind: ProvisionerType,
    name: str,
    wishes: Wishes,
    *,
    key: KeyWishes | None,
    rng: Rng,
) -> Managed:
    """Add a provisioner.

    Args:
        config_file: the ca.json.
        kind: of provisioner.
        name: not in use yet.
        wishes: what it shall say.
        key: for a JWK provisioner whose key shall be made or published.
        rng: returns the asked number of random bytes.

    Raises:
        RequestRejected: ``provisioner.*``, ``config.*``, ``file.*`` or ``key.*``.
        StoreFailed: ``file.write-failed``; the old file stays.
    """
    # 1.
    drawn: bytes | None = None
    if key is not None:
        wishes, drawn = _with_key(wishes, key, rng)
    entry = wishes.new_entry(kind, name)
    file = None if drawn is None else _password_file(config_file, name)
    # 2, 3.
    with _kept(file, drawn, overwrite=False):
        config = edit_authority(config_file, lambda text: add_provisioner(text, entry))
    return Managed(config=config, password_file=file)


def update(
    config_file: Path, name: str, wishes: Wishes, *, new_name: str | None, key: KeyWishes | None, rng: Rng
) -> Managed:
    """Change a provisioner.

    Args:
        config_file: the ca.json.
        name: of the provisioner.
        wishes: what changes.
        new_name: its new name, if it shall have one.
        key: when its key shall be replaced. Certificates of the old key cannot be renewed any more.
        rng: returns the asked number of random bytes.

    Raises:
        NotFound: ``provisioner.unknown``.
        RequestRejected: as ``add``.
        StoreFailed: as ``add``.
    """
    # 1.
    present = _entry(config_file, name)
    drawn: bytes | None = None
    if key is not None:
        wishes, drawn = _with_key(wishes, key, rng)
    changed = wishes.apply(present if new_name is None else {**present, "name": new_name})
    file = None if drawn is None else _present_password_file(config_file, present, new_name or name)

    def change(text: str) -> str:
        # Somebody may have edited the file since it was read.
        if present not in provisioner_entries(text):
            raise RequestRejected("provisioner.changed", "the configuration was changed meanwhile", hint="try again")
        return replace_provisioner(text, name, changed)

    # 2, 3.
    with _kept(file, drawn, overwrite=True):
        config = edit_authority(config_file, change)
    return Managed(config=config, password_file=file)


def remove(config_file: Path, name: str) -> Managed:
    """Remove a provisioner. Its certificates stay valid until they end, and cannot be renewed any more.

    Args:
        config_file: the ca.json.
        name: of the provisioner.

    Raises:
        NotFound: ``provisioner.unknown``.
        RequestRejected: ``config.*`` or ``file.*``.
        StoreFailed: ``file.write-failed``; the old file stays.
    """
    return Managed(config=edit_authority(config_file, lambda text: remove_provisioner(text, name)))


def _with_key(wishes: Wishes, key: KeyWishes, rng: Rng) -> tuple[Wishes, bytes | None]:
    """Return the wishes with a key in them, and the password when it was drawn here."""
    signer = PrivateJwk.of(key.existing or key.choice.generate())
    # Anybody may fetch the encrypted key: only the strength of its password protects it.
    drawn = base64.urlsafe_b64encode(rng(_PASSWORD_BYTES)).rstrip(b"=") if key.password is None else None
    encrypted = encrypted_key(signer, key.password or drawn or b"", rng=rng)
    return replace(wishes, key=signer.public(), encrypted_key=encrypted), drawn


def _entry(config_file: Path, name: str) -> JsonObject:
    text = authority_text(config_file)
    for entry in provisioner_entries(text):
        if entry.get("name") == name:
            return entry
    raise unknown_provisioner(text, name)


def _home(config_file: Path) -> Home:
    directory = config_file.absolute().parent
    return Home(path=directory.parent if directory.name == "config" else directory)


def _password_file(config_file: Path, name: str) -> Path:
    file = _home(config_file).password_of(name)
    if file is None:
        raise RequestRejected(
            "provisioner.password-file",
            "the name cannot become a file name, so there is no place for the password that would be drawn",
            hint="give your own with --password-file",
        )
    return file


def _present_password_file(config_file: Path, present: JsonObject, name: str) -> Path:
    """Return the file that holds the present password, if it is one of the home's; else the one of the new name."""
    convenience = _home(config_file).provisioner_password
    encrypted = present.get("encryptedKey")
    with contextlib.suppress(ColdrootError):
        if isinstance(encrypted, str) and jwe.decrypt(encrypted, durable.read_secret(convenience)):
            return convenience
    return _password_file(config_file, name)


@contextlib.contextmanager
def _kept(file: Path | None, password: bytes | None, *, overwrite: bool) -> Iterator[None]:
    """Keep a password in a file for good if the block succeeds; else put back what was there."""
    if file is None or password is None:
        yield
        return
    before = durable.read_private(file) if overwrite and file.exists() else None
    durable.make_directory(file.parent, private=True)
    if before is None and os.path.lexists(file):
        raise RequestRejected(
            "file.exists",
            f"{file} is left over from an earlier provisioner of this name",
            hint="delete it if nothing needs its password any more, or give your own with --password-file",
        )
    if before is None:
        durable.write_new(file, password + b"\n", mode=durable.PRIVATE)
    else:
        durable.replace(file, password + b"\n", mode=durable.PRIVATE)
    try:
        yield
    except BaseException as error:
        if isinstance(error, StoreFailed) and error.code == "store.outcome-unknown":
            # The key may be there for all nodes to see, and nobody else has its password.
            raise
        if before is None:
            file.unlink(missing_ok=True)
        else:
            durable.replace(file, before, mode=durable.PRIVATE)
        raise
