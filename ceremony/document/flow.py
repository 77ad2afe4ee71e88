"""Filling pages from the top: blocks of rows that stay together as long as a page can hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ceremony.document.page import Page

LEFT = 18.0
RIGHT = 192.0
TOP = 22.0
BOTTOM = 266.0
ROOM = RIGHT - LEFT
_GAP = 3.5
_PADDING = 2.5

Draw = Callable[[Page, float], None]
"""Draws at a distance from the page's top edge, in millimetres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Something of a known height."""

    height: float
    draw: Draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows that belong together. ``head`` is drawn again when they must be divided."""

    rows: tuple[Row, ...]
    head: Row | None = None
    framed: bool = False
    new_page: bool = False
    """Whether it begins a page."""
    gap: float = _GAP
    """What is left free behind it."""
    section: str = ""
    """What the heading of its pages says; empty for the one before."""

    def height_of(self, rows: Sequence[Row]) -> float:
        """Return the height of some of its rows under its head."""
        padding = _PADDING if self.framed else 0.0
        return (self.head.height if self.head else 0.0) + sum(row.height for row in rows) + padding

    def parts(self, first: float, whole: float) -> Iterator[tuple[Row, ...]]:
        """Divide the rows: into one part when they fit, else into as few as possible.

        Args:
            first: the height that is left on the present page.
            whole: the height of an empty page.
        """
        if self.height_of(self.rows) <= max(first, whole):
            yield self.rows
            return
        part: list[Row] = []
        for row in self.rows:
            if part and self.height_of([*part, row]) > whole:
                yield tuple(part)
                part = []
            part.append(row)
        yield tuple(part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What stands on one page."""

    section: str
    draws: list[tuple[Draw, float]]


def fill(blocks: Sequence[Block]) -> list[Placed]:
    """Place blocks on pages, without drawing anything: the number of pages is known before the first is drawn."""
    pages: list[Placed] = []
    top, section = BOTTOM, ""
    for block in blocks:
        section = block.section or section
        for place, rows in enumerate(block.parts(BOTTOM - top, BOTTOM - TOP)):
            height = block.height_of(rows)
            if top + height > BOTTOM or (block.new_page and not place) or not pages:
                pages.append(Placed(section=section, draws=[]))
                top = TOP
            pages[-1].draws.append((_drawing(block, rows, height), top))
            top += height + block.gap
    return pages


def _drawing(block: Block, rows: Sequence[Row], height: float) -> Draw:
    def draw(page: Page, top: float) -> None:
        if block.framed:
            page.box(LEFT, top, ROOM, height)
        at = top
        for row in (block.head, *rows):
            if row is not None:
                row.draw(page, at)
                at += row.height

    return draw
