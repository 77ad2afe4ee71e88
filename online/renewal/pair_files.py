"""Pairs in small TOML files, one a file: what an agent that keeps many certificates is told about each.

Invariants: a key that nobody reads is an error, with the nearest known one; a file, or its directory, that others may
write is refused, for it says which commands run; no two files name the same certificate.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from online.renewal.hooks import DEFAULT_SIGNAL, DEFAULT_TIMEOUT, Hooks, parse_signal, shell_command
from online.renewal.outputs import Outputs
from online.renewal.pair import Pair
from shared import durable
from shared.durations import parse_duration
from shared.errors import ColdrootError, RequestRejected
from shared.strict import Table

_MOST = 1000
_LARGEST = 64 << 10
_CODE = "pair"
_Parsed = TypeVar("_Parsed")


def load_pairs(directory: Path, *, refused: Callable[[ColdrootError], None] | None = None) -> tuple[Pair, ...]:
    """Read every ``NAME.toml`` of a directory, in the order of their names.

    Args:
        directory: hidden files and files with other endings in it are passed over.
        refused: is told of each file that cannot be used, and the others are returned; without it, that is an error.

    Raises:
        RequestRejected: ``pair.*``, ``file.*``, or what a setting's own type refuses; the message begins with the file.
    """
    try:
        _check_owner(directory)
        files = sorted(each for each in directory.iterdir() if each.suffix == ".toml" and each.name[0] != ".")
    except OSError as error:
        raise RequestRejected("pair.directory", f"{directory} cannot be read: {error.strerror}") from None
    if not files:
        raise RequestRejected("pair.none", f"{directory} holds no .toml file", hint="write one for each certificate")
    if len(files) > _MOST:
        raise RequestRejected("pair.too-many", f"{directory} holds more than {_MOST} files")
    pairs: dict[Path, Pair] = {}
    for each in files:
        try:
            pair = _load(each)
            other = pairs.setdefault(pair.certificate, pair).name
            if other != pair.name:
                raise RequestRejected("pair.twice", f"{pair.name}.toml and {other}.toml name the same certificate")
        except ColdrootError as error:
            if refused is None:
                raise
            refused(error)
    if not pairs:
        raise RequestRejected("pair.none", f"no .toml file in {directory} can be used")
    return tuple(pairs.values())


def parse_pair(text: str, *, name: str, base: Path) -> Pair:
    """Read one file's content.

    Args:
        text: TOML.
        name: of the pair.
        base: what relative paths are relative to.

    Raises:
        RequestRejected: ``pair.*``, or what a setting's own type refuses.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestRejected("pair.toml", f"not TOML: {error}") from None
    with Table(values, code=_CODE) as table:
        key = table.required("key", str)
        return Pair(
            name=name,
            certificate=base / table.required("certificate", str),
            key=key if key.lower().startswith(("pkcs11:", "file:")) else str(base / key),
            password_file=_path(table, "password_file", base),
            expires_in=table.optional("expires_in", str),
            period=_read(table, "renew_period", parse_duration),
            mtls=_flag(table, "mtls", default=True),
            rekey=_flag(table, "rekey", default=False),
            ca_url=table.optional("ca_url", str),
            root=_path(table, "root", base),
            outputs=Outputs(
                combined=_path(table, "combined", base),
                pkcs12=_path(table, "p12", base),
                pkcs12_password_file=_path(table, "p12_password_file", base),
            ),
            hooks=_hooks(table, base),
        )


def _load(path: Path) -> Pair:
    try:
        _check_owner(path)
        return parse_pair(durable.read_text(path, limit=_LARGEST), name=path.stem, base=path.parent.absolute())
    except OSError as error:
        # It went away meanwhile, or is a link that leads nowhere.
        raise RequestRejected("file.unreadable", f"{path} cannot be read: {error.strerror}") from None
    except ColdrootError as error:
        raise RequestRejected(error.code, f"{path}: {error.message}", hint=error.hint) from None


def _hooks(table: Table, base: Path) -> Hooks:
    retries = table.optional("exec_retries", int)
    return Hooks(
        commands=(*_commands(table), *(shell_command(each) for each in _texts(table, "exec_shell"))),
        pid_file=_path(table, "pid_file", base),
        signal=_read(table, "signal", parse_signal) or DEFAULT_SIGNAL,
        timeout=_read(table, "exec_timeout", parse_duration) or DEFAULT_TIMEOUT,
        retries=0 if retries is None else retries,
    )


def _commands(table: Table) -> tuple[tuple[str, ...], ...]:
    """Read ``exec``: one command as a list of words, or a list of such lists."""
    found: list[object] = table.optional("exec", list) or []
    lists: list[object] = found if all(isinstance(each, list) for each in found) else [found]
    commands = []
    for each in lists:
        words = each if isinstance(each, list) else []
        if not words or not all(isinstance(word, str) and "\0" not in word for word in words):
            raise table.refuse("exec", "must be a list of words, or a list of such lists")
        commands.append(tuple(str(word) for word in words))
    return tuple(commands)


def _texts(table: Table, key: str) -> tuple[str, ...]:
    found: list[object] = table.optional(key, list) or []
    if not all(isinstance(each, str) for each in found):
        raise table.refuse(key, "must be a list of texts")
    return tuple(str(each) for each in found)


def _path(table: Table, key: str, base: Path) -> Path | None:
    text = table.optional(key, str)
    return None if text is None else base / text


def _flag(table: Table, key: str, *, default: bool) -> bool:
    found = table.optional(key, bool)
    return default if found is None else found


def _read(table: Table, key: str, parse: Callable[[str], _Parsed]) -> _Parsed | None:
    text = table.optional(key, str)
    if text is None:
        return None
    try:
        return parse(text)
    except RequestRejected as error:
        raise table.refuse(key, error.message, hint=error.hint) from None


def _check_owner(path: Path) -> None:
    status = path.stat()
    if status.st_mode & 0o022 or status.st_uid not in {0, os.geteuid()}:
        raise RequestRejected(
            "pair.exposed",
            f"{path} may be written by others, and what stands there is run",
            hint=f"chmod go-w {path}, and give it to root or to the agent's user",
        )
