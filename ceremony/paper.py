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

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from ceremony.document.page import GREY, Page, check_printable, qr_matrix, width
from ceremony.share_commitments import Share, ShareCommitments
from ceremony.share_shape import GroupShape
from ceremony.share_words import envelope
from shared.crossing.words import digest_words
from shared.errors import Fatal, RequestRejected

_LEFT = 18.0
_RIGHT = 192.0

_NAME_LEFT = 100.0
_ROOT_LEFT = 50.0
# How wide each text may be at its smallest, in millimetres.
_TITLE_ROOM = _RIGHT - _LEFT
_ROOT_ROOM = _RIGHT - _ROOT_LEFT
_NAME_ROOM = _RIGHT - _NAME_LEFT
_SHARE_ROOM = _NAME_LEFT - _LEFT - 4

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
    copy: int = 1
    """Which copy of the share, in a group of which one is enough."""

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.commitments.count:
            raise Fatal("paper.wrong-share", f"there is no share {self.index} of {self.commitments.count}")
        if not 1 <= self.copy <= self.group.copies:
            raise Fatal("paper.wrong-share", f"there is no copy {self.copy} of {self.group.copies}")
        check_papers(
            title=self.title, root_name=self.root_name, custodians=(self.custodian,), groups=(self.group.name,)
        )

    @property
    def group(self) -> GroupShape:
        """The share's group."""
        shape = self.commitments.shape
        return shape.groups[shape.place(self.index)[0] - 1]

    @property
    def name(self) -> str:
        """Say which share it is: ``Share 2 of 5``, or ``Share 2 of officers``, or ``Share of board, copy 1``."""
        shape = self.commitments.shape
        if not shape.grouped:
            return f"Share {self.index} of {self.commitments.count}"
        if self.group.threshold == 1:
            return f"Share of {self.group.name}, copy {self.copy}"
        return f"Share {shape.place(self.index)[1]} of {self.group.name}"

    @property
    def name_inside(self) -> str:
        """The same inside a sentence; the group keeps its capitals."""
        return f"s{self.name[1:]}"

    @property
    def rule(self) -> tuple[str, str]:
        """Say in two sentences what the share is good for."""
        shape, group = self.commitments.shape, self.group
        if not shape.grouped:
            return (
                f"Any {group.threshold} of these {group.count} shares together unlock the key.",
                f"Fewer than {group.threshold} tell nothing about it.",
            )
        if group.threshold > 1:
            counts = f"Any {group.threshold} of the {group.count} shares of {group.name} count as this group."
        elif group.copies > 1:
            counts = f"This share alone counts as the group {group.name}; {group.copies} people hold a copy of it."
        else:
            counts = f"This share alone counts as the group {group.name}."
        groups = f"{shape.group_threshold} of {len(shape.groups)} groups together unlock the key."
        return counts, f"{groups} Fewer tell nothing about it."

    @property
    def commitment(self) -> str:
        """The share's commitment in hex."""
        return self.commitments.shares[self.index - 1]


def check_papers(*, title: str, root_name: str, custodians: Iterable[str], groups: Iterable[str] = ()) -> None:
    """Refuse texts that the papers cannot show or hold. A plan is checked so long before anything is printed.

    Raises:
        RequestRejected: ``paper.unprintable`` or ``paper.too-long``.
    """
    checks = [("title", title, _TITLE_ROOM), ("root's name", root_name, _ROOT_ROOM)]
    checks += [("custodian's name", custodian, _NAME_ROOM) for custodian in custodians]
    checks += [("group's name", f"Share of {group}, copy 16", _SHARE_ROOM) for group in groups]
    for what, text, room in checks:
        check_printable(text, what=what)
        composed = unicodedata.normalize("NFC", text)
        if width(composed, size=_SMALLEST_POINTS, bold=True) > room:
            raise RequestRejected("paper.too-long", f"the {what} is too long to be printed: {len(composed)} characters")


def share_sheet(facts: SheetFacts, share: Share) -> bytes:
    """Draw the sheet with the secret words of one share: one A4 page.

    Args:
        facts: the public part.
        share: the share of that index in that set.

    Raises:
        Fatal: ``paper.wrong-share`` when the share is not the one that the facts are about.
    """
    if share.index != facts.index or share.commitment != facts.commitment:
        raise Fatal("paper.wrong-share", f"the share to print is not {facts.name_inside} of this set")
    page = Page(f"{facts.name} - {facts.title}")
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
    page = Page(f"Receipt for {facts.name_inside} - {facts.title}")
    _heading(page, facts, "RECEIPT \N{EN DASH} NOTHING SECRET ON THIS PAGE")
    page.text(_LEFT, 72, "I tick what is true, and sign.", size=11, bold=True)
    others = "only who holds a copy of it" if facts.group.copies > 1 else "nobody else"
    ticks = (
        f"I have received the sheet of {facts.name_inside}; {others} has seen its words.",
        "I read it back into the program, which recognised it as this share of this set.",
        "I sealed it in the bag whose number I wrote below, and I checked the number on the bag.",
        "I know what I must do and never do; it is written on the sheet.",
    )
    for place, tick in enumerate(ticks):
        page.box(_LEFT, 78 + 9 * place, 5, 5)
        page.text(_LEFT + 8, 82 + 9 * place, tick, size=10)
    page.text(
        _LEFT, 122, "If something cannot be ticked, write why here and call the administrator:", size=9, grey=GREY
    )
    for top in (131.0, 139.0):
        page.line(_LEFT, top, _RIGHT, top)
    _public_part(page, facts, left=_LEFT, top=152.0)
    _blanks(page, ("Date and time (UTC)", "Bag number", "Place"), top=211.0)
    _blanks(page, ("Custodian's signature", "Witness's name", "Witness's signature"), top=233.0)
    _blanks(page, ("", "Second witness's name", "Second witness's signature"), top=255.0)
    _footing(page, facts)
    return page.close()


