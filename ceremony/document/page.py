"""A4 pages in PDF, in millimetres from the top left corner: what the share sheets and the script are drawn with.

Invariants:

* the same calls give the same bytes, whenever and wherever: no clock, no random name, fonts embedded from the
  files that the PDF library ships;
* a text is composed (NFC) before it is measured and drawn; ``check_printable`` tells beforehand what has no shape.
"""

from __future__ import annotations

import functools
import io
import unicodedata
from typing import Any

import qrcode
from qrcode.constants import ERROR_CORRECT_M, ERROR_CORRECT_Q
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.pdfgen.canvas import Canvas

from shared.errors import Fatal, RequestRejected

# Bitstream Vera comes with reportlab, so the paper looks the same on every machine.
REGULAR = "Vera"
BOLD = "VeraBd"

BLACK = 0.0
GREY = 0.35
LINE = 0.65


class Page:
    """A document, one A4 page after another."""

    def __init__(self, title: str) -> None:
        glyphs()
        self._buffer = io.BytesIO()
        # invariant: no creation time and no random id, so that equal facts give equal bytes.
        self._canvas: Any = Canvas(self._buffer, pagesize=A4, invariant=1, pageCompression=1)
        self._canvas.setTitle(title)
        self._canvas.setAuthor("coldroot")

    def text(
        self, left: float, top: float, text: str, *, size: float, bold: bool = False, grey: float = BLACK
    ) -> float:
        """Write a text from its base line on; return where it ends."""
        font = BOLD if bold else REGULAR
        composed = unicodedata.normalize("NFC", text)
        self._canvas.setFillGray(grey)
        self._canvas.setFont(font, size)
        self._canvas.drawString(left * mm, A4[1] - top * mm, composed)
        return left + width(composed, size=size, bold=bold)

    def text_before(
        self, right: float, top: float, text: str, *, size: float, bold: bool = False, grey: float = BLACK
    ) -> None:
        """Write a text that ends at ``right``."""
        self.text(right - width(text, size=size, bold=bold), top, text, size=size, bold=bold, grey=grey)

    def fitted(self, left: float, top: float, text: str, *, size: float, room: float, bold: bool = True) -> None:
        """Write a text as large as ``size``, or smaller to fit into ``room``."""
        wide = width(text, size=size, bold=bold)
        self.text(left, top, text, size=size * min(1.0, room / wide) if wide else size, bold=bold)

    def line(
        self, left: float, top: float, right: float, bottom: float, *, width: float = 0.5, grey: float = LINE
    ) -> None:
        """Draw a thin line."""
        self._canvas.setStrokeGray(grey)
        self._canvas.setLineWidth(width)
        self._canvas.line(left * mm, A4[1] - top * mm, right * mm, A4[1] - bottom * mm)

    def box(self, left: float, top: float, width: float, height: float) -> None:
        """Draw an empty box."""
        self._canvas.setStrokeGray(GREY)
        self._canvas.setLineWidth(0.7)
        self._canvas.rect(left * mm, A4[1] - (top + height) * mm, width * mm, height * mm, stroke=1, fill=0)

    def circle(self, left: float, top: float, radius: float) -> None:
        """Draw an empty circle around a point: one of several choices that exclude each other."""
        self._canvas.setStrokeGray(GREY)
        self._canvas.setLineWidth(0.7)
        self._canvas.circle(left * mm, A4[1] - top * mm, radius * mm, stroke=1, fill=0)

    def bar(self, left: float, top: float, width: float, height: float, *, grey: float = BLACK) -> None:
        """Draw a filled box."""
        self._canvas.setFillGray(grey)
        self._canvas.rect(left * mm, A4[1] - (top + height) * mm, width * mm, height * mm, stroke=0, fill=1)

    def qr(self, left: float, top: float, side: float, matrix: list[list[bool]]) -> None:
        """Draw a QR code of a side length."""
        module = side / len(matrix)
        for row, line in enumerate(matrix):
            for column, length in runs(line):
                self.bar(left + column * module, top + row * module, length * module, module)

    def next(self) -> None:
        """Go on to a new page."""
        self._canvas.showPage()

    def close(self) -> bytes:
        """Finish the document and return its bytes."""
        self._canvas.showPage()
        self._canvas.save()
        return self._buffer.getvalue()


def qr_matrix(payload: str, *, strong: bool = False) -> list[list[bool]]:
    """Return the modules of a QR code without its quiet zone.

    Args:
        payload: best all of the alphanumeric mode's alphabet; it becomes one segment.
        strong: level Q, which outlives a fold or a stain better than the usual M.
    """
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_Q if strong else ERROR_CORRECT_M, border=0)
    code.add_data(payload, optimize=0)
    code.make()
    matrix: list[list[bool]] = code.get_matrix()
    return matrix


def runs(line: list[bool]) -> list[tuple[int, int]]:
    """Return the dark runs of a row of modules as (first, length).

    Runs are drawn, not single modules: a printer leaves hairlines between touching squares.
    """
    found: list[tuple[int, int]] = []
    column = 0
    while column < len(line):
        end = column
        while end < len(line) and line[end]:
            end += 1
        if end > column:
            found.append((column, end - column))
        column = end + 1
    return found


def width(text: str, *, size: float, bold: bool = False) -> float:
    """Return how wide a text is, in millimetres."""
    composed = unicodedata.normalize("NFC", text)
    return float(pdfmetrics.stringWidth(composed, BOLD if bold else REGULAR, size)) / float(mm)


def wrap(text: str, *, size: float, room: float, bold: bool = False) -> list[str]:
    """Break a text into lines that fit into ``room`` millimetres; a word that is longer alone is broken too."""
    lines: list[str] = []
    for word in unicodedata.normalize("NFC", text).split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and width(joined, size=size, bold=bold) <= room:
            lines[-1] = joined
            continue
        rest = word
        while width(rest, size=size, bold=bold) > room:
            fits = next(at for at in range(len(rest) - 1, 0, -1) if width(rest[:at], size=size, bold=bold) <= room)
            lines.append(rest[:fits])
            rest = rest[fits:]
        lines.append(rest)
    return lines or [""]


def check_printable(text: str, *, what: str) -> None:
    """Refuse a text with a character that the paper's font lacks.

    The embedded font has the letters of western European languages and Turkish, and some of the neighbours'.

    Raises:
        RequestRejected: ``paper.unprintable``; the message gives the character's place and number.
    """
    known = glyphs()
    if not text.strip():
        raise RequestRejected("paper.unprintable", f"the {what} is empty")
    for place, character in enumerate(unicodedata.normalize("NFC", text), start=1):
        # Cc, Cf, Co…: what has no shape of its own, or turns the text around.
        if ord(character) not in known or unicodedata.category(character).startswith("C"):
            raise RequestRejected(
                "paper.unprintable",
                f"the {what} cannot be printed: the sheet's font lacks character {place} (U+{ord(character):04X})",
                hint="write it in plain Latin letters",
            )


@functools.cache
def glyphs() -> frozenset[int]:
    """Register the two fonts once; return the characters that both can show.

    Raises:
        Fatal: ``paper.no-font``.
    """
    registered = pdfmetrics.getRegisteredFontNames()
    try:
        for name in (REGULAR, BOLD):
            if name not in registered:
                pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    except TTFError:
        raise Fatal("paper.no-font", "the PDF library lacks its Vera fonts: it is not completely installed") from None
    regular, bold = (set(pdfmetrics.getFont(name).face.charToGlyph) for name in (REGULAR, BOLD))
    return frozenset(regular & bold)
