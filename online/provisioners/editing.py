"""Edits of the provisioners in a ca.json: the text of the file in, the new text out. Pure.

Only the provisioner in question changes. The rest of the file stays as its owner wrote it, byte for byte: order of
keys, white space, numbers, the other provisioners. So a review of the change shows the change.

Invariants: the text is strict JSON before (``online.strict_json``) and after; a new entry is written with the file's
own indentation; an entry is found by its name, which is unique.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from online.strict_json import Json, JsonObject, parse_object
from shared.errors import NotFound, RequestRejected
from shared.names import printable

_SPACE = re.compile(r"[ \t\r\n]*", re.ASCII)
_INDENT = re.compile(r"\n([ \t]+)\S", re.ASCII)
_DECODER = json.JSONDecoder()
_DEFAULT_INDENT = "\t"


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a value stands in the text."""

    start: int
    end: int


def provisioner_entries(text: str) -> tuple[JsonObject, ...]:
    """Return the provisioners of a ca.json as they stand in it.

    Raises:
        RequestRejected: ``config.*`` when it is not strict JSON, or not of the right shape.
    """
    return tuple(entry for _, entry in _entries(text))


def add_provisioner(text: str, entry: JsonObject) -> str:
    """Put a provisioner behind the others.

    Args:
        text: of the ca.json.
        entry: the new one; its name is new.

    Raises:
        RequestRejected: ``provisioner.exists``, or ``config.*``.
    """
    known = _entries(text)
    if any(each.get("name") == entry["name"] for _, each in known):
        raise RequestRejected(
            "provisioner.exists",
            f"the configuration has a provisioner {printable(str(entry['name']))} already",
            hint="choose another name, or change it with online provisioner update",
        )
    if known:
        last = known[-1][0]
        # The new one stands as the last one does: on a line of its own, or behind it.
        lead = _lead(text, last.start)
        return f"{text[: last.end]},{lead}{_rendered(entry, text, _level(lead))}{text[last.end :]}"
    listing = _listing(text)
    if listing is not None:
        return (
            f"{text[: listing.start]}{_rendered([entry], text, _line_indent(text, listing.start))}{text[listing.end :]}"
        )
    return _with_listing(text, entry)


def replace_provisioner(text: str, name: str, entry: JsonObject) -> str:
    """Put another entry in the place of a provisioner.

    Args:
        text: of the ca.json.
        name: of the present one.
        entry: the new one.

    Raises:
        NotFound: ``provisioner.unknown``.
        RequestRejected: ``provisioner.exists`` when the new name is another one's, or ``config.*``.
    """
    span = _find(text, name)
    if entry["name"] != name and any(each.get("name") == entry["name"] for _, each in _entries(text)):
        raise RequestRejected(
            "provisioner.exists", f"the configuration has a provisioner {printable(str(entry['name']))} already"
        )
    return f"{text[: span.start]}{_rendered(entry, text, _line_indent(text, span.start))}{text[span.end :]}"


def remove_provisioner(text: str, name: str) -> str:
    """Take a provisioner out.

    Raises:
        NotFound: ``provisioner.unknown``.
        RequestRejected: ``config.*``.
    """
    span = _find(text, name)
    spans = [each for each, _ in _entries(text)]
    index = spans.index(span)
    if len(spans) == 1:
        listing = _listing(text)
        assert listing is not None
        return f"{text[: listing.start]}[]{text[listing.end :]}"
    if index == 0:
        # Up to the next one, so that what stands before the first stays.
        return text[: span.start] + text[spans[1].start :]
    return text[: spans[index - 1].end] + text[span.end :]


def _find(text: str, name: str) -> _Span:
    for span, entry in _entries(text):
        if entry.get("name") == name:
            return span
    raise unknown_provisioner(text, name)


def unknown_provisioner(text: str, name: str) -> NotFound:
    """Return the error for a name that no provisioner has; its hint lists those that there are.

    Args:
        text: of the ca.json.
        name: the one that was asked for.
    """
    listed = ", ".join(printable(str(each.get("name"))) for _, each in _entries(text)) or "none"
    return NotFound(
        "provisioner.unknown", f"the configuration has no provisioner {printable(name)}", hint=f"it has: {listed}"
    )


