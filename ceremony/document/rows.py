"""The rows that the script's pages are made of: texts, check boxes, digests as words, blanks to fill."""

from __future__ import annotations

from collections.abc import Sequence

from ceremony.document.flow import LEFT, RIGHT, ROOM, Row
from ceremony.document.page import GREY, Page, width, wrap
from shared.crossing.words import digest_words

INDENT = 3.0
TEXT_POINTS = 9.5
SMALL_POINTS = 7.5
_PITCH = 4.7
_PALE = 0.9
_WORD_COLUMNS = 8
_WORD_WIDTH = 20.1
_WORD_PITCH = 5.0
_BOX = 4.0
_BLANK_HEIGHT = 12.0
_BLANKS_A_LINE = 4


def text(content: str, *, size: float = TEXT_POINTS, bold: bool = False, grey: float = 0.0, indent: float = 0.0) -> Row:
    """Return a wrapped text."""
    lines = wrap(content, size=size, bold=bold, room=ROOM - 2 * indent)
    pitch = _PITCH * size / TEXT_POINTS

    def draw(page: Page, top: float) -> None:
        for number, line in enumerate(lines):
            page.text(LEFT + indent, top + pitch * number + pitch * 0.75, line, size=size, bold=bold, grey=grey)

    return Row(height=pitch * len(lines), draw=draw)


def labelled(label: str, content: str, *, bold: bool = False, bar: bool = False) -> Row:
    """Return a wrapped text behind a small label; with a bar at its left when it is read aloud."""
    left, room = LEFT + 22.0, ROOM - 22.0 - INDENT
    lines = wrap(content, size=TEXT_POINTS, bold=bold, room=room)
    height = _PITCH * len(lines) + 1.6

    def draw(page: Page, top: float) -> None:
        page.text(LEFT + INDENT, top + 4.4, label, size=SMALL_POINTS, grey=GREY)
        if bar:
            page.bar(left - 2.6, top + 1.0, 0.9, height - 1.4)
        for number, line in enumerate(lines):
            page.text(left, top + 4.4 + _PITCH * number, line, size=TEXT_POINTS, bold=bold)

    return Row(height=height, draw=draw)


def check(content: str) -> Row:
    """Return a text behind a box to tick."""
    left = LEFT + INDENT + _BOX + 3.0
    lines = wrap(content, size=TEXT_POINTS, room=RIGHT - INDENT - left)
    height = max(_PITCH * len(lines), _BOX) + 1.9

    def draw(page: Page, top: float) -> None:
        page.box(LEFT + INDENT, top + 1.2, _BOX, _BOX)
        for number, line in enumerate(lines):
            page.text(left, top + 4.4 + _PITCH * number, line, size=TEXT_POINTS)

    return Row(height=height, draw=draw)


def step_head(number: str, heading: str, name: str) -> Row:
    """Return the heading of a step: its number on the paper, and its name on the screen."""

    def draw(page: Page, top: float) -> None:
        page.bar(LEFT, top, ROOM, 7.2, grey=_PALE)
        page.text(LEFT + INDENT, top + 5.1, number, size=11, bold=True)
        used = width(f"[{name}]", size=SMALL_POINTS) + 2 * INDENT
        page.fitted(LEFT + 17, top + 5.1, heading, size=11, room=ROOM - 17 - used)
        page.text_before(RIGHT - INDENT, top + 5.0, f"[{name}]", size=SMALL_POINTS, grey=GREY)

    return Row(height=7.9, draw=draw)


def warning(content: str) -> Row:
    """Return a line that nobody overlooks."""

    def draw(page: Page, top: float) -> None:
        page.bar(LEFT, top, ROOM, 5.6)
        page.text(LEFT + INDENT, top + 4.1, content, size=TEXT_POINTS, bold=True, grey=1.0)

    return Row(height=6.4, draw=draw)


