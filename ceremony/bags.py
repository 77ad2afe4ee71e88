"""The bag register: which numbered tamper-evident bag holds what, told from the transcript.

Invariants: a bag's number is used once and never again; a bag that is opened was sealed before; a bag whose seal or
number was not as the register says has an exception beside its opening, never a silent entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ceremony.records import Kind
from ceremony.transcript import Record
from shared import names
from shared.errors import NotFound, RequestRejected

_LONGEST_NUMBER = 40
_LONGEST_TEXT = 200


class Seal(StrEnum):
    """What a bag looked like when it was opened."""

    INTACT = "intact"
    BROKEN = "broken"
    """Opened, damaged or replaced before: somebody else may have seen what is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bag:
    """One bag."""

    number: str
    """As printed on it."""
    holds: str
    sealed: Record
    opened: Record | None = None


def read_register(records: Sequence[Record]) -> dict[str, Bag]:
    """Return all bags by their numbers, in the order in which they were sealed.

    Raises:
        RequestRejected: ``bag.bad-register`` for records that cannot follow each other.
    """
    bags: dict[str, Bag] = {}
    for record in records:
        number, holds = record.body.get("bag"), record.body.get("holds")
        if record.kind == Kind.BAG_SEALED:
            if not isinstance(number, str) or not isinstance(holds, str) or number in bags:
                raise _bad(record, "seals a bag that has no number of its own")
            bags[number] = Bag(number=number, holds=holds, sealed=record)
        elif record.kind == Kind.BAG_OPENED:
            bag = bags.get(str(number))
            if bag is None or bag.opened is not None or record.body.get("seal") not in {each.value for each in Seal}:
                raise _bad(record, "opens a bag that was not sealed then")
            bags[bag.number] = Bag(number=bag.number, holds=bag.holds, sealed=bag.sealed, opened=record)
    return bags


def check_new(bags: dict[str, Bag], number: str) -> None:
    """Refuse a number that was used before.

    Raises:
        RequestRejected: ``bag.used``.
    """
    if number in bags:
        raise RequestRejected(
            "bag.used",
            f"the bag {number} was sealed before, in record {bags[number].sealed.seq}",
            hint="read the number on the bag again; no two bags have the same",
        )


def sealed_bag(bags: dict[str, Bag], number: str) -> Bag:
    """Return a bag that is sealed.

    Raises:
        NotFound: ``bag.unknown`` or ``bag.opened-before``.
    """
    bag = bags.get(number)
    if bag is None:
        raise NotFound("bag.unknown", f"the register has no bag {number}")
    if bag.opened is not None:
        raise NotFound("bag.opened-before", f"the bag {number} was opened before, in record {bag.opened.seq}")
    return bag


def check_text(value: str, what: str) -> str:
    """Return a text for the register; refuse what is empty, too long or not printable.

    Raises:
        RequestRejected: ``bag.malformed``.
    """
    longest = _LONGEST_NUMBER if what == "number" else _LONGEST_TEXT
    if not value.strip() or names.printable(value, limit=longest) != value or value != value.strip():
        raise RequestRejected("bag.malformed", f"{what}: 1 to {longest} visible characters are wanted")
    return value


def bag_claims(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Check the register of a finished ceremony; yield what holds with what shows it; nothing without bags.

    Raises:
        RequestRejected: ``bag.bad-register``, or ``verify.bags.exception`` for a broken seal without an exception.
    """
    bags = read_register(records)
    for bag in bags.values():
        broken = bag.opened is not None and bag.opened.body.get("seal") != Seal.INTACT
        if bag.opened is not None and broken and not _explained(records, bag.opened):
            raise RequestRejected(
                "verify.bags.exception",
                f"this ceremony does not verify: the bag {bag.number} was found broken, and no exception follows",
            )
    if bags:
        still = [bag.number for bag in bags.values() if bag.opened is None]
        yield f"{len(bags)} bags were sealed, {len(still)} of them are not opened yet", ", ".join(still) or "none"


def _explained(records: Sequence[Record], opened: Record) -> bool:
    after = records[opened.seq + 1 : opened.seq + 2]
    return bool(after) and after[0].kind == Kind.EXCEPTION


def _bad(record: Record, why: str) -> RequestRejected:
    return RequestRejected("bag.bad-register", f"transcript record {record.seq} {why}")
