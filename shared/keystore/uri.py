"""Where a private key is: a path, ``file:…`` (RFC 8089) or ``pkcs11:…`` (RFC 7512), read strictly.

Invariants:

* a URI in hand names one key: a ``pkcs11:`` URI has a module, and a label or an id of the key;
* what this reader does not understand is refused and never ignored: a selector that were dropped could
  select another key;
* no PIN stands in a URI (``pin-value`` is refused): URIs are written into configurations and command lines.

Nothing on the disk is looked at here, but for the search of a module that is given by name.
"""

from __future__ import annotations

import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from shared.errors import NotFound, RequestRejected, Unsupported

LONGEST_URI = 4096
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{1,30}):", re.ASCII)
_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")
_MODULE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)
_SELECTORS = ("token", "serial", "manufacturer", "model", "object", "id", "type")
# RFC 7512 §2.4 has these four behind the question mark; step's own URIs often have them before it.
_ACCESS = ("module-path", "module-name", "pin-source", "pin-value")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUri:
    """A key in a PEM file."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Uri:
    """A key inside a PKCS#11 token. ``None`` selects nothing: whatever the token has there will match."""

    module_path: Path | None
    module_name: str | None
    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    label: str | None = None
    """CKA_LABEL of the key, ``object`` in the URI."""
    key_id: bytes | None = None
    """CKA_ID of the key, ``id`` in the URI."""
    pin_file: Path | None = None

    def module(self) -> Path:
        """Return the path of the PKCS#11 module, searching for it when only its name is given.

        Raises:
            NotFound: ``hsm.module-missing``.
        """
        if self.module_path is not None:
            return self.module_path
        assert self.module_name is not None
        return find_module(self.module_name)


KeyUri = FileUri | Pkcs11Uri


def is_pkcs11(text: str) -> bool:
    """Tell whether a key is named by a ``pkcs11:`` URI, and so lives in an HSM, without reading the rest."""
    return text[:7].lower() == "pkcs11:"


def parse_key_uri(text: str, *, base: Path = Path()) -> KeyUri:
    """Read the place of a key.

    Args:
        text: a path, ``file:PATH`` or ``pkcs11:…``. A path with a colon near its begin is written ``./a:b``.
        base: what a relative path is relative to.

    Raises:
        RequestRejected: ``key-uri.*``.
        Unsupported: ``key-uri.scheme`` or ``key-uri.attribute``.
    """
    if not text or len(text) > LONGEST_URI or not text.isprintable():
        raise RequestRejected(
            "key-uri.malformed", f"a key is named by 1 to {LONGEST_URI} printable characters, a path or a URI"
        )
    if is_pkcs11(text):
        return _pkcs11(text[7:], base)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return FileUri(path=base / text)
    if scheme[1] != "file":
        raise Unsupported(
            "key-uri.scheme",
            f"keys of the kind {scheme[1]}: are not supported",
            hint="a path, file:PATH or pkcs11:… is; write ./NAME for a file with a colon in its name",
        )
    return FileUri(path=base / _file_path(text[5:]))


def find_module(name: str) -> Path:
    """Search the usual directories for a PKCS#11 module.

    Args:
        name: the module's file name without ``lib`` and ``.so``, for example ``softhsm2`` (RFC 7512 §2.4).

    Raises:
        RequestRejected: ``key-uri.module-name``.
        NotFound: ``hsm.module-missing``.
    """
    if not _MODULE_NAME.fullmatch(name):
        raise RequestRejected("key-uri.module-name", "a module's name is its file name without lib and .so")
    triplet = str(sysconfig.get_config_var("MULTIARCH") or "")
    libraries = [Path("/usr/lib") / triplet, Path("/usr/lib64"), Path("/usr/local/lib"), Path("/usr/lib")]
    for library in libraries:
        for directory in (library / "softhsm", library / "pkcs11", library):
            for file in (f"lib{name}.so", f"{name}.so"):
                if (directory / file).is_file():
                    return directory / file
    raise NotFound(
        "hsm.module-missing",
        f"no PKCS#11 module named {name} is installed",
        hint="install it (Debian: apt install softhsm2 for softhsm2), or give module-path",
    )


