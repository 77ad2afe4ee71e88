"""A process that ends where a test says so, as by a power cut: nothing more of the ceremony's record is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from ceremony.transcript import Json, Record, Transcript


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_before(is_last: Callable[[Transcript], bool]) -> Iterator[None]:
    """Have the process end when it wants to write a record, and something is true of those that are written.

    Args:
        is_last: asked before each record.
    """
    append = Transcript.append

    def watched(self: Transcript, kind: str, body: Mapping[str, Json]) -> Record:
        if is_last(self):
            raise Killed
        return append(self, kind, body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transcript, "append", watched)
        yield


def killed_after(records: int, act: Callable[[], object]) -> bool:
    """Run an act that is killed when it wants to write the record after so many; tell whether it came to that."""
    left = records

    def none_left(_transcript: Transcript) -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with killed_before(none_left):
        try:
            act()
        except Killed:
            return True
    return False
