"""Sealing and opening bags: one record each, between the acts. What is not as the register says is an exception."""

from __future__ import annotations

from dataclasses import dataclass

from ceremony.bags import Bag, Seal, check_new, check_text, read_register, sealed_bag
from ceremony.conduct.directory import CeremonyDirectory, Journal, open_journal
from ceremony.conduct.exceptions import Deviation, record_exception
from ceremony.records import Kind
from shared.clock import Clock
from shared.errors import NotFound, RequestRejected

_STEP = "bag register"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """Who handles which bag, and who looks on.

    Raises:
        RequestRejected: ``bag.malformed``.
    """

    number: str
    """As printed on the bag."""
    by: str
    witness: str

    def __post_init__(self) -> None:
        for what in ("number", "by", "witness"):
            check_text(str(getattr(self, what)), what)
        if self.by == self.witness:
            raise RequestRejected("bag.malformed", "witness: nobody is a witness of their own doing")


def seal_bag(directory: CeremonyDirectory, clock: Clock, handling: Handling, *, holds: str) -> None:
    """Record that a bag was sealed.

    Args:
        directory: the ceremony's.
        clock: gives the record its time.
        handling: who, and which bag.
        holds: what is in it, for example ``share 2 of officers``; public.

    Raises:
        RequestRejected: ``bag.used``, ``bag.malformed`` or ``bag.act-open``; ``transcript.*``.
        StoreFailed: ``file.write-failed`` or ``transcript.in-use``.
    """
    journal = _between_acts(directory, clock)
    check_new(read_register(journal.records), handling.number)
    journal.append(Kind.BAG_SEALED, {**_facts(handling), "holds": check_text(holds, "holds")})


def open_bag(
    directory: CeremonyDirectory, clock: Clock, handling: Handling, *, seal: Seal, decided: str | None = None
) -> int | None:
    """Record that a bag was opened. A mismatch is recorded as an exception right behind it.

    1. Look the bag up; an unknown one, or one that was opened before, cannot be opened in the register: that is an
       exception alone.
    2. Record the opening, and how the seal was.
    3. Record the exception when the seal was broken.

    Args:
        directory: the ceremony's.
        clock: gives the records their time.
        handling: who, and which bag.
        seal: how its seal was.
        decided: what was decided about a mismatch.

    Returns:
        The exception's number, when there was a mismatch.

    Raises:
        RequestRejected: ``bag.undecided`` for a mismatch that nobody decided about: nothing is recorded then;
            ``bag.malformed`` or ``bag.act-open``; ``transcript.*``.
        StoreFailed: ``file.write-failed`` or ``transcript.in-use``.
    """
    journal = _between_acts(directory, clock)
    # 1.
    bag = find_sealed(journal, handling.number)
    happened = _mismatch(bag, seal)
    if happened is not None and not (decided or "").strip():
        raise RequestRejected("bag.undecided", f"{happened}: say what was decided about it")
    # 2.
    if isinstance(bag, Bag):
        journal.append(Kind.BAG_OPENED, {**_facts(handling), "holds": bag.holds, "seal": seal.value})
    if happened is None:
        return None
    # 3.
    deviation = Deviation(
        step=_STEP,
        expected=f"the bag {handling.number} is in the register as sealed, and its seal is intact",
        happened=happened,
        decided=str(decided),
        by=handling.by,
    )
    return record_exception(directory, clock, deviation, interrupted=False)


def find_sealed(journal: Journal, number: str) -> Bag | NotFound:
    """Return a bag that is sealed, or why there is none of this number."""
    try:
        return sealed_bag(read_register(journal.records), number)
    except NotFound as missing:
        return missing


def mismatch(directory: CeremonyDirectory, clock: Clock, number: str, seal: Seal) -> str | None:
    """Say in what a bag is not as the register says; ``None`` when it is."""
    return _mismatch(find_sealed(open_journal(directory, clock), number), seal)


def _mismatch(bag: Bag | NotFound, seal: Seal) -> str | None:
    if isinstance(bag, NotFound):
        return bag.message
    return None if seal is Seal.INTACT else f"the seal of the bag {bag.number} was found broken"


def _facts(handling: Handling) -> dict[str, str]:
    return {"bag": handling.number, "by": handling.by, "witness": handling.witness}


def _between_acts(directory: CeremonyDirectory, clock: Clock) -> Journal:
    journal = open_journal(directory, clock)
    inside = journal.abandoned()
    if inside is not None:
        raise RequestRejected(
            "bag.act-open",
            f"the act {inside} is open: while it runs, it alone writes the record",
            hint="finish or end it first",
        )
    return journal
