"""What is published about a set of shares, and how a single share is checked against it.

A commitment is a digest of one share. Publishing it lets a custodian check the sheet years later, alone,
without bringing a quorum together; and it lets a ceremony say *which* share is wrong before any are combined.
It tells nothing about the share: a share's value is as random as the secret itself (256 bits).

Invariant: a ``Share`` in hand is known to be that share of that set; it comes from ``split`` or from
``ShareCommitments.recognise`` only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ceremony.share_shape import SetShape, shape_from_json
from ceremony.share_words import EnteredShare, opening_words, place_text
from ceremony.transcript import Json
from shared.errors import RequestRejected

SET_ID_BYTES = 16
MOST_IDENTIFIER = (1 << 15) - 1

_SHARE_TAG = b"coldroot share commitment v2\0"
_SET_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MEMBERS = frozenset({"set_id", "identifier", "group_threshold", "groups", "shares", "secret"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One share of a known set."""

    index: int
    """Its number through all groups, from 1."""
    place: str
    """Its member's number, or group and member: as words files and QR codes have it."""
    name: str
    """What people call it: ``share 2``, or ``share 2 of officers``."""
    words: tuple[str, ...] = field(repr=False)
    commitment: str
    """SHA-256 in 64 hex digits; public."""


def commit(*, set_id: str, group: int, member: int, value: bytes) -> str:
    """Compute a share's commitment: SHA-256(tag ‖ set id ‖ group ‖ member ‖ share value), in hex.

    Args:
        set_id: 32 hex digits.
        group: from 1, one byte.
        member: from 1, one byte.
        value: the share's value as SLIP-39 encodes it in words.
    """
    return hashlib.sha256(_SHARE_TAG + bytes.fromhex(set_id) + bytes([group, member]) + value).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCommitments:
    """The public facts of one set of shares, as the transcript records them.

    Raises:
        RequestRejected: ``share.bad-commitments`` when made from facts that contradict each other.
    """

    set_id: str
    """128 random bits in 32 hex digits."""
    identifier: int
    """SLIP-39's own 15-bit number of the set, which the words of every share begin with."""
    shape: SetShape
    shares: tuple[str, ...]
    """The commitment of each share, group by group; 64 hex digits each."""
    secret: str
    """The commitment of the secret that a quorum recovers."""
    replaced: tuple[ShareCommitments, ...] = field(default=(), compare=False, repr=False)
    """Sets that the record declared dead when this one took over: their sheets are called by name. Not recorded."""

    def __post_init__(self) -> None:
        if not _SET_ID.fullmatch(self.set_id):
            raise _bad("set_id is not 32 lower-case hex digits")
        if not 0 <= self.identifier <= MOST_IDENTIFIER:
            raise _bad(f"identifier is not between 0 and {MOST_IDENTIFIER}")
        if self.shape.count != len(self.shares):
            raise _bad("the groups have another number of shares")
        if not all(_DIGEST.fullmatch(each) for each in (*self.shares, self.secret)):
            raise _bad("a commitment is not 64 lower-case hex digits")
        if len(set(self.shares)) != len(self.shares):
            raise _bad("two shares have the same commitment")

    @property
    def count(self) -> int:
        """How many shares the set has."""
        return len(self.shares)

    @property
    def opening_words(self) -> tuple[str, str]:
        """The two words that every share of this set begins with; they are no secret."""
        return opening_words(self.identifier)

    def share(self, index: int, words: tuple[str, ...]) -> Share:
        """Name a share of this set; the caller knows that the words are its."""
        group, member = self.shape.place(index)
        return Share(
            index=index,
            place=place_text(group, member, grouped=self.shape.grouped),
            name=self.shape.name(index),
            words=words,
            commitment=self.shares[index - 1],
        )

    def recognise(self, entered: EnteredShare, *, what: str = "this share") -> Share:
        """Tell which share of this set was entered.

        1. Compare what the share says of its set: the number in its words, the groups and thresholds, the set id
           of its QR code, its own place.
        2. Compare its commitment with the published one. Only this proves anything; the first step explains.

        Args:
            entered: a well-formed share.
            what: how to call it in an error, for example ``entry 2``.

        Raises:
            RequestRejected: ``share.other-set`` when it is not a share of this set.
        """
        for old in self.replaced:
            found = None
            with suppress(RequestRejected):
                found = old.recognise(entered)
            if found is not None:
                raise _other_set(
                    f"{what} is {found.name} of another set, {old.set_id[:8]}, which the record says was replaced",
                    hint="take the sheet of the new set, and destroy this one",
                )
        # 1.
        shape = self.shape
        if entered.identifier != self.identifier or (entered.set_id or self.set_id) != self.set_id:
            raise _other_set(f"{what} is {entered.name} of another set")
        if (entered.group_count, entered.group_threshold) != (len(shape.groups), shape.group_threshold):
            raise _other_set(
                f"{what} is of a set that needs {entered.group_threshold} of {entered.group_count} groups; this set "
                f"needs {shape.group_threshold} of {len(shape.groups)}"
            )
        group = shape.groups[entered.group - 1]
        if entered.threshold != group.threshold:
            raise _other_set(
                f"{what} is of a set that needs {entered.threshold} {group.name}; this set needs {group.threshold}"
            )
        if entered.member > group.count:
            raise _other_set(f"{what} says it is {entered.name}, this set has only {group.count}")
        # 2.
        index = shape.indexes_of(entered.group)[entered.member - 1]
        actual = commit(set_id=self.set_id, group=entered.group, member=entered.member, value=entered.value)
        if not hmac.compare_digest(actual, self.shares[index - 1]):
            raise _other_set(
                f"{what} says it is {shape.name(index)} of this set, and the published commitment says it is not"
            )
        return self.share(index, entered.words)

    def to_json(self) -> dict[str, Json]:
        """Return the facts for a transcript record."""
        return {
            "set_id": self.set_id,
            "identifier": self.identifier,
            **self.shape.to_json(),
            "shares": list(self.shares),
            "secret": self.secret,
        }


def commitments_from_json(facts: Mapping[str, object]) -> ShareCommitments:
    """Read the facts of a transcript record back, strictly.

    Raises:
        RequestRejected: ``share.bad-commitments``.
    """
    if set(facts) != _MEMBERS:
        raise _bad("members are missing or unknown")
    shares = facts["shares"]
    if not isinstance(shares, list):
        raise _bad("shares is not a list of commitments")
    try:
        shape = shape_from_json(facts["group_threshold"], facts["groups"])
    except RequestRejected as refusal:
        raise _bad(refusal.message) from None
    return ShareCommitments(
        set_id=_text(facts["set_id"], "set_id"),
        identifier=_whole(facts["identifier"], "identifier"),
        shape=shape,
        shares=tuple(_text(each, "shares") for each in shares),
        secret=_text(facts["secret"], "secret"),
    )


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _bad(f"{where} is not text")
    return value


def _whole(value: object, where: str) -> int:
    # bool is an int to Python; true is not a number to us.
    if not isinstance(value, int) or isinstance(value, bool):
        raise _bad(f"{where} is not a whole number")
    return value


def _bad(why: str) -> RequestRejected:
    return RequestRejected("share.bad-commitments", f"the published share commitments are malformed: {why}")


def _other_set(
    message: str, *, hint: str = "look at the set id on the sheet and compare it with the transcript's"
) -> RequestRejected:
    return RequestRejected("share.other-set", message, hint=hint)
