"""What a custodian takes home, as PDF: the share sheet, and the receipt that stays in the record.

The sheet holds the secret words; the receipt holds none and can be drawn again by anybody from the transcript.
They are two documents, not two pages: a printer set to both sides would put the receipt on the sheet's back.

Invariants:

* the same facts give the same bytes, whenever and wherever: no clock, no random name, fonts embedded from the
  files that the PDF library ships;
* every character that is asked for is printed, or the document is refused: never a black box for a letter;
* the QR code says what the words say, and is read back by the ceremony's own reader only.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import qrcode
from qrcode.constants import ERROR_CORRECT_Q
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.pdfgen.canvas import Canvas

from ceremony.share_commitments import Share, ShareCommitments
from ceremony.share_words import envelope
from shared.crossing.words import digest_words
from shared.errors import Fatal, RequestRejected

# Bitstream Vera comes with reportlab, so the paper looks the same on every machine.
_REGULAR = "Vera"
_BOLD = "VeraBd"

_LEFT = 18.0
_RIGHT = 192.0
_BLACK = 0.0
_GREY = 0.35
_LINE = 0.65

_NAME_LEFT = 90.0
_ROOT_LEFT = 50.0
# How wide each text may be at its smallest, in millimetres.
_TITLE_ROOM = _RIGHT - _LEFT
_ROOT_ROOM = _RIGHT - _ROOT_LEFT
_NAME_ROOM = _RIGHT - _NAME_LEFT

_WORD_COLUMNS = 3
_DECIDING_LETTERS = 4
_QR_SIDE_MM = 58.0
_SMALLEST_POINTS = 6.0

# A line break inside a rule is where the paper breaks it.
_DO = (
    "Read your share back into the program before you leave.",
    "Seal this sheet in a numbered bag that shows tampering.",
    "Keep it where no other share of this set is kept.",
    "Look at the bag once a year. A share can be checked\nalone, on the ceremony's machine: ceremony share check",
    "Tell the administrator at once if it is lost or was seen.",
)
_NEVER = (
    "photograph, copy, scan or type it, except into the\nceremony's machine, which has no network",
    "say the words aloud, or let anybody read along",
    "give it to anybody, whoever asks, for whatever reason",
    "keep a second copy, not even of a part",
    "throw it away: it is destroyed in front of witnesses",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetFacts:
    """What stands on a custodian's papers besides the secret words; all of it is public.

    Raises:
        RequestRejected: ``paper.unprintable`` or ``paper.too-long``, as ``check_papers``.
        Fatal: ``paper.wrong-share`` for an index outside the set.
    """

    title: str
    """The ceremony's title."""
    root_name: str
    """The common name of the root whose key the shares unlock."""
    custodian: str
    index: int
    commitments: ShareCommitments
    rehearsal: bool

    def __post_init__(self) -> None:
        check_papers(title=self.title, root_name=self.root_name, custodians=(self.custodian,))
        if not 1 <= self.index <= self.commitments.count:
            raise Fatal("paper.wrong-share", f"there is no share {self.index} of {self.commitments.count}")

    @property
    def name(self) -> str:
        """Say which share it is: ``Share 2 of 5``."""
        return f"Share {self.index} of {self.commitments.count}"

    @property
    def commitment(self) -> str:
        """The share's commitment in hex."""
        return self.commitments.shares[self.index - 1]


def check_papers(*, title: str, root_name: str, custodians: Iterable[str]) -> None:
    """Refuse texts that the papers cannot show or hold. A plan is checked so long before anything is printed.

    Raises:
        RequestRejected: ``paper.unprintable`` or ``paper.too-long``.
    """
    checks = [("title", title, _TITLE_ROOM), ("root's name", root_name, _ROOT_ROOM)]
    checks += [("custodian's name", custodian, _NAME_ROOM) for custodian in custodians]
    for what, text, room in checks:
        check_printable(text, what=what)
        composed = unicodedata.normalize("NFC", text)
        if _width(composed, _BOLD, _SMALLEST_POINTS) > room:
            raise RequestRejected("paper.too-long", f"the {what} is too long to be printed: {len(composed)} characters")


