"""The certificate of destruction: one page from the record, for people to sign.

Invariant: it follows from the records alone, so whoever verifies draws the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ceremony.document import page
from ceremony.document.page import Page
from ceremony.plan import Plan
from ceremony.records import Kind, Mode
from ceremony.transcript import Record
from shared.clock import rfc3339
from shared.crossing.words import digest_words
from shared.names import format_name

FILE = "destruction.pdf"
_LEFT, _RIGHT = 20.0, 190.0
_TOP, _BOTTOM = 24.0, 275.0
_SIZE = 10.0
_LINE = 5.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyedKey:
    """One key that is no more."""

    label: str
    key_id: str
    public_key_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Destruction:
    """What the record says of the end."""

    keys: tuple[DestroyedKey, ...]
    token: str
    """The token's serial."""
    refusal: str
    """How the erased token refuses, as an error code."""
    erased: datetime
    record: bytes
    """SHA-256 of the record of the erased token."""


def destruction_of(records: Iterable[Record]) -> Destruction | None:
    """Read the end from the records; ``None`` when it did not come to that."""
    keys: dict[str, DestroyedKey] = {}
    for record in records:
        body = record.body
        if record.kind == Kind.KEY_DESTROYED:
            key = DestroyedKey(
                label=str(body.get("label")),
                key_id=str(body.get("id")),
                public_key_sha256=str(body.get("public_key_sha256")),
            )
            keys[key.key_id] = key
        elif record.kind == Kind.TOKEN_ERASED:
            return Destruction(
                keys=tuple(keys.values()),
                token=str(body.get("serial")),
                refusal=str(body.get("refusal")),
                erased=record.time,
                record=record.digest,
            )
    return None


def draw(plan: Plan, mode: Mode, destruction: Destruction) -> bytes:
    """Draw the page.

    Args:
        plan: for the title, the root's name and the people.
        mode: a rehearsal says so on its paper.
        destruction: from ``destruction_of``.
    """
    sheet = Page("Certificate of destruction")
    sheet.text(_LEFT, 24, "Certificate of destruction", size=20, bold=True)
    if mode is Mode.REHEARSAL:
        sheet.text_before(_RIGHT, 24, "REHEARSAL", size=14, bold=True)
    sheet.line(_LEFT, 28, _RIGHT, 28)
    top = 38.0
    top = _block(sheet, top, [plan.title, format_name(plan.root.subject)], bold=True)
    for key in destruction.keys:
        top = _block(
            sheet,
            top,
            [
                f"The private key {key.label!r}, id {key.key_id}, was destroyed.",
                f"SHA-256 of its public key: {key.public_key_sha256}",
                "A search by its label, a search by its id, and the inventory of the token found it no more.",
            ],
        )
    end = (
        f"The token with the serial {destruction.token} held nothing else, was erased at"
        f" {rfc3339(destruction.erased)}, and its PIN opens it no more ({destruction.refusal})."
    )
    top = _block(
        sheet,
        top,
        [
            end,
            "Record of the transcript in words:",
            " ".join(digest_words(destruction.record)[:16]),
            " ".join(digest_words(destruction.record)[16:]),
        ],
    )
    promise = (
        "By signing I confirm that I was present, that the device with this serial was the one on the table, and"
        " that I know of no other copy of the key. Backups of it, if any were made: destroyed, seen by me."
    )
    top = _block(sheet, top, [promise])
    for person in _signers(plan):
        top = _room(sheet, top + 12)
        sheet.line(_LEFT, top, _LEFT + 95, top)
        sheet.line(_LEFT + 105, top, _RIGHT, top)
        sheet.text(_LEFT, top + 4, person, size=8, grey=page.GREY)
        sheet.text(_LEFT + 105, top + 4, "date, time (UTC)", size=8, grey=page.GREY)
    return sheet.close()


def _block(sheet: Page, top: float, paragraphs: Sequence[str], *, bold: bool = False) -> float:
    for paragraph in paragraphs:
        for line in page.wrap(paragraph, size=_SIZE, room=_RIGHT - _LEFT, bold=bold):
            top = _room(sheet, top)
            sheet.text(_LEFT, top, line, size=_SIZE, bold=bold)
            top += _LINE
    return top + _LINE / 2


def _room(sheet: Page, top: float) -> float:
    """Return where to go on: here, or on a new page."""
    if top <= _BOTTOM:
        return top
    sheet.next()
    return _TOP


def _signers(plan: Plan) -> list[str]:
    roles = plan.roles
    named = [f"{roles.administrator}, administrator"] if roles.administrator else ["administrator"]
    named += [f"{name}, witness" for name in roles.witnesses] or ["witness"]
    return [*named, f"{roles.auditor}, auditor"] if roles.auditor else named
