"""Where the workers put their numbers up, for each of them to read: pages of memory that survive who writes them.

The parent makes the pages before it forks. No file is involved, so nothing is left behind and no directory need be
writable, and a worker that is killed takes no count with it that is older than a second.

Invariants:

* a page has one writer at a time. The parent says who: it gives a page away before it forks, and takes it back when
  that child is gone;
* a reader sees a whole tally: a page has two halves, the writer fills the one that is not shown and then shows it,
  and a checksum tells a reader that was overtaken to look again;
* the next owner of a page begins with what the last one counted.
"""

from __future__ import annotations

import mmap
import struct
import zlib

from online.metrics.meter import Tally

_HALF = 1 << 19
# Of the page: which half is shown (1 or 2; 0 before the first), whether its owner lives.
_PAGE_HEAD = struct.Struct("<BB")
# Of a half: length and CRC-32 of what follows.
_HALF_HEAD = struct.Struct("<II")
_FIRST_HALF = 64
_ATTEMPTS = 20


class Page:
    """One worker's page."""

    def __init__(self) -> None:
        """Make a page of shared memory; untouched parts of it take none."""
        self._memory = mmap.mmap(-1, _FIRST_HALF + 2 * _HALF)
        self.taken = False
        """Whether it has an owner, as the parent knows it."""

    @property
    def alive(self) -> bool:
        """Whether the process whose gauges these are still runs."""
        return self._head()[1] == 1

    def set_alive(self, alive: bool) -> None:
        """Say whether the owner runs; the parent does."""
        self._memory[1] = int(alive)

    def put(self, tally: Tally) -> bool:
        """Show a tally. Return false, and go on showing the last one, when it is too large."""
        data = tally.encode()
        if len(data) > _HALF - _HALF_HEAD.size:
            return False
        half = 2 if self._head()[0] == 1 else 1
        start = _start(half)
        _HALF_HEAD.pack_into(self._memory, start, len(data), zlib.crc32(data))
        self._memory[start + _HALF_HEAD.size : start + _HALF_HEAD.size + len(data)] = data
        self._memory[0] = half
        return True

    def get(self) -> Tally:
        """Return the tally that is shown; an empty one before the first, or of an owner that died while writing."""
        for _ in range(_ATTEMPTS):
            half = self._head()[0]
            if half == 0:
                break
            start = _start(half)
            length, checksum = _HALF_HEAD.unpack_from(self._memory, start)
            data = self._memory[start + _HALF_HEAD.size : start + _HALF_HEAD.size + length]
            if zlib.crc32(data) == checksum:
                return Tally.decode(data)
        return Tally()

    def _head(self) -> tuple[int, int]:
        half, alive = _PAGE_HEAD.unpack_from(self._memory)
        return half, alive


class Board:
    """All pages. Made by the parent; each worker inherits them."""

    def __init__(self, pages: int) -> None:
        """Make the pages.

        Args:
            pages: the most workers that live at one time.
        """
        self._pages = tuple(Page() for _ in range(pages))

    def take(self) -> Page | None:
        """Give a page to a worker that is about to be started; ``None`` when all are in use."""
        for page in self._pages:
            if not page.taken:
                page.taken = True
                page.set_alive(True)
                return page
        return None

    def give_back(self, page: Page) -> None:
        """Take a page back from a worker that is gone."""
        page.taken = False
        page.set_alive(False)

    def total(self) -> tuple[Tally, int]:
        """Return the sum of all pages, and how many workers live."""
        sum_of_all = Tally()
        living = 0
        for page in self._pages:
            alive = page.alive
            living += alive
            sum_of_all.include(page.get(), alive=alive)
        return sum_of_all, living


def _start(half: int) -> int:
    return _FIRST_HALF + (half - 1) * _HALF
