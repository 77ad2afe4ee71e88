"""The block ``authority`` of a node's configuration, from its ca.json or from the database that it shares.

With ``"coldroot": {"authority": "database"}`` the database has one document, in versions, in the shape of a ca.json
that has the key ``authority`` only. The reader and the editor of the file read and edit it, so both mean the same and
their complaints name the same places.

Invariants:

* a document that a node would refuse is never written;
* a change is made from the newest version or not at all: of two at once, one is told;
* there is one truth: a file whose authority is in the database has none of its own.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from online.config.edit import edit_config
from online.config.load import SHARED_KEYS, SharedAuthority, load_config, parse_config
from online.config.settings import AuthoritySource, Config, DatabaseSettings
from online.store.protocol import Document
from online.strict_json import Fields, JsonObject, parse_object
from shared import durable
from shared.clock import SystemClock
from shared.errors import ColdrootError, RequestRejected

LONGEST_DOCUMENT = 1 << 20
"""Characters; as for a ca.json."""


class Prefer(StrEnum):
    """Whose authority counts when the file and the database both have one and they differ."""

    FILE = "file"
    DATABASE = "database"


def load_node_config(path: Path) -> Config:
    """Read a node's configuration: its ca.json and, where that says so, the authority in the database.

    Args:
        path: of the ca.json.

    Raises:
        RequestRejected: as ``load_config``, and ``authority.missing``; what is wrong with the document says so.
        Unsupported: ``config.unsupported-*``.
        StoreFailed: ``store.*``.
    """
    config = load_config(path)
    if config.authority is AuthoritySource.FILE:
        return config
    return with_document(config, _newest(config.db))


def with_document(config: Config, document: Document | None) -> Config:
    """Complete what ``load_config`` read.

    Args:
        config: by which the database has the authority.
        document: the newest one.

    Raises:
        RequestRejected: as ``load_node_config``.
        Unsupported: ``config.unsupported-*``.
    """
    return _parsed(durable.read_file(config.path), config.path, _required(document))


def authority_text(path: Path) -> str:
    """Return the text in which a node's provisioners stand: of its ca.json, or of the newest document.

    Raises:
        RequestRejected: ``file.*``, ``config.*`` or ``authority.missing``.
        StoreFailed: ``store.*``.
    """
    config = load_config(path)
    if config.authority is AuthoritySource.FILE:
        return durable.read_text(path)
    return _required(_newest(config.db)).text


def shown(path: Path) -> Document:
    """Return the newest document of the database that a ca.json names.

    Raises:
        RequestRejected: as ``authority_text``.
        StoreFailed: ``store.*``.
    """
    return _required(_newest(load_config(path).db))


def edit_authority(path: Path, change: Callable[[str], str]) -> Config:
    """Change a node's provisioners, wherever they stand.

    1. Where the file has them, the file is edited.
    2. Where the database has them, the next version is made from the newest one and read as the nodes will read it.
    3. It is written, unless somebody else was quicker.

    Args:
        path: of the ca.json.
        change: makes the new text out of the old one; what it raises leaves everything as it is.

    Returns:
        The new configuration.

    Raises:
        RequestRejected: ``file.*``, ``config.*``, ``authority.*``, or what ``change`` raises.
        Unsupported: ``config.unsupported-*``.
        StoreFailed: ``store.*`` or ``file.write-failed``.
    """
    # 1.
    config = load_config(path)
    if config.authority is AuthoritySource.FILE:
        return edit_config(path, change)
    # 2.
    newest = _required(_newest(config.db))
    following = _following(newest, change(newest.text))
    changed = with_document(config, following)
    # 3.
    _add(config.db, following)
    return changed


def replace_document(path: Path, text: str, *, version: int | None) -> Config:
    """Put another document in the place of the newest one.

    Args:
        path: of the ca.json; its database has the authority.
        text: the new one.
        version: from which it was made; whatever there is when not given.

    Raises:
        RequestRejected: ``authority.*``, ``config.*``.
        Unsupported: ``config.unsupported-*``.
        StoreFailed: ``store.*``.
    """
    config = load_config(path)
    if config.authority is AuthoritySource.FILE:
        raise RequestRejected(
            "authority.not-shared", f"the authority of this node is in {path}", hint="edit the file, or share it first"
        )
    newest = _required(_newest(config.db))
    if version is not None and version != newest.version:
        raise RequestRejected(
            "authority.changed",
            f"version {newest.version} is the newest one, not {version}",
            hint="look, and try again",
        )
    following = _following(newest, text)
    changed = with_document(config, following)
    _add(config.db, following)
    return changed


def share(path: Path, *, prefer: Prefer | None) -> Config:
    """Take the authority of a ca.json into the database, and have the file say that it is there.

    1. A database without one gets the file's. One that has the same needs nothing: another node was first.
    2. Where they differ, somebody must say which one counts.
    3. The file lets go of its own, only then.

    Args:
        path: of the ca.json.
        prefer: which one counts when they differ.

    Raises:
        RequestRejected: ``authority.shared`` when the database has it already, ``authority.differs``, or as
            ``edit_authority``.
        StoreFailed: ``store.*`` or ``file.write-failed``; the file is as it was.
    """
    config = load_config(path)
    if config.authority is AuthoritySource.DATABASE:
        raise RequestRejected("authority.shared", f"the authority of {path} is in the database already")
    before, file, block = _read(path)
    ours, kept = _split(block)
    after = _rewritten(file, kept, source=AuthoritySource.DATABASE)
    # 1.
    newest = _newest(config.db)
    chosen = newest
    if newest is None or (prefer is Prefer.FILE and _block(newest.text) != ours):
        chosen = _following(newest, _written({"authority": ours}))
    # 2.
    elif prefer is None and _block(newest.text) != ours:
        raise RequestRejected(
            "authority.differs",
            f"the database has an authority already (version {newest.version}), and the file has another one",
            hint="compare with online authority show; then say --prefer database, or --prefer file to replace it",
        )
    shared = _parsed(after.encode("utf-8"), path, _required(chosen))
    if chosen is not newest and chosen is not None:
        _add(config.db, chosen)
    # 3.
    edit_config(path, _replacing(before, after))
    return shared


def unshare(path: Path) -> Config:
    """Take the newest document of the database into a ca.json. Other nodes, and the database, keep what they have.

    Args:
        path: of the ca.json.

    Raises:
        RequestRejected: ``authority.not-shared``, or as ``edit_authority``.
        StoreFailed: ``store.*`` or ``file.write-failed``; the file is as it was.
    """
    config = load_config(path)
    if config.authority is AuthoritySource.FILE:
        raise RequestRejected("authority.not-shared", f"the authority of {path} is in the file already")
    before, file, block = _read(path)
    theirs = _block(_required(_newest(config.db)).text)
    joined = {**block, **theirs}
    return edit_config(path, _replacing(before, _rewritten(file, joined, source=AuthoritySource.FILE)))


def _read(path: Path) -> tuple[str, JsonObject, JsonObject]:
    """Return a ca.json's text, what it says, and its block ``authority``, empty where there is none."""
    text = durable.read_text(path)
    file = parse_object(text.encode("utf-8"), what="configuration", room="config")
    block = file.get("authority")
    return text, file, block if isinstance(block, dict) else {}