def check_printable(text: str, *, what: str) -> None:
    """Refuse a text with a character that the sheet's font lacks.

    The embedded font has the letters of western European languages and Turkish, and some of the neighbours'.

    Raises:
        RequestRejected: ``paper.unprintable``; the message gives the character's place and number.
    """
    glyphs = _glyphs()
    if not text.strip():
        raise RequestRejected("paper.unprintable", f"the {what} is empty")
    for place, character in enumerate(unicodedata.normalize("NFC", text), start=1):
        # Cc, Cf, Co…: what has no shape of its own, or turns the text around.
        if ord(character) not in glyphs or unicodedata.category(character).startswith("C"):
            raise RequestRejected(
                "paper.unprintable",
                f"the {what} cannot be printed: the sheet's font lacks character {place} (U+{ord(character):04X})",
                hint="write it in plain Latin letters",
            )


def share_sheet(facts: SheetFacts, share: Share) -> bytes:
    """Draw the sheet with the secret words of one share: one A4 page.

    Args:
        facts: the public part.
        share: the share of that index in that set.

    Raises:
        Fatal: ``paper.wrong-share`` when the share is not the one that the facts are about.
    """
    if share.index != facts.index or share.commitment != facts.commitment:
        raise Fatal("paper.wrong-share", f"the share to print is not {facts.name.lower()} of this set")
    page = _Page(f"{facts.name} - {facts.title}")
    _heading(page, facts, "SHARE SHEET \N{EN DASH} SECRET")
    _words(page, share.words, top=64.0)
    _qr(page, envelope(share, set_id=facts.commitments.set_id), top=152.0)
    _public_part(page, facts, left=86.0, top=155.0)
    _blanks(page, ("Date", "Custodian's initials", "Witness's initials", "Bag number"), top=218.0)
    _rules(page, top=244.0)
    _footing(page, facts)
    return page.close()


def share_receipt(facts: SheetFacts) -> bytes:
    """Draw the receipt that a custodian signs: one A4 page without anything secret."""
    page = _Page(f"Receipt for {facts.name.lower()} - {facts.title}")
    _heading(page, facts, "RECEIPT \N{EN DASH} NOTHING SECRET ON THIS PAGE")
    page.text(_LEFT, 72, "I tick what is true, and sign.", size=11, bold=True)
    ticks = (
        f"I have received the sheet of {facts.name.lower()}; nobody else has seen its words.",
        "I read it back into the program, which recognised it as this share of this set.",
        "I sealed it in the bag whose number I wrote below, and I checked the number on the bag.",
        "I know what I must do and never do; it is written on the sheet.",
    )
    for place, tick in enumerate(ticks):
        page.box(_LEFT, 78 + 9 * place, 5, 5)
        page.text(_LEFT + 8, 82 + 9 * place, tick, size=10)
    page.text(
        _LEFT, 122, "If something cannot be ticked, write why here and call the administrator:", size=9, grey=_GREY
    )
    for top in (131.0, 139.0):
        page.line(_LEFT, top, _RIGHT, top)
    _public_part(page, facts, left=_LEFT, top=152.0)
    _blanks(page, ("Date and time (UTC)", "Bag number", "Place"), top=211.0)
    _blanks(page, ("Custodian's signature", "Witness's name", "Witness's signature"), top=233.0)
    _blanks(page, ("", "Second witness's name", "Second witness's signature"), top=255.0)
    _footing(page, facts)
    return page.close()