def _file_path(rest: str) -> str:
    # RFC 8089 §2: file:/path, file:///path or file://localhost/path; file:path is our relative form.
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in {"", "localhost"} or not slash:
            raise RequestRejected("key-uri.file", "a file: URI names a file of this machine: file:/absolute/path")
        rest = "/" + path
    path = _text(rest, "file")
    if not path:
        raise RequestRejected("key-uri.file", "the file: URI names no file")
    return path


def _pkcs11(rest: str, base: Path) -> Pkcs11Uri:
    selectors, _, access = rest.partition("?")
    found: dict[str, str] = {}
    _collect(found, selectors.split(";"), (*_SELECTORS, *_ACCESS))
    _collect(found, access.split("&"), _ACCESS)
    if "pin-value" in found:
        raise RequestRejected(
            "key-uri.pin-value",
            "a PIN must not stand in a URI",
            hint="leave it out and be asked, or use pin-source=file:PATH with a private file",
        )
    if found.get("type", "private") != "private":
        raise RequestRejected("key-uri.type", "type= can only be private here")
    if "object" not in found and "id" not in found:
        raise RequestRejected("key-uri.no-key", "the URI names no key", hint="add object=LABEL or id=%01%02…")
    texts = {key: _text(value, key) for key, value in found.items() if key != "id"}
    path, name = texts.get("module-path"), texts.get("module-name")
    if path is None and name is None:
        raise RequestRejected(
            "key-uri.no-module", "the URI names no PKCS#11 module", hint="add ?module-path=/absolute/path/module.so"
        )
    if path is not None and not path.startswith("/"):
        # A relative name would be searched where the loader likes, LD_LIBRARY_PATH included.
        raise RequestRejected("key-uri.module-path", "module-path must be an absolute path")
    return Pkcs11Uri(
        module_path=None if path is None else Path(path),
        module_name=name,
        token=texts.get("token"),
        serial=texts.get("serial"),
        manufacturer=texts.get("manufacturer"),
        model=texts.get("model"),
        label=texts.get("object"),
        key_id=_bytes(found["id"], "id") if "id" in found else None,
        pin_file=_pin_file(texts["pin-source"], base) if "pin-source" in texts else None,
    )


def _collect(found: dict[str, str], pieces: list[str], known: tuple[str, ...]) -> None:
    for piece in pieces:
        if not piece:
            continue
        key, equals, value = piece.partition("=")
        # The value is never repeated in an error: it might be a PIN under a mistyped name.
        if not equals or not value:
            raise RequestRejected("key-uri.malformed", "the pkcs11: URI has an attribute without a value")
        if key not in known:
            named = key if re.fullmatch(r"[a-z][a-z-]{0,30}", key) else "with a strange name"
            raise Unsupported(
                "key-uri.attribute",
                f"the pkcs11: URI attribute {named} is not supported here",
                hint="token or serial, object or id, module-path, pin-source are; slots move, name the serial",
            )
        if key in found:
            raise RequestRejected("key-uri.malformed", f"the pkcs11: URI has {key} twice")
        found[key] = value


def _pin_file(source: str, base: Path) -> Path:
    if source.startswith("|"):
        raise Unsupported("key-uri.pin-source", "pin-source cannot be a program", hint="pin-source=file:PATH")
    scheme = _SCHEME.match(source)
    if scheme is None:
        return base / source
    if scheme[1] != "file":
        raise Unsupported("key-uri.pin-source", "pin-source can only be a file", hint="pin-source=file:PATH")
    return base / _file_path(source[5:])


def _bytes(value: str, key: str) -> bytes:
    raw = value.encode("utf-8")
    if raw.count(b"%") != len(_ESCAPE.findall(raw)):
        raise RequestRejected("key-uri.malformed", f"{key} has a broken % escape")
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), raw)


def _text(value: str, key: str) -> str:
    try:
        text = _bytes(value, key).decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable():
        raise RequestRejected("key-uri.malformed", f"{key} is not printable UTF-8 text")
    return text
