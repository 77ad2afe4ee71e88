"""Bundles: what crosses the air gap, as one canonical text.

A bundle is a JSON object with sorted keys, without white space, in ASCII, ended by one newline. It names its
purpose, itself, the bundle it answers, and holds its members in base64 beside a manifest of their sizes and
SHA-256 digests. ``checksum`` is the SHA-256 of the same text without that key: it makes every damaged byte
visible, those outside the members too.

Invariants:

* one bundle has exactly one text: ``decode_bundle`` refuses whatever ``encode`` would write differently, so
  its digest stands for all of it;
* a ``Bundle`` in hand has the members that its purpose wants, no others, none empty, none oversized;
* no digest in here proves who made the bundle. People do that, by comparing ``digest`` in words.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import cast

from shared.errors import RequestRejected

# An ML-DSA-87 certificate, the largest object foreseen, has about 8 kB.
LARGEST_MEMBER_BYTES = 16 << 10
LARGEST_BUNDLE_BYTES = 48 << 10
FORMAT = "coldroot-bundle-1"

REQUEST = "request.csr"
INTERMEDIATE = "intermediate.crt"
ROOT = "root.crt"

_IDENTIFIER = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HINT_DAMAGED = "copy the file again, or read the images again; if it stays, have the bundle made anew"
_HINT_FILES = "give the .bundle file as it was written, or the images of all its QR codes"
_HINT_VERSIONS = "node and ceremony must have versions of coldroot that know each other's bundles"


class Purpose(StrEnum):
    """Why a bundle crosses the gap."""

    INTERMEDIATE_REQUEST = "intermediate-request"
    INTERMEDIATE_REPLY = "intermediate-reply"


_MEMBERS: Mapping[Purpose, frozenset[str]] = {
    Purpose.INTERMEDIATE_REQUEST: frozenset({REQUEST}),
    Purpose.INTERMEDIATE_REPLY: frozenset({INTERMEDIATE, ROOT}),
}
_DESTINATIONS: Mapping[Purpose, str] = {
    Purpose.INTERMEDIATE_REQUEST: "a request goes from online init to ceremony intermediate sign, which answers it",
    Purpose.INTERMEDIATE_REPLY: "a reply goes from ceremony intermediate sign to online import on the node",
}
_ANSWERS: frozenset[Purpose] = frozenset({Purpose.INTERMEDIATE_REPLY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What crosses the gap.

    Attributes:
        purpose: why it crosses; decides which members it has.
        identifier: 32 hexadecimal digits, drawn at random by the maker.
        in_reply_to: SHA-256 of the encoded bundle that this one answers, in hexadecimal; None for a request.
        members: contents by name, DER throughout: ``request.csr`` (PKCS#10) in a request; ``intermediate.crt`` and
            ``root.crt`` (X.509) in a reply.
    """

    purpose: Purpose
    identifier: str
    in_reply_to: str | None = None
    members: Mapping[str, bytes]

    def __post_init__(self) -> None:
        if not _IDENTIFIER.fullmatch(self.identifier):
            raise RequestRejected("bundle.malformed", "the bundle's identifier is not 32 hexadecimal digits")
        if (self.in_reply_to is not None) != (self.purpose in _ANSWERS):
            raise RequestRejected("bundle.malformed", "a reply says which request it answers, a request does not")
        if self.in_reply_to is not None and not _DIGEST.fullmatch(self.in_reply_to):
            raise RequestRejected("bundle.malformed", "the bundle's in_reply_to is not a SHA-256 digest")
        wanted = _MEMBERS[self.purpose]
        if self.members.keys() != wanted:
            raise RequestRejected(
                "bundle.members",
                f"a bundle of the purpose {self.purpose} holds {' and '.join(sorted(wanted))}, no more",
            )
        for name, content in self.members.items():
            if not 0 < len(content) <= LARGEST_MEMBER_BYTES:
                raise RequestRejected("bundle.too-large", f"{name} has not 1 to {LARGEST_MEMBER_BYTES} bytes")
        # A copy behind a read-only view: the caller's dict may change later.
        object.__setattr__(self, "members", MappingProxyType(dict(self.members)))

    def encode(self) -> bytes:
        """Write the bundle's one text."""
        body = self._body()
        return _canonical({**body, "checksum": _checksum(body)})

    def _body(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "identifier": self.identifier,
            "in_reply_to": self.in_reply_to,
            "manifest": {name: _entry(content) for name, content in self.members.items()},
            "members": {name: base64.b64encode(content).decode("ascii") for name, content in self.members.items()},
            "purpose": self.purpose.value,
        }