class _Page:
    """One A4 page, in millimetres from its top left corner."""

    def __init__(self, title: str) -> None:
        _glyphs()
        self._buffer = io.BytesIO()
        # invariant: no creation time and no random id, so that equal facts give equal bytes.
        self._canvas: Any = Canvas(self._buffer, pagesize=A4, invariant=1, pageCompression=1)
        self._canvas.setTitle(title)
        self._canvas.setAuthor("coldroot")

    def text(
        self, left: float, top: float, text: str, *, size: float, bold: bool = False, grey: float = _BLACK
    ) -> float:
        """Write a text from its base line on; return where it ends."""
        font = _BOLD if bold else _REGULAR
        composed = unicodedata.normalize("NFC", text)
        self._canvas.setFillGray(grey)
        self._canvas.setFont(font, size)
        self._canvas.drawString(left * mm, A4[1] - top * mm, composed)
        return left + _width(composed, font, size)

    def text_before(self, right: float, top: float, text: str, *, size: float, grey: float = _BLACK) -> None:
        """Write a text that ends at ``right``."""
        self.text(right - _width(text, _REGULAR, size), top, text, size=size, grey=grey)

    def fitted(self, left: float, top: float, text: str, *, size: float, room: float) -> None:
        """Write a bold text as large as ``size``, or smaller to fit into ``room``; ``check_papers`` saw that it can."""
        width = _width(unicodedata.normalize("NFC", text), _BOLD, size)
        self.text(left, top, text, size=size * min(1.0, room / width), bold=True)

    def line(self, left: float, top: float, right: float, bottom: float, *, width: float = 0.5) -> None:
        """Draw a thin grey line."""
        self._canvas.setStrokeGray(_LINE)
        self._canvas.setLineWidth(width)
        self._canvas.line(left * mm, A4[1] - top * mm, right * mm, A4[1] - bottom * mm)

    def box(self, left: float, top: float, width: float, height: float) -> None:
        """Draw an empty box."""
        self._canvas.setStrokeGray(_GREY)
        self._canvas.setLineWidth(0.7)
        self._canvas.rect(left * mm, A4[1] - (top + height) * mm, width * mm, height * mm, stroke=1, fill=0)

    def bar(self, left: float, top: float, width: float, height: float, *, grey: float = _BLACK) -> None:
        """Draw a filled box."""
        self._canvas.setFillGray(grey)
        self._canvas.rect(left * mm, A4[1] - (top + height) * mm, width * mm, height * mm, stroke=0, fill=1)

    def close(self) -> bytes:
        """Finish the document and return its bytes."""
        self._canvas.showPage()
        self._canvas.save()
        return self._buffer.getvalue()


def _heading(page: _Page, facts: SheetFacts, kind: str) -> None:
    page.bar(_LEFT, 12, _RIGHT - _LEFT, 8)
    page.text(_LEFT + 3, 17.6, kind, size=11, bold=True, grey=1.0)
    if facts.rehearsal:
        page.text(_RIGHT - 64, 17.6, "REHEARSAL: protects nothing", size=10, bold=True, grey=1.0)
    page.fitted(_LEFT, 29, facts.title, size=15, room=_TITLE_ROOM)
    page.text(_LEFT, 35.5, "unlocks the key of", size=9, grey=_GREY)
    page.fitted(_ROOT_LEFT, 35.5, facts.root_name, size=10, room=_ROOT_ROOM)
    page.text(_LEFT, 49, facts.name, size=22, bold=True)
    page.text(_NAME_LEFT, 43.5, "Custodian", size=8, grey=_GREY)
    page.fitted(_NAME_LEFT, 49.5, facts.custodian, size=14, room=_NAME_ROOM)
    threshold, count = facts.commitments.threshold, facts.commitments.count
    sentence = f"Any {threshold} of these {count} shares together unlock the key."
    page.text(_LEFT, 58, f"{sentence} Fewer than {threshold} tell nothing about it.", size=10)