def _entries(text: str) -> list[tuple[_Span, JsonObject]]:
    listing = _listing(text)
    if listing is None:
        return []
    found: list[tuple[_Span, JsonObject]] = []
    for span in _elements(text, listing.start):
        value: Json = json.loads(text[span.start : span.end])
        if not isinstance(value, dict):
            raise RequestRejected("config.wrong-type", f"authority.provisioners[{len(found)}] must be an object")
        found.append((span, value))
    return found


def _listing(text: str) -> _Span | None:
    """Return where the list of provisioners stands; ``None`` when there is none, or it is null."""
    document = parse_object(text.encode("utf-8"), what="configuration", room="config")
    authority = document.get("authority")
    if authority is None:
        return None
    if not isinstance(authority, dict):
        raise RequestRejected("config.wrong-type", "authority must be an object")
    listing = authority.get("provisioners")
    if listing is None:
        return None
    if not isinstance(listing, list):
        raise RequestRejected("config.wrong-type", "authority.provisioners must be a list")
    return _members(text, _members(text, _skip(text, 0))["authority"].start)["provisioners"]


def _with_listing(text: str, entry: JsonObject) -> str:
    """Add the list itself, and ``authority`` around it, to a file that has none yet."""
    step = _indent(text)
    top = _members(text, _skip(text, 0))
    authority = top.get("authority")
    if authority is not None and text[authority.start] == "{":
        inner = _members(text, authority.start)
        if "provisioners" in inner:
            span = inner["provisioners"]
            return f"{text[: span.start]}{_rendered([entry], text, step)}{text[span.end :]}"
        value = _rendered([entry], text, step * 2)
        return _with_member(text, authority, inner, f'"provisioners": {value}', depth=step * 2)
    value = _rendered({"provisioners": [entry]}, text, step)
    if authority is not None:
        return f"{text[: authority.start]}{value}{text[authority.end :]}"
    start = _skip(text, 0)
    return _with_member(text, _Span(start, _end(text, start)), top, f'"authority": {value}', depth=step)


def _with_member(text: str, around: _Span, members: dict[str, _Span], written: str, *, depth: str) -> str:
    """Add a member at the end of an object."""
    lead, close = (f"\n{depth}", f"\n{depth[: -len(_indent(text))]}") if _is_indented(text) else ("", "")
    if members:
        last = max(each.end for each in members.values())
        return f"{text[:last]},{lead or ' '}{written}{text[last:]}"
    return f"{text[: around.start]}{{{lead}{written}{close}}}{text[around.end :]}"


def _is_indented(text: str) -> bool:
    return "\n" in text.strip()


def _members(text: str, start: int) -> dict[str, _Span]:
    """Return where the values of an object stand; the text was parsed before, so it is sound."""
    found: dict[str, _Span] = {}
    position = _skip(text, start + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
        end = _end(text, position)
        found[key] = _Span(position, end)
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return found


def _elements(text: str, start: int) -> list[_Span]:
    """Return where the members of a list stand."""
    found: list[_Span] = []
    position = _skip(text, start + 1)
    while text[position] != "]":
        end = _end(text, position)
        found.append(_Span(position, end))
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return found


def _end(text: str, start: int) -> int:
    return int(_DECODER.raw_decode(text, start)[1])


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match is not None else position


def _indent(text: str) -> str:
    """Return one level of the file's indentation: that of its first indented line."""
    match = _INDENT.search(text)
    return match[1] if match is not None else _DEFAULT_INDENT


def _line_indent(text: str, position: int) -> str:
    """Return the white space that the line of a position begins with."""
    begin = text.rfind("\n", 0, position) + 1
    match = re.compile(r"[ \t]*", re.ASCII).match(text, begin)
    return match[0] if match is not None else ""


def _lead(text: str, position: int) -> str:
    """Return the white space directly before a position."""
    begin = len(text[:position].rstrip(" \t\r\n"))
    return text[begin:position]


def _level(lead: str) -> str:
    return lead.rpartition("\n")[2]


def _rendered(value: Json, text: str, depth: str) -> str:
    """Write a value with the file's indentation, its first line to stand where it is put."""
    if not _is_indented(text):
        return json.dumps(value, ensure_ascii=False)
    written = json.dumps(value, indent=_indent(text), ensure_ascii=False)
    return written.replace("\n", f"\n{depth}")