def decode_bundle(data: bytes, *, purpose: Purpose | None = None) -> Bundle:
    """Read a bundle, strictly.

    Args:
        data: the whole text.
        purpose: the only purpose accepted; any when None.

    Raises:
        RequestRejected: ``bundle.too-large``, ``bundle.malformed``, ``bundle.members``, ``bundle.digest-mismatch``,
            ``bundle.damaged``, ``bundle.not-canonical`` or ``bundle.wrong-purpose``.
    """
    # 1. Size, before anything is parsed.
    if len(data) > LARGEST_BUNDLE_BYTES:
        raise RequestRejected(
            "bundle.too-large", f"the bundle is larger than {LARGEST_BUNDLE_BYTES} bytes", hint=_HINT_FILES
        )
    # 2. Shape: the keys and types that the format has, nothing else.
    body = _parse(data)
    found = _purpose(_text(body, "purpose"))
    if purpose is not None and found is not purpose:
        raise RequestRejected(
            "bundle.wrong-purpose", f"the bundle is an {found}, an {purpose} is wanted", hint=_DESTINATIONS[found]
        )
    contents = {name: _base64(name, text) for name, text in _object(body, "members").items()}
    # 3. The manifest fits the members. (Step 5 would find it too, but could not say which member is damaged.)
    _check_manifest(_object(body, "manifest"), contents)
    # 4. Values: the type's own checks.
    answered = body["in_reply_to"]
    try:
        bundle = Bundle(
            purpose=found,
            identifier=_text(body, "identifier"),
            in_reply_to=None if answered is None else _text(body, "in_reply_to"),
            members=contents,
        )
    except RequestRejected as error:
        raise RequestRejected(error.code, error.message, hint=_HINT_DAMAGED) from None
    # 5. The text is the one that these values have. Only now can no byte of it be anything else.
    if _text(body, "checksum") != _checksum(bundle._body()):  # noqa: SLF001 - this is the type's own parser
        raise RequestRejected("bundle.damaged", "the bundle's checksum does not fit its content", hint=_HINT_DAMAGED)
    if bundle.encode() != data:
        raise RequestRejected(
            "bundle.not-canonical", "the bundle is not in its canonical form", hint="pass the file on as it was written"
        )
    return bundle


def digest(data: bytes) -> bytes:
    """Compute the digest that people compare and that a reply refers to: SHA-256 of the encoded bundle."""
    return hashlib.sha256(data).digest()


_KEYS = frozenset({"checksum", "format", "identifier", "in_reply_to", "manifest", "members", "purpose"})


def _parse(data: bytes) -> dict[str, object]:
    try:
        # Deep nesting ends in RecursionError; every other malformation, bad UTF-8 too, is a ValueError.
        body = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError):
        raise RequestRejected(
            "bundle.malformed", "this is not a bundle: not one JSON text in ASCII", hint=_HINT_FILES
        ) from None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise RequestRejected("bundle.malformed", f"this is not a bundle of the format {FORMAT}", hint=_HINT_FILES)
    unknown, missing = body.keys() - _KEYS, _KEYS - body.keys()
    if unknown:
        raise RequestRejected(
            "bundle.malformed", "the bundle has a key that the format does not know", hint=_HINT_VERSIONS
        )
    if missing:
        raise RequestRejected("bundle.malformed", f"the bundle lacks {', '.join(sorted(missing))}", hint=_HINT_DAMAGED)
    return body


def _purpose(text: str) -> Purpose:
    try:
        return Purpose(text)
    except ValueError:
        raise RequestRejected(
            "bundle.wrong-purpose", "the bundle's purpose is unknown to this version", hint=_HINT_VERSIONS
        ) from None


def _check_manifest(manifest: Mapping[str, object], contents: Mapping[str, bytes]) -> None:
    if manifest.keys() != contents.keys():
        raise RequestRejected(
            "bundle.members", "the bundle's manifest does not list exactly its members", hint=_HINT_DAMAGED
        )
    for name, content in contents.items():
        # Compared as a whole: an entry with another key or another type is as wrong as one with another digest.
        if manifest[name] != _entry(content):
            raise RequestRejected(
                "bundle.digest-mismatch",
                f"{_shown(name)} does not have the size and digest in the bundle's manifest",
                hint=_HINT_DAMAGED,
            )


def _base64(name: str, text: object) -> bytes:
    malformed = RequestRejected("bundle.malformed", f"{_shown(name)} is not base64", hint=_HINT_DAMAGED)
    if not isinstance(text, str):
        raise malformed
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise malformed from None


def _text(body: Mapping[str, object], key: str) -> str:
    value = body[key]
    if not isinstance(value, str):
        raise RequestRejected("bundle.malformed", f"the bundle's {key} is not a text", hint=_HINT_DAMAGED)
    return value


def _object(body: Mapping[str, object], key: str) -> dict[str, object]:
    value = body[key]
    if not isinstance(value, dict):
        raise RequestRejected("bundle.malformed", f"the bundle's {key} is not an object", hint=_HINT_DAMAGED)
    return cast("dict[str, object]", value)


def _shown(name: str) -> str:
    # A name out of the bundle may be anything; only those of the format are repeated.
    known = frozenset().union(*_MEMBERS.values())
    return name if name in known else "a member of an unknown name"


def _entry(content: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _checksum(body: Mapping[str, object]) -> str:
    return hashlib.sha256(_canonical(body)).hexdigest()


def _canonical(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii") + b"\n"