def _heading(page: Page, facts: SheetFacts, kind: str) -> None:
    page.bar(_LEFT, 12, _RIGHT - _LEFT, 8)
    page.text(_LEFT + 3, 17.6, kind, size=11, bold=True, grey=1.0)
    if facts.rehearsal:
        page.text(_RIGHT - 64, 17.6, "REHEARSAL: protects nothing", size=10, bold=True, grey=1.0)
    page.fitted(_LEFT, 29, facts.title, size=15, room=_TITLE_ROOM)
    page.text(_LEFT, 35.5, "unlocks the key of", size=9, grey=GREY)
    page.fitted(_ROOT_LEFT, 35.5, facts.root_name, size=10, room=_ROOT_ROOM)
    page.fitted(_LEFT, 49, facts.name, size=22, room=_SHARE_ROOM)
    page.text(_NAME_LEFT, 43.5, "Custodian", size=8, grey=GREY)
    page.fitted(_NAME_LEFT, 49.5, facts.custodian, size=14, room=_NAME_ROOM)
    first, second = facts.rule
    if facts.commitments.shape.grouped:
        page.fitted(_LEFT, 56, first, size=10, room=_RIGHT - _LEFT, bold=False)
        page.text(_LEFT, 61, second, size=10)
    else:
        page.text(_LEFT, 58, f"{first} {second}", size=10)


def _words(page: Page, words: tuple[str, ...], *, top: float) -> None:
    rows = -(-len(words) // _WORD_COLUMNS)
    pitch, column_width = 6.8, (_RIGHT - _LEFT) / _WORD_COLUMNS
    page.box(_LEFT, top, _RIGHT - _LEFT, rows * pitch + 2)
    for column in range(1, _WORD_COLUMNS):
        page.line(_LEFT + column * column_width, top, _LEFT + column * column_width, top + rows * pitch + 2)
    for place, word in enumerate(words):
        column, row = divmod(place, rows)
        left, base = _LEFT + column * column_width, top + row * pitch + 6
        page.text_before(left + 10, base, str(place + 1), size=10, grey=GREY)
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
        grey=GREY,
    )


def _qr(page: Page, payload: str, *, top: float) -> None:
    left = _LEFT + 1.0
    page.qr(left, top, _QR_SIDE_MM, qr_matrix(payload, strong=True))
    page.text(left, top + _QR_SIDE_MM + 4, "The same words. Show it to nothing with a network.", size=7, grey=GREY)


def _public_part(page: Page, facts: SheetFacts, *, left: float, top: float) -> None:
    page.text(left, top, "Set of shares", size=8, grey=GREY)
    set_id = facts.commitments.set_id
    page.text(left, top + 5, " ".join(set_id[at : at + 4] for at in range(0, len(set_id), 4)), size=10)
    page.text(
        left, top + 12, f"Commitment of {facts.commitments.shape.name(facts.index)}, as digest words", size=8, grey=GREY
    )
    page.text(
        left,
        top + 16,
        "Public: these are not the share. The transcript holds the same; compare them.",
        size=7,
        grey=GREY,
    )
    words = digest_words(bytes.fromhex(facts.commitment))
    columns = 4
    column_width = 27.0
    for place, word in enumerate(words):
        # Read like a book, line by line: two and three syllables take turns.
        row, column = divmod(place, columns)
        page.text(left + column * column_width, top + 21.5 + row * 4.3, word, size=7.5)


def _blanks(page: Page, labels: tuple[str, ...], *, top: float) -> None:
    wide, gap, height = (_RIGHT - _LEFT - 3 * (len(labels) - 1)) / len(labels), 3.0, 18.0
    for place, label in enumerate(labels):
        if label:
            left = _LEFT + place * (wide + gap)
            page.box(left, top, wide, height)
            page.text(left + 2, top + 4, label, size=8, grey=GREY)


def _rules(page: Page, *, top: float) -> None:
    for left, title, rules in ((_LEFT, "Do", _DO), (107.0, "Never", _NEVER)):
        page.text(left, top, title, size=10, bold=True)
        base = top + 5.5
        for rule in rules:
            page.text(left, base, "\N{EN DASH}", size=8)
            for line in rule.split("\n"):
                page.text(left + 3.5, base, line, size=8)
                base += 4.4
            base += 0.6


def _footing(page: Page, facts: SheetFacts) -> None:
    page.line(_LEFT, 284, _RIGHT, 284)
    page.text(_LEFT, 288, f"{facts.name}, set {facts.commitments.set_id[:8]}", size=7, grey=GREY)
    page.text_before(_RIGHT, 288, "made by coldroot; the words are SLIP-39", size=7, grey=GREY)