def words(digest: bytes, *, ticks: bool) -> Row:
    """Return a digest as words, eight a line, with a box at each line for whoever follows them."""
    spoken = digest_words(digest)
    rows = -(-len(spoken) // _WORD_COLUMNS)

    def draw(page: Page, top: float) -> None:
        for place, word in enumerate(spoken):
            row, column = divmod(place, _WORD_COLUMNS)
            left, base = LEFT + INDENT + 7 + column * _WORD_WIDTH, top + 4.0 + row * _WORD_PITCH
            if ticks and not column:
                page.box(LEFT + INDENT, base - 3.3, _BOX, _BOX)
            page.text(left, base, str(place + 1), size=5.5, grey=GREY)
            page.fitted(left + 3.2, base, word, size=8.2, room=_WORD_WIDTH - 4.2, bold=False)

    return Row(height=rows * _WORD_PITCH + 1.4, draw=draw)


def word_blanks(*, whole: bool) -> Row:
    """Return places to write a digest's words: all 32, or the first and the last two."""
    shown = list(range(1, 33)) if whole else [1, 2, 31, 32]
    columns, pitch = 4, 8.5
    wide = (ROOM - 2 * INDENT) / columns

    def draw(page: Page, top: float) -> None:
        for place, number in enumerate(shown):
            row, column = divmod(place, columns)
            left, base = LEFT + INDENT + column * wide, top + 7.0 + row * pitch
            page.text(left, base - 0.4, str(number), size=6.5, grey=GREY)
            page.line(left + 4, base, left + wide - 2, base)

    return Row(height=-(-len(shown) // columns) * pitch + 0.6, draw=draw)


def blanks(labels: Sequence[str], *, height: float = _BLANK_HEIGHT, a_line: int = _BLANKS_A_LINE) -> Row:
    """Return boxes to fill, some a line, each as wide as the others of its line."""
    lines = [labels[at : at + a_line] for at in range(0, len(labels), a_line)]

    def draw(page: Page, top: float) -> None:
        for number, line in enumerate(lines):
            wide = (ROOM - 2 * INDENT - 2.0 * (len(line) - 1)) / len(line)
            for place, label in enumerate(line):
                left = LEFT + INDENT + place * (wide + 2.0)
                page.box(left, top + 1.2 + number * (height + 1.5), wide, height)
                if label:
                    fitting = min(6.8, 6.8 * (wide - 3) / max(width(label, size=6.8), 1.0))
                    page.text(left + 1.5, top + 4.2 + number * (height + 1.5), label, size=fitting, grey=GREY)

    return Row(height=len(lines) * (height + 1.5) + 0.8, draw=draw)


def lines(label: str, count: int) -> Row:
    """Return lines to write on, under a label."""

    def draw(page: Page, top: float) -> None:
        page.text(LEFT + INDENT, top + 4.0, label, size=SMALL_POINTS, grey=GREY)
        for number in range(1, count + 1):
            page.line(LEFT + INDENT, top + 3 + 7.5 * number, RIGHT - INDENT, top + 3 + 7.5 * number)

    return Row(height=3.5 + 7.5 * count, draw=draw)


def table(cells: Sequence[tuple[str, float]], *, height: float = 9.0, head: bool = False, tick: float = -1.0) -> Row:
    """Return a line of a table.

    Args:
        cells: text and width in millimetres of each.
        height: of the line, in millimetres.
        head: whether it names the columns.
        tick: where a box to tick stands, in millimetres from the left edge; negative for none.
    """

    def draw(page: Page, top: float) -> None:
        if head:
            page.bar(LEFT, top, ROOM, height, grey=_PALE)
        page.line(LEFT, top + height, RIGHT, top + height)
        left = LEFT
        for content, wide in cells:
            size = SMALL_POINTS if head else TEXT_POINTS
            if content:
                page.fitted(left + 1.5, top + height * 0.5 + 1.4, content, size=size, room=wide - 3, bold=head)
            left += wide
            if left < RIGHT - 1 and not head:
                page.line(left, top, left, top + height)
        if tick >= 0:
            page.box(LEFT + tick, top + (height - _BOX) / 2, _BOX, _BOX)

    return Row(height=height, draw=draw)


def choice(options: Sequence[str], *, label: str) -> Row:
    """Return circles of which exactly one is ticked."""

    def draw(page: Page, top: float) -> None:
        left = page.text(LEFT, top + 5.0, label, size=TEXT_POINTS, grey=GREY) + 6
        for option in options:
            page.circle(left + 2.2, top + 3.7, 2.2)
            left = page.text(left + 7, top + 5.0, option, size=11, bold=True) + 10

    return Row(height=8.5, draw=draw)


def space(height: float) -> Row:
    """Return nothing, of a height."""
    return Row(height=height, draw=lambda page, top: None)  # noqa: ARG005 (a row's signature)