def _words(page: _Page, words: tuple[str, ...], *, top: float) -> None:
    rows = -(-len(words) // _WORD_COLUMNS)
    pitch, column_width = 6.8, (_RIGHT - _LEFT) / _WORD_COLUMNS
    page.box(_LEFT, top, _RIGHT - _LEFT, rows * pitch + 2)
    for column in range(1, _WORD_COLUMNS):
        page.line(_LEFT + column * column_width, top, _LEFT + column * column_width, top + rows * pitch + 2)
    for place, word in enumerate(words):
        column, row = divmod(place, rows)
        left, base = _LEFT + column * column_width, top + row * pitch + 6
        page.text_before(left + 10, base, str(place + 1), size=10, grey=_GREY)
        # The first four letters tell a word from all others; a person may type only those.
        end = page.text(left + 13, base, word[:_DECIDING_LETTERS], size=15, bold=True)
        page.text(end, base, word[_DECIDING_LETTERS:], size=15)
        if row:
            page.line(left + 3, base - 5.1, left + column_width - 3, base - 5.1, width=0.25)
    page.text(
        _LEFT,
        top + rows * pitch + 6.5,
        "Read down each column, 1 to 33. The first four letters (bold) are enough to tell a word.",
        size=8,
        grey=_GREY,
    )


def _qr(page: _Page, payload: str, *, top: float) -> None:
    # Level Q outlives a fold or a stain better than the usual M, and the code still has few, large modules.
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_Q, border=0)
    # One segment: the payload is all of the alphanumeric mode's alphabet.
    code.add_data(payload, optimize=0)
    code.make()
    matrix: list[list[bool]] = code.get_matrix()
    module = _QR_SIDE_MM / len(matrix)
    left = _LEFT + 1.0
    for row, line in enumerate(matrix):
        column = 0
        while column < len(line):
            # Draw runs, not single modules: a printer leaves hairlines between touching squares.
            run = column
            while run < len(line) and line[run]:
                run += 1
            if run > column:
                page.bar(left + column * module, top + row * module, (run - column) * module, module)
            column = run + 1
    page.text(left, top + _QR_SIDE_MM + 4, "The same words. Show it to nothing with a network.", size=7, grey=_GREY)


def _public_part(page: _Page, facts: SheetFacts, *, left: float, top: float) -> None:
    page.text(left, top, "Set of shares", size=8, grey=_GREY)
    set_id = facts.commitments.set_id
    page.text(left, top + 5, " ".join(set_id[at : at + 4] for at in range(0, len(set_id), 4)), size=10)
    page.text(left, top + 12, f"Commitment of share {facts.index}, as digest words", size=8, grey=_GREY)
    page.text(
        left,
        top + 16,
        "Public: these are not the share. The transcript holds the same; compare them.",
        size=7,
        grey=_GREY,
    )
    words = digest_words(bytes.fromhex(facts.commitment))
    columns = 4
    column_width = 27.0
    for place, word in enumerate(words):
        # Read like a book, line by line: two and three syllables take turns.
        row, column = divmod(place, columns)
        page.text(left + column * column_width, top + 21.5 + row * 4.3, word, size=7.5)


def _blanks(page: _Page, labels: tuple[str, ...], *, top: float) -> None:
    width, gap, height = (_RIGHT - _LEFT - 3 * (len(labels) - 1)) / len(labels), 3.0, 18.0
    for place, label in enumerate(labels):
        if label:
            left = _LEFT + place * (width + gap)
            page.box(left, top, width, height)
            page.text(left + 2, top + 4, label, size=8, grey=_GREY)


def _rules(page: _Page, *, top: float) -> None:
    for left, title, rules in ((_LEFT, "Do", _DO), (107.0, "Never", _NEVER)):
        page.text(left, top, title, size=10, bold=True)
        base = top + 5.5
        for rule in rules:
            page.text(left, base, "\N{EN DASH}", size=8)
            for line in rule.split("\n"):
                page.text(left + 3.5, base, line, size=8)
                base += 4.4
            base += 0.6


def _footing(page: _Page, facts: SheetFacts) -> None:
    page.line(_LEFT, 284, _RIGHT, 284)
    page.text(_LEFT, 288, f"{facts.name}, set {facts.commitments.set_id[:8]}", size=7, grey=_GREY)
    page.text_before(_RIGHT, 288, "made by coldroot; the words are SLIP-39", size=7, grey=_GREY)


def _width(text: str, font: str, size: float) -> float:
    return float(pdfmetrics.stringWidth(text, font, size)) / float(mm)


def _glyphs() -> frozenset[int]:
    """Register the two fonts once; return the characters that both can show."""
    registered = pdfmetrics.getRegisteredFontNames()
    try:
        for name in (_REGULAR, _BOLD):
            if name not in registered:
                pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    except TTFError:
        raise Fatal("paper.no-font", "the PDF library lacks its Vera fonts: it is not completely installed") from None
    regular, bold = (set(pdfmetrics.getFont(name).face.charToGlyph) for name in (_REGULAR, _BOLD))
    return frozenset(regular & bold)
