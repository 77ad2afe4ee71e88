"""JSON that means the same to every reader: strict parsing, and typed access that knows the dotted path.

Invariants:

* text is UTF-8 without a byte order mark; no key occurs twice in one object; numbers are finite; no text has
  half a surrogate pair (it could not be written as UTF-8 again); nesting is bounded. Two parsers that disagree
  about one document are how checks are walked around;
* ``Fields`` refuses keys that nobody reads, so a typing error in a configuration never becomes a default;
* no message shows a value, only where it stands: a value may be a password.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import TypeAlias

from shared.durations import parse_duration
from shared.errors import RequestRejected, Unsupported
from shared.names import printable

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]

DEEPEST = 32
_SURROGATE = re.compile("[\ud800-\udfff]")
_KIND = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}


class _Pairs(list[tuple[str, object]]):
    """An object as the parser met it, before anybody could drop the first of two equal keys."""


class _TwiceError(Exception):
    """Some object has one key twice."""


def parse_json(data: bytes, *, what: str, room: str = "json") -> Json:
    """Parse a JSON text strictly (RFC 8259, with unique names as §4 recommends).

    Args:
        data: the text in UTF-8; its size was capped by the caller.
        what: how to call it in an error.
        room: the first part of the error's code.

    Raises:
        RequestRejected: ``ROOM.malformed`` or ``ROOM.duplicate-key``.
    """
    try:
        # json.loads() given bytes would guess UTF-16 and UTF-32, and given "\ufeff…" would say so much later.
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise RequestRejected(f"{room}.malformed", f"the {what} is not UTF-8 text") from None
    if _is_plain(text):
        try:
            plain: Json = _PLAIN.decode(text)
        except (ValueError, RecursionError, _TwiceError):
            # What is wrong with it, and where, is found out below.
            pass
        else:
            return plain
    return _parse_thoroughly(text, what=what, room=room)


def _is_plain(text: str) -> bool:
    """Tell whether a text, if it is JSON, cannot be nested too deep, nor have text that is not Unicode."""
    # Half a surrogate pair can only come from an escape: as UTF-8 it would not have been decoded.
    return "\\u" not in text and text.count("{") + text.count("[") <= DEEPEST


def _parse_thoroughly(text: str, *, what: str, room: str) -> Json:
    try:
        raw = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise RequestRejected(
            f"{room}.malformed",
            f"the {what} is not JSON: {error.msg.lower()} in line {error.lineno}, column {error.colno}",
        ) from None
    except (ValueError, RecursionError):
        raise RequestRejected(
            f"{room}.malformed", f"the {what} is not strict JSON: a number is out of range, or it is nested too deep"
        ) from None
    return _unique(raw, path="", what=what, room=room, depth=0)


def parse_object(data: bytes, *, what: str, room: str = "json") -> JsonObject:
    """Parse a JSON text that must be an object.

    Raises:
        RequestRejected: as ``parse_json``.
    """
    value = parse_json(data, what=what, room=room)
    if not isinstance(value, dict):
        raise RequestRejected(f"{room}.malformed", f"the {what} is not a JSON object")
    return value


def is_empty(value: Json) -> bool:
    """Tell whether a value says nothing: null, false, 0, an empty text, or a collection of only such values."""
    if isinstance(value, list):
        return all(map(is_empty, value))
    if isinstance(value, dict):
        return all(map(is_empty, value.values()))
    return not value


class Fields:
    """One object of a ca.json: typed access by key, errors with the dotted path.

    Beside the plainer ``shared.strict.Table``, which reads the files that are all ours, this one knows what a
    file of step-ca needs: keys that are refused by name while they say something, and durations in Go's notation.
    ``null`` counts as absent, as it does for Go's decoder, which wrote many of the files that are read here.
    """

    def __init__(
        self,
        value: Json,
        *,
        path: str,
        known: Collection[str],
        unsupported: Mapping[str, str] | None = None,
    ) -> None:
        """Take an object and check its keys.

        Args:
            value: what stands at ``path``.
            path: dotted path of the object, empty for the whole document.
            known: keys that the caller reads.
            unsupported: keys that step-ca knows and the node does not, each with what to do instead. They are
                accepted while they say nothing (``is_empty``), for ``step ca init`` writes some of them so.

        Raises:
            RequestRejected: ``config.wrong-type`` or ``config.unknown-key``.
            Unsupported: ``config.unsupported-key``.
        """
        self.path = path
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        refused = unsupported or {}
        for key, content in value.items():
            if key in known:
                continue
            if key not in refused:
                raise self._unknown(key, {*known, *refused})
            if not is_empty(content):
                raise Unsupported(
                    "config.unsupported-key",
                    f"{self.at(key)} is a step-ca setting that is not supported",
                    hint=refused[key],
                )
        self._values: JsonObject = {key: each for key, each in value.items() if each is not None}

    def at(self, key: str) -> str:
        """Return the dotted path of a key."""
        return f"{self.path}.{printable(key, limit=60)}" if self.path else printable(key, limit=60)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def raw(self, key: str) -> Json:
        """Return a value of any kind; ``None`` when absent."""
        return self._values.get(key)

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return a text; an empty one counts as absent.

        Raises:
            RequestRejected: ``config.wrong-type``, or ``config.missing-key`` when there is no default.
        """
        value = self._values.get(key, "")
        if not isinstance(value, str):
            raise wrong_type(self.at(key), "text", value)
        if value:
            return value
        if default is None:
            raise RequestRejected("config.missing-key", f"{self.at(key)} is missing")
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of non-empty texts; the empty tuple when absent.

        Raises:
            RequestRejected: ``config.wrong-type`` or ``config.malformed``.
        """
        value = self._values.get(key, [])
        if not isinstance(value, list):
            raise wrong_type(self.at(key), "a list of texts", value)
        found = []
        for index, each in enumerate(value):
            if not isinstance(each, str):
                raise wrong_type(f"{self.at(key)}[{index}]", "text", each)
            if not each:
                raise RequestRejected("config.malformed", f"{self.at(key)}[{index}] is empty")
            found.append(each)
        return tuple(found)

    def flag(self, key: str) -> bool | None:
        """Return a boolean; ``None`` when absent.

        Raises:
            RequestRejected: ``config.wrong-type``.
        """
        value = self._values.get(key)
        if value is not None and not isinstance(value, bool):
            raise wrong_type(self.at(key), "true or false", value)
        return value

    def number(self, key: str) -> int | float | None:
        """Return a number; ``None`` when absent.

        Raises:
            RequestRejected: ``config.wrong-type``.
        """
        value = self._values.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise wrong_type(self.at(key), "a number", value)
        return value

    def duration(self, key: str) -> timedelta | None:
        """Return a duration in Go's notation; ``None`` when absent.

        Raises:
            RequestRejected: ``config.wrong-type`` or ``config.malformed``.
        """
        if key not in self._values:
            return None
        value = self._values[key]
        if not isinstance(value, str):
            raise wrong_type(self.at(key), 'a duration such as "24h"', value)
        try:
            return parse_duration(value)
        except RequestRejected as error:
            raise RequestRejected("config.malformed", f"{self.at(key)}: {error.message}", hint=error.hint) from None

    def items(self, key: str) -> Iterator[tuple[str, Json]]:
        """Yield each member of a list with its dotted path; nothing when absent.

        Raises:
            RequestRejected: ``config.wrong-type``.
        """
        value = self._values.get(key, [])
        if not isinstance(value, list):
            raise wrong_type(self.at(key), "a list", value)
        for index, each in enumerate(value):
            yield f"{self.at(key)}[{index}]", each

    def _unknown(self, key: str, candidates: Collection[str]) -> RequestRejected:
        by_lower = {each.lower(): each for each in sorted(candidates)}
        near = difflib.get_close_matches(key.lower(), by_lower, n=1)
        return RequestRejected(
            "config.unknown-key",
            f"{self.at(key)} is not a known setting",
            hint=f"the nearest known one is {by_lower[near[0]]}"
            if near
            else f"known ones are {', '.join(sorted(by_lower.values()))}",
        )


def wrong_type(path: str, wanted: str, value: Json) -> RequestRejected:
    """Make the error for a value of the wrong kind; the value itself is not shown."""
    found = "null" if value is None else _KIND[type(value)]
    return RequestRejected("config.wrong-type", f"{path or 'the document'} must be {wanted}, not {found}")


def _unique(value: object, *, path: str, what: str, room: str, depth: int) -> Json:
    if depth > DEEPEST:
        raise RequestRejected(f"{room}.malformed", f"the {what} is nested more than {DEEPEST} levels deep")
    if isinstance(value, _Pairs):
        result: JsonObject = {}
        for key, each in value:
            here = f"{path}.{printable(key, limit=60)}" if path else printable(key, limit=60)
            if key in result:
                raise RequestRejected(f"{room}.duplicate-key", f"the {what} gives {here} twice")
            _unique(key, path=here, what=what, room=room, depth=depth)
            result[key] = _unique(each, path=here, what=what, room=room, depth=depth + 1)
        return result
    if isinstance(value, list):
        return [
            _unique(each, path=f"{path}[{index}]", what=what, room=room, depth=depth + 1)
            for index, each in enumerate(value)
        ]
    if isinstance(value, str) and _SURROGATE.search(value):
        raise RequestRejected(f"{room}.malformed", f"the {what} has text that is not Unicode")
    assert value is None or isinstance(value, bool | int | float | str)
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError
    return found


# Made once: json.loads() would make one a call.
_PLAIN = json.JSONDecoder(object_pairs_hook=_without_twins, parse_constant=_refuse_constant, parse_float=_finite)