def _newest(settings: DatabaseSettings) -> Document | None:
    # Most commands, and most nodes, need no database for this: what they do not need takes time to load.
    from online.store.documents import newest_document  # noqa: PLC0415

    return newest_document(settings)


def _add(settings: DatabaseSettings, document: Document) -> None:
    from online.store.documents import add_document  # noqa: PLC0415 (as above)

    add_document(settings, document)


def _required(document: Document | None) -> Document:
    if document is None:
        raise RequestRejected(
            "authority.missing",
            "by coldroot.authority the database has the authority, but it has none",
            hint="online authority share takes one there, from a ca.json that has one",
        )
    return document


def _following(document: Document | None, text: str) -> Document:
    if len(text) > LONGEST_DOCUMENT:
        raise RequestRejected("authority.too-large", f"the document is longer than {LONGEST_DOCUMENT} characters")
    by = f"{_account()}@{socket.gethostname()}"
    version = 1 if document is None else document.version + 1
    return Document(version=version, text=text, changed_at=SystemClock().now(), changed_by=by)


def _account() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _parsed(data: bytes, path: Path, document: Document) -> Config:
    # First without: what is wrong with the file must not be said of the document.
    parse_config(data, path=path)
    try:
        shared = SharedAuthority(version=document.version, block=_block(document.text))
        return parse_config(data, path=path, shared=shared)
    except ColdrootError as error:
        said = f"version {document.version} of the authority, in the database: {error.message}"
        raise type(error)(error.code, said, hint=error.hint) from None


def _block(text: str) -> JsonObject:
    document = parse_object(text.encode("utf-8"), what="document", room="config")
    block = Fields(document, path="", known={"authority"}).raw("authority")
    Fields(block, path="authority", known=SHARED_KEYS)
    assert isinstance(block, dict)
    return block


def _split(block: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Return what goes into the database, and what stays."""
    shared = {key: value for key, value in block.items() if key in SHARED_KEYS}
    return shared, {key: value for key, value in block.items() if key not in SHARED_KEYS}


def _rewritten(file: JsonObject, block: JsonObject, *, source: AuthoritySource) -> str:
    present = file.get("coldroot")
    own = {key: value for key, value in (present if isinstance(present, dict) else {}).items() if key != "authority"}
    if source is AuthoritySource.DATABASE:
        own["authority"] = source.value
    document: JsonObject = {**file, "authority": block, "coldroot": own}
    return _written({key: value for key, value in document.items() if value or key not in {"authority", "coldroot"}})


def _written(document: JsonObject) -> str:
    return json.dumps(document, indent="\t", ensure_ascii=False) + "\n"


def _replacing(before: str, after: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        if text != before:
            raise RequestRejected("config.changed", "the file was changed meanwhile", hint="try again")
        return after

    return change
