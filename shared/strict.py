"""Reading a parsed TOML or JSON table strictly: known keys, right types, dotted paths in every complaint.

Invariant: a key that nobody asked for is an error, with the nearest known key, and never ignored in silence.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import TracebackType
from typing import Self, TypeVar

from shared.errors import RequestRejected

_T = TypeVar("_T")
# Near enough for a transposition ("titel"), too far for two known keys of one table ("token_serial", "token_label").
_TYPO = 0.75
_KIND = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}


class Table:
    """One table of a configuration file. Leaving its ``with`` block refuses the keys that were not read."""

    def __init__(self, values: Mapping[str, object], *, where: str = "", code: str) -> None:
        """Wrap a parsed table.

        Args:
            values: what the TOML or JSON parser returned.
            where: the dotted path of the table, empty for the top.
            code: first part of the error codes, for example ``plan``.
        """
        self._values = values
        self._where = where
        self._code = code
        self._known: list[str] = []

    def path(self, key: str) -> str:
        """Return the dotted path of a key of this table."""
        return f"{self._where}.{key}" if self._where else key

    def refuse(self, key: str, why: str, *, hint: str | None = None) -> RequestRejected:
        """Make the error for a value that its own type cannot judge: ``path: why``."""
        return RequestRejected(f"{self._code}.invalid", f"{self.path(key)}: {why}", hint=hint)

    def required(self, key: str, kind: type[_T]) -> _T:
        """Return a value that must be there.

        Raises:
            RequestRejected: ``<code>.missing-key``, ``<code>.unknown-key`` when it stands there misspelt, or
                ``<code>.wrong-type``.
        """
        found = self.optional(key, kind)
        if found is None:
            unread = [each for each in self._values if each not in self._known]
            for typo in difflib.get_close_matches(key, unread, n=1, cutoff=_TYPO):
                raise self._unknown(typo, f"did you mean {self.path(key)}?")
            raise RequestRejected(f"{self._code}.missing-key", f"{self.path(key)} is missing")
        return found

    def optional(self, key: str, kind: type[_T]) -> _T | None:
        """Return a value, or ``None`` when the key is absent.

        Raises:
            RequestRejected: ``<code>.wrong-type``; a boolean is not a number here.
        """
        self._known.append(key)
        if key not in self._values:
            return None
        value = self._values[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise RequestRejected(
                f"{self._code}.wrong-type", f"{self.path(key)} must be {_KIND.get(kind, kind.__name__)}"
            )
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts that must be there.

        Raises:
            RequestRejected: ``<code>.missing-key`` or ``<code>.wrong-type``, with the element's number.
        """
        found: list[object] = self.required(key, list)
        for number, value in enumerate(found):
            if not isinstance(value, str):
                raise RequestRejected(f"{self._code}.wrong-type", f"{self.path(key)}[{number}] must be text")
        return tuple(str(value) for value in found)

    def table(self, key: str) -> Table:
        """Return a nested table that must be there."""
        found: dict[str, object] = self.required(key, dict)
        return Table(found, where=self.path(key), code=self._code)

    def tables(self, key: str) -> tuple[Table, ...]:
        """Return a list of nested tables, empty when the key is absent."""
        found: list[object] = self.optional(key, list) or []
        nested = []
        for number, value in enumerate(found):
            where = f"{self.path(key)}[{number}]"
            if not isinstance(value, dict):
                raise RequestRejected(f"{self._code}.wrong-type", f"{where} must be a table")
            nested.append(Table(value, where=where, code=self._code))
        return tuple(nested)

    def done(self) -> None:
        """Refuse the keys that were not read.

        Raises:
            RequestRejected: ``<code>.unknown-key`` with the dotted path and the nearest known key.
        """
        for key in self._values:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, n=1)
                known = f"known keys: {', '.join(self._known)}"
                raise self._unknown(key, f"did you mean {self.path(near[0])}?" if near else known)

    def _unknown(self, key: str, hint: str) -> RequestRejected:
        return RequestRejected(f"{self._code}.unknown-key", f"{self.path(key)} is not a known key", hint=hint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.done()
